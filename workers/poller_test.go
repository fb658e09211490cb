package workers_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/workers"
)

// pollLimit is shorter than a poll, which lasts a minute: a place that only the end of a poll gives back would be noticed.
const pollLimit = 40 * time.Second

// bench is a poller at a real server, with jobs that last as long as the test wants.
type bench struct {
	*testing.T
	client   client.Client
	poller   *workers.Poller
	release  chan struct{} // closed: all jobs end
	started  atomic.Int32
	attempts atomic.Int32 // beyond the first of a job
}

func newBench(t *testing.T, places int) *bench {
	temporal, _ := startTemporal(t, "worker bench@1")
	b := &bench{T: t, client: temporal, release: make(chan struct{})}
	b.poller = workers.NewPoller(b.client, places, func(r worker.ActivityRegistry) {
		r.RegisterActivityWithOptions(b.job, activity.RegisterOptions{Name: "Job"})
	}, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	daemon := worker.New(b.client, "workflows", worker.Options{})
	daemon.RegisterWorkflowWithOptions(oneJob, workflow.RegisterOptions{Name: "OneJob"})
	require.NoError(t, daemon.Start())
	t.Cleanup(daemon.Stop)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.poller.Run(ctx, time.Minute) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	return b
}

// job runs until it is released, and says so to Temporal every half second.
func (b *bench) job(ctx context.Context) (int32, error) {
	attempt := activity.GetInfo(ctx).Attempt
	b.started.Add(1)
	if attempt > 1 {
		b.attempts.Add(1)
	}
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-b.release:
			return attempt, nil
		case <-ticker.C:
			activity.RecordHeartbeat(ctx)
		case <-ctx.Done():
			return attempt, context.Cause(ctx)
		}
	}
}

func oneJob(ctx workflow.Context, queue string) (attempt int32, err error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: queue, ScheduleToCloseTimeout: time.Hour, HeartbeatTimeout: 3 * time.Second, DisableEagerExecution: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, MaximumInterval: time.Second},
	})
	return attempt, workflow.ExecuteActivity(ctx, "Job").Get(ctx, &attempt)
}

// issue has a job waiting on a queue.
func (b *bench) issue(queue string) client.WorkflowRun {
	b.Helper()
	run, err := b.client.ExecuteWorkflow(b.Context(), client.StartWorkflowOptions{TaskQueue: "workflows"}, "OneJob", queue)
	require.NoError(b, err)
	return run
}

// attempt waits for a job's end and says at which attempt it came.
func (b *bench) attempt(run client.WorkflowRun) (attempt int32) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), pollLimit)
	defer cancel()
	require.NoError(b, run.Get(ctx, &attempt))
	return attempt
}

func (b *bench) running(n int32) {
	b.Helper()
	require.Eventually(b, func() bool { return b.started.Load() == n }, pollLimit, 5*time.Millisecond, "%d jobs should have started", n)
}

// used is how many slots for activities Temporal believes to be used on a queue, over all workers that poll or polled it.
func (b *bench) used(queue string) (n int32) {
	b.Helper()
	list, err := b.client.WorkflowService().ListWorkers(b.Context(), &workflowservice.ListWorkersRequest{Namespace: "default"})
	require.NoError(b, err)
	//lint:ignore SA1019 what replaces it lacks the slots
	for _, w := range list.GetWorkersInfo() {
		if h := w.GetWorkerHeartbeat(); h.GetTaskQueue() == queue {
			b.Logf("%s %s: %s, used %d, available %d", h.GetWorkerIdentity(), queue, h.GetStatus(), h.GetActivityTaskSlotsInfo().GetCurrentUsedSlots(), h.GetActivityTaskSlotsInfo().GetCurrentAvailableSlots())
			n += h.GetActivityTaskSlotsInfo().GetCurrentUsedSlots()
		}
	}
	return n
}

// A store is lost: the group polls another queue at once, what runs goes on and its result counts, and its place is not given twice.
func TestPollerChangesItsQueue(t *testing.T) {
	b := newBench(t, 2)
	b.poller.Set("old", 2)
	first := b.issue("old")
	b.running(1)
	b.poller.Set("new", 2)
	second, third := b.issue("new"), b.issue("new")
	b.running(2)
	stranded := b.issue("old")
	require.Eventually(t, func() bool { return b.used("old")+b.used("new") == 2 }, pollLimit, time.Second, "Temporal's list of workers counts a job on a worker that polls no more")
	time.Sleep(4 * time.Second) // longer than the heartbeat timeout
	require.Equal(t, int32(2), b.started.Load(), "one place is taken by the old queue's job")
	close(b.release)
	require.Equal(t, int32(1), b.attempt(first), "it ended on a worker that polls no more")
	require.Equal(t, int32(1), b.attempt(second))
	require.Equal(t, int32(1), b.attempt(third))
	require.Equal(t, int32(3), b.started.Load(), "nobody polls the old queue")
	b.poller.Set("old", 2)
	require.Equal(t, int32(1), b.attempt(stranded))
}

// A card is fenced while idle cards wait at Temporal: no more than the others get work, at once, and all of them when it is back.
func TestPollerWithFewerCards(t *testing.T) {
	b := newBench(t, 3)
	b.poller.Set("queue", 3)
	runs := []client.WorkflowRun{b.issue("queue")}
	b.running(1)
	b.poller.Set("queue", 2)
	for range 3 {
		runs = append(runs, b.issue("queue"))
	}
	b.running(2)
	time.Sleep(time.Second)
	require.Equal(t, int32(2), b.started.Load())
	b.poller.Set("queue", 0)
	b.poller.Set("queue", 3)
	b.running(3)
	close(b.release)
	for _, run := range runs {
		require.Equal(t, int32(1), b.attempt(run))
	}
}

// Polling stops and begins again at every moment, while jobs come in: each is done. One that was handed to a poll just as that ended
// is done again after the heartbeat timeout.
func TestPollerLosesNoJob(t *testing.T) {
	b := newBench(t, 4)
	close(b.release) // jobs end at once
	stop := make(chan struct{})
	flipped := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				b.poller.Set("a", 4)
				flipped <- n
				return
			case <-time.After(time.Duration(10+n%40) * time.Millisecond):
				b.poller.Set([]string{"a", "", "a", "b"}[n%4], 4)
				n++
			}
		}
	}()
	var runs []client.WorkflowRun
	for i := range 150 {
		runs = append(runs, b.issue([]string{"a", "b"}[i%2]))
	}
	time.Sleep(2 * time.Second)
	close(stop)
	n := <-flipped
	for i, run := range runs {
		if i%2 == 0 {
			b.attempt(run)
		}
	}
	b.poller.Set("b", 4)
	for i, run := range runs {
		if i%2 == 1 {
			b.attempt(run)
		}
	}
	fmt.Printf("polling was stopped or moved %d times, %d jobs of %d needed another attempt\n", n, b.attempts.Load(), len(runs))
}
