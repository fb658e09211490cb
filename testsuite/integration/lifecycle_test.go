package integration_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workflows"
)

// A worker that is asked to end hands its job to another at once; one that is killed has it taken from it after the heartbeat timeout.
// Neither costs a try.
func TestWorkerEnds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(*rig.Process)
	}{{"asked to", (*rig.Process).Stop}, {"killed", (*rig.Process).Kill}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t, 2*time.Minute)
			f := newFleet(t, load.Options{})
			miner := f.miner(ctx, t, 0, 1)
			for _, name := range []string{"a", "b"} {
				f.start(ctx, t, rig.Worker{Name: name, Attached: miner.Stores(), Cards: f.stubs(1, 6*time.Second)})
			}
			f.reported(ctx, t)
			d := f.issue(ctx, t, load.Work{Miner: miner})
			first := f.event(ctx, t, "a job runs", load.Begun(time.Time{}))
			worker, others := f.of(t, first)
			tc.end(worker)
			second := f.event(ctx, t, "the other worker has it", load.Begun(first.At))
			assert.Equal(t, others[0].Pid(), second.Parent)
			t.Logf("%s: the other worker's card had the job %s after it began", tc.name, second.At.Sub(first.At))
			assert.False(t, rig.Alive(first.PID), "no child outlives its worker")
			assert.Equal(t, 1, f.posted(ctx, t, d, 0).Tries)
			assert.Equal(t, 1, f.count(t, func(e stub.Event) bool { return e.Event == stub.EventEnd }), "it is computed to the end once")
		})
	}
}

// A worker that drains finishes what runs, takes nothing new and ends: by its configuration when it is asked to end, by an order
// without being asked.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		keys    []string
		ordered bool
	}{
		{name: "configured", keys: []string{"drain = true"}},
		{name: "ordered", ordered: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t, 2*time.Minute)
			f := newFleet(t, load.Options{})
			miner := f.miner(ctx, t, 0, 1)
			worker := f.start(ctx, t, rig.Worker{Name: "a", Attached: miner.Stores(), Cards: f.stubs(1, 5*time.Second), Keys: tc.keys})
			f.reported(ctx, t)
			d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: 2})
			first := f.event(ctx, t, "a job runs", load.Begun(time.Time{}))
			worker.ExpectEnd()
			if tc.ordered {
				told := f.order(ctx, t, "a", workflows.UpdateDrain)
				assert.True(t, told.Reached, told.Why)
			} else {
				require.NoError(t, syscall.Kill(worker.Pid(), syscall.SIGTERM))
			}
			code, err := worker.Wait(ctx)
			require.NoError(t, err)
			assert.Zero(t, code)
			assert.Equal(t, 1, f.count(t, load.Begun(time.Time{})), "nothing new is taken")
			assert.Equal(t, 1, f.count(t, func(e stub.Event) bool { return e.Event == stub.EventEnd && e.PID == first.PID }), "what ran is finished")
			assert.Len(t, f.proven(ctx, t, 1), 1)

			f.start(ctx, t, rig.Worker{Name: "b", Attached: miner.Stores(), Cards: f.stubs(1, 0)})
			for i := range uint64(2) {
				assert.Equal(t, 1, f.posted(ctx, t, d, i).Tries)
			}
			assert.Equal(t, map[string]int{"a/card0": 1, "b/card0": 1}, cards(f.load.Proven()))
		})
	}
}

