package workers_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// beforeRouting is a deadline as it went on before jobs were routed: one queue for all, and a board that says little.
func beforeRouting(ctx workflow.Context, job post.Job) error {
	board := post.Result{Deadline: job.Deadline, Partitions: []post.PartitionResult{{State: post.StateProving}}}
	if err := workflow.UpsertMemo(ctx, map[string]any{workflows.MemoBoard: board}); err != nil {
		return err
	}
	return oneProof(ctx, post.DefaultSettings().ProveQueue, job)
}

// A deadline is under way when daemons and workers are upgraded: a worker of now takes its job.
func TestADeadlineFromBeforeRoutingFindsAWorker(t *testing.T) {
	s := newSite(t)
	s.prove("err")
	old := worker.New(s.temporal, "old", worker.Options{})
	old.RegisterWorkflowWithOptions(beforeRouting, workflow.RegisterOptions{Name: workflows.NameDeadlineWorkflow})
	require.NoError(t, old.Start())
	t.Cleanup(old.Stop)
	log := slog.New(slog.DiscardHandler)
	fleet := &activities.Fleet{Temporal: s.temporal, Namespace: "default", Log: log}
	balance := &activities.Balance{Fleet: fleet, Temporal: s.temporal, Log: log, Every: time.Second}
	daemon := worker.New(s.temporal, "balance", worker.Options{})
	daemon.RegisterActivityWithOptions(balance.BalanceFleet, activity.RegisterOptions{Name: workflows.ActivityBalanceFleet})
	daemon.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Hour, HeartbeatTimeout: 10 * time.Second,
		}), workflows.ActivityBalanceFleet).Get(ctx, nil)
	}, workflow.RegisterOptions{Name: "Balancing"})
	require.NoError(t, daemon.Start())
	t.Cleanup(daemon.Stop)
	_, err := s.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "balance"}, "Balancing")
	require.NoError(t, err)

	s.start()
	defer s.stop()
	run, err := s.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "old"}, workflows.NameDeadlineWorkflow, post.Job{
		Deadline: post.Deadline{Miner: 1000}, Partitions: []uint64{0}, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1,
		Randomness: make([]byte, 32), Sectors: post.Sectors{{Number: 1, Store: "a"}}, Try: 1,
	})
	require.NoError(t, err)
	require.ErrorContains(t, run.Get(t.Context(), nil), string(post.FailureProve), "the card proves, in its way")
}
