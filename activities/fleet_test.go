package activities_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workerpb "go.temporal.io/api/worker/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// fleetServer is a Temporal with workers and queues. All its lists come in pages of two.
type fleetServer struct {
	mu        sync.Mutex
	states    []post.WorkerState
	boards    []*workflowpb.WorkflowExecutionInfo // of deadlines
	beats     []*workerpb.WorkerHeartbeat
	noList    bool // it does not know ListWorkers
	queues    map[string]*workflowservice.DescribeTaskQueueResponse
	away      error
	reads     int
	pending   map[string][]*workflowpb.PendingActivityInfo // by workflow ID
	failing   map[string]error                             // Describe of workflows
	updates   []*workflowservice.UpdateActivityOptionsRequest
	refuse    error // of updates
	routed    map[string][]post.Routed
	described []string
	histories map[string][]*historypb.HistoryEvent // by workflow ID
	asked     int                                  // for pages of histories
	listing   func()                               // called when deadlines are listed, without the mutex
}

func (s *fleetServer) WorkflowService() workflowservice.WorkflowServiceClient {
	return fleetService{server: s}
}

// fleetService is what a client has no methods of its own for.
type fleetService struct {
	workflowservice.WorkflowServiceClient // nil: what is not overridden must not be called
	server                                *fleetServer
}

func page[T any](all []T, token []byte) (part []T, next []byte) {
	from := len(token)
	to := min(from+2, len(all))
	if to < len(all) {
		next = make([]byte, to)
	}
	return all[from:to], next
}

func memo(key string, value any) *commonpb.Memo {
	payload, err := converter.GetDefaultDataConverter().ToPayload(value)
	if err != nil {
		panic(err)
	}
	return &commonpb.Memo{Fields: map[string]*commonpb.Payload{key: payload}}
}

func (s *fleetServer) ListWorkflow(_ context.Context, in *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	if s.listing != nil && strings.Contains(in.GetQuery(), "'DeadlineWorkflow'") {
		s.listing()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return nil, s.away
	}
	var all []*workflowpb.WorkflowExecutionInfo
	for _, info := range s.boards {
		if strings.HasPrefix(info.GetExecution().GetWorkflowId(), "compute-") == strings.Contains(in.GetQuery(), "'ComputeWorkflow'") {
			all = append(all, info)
		}
	}
	if strings.Contains(in.GetQuery(), "'WorkerWorkflow'") {
		s.reads++
		all = []*workflowpb.WorkflowExecutionInfo{{}} // one that has not shown anything yet
		for _, state := range s.states {
			all = append(all, &workflowpb.WorkflowExecutionInfo{Memo: memo(workflows.MemoWorker, state)})
		}
	}
	part, next := page(all, in.GetNextPageToken())
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: part, NextPageToken: next}, nil
}

func (f fleetService) ListWorkers(_ context.Context, in *workflowservice.ListWorkersRequest, _ ...grpc.CallOption) (*workflowservice.ListWorkersResponse, error) {
	s := f.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noList {
		return nil, serviceerror.NewUnimplemented("unknown method ListWorkers")
	}
	part, next := page(s.beats, in.GetNextPageToken())
	out := &workflowservice.ListWorkersResponse{NextPageToken: next}
	for _, b := range part {
		//lint:ignore SA1019 see Fleet
		out.WorkersInfo = append(out.WorkersInfo, &workerpb.WorkerInfo{WorkerHeartbeat: b})
	}
	return out, nil
}

func (f fleetService) DescribeTaskQueue(_ context.Context, in *workflowservice.DescribeTaskQueueRequest, _ ...grpc.CallOption) (*workflowservice.DescribeTaskQueueResponse, error) {
	s := f.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if out := s.queues[in.GetTaskQueue().GetName()]; out != nil {
		return out, nil
	}
	return &workflowservice.DescribeTaskQueueResponse{}, nil
}

