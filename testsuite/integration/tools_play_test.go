package integration_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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

// toolProof is as long as a card takes: until then a command has reached the worker, although all cases give theirs at once. toolEpochs are a deadline's, of a second each: time
// for a terminated one to be issued and proven again on a busy machine, which all cases at once make busier.
const (
	toolProof  = 18 * time.Second
	toolEpochs = 95
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
