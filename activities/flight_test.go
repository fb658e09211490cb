package activities_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
)

// shared is a worker with two groups of cards, each with a Temporal of its own, so that a test can tell their attempts apart.
type shared struct {
	servers [2]*attempts
	provers [2]*activities.Prover
	asked   atomic.Int32
	begun   chan struct{} // a card has begun
	proven  chan error    // what it ends with
}

func newShared() *shared {
	s := &shared{begun: make(chan struct{}, 10), proven: make(chan error)}
	proofs := activities.NewProofs()
	for i := range s.provers {
		s.servers[i] = &attempts{described: info(running, post.StateProving)}
		s.provers[i] = newProver(s.servers[i], func(ctx context.Context, _ prover.Task, _ []string, progress func(post.Progress)) (*prover.Result, error) {
			s.asked.Add(1)
			progress(working)
			s.begun <- struct{}{}
			select {
			case err := <-s.proven:
				return aProof(), err
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(patience):
				return nil, errors.New("nothing happened")
			}
		})
		s.provers[i].Proofs = proofs
	}
	return s
}

// outcome is how an attempt ended.
type outcome struct {
	proof post.Proof
	err   error
}

// start runs an attempt in one of the groups.
func (s *shared) start(t *testing.T, i int, job post.Job) <-chan outcome {
	ended := make(chan outcome, 1)
	go func() {
		proof, err := prove(t, s.provers[i], job, nil)
		ended <- outcome{proof, err}
	}()
	return ended
}

// showing waits until a group's heartbeats tell of the card.
func (s *shared) showing(t *testing.T, i int) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.servers[i].mu.Lock()
		defer s.servers[i].mu.Unlock()
		n := len(s.servers[i].beats)
		return n > 0 && s.servers[i].beats[n-1].Card == "w/c0"
	}, patience, time.Millisecond)
}

func TestTwoAttemptsShareAProof(t *testing.T) {
	s := newShared()
	first := s.start(t, 0, theJob())
	<-s.begun
	job := theJob()
	job.Try = 2
	second := s.start(t, 1, job)
	s.showing(t, 1)
	s.proven <- nil
	a, b := <-first, <-second
	require.NoError(t, a.err)
	require.NoError(t, b.err)
	assert.Equal(t, a.proof, b.proof)
	assert.EqualValues(t, 1, s.asked.Load(), "one card works")
}

func TestTwoAttemptsShareAFailure(t *testing.T) {
	s := newShared()
	first := s.start(t, 0, theJob())
	<-s.begun
	second := s.start(t, 1, theJob())
	s.showing(t, 1)
	s.proven <- &prover.CardError{Card: "c0", Kind: prover.ErrCardCrashed}
	failed(t, (<-first).err, post.FailureCard, false)
	failed(t, (<-second).err, post.FailureCard, false)
}

func TestJobsThatMustNotShare(t *testing.T) {
	for name, change := range map[string]func(*post.Job){
		"its card is to be avoided":    func(j *post.Job) { j.AvoidCards = []string{"w/c0"} },
		"another challenge":            func(j *post.Job) { j.Randomness[0]++ },
		"other sectors":                func(j *post.Job) { j.Sectors = j.Sectors[:1] },
		"an operator had it run again": func(j *post.Job) { j.Again = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared()
			first := s.start(t, 0, theJob())
			<-s.begun
			job := theJob()
			change(&job)
			second := s.start(t, 1, job)
			<-s.begun
			s.proven <- nil
			s.proven <- nil
			require.NoError(t, (<-first).err)
			require.NoError(t, (<-second).err)
			assert.EqualValues(t, 2, s.asked.Load())
		})
	}
}

func TestOneOfTwoAttemptsEnds(t *testing.T) {
	for name, server := range map[string]func(*attempts){
		"cancelled":           func(a *attempts) { a.answers(temporal.NewCanceledError()) },
		"timed out, unheeded": func(a *attempts) { a.answers(errGone) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared()
			first := s.start(t, 0, theJob())
			<-s.begun
			second := s.start(t, 1, theJob())
			s.showing(t, 1)
			server(s.servers[0])
			failed(t, (<-first).err, post.FailureHandOver, true)
			assert.Empty(t, s.servers[0].claimed(), "the other attempt delivers it the usual way")
			s.proven <- nil
			end := <-second
			require.NoError(t, end.err, "the proof goes on for the other one")
			assert.EqualValues(t, 1, s.asked.Load())
		})
	}
	t.Run("and then the other one", func(t *testing.T) {
		s := newShared()
		first := s.start(t, 0, theJob())
		<-s.begun
		second := s.start(t, 1, theJob())
		s.showing(t, 1)
		s.servers[0].answers(temporal.NewCanceledError())
		s.servers[1].answers(temporal.NewCanceledError())
		failed(t, (<-first).err, post.FailureHandOver, true)
		failed(t, (<-second).err, post.FailureHandOver, true)
	})
}

// Once the workflow has been told, it cancels whoever else it has asked: the one that claimed must not rely on them.
func TestAClaimIsNotGivenUp(t *testing.T) {
	s := newShared()
	first := s.start(t, 0, theJob())
	<-s.begun
	s.servers[0].answers(errGone)
	require.Eventually(t, func() bool { return len(s.servers[0].claimed()) > 0 }, patience, time.Millisecond)
	second := s.start(t, 1, theJob())
	s.showing(t, 1)
	require.True(t, s.servers[0].more(3))
	s.servers[1].answers(temporal.NewCanceledError())
	failed(t, (<-second).err, post.FailureHandOver, true)
	s.proven <- nil
	require.NoError(t, (<-first).err)
	assert.Len(t, s.servers[0].signals, 1)
}

// A reset or a new run of the deadline wants a new proof: perhaps the first one's card is why.
func TestAnotherRunDoesNotShare(t *testing.T) {
	assert.True(t, activities.Shares(t.Context(), theJob(), "run", "run"))
	assert.False(t, activities.Shares(t.Context(), theJob(), "run", "another"))
}

func TestProvingPanics(t *testing.T) {
	p := newProver(&attempts{}, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
		panic("no more memory")
	})
	_, err := prove(t, p, theJob(), nil)
	assert.Contains(t, failed(t, err, post.FailureProve, false).Message(), "proving panicked: no more memory")
}
