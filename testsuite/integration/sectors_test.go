package integration_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
)

// One sector of each first deadline is bad, each in another way: it is skipped and named, the other is proven and posted.
func TestBadSectors(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	damage := []struct {
		what string
		do   func(store string, miner abi.ActorID, number abi.SectorNumber) error
		says string
	}{
		{"the replica's file is gone", sealing.Delete, "not in sealed/"},
		{"the replica is cut short", sealing.Truncate, "holds 1024 bytes instead of 2048"},
		{"the replica's bits are wrong", sealing.FlipReplica, "is invalid"},
		{"one bit in every node of the tree is wrong", sealing.FlipTree, "is invalid"},
	}
	r := rig.New(t, rig.Options{
		Chain: slowChain("--miners", "4", "--deadlines", "4"),
		Before: func(r *rig.Rig) {
			for i, d := range damage {
				require.NoError(t, d.do(r.Stores()[i].Path, minerNumber(i), 2))
			}
		},
	})
	for _, d := range posted(ctx, t, r, len(damage)) {
		miner, err := post.ParseMiner(d.Miner)
		require.NoError(t, err)
		c := damage[miner-minerNumber(0)]
		assert.Equal(t, []abi.SectorNumber{2}, d.Partitions[0].Skipped, c.what)
		assert.Equal(t, 1, d.Partitions[0].FaultyAfter, c.what)
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, c.what)
		skipped := partitionOf(t, result, 0).Skipped
		if assert.Len(t, skipped, 1, c.what) {
			assert.Equal(t, abi.SectorNumber(2), skipped[0].Sector)
			assert.NotEmpty(t, skipped[0].Reason, c.what)
			assert.Contains(t, skipped[0].Reason, c.says, c.what)
			t.Logf("%s: %s", c.what, skipped[0].Reason)
			if c.what == damage[2].what {
				record(ctx, t, r, result.Deadline.WorkflowID(), "", "deadline-skipped-sector")
			}
		}
	}
}

// minerNumber is the i-th miner actor of the chain.
func minerNumber(i int) abi.ActorID { return abi.ActorID(1000 + i) }
