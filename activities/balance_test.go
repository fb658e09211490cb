package activities_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	activitypb "go.temporal.io/api/activity/v1"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

func (s *fleetServer) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing[id]; err != nil {
		return nil, err
	}
	s.described = append(s.described, id)
	for _, info := range s.boards {
		if info.GetExecution().GetWorkflowId() == id {
			return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: info, PendingActivities: s.pending[id]}, nil
		}
	}
	return nil, serviceerror.NewNotFound("no such workflow")
}

func (s *fleetServer) SignalWorkflow(_ context.Context, id, _, signal string, arg any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if signal != workflows.SignalRouted {
		return fmt.Errorf("odd signal %s", signal)
	}
	s.routed[id] = append(s.routed[id], arg.(post.Routed))
	return nil
}

func (f fleetService) UpdateActivityOptions(_ context.Context, in *workflowservice.UpdateActivityOptionsRequest, _ ...grpc.CallOption) (*workflowservice.UpdateActivityOptionsResponse, error) {
	s := f.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return nil, s.refuse
	}
	s.updates = append(s.updates, in)
	for _, a := range s.pending[in.GetExecution().GetWorkflowId()] {
		if a.GetActivityId() != in.GetId() {
			continue
		}
		for _, path := range in.GetUpdateMask().GetPaths() {
			switch path {
			case "task_queue.name":
				a.ActivityOptions.TaskQueue = in.GetActivityOptions().GetTaskQueue()
			case "priority.priority_key":
				a.ActivityOptions.Priority = in.GetActivityOptions().GetPriority()
			default:
				return nil, serviceerror.NewInvalidArgument(path)
			}
		}
	}
	return &workflowservice.UpdateActivityOptionsResponse{}, nil
}

// deadline adds a running deadline with one partition whose job waits on a queue, or runs.
func (s *fleetServer) deadline(id string, queue string, state enums.PendingActivityState, change func(*post.Result, *workflowpb.PendingActivityInfo)) {
	board := post.Result{
		Deadline: post.Deadline{Miner: 1000, Index: 7}, Size: 2048,
		Partitions: []post.PartitionResult{{Index: 3, State: post.StateProving, Tries: 1, Queue: queue, Stores: []string{"a"}}},
	}
	pending := &workflowpb.PendingActivityInfo{
		ActivityId: "prove-3-1", ActivityType: &commonpb.ActivityType{Name: workflows.ActivityGenerateWindowPoSt}, State: state,
		ExpirationTime:  timestamppb.New(noon.Add(time.Hour)),
		ActivityOptions: &activitypb.ActivityOptions{TaskQueue: &taskqueuepb.TaskQueue{Name: queue}, Priority: &commonpb.Priority{PriorityKey: 3}},
	}
	if change != nil {
		change(&board, pending)
	}
	s.boards = append(s.boards, &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: id, RunId: "run"}, Memo: memo(workflows.MemoBoard, board)})
	s.pending[id] = append(s.pending[id], pending)
}

const (
	scheduled = enums.PENDING_ACTIVITY_STATE_SCHEDULED
	started   = enums.PENDING_ACTIVITY_STATE_STARTED
)

// balanced is a daemon that balances a fleet of gpu-1, which has store a, and gpu-2, which has a and b.
type balanced struct {
	*activities.Balance
	*fleetServer
	narrow, wide string // their queues
	clock        *clock
	said         *strings.Builder
}

func newBalance(live ...bool) *balanced {
	first, second := gpus("gpu-1", 1, "a"), gpus("gpu-2", 1, "a", "b")
	s := &fleetServer{pending: map[string][]*workflowpb.PendingActivityInfo{}, routed: map[string][]post.Routed{}, failing: map[string]error{}}
	for i, state := range []post.WorkerState{first, second} {
		s.states = append(s.states, state)
		if live[i] {
			s.beats = append(s.beats, heartbeat(state, 0, 0))
		}
	}
	fleet, clock := newFleet(s)
	said := &strings.Builder{}
	log := slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return &balanced{
		Balance:     &activities.Balance{Fleet: fleet, Temporal: s, Log: log},
		fleetServer: s, narrow: queueOf(first), wide: queueOf(second), clock: clock, said: said,
	}
}

