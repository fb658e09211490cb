package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// States in which people see a worker.
const (
	WorkerRunning  = "running"
	WorkerPaused   = "paused"   // takes nothing new, by an operator's order
	WorkerDraining = "draining" // takes nothing new and ends when its jobs are done
	WorkerIdle     = "idle"     // it is there, and none of its cards is usable
	WorkerGone     = "gone"     // its process does not answer
)

// WorkerView is a worker as Temporal shows it to everybody: from visibility, Describe and the server's list of workers, so that it can
// be read while no daemon runs.
type WorkerView struct {
	Name       string           `json:"name"`
	State      string           `json:"state"`
	Why        string           `json:"why,omitempty"` // it is in that state
	Alive      bool             `json:"alive"`
	Seen       time.Time        `json:"seen,omitzero"` // when it was last heard of
	Host       string           `json:"host"`
	Version    string           `json:"version"`
	Instance   string           `json:"instance"` // identity of the process in Temporal
	Started    time.Time        `json:"started,omitzero"`
	Paused     string           `json:"paused,omitempty"` // the order that stands, whether or not the worker is alive to follow it
	Groups     []post.Group     `json:"groups"`           // what its cards may take, and the queues that they poll
	Cards      []CardView       `json:"cards"`
	LostStores []post.LostStore `json:"lost_stores,omitempty"`
	Fences     []post.Fence     `json:"fences,omitempty"`
}

// CardView is a card: how it is configured, what it does, and whether it is fenced.
type CardView struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind,omitempty"` // post.KindWindow or post.KindWinning
	Pool     string      `json:"pool,omitempty"`
	Queue    string      `json:"queue,omitempty"`
	Device   string      `json:"device,omitempty"` // the GPU; empty: the CPU
	CPUs     string      `json:"cpus,omitempty"`
	Places   int         `json:"places"`
	Weight   int         `json:"weight,omitempty"`
	State    string      `json:"state"` // as post.CardNow's; unknown while its worker is gone
	PID      int         `json:"pid,omitempty"`
	Job      string      `json:"job,omitempty"`
	Phase    post.Phase  `json:"phase,omitempty"`
	Seconds  float64     `json:"seconds,omitempty"` // since it took the job
	Proofs   int         `json:"proofs"`            // since the worker started, as all counts here
	Failures int         `json:"failures"`
	Restarts int         `json:"restarts"`
	Error    string      `json:"error,omitempty"` // why it failed last
	Fence    *post.Fence `json:"fence,omitempty"`
}

// Count is a sum over the cards of a worker.
func (v WorkerView) Count(of func(CardView) int) (n int) {
	for _, c := range v.Cards {
		n += of(c)
	}
	return n
}

// ReadWorkers lists the workers that Temporal keeps, by name: those that run, and those that are gone and not forgotten.
func ReadWorkers(ctx context.Context, temporal client.Client, namespace string) ([]WorkerView, error) {
	seen, err := listWorkflows(ctx, temporal, fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflows.NameWorkerWorkflow))
	if err != nil {
		return nil, fmt.Errorf("listing workers: %w", err)
	}
	listed := listedWorkers(ctx, temporal, namespace)
	views := make([]WorkerView, len(seen))
	err = activities.SideBySide(len(seen), func(i int) (err error) {
		views[i], err = viewWorker(ctx, temporal, seen[i], listed)
		return err
	})
	if err != nil {
		return nil, err
	}
	views = slices.DeleteFunc(views, func(v WorkerView) bool { return v.Name == "" })
	slices.SortFunc(views, func(a, b WorkerView) int { return strings.Compare(a.Name, b.Name) })
	return views, nil
}

// viewWorker puts a worker together from its memo, its AttendWorker activity and the server's list.
func viewWorker(ctx context.Context, temporal client.Client, info *workflowpb.WorkflowExecutionInfo, listed map[string]listedWorker) (WorkerView, error) {
	name := strings.TrimPrefix(info.GetExecution().GetWorkflowId(), workflows.WorkerWorkflowID(""))
	// Without a run ID: it may have continued as new since it was listed.
	described, err := temporal.DescribeWorkflowExecution(ctx, info.GetExecution().GetWorkflowId(), "")
	if notFound(err) || err == nil && described.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return WorkerView{}, nil // forgotten a moment ago
	}
	if err != nil {
		return WorkerView{}, fmt.Errorf("describing worker %s: %w", name, err)
	}
	state := workerStateOf(described.GetWorkflowExecutionInfo(), workerStateOf(info, post.WorkerState{}))
	attending := attendingOf(described.GetPendingActivities())
	identity := cmp.Or(attending.now.Instance, state.Report.Instance)
	if state.Report.Started.After(attending.now.At) {
		identity = state.Report.Instance // it was started again, and has not said yet what it does
	}
	return newWorkerView(name, state, attending, listed[identity], time.Now()), nil
}

// workerStateOf reads a WorkerWorkflow's memo.
func workerStateOf(info *workflowpb.WorkflowExecutionInfo, otherwise post.WorkerState) post.WorkerState {
	var state post.WorkerState
	payload := info.GetMemo().GetFields()[workflows.MemoWorker]
	if payload == nil || converter.GetDefaultDataConverter().FromPayload(payload, &state) != nil {
		return otherwise
	}
	return state
}

// attendance is what a worker's AttendWorker activity says.
type attendance struct {
	started bool // an attempt runs: within the heartbeat timeout, the worker is there
	beat    time.Time
	now     post.WorkerNow
}

