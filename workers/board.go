package workers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	enums "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// Row is a deadline's workflow as Temporal shows it to everybody: from visibility and Describe alone, so that it can be read while no
// daemon runs.
type Row struct {
	WorkflowID string       `json:"workflow_id"`
	RunID      string       `json:"run_id"`
	Status     string       `json:"status"` // Temporal's: Running, Completed, Failed, Terminated, …
	Started    time.Time    `json:"started"`
	Closed     time.Time    `json:"closed,omitzero"`
	Board      post.Result  `json:"deadline"`
	Jobs       []RunningJob `json:"jobs,omitempty"`

	TaskAttempt int32 `json:"task_attempt,omitempty"` // of the workflow task that waits; more than a few: it fails again and again
}

// RunningJob is a GenerateWindowPoSt activity that is not finished.
type RunningJob struct {
	Partition uint64        `json:"partition"`
	Started   bool          `json:"started"`          // a worker has it; else it waits in the queue
	Paused    bool          `json:"paused,omitempty"` // by an operator, with Temporal's own commands
	Attempt   int32         `json:"attempt"`          // Temporal's count, of lost workers and hand-overs too
	Worker    string        `json:"worker,omitempty"`
	Since     time.Time     `json:"since,omitzero"` // its last attempt began
	Heartbeat time.Time     `json:"heartbeat,omitzero"`
	Progress  post.Progress `json:"progress"`
	LastError string        `json:"last_error,omitempty"`
}

// ReadBoard lists deadlines' workflows, the earliest Close first. query narrows it, in Temporal's list filter; empty means all that
// are kept. Running ones are described, for their activities.
func ReadBoard(ctx context.Context, temporal client.Client, query string) ([]Row, error) {
	rows, err := ListBoard(ctx, temporal, query)
	if err != nil {
		return nil, err
	}
	if err := describeRunning(ctx, temporal, rows); err != nil {
		return nil, err
	}
	sortRows(rows) // described ones say more
	return rows, nil
}

// ListBoard is ReadBoard without the activities: from visibility alone, which is quicker.
func ListBoard(ctx context.Context, temporal client.Client, query string) ([]Row, error) {
	filter := fmt.Sprintf("WorkflowType = '%s'", workflows.NameDeadlineWorkflow)
	if query != "" {
		filter += " AND (" + query + ")"
	}
	listed, err := listWorkflows(ctx, temporal, filter)
	if err != nil {
		return nil, fmt.Errorf("listing deadlines: %w", err)
	}
	rows := make([]Row, 0, len(listed))
	for _, info := range listed {
		// One that somebody has started by hand under another name sees no deadline through, whatever its memo says.
		if _, _, _, err := post.ParseWorkflowID(info.GetExecution().GetWorkflowId()); err == nil {
			rows = append(rows, rowOf(info))
		}
	}
	sortRows(rows)
	return rows, nil
}

func sortRows(rows []Row) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Board.Deadline.Close, b.Board.Deadline.Close), cmp.Compare(a.WorkflowID, b.WorkflowID), a.Started.Compare(b.Started))
	})
}

// missedFor is how long what ended badly is shown to those who have not asked for all: people look in the morning.
const missedFor = 24 * time.Hour

// QueryUnsettled is the query for deadlines that are not over and for those that ended badly of late.
func QueryUnsettled(now time.Time) string {
	return fmt.Sprintf("ExecutionStatus = 'Running' OR (ExecutionStatus != 'Completed' AND CloseTime > '%s')", now.Add(-missedFor).UTC().Format(time.RFC3339))
}

// rowOf reads what visibility says of one workflow. One that has shown nothing yet is known by its ID.
func rowOf(info *workflowpb.WorkflowExecutionInfo) Row {
	row := Row{
		WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(),
		Status: info.GetStatus().String(), Started: info.GetStartTime().AsTime(),
	}
	if info.GetCloseTime() != nil {
		row.Closed = info.GetCloseTime().AsTime()
	}
	if board, shown := activities.BoardOf(info); shown {
		row.Board = board
	}
	if row.Board.Deadline == (post.Deadline{}) {
		d := &row.Board.Deadline
		d.Miner, d.PeriodStart, d.Index, _ = post.ParseWorkflowID(row.WorkflowID)
		row.Board.State = post.StateWaiting
	}
	return row
}

// ReadRow describes the latest run of a deadline's workflow: as it is at this moment, which visibility lists later. Its status is empty if
// there is no such workflow.
func ReadRow(ctx context.Context, temporal client.Client, workflowID string) (Row, error) {
	row := Row{WorkflowID: workflowID}
	err := describe(ctx, temporal, &row, "")
	return row, err
}

// describeRunning adds the unfinished activities of running workflows.
func describeRunning(ctx context.Context, temporal client.Client, rows []Row) error {
	return activities.SideBySide(len(rows), func(i int) error {
		if rows[i].Status != running {
			return nil
		}
		return describe(ctx, temporal, &rows[i], rows[i].RunID)
	})
}

// describe has a row say what Describe says of a run of its workflow; an empty one is the latest.
func describe(ctx context.Context, temporal client.Client, row *Row, runID string) error {
	described, err := temporal.DescribeWorkflowExecution(ctx, row.WorkflowID, runID)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("describing %s: %w", row.WorkflowID, err)
	}
	row.take(described)
	return nil
}

// take reads what Describe says: newer than visibility's.
func (r *Row) take(described *workflowservice.DescribeWorkflowExecutionResponse) {
	info := described.GetWorkflowExecutionInfo()
	r.RunID, r.Status, r.Started = info.GetExecution().GetRunId(), info.GetStatus().String(), info.GetStartTime().AsTime()
	r.Closed = time.Time{}
	if info.GetCloseTime() != nil {
		r.Closed = info.GetCloseTime().AsTime()
	}
	if board, shown := activities.BoardOf(info); shown {
		r.Board = board
	}
	r.TaskAttempt = described.GetPendingWorkflowTask().GetAttempt()
	r.Jobs = nil
	for _, a := range described.GetPendingActivities() {
		if a.GetActivityType().GetName() == workflows.ActivityGenerateWindowPoSt {
			r.Jobs = append(r.Jobs, runningOf(a))
		}
	}
}

// runningOf reads one activity. Its partition is in its ID, and in its heartbeat for those from before IDs were given.
func runningOf(a *workflowpb.PendingActivityInfo) RunningJob {
	job := RunningJob{
		Started: a.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED, Paused: a.GetPaused(), Attempt: a.GetAttempt(), Worker: a.GetLastWorkerIdentity(),
		LastError: a.GetLastFailure().GetMessage(),
	}
	if a.GetLastHeartbeatTime() != nil {
		job.Heartbeat = a.GetLastHeartbeatTime().AsTime()
	}
	if job.Started && a.GetLastStartedTime() != nil {
		job.Since = a.GetLastStartedTime().AsTime()
	}
	_ = converter.GetDefaultDataConverter().FromPayloads(a.GetHeartbeatDetails(), &job.Progress) // none yet: an empty one
	job.Partition = job.Progress.Partition
	if partition, named := activities.PartitionOf(a.GetActivityId()); named {
		job.Partition = partition
	}
	return job
}

// Card names the card that works on a partition, with its phase, or the one that proved it.
func (r Row) Card(p post.PartitionResult) string {
	for _, j := range r.Jobs {
		if j.Partition != p.Lead() || !j.Started {
			continue
		}
		if j.Progress.Card == "" {
			return j.Worker
		}
		return fmt.Sprintf("%s %s", j.Progress.Card, j.Progress.Phase)
	}
	return p.Card
}