// clock is a daemon's clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newFleet(s *fleetServer) (*activities.Fleet, *clock) {
	c := &clock{now: noon}
	return &activities.Fleet{Temporal: s, Namespace: "n", Log: slog.New(slog.DiscardHandler), Now: c.Now}, c
}

// gpus is a worker with cards that admit everything in some stores.
func gpus(name string, cards int, stores ...string) post.WorkerState {
	admits := post.Admits{Pool: post.DefaultPool, Stores: stores}
	group := post.Group{Admits: admits, Kind: post.KindWindow, Queue: admits.Queue(post.KindWindow), Slots: cards}
	for i := range cards {
		group.Cards = append(group.Cards, post.Card{Name: "card" + string(rune('0'+i)), Places: 1})
	}
	return post.WorkerState{Report: post.WorkerReport{Name: name, Instance: "worker " + name + "@1", Groups: []post.Group{group}}}
}

func queueOf(state post.WorkerState) string { return state.Report.Groups[0].Queue }

// heartbeat is that of a worker's poller, so long ago.
func heartbeat(state post.WorkerState, ago time.Duration, used int32) *workerpb.WorkerHeartbeat {
	return &workerpb.WorkerHeartbeat{
		WorkerInstanceKey: state.Report.Name + queueOf(state), WorkerIdentity: state.Report.Instance, TaskQueue: queueOf(state),
		Status: enums.WORKER_STATUS_RUNNING, HeartbeatTime: timestamppb.New(noon.Add(-ago)), ElapsedSinceLastHeartbeat: durationpb.New(5 * time.Second),
		ActivityTaskSlotsInfo: &workerpb.WorkerSlotsInfo{CurrentUsedSlots: used},
	}
}

func backlog(n int64) *workflowservice.DescribeTaskQueueResponse {
	return &workflowservice.DescribeTaskQueueResponse{Stats: &taskqueuepb.TaskQueueStats{ApproximateBacklogCount: n}}
}

