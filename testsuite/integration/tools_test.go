package integration_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workers"
	"posthaste/workflows"
)

// tool is one of Temporal's own programs, as `make tools` builds them. A test of one drives the other nowhere.
type tool struct {
	name string
	bin  string
	rig  *rig.Rig
}

func newTool(t *testing.T, r *rig.Rig, name string) tool {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	require.NoError(t, err)
	_, err = exec.LookPath(bin)
	require.NoError(t, err, "run `make tools` first")
	return tool{name: name, bin: bin, rig: r}
}

// commandsAtOnce bounds them, so that each is quick: they are to come while something goes on.
var commandsAtOnce = make(chan struct{}, 4)

// try runs the program, as a person at a terminal would, and gives what it prints.
func (p tool) try(ctx context.Context, args ...string) (string, error) {
	where := []string{"--address", p.rig.Address(), "--namespace", "default"}
	if p.name == "tctl" {
		args = append(where, args...) // global flags go first there
	} else {
		args = append(args, where...)
	}
	commandsAtOnce <- struct{}{}
	defer func() { <-commandsAtOnce }()
	cmd := exec.CommandContext(ctx, p.bin, args...)
	cmd.Env = append(cmd.Environ(), "HOME="+p.rig.Dir) // both keep files there
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", p.name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (p tool) run(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.try(ctx, args...)
	require.NoError(t, err)
	return out
}

// What both can do, each in its own words.

func (p tool) workflow(ctx context.Context, t *testing.T, command, id string, more ...string) string {
	t.Helper()
	flag := "--workflow_id"
	if p.name != "tctl" {
		flag = "--workflow-id"
	}
	return p.run(ctx, t, append([]string{"workflow", command, flag, id}, more...)...)
}

const reasonGiven = "an operator of the test"

func (p tool) terminate(ctx context.Context, t *testing.T, id string) {
	t.Helper()
	p.workflow(ctx, t, "terminate", id, "--reason", reasonGiven)
}

// reset resets the latest run to LastWorkflowTask or FirstWorkflowTask.
func (p tool) reset(ctx context.Context, t *testing.T, id, to string) {
	t.Helper()
	require.NoError(t, p.tryReset(ctx, id, to))
}

func (p tool) tryReset(ctx context.Context, id, to string) error {
	args := []string{"workflow", "reset", "--workflow_id", id, "--reset_type", to, "--reason", reasonGiven}
	if p.name != "tctl" {
		args[2], args[4] = "--workflow-id", "--type"
	}
	_, err := p.try(ctx, args...)
	return err
}

func (p tool) resetTo(ctx context.Context, t *testing.T, id string, event int64) {
	t.Helper()
	flag := "--event_id"
	if p.name != "tctl" {
		flag = "--event-id"
	}
	p.workflow(ctx, t, "reset", id, flag, fmt.Sprint(event), "--reason", reasonGiven)
}

// toolCase is something that an operator does to one deadline at one moment.
type toolCase struct {
	name    string
	watched bool   // the miner's workflow issues it, as often as it is needed
	fails   bool   // its card fails it at first, until it is out of tries
	held    bool   // its messages do not land until the operator has done it
	after   bool   // it is done when the deadline is completed
	only    string // the program that has the command; empty: both
	same    bool   // it makes no other run
	do      func(ctx context.Context, t *testing.T, p tool, d post.Deadline)
	// How often a card begins a proof of the deadline's one partition. Another run that comes to the worker that makes it, or has it still, is
	// given that.
	least, most int
}

// proofAt is the event after which the workflow had its proof issued: a reset to it has the proof made again.
func proofAt(ctx context.Context, t *testing.T, p tool, id string) int64 {
	t.Helper()
	var before int64
	for _, event := range historyOf(ctx, t, p.rig, id, "").GetEvents() {
		switch event.GetEventType() {
		case enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
			before = event.GetEventId()
		case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			if event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == workflows.ActivityGenerateWindowPoSt {
				return before
			}
		}
	}
	require.FailNow(t, "no proof was issued", id)
	return 0
}

func resetsTo(to string, times int) func(context.Context, *testing.T, tool, post.Deadline) {
	return func(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
		p.reset(ctx, t, d.WorkflowID(), to)
		for range times - 1 {
			// The run that a reset makes cannot be reset before its first task is done.
			eventually(ctx, t, "it can be reset again", func() bool { return p.tryReset(ctx, d.WorkflowID(), to) == nil })
		}
	}
}

func resetsToTheProof(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	p.resetTo(ctx, t, d.WorkflowID(), proofAt(ctx, t, p, d.WorkflowID()))
}