// look is one pass, some seconds after the one before, in which the live workers went on.
func (b *balanced) look(t *testing.T) activities.Balanced {
	t.Helper()
	b.clock.pass(5 * time.Second)
	for _, beat := range b.beats {
		beat.HeartbeatTime = timestamppb.New(b.clock.Now())
	}
	seen := activities.Look(b.Balance, t.Context())
	seen.At, seen.Seconds = time.Time{}, 0
	return seen
}

func TestAJobIsMovedToAFreeCard(t *testing.T) {
	b := newBalance(true, true)
	b.deadline("busy", b.narrow, started, nil)
	b.deadline("waits", b.narrow, scheduled, nil)
	assert.Equal(t, activities.Balanced{Waiting: 1, Running: 1, Moved: 1}, b.look(t))
	require.Len(t, b.updates, 1)
	update := b.updates[0]
	assert.Equal(t, "n", update.GetNamespace())
	assert.Equal(t, "prove-3-1", update.GetId())
	assert.Equal(t, []string{"task_queue.name"}, update.GetUpdateMask().GetPaths())
	assert.Equal(t, b.wide, update.GetActivityOptions().GetTaskQueue().GetName())
	assert.Equal(t, []post.Routed{{Partition: 3, Choice: post.Choice{Queue: b.wide, Priority: 3}}}, b.routed["waits"])
	assert.Equal(t, activities.Balanced{Waiting: 1, Running: 1}, b.look(t), "it stays where it is")
	assert.Len(t, b.routed["waits"], 1, "it is told once, also if it does not show it")
	assert.Empty(t, b.routed["busy"])
}

func TestManyJobsOfADeadQueue(t *testing.T) {
	b := newBalance(false, true)
	for i := range 7 {
		b.deadline(fmt.Sprint("d", i), b.narrow, scheduled, nil)
	}
	assert.Equal(t, activities.Balanced{Waiting: 7, Moved: 7}, b.look(t))
	assert.Equal(t, activities.Balanced{Waiting: 7}, b.look(t))
	b.beats = append(b.beats, heartbeat(b.states[0], 0, 0))
	assert.Equal(t, activities.Balanced{Waiting: 7, Moved: 3}, b.look(t), "a card that comes back gets what it can begin, and part of the line")
	assert.Equal(t, activities.Balanced{Waiting: 7}, b.look(t), "and that is that")
}

func TestAJobThatNobodyCanTake(t *testing.T) {
	b := newBalance(true, false)
	b.deadline("waits", b.wide, scheduled, func(r *post.Result, _ *workflowpb.PendingActivityInfo) { r.Partitions[0].Stores = []string{"b"} })
	const asleep = "nobody who may take it is awake: worker gpu-2 is not running"
	want := activities.Balanced{Waiting: 1, Stuck: map[string]int{asleep: 1}}
	assert.Equal(t, want, b.look(t))
	assert.Equal(t, []post.Routed{{Partition: 3, Choice: post.Choice{Queue: b.wide, Waits: asleep, Priority: 3}}}, b.routed["waits"])
	assert.NotContains(t, b.said.String(), "nobody can take", "Temporal may have just started")
	for range 3 {
		assert.Equal(t, want, b.look(t))
	}
	assert.Equal(t, 1, strings.Count(b.said.String(), "level=ERROR"), "once")
	assert.Contains(t, b.said.String(), "worker gpu-2 is not running")
	assert.Contains(t, b.said.String(), "f01000/7 partition 3")

	b.states = b.states[:1]
	const missing = `no worker can read store \"b\"`
	seen := b.look(t)
	assert.Equal(t, activities.Balanced{Waiting: 1, Moved: 1, Stuck: map[string]int{`no worker can read store "b"`: 1}}, seen)
	assert.Equal(t, post.QueueNobody, b.updates[0].GetActivityOptions().GetTaskQueue().GetName())
	b.look(t)
	assert.Contains(t, b.said.String(), missing)

	b.states = append(b.states, gpus("gpu-3", 1, "a", "b"))
	b.beats = append(b.beats, heartbeat(b.states[1], 0, 0))
	assert.Equal(t, activities.Balanced{Waiting: 1, Moved: 1}, b.look(t))
	assert.Len(t, b.routed["waits"], 3)
	assert.Equal(t, post.Choice{Queue: b.wide, Priority: 3}, b.routed["waits"][2].Choice)
}

