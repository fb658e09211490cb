package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
)

// fast runs a proof on a machine whose clock is an hour fast: by it, the deadline is over when the job comes, and the SDK will drop what
// is returned.
func fast(t *testing.T, p *activities.Prover) error {
	t.Helper()
	env := newEnvironment()
	env.SetTestTimeout(2 * patience)
	late := func(ctx context.Context, job post.Job) (post.Proof, error) {
		ctx, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Hour))
		defer cancel()
		return p.GenerateWindowPoSt(ctx, job)
	}
	env.RegisterActivity(late)
	_, err := env.ExecuteActivity(late, theJob())
	return err
}

func TestAProofOfAMachineWhoseClockIsFastArrives(t *testing.T) {
	server := &attempts{}
	p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
		assert.NoError(t, ctx.Err())
		return aProof(), nil
	})
	p.Watch = &storeWatch{}
	require.NoError(t, fast(t, p))
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
	require.Error(t, fast(t, p))
	require.Len(t, server.completed, 1)
	failed(t, server.completed[0].(error), post.FailureFalseProof, false)
}
