package post_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

const size32 = abi.SectorSize(32 << 30)

func phases(vanilla, snark time.Duration) post.PhaseTimes {
	return post.PhaseTimes{Wait: time.Hour, Vanilla: vanilla, Snark: snark, Verify: time.Hour}
}

func TestTimesOfProofs(t *testing.T) {
	noon := time.Unix(43_200, 0)
	type proof struct {
		sectors int
		phases  post.PhaseTimes
		at      time.Time
	}
	full := proof{2349, phases(2349*time.Second, 10*time.Minute), noon}
	for situation, c := range map[string]struct {
		made    []proof
		sectors int
		want    time.Duration
	}{
		"nothing measured yet":                                              {nil, 2349, 0},
		"phases of a proof that was not made":                               {[]proof{{2349, post.PhaseTimes{Wait: time.Minute}, noon}}, 2349, 0},
		"a partition as large":                                              {[]proof{full}, 2349, 2349*time.Second + 10*time.Minute},
		"waiting and our check do not count":                                {[]proof{{1, phases(time.Second, time.Second), noon}}, 1, 2 * time.Second},
		"a smaller partition than any: less to read, the SNARK is the same": {[]proof{full}, 100, 100*time.Second + 10*time.Minute},
		"a bigger partition than any: reading goes on like that":            {[]proof{{1000, phases(1000*time.Second, time.Minute), noon}}, 2000, 2000*time.Second + time.Minute},
		"a small proof's overhead says nothing of a large one": {
			[]proof{{1, phases(30*time.Second, time.Minute), noon}, full}, 2000, 2000*time.Second + 10*time.Minute},
		"between two: the larger one's": {
			[]proof{{1, phases(30*time.Second, time.Minute), noon}, full}, 100, 100*time.Second + 10*time.Minute},
		"the longest of those alike": {
			[]proof{full, {2349, phases(2*2349*time.Second, 10*time.Minute), noon}, full}, 2349, 2*2349*time.Second + 10*time.Minute},
		"the longest is hours ago, and cards are quicker now": {
			[]proof{{2349, phases(10*time.Hour, time.Hour), noon.Add(-7 * time.Hour)}, full}, 2349, 2349*time.Second + 10*time.Minute},
		"the longest is hours ago, and none was made since": {
			[]proof{{1, phases(time.Hour, time.Hour), noon.Add(-70 * time.Hour)}}, 1, 2 * time.Hour},
		"a job of unknown size: the longest of all": {
			[]proof{{1, phases(30*time.Second, time.Minute), noon}, {2, phases(2*time.Minute, time.Hour), noon}}, 0, time.Hour + 2*time.Minute},
	} {
		t.Run(situation, func(t *testing.T) {
			var times post.Times
			for _, p := range c.made {
				times.Learn(size32, p.sectors, p.phases, p.at)
			}
			require.Equal(t, c.want, times.Proof(size32, c.sectors))
			require.Zero(t, times.Proof(64<<30, c.sectors), "of another sector size nothing is known")
		})
	}
}

func TestForecast(t *testing.T) {
	waiting := func(takes ...time.Duration) (proofs []post.ToMake) {
		for _, d := range takes {
			proofs = append(proofs, post.ToMake{Takes: d})
		}
		return proofs
	}
	running := func(takes, spent time.Duration) post.ToMake {
		return post.ToMake{Takes: takes, Running: true, Spent: spent}
	}
	for situation, c := range map[string]struct {
		proofs []post.ToMake
		cards  int
		want   time.Duration
		known  bool
	}{
		"nothing to prove":                         {nil, 0, 0, true},
		"nothing measured yet":                     {waiting(0, 0), 4, 0, false},
		"one that was never measured among others": {waiting(10, 0), 4, 0, false},
		"nobody who may take them":                 {waiting(10), 0, 0, false},
		"as many cards as jobs":                    {waiting(10, 10, 10), 3, 10, true},
		"more cards than jobs":                     {waiting(10, 20), 9, 20, true},
		"fewer cards than jobs: in turns":          {waiting(10, 10, 10, 10, 10), 2, 30, true},
		"the short ones share a card":              {waiting(30, 10, 10, 10), 2, 30, true},
		"one is half made":                         {[]post.ToMake{running(10, 5)}, 1, 5, true},
		"the next one waits for its card":          {append(waiting(10), running(10, 5)), 1, 15, true},
		"one has taken longer than any":            {[]post.ToMake{running(100, 200)}, 1, 20, true},
		"its card is fenced since":                 {[]post.ToMake{running(10, 4)}, 0, 6, true},
		"another deadline's goes first":            {waiting(100, 10), 1, 110, true},
	} {
		t.Run(situation, func(t *testing.T) {
			last, known := post.Forecast(c.proofs, c.cards)
			require.Equal(t, c.known, known)
			require.Equal(t, c.want, last)
		})
	}
}
