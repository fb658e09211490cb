package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/config"
	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// fakeTemporal knows workers and notes the orders that they are given.
type fakeTemporal struct {
	client.Client
	t        *testing.T
	workers  []fakeWorker
	boards   []post.Result
	orders   []string // "w1 Pause [why]"
	terminal error    // of every order
	left     int      // lists until an alive worker is gone; 0: it stays
	address  string
}

type fakeWorker struct {
	state   post.WorkerState
	now     post.WorkerNow
	alive   bool
	reached bool
}

func (f *fakeTemporal) Close() {}

func payload(t *testing.T, v any) *commonpb.Payload {
	p, err := converter.GetDefaultDataConverter().ToPayload(v)
	require.NoError(t, err)
	return p
}

func (f *fakeTemporal) info(id, memo string, v any) *workflowpb.WorkflowExecutionInfo {
	return &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: id, RunId: "r"}, Status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
		Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{memo: payload(f.t, v)}},
	}
}

func (f *fakeTemporal) ListWorkflow(_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	out := &workflowservice.ListWorkflowExecutionsResponse{}
	switch {
	case strings.Contains(r.Query, workflows.NameWorkerWorkflow):
		if f.left--; f.left == 0 {
			f.workers[0].alive = false
		}
		for _, w := range f.workers {
			out.Executions = append(out.Executions, f.info(workflows.WorkerWorkflowID(w.state.Report.Name), workflows.MemoWorker, w.state))
		}
	case strings.Contains(r.Query, workflows.NameDeadlineWorkflow):
		for _, b := range f.boards {
			out.Executions = append(out.Executions, f.info(b.Deadline.WorkflowID(), workflows.MemoBoard, b))
		}
	}
	return out, nil
}

func (f *fakeTemporal) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	for _, b := range f.boards {
		if b.Deadline.WorkflowID() == id {
			return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: f.info(id, workflows.MemoBoard, b)}, nil
		}
	}
	for _, w := range f.workers {
		if workflows.WorkerWorkflowID(w.state.Report.Name) != id {
			continue
		}
		pending := &workflowpb.PendingActivityInfo{
			ActivityType: &commonpb.ActivityType{Name: workflows.ActivityAttendWorker}, State: enums.PENDING_ACTIVITY_STATE_SCHEDULED,
			LastHeartbeatTime: timestamppb.New(time.Now().Add(-2 * time.Second)), HeartbeatDetails: &commonpb.Payloads{Payloads: []*commonpb.Payload{payload(f.t, w.now)}},
		}
		if w.alive {
			pending.State = enums.PENDING_ACTIVITY_STATE_STARTED
		}
		return &workflowservice.DescribeWorkflowExecutionResponse{
			WorkflowExecutionInfo: f.info(id, workflows.MemoWorker, w.state), PendingActivities: []*workflowpb.PendingActivityInfo{pending},
		}, nil
	}
	return nil, serviceerror.NewNotFound(id)
}

func (f *fakeTemporal) DescribeTaskQueue(context.Context, string, enums.TaskQueueType) (*workflowservice.DescribeTaskQueueResponse, error) {
	return &workflowservice.DescribeTaskQueueResponse{Pollers: []*taskqueuepb.PollerInfo{{Identity: "daemon h1@5", LastAccessTime: timestamppb.Now()}}}, nil
}

func (f *fakeTemporal) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	name := strings.TrimPrefix(o.WorkflowID, workflows.WorkerWorkflowID(""))
	order := name + " " + o.UpdateName
	for _, arg := range o.Args {
		order += " [" + arg.(string) + "]"
	}
	f.orders = append(f.orders, order)
	told := workflows.Told{Why: "nobody polls worker." + name}
	for _, w := range f.workers {
		if w.state.Report.Name == name && w.reached {
			told = workflows.Told{Reached: true}
		}
	}
	return fakeHandle{told: told}, f.terminal
}

type fakeHandle struct {
	client.WorkflowUpdateHandle
	told workflows.Told
}

func (h fakeHandle) Get(_ context.Context, to any) error {
	*to.(*workflows.Told) = h.told
	return nil
}

func (f *fakeTemporal) TerminateWorkflow(_ context.Context, id, _, _ string, _ ...any) error {
	f.orders = append(f.orders, "terminate "+id)
	return nil
}

func (f *fakeTemporal) WorkflowService() workflowservice.WorkflowServiceClient { return noService{} }

type noService struct {
	workflowservice.WorkflowServiceClient
}

func (noService) ListWorkers(context.Context, *workflowservice.ListWorkersRequest, ...grpc.CallOption) (*workflowservice.ListWorkersResponse, error) {
	return nil, serviceerror.NewUnimplemented("an older server")
}

