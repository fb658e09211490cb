package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/rig"
)

// Temporal's database is put back to what it was before a deadline was posted, and is lost altogether in the middle of another
// one, as when a new server takes the place of the old. The chain knows what is posted: nothing is sent twice, nothing is missed.
func TestDatabaseRestoredAndLost(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	r := rig.New(t, rig.Options{Chain: slowChain()})
	copied := filepath.Join(r.Dir, "copy.db")

	proof, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	out, err := posthaste(ctx, t, r, "temporal", "backup", copied, "--data-dir", r.Dir)
	require.NoError(t, err, out)
	before := proof.Deadline
	after, err := r.WaitForRunningProof(ctx, func(id string) bool { return id == before.WorkflowID() })
	require.NoError(t, err)
	eventually(ctx, t, "the deadline that was being proven is posted", func() bool { return onChain(ctx, t, r, before) })
	stopAll(r)
	require.NoError(t, r.Temporal.Start(ctx))
	out, err = posthaste(ctx, t, r, "temporal", "restore", copied, "--data-dir", r.Dir)
	require.Error(t, err)
	assert.Contains(t, out, "in use by temporal-dev")
	r.Temporal.Stop()
	out, err = posthaste(ctx, t, r, "temporal", "restore", copied, "--data-dir", r.Dir)
	require.NoError(t, err, out)
	startAll(ctx, t, r)
	require.Equal(t, "Running", describe(ctx, t, r, before.WorkflowID()).GetWorkflowExecutionInfo().GetStatus().String(), "the copy is of before it was posted")
	assert.Equal(t, post.StatePosted, resultAt(ctx, t, r, before).State, "the workflow finds on the chain what it does not remember")

	hit := map[string]bool{before.WorkflowID(): true, after.WorkflowID: true}
	proof, err = r.WaitForRunningProof(ctx, func(id string) bool { return hit[id] })
	require.NoError(t, err)
	for _, p := range append([]*rig.Process{r.Daemon, r.Temporal}, r.Workers...) {
		p.Kill()
	}
	files, err := filepath.Glob(filepath.Join(r.Dir, "temporal.db*"))
	require.NoError(t, err)
	for _, file := range files {
		require.NoError(t, os.Remove(file))
	}
	startAll(ctx, t, r)
	allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, proof.Deadline))
	assert.Equal(t, post.StatePosted, resultAt(ctx, t, r, proof.Deadline).State)
}

// stopAll stops the programs in the order in which `posthaste up` does.
func stopAll(r *rig.Rig) {
	for _, w := range r.Workers {
		w.Stop()
	}
	r.Daemon.Stop()
	r.Temporal.Stop()
}

func startAll(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	require.NoError(t, r.Temporal.Start(ctx))
	require.NoError(t, r.Daemon.Start(ctx))
	require.NoError(t, r.StartWorkers(ctx))
}

// reportOf is what the chain says of a deadline; nil: nothing yet.
func reportOf(ctx context.Context, t *testing.T, r *rig.Rig, d post.Deadline) (*devnet.DeadlineReport, devnet.Report) {
	t.Helper()
	report, err := r.Report(ctx)
	require.NoError(t, err)
	for i, found := range report.Deadlines {
		if found.Miner == post.MinerName(d.Miner) && found.PeriodStart == d.PeriodStart && found.Index == d.Index {
			return &report.Deadlines[i], report
		}
	}
	return nil, report
}

func onChain(ctx context.Context, t *testing.T, r *rig.Rig, d post.Deadline) bool {
	t.Helper()
	found, _ := reportOf(ctx, t, r, d)
	if found == nil {
		return false
	}
	for _, p := range found.Partitions {
		if !p.Posted {
			return false
		}
	}
	return true
}
