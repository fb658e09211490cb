package workers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workerpb "go.temporal.io/api/worker/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/post"
	"posthaste/workflows"
)

// viewState is a worker with two cards, as its memo has it.
func viewState(change func(*post.WorkerState)) post.WorkerState {
	state := post.WorkerState{Report: post.WorkerReport{
		Name: "w1", Instance: "worker w1@7", Host: "h1", Version: "v1", Started: time.Unix(1000, 0),
		Groups: []post.Group{{
			Admits: post.Admits{Pool: "gpu", Stores: []string{"a"}}, Kind: post.KindWindow, Queue: "wdpost.gpu.00000001", Slots: 2,
			Cards: []post.Card{{Name: "card0", Device: "GPU 0", Places: 1, Weight: 1}, {Name: "card1", Device: "GPU 1", Places: 1, Weight: 1}},
		}},
	}}
	if change != nil {
		change(&state)
	}
	return state
}

// viewNow is what it does: its first card proves.
var viewNow = post.WorkerNow{Instance: "worker w1@7", At: time.Unix(2000, 0), State: "running", Cards: []post.CardNow{
	{Name: "card0", State: "proving", PID: 8, Device: "an H200", Job: "f01000/7 partition 0", Phase: post.PhaseSnark, Seconds: 12, Proofs: 3},
	{Name: "card1", State: "idle", PID: 9, Proofs: 2, Failures: 1, Restarts: 1, Error: "it ended"},
}}

func TestWorkerView(t *testing.T) {
	at := time.Unix(2000, 0)
	fence := post.Fence{Card: "card0", Reason: "three wrong proofs in a row", At: time.Unix(1500, 0)}
	for situation, c := range map[string]struct {
		state  post.WorkerState
		a      attendance
		listed listedWorker
		want   string
		why    string
		card   string // state of the first
	}{
		"it proves":                        {viewState(nil), attendance{true, at, viewNow}, listedWorker{}, WorkerRunning, "", "proving"},
		"started, nothing said so far":     {viewState(nil), attendance{}, listedWorker{true, at}, WorkerRunning, "", CardUnknown},
		"listed, but long silent":          {viewState(nil), attendance{}, listedWorker{true, at.Add(-time.Minute)}, WorkerGone, "its process does not answer", CardUnknown},
		"listed as stopped":                {viewState(nil), attendance{}, listedWorker{false, at}, WorkerGone, "its process does not answer", CardUnknown},
		"its machine died":                 {viewState(nil), attendance{false, at, viewNow}, listedWorker{}, WorkerGone, "its process does not answer", CardUnknown},
		"what it said was before its last": {viewState(func(s *post.WorkerState) { s.Report.Started = at.Add(time.Second) }), attendance{true, at, viewNow}, listedWorker{}, WorkerRunning, "", CardUnknown},
		"paused": {viewState(func(s *post.WorkerState) { s.Orders.Paused = "new disks" }), attendance{true, at, viewNow}, listedWorker{},
			WorkerPaused, "new disks", "proving"},
		"draining, and paused": {viewState(func(s *post.WorkerState) { s.Report.Draining, s.Orders.Paused = true, "x" }), attendance{true, at, viewNow}, listedWorker{},
			WorkerDraining, "takes nothing new and ends when its jobs are done", "proving"},
		"drained": {viewState(func(s *post.WorkerState) { s.Report.Draining = true }), attendance{false, at, viewNow}, listedWorker{},
			WorkerGone, "it was drained", CardUnknown},
		"one of two cards fenced": {viewState(func(s *post.WorkerState) { s.Orders.Fences = []post.Fence{fence} }), attendance{true, at, viewNow}, listedWorker{},
			WorkerRunning, "", "proving"},
		"all fenced": {viewState(func(s *post.WorkerState) { s.Orders.Fences = []post.Fence{fence, {Card: "card1"}} }), attendance{true, at, viewNow}, listedWorker{},
			WorkerIdle, "no usable card", "proving"},
		"it reports no place": {viewState(func(s *post.WorkerState) { s.Report.Groups[0].Slots = 0 }), attendance{true, at, viewNow}, listedWorker{},
			WorkerIdle, "no usable card", "proving"},
	} {
		t.Run(situation, func(t *testing.T) {
			v := newWorkerView("w1", c.state, c.a, c.listed, at)
			require.Equal(t, c.want, v.State)
			require.Equal(t, c.why, v.Why)
			require.Equal(t, c.card, v.Cards[0].State)
		})
	}
}

func TestCardViews(t *testing.T) {
	fence := post.Fence{Card: "card1", Reason: "crashes", At: time.Unix(1500, 0)}
	views := cardViews(viewState(func(s *post.WorkerState) { s.Orders.Fences = []post.Fence{fence, {Card: "card9"}} }), viewNow, true)
	require.Equal(t, CardView{
		Name: "card0", Kind: post.KindWindow, Pool: "gpu", Queue: "wdpost.gpu.00000001", Device: "an H200", Places: 1, Weight: 1,
		State: "proving", PID: 8, Job: "f01000/7 partition 0", Phase: post.PhaseSnark, Seconds: 12, Proofs: 3,
	}, views[0])
	require.Equal(t, &fence, views[1].Fence)
	require.Equal(t, "GPU 1", views[1].Device, "as configured: its process said nothing")
	require.Equal(t, "it ended", views[1].Error)
	require.Equal(t, "card9", views[2].Name, "a fence of a card that is no longer configured can be seen, and lifted")

	gone := cardViews(viewState(nil), viewNow, false)
	require.Equal(t, CardUnknown, gone[0].State)
	require.Empty(t, gone[0].Job, "what a worker that is gone did is not what it does")
	require.Equal(t, 3, gone[0].Proofs)
}

