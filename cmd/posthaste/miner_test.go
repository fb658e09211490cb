package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// minersTemporal knows miners, their deadlines and what a daemon says of the chain.
type minersTemporal struct {
	fakeTemporal
	miners  []fakeMiner
	noNode  error // of starting and ordering
	survey  *post.Survey
	started []workflows.MinerState
}

type fakeMiner struct {
	state  workflows.MinerState
	seen   activities.Seen
	named  bool  // by a daemon's file
	failed error // its workflow has
}

func (f *minersTemporal) infoOf(m fakeMiner) *workflowpb.WorkflowExecutionInfo {
	info := f.info(workflows.MinerWorkflowID(m.state.Miner), workflows.MemoMiner, m.state)
	info.StartTime = timestamppb.New(time.Now().Add(-time.Hour))
	if m.failed != nil {
		info.Status = enums.WORKFLOW_EXECUTION_STATUS_FAILED
	}
	return info
}

func (f *minersTemporal) find(id string) (fakeMiner, bool) {
	for _, m := range f.miners {
		if workflows.MinerWorkflowID(m.state.Miner) == id {
			return m, true
		}
	}
	return fakeMiner{}, false
}

func (f *minersTemporal) ListWorkflow(ctx context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	if !strings.Contains(r.Query, workflows.NameMinerWorkflow) {
		return f.fakeTemporal.ListWorkflow(ctx, r)
	}
	out := &workflowservice.ListWorkflowExecutionsResponse{}
	for _, m := range f.miners {
		if m.failed == nil || strings.Contains(r.Query, "'Failed'") {
			out.Executions = append(out.Executions, f.infoOf(m))
		}
	}
	return out, nil
}

func (f *minersTemporal) DescribeWorkflowExecution(ctx context.Context, id, run string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	m, known := f.find(id)
	if !known {
		if strings.HasPrefix(id, "survey-") {
			return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: f.info(id, "", nil)}, nil
		}
		return f.fakeTemporal.DescribeWorkflowExecution(ctx, id, run)
	}
	out := &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: f.infoOf(m)}
	if m.state.Issues() && m.failed == nil {
		out.PendingActivities = []*workflowpb.PendingActivityInfo{{
			ActivityType: &commonpb.ActivityType{Name: workflows.ActivityWatchDeadlines}, LastHeartbeatTime: timestamppb.New(time.Now().Add(-2 * time.Second)),
			HeartbeatDetails: &commonpb.Payloads{Payloads: []*commonpb.Payload{payload(f.t, m.seen)}},
		}}
	}
	return out, nil
}

func (f *minersTemporal) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	order := fmt.Sprintf("%s %s", o.WorkflowID, o.UpdateName)
	for _, arg := range o.Args {
		if add, is := arg.(workflows.AddMiner); is && add.Settings != nil {
			arg = fmt.Sprintf("pool %q max_try %d", add.Settings.Pool, add.Settings.MaxTry)
		}
		order += fmt.Sprintf(" [%v]", arg)
	}
	f.orders = append(f.orders, order)
	return minerHandle{}, f.terminal
}

type minerHandle struct{ client.WorkflowUpdateHandle }

func (minerHandle) Get(context.Context, any) error { return nil }

func (f *minersTemporal) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, name any, args ...any) (client.WorkflowRun, error) {
	f.orders = append(f.orders, fmt.Sprintf("start %v", name))
	if in, is := args[0].(workflows.MinerState); is {
		f.started = append(f.started, in)
		m := fakeMiner{state: in, seen: activities.Seen{Head: 700}}
		if in.Miner == 999 {
			m.failed = temporal.NewNonRetryableApplicationError("the chain has no miner actor f0999", workflows.ErrorNoSuchMiner, nil)
		}
		f.miners = append(f.miners, m)
		return nil, nil
	}
	return surveyRun{id: o.ID, of: f}, nil
}

func (f *minersTemporal) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	m, _ := f.find(id)
	return failedRun{err: m.failed}
}

type failedRun struct {
	client.WorkflowRun
	err error
}

func (r failedRun) Get(context.Context, any) error { return r.err }

// surveyRun is a SurveyWorkflow that a daemon takes, or nobody.
type surveyRun struct {
	client.WorkflowRun
	id string
	of *minersTemporal
}

func (r surveyRun) GetID() string    { return r.id }
func (r surveyRun) GetRunID() string { return "r" }
func (r surveyRun) Get(ctx context.Context, to any) error {
	if r.of.noNode != nil {
		return r.of.noNode
	}
	*to.(*post.Survey) = *r.of.survey
	return nil
}

func (f *minersTemporal) WorkflowService() workflowservice.WorkflowServiceClient {
	return historyService{f: f}
}

type historyService struct {
	workflowservice.WorkflowServiceClient
	f *minersTemporal
}

