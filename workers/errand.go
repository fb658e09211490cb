package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	enums "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"posthaste/workflows"
)

// Errand is a workflow that somebody at a terminal starts and waits for.
type Errand struct {
	ID      string
	Summary string // for lists
	Type    string // the workflow's name
	Input   any
	Limit   time.Duration // after which Temporal ends it, if nobody does
	Memo    string        // the key that it writes in its first task: until then, no daemon has taken it
	// Show is called every half second with what Temporal says of it. It may be nil.
	Show func(*workflowpb.WorkflowExecutionInfo, []*workflowpb.PendingActivityInfo)
}

const (
	errandLook = 500 * time.Millisecond
	// takenWithin is how long a daemon that runs takes at most to begin with a workflow, many times over.
	takenWithin = 20 * time.Second
	// endsWithin is how long a cancelled errand may take to end: a worker that has its job and is gone is found out after 15 s.
	endsWithin = 30 * time.Second
)

// Run starts the errand and waits for its result. When ctx ends, the errand is cancelled, and has ended when Run returns, or
// Run's error says that it has not.
func (e Errand) Run(ctx context.Context, t client.Client, result any) error {
	_, err := t.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: e.ID, TaskQueue: workflows.QueueChain, StaticSummary: e.Summary, WorkflowExecutionTimeout: e.Limit,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
	}, e.Type, e.Input)
	if err != nil {
		return fmt.Errorf("starting workflow %s: %w", e.ID, err)
	}
	err = e.follow(ctx, t)
	if ctx.Err() != nil {
		return e.cancel(context.WithoutCancel(ctx), t, ctx.Err())
	}
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	if err := t.GetWorkflow(limited, e.ID, "").Get(limited, result); err != nil {
		return e.explain(err)
	}
	return nil
}

// explain is how the workflow ended, in its own words.
func (e Errand) explain(err error) error {
	var said *temporal.ApplicationError
	var late *temporal.TimeoutError
	switch {
	case errors.As(err, &said):
		return errors.New(said.Message())
	case errors.As(err, &late):
		return fmt.Errorf("workflow %s has not ended within %v and was ended", e.ID, e.Limit)
	}
	return fmt.Errorf("workflow %s: %w", e.ID, err)
}

// follow shows the errand until it has ended.
func (e Errand) follow(ctx context.Context, t client.Client) error {
	began := time.Now()
	taken := false
	ticker := time.NewTicker(errandLook)
	defer ticker.Stop()
	for {
		described, err := e.describe(ctx, t)
		if err != nil {
			return err
		}
		info := described.GetWorkflowExecutionInfo()
		taken = taken || info.GetMemo().GetFields()[e.Memo] != nil || info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING
		if taken && e.Show != nil {
			e.Show(info, described.GetPendingActivities())
		}
		if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING && info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
			return nil
		}
		if !taken && time.Since(began) > takenWithin {
			limited, cancel := context.WithTimeout(ctx, orderLimit)
			defer cancel()
			_ = t.TerminateWorkflow(limited, e.ID, "", "no daemon has taken it") // else it would be done for nobody when one comes
			return ErrNoDaemon
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// away is how long Temporal may be away while somebody waits for an errand.
const away = time.Minute

// describe asks for the latest run, again if Temporal is away for a while.
func (e Errand) describe(ctx context.Context, t client.Client) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	for began := time.Now(); ; {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		described, err := t.DescribeWorkflowExecution(limited, e.ID, "")
		cancel()
		if err == nil {
			return described, nil
		}
		if notFound(err) || ctx.Err() != nil || time.Since(began) > away {
			return nil, fmt.Errorf("looking at workflow %s, which goes on: %w", e.ID, err)
		}
		select {
		case <-time.After(errandLook):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// cancel ends the errand and waits until it has ended. It returns why.
func (e Errand) cancel(ctx context.Context, t client.Client, why error) error {
	limited, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	err := t.CancelWorkflow(limited, e.ID, "")
	for err == nil {
		var described *workflowservice.DescribeWorkflowExecutionResponse
		if described, err = t.DescribeWorkflowExecution(limited, e.ID, ""); err != nil {
			break
		}
		if described.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return why
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-limited.Done():
			err = limited.Err()
		}
	}
	if notFound(err) {
		return why // it has ended by itself
	}
	return fmt.Errorf("workflow %s was to be cancelled and has not ended; look at it with `temporal workflow describe -w %s`: %w", e.ID, e.ID, err)
}

// BeatOf reads the latest heartbeat of a pending activity; false: there was none.
func BeatOf(a *workflowpb.PendingActivityInfo, into any) bool {
	return a.GetLastHeartbeatTime() != nil && converter.GetDefaultDataConverter().FromPayloads(a.GetHeartbeatDetails(), into) == nil
}

// MemoOf reads a value of a workflow's memo; false: it has none.
func MemoOf(info *workflowpb.WorkflowExecutionInfo, key string, into any) bool {
	payload := info.GetMemo().GetFields()[key]
	return payload != nil && converter.GetDefaultDataConverter().FromPayload(payload, into) == nil
}

// Errands are the IDs of the running workflows of a type that people have started.
func Errands(ctx context.Context, t client.Client, workflowType string) ([]string, error) {
	listed, err := listWorkflows(ctx, t, fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflowType))
	if err != nil {
		return nil, fmt.Errorf("listing running %ss: %w", workflowType, err)
	}
	ids := make([]string, len(listed))
	for i, info := range listed {
		ids[i] = info.GetExecution().GetWorkflowId()
	}
	return ids, nil
}
