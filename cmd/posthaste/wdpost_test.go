package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// jobsTemporal knows deadlines and a miner that watches them, and notes what it is told.
type jobsTemporal struct {
	client.Client
	t        *testing.T
	rows     []jobsRow
	miner    *workflows.MinerState // nil: nobody watches
	head     abi.ChainEpoch
	orders   []string
	noDaemon bool
	refusal  error // of the next list
	lists    int
}

// jobsRow is a deadline's workflow.
type jobsRow struct {
	status  enums.WorkflowExecutionStatus
	board   post.Result
	jobs    []*workflowpb.PendingActivityInfo
	history []*historypb.HistoryEvent
}

func (*jobsTemporal) Close() {}

func (f *jobsTemporal) info(r jobsRow) *workflowpb.WorkflowExecutionInfo {
	return &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: r.board.Deadline.WorkflowID(), RunId: "run"}, Status: r.status, StartTime: timestamppb.New(time.Now().Add(-time.Hour)),
		Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoBoard: payload(f.t, r.board)}},
	}
}

func (f *jobsTemporal) ListWorkflow(_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	out := &workflowservice.ListWorkflowExecutionsResponse{}
	switch {
	case strings.Contains(r.Query, workflows.NameMinerWorkflow) && f.miner != nil:
		out.Executions = append(out.Executions, &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: "miner-f01000", RunId: "m"}, Status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
			Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoMiner: payload(f.t, *f.miner)}},
		})
	case strings.Contains(r.Query, workflows.NameDeadlineWorkflow):
		if f.lists++; f.refusal != nil && f.lists > 1 {
			return nil, f.refusal
		}
		for _, row := range f.rows {
			if !strings.Contains(r.Query, "WorkflowId IN") || strings.Contains(r.Query, "'"+row.board.Deadline.WorkflowID()+"'") {
				out.Executions = append(out.Executions, f.info(row))
			}
		}
	}
	return out, nil
}

func (f *jobsTemporal) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	for _, r := range f.rows {
		if r.board.Deadline.WorkflowID() == id {
			return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: f.info(r), PendingActivities: r.jobs}, nil
		}
	}
	if id == "miner-f01000" {
		watch := &workflowpb.PendingActivityInfo{
			ActivityType: &commonpb.ActivityType{Name: workflows.ActivityWatchDeadlines}, LastHeartbeatTime: timestamppb.Now(),
			HeartbeatDetails: payloads(f.t, activities.Seen{Head: f.head}),
		}
		return &workflowservice.DescribeWorkflowExecutionResponse{PendingActivities: []*workflowpb.PendingActivityInfo{watch}}, nil
	}
	return nil, serviceerror.NewNotFound(id)
}

func payloads(t *testing.T, values ...any) *commonpb.Payloads {
	p, err := converter.GetDefaultDataConverter().ToPayloads(values...)
	require.NoError(t, err)
	return p
}

func (f *jobsTemporal) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.orders = append(f.orders, fmt.Sprintf("%s %s %v", o.WorkflowID, o.UpdateName, o.Args))
	if f.noDaemon {
		return nil, context.DeadlineExceeded
	}
	return doneHandle{}, nil
}

type doneHandle struct{ client.WorkflowUpdateHandle }

func (doneHandle) Get(context.Context, any) error { return nil }

func (f *jobsTemporal) TerminateWorkflow(_ context.Context, id, run, _ string, _ ...any) error {
	f.orders = append(f.orders, "terminate "+id+" "+run)
	return nil
}

func (f *jobsTemporal) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	f.orders = append(f.orders, fmt.Sprintf("start %s at %d: %s", o.ID, args[0].(workflows.DeadlineInput).Head, o.StaticSummary))
	return nil, nil
}

func (f *jobsTemporal) GetWorkflowHistory(_ context.Context, id, _ string, _ bool, _ enums.HistoryEventFilterType) client.HistoryEventIterator {
	for _, r := range f.rows {
		if r.board.Deadline.WorkflowID() == id {
			return &events{r.history}
		}
	}
	return &events{}
}

type events struct{ left []*historypb.HistoryEvent }

func (e *events) HasNext() bool { return len(e.left) > 0 }

func (e *events) Next() (*historypb.HistoryEvent, error) {
	next := e.left[0]
	e.left = e.left[1:]
	return next, nil
}