func (s historyService) GetWorkflowExecutionHistoryReverse(_ context.Context, r *workflowservice.GetWorkflowExecutionHistoryReverseRequest, _ ...grpc.CallOption) (*workflowservice.GetWorkflowExecutionHistoryReverseResponse, error) {
	m, known := s.f.find(r.GetExecution().GetWorkflowId())
	if !known {
		return nil, serviceerror.NewNotFound("no such workflow")
	}
	e := &historypb.HistoryEvent{EventTime: timestamppb.New(time.Now().Add(-30 * time.Second))}
	if m.named {
		e.Attributes = &historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes{WorkflowExecutionSignaledEventAttributes: &historypb.WorkflowExecutionSignaledEventAttributes{
			SignalName: workflows.SignalConfigure, Identity: "daemon h1@5-abc"}}
	} else {
		e.Attributes = &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{}}
	}
	return &workflowservice.GetWorkflowExecutionHistoryReverseResponse{History: &historypb.History{Events: []*historypb.HistoryEvent{e}}}, nil
}

func (f *minersTemporal) OperatorService() operatorservice.OperatorServiceClient { return attributes{} }

type attributes struct {
	operatorservice.OperatorServiceClient
}

func (attributes) ListSearchAttributes(context.Context, *operatorservice.ListSearchAttributesRequest, ...grpc.CallOption) (*operatorservice.ListSearchAttributesResponse, error) {
	known := map[string]enums.IndexedValueType{}
	for _, name := range []string{workflows.AttributeMiner, workflows.AttributeDeadline, workflows.AttributeState} {
		known[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
	}
	return &operatorservice.ListSearchAttributesResponse{CustomAttributes: known}, nil
}

func (f *minersTemporal) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return commandAt(t, always(f), args...)
}

// someMiners are f01000, of a file, with a deadline under way; f01001, added with settings of its own; f01002, paused; f01003, removed;
// and f01004, which the chain does not know.
func someMiners(t *testing.T) *minersTemporal {
	of := func(id abi.ActorID, change func(*workflows.MinerState)) workflows.MinerState {
		s := workflows.MinerState{WatchInput: workflows.WatchInput{Miner: id, Settings: post.DefaultSettings()}}
		change(&s)
		return s
	}
	return &minersTemporal{
		fakeTemporal: fakeTemporal{t: t, boards: []post.Result{{
			Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: 96, Challenge: 180, Open: 200, Close: 260}, State: post.StateProving,
			Partitions: []post.PartitionResult{{Index: 0, State: post.StateProving, Sectors: 2}},
		}}},
		miners: []fakeMiner{
			{state: of(1000, func(*workflows.MinerState) {}), seen: activities.Seen{Head: 205}, named: true},
			{state: of(1001, func(s *workflows.MinerState) { s.Settings.Pool, s.Settings.MaxTry = "big", 7 }), seen: activities.Seen{Head: 204, Problem: "the node cannot be reached"}},
			{state: of(1002, func(s *workflows.MinerState) { s.Paused = "moving racks" }), named: true},
			{state: of(1003, func(s *workflows.MinerState) { s.Removed = "sold" }), named: true},
			{state: of(1004, func(*workflows.MinerState) {}), failed: temporal.NewNonRetryableApplicationError("the chain has no miner actor f01004", workflows.ErrorNoSuchMiner, nil)},
		},
	}
}

func TestMinerList(t *testing.T) {
	out, err := someMiners(t).run(t, "miner", "list")
	require.NoError(t, err)
	for _, want := range []string{
		"│ f01000 │ Watching ", "│ 205  │", "│ h1 ", "│ default ", "│ 7 Proving ", "│ no file ", "pool big", "max_try 7", "│ Paused: moving racks ", "│ f01004 │ Failed ",
		"\nf01001: trouble with watching: the node cannot be reached\n",
		"\nf01001: no daemon's posthaste.toml names it; it is watched all the same, until `posthaste miner remove`\n",
		"\nf01004: the chain has no miner actor f01004\n", "\n1 miner is removed: `posthaste miner list --all` shows them.\n",
	} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "f01003")
	out, err = someMiners(t).run(t, "miner", "list", "--all", "--json")
	require.NoError(t, err)
	var views []workers.MinerView
	require.NoError(t, json.Unmarshal([]byte(out), &views))
	require.Len(t, views, 5)
	require.Equal(t, "sold", views[3].Why)
	require.Equal(t, "h1@5-abc", views[0].NamedBy)
	require.Equal(t, []workers.MinerDeadline{{Deadline: 7, State: post.StateProving, Open: 200, Close: 260}}, views[0].Deadlines)
	out, err = (&minersTemporal{fakeTemporal: fakeTemporal{t: t}}).run(t, "miner", "list", "--json")
	require.NoError(t, err)
	require.Equal(t, "[]\n", out)
}