func terminates(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	p.terminate(ctx, t, d.WorkflowID())
}

func cancels(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	p.workflow(ctx, t, "cancel", d.WorkflowID())
}

// looks has everything shown that there is to see of a deadline.
func looks(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	id := d.WorkflowID()
	described := p.workflow(ctx, t, "describe", id)
	for _, text := range []string{workflows.NameDeadlineWorkflow, "GenerateWindowPoSt", "PostMiner", "Proving"} {
		assert.Contains(t, described, text)
	}
	stack := p.workflow(ctx, t, "stack", id)
	assert.Contains(t, stack, "workflows.(*deadline).prove", "who has the code sees where each partition is")
	query := fmt.Sprintf(`PostMiner = "%s" AND PostState = "Proving" AND WorkflowType = "DeadlineWorkflow"`, post.MinerName(d.Miner))
	eventually(ctx, t, p.name+" lists "+id, func() bool { return strings.Contains(p.run(ctx, t, "workflow", "list", "--query", query), id) })
	assert.NotContains(t, p.run(ctx, t, "workflow", "list", "--query", `PostMiner = "f09999"`), "wdpost-")
	show := p.workflow(ctx, t, "show", id)
	for _, text := range []string{"WorkflowTaskCompleted", "ActivityTaskScheduled"} {
		assert.Contains(t, show, text)
	}
}

// activity does something to the deadline's pending proof.
func activity(commands ...string) func(context.Context, *testing.T, tool, post.Deadline) {
	return func(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
		for _, command := range commands {
			p.run(ctx, t, "activity", command, "--workflow-id", d.WorkflowID(), "--activity-id", "prove-0-1")
		}
	}
}

const last, first = "LastWorkflowTask", "FirstWorkflowTask"

var toolCases = []toolCase{
	{name: "looked at while proving", same: true, do: looks, least: 1, most: 1},
	{name: "reset to the last task while proving", do: resetsTo(last, 1), least: 1, most: 2},
	{name: "reset to the first task while proving", do: resetsTo(first, 1), least: 1, most: 2},
	{name: "reset to an event while proving", do: resetsToTheProof, least: 1, most: 2},
	{name: "reset twice in a row while proving", do: resetsTo(last, 2), least: 1, most: 3},
	{name: "terminated while proving", do: terminates, watched: true, least: 1, most: 2},
	{name: "cancelled while proving", do: cancels, watched: true, least: 1, most: 2},

	{name: "reset to the last task when out of tries", fails: true, do: resetsTo(last, 1), least: 2, most: 2},
	{name: "reset to the first task when out of tries", fails: true, do: resetsTo(first, 1), least: 2, most: 2},
	{name: "reset to an event when out of tries", fails: true, do: resetsToTheProof, least: 2, most: 2},

	{name: "reset to the last task while submitting", held: true, do: resetsTo(last, 1), least: 1, most: 1},
	{name: "reset twice in a row while submitting", held: true, do: resetsTo(last, 2), least: 1, most: 1},
	{name: "reset to the first task while submitting", held: true, do: resetsTo(first, 1), least: 1, most: 2},
	{name: "reset to an event while submitting", held: true, do: resetsToTheProof, least: 1, most: 2},
	{name: "terminated while submitting", held: true, watched: true, do: terminates, least: 1, most: 2},

	{name: "reset to the last task when completed", after: true, do: resetsTo(last, 1), least: 1, most: 1},
	{name: "reset to the first task when completed", after: true, do: resetsTo(first, 1), least: 1, most: 1},
	{name: "reset to an event when completed", after: true, do: resetsToTheProof, least: 1, most: 1},

	{name: "its activity reset while proving", only: "temporal", same: true, do: activity("reset"), least: 1, most: 2},
	{name: "its activity paused and let go on while proving", only: "temporal", same: true, do: activity("pause", "unpause"), least: 1, most: 2},
}

// toolRig is a fleet for one program's cases.
type toolRig struct {
	fleet
	tool tool
	mode string        // the file that says how cards treat what fails at first
	good *load.Miner   // of what nobody watches; nobody fails its jobs
	bad  *load.Miner   // its jobs fail at first
	seen []*load.Miner // those whose one deadline is still to be watched

	watched []post.Deadline
}

// toolProof is as long as a card takes: until then a command has reached the worker. toolEpochs are a deadline's, of a second each: time
// for a terminated one to be issued and proven again on a busy machine, which all cases at once make busier.
const (
	toolProof  = 12 * time.Second
	toolEpochs = 110
)

