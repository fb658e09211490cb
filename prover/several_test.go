package prover

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/sealing"
)

// A post of three partitions whose sector numbers are interleaved (1 4, 2 5 and 3 6), the first of which is gone. What the chain checks is the
// set of good sectors in the order of their numbers, cut at the partition size: 2 3, 4 5 and 6.
func TestProofOfSeveralPartitionsIsOfTheirUnion(t *testing.T) {
	t.Parallel()
	needParameters(t)
	dir, _, task := sealed(t, 6)
	require.NoError(t, sealing.Delete(dir, miner, 1))
	asked := task // in whatever order
	asked.Replicas = nil
	for _, n := range []int{1, 4, 2, 5, 3, 6} {
		asked.Replicas = append(asked.Replicas, task.Replicas[n-1])
	}
	v, err := Vanilla(t.Context(), asked, Reading{})
	require.NoError(t, err)
	proof, skipped, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.Len(t, skipped, 1)
	require.EqualValues(t, 1, skipped[0].Sector)
	require.Len(t, proof, 3*192, "one proof of each full or begun partition size")
	require.True(t, verifies(t, task, skipped, proof))
	require.False(t, verifies(t, task, []post.Skipped{{Sector: 2}}, proof), "another sector skipped")
	require.False(t, verifies(t, task, nil, proof))

	// As the actor does it: each partition's sectors, a good one standing in for what is skipped, doubles dropped, by number.
	var actors post.Sectors
	for _, partition := range [][]int{{1, 4}, {2, 5}, {3, 6}} {
		for _, n := range partition {
			if n == 1 {
				n = 2
			}
			actors = append(actors, post.Sector{Number: abi.SectorNumber(n), CommR: task.Replicas[n-1].CommR})
		}
	}
	ok, err := Verify(t.Context(), miner, windowType, task.Seed[:], actors.Sort(), proof)
	require.NoError(t, err)
	require.True(t, ok)
}
