package period_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/lotus/period"
)

// shape is a chain of 46 deadlines with two partitions of two sectors.
func shape(kinds ...period.Kind) period.Shape {
	s := period.Shape{Kinds: kinds, Daemons: 2, Workers: 2, Nodes: 2}
	for n := range uint64(46) {
		s.Sectors = append(s.Sectors, [][]uint64{{4 * n, 4*n + 1}, {4*n + 2, 4*n + 3}})
	}
	return s
}

// The same seed gives the same plan, another one another; each kind is in it, wherever the seed puts it.
func TestWholeIsDrawnFromTheSeed(t *testing.T) {
	assert.Equal(t, period.Whole(7, shape(period.All...)), period.Whole(7, shape(period.All...)))
	assert.NotEqual(t, period.Whole(7, shape(period.All...)).Faults, period.Whole(8, shape(period.All...)).Faults)
	for seed := range uint64(50) {
		plan, s := period.Whole(seed, shape(period.All...)), shape()
		assert.Equal(t, 48, plan.Deadlines, "the damaged deadlines come again")
		seen, last := map[period.Kind]bool{}, 0
		for _, f := range plan.Faults {
			seen[f.Kind] = true
			require.Less(t, f.Deadline, len(s.Sectors))
			require.GreaterOrEqual(t, f.Deadline, last, "in order")
			last = f.Deadline
			if f.OfFiles() {
				assert.Subset(t, s.Sectors[f.Deadline][f.Partition], f.Sectors)
				assert.Equal(t, f.Kind == period.PartitionHidden, len(f.Sectors) == 2)
			} else {
				assert.Greater(t, f.Deadline, 2, "what is damaged is not disturbed as well")
			}
		}
		for _, kind := range period.All {
			assert.True(t, seen[kind], "seed %d has no %s", seed, kind)
		}
	}
}

// Without faults of files a period is enough; with nothing to go wrong there is no plan.
func TestWholeOfSomeKinds(t *testing.T) {
	plan := period.Whole(1, shape(period.NullOpen))
	assert.Equal(t, 46, plan.Deadlines)
	assert.NotEmpty(t, plan.Faults)
	assert.Empty(t, period.Whole(1, shape()).Faults)
	assert.Len(t, period.Whole(1, shape(period.SectorHidden)).Faults, 1)
}

func TestGrown(t *testing.T) {
	s := shape()
	assert.Equal(t, period.Plan{Deadlines: 3}, period.Grown(s, 8))
	assert.Zero(t, period.Grown(s, 1000))
}

func TestInterleaved(t *testing.T) {
	s := shape()
	assert.Zero(t, period.Interleaved(s))
	s.Sectors[2], s.Sectors[3] = [][]uint64{{10, 11}, {8}}, [][]uint64{{14, 15}, {12}}
	assert.Equal(t, period.Plan{Deadlines: 4, Faults: []period.Fault{{Kind: period.SectorHidden, Deadline: 2, Sectors: []uint64{10}}}}, period.Interleaved(s))
}

// Null rounds are at the epochs that they are named after.
func TestHeights(t *testing.T) {
	w := period.Window{Challenge: 80, Open: 100, Close: 160}
	assert.Equal(t, []int64{80, 81}, period.Fault{Kind: period.NullChallenge, Epochs: 2}.Heights(w))
	assert.Equal(t, []int64{100}, period.Fault{Kind: period.NullOpen, Epochs: 1}.Heights(w))
	assert.Equal(t, []int64{157, 158, 159}, period.Fault{Kind: period.NullLast, Epochs: 3}.Heights(w), "Close - 1 is the last")
	assert.Empty(t, period.Fault{Kind: period.ReorgOpen, Epochs: 3}.Heights(w))
	for _, kind := range []period.Kind{period.NullChallenge, period.NullOpen, period.NullLast} {
		f := period.Fault{Kind: kind, Epochs: 3}
		epoch, waits := f.When(w)
		assert.Less(t, epoch, f.Heights(w)[0], "they are announced before")
		assert.Equal(t, period.WaitNothing, waits)
	}
}

// What is done to files is done before the challenge, reorgs when there is something to cross.
func TestWhen(t *testing.T) {
	w := period.Window{Challenge: 80, Open: 100, Close: 160}
	epoch, _ := period.Fault{Kind: period.SectorFlipped}.When(w)
	assert.Less(t, epoch, w.Challenge)
	epoch, _ = period.Fault{Kind: period.ReorgChallenge}.When(w)
	assert.Greater(t, epoch, w.Challenge)
	epoch, _ = period.Fault{Kind: period.ReorgOpen}.When(w)
	assert.Equal(t, w.Open, epoch)
	_, waits := period.Fault{Kind: period.ReorgDropped}.When(w)
	assert.Equal(t, period.WaitLanded, waits)
}
