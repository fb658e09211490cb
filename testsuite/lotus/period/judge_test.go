package period_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/lotus/period"
)

// window is the n-th deadline of these chains; the 48th is the 0th again.
func window(n int) period.Window {
	open := int64(100 + 60*n)
	return period.Window{Index: uint64(n % 48), Challenge: open - 20, Open: open, Close: open + 60}
}

// posted is a deadline of two partitions of two sectors that went well.
func posted(n int) period.Deadline {
	w := window(n)
	part := func(i uint64) period.Partition {
		return period.Partition{Index: i, Sectors: 2, Posted: true, Verified: true, LandedEpoch: w.Open + 6, Message: "bafy"}
	}
	return period.Deadline{Index: w.Index, Open: w.Open, Close: w.Close, Closed: true, Partitions: []period.Partition{part(0), part(1)}}
}

// quiet is a run in which nothing went wrong: deadlines 0, 1 and 2, and 0 again a period later.
func quiet() period.Trial {
	t := period.Trial{Size: 2048, Report: period.Report{
		Disputes: period.Disputes{Tried: 8, Refused: 8},
		Power:    period.Power{Start: "393216", Now: "393216", QualityStart: "393216", QualityNow: "393216"},
		Messages: period.Messages{Posts: 8, Methods: []period.Method{{Name: "SubmitWindowedPoSt", Count: 8}, {Name: "DisputeWindowedPoSt", ExitCode: 16, Count: 8}}},
	}}
	for _, n := range []int{0, 1, 2, 48} {
		t.Wanted = append(t.Wanted, window(n))
		t.Report.Deadlines = append(t.Report.Deadlines, posted(n))
		for i := range uint64(2) {
			t.Said = append(t.Said, period.Said{Open: window(n).Open, Partition: i, Posted: true, Message: "bafy"})
		}
	}
	return t
}

// hidden is quiet with sector 10 of deadline 0's partition 0 away, back after Close, declared and proven again a period later.
func hidden() period.Trial {
	t := quiet()
	w := window(0)
	t.Faults = []period.Injected{{
		Fault: period.Fault{Kind: period.SectorHidden, Sectors: []uint64{10}}, Window: w, Began: w.Challenge - 5, Ended: w.Close + 2,
	}}
	p := &t.Report.Deadlines[0].Partitions[0]
	p.Skipped, p.FaultyAfter = []uint64{10}, 1
	t.Report.Recoveries = []period.Recovered{{Deadline: 0, Partition: 0, Sectors: []uint64{10}, LandedEpoch: w.Close + 20}}
	return t
}

// away is hidden with both sectors of the partition, so that there is nothing to prove.
func away() period.Trial {
	t := hidden()
	t.Faults[0].Kind, t.Faults[0].Sectors = period.PartitionHidden, []uint64{10, 11}
	t.Report.Deadlines[0].Partitions[0] = period.Partition{Index: 0, Sectors: 2, FaultyAfter: 2}
	t.Report.Recoveries[0].Sectors = []uint64{10, 11}
	t.Said[0] = period.Said{Open: window(0).Open, Reason: "no sector is left"}
	return t
}

// reorged is quiet with a reorg across deadline 1's Open.
func reorged() period.Trial {
	t := quiet()
	w := window(1)
	t.Faults = []period.Injected{{
		Fault: period.Fault{Kind: period.ReorgOpen, Deadline: 1, Epochs: 3}, Window: w, Began: w.Open, Ended: w.Open + 1,
		Reorg: &period.Reorg{From: w.Open + 1, Fork: w.Open - 3, To: w.Open + 1},
	}}
	return t
}

// empty is quiet with no block at deadline 1's Open.
func empty() period.Trial {
	t := quiet()
	w := window(1)
	t.Faults = []period.Injected{{Fault: period.Fault{Kind: period.NullOpen, Deadline: 1, Epochs: 2}, Window: w, Began: w.Open - 9, Ended: w.Open + 2}}
	t.Report.NullRounds = []int64{w.Open, w.Open + 1}
	return t
}

