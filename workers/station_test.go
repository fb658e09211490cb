package workers_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/fx"

	"posthaste/config"
	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// site is a worker with a stub card at a real Temporal, and the workflows of a daemon.
type site struct {
	*testing.T
	temporal client.Client
	config   *config.Config
	stores   string // the folder of stores a and b
	mode     string // the file that tells the stub how to end its tasks
	app      *fx.App
}

func newSite(t *testing.T) *site {
	bin, err := filepath.Abs("../bin/posthaste-stubprover")
	require.NoError(t, err)
	if _, err := os.Stat(bin); err != nil {
		t.Skipf("there is no %s; run `make build` first", bin)
	}
	temporal, address := startTemporal(t, "test")
	s := &site{T: t, temporal: temporal, stores: t.TempDir(), mode: filepath.Join(t.TempDir(), "mode")}
	c, err := config.Default()
	require.NoError(t, err)
	c.Temporal = config.Temporal{Address: address, Namespace: "default"}
	c.Worker.Name, c.Worker.StopTimeout, c.Metrics, c.AutoCards = "site", 2*time.Second, config.Metrics{}, false
	c.Attached = nil
	for _, name := range []string{"a", "b"} {
		require.NoError(t, os.MkdirAll(filepath.Join(s.stores, name, "sealed"), 0o755))
		c.Attached = append(c.Attached, config.Store{Name: name, Path: filepath.Join(s.stores, name)})
	}
	s.prove("crash")
	c.Cards = []config.Card{{
		Name: "card0", Bin: bin, Args: []string{"--mode-file", s.mode, "--sleep", "100ms", "window_post"}, InheritEnvs: true, AutoRestart: true,
		Concurrent: 1, ReadyTimeout: 20 * time.Second, Pool: "gpu",
	}}
	s.config = c
	log := slog.New(slog.DiscardHandler)
	require.NoError(t, workers.RegisterAttributes(t.Context(), c.Temporal, temporal, log))
	daemon := worker.New(temporal, workflows.QueueChain, worker.Options{DisableRegistrationAliasing: true})
	workers.RegisterWorkflows(daemon)
	daemon.RegisterWorkflowWithOptions(oneProof, workflow.RegisterOptions{Name: "OneProof"})
	require.NoError(t, daemon.Start())
	t.Cleanup(daemon.Stop)
	return s
}

// oneProof has one job done on a queue, and gives the type of its failure.
func oneProof(ctx workflow.Context, queue string, job post.Job) error {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: queue, ScheduleToCloseTimeout: time.Hour, HeartbeatTimeout: 10 * time.Second, DisableEagerExecution: true,
	}), workflows.ActivityGenerateWindowPoSt, job).Get(ctx, nil)
}

// prove says how the stub ends its tasks from now on.
func (s *site) prove(mode string) { require.NoError(s, os.WriteFile(s.mode, []byte(mode), 0o600)) }

// start starts the worker's process, as it were.
func (s *site) start() {
	s.Helper()
	c := *s.config
	level := slog.LevelError + 4
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	s.app = fx.New(workers.Worker(&c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))), fx.NopLogger)
	require.NoError(s, s.app.Start(s.Context()))
}

func (s *site) stop() {
	s.Helper()
	require.NoError(s, s.app.Stop(context.WithoutCancel(s.Context())))
}

// shows waits until people see the worker so.
func (s *site) shows(what string, is func(workers.WorkerView) bool) (v workers.WorkerView) {
	s.Helper()
	require.Eventually(s, func() bool {
		views, err := workers.ReadWorkers(s.Context(), s.temporal, "default")
		require.NoError(s, err)
		if len(views) == 1 {
			v = views[0]
		}
		return len(views) == 1 && is(v)
	}, time.Minute, 200*time.Millisecond, what)
	return v
}

func (s *site) order(update string, args ...any) {
	s.Helper()
	told, err := workers.Order(s.Context(), s.temporal, "site", update, args...)
	require.NoError(s, err)
	require.True(s, told.Reached, told.Why)
}

// issue has a job waiting for the worker.
func (s *site) issue(queue string, sector abi.SectorNumber) client.WorkflowRun {
	s.Helper()
	run, err := s.temporal.ExecuteWorkflow(s.Context(), client.StartWorkflowOptions{TaskQueue: workflows.QueueChain}, "OneProof", queue, post.Job{
		Deadline: post.Deadline{Miner: 1000}, Partitions: []uint64{0}, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1,
		Randomness: make([]byte, 32), Sectors: post.Sectors{{Number: sector, Store: "a"}}, Try: 1,
	})
	require.NoError(s, err)
	return run
}

func running(v workers.WorkerView) bool { return v.Alive && v.State == workers.WorkerRunning }

