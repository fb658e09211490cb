package workers

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.uber.org/fx"

	"posthaste/activities"
	"posthaste/config"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/sectors"
	"posthaste/workflows"
)

// Worker is a process that proves on its cards. It needs Temporal and its attached stores; no chain, no wallet.
func Worker(c *config.Config, log *slog.Logger) fx.Option {
	return fx.Options(
		fx.Supply(c, log.With("worker", c.Worker.Name)),
		fx.Provide(newCards, newAttached, newWorkerClient, newProver),
		fx.Invoke(runWorker),
	)
}

// newCards starts the cards' child processes and keeps them running.
func newCards(lc fx.Lifecycle, down fx.Shutdowner, c *config.Config, log *slog.Logger) (*prover.Pool, error) {
	cards := make([]prover.CardConfig, len(c.Cards))
	for i, card := range c.Cards {
		configured, err := cardConfig(card)
		if err != nil {
			return nil, err
		}
		cards[i] = configured
	}
	pool, err := prover.NewPool(cards, prover.PoolOptions{Log: log})
	if err != nil {
		return nil, err
	}
	background(lc, down, log, "the cards", pool.Run)
	return pool, nil
}

// cardConfig is a configured card as the pool wants it. Without a bin it is this program's own processor, which is told how to
// read.
func cardConfig(card config.Card) (prover.CardConfig, error) {
	out := prover.CardConfig{
		Name: card.Name, Bin: card.Bin, Args: card.Args, Envs: card.Envs, CleanEnv: !card.InheritEnvs,
		Concurrent: card.Concurrent, ReadyTimeout: card.ReadyTimeout, NoRestart: !card.AutoRestart,
	}
	if card.Bin != "" {
		return out, nil
	}
	self, err := os.Executable()
	if err != nil {
		return out, fmt.Errorf("finding this program's own file for card %s: %w", card.Name, err)
	}
	out.Bin = self
	out.Args = []string{"processor", prover.KindWindow,
		"--parallel-reads", strconv.Itoa(card.Reads.Parallel), "--read-timeout", card.Reads.Timeout.String()}
	return out, nil
}

func newAttached(c *config.Config) (*sectors.Stores, error) {
	return sectors.NewStores(storesOf(c.Attached))
}

func newWorkerClient(lc fx.Lifecycle, c *config.Config, log *slog.Logger) (client.Client, error) {
	temporal, err := Dial(c.Temporal, identity("worker", c.Worker.Name), log)
	if err == nil {
		closing(lc, temporal)
	}
	return temporal, err
}

func newProver(c *config.Config, pool *prover.Pool, stores *sectors.Stores, temporal client.Client, log *slog.Logger) *activities.Prover {
	return &activities.Prover{Worker: c.Worker.Name, Cards: pool, Stores: stores, Temporal: temporal, Log: log}
}

// runWorker polls the cards' queue. The SDK takes as many jobs as the cards can prove at once and no more, so that a job that
// waits does so in Temporal, where another worker can take it.
func runWorker(lc fx.Lifecycle, down fx.Shutdowner, c *config.Config, log *slog.Logger, temporal client.Client, pool *prover.Pool, stores *sectors.Stores, p *activities.Prover) {
	queue := post.DefaultSettings().ProveQueue
	background(lc, down, log, "the worker", func(ctx context.Context) error {
		reportStores(ctx, stores, log)
		reportParameters(log, true)
		if err := awaitTemporal(ctx, c.Temporal, temporal, log); err != nil {
			return err
		}
		w := worker.New(temporal, queue, worker.Options{
			MaxConcurrentActivityExecutionSize: pool.Size(),
			MaxConcurrentActivityTaskPollers:   pool.Size(),
			DisableWorkflowWorker:              true,
			DisableRegistrationAliasing:        true,
			// Time for running proofs to be handed over: measured, 0.1 s with any limit above zero and 15 s with none.
			WorkerStopTimeout: c.Worker.StopTimeout,
			OnFatalError:      fatal(down, log),
		})
		register(w, map[string]any{workflows.ActivityGenerateWindowPoSt: p.GenerateWindowPoSt})
		log.Info("proving", "queue", queue, "cards", len(c.Cards), "at_once", pool.Size(), "temporal", c.Temporal.Address)
		return poll(ctx, w)
	})
}

// reportParameters says at start which of the usual parameters are missing, instead of at the first proof. A daemon, which checks
// proofs before it signs a message, needs the small verifying keys only.
func reportParameters(log *slog.Logger, toProve bool) {
	var missing error
	for _, proofType := range []abi.RegisteredPoStProof{
		abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1, abi.RegisteredPoStProof_StackedDrgWindow64GiBV1_1,
		abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1,
	} {
		err := prover.CheckParameters(proofType, toProve)
		if err == nil {
			return // a provider has those of its own sector size
		}
		missing = cmp.Or(missing, err)
	}
	what := "no verifying key of any sector size is there; no proof can be checked, and no message sent, until one is"
	if toProve {
		what = "no parameters of any sector size are complete; every proof will fail until they are"
	}
	log.Error(what, "error", missing)
}