func TestWhoIsThere(t *testing.T) {
	second := gpus("gpu-2", 1, "a")
	for name, c := range map[string]struct {
		change func(*fleetServer, *post.WorkerState) // of the first worker
		live   int
		busy   int
		asleep string
	}{
		"both": {func(*fleetServer, *post.WorkerState) {}, 3, 1, ""},
		"one is dead": {func(s *fleetServer, _ *post.WorkerState) {
			s.beats[0].HeartbeatTime = timestamppb.New(noon.Add(-16 * time.Second))
		}, 1, 0, "worker gpu-1 is not running"},
		"one has missed two beats": {func(s *fleetServer, _ *post.WorkerState) {
			s.beats[0].HeartbeatTime = timestamppb.New(noon.Add(-14 * time.Second))
		}, 3, 1, ""},
		"one is stopping":       {func(s *fleetServer, _ *post.WorkerState) { s.beats[0].Status = enums.WORKER_STATUS_SHUTTING_DOWN }, 1, 0, "worker gpu-1 is not running"},
		"one never came back":   {func(s *fleetServer, _ *post.WorkerState) { s.beats = s.beats[1:] }, 1, 0, "worker gpu-1 is not running"},
		"another process of it": {func(_ *fleetServer, w *post.WorkerState) { w.Report.Instance = "worker gpu-1@2" }, 1, 0, "worker gpu-1 is not running"},
		"one is paused":         {func(_ *fleetServer, w *post.WorkerState) { w.Orders.Paused = "new driver" }, 1, 0, "worker gpu-1 is paused: new driver"},
		"one is draining":       {func(_ *fleetServer, w *post.WorkerState) { w.Report.Draining = true }, 1, 0, "worker gpu-1 is draining"},
		"one card is fenced": {func(_ *fleetServer, w *post.WorkerState) {
			w.Orders.Fences = []post.Fence{{Card: "card0", Reason: "three false proofs"}}
			w.Report.Groups[0].Slots = 1
		}, 2, 1, "worker gpu-1: card card0 is fenced: three false proofs"},
		"no card starts": {func(_ *fleetServer, w *post.WorkerState) { w.Report.Groups[0].Slots = 0 }, 1, 0, "worker gpu-1 has no card that starts"},
		"it polls something else": {func(s *fleetServer, w *post.WorkerState) { s.beats[0].TaskQueue = workflows.WorkerQueue("gpu-1") }, 1, 0,
			"worker gpu-1 runs, but does not poll its queue"},
		"a store of one is lost": {func(_ *fleetServer, w *post.WorkerState) {
			w.Report.LostStores = []post.LostStore{{Name: "b", Reason: "not mounted"}}
		}, 3, 1, `worker gpu-1 cannot read store "b": not mounted`},
		"one still proves for a queue that it has left": {func(s *fleetServer, w *post.WorkerState) {
			left := heartbeat(gpus("gpu-1", 2, "a", "b"), time.Second, 1)
			left.Status = enums.WORKER_STATUS_SHUTTING_DOWN
			s.beats = append(s.beats, left)
		}, 3, 2, ""},
		"its proofs for a queue that it has left ended long ago": {func(s *fleetServer, w *post.WorkerState) {
			left, before := heartbeat(gpus("gpu-1", 2, "a", "b"), time.Minute, 1), heartbeat(*w, time.Minute, 1)
			before.WorkerInstanceKey += " before a pause"
			left.Status, before.Status = enums.WORKER_STATUS_SHUTTING_DOWN, enums.WORKER_STATUS_SHUTTING_DOWN
			s.beats = append(s.beats, left, before)
		}, 3, 1, ""},
		"the server knows no list of workers": {func(s *fleetServer, w *post.WorkerState) {
			s.noList = true
			s.queues = map[string]*workflowservice.DescribeTaskQueueResponse{queueOf(second): {Pollers: []*taskqueuepb.PollerInfo{
				{Identity: "worker gpu-1@1", LastAccessTime: timestamppb.New(noon.Add(-50 * time.Second))},
				{Identity: "worker gpu-2@1", LastAccessTime: timestamppb.New(noon.Add(-2 * time.Minute))},
			}}}
		}, 2, 0, "worker gpu-2 is not running"},
		"the server knows no list of workers, and all cards have been busy for long": {func(s *fleetServer, w *post.WorkerState) {
			s.noList = true
			s.queues = map[string]*workflowservice.DescribeTaskQueueResponse{workflows.WorkerQueue("gpu-1"): {Pollers: []*taskqueuepb.PollerInfo{
				{Identity: "worker gpu-1@1", LastAccessTime: timestamppb.New(noon.Add(-50 * time.Second))},
			}}}
		}, 2, 0, "worker gpu-2 is not running"},
	} {
		t.Run(name, func(t *testing.T) {
			first := gpus("gpu-1", 2, "a")
			s := &fleetServer{beats: []*workerpb.WorkerHeartbeat{heartbeat(first, time.Second, 1), heartbeat(second, 2*time.Second, 0)}}
			c.change(s, &first)
			s.states = []post.WorkerState{first, second}
			fleet, _ := newFleet(s)
			seen, err := fleet.Snapshot(t.Context())
			require.NoError(t, err)
			require.Len(t, seen.Queues, 1, "they admit the same")
			q := seen.Queues[0]
			assert.Equal(t, queueOf(second), q.Name)
			assert.Equal(t, []string{"a"}, q.Stores)
			assert.Equal(t, c.live, q.Live)
			assert.Equal(t, c.busy, q.Busy)
			assert.Equal(t, c.asleep, q.Asleep)
			if c.live == 3 {
				assert.Equal(t, []string{"gpu-1/card0", "gpu-1/card1", "gpu-2/card0"}, q.Cards)
			}
		})
	}
}

