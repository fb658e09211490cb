package workers

import (
	"context"
	"errors"
	"fmt"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

// ErrNoRecovery means that nobody looks after a miner's faulty sectors.
var ErrNoRecovery = errors.New("nobody looks after its faulty sectors: is it watched (`posthaste miner list`), and does a daemon run?")

// ReadRecovery is how a miner's faulty sectors stand, as its workflow showed it last. No daemon needs to run for it.
func ReadRecovery(ctx context.Context, c client.Client, miner abi.ActorID) (post.RecoveryState, error) {
	state := post.RecoveryState{Miner: miner}
	described, err := c.DescribeWorkflowExecution(ctx, workflows.RecoveryWorkflowID(miner), "")
	switch {
	case notFound(err):
		return state, fmt.Errorf("miner %s: %w", post.MinerName(miner), ErrNoRecovery)
	case err != nil:
		return state, fmt.Errorf("describing %s: %w", workflows.RecoveryWorkflowID(miner), err)
	}
	info := described.GetWorkflowExecutionInfo()
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING && info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
		return state, fmt.Errorf("miner %s: %w", post.MinerName(miner), ErrNoRecovery)
	}
	if !MemoOf(info, workflows.MemoRecovery, &state) {
		return state, fmt.Errorf("miner %s: its faulty sectors have not been looked at yet", post.MinerName(miner))
	}
	return state, nil
}

// Recover has a miner's faulty sectors looked at now, and what can be proven declared recovered. It returns when all were looked at, which takes
// minutes where many have to be read; that goes on when ctx ends. Without a daemon it is ErrNoDaemon.
func Recover(ctx context.Context, c client.Client, miner abi.ActorID) (state post.RecoveryState, err error) {
	limited, cancel := context.WithTimeout(ctx, daemonLimit)
	defer cancel()
	handle, err := c.UpdateWorkflow(limited, client.UpdateWorkflowOptions{
		WorkflowID: workflows.RecoveryWorkflowID(miner), UpdateName: workflows.UpdateRecover, WaitForStage: client.WorkflowUpdateStageAccepted,
	})
	if err != nil && ctx.Err() == nil && tookTooLong(limited, err) {
		err = ErrNoDaemon
	}
	if err == nil {
		err = handle.Get(ctx, &state)
	}
	var refused *temporal.ApplicationError
	switch {
	case notFound(err):
		err = ErrNoRecovery
	case errors.As(err, &refused):
		err = errors.New(refused.Message())
	}
	if err != nil {
		return state, fmt.Errorf("miner %s: %w", post.MinerName(miner), err)
	}
	return state, nil
}