// When a worker comes that could prove the other sectors, the words for what is missing stay the same, but the workflow must know: it
// goes without a lost store only if somebody can take the rest.
func TestItIsToldThatTheRestCouldBeProven(t *testing.T) {
	b := newBalance(false, false)
	b.states = b.states[:1] // nobody has store b
	const missing = `no worker can read store "b"`
	b.deadline("waits", post.QueueNobody, scheduled, func(r *post.Result, _ *workflowpb.PendingActivityInfo) {
		r.Partitions[0].Stores, r.Partitions[0].Waits = []string{"a", "b"}, missing
	})
	b.look(t)
	assert.Empty(t, b.routed["waits"], "it shows that already")
	b.beats = append(b.beats, heartbeat(b.states[0], 0, 0))
	for range 3 {
		b.look(t)
	}
	assert.Equal(t, []post.Routed{{Partition: 3, Choice: post.Choice{Queue: post.QueueNobody, Waits: missing, Lost: []string{"b"}, Priority: 3}}},
		b.routed["waits"], "once")
}

func TestPriorityIsRaisedAsCloseNears(t *testing.T) {
	b := newBalance(true, true)
	b.deadline("proven", b.narrow, started, func(r *post.Result, _ *workflowpb.PendingActivityInfo) {
		r.Partitions = append(r.Partitions, post.PartitionResult{Index: 4, State: post.StatePosted,
			Phases: post.PhaseTimes{Vanilla: 10 * time.Minute, Snark: 10 * time.Minute, Verify: time.Hour}})
	})
	b.deadline("busy", b.wide, started, nil)
	expires := func(in time.Duration) func(*post.Result, *workflowpb.PendingActivityInfo) {
		return func(_ *post.Result, a *workflowpb.PendingActivityInfo) {
			a.ExpirationTime = timestamppb.New(noon.Add(in))
		}
	}
	b.deadline("soon", b.narrow, scheduled, expires(39*time.Minute))
	b.deadline("later", b.narrow, scheduled, expires(50*time.Minute))
	seen := b.look(t)
	assert.Equal(t, 1, seen.Raised)
	assert.Equal(t, 20*time.Minute, b.Fleet.Forecast(2048, 0))
	assert.Equal(t, "soon", b.updates[0].GetExecution().GetWorkflowId())
	assert.Contains(t, b.updates[0].GetUpdateMask().GetPaths(), "priority.priority_key")
	assert.EqualValues(t, 1, b.updates[0].GetActivityOptions().GetPriority().GetPriorityKey())
	assert.Zero(t, b.look(t).Raised, "once")
	choice, err := b.Fleet.RouteJob(t.Context(), workflows.RouteInput{Needs: post.Needs{Miner: 1, Size: 2048}, Try: 1, Left: 30 * time.Minute})
	require.NoError(t, err)
	assert.Equal(t, 1, choice.Priority, "new jobs profit from what was learnt")
}

func TestWhatIsLeftAlone(t *testing.T) {
	b := newBalance(false, true)
	b.deadline("paused by an operator", b.narrow, enums.PENDING_ACTIVITY_STATE_PAUSED, nil)
	b.deadline("begun", b.narrow, started, nil)
	b.deadline("to be cancelled", b.narrow, enums.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED, nil)
	b.deadline("another activity", b.narrow, scheduled, func(_ *post.Result, a *workflowpb.PendingActivityInfo) { a.ActivityType.Name = "VerifyProof" })
	b.deadline("all proven", b.narrow, scheduled, func(r *post.Result, _ *workflowpb.PendingActivityInfo) { r.Partitions[0].State = post.StateSubmitting })
	b.boards = append(b.boards, &workflowpb.WorkflowExecutionInfo{Execution: &commonpb.WorkflowExecution{WorkflowId: "just begun"}})
	assert.Equal(t, activities.Balanced{Running: 2}, b.look(t))
	assert.Empty(t, b.updates)
	assert.NotContains(t, b.described, "all proven", "each Describe costs")
}

func TestTroubleWithOneWorkflowDoesNotHoldUpTheOthers(t *testing.T) {
	b := newBalance(false, true)
	for _, id := range []string{"broken", "ended", "fine"} {
		b.deadline(id, b.narrow, scheduled, nil)
	}
	b.failing["broken"] = serviceerror.NewUnavailable("shard moved")
	b.failing["ended"] = serviceerror.NewNotFound("over")
	seen := b.look(t)
	assert.Equal(t, "describing broken: shard moved", seen.Problem)
	assert.Equal(t, 1, seen.Moved)
	delete(b.failing, "broken")
	b.refuse = serviceerror.NewUnavailable("busy")
	seen = b.look(t)
	assert.Contains(t, seen.Problem, "moving f01000/7 partition 3 to "+b.wide)
	assert.Empty(t, b.routed["broken"], "what was not done is not told")
	b.refuse = serviceerror.NewNotFound("the activity has ended")
	seen = b.look(t)
	assert.Empty(t, seen.Problem)
	b.away = serviceerror.NewUnavailable("no")
	assert.Contains(t, b.look(t).Problem, "listing running WorkerWorkflows")
}