// A store is lost and comes back: the worker says so, and polls the queue of those who have the same stores.
func TestWorkerPollsTheQueueOfItsStores(t *testing.T) {
	s := newSite(t)
	s.start()
	defer s.stop()
	queueOf := func(stores ...string) string { return post.Admits{Pool: "gpu", Stores: stores}.Queue(post.KindWindow) }
	v := s.shows("both stores", running)
	require.Equal(t, queueOf("a", "b"), v.Groups[0].Queue)
	require.Equal(t, 1, v.Groups[0].Slots)
	require.Equal(t, "card0", v.Groups[0].Cards[0].Name)
	require.NoError(t, os.Rename(filepath.Join(s.stores, "b"), filepath.Join(s.stores, "away")))
	v = s.shows("store b is lost", func(v workers.WorkerView) bool { return len(v.LostStores) == 1 })
	require.Equal(t, "b", v.LostStores[0].Name)
	require.Equal(t, queueOf("a"), v.Groups[0].Queue)
	s.prove("err")
	require.ErrorContains(t, s.issue(queueOf("a"), 1).Get(t.Context(), nil), string(post.FailureProve), "the queue is polled")
	require.NoError(t, os.Rename(filepath.Join(s.stores, "away"), filepath.Join(s.stores, "b")))
	v = s.shows("store b is back", func(v workers.WorkerView) bool { return len(v.LostStores) == 0 })
	require.Equal(t, queueOf("a", "b"), v.Groups[0].Queue)
}

// What operators want of a worker, and the fence of a card that keeps crashing, outlive its process.
func TestWorkerFollowsOrdersAcrossRestarts(t *testing.T) {
	s := newSite(t)
	s.start()
	queue := s.shows("it runs", running).Groups[0].Queue

	s.order(workflows.UpdatePause, "a test")
	s.shows("it is paused", func(v workers.WorkerView) bool { return v.State == workers.WorkerPaused })
	waits := s.issue(queue, 1)
	s.stop()
	s.start()
	s.shows("it is paused still", func(v workers.WorkerView) bool { return v.Alive && v.State == workers.WorkerPaused })
	limited, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	var ended *temporal.WorkflowExecutionError
	require.NotErrorAs(t, waits.Get(limited, nil), &ended, "a paused worker takes nothing") // there are several words for a timeout
	cancel()
	s.order(workflows.UpdateResume)
	require.ErrorContains(t, waits.Get(t.Context(), nil), string(post.FailureCard))

	require.ErrorContains(t, s.issue(queue, 2).Get(t.Context(), nil), string(post.FailureCard))
	require.ErrorContains(t, s.issue(queue, 3).Get(t.Context(), nil), string(post.FailureCard))
	fenced := func(v workers.WorkerView) bool {
		return v.Alive && v.State == workers.WorkerIdle && len(v.Fences) == 1 && v.Fences[0].Card == "card0" && v.Cards[0].State == "fenced"
	}
	s.shows("three crashes fence the card", fenced)
	s.stop()
	s.start()
	s.shows("it is fenced still", fenced)
	waits = s.issue(queue, 4)
	s.prove("err")
	s.order(workflows.UpdateUnfence, "")
	require.ErrorContains(t, waits.Get(t.Context(), nil), string(post.FailureProve), "it proves again, in its way")
	s.shows("nothing is fenced", func(v workers.WorkerView) bool { return running(v) && len(v.Fences) == 0 })

	s.order(workflows.UpdateDrain)
	signal := <-s.app.Wait()
	require.Zero(t, signal.ExitCode, "a drained process ends well")
	s.stop()

	s.start() // with the same process ID, as in a container
	s.shows("the next process does not drain", running)
	s.order(workflows.UpdatePause, "a test")
	s.shows("an order does not end it", func(v workers.WorkerView) bool { return v.Alive && v.State == workers.WorkerPaused })
	s.stop()
}

// SIGTERM: running work is handed over at once, or finished first if the worker is told to drain.
func TestWorkerStops(t *testing.T) {
	s := newSite(t)
	s.prove("err")
	s.config.Cards[0].Args = []string{"--mode-file", s.mode, "--sleep", "3s", "window_post"}
	proving := func(v workers.WorkerView) bool { return v.Alive && v.Cards[0].State == "proving" }

	s.start()
	queue := s.shows("it runs", running).Groups[0].Queue
	run := s.issue(queue, 1)
	s.shows("it proves", proving)
	s.stop()
	s.start()
	require.ErrorContains(t, run.Get(t.Context(), nil), string(post.FailureProve))
	require.Equal(t, int32(2), s.attempts(run), "the first was handed over")
	s.stop()

	s.config.Worker.Drain = true
	s.start()
	s.shows("it runs", running)
	run = s.issue(queue, 2)
	s.shows("it proves", proving)
	waits := s.issue(queue, 3)
	s.stop()
	require.ErrorContains(t, run.Get(t.Context(), nil), string(post.FailureProve))
	require.Equal(t, int32(1), s.attempts(run), "it was finished")
	require.Zero(t, s.attempts(waits), "nothing new was taken")
}

// attempts is at which attempt a job ended, 0 if it has not.
func (s *site) attempts(run client.WorkflowRun) int32 {
	s.Helper()
	events := s.temporal.GetWorkflowHistory(s.Context(), run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(s, err)
		if started := event.GetActivityTaskStartedEventAttributes(); started != nil {
			return started.GetAttempt()
		}
	}
	return 0
}
