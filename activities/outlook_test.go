package activities_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// outlookServer is a fleetServer that tells closed deadlines, miners and failing workflow tasks apart.
type outlookServer struct {
	*fleetServer
	closed   []*workflowpb.WorkflowExecutionInfo
	lost     []*workflowpb.WorkflowExecutionInfo // miners' workflows that have ended
	miners   []*workflowpb.WorkflowExecutionInfo
	attempts map[string]int32 // of workflow tasks, by workflow ID
	queries  []string
	refuse   string          // queries with this in them fail
	ended    map[string]bool // workflows that visibility takes for running
	running  map[string]bool // workflows without jobs
}

func (s *outlookServer) ListWorkflow(ctx context.Context, in *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	s.queries = append(s.queries, in.GetQuery())
	switch {
	case s.refuse != "" && strings.Contains(in.GetQuery(), s.refuse):
		return nil, errors.New("Temporal is busy")
	case strings.Contains(in.GetQuery(), "'MinerWorkflow' AND ExecutionStatus IN"):
		return &workflowservice.ListWorkflowExecutionsResponse{Executions: s.lost}, nil
	case strings.Contains(in.GetQuery(), "CloseTime"):
		return &workflowservice.ListWorkflowExecutionsResponse{Executions: s.closed}, nil
	case strings.Contains(in.GetQuery(), "WorkflowType IN"):
		return &workflowservice.ListWorkflowExecutionsResponse{Executions: s.miners}, nil
	}
	return s.fleetServer.ListWorkflow(ctx, in)
}

func (s *outlookServer) DescribeWorkflowExecution(ctx context.Context, id, run string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	if s.running[id] {
		return &workflowservice.DescribeWorkflowExecutionResponse{}, nil
	}
	described, err := s.fleetServer.DescribeWorkflowExecution(ctx, id, run)
	if err == nil && s.ended[id] {
		described.WorkflowExecutionInfo = &workflowpb.WorkflowExecutionInfo{Status: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, CloseTime: timestamppb.Now()}
		described.PendingActivities = nil
	}
	if attempt := s.attempts[id]; err == nil && attempt > 0 {
		described.WorkflowExecutionInfo = &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: id}, Status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING, Memo: described.GetWorkflowExecutionInfo().GetMemo(),
		}
		described.PendingWorkflowTask = &workflowpb.PendingWorkflowTaskInfo{Attempt: attempt}
	}
	return described, err
}

// newOutlooks is what a daemon sees of the fleet that newBalance has, with a node at epoch 100.
func newOutlooks(live ...bool) (*activities.Outlooks, *outlookServer, *balanced) {
	b := newBalance(live...)
	s := &outlookServer{fleetServer: b.fleetServer, attempts: map[string]int32{}}
	s.miners = []*workflowpb.WorkflowExecutionInfo{{
		Execution: &commonpb.WorkflowExecution{WorkflowId: "miner-f01000"},
		Memo:      memo(workflows.MemoMiner, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000, Settings: post.Settings{SubmitReserve: 10, MaxTry: 5, EpochDuration: time.Second}}}),
	}}
	b.Balance.Temporal = s
	return &activities.Outlooks{
		Balance: b.Balance, Temporal: s, Log: slog.New(slog.DiscardHandler),
		Node: func() post.NodeOutlook {
			return post.NodeOutlook{Endpoint: "node", Head: 100, At: b.clock.Now().Add(-2 * time.Second), EpochDuration: time.Second}
		},
	}, s, b
}