// fleet is w1, which proves on one of its two cards and has the other fenced; w2, paused; and w3, which is gone.
func fleet(t *testing.T) *fakeTemporal {
	report := func(name string) post.WorkerReport {
		return post.WorkerReport{
			Name: name, Instance: "worker " + name + "@7", Host: "host-" + name, Version: "v0.4", Started: time.Unix(1000, 0),
			Groups: []post.Group{{
				Admits: post.Admits{Pool: "gpu", Stores: []string{"store-a", "store-b"}, Rules: []post.Rule{{Miners: []abi.ActorID{1000}, Sizes: []abi.SectorSize{32 << 30}}, {Miners: []abi.ActorID{1001}}}},
				Kind:   post.KindWindow, Queue: "wdpost.gpu.00000001", Slots: 2,
				Cards: []post.Card{{Name: "card0", Device: "an H200", CPUs: "0-3", Places: 1}, {Name: "card1", Places: 1, Weight: 2}},
			}},
			LostStores: []post.LostStore{{Name: "store-c", Path: "/mnt/c", Reason: "it does not answer"}},
		}
	}
	fence := post.Fence{Card: "card1", Reason: "three wrong proofs in a row", At: time.Unix(1500, 0)}
	proving := post.WorkerNow{At: time.Unix(2000, 0), State: "running", Cards: []post.CardNow{
		{Name: "card0", State: "proving", PID: 8, Job: "f01000/7 partition 0", Phase: post.PhaseSnark, Seconds: 12, Proofs: 3},
		{Name: "card1", State: "fenced", Failures: 3, Error: "the proof does not verify"},
	}}
	idle := post.WorkerNow{At: time.Unix(2000, 0), State: "paused", Cards: []post.CardNow{{Name: "card0", State: "idle", PID: 8, Proofs: 1}}}
	return &fakeTemporal{t: t, workers: []fakeWorker{
		{post.WorkerState{Report: report("w1"), Orders: post.Orders{Fences: []post.Fence{fence}}}, proving, true, true},
		{post.WorkerState{Report: report("w2"), Orders: post.Orders{Paused: "new disks"}}, idle, true, true},
		{post.WorkerState{Report: report("w3")}, idle, false, false},
	}}
}

// command runs a command line against a server.
func (f *fakeTemporal) command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return commandAt(t, func(c config.Temporal) client.Client {
		f.address = c.Address
		return f
	}, args...)
}

func TestWorkerList(t *testing.T) {
	f := fleet(t)
	t.Setenv("TEMPORAL_ADDRESS", "10.0.0.9:7233")
	out, err := f.command(t, "worker", "list")
	require.NoError(t, err)
	require.Equal(t, "10.0.0.9:7233", f.address, "no posthaste.toml is needed")
	for _, want := range []string{
		"│ w1     │ running ", "│ 2, 1 busy, 1 fenced │", "card0 f01000/7 partition 0 snark", "store-c",
		"│ w2     │ paused: new disks ", "│ w3     │ gone since ", "wdpost.gpu.00000001", "host-w1",
	} {
		require.Contains(t, out, want)
	}
	out, err = f.command(t, "worker", "list", "--json")
	require.NoError(t, err)
	var views []workers.WorkerView
	require.NoError(t, json.Unmarshal([]byte(out), &views))
	require.Len(t, views, 3)
	require.Equal(t, "three wrong proofs in a row", views[0].Cards[1].Fence.Reason)

	out, err = (&fakeTemporal{t: t}).command(t, "worker", "list")
	require.NoError(t, err)
	require.Contains(t, out, "No worker is known.")
}

func TestWorkerInfo(t *testing.T) {
	out, err := fleet(t).command(t, "worker", "info", "w1")
	require.NoError(t, err)
	for _, want := range []string{
		"Worker:      w1\nState:       running\n", "WindowPoSt of pool gpu: f01000 with sectors of 32GiB; or f01001 with any sector size",
		"store-a, store-b", "wdpost.gpu.00000001, 2 jobs at once", "store-c at /mnt/c: it does not answer",
		"an H200", "0-3", "f01000/7 partition 0", "the proof does not verify",
		"Card card1 is fenced since ", ": three wrong proofs in a row\n  posthaste worker unfence w1 card1 ",
	} {
		require.Contains(t, out, want)
	}
	out, err = fleet(t).command(t, "worker", "info", "w3")
	require.NoError(t, err)
	require.Contains(t, out, "posthaste worker forget w3")
	out, err = fleet(t).command(t, "worker", "info", "w2", "--json")
	require.NoError(t, err)
	var v workers.WorkerView
	require.NoError(t, json.Unmarshal([]byte(out), &v))
	require.Equal(t, "new disks", v.Paused)
	f := fleet(t)
	f.workers[0].now = post.WorkerNow{}
	out, err = f.command(t, "worker", "info", "w1")
	require.NoError(t, err)
	require.Contains(t, out, "What its cards do is not known yet: no daemon has run since it was started.")
	_, err = fleet(t).command(t, "worker", "info", "w9")
	require.EqualError(t, err, `there is no worker "w9"; there are w1, w2, w3`)
}

func TestDeviceText(t *testing.T) {
	for device, want := range map[string]string{"": "CPU", "0": "GPU 0", "0,1": "GPU 0,1", "NVIDIA H200": "NVIDIA H200"} {
		require.Equal(t, want, deviceText(device))
	}
}

