package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"posthaste/config"
	"posthaste/post"
	"posthaste/workflows"
)

// ErrNoMiner means that there is no workflow of that miner.
var ErrNoMiner = errors.New("nobody watches it")

// OrderMiner gives a miner's workflow an order, one of its Updates. It needs a running daemon: without one it fails with ErrNoDaemon.
func OrderMiner(ctx context.Context, c client.Client, miner abi.ActorID, update string, args ...any) error {
	err := order(ctx, c, daemonLimit, workflows.MinerWorkflowID(miner), update, nil, args...)
	var refused *temporal.ApplicationError
	switch {
	case notFound(err):
		err = ErrNoMiner
	case errors.As(err, &refused):
		err = errors.New(refused.Message()) // the workflow's own words
	}
	if err != nil {
		return fmt.Errorf("miner %s: %w", post.MinerName(miner), err)
	}
	return nil
}

// StartMiner starts the workflow of a miner that has none. No daemon needs to run for it.
func StartMiner(ctx context.Context, t config.Temporal, c client.Client, in workflows.WatchInput, log *slog.Logger) error {
	limited, cancel := context.WithTimeout(ctx, daemonLimit)
	defer cancel()
	// A workflow that carries an attribute which the server does not know is refused, and no daemon may have run here yet.
	if err := registerAttributes(limited, t, c, log); err != nil {
		return err
	}
	options := minerOptions(in.Miner)
	options.WorkflowIDConflictPolicy, options.WorkflowExecutionErrorWhenAlreadyStarted = enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL, true
	_, err := c.ExecuteWorkflow(limited, options, workflows.NameMinerWorkflow, workflows.MinerState{WatchInput: in})
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	if err != nil && !errors.As(err, &already) { // a daemon was faster: its file names it
		return fmt.Errorf("starting workflow %s: %w", options.ID, err)
	}
	return nil
}

// minerOptions are how a miner's workflow is started, by whoever starts it.
func minerOptions(miner abi.ActorID) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID: workflows.MinerWorkflowID(miner), TaskQueue: workflows.QueueChain,
		StaticSummary: "deadlines of " + post.MinerName(miner),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(workflows.AttributeMiner).ValueSet(post.MinerName(miner))),
	}
}

// watchedEvery is how often AwaitWatched looks.
const watchedEvery = 250 * time.Millisecond

// AwaitWatched waits until a daemon watches the deadlines of a miner that was just added, and gives the miner then. That its workflow
// failed, because the chain does not know it, say, is an error. If neither has happened in time the miner has no Head.
func AwaitWatched(ctx context.Context, c client.Client, miner abi.ActorID, within time.Duration) (MinerView, error) {
	ticker := time.NewTicker(watchedEvery)
	defer ticker.Stop()
	end := time.Now().Add(within)
	for {
		described, err := c.DescribeWorkflowExecution(ctx, workflows.MinerWorkflowID(miner), "")
		if err != nil {
			return MinerView{}, fmt.Errorf("describing %s: %w", workflows.MinerWorkflowID(miner), err)
		}
		v, _ := minerOf(described.GetWorkflowExecutionInfo())
		if v.State == MinerFailed {
			return v, errors.New(whyFailed(ctx, c, v.run))
		}
		if err := v.readWatching(ctx, c); err != nil {
			return v, err
		}
		if v.Head > 0 || time.Now().After(end) {
			return v, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}
