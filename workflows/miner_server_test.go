package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// All that is done to a miner, by operators and by daemons, on a server; and what it leaves behind replays.
func TestMinerOnAServer(t *testing.T) {
	c := realTemporal(t)
	watched := make(chan workflows.WatchInput, 100)
	poll(t, c, workflows.QueueChain, map[string]any{
		workflows.ActivityWatchDeadlines: func(ctx context.Context, in workflows.WatchInput) error {
			watched <- in
			for ctx.Err() == nil {
				activity.RecordHeartbeat(ctx)
				time.Sleep(100 * time.Millisecond)
			}
			return ctx.Err()
		},
	})
	const id = "miner-f01000"
	_, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: workflows.QueueChain},
		workflows.NameMinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}})
	require.NoError(t, err)
	watches := func(want workflows.WatchInput) {
		t.Helper()
		select {
		case in := <-watched:
			require.Equal(t, want, in)
		case <-time.After(20 * time.Second):
			require.FailNow(t, "it is not watched")
		}
	}
	order := func(name string, args ...any) error {
		handle, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
			WorkflowID: id, UpdateName: name, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err != nil {
			return err
		}
		return handle.Get(t.Context(), nil)
	}
	shows := func(want workflows.MinerState) {
		t.Helper()
		var shown workflows.MinerState
		require.Eventually(t, func() bool {
			described, err := c.DescribeWorkflowExecution(t.Context(), id, "")
			require.NoError(t, err)
			payload := described.GetWorkflowExecutionInfo().GetMemo().GetFields()[workflows.MemoMiner]
			shown = workflows.MinerState{}
			return payload != nil && converter.GetDefaultDataConverter().FromPayload(payload, &shown) == nil && shown == want
		}, 20*time.Second, 50*time.Millisecond, "the memo never is %+v", want)
	}
	plain := workflows.WatchInput{Miner: 1000}
	watches(plain)
	require.NoError(t, order(workflows.UpdatePause, "moving racks"))
	shows(workflows.MinerState{WatchInput: plain, Paused: "moving racks"})
	require.NoError(t, order(workflows.UpdateResume))
	watches(plain)
	shows(workflows.MinerState{WatchInput: plain})

	require.NoError(t, order(workflows.UpdatePause, ""))
	require.NoError(t, order(workflows.UpdateRemove, "sold"))
	configured := workflows.WatchInput{Miner: 1000, Settings: post.Settings{MaxTry: 7}}
	require.NoError(t, c.SignalWorkflow(t.Context(), id, "", workflows.SignalConfigure, configured))
	shows(workflows.MinerState{WatchInput: plain, Paused: "by an operator", Removed: "sold"})
	require.ErrorContains(t, order(workflows.UpdateResume), "it was removed (sold)")
	require.Empty(t, watched, "it is watched although it was removed")

	require.NoError(t, order(workflows.UpdateAdd, workflows.AddMiner{}))
	watches(configured)
	shows(workflows.MinerState{WatchInput: configured})
	replay(t, c, id)
}
