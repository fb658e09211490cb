package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/workflows"
)

// The stories of a proof whose worker lost Temporal for longer than the heartbeat timeout. The job's activity has an attempt elsewhere,
// or waits for one, when the worker is back and claims the proof.

// theJob is the only one of a story: everybody's proof answers it.
func (s *story) theJob() post.Job {
	return post.Job{Deadline: s.deadline, Partitions: []uint64{0}, ProofType: s.loaded.ProofType, Randomness: challengeOf(1), Sectors: sectors(0, 1)}
}

// claims has a card claim the job every 5 s from one time to another.
func (s *story) claims(card string, from, to time.Duration) {
	for at := from; at <= to; at += 5 * time.Second {
		s.after(at, func() { s.claim(card, s.theJob()) })
	}
}

func (s *story) claim(card string, job post.Job) {
	s.env.SignalWorkflow(workflows.SignalProofClaimed, post.Claim{JobKey: job.Key(), Card: card})
}

// finds delivers a proof without an attempt.
func (s *story) finds(card string) {
	proof := proofOf(s.theJob())
	proof.Card = card
	s.env.SignalWorkflow(workflows.SignalProofFound, proof)
}

func TestClaimedProofIsNotMadeTwice(t *testing.T) {
	s := newStory(t)
	s.proveTime = 30 * time.Minute
	s.claims("w9/gpu3", time.Minute, 3*time.Minute)
	s.after(3*time.Minute+2*time.Second, func() { s.finds("w9/gpu3") })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, "w9/gpu3", result.Partitions[0].Card)
	require.Equal(t, 1, result.Partitions[0].Tries)
	require.Equal(t, []string{"prove-0-1"}, s.ids())
	require.Equal(t, 1, s.cancelled, "the other attempt was let go on")
	require.Empty(t, result.Partitions[0].Reason)
}

func TestClaimThatEndsWithoutAProofCostsNoTry(t *testing.T) {
	s := newStory(t)
	s.claims("w9/gpu3", 30*time.Second, 2*time.Minute)
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []string{"prove-0-1", "prove-0-2"}, s.ids())
	require.Equal(t, 2*time.Minute+20*time.Second, s.times[1], "not 20 s after the last claim")
	require.Equal(t, 1, result.Partitions[0].Tries)
	require.Equal(t, 1, s.jobs[len(s.jobs)-1].Try)
}

func TestClaimBeforeTheNextTryHoldsItBack(t *testing.T) {
	s := newStory(t)
	s.settings.MaxTry = 1 // so that a pause follows
	s.proveTime = 10 * time.Second
	s.prove = func(post.Job) (post.Proof, error) { return post.Proof{}, failure(post.FailureCard, "w1/gpu0") }
	s.claims("w9/gpu3", 15*time.Second, 5*time.Minute)
	s.after(5*time.Minute, func() { s.finds("w9/gpu3") })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w9/gpu3", result.Partitions[0].Card)
	require.Equal(t, []string{"prove-0-1"}, s.ids())
}

func TestClaimWhileTheJobIsRoutedHoldsItBack(t *testing.T) {
	s := newStory(t)
	s.route = func(workflows.RouteInput) (post.Choice, error) {
		if len(s.routed) == 1 {
			s.claim("w9/gpu3", s.theJob())
		}
		return post.Choice{Queue: "wdpost.gpu.0"}, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []string{"prove-0-1"}, s.ids())
	require.Equal(t, 20*time.Second, s.times[0])
	require.Len(t, s.routed, 2, "20 s later the fleet may be another")
}

func TestClaimOfAnotherJobChangesNothing(t *testing.T) {
	s := newStory(t)
	old := s.theJob()
	old.Randomness = challengeOf(2)
	s.after(10*time.Second, func() { s.claim("w9/gpu3", old) })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card)
	require.Equal(t, []string{"prove-0-1"}, s.ids())
	require.Zero(t, s.cancelled)
}

func TestClaimAfterTheProofChangesNothing(t *testing.T) {
	s := newStory(t)
	s.claims("w9/gpu3", 2*time.Minute, 5*time.Minute) // proven after 1 minute
	s.after(5*time.Minute, func() { s.finds("w9/gpu3") })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card)
	require.Equal(t, []string{"prove-0-1"}, s.ids())
	require.Len(t, s.built, 1)
}

func TestTwoCardsClaimTheSameJob(t *testing.T) {
	s := newStory(t)
	s.proveTime = 30 * time.Minute
	s.claims("w8/gpu0", 60*time.Second, 90*time.Second)
	s.claims("w9/gpu3", 62*time.Second, 5*time.Minute)
	s.after(5*time.Minute+time.Second, func() { s.finds("w9/gpu3") })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w9/gpu3", result.Partitions[0].Card)
	require.Equal(t, []string{"prove-0-1"}, s.ids())
}

func TestFalseProofEndsTheClaimAtOnce(t *testing.T) {
	s := newStory(t)
	s.verify = func(in workflows.VerifyInput) bool { return in.Proof.Card != "w9/gpu3" }
	s.claims("w9/gpu3", 30*time.Second, time.Minute)
	s.after(time.Minute+time.Second, func() { s.finds("w9/gpu3") })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card)
	require.Equal(t, time.Minute+time.Second, s.times[1])
}

func TestCardThatFailsGivesItsClaimUpAtOnce(t *testing.T) {
	s := newStory(t)
	s.claims("w9/gpu3", 30*time.Second, time.Minute)
	s.after(time.Minute+time.Second, func() {
		s.env.SignalWorkflow(workflows.SignalProofClaimed, post.Claim{JobKey: s.theJob().Key(), Card: "w9/gpu3", Over: true})
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card)
	require.Equal(t, []string{"prove-0-1", "prove-0-2"}, s.ids())
	require.Equal(t, time.Minute+time.Second, s.times[1])
	require.Equal(t, 1, result.Partitions[0].Tries)
}

func TestResetOverrulesAClaim(t *testing.T) {
	s := newStory(t)
	s.claims("w9/gpu3", 30*time.Second, 10*time.Minute)
	s.after(2*time.Minute+2*time.Second, func() { s.reset(workflows.ResetJobs{Partitions: []uint64{0}}) })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card, "the card that holds the job may be why it was reset")
	require.Equal(t, []string{"prove-0-1", "prove-0-2"}, s.ids())
	require.Equal(t, 2*time.Minute+2*time.Second, s.times[1])
	require.Equal(t, 1, s.cancelled)
}

func TestNothingGoesOnAfterCloseBecauseOfAClaim(t *testing.T) {
	s := newStory(t)
	s.claims("w9/gpu3", time.Minute, time.Duration(s.deadline.Close-s.deadline.Challenge+10)*epoch)
	result, err := s.run()
	require.ErrorContains(t, err, "w9/gpu3 goes on with the proof")
	require.Equal(t, post.StateMissed, result.State)
	require.Equal(t, []string{"prove-0-1"}, s.ids())
}

func TestRunFromBeforeRoutingKnowsNoClaims(t *testing.T) {
	s := newStory(t)
	s.unrouted = true
	s.claims("w9/gpu3", 10*time.Second, 5*time.Minute)
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card, "a history in which an older daemon passed the claims over would not replay")
	require.Zero(t, s.cancelled)
}