// testTool does all cases of a program side by side.
func testTool(t *testing.T, name string) {
	ctx := within(t, 5*time.Minute)
	f := toolRig{fleet: newFleet(t, load.Options{Send: true})}
	f.tool, f.mode = newTool(t, f.Rig, name), f.fleet.mode(t, "", stub.Err)
	cases := slices.DeleteFunc(slices.Clone(toolCases), func(c toolCase) bool { return c.only != "" && c.only != name })
	f.start(ctx, t, cases)

	// What fails at first is issued first, and out of tries before the others begin: its cards fail nothing any more then.
	deadlines := make([]post.Deadline, len(cases))
	for i, c := range cases {
		if c.fails {
			deadlines[i] = f.open(ctx, t, c)
		}
	}
	for i, c := range cases {
		if c.fails {
			f.is(ctx, t, deadlines[i], "out of tries", func(p post.PartitionResult) bool { return p.State == post.StateFailed })
		}
	}
	f.fleet.mode(t, f.mode, stub.OK)
	for i, c := range cases {
		if !c.fails {
			deadlines[i] = f.open(ctx, t, c)
		}
	}
	// All at once, however few tests may run at a time: each waits most of the time, and must not come too late.
	var playing sync.WaitGroup
	for i, c := range cases {
		playing.Go(func() { t.Run(c.name, func(t *testing.T) { f.play(ctx, t, c, deadlines[i]) }) })
	}
	playing.Wait()
	f.idle(ctx, t)
	for _, id := range f.others() {
		f.replays(ctx, t, id)
	}
}

// start starts two workers for what goes well, so that a job that begins again may do so beside its card of before, and one for what fails.
func (f *toolRig) start(ctx context.Context, t *testing.T, cases []toolCase) {
	t.Helper()
	f.good, f.bad = f.miner(ctx, t, 0, 1), f.miner(ctx, t, 1, 1)
	stores := f.good.Stores()
	for _, c := range cases {
		if c.watched {
			f.seen = append(f.seen, f.miner(ctx, t, 2+len(f.seen), 1))
			stores = append(stores, f.seen[len(f.seen)-1].Store)
		}
	}
	f.AddWorker(rig.Worker{Name: "a", Attached: stores, Cards: f.stubs(2*len(cases), toolProof)})
	f.AddWorker(rig.Worker{Name: "b", Attached: stores, Cards: f.stubs(2*len(cases), toolProof)})
	f.AddWorker(rig.Worker{Name: "bad", Attached: f.bad.Stores(), Cards: f.stubs(4, 50*time.Millisecond, "--mode-file", f.mode)})
	require.NoError(t, f.StartWorkers(ctx))
	require.NoError(t, f.load.WaitReported(ctx))
}

// open issues the deadline of a case.
func (f *toolRig) open(ctx context.Context, t *testing.T, c toolCase) post.Deadline {
	t.Helper()
	w := load.Work{Miner: f.good, Partitions: 1, Epochs: toolEpochs}
	switch {
	case c.watched:
		w.Miner, f.seen = f.seen[0], f.seen[1:]
		d, err := f.load.IssueWatched(ctx, w)
		require.NoError(t, err)
		f.watched = append(f.watched, d)
		if c.held {
			f.load.Hold(d)
		}
		return d
	case c.fails:
		w.Miner, w.Set = f.bad, func(s *post.Settings) { s.MaxTry, s.RetryUntilClose = 1, false }
	case c.after:
		w.Epochs = toolEpochs / 2
	}
	d := f.issue(ctx, t, w)
	if c.held {
		f.load.Hold(d)
	}
	return d
}

// is waits until the board shows the deadline's partition so.
func (f *toolRig) is(ctx context.Context, t *testing.T, d post.Deadline, what string, holds func(post.PartitionResult) bool) {
	t.Helper()
	eventually(ctx, t, d.String()+" is "+what, func() bool {
		row, err := boardOf(ctx, f.Rig, d.WorkflowID())
		return err == nil && len(row.Board.Partitions) == 1 && holds(row.Board.Partitions[0])
	})
}