// fakeServer is the part of Temporal that lists workers and takes orders.
type fakeServer struct {
	client.Client
	t         *testing.T
	memo      post.WorkerState
	pending   []*workflowpb.PendingActivityInfo
	heartbeat *workerpb.WorkerHeartbeat // nil: a server that lists no workers
	update    error
	told      workflows.Told
	asked     client.UpdateWorkflowOptions
}

func (f *fakeServer) info() *workflowpb.WorkflowExecutionInfo {
	payload, err := converter.GetDefaultDataConverter().ToPayload(f.memo)
	require.NoError(f.t, err)
	return &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: "worker-w1", RunId: "r"}, Status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
		Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoWorker: payload}},
	}
}

func (f *fakeServer) ListWorkflow(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: []*workflowpb.WorkflowExecutionInfo{f.info()}}, nil
}

func (f *fakeServer) DescribeWorkflowExecution(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: f.info(), PendingActivities: f.pending}, nil
}

func (f *fakeServer) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.asked = o
	return toldHandle{told: f.told}, f.update
}

func (f *fakeServer) WorkflowService() workflowservice.WorkflowServiceClient {
	return fakeService{heartbeat: f.heartbeat}
}

type fakeService struct {
	workflowservice.WorkflowServiceClient
	heartbeat *workerpb.WorkerHeartbeat
}

func (f fakeService) ListWorkers(context.Context, *workflowservice.ListWorkersRequest, ...grpc.CallOption) (*workflowservice.ListWorkersResponse, error) {
	if f.heartbeat == nil {
		return nil, serviceerror.NewUnimplemented("an older server")
	}
	//lint:ignore SA1019 see listedWorkers
	return &workflowservice.ListWorkersResponse{WorkersInfo: []*workerpb.WorkerInfo{{WorkerHeartbeat: f.heartbeat}}}, nil
}

type toldHandle struct {
	client.WorkflowUpdateHandle
	told workflows.Told
}

func (h toldHandle) Get(_ context.Context, to any) error {
	*to.(*workflows.Told) = h.told
	return nil
}

func TestReadWorkers(t *testing.T) {
	details, err := converter.GetDefaultDataConverter().ToPayloads(viewNow)
	require.NoError(t, err)
	beat := time.Unix(2001, 0).UTC()
	attend := &workflowpb.PendingActivityInfo{
		ActivityType: &commonpb.ActivityType{Name: workflows.ActivityAttendWorker}, State: enums.PENDING_ACTIVITY_STATE_STARTED,
		HeartbeatDetails: details, LastHeartbeatTime: timestamppb.New(beat),
	}
	s := &fakeServer{t: t, memo: viewState(nil), pending: []*workflowpb.PendingActivityInfo{attend}}
	views, err := ReadWorkers(t.Context(), s, "default")
	require.NoError(t, err)
	require.Len(t, views, 1)
	require.True(t, views[0].Alive, "its activity runs, though the server lists no workers")
	require.Equal(t, beat, views[0].Seen)
	require.Equal(t, "f01000/7 partition 0", views[0].Cards[0].Job)

	s.pending = nil
	s.heartbeat = &workerpb.WorkerHeartbeat{WorkerIdentity: "worker w1@7", Status: enums.WORKER_STATUS_RUNNING, HeartbeatTime: timestamppb.Now()}
	views, err = ReadWorkers(t.Context(), s, "default")
	require.NoError(t, err)
	require.True(t, views[0].Alive, "the server's list says so")
	s.heartbeat.WorkerIdentity = "worker w1@6"
	views, err = ReadWorkers(t.Context(), s, "default")
	require.NoError(t, err)
	require.False(t, views[0].Alive, "that was another process")
}

func TestOrder(t *testing.T) {
	for situation, c := range map[string]struct {
		err  error
		want string
	}{
		"done":                   {nil, ""},
		"an unknown worker":      {serviceerror.NewNotFound("workflow not found"), "worker w1: there is no such worker"},
		"nobody took it in time": {context.DeadlineExceeded, "worker w1: no daemon answers: start one (`posthaste daemon run`) and give the order again"},
		"the same, as the server says it": {serviceerror.NewDeadlineExceeded("context deadline exceeded"),
			"worker w1: no daemon answers: start one (`posthaste daemon run`) and give the order again"},
		"refused": {errors.New("no card card7"), "worker w1: Pause: no card card7"},
	} {
		t.Run(situation, func(t *testing.T) {
			s := &fakeServer{t: t, update: c.err, told: workflows.Told{Reached: true}}
			told, err := Order(t.Context(), s, "w1", workflows.UpdatePause, "new disks")
			require.Equal(t, "worker-w1", s.asked.WorkflowID)
			require.Equal(t, []any{"new disks"}, s.asked.Args)
			require.Equal(t, client.WorkflowUpdateStageCompleted, s.asked.WaitForStage)
			if c.want == "" {
				require.NoError(t, err)
				require.True(t, told.Reached)
				return
			}
			require.EqualError(t, err, c.want)
		})
	}
}
