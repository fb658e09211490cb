package activities_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// info is a workflow as Temporal describes it; its memo says how partition 1 stands.
func info(status enums.WorkflowExecutionStatus, state post.State) *workflowpb.WorkflowExecutionInfo {
	out := &workflowpb.WorkflowExecutionInfo{Status: status}
	if state != "" {
		board, err := converter.GetDefaultDataConverter().ToPayload(post.Result{Partitions: []post.PartitionResult{
			{Index: 0, State: post.StatePosted}, {Index: 1, State: state}}})
		if err != nil {
			panic(err)
		}
		out.Memo = &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoBoard: board}}
	}
	return out
}

const (
	running = enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	closed  = enums.WORKFLOW_EXECUTION_STATUS_TERMINATED
)

var errGone = serviceerror.NewNotFound("no such attempt")

// The attempt is gone (Temporal heard nothing for a while), but its workflow waits: the proof goes on and arrives by signal.
func TestAnAttemptThatIsGoneDeliversBySignal(t *testing.T) {
	for name, described := range map[string]*workflowpb.WorkflowExecutionInfo{
		"its partition is proving":      info(running, post.StateProving),
		"its partition is out of tries": info(running, post.StateFailed),
		"its partition waits":           info(running, post.StateWaiting),
		"the workflow has no board":     info(running, ""),
		"the board cannot be read":      {Status: running, Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoBoard: {Data: []byte("{")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			server := &attempts{described: described, signalFail: 2}
			p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, progress func(post.Progress)) (*prover.Result, error) {
				progress(working)
				server.answers(errGone)
				assert.True(t, server.more(5))
				assert.NoError(t, ctx.Err(), "it goes on")
				return aProof(), nil
			})
			proof, err := prove(t, p, theJob(), nil)
			require.NoError(t, err)
			require.Len(t, server.signals, 1, "once, however many signals got lost")
			assert.Equal(t, proof, server.signals[0])
			claims := server.claimed()
			require.NotEmpty(t, claims, "nobody should begin it anew")
			assert.Equal(t, post.Claim{JobKey: theJob().Key(), Card: "w/c0"}, claims[0])
			assert.Less(t, len(claims), server.count(), "not at every heartbeat")
		})
	}
}

// A failure of an attempt that is gone concerns nobody any more: its successor runs, or may as soon as it is known that the claim is over.
func TestAnAttemptThatIsGoneFails(t *testing.T) {
	server := &attempts{described: info(running, post.StateProving)}
	p := newProver(server, func(_ context.Context, _ prover.Task, _ []string, progress func(post.Progress)) (*prover.Result, error) {
		progress(working)
		server.answers(errGone)
		assert.True(t, server.more(3))
		return nil, errors.New("odd")
	})
	_, err := prove(t, p, theJob(), nil)
	failed(t, err, post.FailureProve, false)
	assert.Empty(t, server.signals)
	claims := server.claimed()
	require.NotEmpty(t, claims)
	assert.Equal(t, post.Claim{JobKey: theJob().Key(), Card: "w/c0"}, claims[0])
	assert.Equal(t, post.Claim{JobKey: theJob().Key(), Card: "w/c0", Over: true}, claims[len(claims)-1])
}

// What no card has begun is not worth a claim: its successor may start at once, here or elsewhere.
func TestAnAttemptThatIsGoneBeforeACardWasFree(t *testing.T) {
	server := &attempts{answer: errGone, described: info(running, post.StateProving)}
	p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, progress func(post.Progress)) (*prover.Result, error) {
		progress(post.Progress{Phase: post.PhaseWaiting})
		return stopped(ctx)
	})
	_, err := prove(t, p, theJob(), nil)
	failed(t, err, post.FailureHandOver, true)
	assert.Empty(t, server.claims)
}

func TestProvingStopsWhenNobodyWaits(t *testing.T) {
	for name, server := range map[string]*attempts{
		"cancelled":                                 {answer: temporal.NewCanceledError()},
		"paused by an operator":                     {answer: activity.ErrActivityPaused},
		"the activity was reset":                    {answer: activity.ErrActivityReset},
		"gone, and its run is closed":               {answer: errGone, described: info(closed, post.StateProving)},
		"gone, and its run is deleted":              {answer: errGone, describe: serviceerror.NewNotFound("no such workflow")},
		"gone, and another attempt was faster":      {answer: errGone, described: info(running, post.StateSubmitting)},
		"gone, and the partition has landed":        {answer: errGone, described: info(running, post.StateLanded)},
		"gone, and the partition is posted by hand": {answer: errGone, described: info(running, post.StatePosted)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
				return stopped(ctx)
			})
			_, err := prove(t, p, theJob(), nil)
			assert.Contains(t, failed(t, err, post.FailureHandOver, true).Message(), "nobody waits for this proof any more")
			assert.Empty(t, server.signals)
		})
	}
}

// A Temporal that is away costs nothing but the wait.
func TestTemporalIsAwayWhileProving(t *testing.T) {
	for name, c := range map[string]struct {
		back  error // what it answers when it is back
		state post.State
		say   int // signals
	}{
		"and back before the attempt was missed": {nil, "", 0},
		"and back after that":                    {errGone, post.StateProving, 1},
		"and back, with the proof made already":  {errGone, post.StateSubmitting, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := &attempts{answer: serviceerror.NewUnavailable("connection refused"), described: info(running, c.state)}
			proven, returned := make(chan struct{}), make(chan error, 1)
			p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, progress func(post.Progress)) (*prover.Result, error) {
				progress(working)
				assert.True(t, server.more(3))
				assert.NoError(t, ctx.Err(), "it goes on")
				close(proven)
				return aProof(), nil
			})
			var log strings.Builder
			p.Log = slog.New(slog.NewTextHandler(&log, nil))
			go func() {
				_, err := prove(t, p, theJob(), nil)
				returned <- err
			}()
			<-proven
			require.True(t, server.more(3), "it asks again")
			select {
			case <-returned:
				t.Fatal("the SDK would lose the result")
			default:
			}
			server.answers(c.back)
			require.NoError(t, <-returned)
			assert.Len(t, server.signals, c.say)
			assert.Equal(t, 1, strings.Count(log.String(), "does not answer"), "said once")
		})
	}
	t.Run("and then not sure whether the workflow waits", func(t *testing.T) {
		server := &attempts{answer: errGone, describe: serviceerror.NewUnavailable("starting")}
		p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, progress func(post.Progress)) (*prover.Result, error) {
			progress(working)
			assert.True(t, server.more(3))
			assert.NoError(t, ctx.Err(), "doubt does not stop it")
			server.answers(nil)
			return aProof(), nil
		})
		_, err := prove(t, p, theJob(), nil)
		require.NoError(t, err)
	})
}

func TestTheWorkerStops(t *testing.T) {
	t.Run("while proving: the job goes to another worker", func(t *testing.T) {
		stopping := make(chan struct{})
		p := newProver(&attempts{}, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
			close(stopping)
			return stopped(ctx)
		})
		_, err := prove(t, p, theJob(), stopping)
		assert.Contains(t, failed(t, err, post.FailureHandOver, true).Message(), "worker w: the worker is stopping")
	})
	t.Run("while Temporal is away: it does not hold the process up", func(t *testing.T) {
		server := &attempts{answer: serviceerror.NewUnavailable("connection refused")}
		stopping := make(chan struct{})
		p := newProver(server, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
			go func() {
				server.more(5)
				close(stopping)
			}()
			return aProof(), nil
		})
		_, err := prove(t, p, theJob(), stopping)
		require.NoError(t, err)
	})
}