func TestMinerThatNobodyWatches(t *testing.T) {
	now := time.Unix(5000, 0)
	v := workers.MinerView{Miner: "f01000", State: "Watching", Seen: now.Add(-time.Hour), Unnamed: true}
	require.Equal(t, []string{"nobody watches it now: is a daemon running?"}, minerNotes(v, now), "without a daemon nothing can be said of files")
}

func TestSteeringMiners(t *testing.T) {
	const none = "none is under way"
	for situation, c := range map[string]struct {
		args   []string
		orders []string
		out    string
		err    string
	}{
		"pause one with a deadline under way": {[]string{"pause", "f01000", "--reason", "moving racks"}, []string{"miner-f01000 Pause [moving racks]"},
			"f01000: paused (moving racks): no new deadline is issued; under way, and going on: 7\n", ""},
		"resume several, one of them unknown and one mistyped": {[]string{"resume", "f01002", "f09", "fred", "t01001"}, []string{"miner-f01002 Resume", "miner-f01001 Resume"},
			"f01002: its deadlines are issued\nf01001: its deadlines are issued\n",
			"there is no miner f09; there are f01000, f01001, f01002, f01003\n\"fred\" is not a miner actor; write its ID address, such as f01000"},
		"twice the same":             {[]string{"resume", "f01002", "1002"}, []string{"miner-f01002 Resume"}, "f01002: its deadlines are issued\n", ""},
		"one that the chain lacks":   {[]string{"pause", "f01004"}, nil, "", "miner f01004 is not watched: the chain has no miner actor f01004"},
		"remove":                     {[]string{"remove", "f01001"}, []string{"miner-f01001 Remove [by an operator]"}, "f01001: removed (by an operator): nothing is issued until `posthaste miner add f01001`; " + none + "\n", ""},
		"remove one that is removed": {[]string{"remove", "f01003"}, nil, "f01003: removed already (sold)\n", ""},
		"add one that is watched":    {[]string{"add", "f01000"}, nil, "f01000: watched already\n", ""},
		"add a new one":              {[]string{"add", "f0700", "--pool", "big"}, []string{"start MinerWorkflow"}, "f0700: watched; the chain is at epoch 700\n", ""},
		"add one that the chain lacks, and another": {[]string{"add", "f0999", "f0700"}, []string{"start MinerWorkflow", "start MinerWorkflow"}, "f0700: watched; the chain is at epoch 700\n",
			"miner f0999 was not added: the chain has no miner actor f0999"},
		"new settings for one of a file": {[]string{"add", "f01000", "--pool", "big"}, nil, "", "miner f01000: the posthaste.toml of daemon h1@5-abc names it, and its settings hold: change them there"},
		"new settings for an added one": {[]string{"add", "f01001", "--policy", "max_try=3"}, []string{`miner-f01001 Add [pool "big" max_try 3]`},
			"f01001: added; the daemon that watches it is in trouble: the node cannot be reached\n", ""},
		"a setting that there is not": {[]string{"add", "f0700", "--policy", "max_try=0"}, nil, "", "policy.max_try: 0 must be from 1 to 1048576"},
		"a sender that is none":       {[]string{"add", "f0700", "--sender", "bob"}, nil, "", `policy.sender: "bob" is neither "auto" (chosen among the miner's addresses) nor an address`},
		"no name":                     {[]string{"pause"}, nil, "", "requires at least 1 arg(s), only received 0; usage: posthaste miner pause MINER… [flags]"},
	} {
		t.Run(situation, func(t *testing.T) {
			f := someMiners(t)
			out, err := f.run(t, append([]string{"miner"}, c.args...)...)
			require.Equal(t, c.orders, f.orders)
			require.Equal(t, c.out, out)
			fails(t, err, c.err)
		})
	}
	f := someMiners(t)
	_, err := f.run(t, "miner", "add", "f0700", "--sender", "f01234", "--policy", "retry_until_close=false")
	require.NoError(t, err)
	want := post.DefaultSettings()
	want.Sender, want.RetryUntilClose = "f01234", false
	require.Equal(t, []workflows.MinerState{{WatchInput: workflows.WatchInput{Miner: 700, Settings: want}}}, f.started)
}

func TestSteeringMinersWithoutADaemon(t *testing.T) {
	f := someMiners(t)
	f.terminal = context.DeadlineExceeded
	_, err := f.run(t, "miner", "remove", "f01000", "f01001")
	require.EqualError(t, err, "miner f01000: no daemon answers: start one (`posthaste daemon run`) and give the order again")
	require.Len(t, f.orders, 1, "the next would take as long for nothing")
}