// command runs a command line against the server.
func (f *jobsTemporal) command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return commandAt(t, always(f), args...)
}

func (f *jobsTemporal) run(ctx context.Context, out, errs io.Writer, args ...string) error {
	return runAt(ctx, always(f), out, errs, args...)
}

// deadlineOf is a deadline of f01000.
func deadlineOf(index uint64) post.Deadline {
	return post.Deadline{Miner: 1000, PeriodStart: 96, Index: index, Challenge: 180, Open: 200, Close: 260}
}

func aBoard(index uint64, partitions ...post.PartitionResult) post.Result {
	for i := range partitions {
		partitions[i].Index = uint64(i)
	}
	return post.Result{Deadline: deadlineOf(index), State: post.DeadlineState(partitions), Partitions: partitions}
}

const outOfTries = "ProveFailed: card card0: the card refused the task: no such proof type, says a test"

// operators see deadlines in every state, at epoch 210.
func operators(t *testing.T) *jobsTemporal {
	settings := post.DefaultSettings()
	settings.EpochDuration = time.Hour
	progress := post.Progress{Card: "w1/card0", Phase: post.PhaseVanilla, Done: 3, Of: 9}
	card := &workflowpb.PendingActivityInfo{
		ActivityId: "prove-0-1", ActivityType: &commonpb.ActivityType{Name: workflows.ActivityGenerateWindowPoSt}, State: enums.PENDING_ACTIVITY_STATE_STARTED, Attempt: 1,
		LastWorkerIdentity: "worker w1@7-abc", LastStartedTime: timestamppb.New(time.Now().Add(-398 * time.Second)), LastHeartbeatTime: timestamppb.Now(), HeartbeatDetails: payloads(t, progress),
	}
	running, terminated := enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_TERMINATED
	input := workflows.DeadlineInput{Deadline: deadlineOf(9), Head: 190, Settings: settings}
	return &jobsTemporal{t: t, head: 210, miner: &workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000, Settings: settings}}, rows: []jobsRow{
		{status: running, board: aBoard(7, post.PartitionResult{State: post.StateProving, Sectors: 9, Tries: 1}, post.PartitionResult{State: post.StateProving, Sectors: 4, Tries: 1, Waits: "a worker with store store-z"}),
			jobs: []*workflowpb.PendingActivityInfo{card}},
		{status: running, board: aBoard(8, post.PartitionResult{State: post.StateFailed, Sectors: 2, Tries: 2, Reason: outOfTries},
			post.PartitionResult{State: post.StatePosted, Sectors: 2, Tries: 1, Message: "bafyposted", Landed: 205},
			post.PartitionResult{State: post.StateSubmitting, Sectors: 2, Tries: 1, Card: "w2/card1", Proven: time.Now(), Phases: post.PhaseTimes{Snark: 398 * time.Second}, SkippedCount: 3})},
		{status: terminated, board: aBoard(9, post.PartitionResult{State: post.StateProving, Sectors: 2, Tries: 1}),
			history: []*historypb.HistoryEvent{{EventTime: timestamppb.Now(), Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
				WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{Input: payloads(t, input)}}}}},
		{status: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, board: aBoard(3, post.PartitionResult{State: post.StatePosted, Sectors: 2})},
	}}
}

