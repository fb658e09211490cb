package integration_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/testsuite/rig"
)

// Both programs with everything real around them, proofs too: terminated in the middle of a proof; out of tries, and reset; proven and its message
// in the pool of a chain that stands still, and then terminated, or reset to the beginning; completed, and reset to the beginning. The
// chain has each post once.
func TestToolsOnAChain(t *testing.T) {
	t.Parallel()
	ctx := within(t, 5*time.Minute)
	r := rig.New(t, rig.Options{
		Chain:  slowChain("--miners", "4", "--window", "100"),
		Policy: []string{"max_try = 1", "retry_until_close = false", "confidence = 3"},
		Before: func(r *rig.Rig) { hide(t, filepath.Join(r.Stores()[1].Path, "cache")) },
	})
	tctl, cli := newTool(t, r, "tctl"), newTool(t, r, "temporal")

	proof, err := r.WaitForRunningProof(ctx, func(id string) bool { return minerOf(t, id) != 1000 })
	require.NoError(t, err)
	tctl.terminate(ctx, t, proof.WorkflowID)

	failed := waitBoard(ctx, t, r, "f01001", 0, "out of tries", func(row boardRow) bool { return row.Board.State == post.StateFailed })
	mend(t, filepath.Join(r.Stores()[1].Path, "cache"))
	time.Sleep(1500 * time.Millisecond) // an operator is no faster; stores are listed again at most every second
	tctl.reset(ctx, t, failed.WorkflowID, last)

	// No message lands before both are done, however late the test is.
	require.NoError(t, r.StopIncluding(ctx))
	terminated := standStill(ctx, t, r, minerNumber(2))
	cli.terminate(ctx, t, terminated)
	goOn(ctx, t, r, terminated)
	beginning := standStill(ctx, t, r, minerNumber(3))
	cli.reset(ctx, t, beginning, first)
	goOn(ctx, t, r, beginning)
	require.NoError(t, r.ResumeIncluding(ctx))

	deadlines := allPosted(ctx, t, r, 4)
	for _, d := range deadlines {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
	}
	for _, id := range []string{proof.WorkflowID, failed.WorkflowID, terminated, beginning} {
		ran(ctx, t, r, id, terminatedRun, completedRun)
	}

	// Closed deadlines again: from their beginning, and from their end.
	tctl.reset(ctx, t, failed.WorkflowID, first)
	cli.reset(ctx, t, proof.WorkflowID, last)
	for _, id := range []string{failed.WorkflowID, proof.WorkflowID} {
		eventually(ctx, t, id+" is over again", func() bool {
			runs := runsOf(ctx, t, r, id)
			return len(runs) == 3 && runs[2] != enums.WORKFLOW_EXECUTION_STATUS_RUNNING
		})
		assert.Equal(t, completedRun, runsOf(ctx, t, r, id)[2], id)
		replays(ctx, t, r, id)
	}
	replays(ctx, t, r, terminated)
	replays(ctx, t, r, beginning)
	report, err := r.Report(ctx)
	require.NoError(t, err)
	assert.Zero(t, report.Messages.SentTwice)
	assert.Zero(t, report.Messages.Failed)
}

// standStill stops the chain when the message of a miner's first deadline is in the pool, and gives its workflow.
func standStill(ctx context.Context, t *testing.T, r *rig.Rig, miner abi.ActorID) string {
	t.Helper()
	asked := waitBoard(ctx, t, r, post.MinerName(miner), 0, "asked", func(row boardRow) bool {
		return row.Status == "Running" && row.Board.State == post.StateSubmitting && row.Board.Partitions[0].Asked > 0
	})
	node, err := chain.Dial(ctx, r.Config.APIInfo, chain.Options{})
	require.NoError(t, err)
	defer node.Close()
	to, err := chain.MinerAddress(miner)
	require.NoError(t, err)
	eventually(ctx, t, "its message is in the pool", func() bool {
		pending, err := node.MpoolPending(ctx, nil)
		require.NoError(t, err)
		return slices.ContainsFunc(pending, func(m *chain.SignedMessage) bool { return m.Message.To == to })
	})
	require.NoError(t, r.SetMining(ctx, false))
	return asked.WorkflowID
}

// goOn lets the chain go on when the run that is new has a proof and asks for its message.
func goOn(ctx context.Context, t *testing.T, r *rig.Rig, id string) {
	t.Helper()
	eventually(ctx, t, "another run of "+id+" has asked", func() bool {
		row, err := boardOf(ctx, r, id)
		return err == nil && row.Status == "Running" && len(runsOf(ctx, t, r, id)) == 2 && row.Board.State == post.StateSubmitting && row.Board.Partitions[0].Asked > 0
	})
	time.Sleep(time.Second) // until its request has reached the sender
	require.NoError(t, r.SetMining(ctx, true))
}
