package integration_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/workers"
)

type boardRow = workers.Row

// waitBoard waits until a miner's deadline stands on the board as a condition wants it.
func waitBoard(ctx context.Context, t *testing.T, r *rig.Rig, miner string, index uint64, what string, holds func(boardRow) bool) boardRow {
	t.Helper()
	var found boardRow
	eventually(ctx, t, miner+" is "+what, func() bool {
		rows, err := workers.ReadBoard(ctx, r.Client(), "")
		if err != nil { // a busy server says at times that it is unavailable
			t.Log(err)
			return false
		}
		for _, row := range rows {
			if post.MinerName(row.Board.Deadline.Miner) == miner && row.Board.Deadline.Index == index && holds(row) {
				found = row
				return true
			}
		}
		return false
	})
	return found
}

func minerOf(t *testing.T, workflowID string) abi.ActorID {
	t.Helper()
	miner, _, _, err := post.ParseWorkflowID(workflowID)
	require.NoError(t, err)
	return miner
}

// describe is what Temporal says of a workflow's latest run.
func describe(ctx context.Context, t *testing.T, r *rig.Rig, workflowID string) *workflowservice.DescribeWorkflowExecutionResponse {
	t.Helper()
	return patiently(ctx, t, func() (*workflowservice.DescribeWorkflowExecutionResponse, error) {
		return r.Client().DescribeWorkflowExecution(ctx, workflowID, "")
	})
}

func execution(row boardRow) *commonpb.WorkflowExecution {
	return &commonpb.WorkflowExecution{WorkflowId: row.WorkflowID, RunId: row.RunID}
}

// historyOf is the whole history of a run.
func historyOf(ctx context.Context, t *testing.T, r *rig.Rig, workflowID, runID string) *historypb.History {
	t.Helper()
	history := &historypb.History{}
	events := r.Client().GetWorkflowHistory(ctx, workflowID, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(t, err)
		history.Events = append(history.Events, event)
	}
	return history
}

// lastWorkflowTask is where "reset to the last workflow task" of the Web UI and the temporal CLI goes.
func lastWorkflowTask(ctx context.Context, t *testing.T, r *rig.Rig, row boardRow) int64 {
	t.Helper()
	events := historyOf(ctx, t, r, row.WorkflowID, row.RunID).GetEvents()
	for _, event := range slices.Backward(events) {
		if event.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			return event.GetEventId()
		}
	}
	require.FailNow(t, "no workflow task is completed")
	return 0
}

// What a run has come to.
const (
	terminatedRun = enums.WORKFLOW_EXECUTION_STATUS_TERMINATED
	completedRun  = enums.WORKFLOW_EXECUTION_STATUS_COMPLETED
)

// ran waits until a workflow's runs are listed so, the oldest first. They are listed a moment after they have come or ended.
func ran(ctx context.Context, t *testing.T, r *rig.Rig, workflowID string, want ...enums.WorkflowExecutionStatus) {
	t.Helper()
	var got []enums.WorkflowExecutionStatus
	for range 100 {
		if got = runsOf(ctx, t, r, workflowID); slices.Equal(got, want) {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	assert.Equal(t, want, got, workflowID)
}

// runsOf are the states of a workflow's runs, the oldest first.
func runsOf(ctx context.Context, t *testing.T, r *rig.Rig, workflowID string) []enums.WorkflowExecutionStatus {
	t.Helper()
	rows := patiently(ctx, t, func() ([]boardRow, error) { return workers.ReadBoard(ctx, r.Client(), "WorkflowId = '"+workflowID+"'") })
	slices.SortFunc(rows, func(a, b boardRow) int { return a.Started.Compare(b.Started) })
	states := make([]enums.WorkflowExecutionStatus, len(rows))
	for i, row := range rows {
		var err error
		states[i], err = enums.WorkflowExecutionStatusFromString(row.Status)
		require.NoError(t, err)
	}
	return states
}
