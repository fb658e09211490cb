package post_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// mainnet is where a miner stands in its proving period, with mainnet's shape: 48 deadlines of 60 epochs, the challenge 20
// epochs before Open.
func mainnet(periodStart abi.ChainEpoch, index uint64, now abi.ChainEpoch) *dline.Info {
	return dline.NewInfo(periodStart, index, now, 48, 2880, 60, 20, 70)
}

func TestUpcoming(t *testing.T) {
	type want struct {
		start abi.ChainEpoch
		index uint64
	}
	for name, c := range map[string]struct {
		di         *dline.Info
		confidence abi.ChainEpoch
		want       []want
	}{
		"the middle of a deadline: it alone":                            {mainnet(2880, 7, 2880+7*60+20), 1, []want{{2880, 7}}},
		"its first epoch: the next one's challenge is far":              {mainnet(2880, 7, 2880+7*60), 1, []want{{2880, 7}}},
		"the next one's challenge, not yet deep":                        {mainnet(2880, 7, 2880+8*60-20), 1, []want{{2880, 7}}},
		"the next one's challenge, one deep":                            {mainnet(2880, 7, 2880+8*60-19), 1, []want{{2880, 7}, {2880, 8}}},
		"a confidence of 0 starts at the challenge":                     {mainnet(2880, 7, 2880+8*60-20), 0, []want{{2880, 7}, {2880, 8}}},
		"a confidence of 10 starts ten later":                           {mainnet(2880, 7, 2880+8*60-11), 10, []want{{2880, 7}}},
		"a confidence of 10, reached":                                   {mainnet(2880, 7, 2880+8*60-10), 10, []want{{2880, 7}, {2880, 8}}},
		"the last epoch before Close":                                   {mainnet(2880, 7, 2880+8*60-1), 1, []want{{2880, 7}, {2880, 8}}},
		"the last deadline: the next period's first in this one":        {mainnet(2880, 47, 5760-19), 1, []want{{2880, 47}, {5760, 0}}},
		"the period has not begun":                                      {mainnet(2880, 0, 2000), 1, nil},
		"not begun, but its first challenge is known":                   {mainnet(2880, 0, 2880-19), 1, []want{{2880, 0}}},
		"a period that began before genesis":                            {mainnet(-600, 10, 5), 1, []want{{-600, 10}}},
		"elapsed: a tipset after null rounds, closed ones are left out": {mainnet(2880, 7, 2880+8*60+5), 1, []want{{2880, 8}}},
		"elapsed, into the next period":                                 {mainnet(2880, 47, 5760+3), 1, []want{{5760, 0}}},
		"elapsed by more than a period: nothing":                        {mainnet(2880, 7, 20000), 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []want
			for _, d := range post.Upcoming(1000, c.di, c.confidence) {
				got = append(got, want{d.PeriodStart, d.Index})
				assert.Equal(t, abi.ActorID(1000), d.Miner)
				assert.Equal(t, d.PeriodStart+abi.ChainEpoch(d.Index)*60, d.Open)
				assert.Equal(t, d.Open+60, d.Close)
				assert.Equal(t, d.Open-20, d.Challenge)
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// A test network whose challenge lies several deadlines back has that many of them going.
func TestUpcomingWhereDeadlinesAreShort(t *testing.T) {
	di := dline.NewInfo(0, 1, 6, 3, 15, 5, 12, 1) // deadlines of 5 epochs, 3 a period, challenge 12 before Open
	var indexes []uint64
	for _, d := range post.Upcoming(1000, di, 1) {
		indexes = append(indexes, d.Index)
	}
	assert.Equal(t, []uint64{1, 2, 0}, indexes, "at most a period of them, each once")
}

func TestWorkflowIDRoundTrip(t *testing.T) {
	for name, d := range map[string]post.Deadline{
		"usual":                          {Miner: 1000, PeriodStart: 2880, Index: 7},
		"the first period":               {Miner: 1000, PeriodStart: 0, Index: 0},
		"a period that began before 0":   {Miner: 1000, PeriodStart: -2399, Index: 47},
		"a long miner number":            {Miner: 18446744073709551, PeriodStart: 5_000_000, Index: 12},
		"miner f00, as burnt funds have": {Miner: 0, PeriodStart: 1, Index: 1},
	} {
		t.Run(name, func(t *testing.T) {
			miner, start, index, err := post.ParseWorkflowID(d.WorkflowID())
			require.NoError(t, err)
			assert.Equal(t, d, post.Deadline{Miner: miner, PeriodStart: start, Index: index})
		})
	}
	assert.Equal(t, "wdpost-f01000--2399-47", post.Deadline{Miner: 1000, PeriodStart: -2399, Index: 47}.WorkflowID())
	assert.Equal(t, "f01000/7", post.Deadline{Miner: 1000, PeriodStart: 2880, Index: 7}.String())
}

func TestParseWorkflowIDRefuses(t *testing.T) {
	for name, id := range map[string]string{
		"empty":                 "",
		"a sender's":            "sender-f3abc",
		"a miner's":             "miner-f01000",
		"no index":              "wdpost-f01000-2880",
		"an index that is none": "wdpost-f01000-2880-seven",
		"a negative index":      "wdpost-f01000-2880--7",
		"no period":             "wdpost-f01000--7",
		"no miner":              "wdpost--2880-7",
		"another prefix":        "winpost-f01000-2880-7",
		"an epoch out of range": "wdpost-f01000-99999999999999999999-7",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := post.ParseWorkflowID(id)
			require.ErrorContains(t, err, "f01000", "it shows what one looks like")
		})
	}
}

func TestParseMiner(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want abi.ActorID
		ok   bool
	}{
		"mainnet":          {"f01000", 1000, true},
		"a test network":   {"t01000", 1000, true},
		"the bare number":  {"1000", 1000, true},
		"miner 0":          {"f00", 0, true},
		"nothing":          {"", 0, false},
		"a prefix alone":   {"f0", 0, false},
		"a key address":    {"f3vfs6f7", 0, false},
		"negative":         {"-5", 0, false},
		"signed":           {"+5", 0, false},
		"too high":         {"f099999999999999999999", 0, false},
		"spaces around it": {" f01000", 0, false},
		"a word":           {"miner", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := post.ParseMiner(c.text)
			if !c.ok {
				require.ErrorContains(t, err, "such as f01000")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	again, err := post.ParseMiner(post.MinerName(4711))
	require.NoError(t, err)
	assert.Equal(t, abi.ActorID(4711), again)
}

func TestUntil(t *testing.T) {
	assert.Equal(t, 5*time.Minute, post.Until(100, 110, 30*time.Second))
	assert.Equal(t, 100*time.Millisecond, post.Until(-1, 1, 50*time.Millisecond), "over genesis, on a fast chain")
	assert.Zero(t, post.Until(110, 110, 30*time.Second), "there already")
	assert.Zero(t, post.Until(111, 110, 30*time.Second), "past it")
}

// A chain that says at every epoch which deadline is current says what follows from any earlier epoch.
func TestInfoAt(t *testing.T) {
	said := func(epoch abi.ChainEpoch, deadlines uint64) *dline.Info { // periods of 50 from epoch 7 on
		start := 7 + (epoch-7)/50*50
		return dline.NewInfo(start, uint64(epoch-start)/10, epoch, deadlines, 50, 10, 5, 7).NextNotElapsed()
	}
	for _, deadlines := range []uint64{5, 4} { // with 4 the last ten epochs of a period belong to no deadline
		for from := abi.ChainEpoch(7); from < 120; from++ {
			for at := from; at < 250; at++ {
				if di := said(from, deadlines); at >= di.PeriodStart {
					require.Equal(t, said(at, deadlines), post.InfoAt(di, at), "of %d, from %d", at, from)
				}
			}
		}
	}
	require.Nil(t, post.InfoAt(said(60, 5), 56), "its period begins at 57")
}