func attendingOf(pending []*workflowpb.PendingActivityInfo) (a attendance) {
	for _, p := range pending {
		if p.GetActivityType().GetName() != workflows.ActivityAttendWorker {
			continue
		}
		a.started = p.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED
		for _, heard := range []interface{ AsTime() time.Time }{p.GetLastHeartbeatTime(), p.GetLastStartedTime()} {
			if at := heard.AsTime(); at.Unix() > 0 && at.After(a.beat) { // nil is the epoch
				a.beat = at
			}
		}
		_ = converter.GetDefaultDataConverter().FromPayloads(p.GetHeartbeatDetails(), &a.now) // none yet: an empty one
	}
	return a
}

// listedWorker is what the server's own list says of a process.
type listedWorker struct {
	running bool
	beat    time.Time // by the worker's clock
}

// listedWorkers reads the server's list of workers by identity. It is kept in memory and older servers have none: without it,
// the AttendWorker activities say who is there.
func listedWorkers(ctx context.Context, temporal client.Client, namespace string) map[string]listedWorker {
	listed := map[string]listedWorker{}
	var next []byte
	for {
		page, err := temporal.WorkflowService().ListWorkers(ctx, &workflowservice.ListWorkersRequest{Namespace: namespace, PageSize: 1000, NextPageToken: next})
		if err != nil {
			return listed
		}
		//lint:ignore SA1019 what replaces it does not say when a worker was heard of last, and a dead one is listed for minutes
		for _, w := range page.GetWorkersInfo() {
			beat := w.GetWorkerHeartbeat()
			identity, at := beat.GetWorkerIdentity(), beat.GetHeartbeatTime().AsTime()
			has := listed[identity] // a process has a worker per queue
			has.running = has.running || beat.GetStatus() == enums.WORKER_STATUS_RUNNING
			if at.After(has.beat) {
				has.beat = at
			}
			listed[identity] = has
		}
		if next = page.GetNextPageToken(); len(next) == 0 {
			return listed
		}
	}
}

// listedFor is how long the server's list is believed without a new heartbeat: three of the clients' intervals (Dial).
const listedFor = 15 * time.Second

// newWorkerView decides how a worker stands.
func newWorkerView(name string, state post.WorkerState, a attendance, listed listedWorker, now time.Time) WorkerView {
	report := state.Report
	v := WorkerView{
		Name: cmp.Or(report.Name, name), Host: report.Host, Version: report.Version, Instance: report.Instance, Started: report.Started,
		Paused: state.Orders.Paused, Groups: report.Groups, LostStores: report.LostStores, Fences: state.Orders.Fences, Seen: a.beat,
	}
	if listed.beat.After(v.Seen) {
		v.Seen = listed.beat
	}
	v.Alive = a.started || listed.running && now.Sub(listed.beat) < listedFor
	fresh := !report.Started.After(a.now.At) // else it is from before the worker was started again
	v.Cards = cardViews(state, a.now, v.Alive && fresh)
	draining := report.Draining || fresh && a.now.State == WorkerDraining
	switch {
	case !v.Alive:
		v.State, v.Why = WorkerGone, "its process does not answer"
		if draining {
			v.Why = "it was drained"
		}
	case draining:
		v.State, v.Why = WorkerDraining, "takes nothing new and ends when its jobs are done"
	case state.Orders.Paused != "":
		v.State, v.Why = WorkerPaused, state.Orders.Paused
	case !usable(v):
		v.State, v.Why = WorkerIdle, "no usable card"
	default:
		v.State = WorkerRunning
	}
	return v
}

// usable says whether any card could take a job: in the worker's report, which follows a change at once, and as its cards say.
func usable(v WorkerView) bool {
	slots := 0
	for _, g := range v.Groups {
		slots += g.Slots
	}
	return slots > 0 && v.Count(func(c CardView) int {
		if c.Fence != nil || c.State == "dead" || c.State == "fenced" {
			return 0
		}
		return 1
	}) > 0
}

// CardUnknown is the state of a card whose worker is gone or has not said anything yet.
const CardUnknown = "unknown"

// cardViews are the cards of the report with what they do, in the order of the report.
func cardViews(state post.WorkerState, now post.WorkerNow, alive bool) []CardView {
	var views []CardView
	for _, g := range state.Report.Groups {
		for _, c := range g.Cards {
			views = append(views, CardView{
				Name: c.Name, Kind: g.Kind, Pool: g.Pool, Queue: g.Queue, Device: c.Device, CPUs: c.CPUs, Places: c.Places, Weight: c.Weight, State: CardUnknown,
			})
		}
	}
	at := func(name string) *CardView {
		i := slices.IndexFunc(views, func(v CardView) bool { return v.Name == name })
		if i < 0 {
			views = append(views, CardView{Name: name, State: CardUnknown})
			i = len(views) - 1
		}
		return &views[i]
	}
	for _, c := range now.Cards {
		v := at(c.Name)
		v.Proofs, v.Failures, v.Restarts, v.Error = c.Proofs, c.Failures, c.Restarts, c.Error
		v.Device = cmp.Or(c.Device, v.Device)
		if alive {
			v.State, v.PID, v.Job, v.Phase, v.Seconds = c.State, c.PID, c.Job, c.Phase, c.Seconds
		}
	}
	for _, f := range state.Orders.Fences {
		at(f.Card).Fence = &f
	}
	return views
}

// listWorkflows reads all pages of a visibility query.
func listWorkflows(ctx context.Context, temporal client.Client, query string) (all []*workflowpb.WorkflowExecutionInfo, err error) {
	var next []byte
	for {
		page, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, NextPageToken: next, PageSize: 200})
		if err != nil {
			return nil, err
		}
		all = append(all, page.GetExecutions()...)
		if next = page.GetNextPageToken(); len(next) == 0 {
			return all, nil
		}
	}
}

// notFound says that Temporal has no such workflow running.
func notFound(err error) bool {
	var gone *serviceerror.NotFound
	return errors.As(err, &gone)
}
