package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// MinerFailed is the state of a miner whose workflow has ended by itself; the others are those of workflows.MinerState.
const MinerFailed = "Failed"

// MinerView is a miner as Temporal shows it to everybody: no daemon has to run.
type MinerView struct {
	Miner     string          `json:"miner"`
	State     string          `json:"state"`               // Watching, Paused, Removed or MinerFailed
	Why       string          `json:"why,omitempty"`       // it is paused or removed, or failed
	Head      abi.ChainEpoch  `json:"head,omitempty"`      // of the chain, as the daemon that watches saw it last; 0: none has yet
	Seen      time.Time       `json:"seen,omitzero"`       // when that daemon said so
	Problem   string          `json:"problem,omitempty"`   // of that daemon with watching
	NamedBy   string          `json:"named_by,omitempty"`  // the daemon whose file named it last, as far back as was looked
	NamedAt   time.Time       `json:"named_at,omitzero"`   // when
	Unnamed   bool            `json:"unnamed,omitempty"`   // no daemon's file names it (any more), or no daemon runs
	Settings  post.Settings   `json:"settings"`            // as the miner's workflow has them
	Deadlines []MinerDeadline `json:"deadlines,omitempty"` // whose workflows run, the earliest Close first
	Epoch     time.Duration   `json:"epoch_duration"`      // wall-clock time of an epoch; 0: not known
	ID        abi.ActorID     `json:"-"`
	run       *commonpb.WorkflowExecution
}

// MinerDeadline is a deadline of a miner that is under way.
type MinerDeadline struct {
	Deadline uint64         `json:"deadline"`
	State    post.State     `json:"state"`
	Open     abi.ChainEpoch `json:"open"`
	Close    abi.ChainEpoch `json:"close"`
}

const (
	// failedFor is how long a miner whose workflow failed is shown: daemons whose file names it try again every minute.
	failedFor = 10 * time.Minute
	// namedFor is how old a daemon's word may be that its file names a miner. It gives it every minute.
	namedFor = 3 * ensureEvery
)

// ReadMiners lists all miners that have a workflow, by number, removed ones too, and those whose workflow failed of late.
func ReadMiners(ctx context.Context, c client.Client, namespace string, now time.Time) ([]MinerView, error) {
	views, err := listMiners(ctx, c, now)
	if err != nil {
		return nil, err
	}
	rows, err := ListBoard(ctx, c, "ExecutionStatus = 'Running'")
	if err != nil {
		return nil, err
	}
	return views, activities.SideBySide(len(views), func(i int) error {
		v := &views[i]
		for _, row := range rows {
			if d := row.Board.Deadline; d.Miner == v.ID {
				v.Deadlines = append(v.Deadlines, MinerDeadline{Deadline: d.Index, State: row.Board.State, Open: d.Open, Close: d.Close})
			}
		}
		if v.State == MinerFailed {
			v.Why = whyFailed(ctx, c, v.run)
			return nil
		}
		return errors.Join(v.readWatching(ctx, c), v.readNaming(ctx, c, namespace, now))
	})
}

// listMiners are the miners as visibility has them.
func listMiners(ctx context.Context, c client.Client, now time.Time) ([]MinerView, error) {
	query := fmt.Sprintf("WorkflowType = '%s' AND (ExecutionStatus = 'Running' OR (ExecutionStatus = 'Failed' AND CloseTime > '%s'))",
		workflows.NameMinerWorkflow, now.Add(-failedFor).UTC().Format(time.RFC3339))
	listed, err := listWorkflows(ctx, c, query)
	if err != nil {
		return nil, fmt.Errorf("listing miners: %w", err)
	}
	slices.SortStableFunc(listed, func(a, b *workflowpb.WorkflowExecutionInfo) int {
		return a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime())
	})
	latest := map[abi.ActorID]MinerView{}
	for _, info := range listed {
		if v, ok := minerOf(info); ok {
			latest[v.ID] = v
		}
	}
	return slices.SortedFunc(maps.Values(latest), func(a, b MinerView) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// minerOf is what visibility says of one. One that has shown nothing yet is known by its workflow's ID.
func minerOf(info *workflowpb.WorkflowExecutionInfo) (v MinerView, ok bool) {
	name, _ := strings.CutPrefix(info.GetExecution().GetWorkflowId(), "miner-")
	id, err := post.ParseMiner(name)
	if err != nil {
		return v, false
	}
	var state workflows.MinerState
	if payload := info.GetMemo().GetFields()[workflows.MemoMiner]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &state) // of another version: shown as far as it can be
	}
	v = MinerView{
		Miner: post.MinerName(id), ID: id, State: state.State(), Why: cmp.Or(state.Removed, state.Paused), Settings: state.Settings,
		Epoch: state.Settings.EpochDuration, run: info.GetExecution(),
	}
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		v.State = MinerFailed
	}
	return v, true
}

// whyFailed is what a workflow's failure says.
func whyFailed(ctx context.Context, c client.Client, run *commonpb.WorkflowExecution) string {
	err := c.GetWorkflow(ctx, run.GetWorkflowId(), run.GetRunId()).Get(ctx, nil)
	var cause *temporal.ApplicationError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &cause):
		return cause.Message()
	}
	return err.Error()
}

// readWatching adds what the daemon says that watches the miner.
func (v *MinerView) readWatching(ctx context.Context, c client.Client) error {
	described, err := c.DescribeWorkflowExecution(ctx, v.run.GetWorkflowId(), "")
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("describing %s: %w", v.run.GetWorkflowId(), err)
	}
	watching, seen := watchingOf(described.GetPendingActivities())
	if seen != nil {
		v.Head, v.Seen, v.Problem, v.Epoch = seen.Head, watching.GetLastHeartbeatTime().AsTime(), seen.Problem, cmp.Or(v.Epoch, seen.EpochDuration)
	}
	if v.Head == 0 && v.Problem == "" {
		v.Problem = watching.GetLastFailure().GetMessage()
	}
	return nil
}

// namingEvents is how far back it is looked who named a miner: twenty daemons leave fewer in three minutes.
const namingEvents = 250

// readNaming finds out which daemon's file names the miner: daemons say so every minute, and nothing else is known of files.
func (v *MinerView) readNaming(ctx context.Context, c client.Client, namespace string, now time.Time) error {
	history, err := c.WorkflowService().GetWorkflowExecutionHistoryReverse(ctx, &workflowservice.GetWorkflowExecutionHistoryReverseRequest{
		Namespace: namespace, Execution: v.run, MaximumPageSize: namingEvents,
	})
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the history of %s: %w", v.run.GetWorkflowId(), err)
	}
	v.naming(history.GetHistory().GetEvents(), now)
	return nil
}

// naming reads events, the last first.
func (v *MinerView) naming(events []*historypb.HistoryEvent, now time.Time) {
	began, added := time.Time{}, false
	for _, e := range events {
		began = e.GetEventTime().AsTime()
		if signal := e.GetWorkflowExecutionSignaledEventAttributes(); signal.GetSignalName() == workflows.SignalConfigure {
			v.NamedBy, v.NamedAt = strings.TrimPrefix(signal.GetIdentity(), "daemon "), began
			break
		}
		if started := e.GetWorkflowExecutionStartedEventAttributes(); started != nil {
			added = started.GetContinuedExecutionRunId() == "" // by a command: daemons start it with their signal
		}
	}
	if v.NamedBy != "" {
		v.Unnamed = now.Sub(v.NamedAt) > namedFor
	} else {
		v.Unnamed = added || !began.IsZero() && now.Sub(began) > namedFor // of a run that has just begun it is not known yet
	}
}
