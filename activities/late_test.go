package activities_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// fast runs an activity on a machine whose clock is an hour fast: by it, the deadline is over when the task comes, and the SDK will drop
// what is returned.
func fast(t *testing.T, do func(context.Context) error) error {
	t.Helper()
	env := newEnvironment()
	env.SetTestTimeout(2 * patience)
	late := func(ctx context.Context) error {
		ctx, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Hour))
		defer cancel()
		return do(ctx)
	}
	env.RegisterActivity(late)
	_, err := env.ExecuteActivity(late)
	return err
}

func proves(p *activities.Prover) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := p.GenerateWindowPoSt(ctx, theJob())
		return err
	}
}

func TestAProofOfAMachineWhoseClockIsFastArrives(t *testing.T) {
	server := &attempts{}
	p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
		assert.NoError(t, ctx.Err())
		return aProof(), nil
	})
	p.Watch = &storeWatch{}
	require.NoError(t, fast(t, proves(p)))
	require.Len(t, server.completed, 1)
	assert.Equal(t, theJob().Key(), server.completed[0].(post.Proof).JobKey)
	_, err := prove(t, p, theJob(), nil)
	require.NoError(t, err)
	assert.Len(t, server.completed, 1, "a clock that is right needs no help")
}

func TestAFailureOfAMachineWhoseClockIsFastArrives(t *testing.T) {
	server := &attempts{}
	p := newProver(server, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
		return nil, prover.ErrProofInvalid
	})
	require.Error(t, fast(t, proves(p)))
	require.Len(t, server.completed, 1)
	failed(t, server.completed[0].(error), post.FailureFalseProof, false)
}

func TestAMachineWhoseClockIsFastAnswersToItsOrders(t *testing.T) {
	server, worker := &attempts{}, &steered{}
	o := &activities.WorkerOrders{Worker: worker, Temporal: server, Log: slog.New(slog.DiscardHandler)}
	in := workflows.OrdersInput{Drain: true}
	require.NoError(t, fast(t, func(ctx context.Context) error { return o.ApplyOrders(ctx, in) }))
	assert.Equal(t, []workflows.OrdersInput{in}, worker.applied)
	assert.Equal(t, []any{nil}, server.completed, "else the operator is told that the worker did not answer")
}
