package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"posthaste/workflows"
)

// orderLimit is how long an order may take: a daemon runs it in milliseconds, and waits up to 10 s for the worker to take it, after as
// long for an order that was given before.
const orderLimit = 25 * time.Second

// daemonLimit is how long an order may take that no worker has to take.
const daemonLimit = 10 * time.Second

// Errors of Order, to be told with errors.Is.
var (
	ErrNoWorker = errors.New("there is no such worker")
	// The server keeps an order that no daemon has taken for a while, in memory: it is not known to be without effect.
	ErrNoDaemon = errors.New("no daemon answers: start one (`posthaste daemon run`) and give the order again")
)

// Order gives a worker an order, an Update of its WorkerWorkflow (workflows.UpdatePause and so on), and returns when the worker has it or
// the workflow has recorded it for later. It needs a running daemon.
func Order(ctx context.Context, temporal client.Client, worker, update string, args ...any) (workflows.Told, error) {
	var told workflows.Told
	err := order(ctx, temporal, orderLimit, workflows.WorkerWorkflowID(worker), update, &told, args...)
	if notFound(err) {
		err = ErrNoWorker
	}
	if err != nil {
		return told, fmt.Errorf("worker %s: %w", worker, err)
	}
	return told, nil
}

// order gives a workflow an Update and waits for its result. Without a daemon it is ErrNoDaemon, after limit.
func order(ctx context.Context, temporal client.Client, limit time.Duration, workflowID, update string, result any, args ...any) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	handle, err := temporal.UpdateWorkflow(limited, client.UpdateWorkflowOptions{
		WorkflowID: workflowID, UpdateName: update, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(limited, result)
	}
	switch {
	case err == nil, notFound(err):
		return err
	case ctx.Err() == nil && tookTooLong(limited, err):
		return ErrNoDaemon
	default:
		return fmt.Errorf("%s: %w", update, err)
	}
}

// tookTooLong says that the time limit was the reason, which Temporal has several ways to say.
func tookTooLong(limited context.Context, err error) bool {
	var late *client.WorkflowUpdateServiceTimeoutOrCanceledError
	var deadline *serviceerror.DeadlineExceeded
	return limited.Err() != nil || errors.As(err, &late) || errors.As(err, &deadline) || errors.Is(err, context.DeadlineExceeded)
}

// Forget ends the workflow of a worker that is gone for good, so that nobody counts on it. Its orders and fences are lost with it. A worker
// that is alive comes back within seconds, with those that it has.
func Forget(ctx context.Context, temporal client.Client, worker string) error {
	limited, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	err := temporal.TerminateWorkflow(limited, workflows.WorkerWorkflowID(worker), "", "forgotten by an operator")
	if notFound(err) {
		return fmt.Errorf("worker %s: %w", worker, ErrNoWorker)
	}
	if err != nil {
		return fmt.Errorf("forgetting worker %s: %w", worker, err)
	}
	return nil
}