// play waits for the moment of a case, does it, and looks what becomes of the deadline.
func (f *toolRig) play(ctx context.Context, t *testing.T, c toolCase, d post.Deadline) {
	id := d.WorkflowID()
	switch {
	case c.fails:
	case c.held:
		eventually(ctx, t, "its message is in the pool", func() bool { return f.sent(d) == 1 })
		f.is(ctx, t, d, "asked", func(p post.PartitionResult) bool { return p.State == post.StateSubmitting && p.Asked > 0 })
	case c.after:
		f.completed(ctx, t, d)
	default:
		eventually(ctx, t, "a card makes its proof", func() bool {
			row, err := boardOf(ctx, f.Rig, id)
			return err == nil && len(row.Jobs) == 1 && row.Jobs[0].Started
		})
	}
	before := f.runs(ctx, t, id)
	c.do(ctx, t, f.tool, d)
	if c.held {
		// The new run proves anew, or goes on, and asks the sender again: for the message that is in the pool.
		time.Sleep(toolProof + 8*time.Second)
		f.load.Release(d)
	}
	if !c.same {
		eventually(ctx, t, "there is another run", func() bool { return f.runs(ctx, t, id) > before })
	}
	f.completed(ctx, t, d)
	result, err := f.Result(ctx, d)
	require.NoError(t, err)
	assert.Equal(t, post.StatePosted, result.State, result.Reasons())
	assert.Equal(t, 1, f.sent(d), "messages for its one partition")
	assert.GreaterOrEqual(t, f.begun(d), c.least, "proofs begun")
	assert.LessOrEqual(t, f.begun(d), c.most, "proofs begun")
	f.replays(ctx, t, id)
}

// completed waits until the latest run of a deadline is.
func (f *toolRig) completed(ctx context.Context, t *testing.T, d post.Deadline) {
	t.Helper()
	eventually(ctx, t, d.WorkflowID()+" is completed", func() bool {
		row, err := boardOf(ctx, f.Rig, d.WorkflowID())
		if err == nil && row.Status == "Failed" {
			require.FailNow(t, "it failed", row.Board.Reasons())
		}
		return err == nil && row.Status == "Completed"
	})
}

// runs counts the runs of a workflow.
func (f *toolRig) runs(ctx context.Context, t *testing.T, id string) int {
	t.Helper()
	return len(runsOf(ctx, t, f.Rig, id))
}

// sent counts the messages for a deadline.
func (f *toolRig) sent(d post.Deadline) (n int) {
	for _, p := range f.load.Posts() {
		if p.Deadline == d.WorkflowID() {
			n++
		}
	}
	return n
}

// begun counts in the workers' logs how often a proof of a deadline was begun.
func (f *toolRig) begun(d post.Deadline) (n int) {
	for _, w := range f.Workers {
		for line := range strings.Lines(w.ReadLog()) {
			if strings.Contains(line, "msg=proving ") && strings.Contains(line, "deadline="+d.String()+" ") {
				n++
			}
		}
	}
	return n
}

// idle waits until no card works.
func (f *toolRig) idle(ctx context.Context, t *testing.T) {
	t.Helper()
	eventually(ctx, t, "no card works", func() bool {
		all, err := workers.ReadWorkers(ctx, f.Client(), "default")
		if err != nil {
			return false
		}
		for _, w := range all {
			if w.Count(func(c workers.CardView) int { return len(c.Job) }) > 0 {
				return false
			}
		}
		return len(all) == len(f.Workers)
	})
}

// others are the workflows that are not deadlines'.
func (f *toolRig) others() []string {
	ids := []string{"sender-" + load.Sender, workflows.FleetWorkflowID}
	for _, d := range f.watched {
		ids = append(ids, "miner-"+post.MinerName(d.Miner))
	}
	return ids
}

// replays has the code of now decide on the histories of all runs of a workflow once more.
func (f *toolRig) replays(ctx context.Context, t *testing.T, id string) { replays(ctx, t, f.Rig, id) }

func replays(ctx context.Context, t *testing.T, r *rig.Rig, id string) {
	t.Helper()
	runs := map[string]bool{}
	listed, err := r.Client().ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId = '%s'", id)})
	require.NoError(t, err)
	require.NotEmpty(t, listed.GetExecutions(), id)
	for _, run := range listed.GetExecutions() {
		runs[run.GetExecution().GetRunId()] = true
	}
	for run := range runs {
		replayer := worker.NewWorkflowReplayer()
		for name, w := range map[string]any{
			workflows.NameMinerWorkflow: workflows.MinerWorkflow, workflows.NameDeadlineWorkflow: workflows.DeadlineWorkflow,
			workflows.NameSenderWorkflow: workflows.SenderWorkflow, workflows.NameFleetWorkflow: workflows.FleetWorkflow,
		} {
			replayer.RegisterWorkflowWithOptions(w, workflow.RegisterOptions{Name: name})
		}
		quiet := log.NewStructuredLogger(slog.New(slog.DiscardHandler))
		assert.NoError(t, replayer.ReplayWorkflowHistory(quiet, historyOf(ctx, t, r, id, run)), "%s, run %s", id, run)
	}
}