func TestWdpostList(t *testing.T) {
	out, err := operators(t).command(t, "wdpost", "list")
	require.NoError(t, err)
	for _, want := range []string{
		"JobID          MinerID  DDL  Partitions  Sectors  Worker  State", "Try     CreateAt  Elapsed      Heartbeat  Left  Error",
		"f01000-96-7-0  f01000     7           0        9  w1      Running", "6m38s ", "6m38s(done)", "Faults(3) (Submitting)", "2(Max)",
		"[1] waiting: a worker with store store-z\n", "[2] " + outOfTries + "\n", "[3] its workflow was ended (Terminated)",
		"5 jobs: 1 ReadyToRun, 1 Running, 1 Faults, 2 Failed; the chain is at epoch 210\n",
	} {
		require.Contains(t, out, want)
	}
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, len([]rune(line)), 140, line)
	}
	require.NotContains(t, out, "f01000-96-8-1", "what is posted is hidden")
	require.NotContains(t, out, "f01000-96-3-0")

	out, err = operators(t).command(t, "wdpost", "list", "--all", "--detail")
	require.NoError(t, err)
	for _, want := range []string{"f01000-96-3-0", "bafyposted", "205", "vanilla 3/9", "w1/card0", "FinishedAt"} {
		require.Contains(t, out, want)
	}
	out, err = operators(t).command(t, "wdpost", "list", "--json", "--deadline", "8", "--state", "failed")
	require.NoError(t, err)
	var jobs []workers.Job
	require.NoError(t, json.Unmarshal([]byte(out), &jobs))
	require.Len(t, jobs, 1)
	require.Equal(t, "f01000-96-8-0", jobs[0].ID.String())
	require.EqualValues(t, 50, *jobs[0].EpochsLeft)

	out, err = (&jobsTemporal{t: t}).command(t, "wdpost", "list", "--json")
	require.NoError(t, err)
	require.Equal(t, "[]\n", out, "a list, for programs")
	f := operators(t)
	f.miner = nil
	out, err = f.command(t, "wdpost", "list")
	require.NoError(t, err)
	require.Contains(t, out, "the chain's head is not known")
}

func TestWdpostListRefuses(t *testing.T) {
	for situation, c := range map[string]struct {
		args []string
		err  string
	}{
		"a misspelt state":     {[]string{"--state", "faild"}, `--state "faild": there are ReadyToRun, Running, Succeed, Faults, Failed, Missed, Waiting, Proving, Submitting, Landed, Posted`},
		"a misspelt miner":     {[]string{"--miner", "f1000x"}, `--miner: "f1000x" is not a miner actor; write its ID address, such as f01000`},
		"a deadline below 0":   {[]string{"--deadline", "-3"}, "--deadline -3: deadlines count from 0"},
		"looking all the time": {[]string{"--watch", "--interval", "100ms"}, "--interval 100ms: at least 2s, for the server's sake"},
	} {
		t.Run(situation, func(t *testing.T) {
			_, err := operators(t).command(t, append([]string{"wdpost", "list"}, c.args...)...)
			require.EqualError(t, err, c.err)
		})
	}
}

// countingWriter ends something after so many writes.
type countingWriter struct {
	strings.Builder
	left int
	end  func()
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.left--; w.left == 0 {
		w.end()
	}
	return w.Builder.Write(p)
}

func TestWdpostListWatches(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := operators(t)
	out := &countingWriter{left: 2, end: cancel}
	require.NoError(t, f.run(ctx, out, io.Discard, "wdpost", "list", "--watch", "--interval", "2s"), "Ctrl-C is how one ends it")
	require.Equal(t, 2, strings.Count(out.String(), "f01000-96-7-0"))

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	f.refusal, f.lists = serviceerror.NewUnavailable("it is restarted"), 0
	errs := &countingWriter{left: 1, end: cancel}
	require.NoError(t, f.run(ctx, io.Discard, errs, "wdpost", "list", "--watch", "--interval", "2s"))
	require.Contains(t, errs.String(), "it is restarted; trying again")
}

func TestFitting(t *testing.T) {
	require.Equal(t, "abc\nde\n", fitting("abcdef\nde", 3, 0))
	require.Equal(t, "1\n2\n… and 3 lines more; narrow it with --miner, --deadline or --state\n", fitting("1\n2\n3\n4\n5\n", 0, 4))
	require.Equal(t, "1\n2\n3\n", fitting("1\n2\n3\n", 0, 4))
}

