package integration_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
	"posthaste/workflows"
)

// What operators do in damocles with "job remove" and "job reset", by Temporal's own means and by ours: a workflow that was
// terminated is issued again; one that is out of tries runs again after Temporal's reset, and after our Update.
func TestOperators(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	r := rig.New(t, rig.Options{
		Chain:  slowChain("--miners", "3"),
		Policy: []string{"max_try = 1", "retry_until_close = false"}, // as in damocles
		Before: func(r *rig.Rig) {
			hide(t, filepath.Join(r.Stores()[1].Path, "cache"))
			for sector := range abi.SectorNumber(2) {
				empty(t, sealing.CacheDir(r.Stores()[2].Path, minerNumber(2), sector+1))
			}
		},
	})

	proof, err := r.WaitForRunningProof(ctx, func(id string) bool { return minerOf(t, id) != 1000 })
	require.NoError(t, err)
	require.NoError(t, r.Client().TerminateWorkflow(ctx, proof.WorkflowID, proof.RunID, "the test's operator"))
	removed := proof.WorkflowID

	out := func(row boardRow) bool { return row.Board.State == post.StateFailed }
	reset := waitBoard(ctx, t, r, "f01001", 0, "out of tries", out)
	assert.Equal(t, 1, reset.Board.Partitions[0].Tries)
	assert.Contains(t, reset.Board.Partitions[0].Reason, "AllSectorsBad: no store has any of its sectors", "the daemon saw it at the lookup")
	mend(t, filepath.Join(r.Stores()[1].Path, "cache"))
	time.Sleep(1500 * time.Millisecond) // an operator is no faster; stores are listed again at most every second
	again, err := r.Client().ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: "default", WorkflowExecution: execution(reset), Reason: "the test's operator", RequestId: "reset",
		WorkflowTaskFinishEventId: lastWorkflowTask(ctx, t, r, reset),
	})
	require.NoError(t, err)
	require.NotEqual(t, reset.RunID, again.GetRunId())

	updated := waitBoard(ctx, t, r, "f01002", 0, "out of tries", out)
	assert.Contains(t, updated.Board.Partitions[0].Reason, "AllSectorsBad: none of the 2 sectors of f01002 can be proven", "the worker saw it at the proof")
	for sector := range abi.SectorNumber(2) {
		mend(t, sealing.CacheDir(r.Stores()[2].Path, minerNumber(2), sector+1))
	}
	handle, err := r.Client().UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: updated.WorkflowID, UpdateName: workflows.UpdateReset, Args: []any{workflows.ResetJobs{Partitions: []uint64{0}}},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	require.NoError(t, err)
	require.NoError(t, handle.Get(ctx, nil))

	deadlines := allPosted(ctx, t, r, 3)
	for _, d := range deadlines {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
		assert.Equal(t, 1, partitionOf(t, result, 0).Tries, "a reset starts counting anew")
	}
	ran(ctx, t, r, removed, terminatedRun, completedRun)
	record(ctx, t, r, reset.WorkflowID, again.GetRunId(), "deadline-reset-by-temporal")
	record(ctx, t, r, updated.WorkflowID, updated.RunID, "deadline-reset-by-update")
}

// hide renames a folder away, as if a disk below it were unmounted.
func hide(t *testing.T, folder string) {
	t.Helper()
	require.NoError(t, os.Rename(folder, folder+".away"))
}

// empty hides what is in a folder, which a listing of its parent does not see.
func empty(t *testing.T, folder string) {
	t.Helper()
	hide(t, folder)
	require.NoError(t, os.Mkdir(folder, 0o755))
}

// mend brings a folder back.
func mend(t *testing.T, folder string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.Rename(folder+".away", folder))
}