func TestSteeringWorkers(t *testing.T) {
	for situation, c := range map[string]struct {
		args   []string
		orders []string
		out    string
		err    string
	}{
		"pause": {[]string{"pause", "w1", "--reason", "new disks"}, []string{"w1 Pause [new disks]"},
			"w1: paused (new disks): it finishes what it has and takes nothing new\n", ""},
		"pause one that is gone": {[]string{"pause", "w3"}, []string{"w3 Pause [by an operator]"},
			"w3: recorded; it applies when the worker starts (nobody polls worker.w3): paused (by an operator): it finishes what it has and takes nothing new\n", ""},
		"resume several, one of them unknown": {[]string{"resume", "w2", "w9", "w1"}, []string{"w2 Resume", "w1 Resume"},
			"w2: takes jobs\nw1: takes jobs\n", `there is no worker "w9"; there are w1, w2, w3`},
		"drain": {[]string{"drain", "w1"}, []string{"w1 Drain"},
			"w1: draining: it takes nothing new and ends when its jobs are done (1 now)\n", ""},
		"drain one that is gone":  {[]string{"drain", "w3"}, nil, "", "worker w3 is gone: there is nothing to drain"},
		"unfence all":             {[]string{"unfence", "w1"}, []string{"w1 Unfence []"}, "w1: no card is fenced any more\n", ""},
		"unfence a card":          {[]string{"unfence", "w1", "w1/card1"}, []string{"w1 Unfence [card1]"}, "w1: card card1 is not fenced any more\n", ""},
		"unfence an unknown card": {[]string{"unfence", "w1", "card7", "card1"}, []string{"w1 Unfence [card1]"}, "w1: card card1 is not fenced any more\n", `worker w1 has no card "card7"; it has card0, card1`},
		"unfence nothing":         {[]string{"unfence", "w2"}, nil, "w2: no card is fenced\n", ""},
		"forget one that is gone": {[]string{"forget", "w3"}, []string{"terminate worker-w3"}, "w3: forgotten, with its orders and fences\n", ""},
		"forget one that is alive": {[]string{"forget", "w1"}, nil, "",
			"worker w1 is alive (running) and would come back, with its orders and fences; stop it first, or give --force to have it begin a new history"},
		"forget it all the same": {[]string{"forget", "w1", "--force"}, []string{"terminate worker-w1"}, "w1: forgotten; it is alive, and comes back in a moment, with the orders and fences that it has\n", ""},
		"no name":                {[]string{"pause"}, nil, "", "requires at least 1 arg(s), only received 0; usage: posthaste worker pause NAME… [flags]"},
	} {
		t.Run(situation, func(t *testing.T) {
			f := fleet(t)
			out, err := f.command(t, append([]string{"worker"}, c.args...)...)
			require.Equal(t, c.orders, f.orders)
			require.Equal(t, c.out, out)
			fails(t, err, c.err)
		})
	}
}

func TestSteeringWithoutADaemon(t *testing.T) {
	f := fleet(t)
	f.terminal = context.DeadlineExceeded
	_, err := f.command(t, "worker", "pause", "w1", "w2")
	require.EqualError(t, err, "worker w1: no daemon answers: start one (`posthaste daemon run`) and give the order again")
	require.ErrorIs(t, err, workers.ErrNoDaemon)
	require.Len(t, f.orders, 1, "the next would take as long for nothing")
}

func TestDrainWaits(t *testing.T) {
	f := fleet(t)
	f.left = 2 // the first list finds it, the second does not
	out, err := f.command(t, "worker", "drain", "w1", "--wait")
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(out, "w1: ended\n"), out)
}

func TestStatusShowsWhatJobsWaitFor(t *testing.T) {
	f := fleet(t)
	f.boards = []post.Result{{
		Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: 96, Challenge: 180, Open: 200, Close: 260}, State: post.StateProving,
		Partitions: []post.PartitionResult{{Index: 0, State: post.StateProving, Sectors: 2, Waits: "a worker with store store-z"}},
	}}
	out, err := f.command(t, "status")
	require.NoError(t, err)
	for _, want := range []string{"Daemon h1@5: seen ", "│ w1     │ running ", "\nf01000/7 partition 0: waiting: a worker with store store-z\n"} {
		require.Contains(t, out, want)
	}
	out, err = f.command(t, "status", "--json")
	require.NoError(t, err)
	var s status
	require.NoError(t, json.Unmarshal([]byte(out), &s))
	require.Len(t, s.Workers, 3)
	require.Equal(t, "daemon h1@5", s.Daemons[0].Identity)
}

func TestLookingHonoursAConfiguration(t *testing.T) {
	_, err := fleet(t).command(t, "worker", "list", "--config", "/none/p.toml")
	require.EqualError(t, err, "there is no configuration at /none/p.toml; `posthaste init` writes one", "one that is named must be there")
}

func TestJSONOfNothing(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printJSON(&out, []workers.DaemonVersion(nil)))
	require.NoError(t, printJSON(&out, []int{1}))
	require.Equal(t, "[]\n[1]\n", out.String(), "a list is a list, also of nothing")
}