func TestOutlook(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	s.deadline("wdpost-f01000-40-7", b.narrow, started, func(r *post.Result, _ *workflowpb.PendingActivityInfo) {
		r.Deadline.PeriodStart, r.Deadline.Close = 40, 160
	})
	s.deadline("compute-f01000-7", b.narrow, scheduled, nil)
	s.attempts["wdpost-f01000-40-7"] = 3
	s.attempts["miner-f01000"] = 2
	s.states[0].Orders.Fences = []post.Fence{{Card: "card0", Reason: "it fell back"}}

	o, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Empty(t, o.Problem)
	assert.EqualValues(t, 102, o.Epoch, "the head, carried on by the clock")
	require.Len(t, o.Deadlines, 1, "what is only computed is not a deadline of the chain")
	d := o.Deadlines[0]
	assert.Equal(t, 5, d.Settings.MaxTry, "as the miner's workflow has it")
	assert.Equal(t, 48*time.Second, d.Left, "until epoch 150")
	require.Len(t, d.Jobs, 1)
	assert.True(t, d.Jobs[0].Started)
	assert.EqualValues(t, 3, d.Jobs[0].Partition)
	require.Len(t, o.Workers, 2)
	assert.True(t, o.Workers[0].Alive)
	assert.Len(t, o.Workers[0].Orders.Fences, 1)
	require.Len(t, o.Failing, 1, "two attempts are nothing to speak of")
	assert.Equal(t, "wdpost-f01000-40-7", o.Failing[0].WorkflowID)
	assert.Empty(t, o.Stuck)
}

func TestOutlookOfJobsThatNobodyCanTake(t *testing.T) {
	l, s, b := newOutlooks(false, false)
	for _, id := range []string{"wdpost-f01000-40-7", "wdpost-f01000-40-8", "compute-f01000-7"} {
		s.deadline(id, b.narrow, scheduled, nil)
	}
	o, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Stuck, 1, "the same cause once")
	assert.Equal(t, 2, o.Stuck[0].Jobs, "nobody needs a job that is only computed")
	assert.Equal(t, b.narrow, o.Stuck[0].Queue)
	assert.Contains(t, o.Stuck[0].Why, "is not running")
	assert.False(t, o.Workers[0].Alive)
}

func TestAClosedDeadlineIsFreshOnce(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	ended := func(run string, at time.Time) *workflowpb.WorkflowExecutionInfo {
		return &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: "wdpost-f01000-40-7", RunId: run}, Status: enums.WORKFLOW_EXECUTION_STATUS_FAILED, CloseTime: timestamppb.New(at),
		}
	}
	s.closed = []*workflowpb.WorkflowExecutionInfo{ended("old", b.clock.Now().Add(-time.Minute))}
	for look, want := range []map[string]bool{{"old": false}, {"old": false, "new": true}, {"old": false, "new": false}} {
		if look == 1 {
			s.closed = append(s.closed, ended("new", b.clock.Now()))
		}
		o, err := l.Read(t.Context())
		require.NoError(t, err)
		fresh := map[string]bool{}
		for _, d := range o.Closed {
			fresh[d.RunID] = d.Fresh
			assert.EqualValues(t, 7, d.Deadline.Index, "known by its ID, if it had shown nothing")
		}
		require.Equal(t, want, fresh, "look %d", look)
	}
}

// A process that balances has read most of it already.
func TestOutlookTakesWhatBalancingRead(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	s.deadline("wdpost-f01000-40-7", b.narrow, started, nil)
	b.look(t)
	s.queries, s.described = nil, nil
	o, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Deadlines, 1)
	require.Len(t, s.queries, 3, "what has closed, and now and then what is rarely asked: %v", s.queries)
	s.queries = nil
	_, err = l.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, s.queries, 1)
	b.clock.pass(8 * time.Second) // nobody balances here any more
	_, err = l.Read(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(s.queries), 2)
}

func TestAnOutlookThatIsNotCompleteSaysSo(t *testing.T) {
	for _, what := range []string{"CloseTime", "WorkflowType IN"} {
		l, s, _ := newOutlooks(true, true)
		s.refuse = what
		o, err := l.Read(t.Context())
		require.NoError(t, err)
		require.Contains(t, o.Problem, "Temporal is busy")
	}
	l, s, _ := newOutlooks(true, true)
	s.refuse = "'DeadlineWorkflow' AND ExecutionStatus"
	_, err := l.Read(t.Context())
	require.Error(t, err, "without the deadlines nothing can be judged")
}