// What ends a job in Temporal frees its card within a heartbeat, and the child is gone.
func TestFreedByTemporal(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	f := newFleet(t, load.Options{})
	endless, short := f.miner(ctx, t, 0, 1), f.miner(ctx, t, 1, 1)
	mode := f.mode(t, "", stub.OK)
	f.start(ctx, t, rig.Worker{Name: "a", Attached: []rig.Store{endless.Store, short.Store}, Cards: []rig.Card{f.stub("card0", 4*time.Second, "--mode-file", mode, "--vanilla", "1s")}})
	f.reported(ctx, t)
	for _, tc := range []struct {
		name string
		end  func(d post.Deadline)
		goes bool // the job goes on after that
	}{
		{name: "terminated", end: func(d post.Deadline) {
			require.NoError(t, f.Client().TerminateWorkflow(ctx, d.WorkflowID(), "", "the test's operator"))
		}},
		{name: "cancelled", end: func(d post.Deadline) {
			require.NoError(t, f.Client().CancelWorkflow(ctx, d.WorkflowID(), ""))
		}},
		{name: "reset by an Update", goes: true, end: func(d post.Deadline) {
			handle, err := f.Client().UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: d.WorkflowID(), UpdateName: workflows.UpdateReset,
				Args: []any{workflows.ResetJobs{Partitions: []uint64{0}}}, WaitForStage: client.WorkflowUpdateStageCompleted})
			require.NoError(t, err)
			require.NoError(t, handle.Get(ctx, nil))
		}},
		{name: "reset by Temporal", goes: true, end: func(d post.Deadline) {
			row, err := boardOf(ctx, f.Rig, d.WorkflowID())
			require.NoError(t, err)
			_, err = f.Client().ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
				Namespace: "default", WorkflowExecution: execution(row), Reason: "the test's operator", RequestId: d.WorkflowID(),
				WorkflowTaskFinishEventId: lastWorkflowTask(ctx, t, f.Rig, row),
			})
			require.NoError(t, err)
		}},
	} {
		before := time.Now()
		d := f.issue(ctx, t, load.Work{Miner: endless})
		first := f.event(ctx, t, "the job runs", load.Begun(before))
		asked := time.Now()
		tc.end(d)
		eventually(ctx, t, tc.name+": the child is gone", func() bool { return !rig.Alive(first.PID) })
		t.Logf("%s: the child was gone after %s", tc.name, time.Since(asked))
		if tc.goes {
			second := f.event(ctx, t, "the job runs again", load.Begun(first.At))
			assert.NotEqual(t, first.PID, second.PID, tc.name)
			assert.Equal(t, 1, f.posted(ctx, t, d, 0).Tries, "%s: it starts counting anew", tc.name)
		} else {
			eventually(ctx, t, tc.name, func() bool { return f.status(ctx, t, d) != enums.WORKFLOW_EXECUTION_STATUS_RUNNING })
			next := f.issue(ctx, t, load.Work{Miner: short})
			f.event(ctx, t, "the card takes the next job", load.Begun(asked))
			f.posted(ctx, t, next, 0)
		}
		ended := f.count(t, func(e stub.Event) bool { return e.Event == stub.EventEnd && e.PID == first.PID && e.At.After(before) })
		assert.Zero(t, ended, "%s: the first was not computed to its end", tc.name)
	}
}

// Operators pause a worker, which finishes what it has and takes nothing new, and let it go on; it stays paused when it is started again.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	worker := f.start(ctx, t, rig.Worker{Name: "a", Attached: miner.Stores(), Cards: f.stubs(1, time.Second)})
	f.reported(ctx, t)
	d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: 3})
	f.event(ctx, t, "a job runs", load.Begun(time.Time{}))
	told := f.order(ctx, t, "a", workflows.UpdatePause, "its fans are being cleaned")
	assert.True(t, told.Reached, told.Why)
	assert.Equal(t, "its fans are being cleaned", told.Orders.Paused)
	begunBefore := f.count(t, load.Begun(time.Time{})) // one, or the next one was taken in the moment before
	f.proven(ctx, t, begunBefore)
	eventually(ctx, t, "the board says that jobs wait for the worker, and why", func() bool {
		for i := range uint64(3) {
			if p, err := f.load.Partition(ctx, d, i); err == nil && strings.Contains(p.Waits, "its fans are being cleaned") {
				return true
			}
		}
		return false
	})

	require.NoError(t, worker.Restart(ctx))
	f.reported(ctx, t)
	time.Sleep(3 * time.Second) // it would have taken a job in a fraction of that
	assert.Equal(t, begunBefore, f.count(t, load.Begun(time.Time{})), "it stays paused")
	state, err := f.load.Worker(ctx, "a")
	require.NoError(t, err)
	assert.Equal(t, "its fans are being cleaned", state.Orders.Paused)

	worker.Kill()
	told = f.order(ctx, t, "a", workflows.UpdateResume)
	assert.False(t, told.Reached, "nobody is there")
	assert.NotEmpty(t, told.Why)
	require.NoError(t, worker.Start(ctx))
	f.proven(ctx, t, 3)
	for i := range uint64(3) {
		assert.Equal(t, 1, f.posted(ctx, t, d, i).Tries)
	}
}
