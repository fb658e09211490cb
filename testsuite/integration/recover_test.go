package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
	"posthaste/workers"
	"posthaste/workflows"
)

// A sector whose replica is away is left out of its deadline's post and so faulty. When the file is back it is declared recovered, and the next
// post of the deadline covers it. One that is broken stays faulty, and people are told why.
func TestASectorComesBack(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	const away, broken = abi.SectorNumber(2), abi.SectorNumber(3)
	var replica, hidden string
	r := rig.New(t, rig.Options{
		// From the first deadline's Close there are 46 epochs, 23 s, to declare the sector before the cutoff of its next one.
		Chain: slowChain("--miners", "1", "--epoch", "500ms", "--window", "64", "--lookback", "15", "--fault-cutoff", "18", "--deadlines", "2"),
		Before: func(r *rig.Rig) {
			store := r.Stores()[0].Path
			replica = filepath.Join(store, "sealed", "s-t01000-2")
			hidden = filepath.Join(r.Dir, "away")
			require.NoError(t, os.Rename(replica, hidden))
			require.NoError(t, sealing.FlipReplica(store, 1000, broken))
		},
	})
	closed, err := r.WaitDeadlinesClosed(ctx, 0, 1)
	require.NoError(t, err)
	require.Equal(t, []abi.SectorNumber{away}, closed[0].Partitions[0].Skipped, "posted without it: %s", story(t, r, closed[0]))
	require.Equal(t, 1, closed[0].Partitions[0].FaultyAfter)

	require.NoError(t, os.Rename(hidden, replica))
	o := operator{T: t, Rig: r, ctx: ctx}
	out, _, code := o.gives("proving", "recover", "--miner", "f01000", "--json")
	require.Zero(t, code)
	var state post.RecoveryState
	require.NoError(t, json.Unmarshal([]byte(out), &state))
	require.NotEmpty(t, state.Declared)
	require.Equal(t, post.Numbers{away}, state.Declared[0].Partitions[0].Sectors)

	closed, err = r.WaitDeadlinesClosed(ctx, 0, 3) // 0, 1, and 0 of the next period
	require.NoError(t, err)
	again := closed[2]
	require.Equal(t, closed[0].Index, again.Index)
	assert.Empty(t, again.Partitions[0].Skipped)
	assert.Zero(t, again.Partitions[0].FaultyAfter, "its power is back: %s", story(t, r, again))
	assert.True(t, again.Partitions[0].Verified)
	assert.Equal(t, 1, closed[1].Partitions[0].FaultyAfter)

	report, err := r.Report(ctx)
	require.NoError(t, err)
	assert.Equal(t, 1, report.Recoveries.Messages, "declared once, and the broken one not at all")
	assert.Zero(t, report.Recoveries.Failed)
	assert.Zero(t, report.Messages.Failed)

	state, err = workers.ReadRecovery(ctx, r.Client(), 1000)
	require.NoError(t, err)
	require.Len(t, state.Waits, 1, "%+v", state)
	require.Equal(t, post.Numbers{broken}, state.Waits[0].Sectors)
	require.Contains(t, state.Waits[0].Reason, "is invalid")
	_, _, code = o.gives("proving", "recover", "--miner", "f01000", "--status")
	require.Zero(t, code)
	record(ctx, t, r, workflows.RecoveryWorkflowID(1000), "", "recovery-one-sector")
}