// What is not known of a deadline's jobs says nothing of the cards, and one that has ended is none that waits.
func TestOutlookOfDeadlinesThatCannotBeDescribed(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	for _, id := range []string{"wdpost-f01000-40-7", "wdpost-f01000-40-8", "wdpost-f01000-40-9"} {
		s.deadline(id, b.narrow, started, nil)
	}
	s.failing["wdpost-f01000-40-8"] = errors.New("Temporal is busy")
	s.ended = map[string]bool{"wdpost-f01000-40-9": true}
	o, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Contains(t, o.Problem, "Temporal is busy")
	require.Len(t, o.Deadlines, 2)
	require.False(t, o.Deadlines[0].JobsUnread)
	require.Len(t, o.Deadlines[0].Jobs, 1)
	require.Equal(t, "wdpost-f01000-40-8", o.Deadlines[1].WorkflowID)
	require.True(t, o.Deadlines[1].JobsUnread)
}

// A proof that takes longer than any before is not done in a moment, look after look: its deadline may be lost.
func TestOutlookOfAProofThatTakesLongerThanAny(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	s.deadline("wdpost-f01000-40-6", b.narrow, started, func(r *post.Result, _ *workflowpb.PendingActivityInfo) {
		r.Partitions = []post.PartitionResult{{Index: 1, State: post.StatePosted, Sectors: 2, Phases: post.PhaseTimes{Snark: 10 * time.Minute}}}
	})
	s.deadline("wdpost-f01000-40-7", b.narrow, started, func(r *post.Result, a *workflowpb.PendingActivityInfo) {
		r.Partitions[0].Sectors = 2
		var err error
		a.HeartbeatDetails, err = converter.GetDefaultDataConverter().ToPayloads(post.Progress{Partition: 3, Card: "gpu-1/card0", Seconds: 20 * 60})
		require.NoError(t, err)
	})
	o, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Deadlines, 2)
	require.Equal(t, 2*time.Minute, o.Deadlines[1].Forecast, "a tenth of what it has taken, as post.Forecast has it")
}

// A thousand deadlines end in an hour: all of them are listed once, and then those of the last minutes.
func TestWhatEndedLongAgoIsNotListedAgain(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	old := &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: "wdpost-f01000-40-7", RunId: "old"}, Status: enums.WORKFLOW_EXECUTION_STATUS_FAILED,
		CloseTime: timestamppb.New(b.clock.Now().Add(-50 * time.Minute)),
	}
	s.closed = []*workflowpb.WorkflowExecutionInfo{old}
	began := b.clock.Now()
	listed := func() string {
		for _, q := range s.queries {
			if _, since, found := strings.Cut(q, "'DeadlineWorkflow' AND CloseTime > "); found {
				return since
			}
		}
		return ""
	}
	at := func(t time.Time) string { return "'" + t.UTC().Format(time.RFC3339) + "'" }
	_, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, at(began.Add(-time.Hour)), listed())

	b.clock.pass(5 * time.Second)
	s.queries, s.closed = nil, nil
	o, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, at(began.Add(-10*time.Minute)), listed())
	require.Len(t, o.Closed, 1, "it is remembered")

	s.refuse = "'DeadlineWorkflow' AND CloseTime"
	o, err = l.Read(t.Context())
	require.NoError(t, err)
	require.Contains(t, o.Problem, "Temporal is busy")
	require.Len(t, o.Closed, 1, "what is known is not forgotten")

	b.clock.pass(10 * time.Minute)
	s.refuse, s.queries = "", nil
	o, err = l.Read(t.Context())
	require.NoError(t, err)
	require.Empty(t, o.Closed, "it was an hour ago")
	require.Equal(t, at(began.Add(-10*time.Minute+5*time.Second)), listed(), "from what was listed last on, not from now")
}

// With its jobs, a deadline's workflow task is described, too: once is enough.
func TestADeadlineIsDescribedOnce(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	s.deadline("wdpost-f01000-40-7", b.narrow, started, nil)
	s.miners = append(s.miners, s.boards...) // the query is for all of our workflows
	_, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(strings.Join(s.described, " "), "wdpost-f01000-40-7"))
}