// Heartbeats carry the worker's own time, and its clock may be anything.
func TestClocksThatDiffer(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"right": 0, "an hour slow": -time.Hour, "an hour fast": time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := gpus("gpu-1", 1, "a")
			s := &fleetServer{states: []post.WorkerState{w}, beats: []*workerpb.WorkerHeartbeat{heartbeat(w, 0, 0)}}
			fleet, clock := newFleet(s)
			live := func() int {
				seen, err := fleet.Snapshot(t.Context())
				require.NoError(t, err)
				return seen.Queues[0].Live
			}
			beat := func() { s.beats[0].HeartbeatTime = timestamppb.New(clock.Now().Add(ahead)) }
			beat()
			live() // a daemon that has just started may be wrong
			for range 10 {
				clock.pass(5 * time.Second)
				beat()
				assert.Equal(t, 1, live())
			}
			clock.pass(9 * time.Second)
			assert.Equal(t, 1, live(), "one is missing")
			clock.pass(7 * time.Second)
			assert.Equal(t, 0, live())
			clock.pass(time.Hour)
			beat()
			live()
			clock.pass(2 * time.Second)
			beat()
			assert.Equal(t, 1, live(), "back after an hour")
		})
	}
}

func TestASnapshotIsSharedForASecond(t *testing.T) {
	s := &fleetServer{}
	fleet, clock := newFleet(s)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			_, err := fleet.Snapshot(t.Context())
			assert.NoError(t, err)
		})
	}
	group.Wait()
	assert.Equal(t, 1, s.reads)
	clock.pass(time.Second)
	s.away = serviceerror.NewUnavailable("no")
	for range 3 {
		_, err := fleet.Snapshot(t.Context())
		require.ErrorContains(t, err, "listing running WorkerWorkflows")
	}
	s.away = nil
	clock.pass(time.Second)
	_, err := fleet.Snapshot(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, s.reads)
}

func TestManyJobsAtOnceSpread(t *testing.T) {
	wide, narrow := gpus("gpu-1", 3, "a", "b"), gpus("gpu-2", 2, "a")
	s := &fleetServer{states: []post.WorkerState{wide, narrow}, beats: []*workerpb.WorkerHeartbeat{heartbeat(wide, 0, 0), heartbeat(narrow, 0, 0)}}
	fleet, clock := newFleet(s)
	route := func(stores ...string) string {
		choice, err := fleet.RouteJob(t.Context(), workflows.RouteInput{Needs: post.Needs{Miner: 1000, Size: 2048, Stores: stores}, Try: 1, Left: time.Hour})
		require.NoError(t, err)
		assert.Equal(t, 3, choice.Priority)
		return choice.Queue
	}
	count := map[string]int{}
	for range 5 {
		count[route("a")]++
	}
	assert.Equal(t, map[string]int{queueOf(wide): 3, queueOf(narrow): 2}, count)
	clock.pass(2 * time.Second)
	seen, err := fleet.Snapshot(t.Context())
	require.NoError(t, err)
	for _, q := range seen.Queues {
		assert.Zero(t, q.Free(), "the workers' heartbeats are older than the jobs, which nothing shows yet")
	}
	clock.pass(5 * time.Second)
	s.beats[0].HeartbeatTime, s.beats[1].HeartbeatTime = timestamppb.New(clock.Now()), timestamppb.New(clock.Now())
	seen, err = fleet.Snapshot(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 5, seen.Queues[0].Free()+seen.Queues[1].Free(), "their next ones say that the jobs are done")
	clock.pass(time.Second)
	s.queues = map[string]*workflowservice.DescribeTaskQueueResponse{queueOf(wide): backlog(4)}
	seen, err = fleet.Snapshot(t.Context())
	require.NoError(t, err)
	for _, q := range seen.Queues {
		if q.Name == queueOf(wide) {
			assert.Equal(t, -4, q.Free(), "where jobs wait, no card is free, whatever the last heartbeat said")
		}
	}
	assert.Equal(t, queueOf(narrow), route("a"))
	assert.Equal(t, queueOf(wide), route("b"))
	assert.Equal(t, post.QueueNobody, route("c"))
}