// surveyed is f01000 with four deadlines at epoch 205: 1 is open with a partition posted and one not; 3 has no sectors.
func surveyed() *post.Survey {
	d := func(index uint64, partitions ...post.Partition) post.SurveyedDeadline {
		open := abi.ChainEpoch(140 + 60*index)
		return post.SurveyedDeadline{Deadline: post.Deadline{Miner: 1000, Index: index, PeriodStart: 140, Challenge: open - 20, Open: open, Close: open + 60}, Partitions: partitions}
	}
	full := post.Partition{Live: 2349, ToProve: 2300, Faulty: 50, Recovering: 1}
	posted := post.Partition{Index: 1, Live: 7, ToProve: 7, Posted: true}
	return &post.Survey{Miner: 1000, Head: 205, At: time.Unix(50_000, 0), EpochDuration: 30 * time.Second, Size: 2048, Current: 1, Places: 2,
		Deadlines: []post.SurveyedDeadline{d(0, full), d(1, full, posted), d(2, full), d(3)}}
}

func TestDeadlineList(t *testing.T) {
	f := someMiners(t)
	f.survey = surveyed()
	f.boards[0].Deadline = post.Deadline{Miner: 1000, Index: 1, PeriodStart: 140, Challenge: 180, Open: 200, Close: 260}
	f.boards[0].Size = 2048
	f.boards[0].Partitions = []post.PartitionResult{{Index: 0, State: post.StateProving, Sectors: 2300}}
	out, err := f.run(t, "deadline", "list", "--miner", "f01000")
	require.NoError(t, err)
	at := func(epoch abi.ChainEpoch) string {
		return fmt.Sprintf("%d %s", epoch, f.survey.When(epoch).Local().Format(time.TimeOnly))
	}
	for _, want := range []string{
		"f01000 at epoch 205 (" + f.survey.At.Local().Format(time.DateTime) + "): watching; 2 proofs at once on live cards\n",
		"│ → 1 │ " + at(200) + " │ " + at(260) + " │    2356 │     2307 │    1/2 │     50 │      1 │        ? │ 22m30s │ Proving │",
		"│   0 │ " + at(140), "│   2 │ ", "1 deadline without sectors not shown (--all).\n",
		"?: how long it takes is not known: no proof of this sector size was made in the last day.\n",
	} {
		require.Contains(t, out, want)
	}
	require.Equal(t, []string{"start SurveyWorkflow"}, f.orders)
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, len([]rune(line)), 121)
	}

	f.boards[0].Partitions = append(f.boards[0].Partitions, post.PartitionResult{Index: 1, State: post.StatePosted, Sectors: 2300, Phases: post.PhaseTimes{Vanilla: 30 * time.Minute}})
	out, err = f.run(t, "deadline", "list", "--miner", "f01000", "--all")
	require.NoError(t, err)
	require.Contains(t, out, "│   30m0s! │ 22m30s │")
	require.Contains(t, out, "│   3 │ ")
	require.Contains(t, out, "!: it takes longer than there is time, as things are")

	out, err = f.run(t, "deadline", "list", "--miner", "f01000", "--json")
	require.NoError(t, err)
	var read []workers.MinerDeadlines
	require.NoError(t, json.Unmarshal([]byte(out), &read))
	require.Len(t, read[0].Deadlines, 4)
	require.Equal(t, "wdpost-f01000-140-1", read[0].Deadlines[1].WorkflowID)
	require.True(t, read[0].Deadlines[1].Current)

	f.orders = nil
	_, err = f.run(t, "deadline", "list")
	require.NoError(t, err)
	require.Len(t, f.orders, 3, "all that are watched, paused ones too")
	_, err = f.run(t, "deadline", "list", "--miner", "fred")
	require.EqualError(t, err, `"fred" is not a miner actor; write its ID address, such as f01000`)
}

func TestDeadlineListThatFails(t *testing.T) {
	f := someMiners(t)
	f.noNode = temporal.NewApplicationError("reading the deadlines of f01000: the node cannot be reached", "")
	_, err := f.run(t, "deadline", "list", "--miner", "f01000")
	require.EqualError(t, err, "reading the deadlines of f01000: the node cannot be reached")
	f.noNode = errors.New("the connection broke")
	f.orders = nil
	_, err = f.run(t, "deadline", "list", "--miner", "f01000")
	require.EqualError(t, err, "surveying f01000: the connection broke")
	require.Len(t, f.orders, 2)
	require.Contains(t, f.orders[1], "terminate survey-f01000-", "nobody waits for it any more")
	f.noNode = context.DeadlineExceeded
	_, err = f.run(t, "deadline", "list", "--miner", "f01000")
	require.ErrorIs(t, err, workers.ErrNoDaemon, "the server's clock may be the first to say that nobody has taken it in time")
	_, err = (&minersTemporal{fakeTemporal: fakeTemporal{t: t}}).run(t, "deadline", "list")
	require.EqualError(t, err, "no miner is watched; --miner names one")
}