// An attempt whose heartbeats were lost goes on in the daemon that begins the next one.
func TestTwoAttemptsLookOneAfterTheOther(t *testing.T) {
	b := newBalance(true, true)
	b.deadline("waits", b.narrow, scheduled, nil)
	var at, most atomic.Int32
	b.listing = func() {
		most.Store(max(most.Load(), at.Add(1)))
		time.Sleep(10 * time.Millisecond) // for the other to come in
		at.Add(-1)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { activities.Look(b.Balance, t.Context()) })
	}
	both.Wait()
	assert.EqualValues(t, 1, most.Load())
}

func TestPartitionsOfActivities(t *testing.T) {
	for id, want := range map[string]int{"prove-0-1": 0, "prove-12-340": 12, "prove-1": -1, "prove--1": -1, "23": -1, "prove-x-1": -1, "prove-1-y": -1, "": -1} {
		index, ok := activities.PartitionOf(id)
		if assert.Equal(t, want >= 0, ok, id); ok {
			assert.EqualValues(t, want, index, id)
		}
	}
}

// BalanceFleet itself: it looks, says so, and goes when it is told to.
func TestBalanceFleet(t *testing.T) {
	b := newBalance(true, true)
	b.Every = time.Millisecond
	var observed []activities.Balanced
	b.Observe = func(seen activities.Balanced) { observed = append(observed, seen) }
	env := newEnvironment()
	stopping := make(chan struct{})
	env.SetWorkerStopChannel(stopping)
	env.RegisterActivity(b.BalanceFleet)
	ended := make(chan error, 1)
	go func() {
		_, err := env.ExecuteActivity(b.BalanceFleet)
		ended <- err
	}()
	require.Eventually(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.reads > 0 }, patience, time.Millisecond)
	close(stopping)
	select {
	case err := <-ended:
		retried(t, err)
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	require.Greater(t, len(observed), 1)
	assert.NotZero(t, observed[0].At)
	assert.Equal(t, activities.Balanced{}, observed[len(observed)-1], "whoever goes on has the figures")
}

// A trial's job goes where a card is free, but only when no deadline's job wants that card, always last in the line, and nobody is alarmed
// when it waits in vain.
func TestTrialsComeLast(t *testing.T) {
	b := newBalance(true, true)
	b.deadline("busy", b.narrow, started, nil)
	last := func(left time.Duration) func(*post.Result, *workflowpb.PendingActivityInfo) {
		return func(_ *post.Result, a *workflowpb.PendingActivityInfo) {
			a.ActivityOptions.Priority.PriorityKey = post.PriorityTrial
			a.ExpirationTime = timestamppb.New(noon.Add(left))
		}
	}
	b.deadline("compute-f01000-7-aa", b.narrow, scheduled, last(time.Minute))
	b.deadline("waits", b.narrow, scheduled, nil)
	assert.Equal(t, activities.Balanced{Waiting: 2, Running: 1, Moved: 1}, b.look(t))
	require.Len(t, b.updates, 1)
	assert.Equal(t, "waits", b.updates[0].GetExecution().GetWorkflowId(), "the deadline's job has more time left, and goes first")
	assert.Empty(t, b.routed["compute-f01000-7-aa"], "it stays where it shows that it is")

	b.boards = b.boards[:2]
	assert.Equal(t, activities.Balanced{Waiting: 1, Running: 1, Moved: 1}, b.look(t), "now the card is free")
	require.Len(t, b.updates, 2)
	assert.Equal(t, []string{"task_queue.name"}, b.updates[1].GetUpdateMask().GetPaths(), "its priority stays")

	b.beats = nil
	for range 4 {
		b.look(t)
	}
	assert.NotEmpty(t, b.routed["compute-f01000-7-aa"][len(b.routed["compute-f01000-7-aa"])-1].Waits)
	assert.NotContains(t, b.said.String(), "nobody can take")
}
