package integration_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workers"
)

// jobs is what `wdpost list --json` prints.
func (f fleet) jobs(ctx context.Context, t *testing.T, flags ...string) (jobs []workers.Job) {
	t.Helper()
	out := f.does(ctx, t, append([]string{"wdpost", "list", "--json"}, flags...)...)
	require.NoError(t, json.Unmarshal([]byte(out), &jobs), out)
	return jobs
}

// job waits until the list shows a job as a condition wants it.
func (f fleet) job(ctx context.Context, t *testing.T, id post.JobID, what string, is func(workers.Job) bool) (found workers.Job) {
	t.Helper()
	eventually(ctx, t, id.String()+" is "+what, func() bool {
		i := slices.IndexFunc(f.jobs(ctx, t, "--all"), func(j workers.Job) bool {
			found = j
			return j.ID == id && is(j)
		})
		return i >= 0
	})
	return found
}

// refused runs a command that must fail, and gives what it printed.
func (f fleet) refused(ctx context.Context, t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	out, errs, err := f.posthaste(ctx, t, args...)
	require.Error(t, err, out)
	return out, errs
}

// once gives up after the first failure, and for good.
func once(s *post.Settings) { s.MaxTry, s.RetryUntilClose = 1, false }

// The commands that see and steer jobs, as an operator uses them on another machine: a job that gave up, one that runs, one whose workflow was
// ended, and one whose time is over.
func TestJobCommands(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	f := newFleet(t, load.Options{})
	miner, slow := f.miner(ctx, t, 0, 1), f.miner(ctx, t, 1, 1)
	mode := f.mode(t, "", stub.Err)
	flags := []string{"--mode-file", mode, "--sleep-for", "1001=1h"}
	f.start(ctx, t, rig.Worker{Name: "a", Attached: []rig.Store{miner.Store, slow.Store}, Cards: f.stubs(2, 100*time.Millisecond, flags...)})
	f.reported(ctx, t)
	assert.Contains(t, f.does(ctx, t, "wdpost", "list"), "No job is under way")

	brief := f.issue(ctx, t, load.Work{Miner: miner, Epochs: 22, Set: once})
	d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: 2, Set: once})
	f.job(ctx, t, brief.JobID(0), "out of tries before cards prove again", func(j workers.Job) bool { return j.OutOfTries() })
	for i := range uint64(2) {
		j := f.job(ctx, t, d.JobID(i), "failed", func(j workers.Job) bool { return j.State == workers.JobFailed })
		assert.Equal(t, 1, j.Try)
		assert.True(t, j.OutOfTries())
		assert.Contains(t, j.Error, "ProveFailed: ")
		assert.Nil(t, j.EpochsLeft, "nobody watches a miner yet")
	}
	f.resetFailed(ctx, t, d, mode, slow)
	f.removeAndReset(ctx, t, d)
	f.resetRunning(ctx, t, slow)

	j := f.job(ctx, t, brief.JobID(0), "missed", func(j workers.Job) bool { return j.State == workers.JobMissed && j.Status != "Running" })
	assert.Contains(t, j.Error, "not proven before the deadline closed")
	_, errs := f.refused(ctx, t, "wdpost", "reset", brief.JobID(0).String())
	assert.Contains(t, errs, "its deadline closed at epoch ")
	assert.Contains(t, errs, " ago: the chain takes no proof any more")
	_, errs = f.refused(ctx, t, "wdpost", "remove", brief.JobID(0).String())
	assert.Contains(t, errs, "is over already (Failed): there is nothing to remove")

	f.load.Stop()
	assert.Contains(t, f.does(ctx, t, "wdpost", "list"), brief.JobID(0).String(), "no daemon is needed to look")
	assert.Contains(t, f.does(ctx, t, "wdpost", "show", brief.JobIDs().String()), "ProveFailed")
}

// resetFailed runs a job again that is out of tries. Nothing is done because of a typo, and the other is done all the same.
func (f fleet) resetFailed(ctx context.Context, t *testing.T, d post.Deadline, mode string, watched *load.Miner) {
	id := d.JobID(0).String()
	shown := f.does(ctx, t, "wdpost", "show", id)
	for _, want := range []string{"Failed", "1(Max)", "store-f01000: 1-2", "try 1 on a/card", "ProveFailed after ", "posthaste wdpost reset " + id, "/workflows/" + d.WorkflowID() + "/"} {
		assert.Contains(t, shown, want)
	}
	assert.Contains(t, f.does(ctx, t, "__complete", "wdpost", "reset", id[:8]), id+"\tFailed")
	require.NoError(t, f.load.Watch(ctx, watched))
	f.job(ctx, t, d.JobID(0), "shown with epochs left", func(j workers.Job) bool { return j.EpochsLeft != nil && *j.EpochsLeft > 3000 })

	f.mode(t, mode, stub.OK)
	out, errs := f.refused(ctx, t, "wdpost", "reset", id, d.JobID(9).String(), "f01000_7")
	assert.Equal(t, id+": runs again now, tries back at 0\n", out)
	assert.Contains(t, errs, "there is no job "+d.JobID(9).String()+"; of its deadline there are "+id)
	assert.Contains(t, errs, `"f01000_7" is not a job's ID`)
	assert.Equal(t, 1, f.posted(ctx, t, d, 0).Tries)
	_, errs = f.refused(ctx, t, "wdpost", "reset", id)
	assert.Contains(t, errs, "job "+id+": it is posted: there is nothing to run again")
	shown = f.does(ctx, t, "wdpost", "show", id)
	assert.Equal(t, 2, strings.Count(shown, "try 1 on a/card"), shown)
	assert.Contains(t, shown, ": proven after ")
}

