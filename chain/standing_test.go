package chain

import (
	"fmt"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/stretchr/testify/require"
)

// at is a node at an epoch, on the chain of that letter.
func at(height int64, chain byte, change ...func(*Standing)) Standing {
	c, err := abi.CidBuilder.Sum([]byte{chain})
	if err != nil {
		panic(err)
	}
	s := Standing{
		Endpoint: fmt.Sprintf("http://%c/%d", chain, height), Latency: 5 * time.Millisecond,
		Head: &TipSet{Height: abi.ChainEpoch(height), Cids: TipSetKey{c}, Blocks: []*BlockHeader{{}}}, Old: TipSetKey{c}, OldAt: 995,
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func away(s *Standing)                      { s.Away = true }
func failed(times int) func(*Standing)      { return func(s *Standing) { s.Failures = times } }
func takes(d time.Duration) func(*Standing) { return func(s *Standing) { s.Latency = d } }
func weighs(w int64) func(*Standing) {
	return func(s *Standing) { s.Head.Blocks[0].ParentWeight = big.NewInt(w) }
}
func headless(s *Standing)                  { s.Head = nil }
func uncompared(s *Standing)                { s.Old = nil }
func goodSince(t time.Time) func(*Standing) { return func(s *Standing) { s.GoodSince = t } }

// What is thought of each node, and which one is used then, when the first was used before.
func TestJudgeAndChooseNodes(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	const epoch = 30 * time.Second
	for _, c := range []struct {
		situation string
		all       []Standing
		used      int
		verdicts  []Verdict
		next      int
	}{
		{"all is well", []Standing{at(1000, 'a'), at(1000, 'a')}, 0, []Verdict{Good, Good}, 0},
		{"the other is first with a tipset", []Standing{at(1000, 'a'), at(1001, 'a')}, 0, []Verdict{Good, Good}, 0},
		{"two epochs behind is usual", []Standing{at(1000, 'a'), at(1002, 'a')}, 0, []Verdict{Good, Good}, 0},
		{"three epochs behind", []Standing{at(1000, 'a'), at(1003, 'a')}, 0, []Verdict{Behind, Good}, 1},
		{"one failure may be an accident", []Standing{at(1000, 'a', failed(1)), at(1000, 'a')}, 0, []Verdict{Good, Good}, 0},
		{"two failures in a row", []Standing{at(1000, 'a', failed(2)), at(1000, 'a')}, 0, []Verdict{Down, Good}, 1},
		{"its head is lost", []Standing{at(1000, 'a', away), at(999, 'a')}, 0, []Verdict{Down, Good}, 1},
		{"the first has none yet", []Standing{at(1000, 'a', headless), at(1000, 'a')}, 0, []Verdict{Down, Good}, 1},
		{"nothing is known of any", []Standing{at(0, 'a', headless), at(0, 'a', headless)}, 0, []Verdict{Down, Down}, 0},
		{"all are down", []Standing{at(1000, 'a', away), at(1000, 'a', away)}, 1, []Verdict{Down, Down}, 1},
		{"the other is down and far ahead", []Standing{at(1000, 'a'), at(5000, 'a', away)}, 0, []Verdict{Good, Down}, 0},
		{"behind, and the others down", []Standing{at(1000, 'a'), at(1010, 'a', away), at(1010, 'a', failed(9))}, 0, []Verdict{Good, Down, Down}, 0},
		{"slow", []Standing{at(1000, 'a', takes(3*time.Second)), at(1000, 'a')}, 0, []Verdict{Slow, Good}, 1},
		{"all are slow: the network, or we", []Standing{at(1000, 'a', takes(3*time.Second)), at(1000, 'a', takes(2*time.Second))}, 0, []Verdict{Good, Good}, 0},
		{"slower than the other, and quick enough", []Standing{at(1000, 'a', takes(time.Second)), at(1000, 'a')}, 0, []Verdict{Good, Good}, 0},
		{"slow is better than behind", []Standing{at(1000, 'a', takes(3*time.Second)), at(990, 'a'), at(1000, 'a')}, 1, []Verdict{Slow, Behind, Good}, 2},
		{"a fork against most", []Standing{at(1001, 'b'), at(1000, 'a'), at(1000, 'a')}, 0, []Verdict{Forked, Good, Good}, 1},
		{"a longer fork against most", []Standing{at(1050, 'b'), at(1000, 'a'), at(1000, 'a')}, 0, []Verdict{Forked, Good, Good}, 1},
		{"a fork of two: the heavier chain", []Standing{at(1001, 'b', weighs(10)), at(1000, 'a', weighs(20))}, 0, []Verdict{Forked, Good}, 1},
		{"a fork of two without weights: the higher chain", []Standing{at(1000, 'b'), at(1001, 'a')}, 0, []Verdict{Forked, Good}, 1},
		{"a fork of two equals: the preferred one", []Standing{at(1000, 'b'), at(1000, 'a')}, 0, []Verdict{Good, Forked}, 0},
		{"a fork that is not known to be one", []Standing{at(1000, 'b', uncompared), at(1000, 'a')}, 0, []Verdict{Good, Good}, 0},
		{"another tipset of an earlier comparison is no fork", []Standing{at(1000, 'a'), at(1001, 'b', func(s *Standing) { s.OldAt = 996 })}, 0, []Verdict{Good, Good}, 0},
		{"old answers of nodes that hang outvote nobody", []Standing{at(1001, 'b', func(s *Standing) { s.OldAt = 996 }), at(1000, 'a'), at(1000, 'a')}, 0, []Verdict{Good, Good, Good}, 0},
		{"those that are down have no vote", []Standing{at(1000, 'b', away), at(1000, 'b', away), at(1000, 'a')}, 0, []Verdict{Down, Down, Good}, 2},
		{"on the fork and behind is on the fork", []Standing{at(990, 'b'), at(1000, 'a'), at(1000, 'a')}, 0, []Verdict{Forked, Good, Good}, 1},
		{"of two that are good, the preferred one", []Standing{at(1000, 'a', away), at(1000, 'a'), at(1001, 'a')}, 0, []Verdict{Down, Good, Good}, 1},
		{"the preferred one is good again, not for long", []Standing{at(1000, 'a', goodSince(now.Add(-9*epoch))), at(1000, 'a')}, 1, []Verdict{Good, Good}, 1},
		{"the preferred one has been good for long", []Standing{at(1000, 'a', goodSince(now.Add(-10*epoch))), at(1000, 'a')}, 1, []Verdict{Good, Good}, 0},
		{"one that is not preferred has been good for long", []Standing{at(1000, 'a'), at(1000, 'a', goodSince(now.Add(-time.Hour)))}, 0, []Verdict{Good, Good}, 0},
		{"the preferred one is the best of the bad", []Standing{at(1000, 'a', takes(5*time.Second)), at(990, 'a'), at(1000, 'a', away), at(1000, 'b'), at(1000, 'a', away)}, 2,
			[]Verdict{Good, Behind, Down, Forked, Down}, 0},
	} {
		t.Run(c.situation, func(t *testing.T) {
			judged := JudgeNodes(c.all)
			for i, want := range c.verdicts {
				require.Equal(t, want, judged[i].Verdict, "node %d: %s", i, judged[i].Why)
				require.Equal(t, want == Good, judged[i].Why == "", "a reason, if it is not good")
			}
			require.Equal(t, c.next, ChooseNode(c.all, judged, c.used, now, epoch))
		})
	}
}

// A node that comes and goes is left once, and used again only when it has been there for long.
func TestNoFlapping(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	const epoch = 30 * time.Second
	used, changes, good := 0, 0, now
	for i := range 100 {
		now = now.Add(epoch)
		flapping := at(1000, 'a', goodSince(good))
		if i%4 == 3 {
			flapping.Away, good = true, now.Add(epoch)
		}
		all := []Standing{flapping, at(1000, 'a', goodSince(time.Unix(0, 0)))}
		if next := ChooseNode(all, JudgeNodes(all), used, now, epoch); next != used {
			used, changes = next, changes+1
		}
	}
	require.Equal(t, 1, changes)
	require.Equal(t, 1, used)
}