func TestWdpostShow(t *testing.T) {
	f := operators(t)
	at := time.Now().Add(-time.Minute)
	sectors := post.Sectors{{Number: 1, Store: "store-a"}, {Number: 2, Store: "store-a"}, {Number: 4, Store: "store-b"}}
	job := post.Job{Deadline: deadlineOf(8), Partitions: []uint64{0}, Sectors: sectors, Try: 2}
	scheduled := func(id int64, name string, input any) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventId: id, EventType: enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, EventTime: timestamppb.New(at), Attributes: &historypb.HistoryEvent_ActivityTaskScheduledEventAttributes{
			ActivityTaskScheduledEventAttributes: &historypb.ActivityTaskScheduledEventAttributes{ActivityType: &commonpb.ActivityType{Name: name}, Input: payloads(t, input),
				TaskQueue: &taskqueuepb.TaskQueue{Name: "wdpost.gpu.1"}}}}
	}
	f.rows[1].history = []*historypb.HistoryEvent{
		scheduled(5, workflows.ActivityLookupSectors, workflows.PartitionInput{Partition: 0}),
		{EventType: enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, EventTime: timestamppb.New(at), Attributes: &historypb.HistoryEvent_ActivityTaskCompletedEventAttributes{
			ActivityTaskCompletedEventAttributes: &historypb.ActivityTaskCompletedEventAttributes{ScheduledEventId: 5,
				Result: payloads(t, post.Located{Sectors: sectors, Missing: []post.Skipped{{Sector: 9, Reason: "no store has it"}}})}}},
		scheduled(7, workflows.ActivityGenerateWindowPoSt, job),
		{EventType: enums.EVENT_TYPE_ACTIVITY_TASK_STARTED, EventTime: timestamppb.New(at.Add(time.Second)), Attributes: &historypb.HistoryEvent_ActivityTaskStartedEventAttributes{
			ActivityTaskStartedEventAttributes: &historypb.ActivityTaskStartedEventAttributes{ScheduledEventId: 7, Attempt: 2, Identity: "worker w1@7-abc",
				LastFailure: &failurepb.Failure{Message: "activity Heartbeat timeout"}}}},
		{EventType: enums.EVENT_TYPE_ACTIVITY_TASK_FAILED, EventTime: timestamppb.New(at.Add(3 * time.Second)), Attributes: &historypb.HistoryEvent_ActivityTaskFailedEventAttributes{
			ActivityTaskFailedEventAttributes: &historypb.ActivityTaskFailedEventAttributes{ScheduledEventId: 7, Failure: &failurepb.Failure{Message: "a long story\nin two lines",
				Cause: &failurepb.Failure{Message: "the disk"}, FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{
					Type: string(post.FailureProve), Details: payloads(t, "w1/card0")}}}}}},
		scheduled(9, workflows.ActivityGenerateWindowPoSt, job),
	}
	out, err := f.command(t, "wdpost", "show", "f01000-96-8-0")
	require.NoError(t, err)
	for _, want := range []string{
		"Job:        f01000-96-8-0\nState:      Failed\nDeadline:   8 of f01000: challenge 180, open 200, close 260 (50 epochs left)\nTry:        2(Max) of 2\n",
		"Sectors:    2 sectors in store-a: 1-2\n  and:      1 sector in store-b: 4\nLeft out:   9: no store has it\n",
		"Web UI:     http://127.0.0.1:8233/namespaces/default/workflows/wdpost-f01000-96-8/run/history\n",
		"  try 2 on w1/card0: ProveFailed after 2s\n      a long story\n      in two lines: the disk\n      activity Heartbeat timeout\n",
		"  try 2: waits in wdpost.gpu.1\n", "posthaste wdpost reset f01000-96-8-0 ",
	} {
		require.Contains(t, out, want)
	}
	out, err = f.command(t, "wdpost", "show", "f01000-96-8", "--json")
	require.NoError(t, err)
	var shown []shownJob
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Len(t, shown, 3, "a deadline's ID shows all its jobs")
	require.Equal(t, "store-b", shown[0].Placed[2].Store)
	require.Equal(t, "ProveFailed", shown[0].Attempts[0].Outcome)

	out, err = f.command(t, "wdpost", "show", "f01000-96-8-9", "f01000-96-8-2")
	require.EqualError(t, err, "there is no job f01000-96-8-9; of its deadline there are f01000-96-8-0, f01000-96-8-1, f01000-96-8-2")
	require.Contains(t, out, "f01000-96-8-2", "the other is shown all the same")
}

func TestCompletionOfJobs(t *testing.T) {
	f := operators(t)
	out, err := f.command(t, "__complete", "wdpost", "reset", "f01000-96-7-0", "f01000-96-7")
	require.NoError(t, err)
	require.Equal(t, "f01000-96-7-1\tProving\n:4\n", out)
	out, err = f.command(t, "__complete", "wdpost", "list", "--miner", "")
	require.NoError(t, err)
	require.Equal(t, "f01000\n:4\n", out)
	out, err = f.command(t, "__complete", "wdpost", "list", "--state", "F")
	require.NoError(t, err)
	require.Contains(t, out, "Faults\n")
}