// removeAndReset ends a deadline, one job of which is posted and the other failed, and begins it again.
func (f fleet) removeAndReset(ctx context.Context, t *testing.T, d post.Deadline) {
	_, errs := f.refused(ctx, t, "wdpost", "remove", d.JobID(0).String())
	assert.Contains(t, errs, "its deadline has other jobs that are not over, which would be ended with it: "+d.JobID(1).String())
	assert.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, f.status(ctx, t, d))
	_, errs = f.refused(ctx, t, "wdpost", "remove", d.JobID(7).String())
	assert.Contains(t, errs, "there is no job ")

	out := f.does(ctx, t, "wdpost", "remove", d.JobIDs().String())
	assert.Contains(t, out, ": removed; miner f01000 is not watched")
	assert.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, f.status(ctx, t, d))
	j := f.job(ctx, t, d.JobID(1), "ended", func(j workers.Job) bool { return j.Status == "Terminated" })
	assert.Equal(t, workers.JobFailed, j.State)

	proven := len(f.load.Proven())
	out = f.does(ctx, t, "wdpost", "reset", d.JobID(1).String())
	assert.Contains(t, out, "its workflow had ended (Terminated); a new run of it has begun")
	f.proven(ctx, t, proven+1) // the chain has the other one's post
	for i := range uint64(2) {
		f.posted(ctx, t, d, i)
	}
	assert.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, f.status(ctx, t, d))
	j = f.job(ctx, t, d.JobID(1), "posted by the new run", func(j workers.Job) bool { return j.Stage == post.StatePosted })
	assert.NotContains(t, f.does(ctx, t, "wdpost", "list"), j.ID.String(), "what is posted is hidden")
}

// resetRunning runs a job again while it is proven, and ends all.
func (f fleet) resetRunning(ctx context.Context, t *testing.T, slow *load.Miner) {
	d := f.issue(ctx, t, load.Work{Miner: slow})
	began := f.event(ctx, t, "a long proof begins", func(e stub.Event) bool { return e.Event == stub.EventStart && e.Miner == uint64(slow.ID) })
	j := f.job(ctx, t, d.JobID(0), "running", func(j workers.Job) bool {
		return j.State == workers.JobRunning && !j.Heartbeat.IsZero() && j.Card != ""
	})
	assert.Equal(t, "a", j.Worker)
	assert.Equal(t, 2, j.MaxTry)
	table := f.does(ctx, t, "wdpost", "list", "--miner", "f01001", "--deadline", "0", "--state", "running")
	assert.Contains(t, table, d.JobID(0).String())
	assert.NotContains(t, table, "f01000-")

	assert.Equal(t, d.JobID(0).String()+": runs again now, tries back at 0\n", f.does(ctx, t, "wdpost", "reset", d.JobIDs().String()))
	f.event(ctx, t, "the proof begins anew", func(e stub.Event) bool {
		return e.Event == stub.EventStart && e.Miner == uint64(slow.ID) && e.At.After(began.At)
	})
	watching, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	out, _, _ := f.posthaste(watching, t, "wdpost", "list", "--miner", "f01001", "--watch", "--interval", "2s")
	assert.GreaterOrEqual(t, strings.Count(out, d.JobID(0).String()), 2, out)

	_, errs := f.refused(ctx, t, "wdpost", "remove-all")
	assert.Contains(t, errs, "give --really-do-it")
	assert.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, f.status(ctx, t, d))
	out = f.does(ctx, t, "wdpost", "remove-all", "--really-do-it", "--miner", "f01001")
	assert.Contains(t, out, d.JobID(0).String()+": removed; its miner's workflow issues it afresh in a few seconds, ")
	assert.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, f.status(ctx, t, d))
	assert.Equal(t, "No job is under way.\n", f.does(ctx, t, "wdpost", "remove-all", "--really-do-it", "--miner", "f01001"))
}
