package post

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/stretchr/testify/require"
)

// mainnet's deadlines of a period from epoch 2880, as the chain has them at an epoch.
func mainnet(epoch abi.ChainEpoch) *dline.Info {
	const window = 60
	return dline.NewInfo(2880, uint64((epoch-2880)/window), epoch, 48, 2880, window, 20, 70)
}

func TestWindowsThatTakeRecoveries(t *testing.T) {
	// Deadline 10 opens at 3480, so its cutoff is 3410; that of deadline 11 is 3470.
	for situation, c := range map[string]struct {
		epoch  abi.ChainEpoch
		first  uint64
		passed []uint64
	}{
		"in the middle of deadline 8, before the cutoff of 10":     {epoch: 3390, first: 10, passed: []uint64{8, 9}},
		"5 epochs before the cutoff of 10":                         {epoch: 3405, first: 10, passed: []uint64{8, 9}},
		"too near to the cutoff of 10 for a message to land":       {epoch: 3406, first: 11, passed: []uint64{8, 9, 10}},
		"in deadline 9, after the cutoff of 10":                    {epoch: 3425, first: 11, passed: []uint64{9, 10}},
		"at the period's end, where the next period's are cut off": {epoch: 5750, first: 2, passed: []uint64{0, 1, 47}},
		"at the period's end, where 1 of the next is not":          {epoch: 5740, first: 1, passed: []uint64{0, 47}},
		"at the first epoch of the period, 0 open and 1 cut off":   {epoch: 2880, first: 2, passed: []uint64{0, 1}},
	} {
		t.Run(situation, func(t *testing.T) {
			windows, passed := RecoveryWindows(1000, mainnet(c.epoch))
			require.Equal(t, c.passed, passed)
			require.Len(t, windows, 48-len(passed))
			require.Equal(t, c.first, windows[0].Deadline.Index)
			for i, w := range windows {
				require.Equal(t, w.Deadline.Open-70, w.Cutoff)
				require.Greater(t, w.Cutoff, c.epoch+RecoverMargin)
				require.LessOrEqual(t, w.Deadline.Close-c.epoch, abi.ChainEpoch(2880+60+70))
				if i > 0 {
					require.Greater(t, w.Cutoff, windows[i-1].Cutoff, "the nearest first")
				}
			}
		})
	}
}

// row is sectors in a row.
func row(from, n int) (out Numbers) {
	for i := range n {
		out = append(out, abi.SectorNumber(from+i))
	}
	return out
}

func TestBatchesOfRecoveries(t *testing.T) {
	const all = 1 << 20
	parts := func(sizes ...int) (out []FaultyPartition) {
		for i, n := range sizes {
			out = append(out, FaultyPartition{Index: uint64(i), Sectors: row(10_000*i, n)})
		}
		return out
	}
	for situation, c := range map[string]struct {
		in         []FaultyPartition
		most, room int
		want       [][]int // sectors of each partition of each message
	}{
		"nothing":                                 {room: all},
		"two partitions in one message":           {in: parts(3, 5), room: all, want: [][]int{{3, 5}}},
		"one partition a message":                 {in: parts(3, 5), most: 1, room: all, want: [][]int{{3}, {5}}},
		"two a message":                           {in: parts(1, 1, 1, 1, 1), most: 2, room: all, want: [][]int{{1, 1}, {1, 1}, {1}}},
		"more partitions than the network takes":  {in: parts(make([]int, 0)...), most: 9_999, room: all},
		"room for a part":                         {in: parts(3, 5, 4), room: 6, want: [][]int{{3, 3}}},
		"no room":                                 {in: parts(3, 5), room: 0},
		"more sectors than the network takes":     {in: parts(2349, 2349, 2349, 2349, 2349, 2349, 2349, 2349, 2349, 2349, 2349), room: all, want: [][]int{{2349, 2349, 2349, 2349, 2349, 2349, 2349, 2349, 2349, 2349}, {2349}}},
		"a partition without sectors is left out": {in: parts(0, 2), room: all, want: [][]int{{2}}},
	} {
		t.Run(situation, func(t *testing.T) {
			var got [][]int
			for _, batch := range BatchRecoveries(c.in, c.most, c.room) {
				var sizes []int
				for _, p := range batch {
					sizes = append(sizes, len(p.Sectors))
				}
				got = append(got, sizes)
			}
			require.Equal(t, c.want, got)
		})
	}
	many := make([]FaultyPartition, MaxRecoveryPartitions+1)
	for i := range many {
		many[i] = FaultyPartition{Index: uint64(i), Sectors: Numbers{abi.SectorNumber(i)}}
	}
	batches := BatchRecoveries(many, 0, all)
	require.Len(t, batches, 2)
	require.Len(t, batches[0], MaxRecoveryPartitions)
}

func TestRoomForRecoveries(t *testing.T) {
	require.Equal(t, 7, Recovery{MaxSectors: 10}.Room(3))
	require.Zero(t, Recovery{MaxSectors: 10}.Room(12))
	require.Greater(t, Recovery{}.Room(25_000), MaxRecoverySectors)
}
