package workers

import (
	"context"
	"fmt"
	"time"

	enums "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// AlertsView is what is open, and who watches, as Temporal shows it to everybody.
type AlertsView struct {
	Alerts    []post.OpenAlert       `json:"alerts"`                 // that are open, the most severe first
	Watcher   string                 `json:"watcher,omitempty"`      // the daemon that watches; empty: nobody does
	Why       string                 `json:"why,omitempty"`          // nobody does
	Heartbeat time.Time              `json:"heartbeat,omitzero"`     // of whoever watches, or watched
	Looked    time.Time              `json:"looked,omitzero"`        // when all was looked at last
	Problem   string                 `json:"problem,omitempty"`      // why the last look was not complete
	Webhooks  []activities.HookState `json:"webhooks"`               // of the daemon that watches, or watched
	LastError string                 `json:"last_failure,omitempty"` // why the attempt before ended
}

// watchedFor is for how long a heartbeat is believed: the activity's heartbeat timeout, and a little.
const watchedFor = 15 * time.Second

// ReadAlerts reads what is open. No daemon has to run.
func ReadAlerts(ctx context.Context, temporal client.Client, now time.Time) (AlertsView, error) {
	view := AlertsView{Alerts: []post.OpenAlert{}, Webhooks: []activities.HookState{}}
	described, err := temporal.DescribeWorkflowExecution(ctx, workflows.AlertWorkflowID, "")
	if notFound(err) {
		view.Why = "no daemon has run on this Temporal server since alerts came; `posthaste daemon run` watches"
		return view, nil
	}
	if err != nil {
		return view, fmt.Errorf("describing workflow %s: %w", workflows.AlertWorkflowID, err)
	}
	info := described.GetWorkflowExecutionInfo()
	var book post.AlertBook
	if payload := info.GetMemo().GetFields()[workflows.MemoAlerts]; payload != nil {
		if err := converter.GetDefaultDataConverter().FromPayload(payload, &book); err != nil {
			return view, fmt.Errorf("reading the memo of workflow %s: %w", workflows.AlertWorkflowID, err)
		}
	}
	view.Why = "no daemon runs; `posthaste daemon run` watches"
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		view.Why = fmt.Sprintf("workflow %s is %s; a daemon that runs starts it again within a minute", workflows.AlertWorkflowID, info.GetStatus())
	}
	for _, a := range described.GetPendingActivities() {
		if a.GetActivityType().GetName() == workflows.ActivityWatchAlerts {
			book = view.attended(a, book, now)
		}
	}
	view.Alerts = append(view.Alerts, book.Open()...)
	return view, nil
}

// attended takes in what the watching activity says, and gives the newer book.
func (v *AlertsView) attended(a *workflowpb.PendingActivityInfo, book post.AlertBook, now time.Time) post.AlertBook {
	var watched activities.Watched
	_ = converter.GetDefaultDataConverter().FromPayloads(a.GetHeartbeatDetails(), &watched) // none yet: an empty one
	v.LastError = a.GetLastFailure().GetMessage()
	v.Looked, v.Problem = watched.At, watched.Problem
	if watched.Hooks != nil {
		v.Webhooks = watched.Hooks
	}
	for _, heard := range []interface{ AsTime() time.Time }{a.GetLastHeartbeatTime(), a.GetLastStartedTime()} {
		if at := heard.AsTime(); at.Unix() > 0 && at.After(v.Heartbeat) { // nil is the epoch
			v.Heartbeat = at
		}
	}
	if a.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED && now.Sub(v.Heartbeat) < watchedFor {
		v.Watcher, v.Why = a.GetLastWorkerIdentity(), ""
	}
	if watched.Book.Count >= book.Count && len(a.GetHeartbeatDetails().GetPayloads()) > 0 {
		return watched.Book
	}
	return book
}