// What is as it should be is found so, and whatever is not is named.
func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		of    func() period.Trial
		with  func(*period.Trial)
		wrong string // in one of the findings; empty: there is none
	}{
		"all posted": {of: quiet},
		"a sector was away, skipped, and recovered":        {of: hidden},
		"a partition was away, not posted, and recovered":  {of: away},
		"a reorg across Open, and all was posted":          {of: reorged},
		"no block at Open, and all was posted":             {of: empty},
		"a partition was missed":                           {quiet, func(t *period.Trial) { t.Report.Deadlines[1].Partitions[1].Posted = false }, "partition 1: missed"},
		"posthaste does not know of a post":                {quiet, func(t *period.Trial) { t.Said[3] = period.Said{Open: window(1).Open, Partition: 1} }, "posthaste does not know"},
		"posthaste knows of no deadline":                   {quiet, func(t *period.Trial) { t.Said = nil }, "no workflow had it"},
		"posthaste names another message":                  {quiet, func(t *period.Trial) { t.Said[3].Message = "bafz" }, "posthaste says bafz"},
		"posthaste believes in a post that is not there":   {away, func(t *period.Trial) { t.Said[0].Posted = true }, "says that it is posted"},
		"a deadline never came":                            {quiet, func(t *period.Trial) { t.Report.Deadlines = t.Report.Deadlines[:3] }, "never came"},
		"a deadline is not over":                           {quiet, func(t *period.Trial) { t.Report.Deadlines[3].Closed = false }, "is not closed"},
		"a deadline had no partition":                      {quiet, func(t *period.Trial) { t.Report.Deadlines[1].Partitions = nil }, "has no partition"},
		"a proof does not stand":                           {quiet, func(t *period.Trial) { t.Report.Deadlines[2].Partitions[0].Verified = false }, "does not stand"},
		"a dispute was taken":                              {quiet, func(t *period.Trial) { t.Report.Disputes.Refused-- }, "disputes were not refused"},
		"nothing was disputed":                             {quiet, func(t *period.Trial) { t.Report.Disputes = period.Disputes{} }, "nothing was disputed"},
		"a good sector was skipped":                        {quiet, func(t *period.Trial) { t.Report.Deadlines[1].Partitions[0].Skipped = []uint64{14} }, "skipped sectors [14]"},
		"a good sector is faulty after Close":              {quiet, func(t *period.Trial) { t.Report.Deadlines[1].Partitions[0].FaultyAfter = 1 }, "1 sectors faulty after Close"},
		"a post was sent twice":                            {quiet, func(t *period.Trial) { t.Report.Messages.SentTwice = 1 }, "sent twice"},
		"a post failed":                                    {quiet, func(t *period.Trial) { t.Report.Messages.Failed = 1 }, "failed on the chain"},
		"a recovery failed":                                {hidden, func(t *period.Trial) { add(t, "DeclareFaultsRecovered", 18) }, "exit code 18"},
		"power was lost":                                   {quiet, func(t *period.Trial) { t.Report.Power.Now = "391168" }, "the power is 391168"},
		"power by quality was lost":                        {quiet, func(t *period.Trial) { t.Report.Power.QualityNow = "391168" }, "by quality"},
		"the report has no power":                          {quiet, func(t *period.Trial) { t.Report.Power.Now = "" }, "no power"},
		"a sector is faulty at the end":                    {quiet, func(t *period.Trial) { t.Report.Faults = 1 }, "1 sectors are faulty at the end"},
		"a bad sector was not skipped":                     {hidden, func(t *period.Trial) { t.Report.Deadlines[0].Partitions[0].Skipped = nil }, "those with bad files were [10]"},
		"another one was skipped too":                      {hidden, func(t *period.Trial) { t.Report.Deadlines[0].Partitions[0].Skipped = []uint64{10, 11} }, "skipped sectors [10 11]"},
		"the partition with the bad sector was missed":     {hidden, func(t *period.Trial) { t.Report.Deadlines[0].Partitions[0].Posted = false }, "missed"},
		"it was not declared recovered":                    {hidden, func(t *period.Trial) { t.Report.Recoveries = nil }, "never declared recovered"},
		"it was declared before its file was back":         {hidden, func(t *period.Trial) { t.Report.Recoveries[0].LandedEpoch = window(0).Open }, "was away"},
		"it was declared after the cutoff":                 {hidden, func(t *period.Trial) { t.Report.Recoveries[0].LandedEpoch = window(48).Open - 60 }, "never declared recovered"},
		"it did not get its power back":                    {hidden, func(t *period.Trial) { t.Report.Deadlines[3].Partitions[0].FaultyAfter = 1 }, "1 sectors faulty after Close"},
		"a sector that nobody touched was declared":        {hidden, func(t *period.Trial) { t.Report.Recoveries[0].Sectors = []uint64{10, 99} }, "sector 99"},
		"something was posted of a partition without file": {away, func(t *period.Trial) { t.Report.Deadlines[0].Partitions[0].Posted = true }, "none of its files was good"},
		"a partition without files is not faulty":          {away, func(t *period.Trial) { t.Report.Deadlines[0].Partitions[0].FaultyAfter = 0 }, "all 2 files were bad"},
		"a reorg that did not cross Open":                  {reorged, func(t *period.Trial) { t.Faults[0].Reorg.Fork = window(1).Open }, "does not cross"},
		"a reorg of which nothing is known":                {reorged, func(t *period.Trial) { t.Faults[0].Reorg = nil }, "did not say"},
		"there was a block at Open":                        {empty, func(t *period.Trial) { t.Report.NullRounds = nil }, "has a block"},
		"sectors came and were proven": {quiet, func(t *period.Trial) {
			t.Added, t.Report.Power.Now, t.Report.Power.QualityNow = 2, "397312", "397312"
		}, ""},
		"sectors came and have no power": {quiet, func(t *period.Trial) { t.Added = 2 }, "should be 397312"},
		"a fault could not be done":      {empty, func(t *period.Trial) { t.Faults[0].Failed = "404" }, "could not be done: 404"},
		"a fault was never over":         {hidden, func(t *period.Trial) { t.Faults[0].Ended = 0 }, "never over"},
	} {
		t.Run(name, func(t *testing.T) {
			trial := c.of()
			if c.with != nil {
				c.with(&trial)
			}
			_, wrong := period.Judge(trial)
			if c.wrong == "" {
				assert.Empty(t, wrong)
				return
			}
			assert.Contains(t, strings.Join(wrong, "\n"), c.wrong)
		})
	}
}

