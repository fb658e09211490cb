package workers_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"posthaste/workers"
)

// lists is a server that lists workflows by these names.
type lists struct {
	client.Client
	ids []string
}

func (l lists) ListWorkflow(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	answer := &workflowservice.ListWorkflowExecutionsResponse{}
	for _, id := range l.ids {
		answer.Executions = append(answer.Executions, &workflowpb.WorkflowExecutionInfo{Execution: &commonpb.WorkflowExecution{WorkflowId: id, RunId: "run of " + id}})
	}
	return answer, nil
}

// A workflow of a deadline's type that somebody started by hand under another name was listed as a job of miner f00, which no command
// could find, and remove-all and reset took it for one.
func TestListBoardLeavesOutWhatIsNoDeadline(t *testing.T) {
	rows, err := workers.ListBoard(t.Context(), lists{ids: []string{"garbage", "wdpost-f01000-x-1", "wdpost-f01000-96-7"}}, "")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, "wdpost-f01000-96-7", rows[0].WorkflowID)
}