func add(t *period.Trial, name string, code int64) {
	t.Report.Messages.Methods = append(t.Report.Messages.Methods, period.Method{Name: name, ExitCode: code, Count: 1})
}

// The figures count what happened.
func TestFigures(t *testing.T) {
	figures, wrong := period.Judge(hidden())
	require.Empty(t, wrong)
	assert.Equal(t, 4, figures.Deadlines)
	assert.Equal(t, 8, figures.Partitions)
	assert.Equal(t, 8, figures.Posted)
	assert.Equal(t, 1, figures.Skipped)
	assert.Equal(t, 1, figures.Recovered)
	assert.Equal(t, map[period.Kind]int{period.SectorHidden: 1}, figures.Faults)

	figures, _ = period.Judge(away())
	assert.Equal(t, 1, figures.Unprovable)
	assert.Zero(t, figures.Missed, "what nobody could prove is not missed")
	assert.Equal(t, 2, figures.Recovered)

	figures, _ = period.Judge(reorged())
	assert.Equal(t, 1, figures.Reorgs)
	assert.EqualValues(t, 4, figures.ReorgEpochs)
	missed := reorged()
	missed.Report.Deadlines[1].Partitions[0].Posted = false
	figures, _ = period.Judge(missed)
	assert.Zero(t, figures.Reorgs, "a reorg that cost a post was not survived")
	assert.Equal(t, 1, figures.Missed)
	assert.Contains(t, figures.Table(), "reorgs survived")
}
