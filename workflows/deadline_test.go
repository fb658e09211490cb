package workflows_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

func TestEverythingGoesWell(t *testing.T) {
	s := newStory(t)
	s.loaded.Partitions = append(s.loaded.Partitions, post.Partition{Index: 1, Live: 2, ToProve: 2})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.ElementsMatch(t, []string{"wdpost-f01000-0-3/p0/1", "wdpost-f01000-0-3/p1/1"}, []string{s.requests[0].ID, s.requests[1].ID})
	require.GreaterOrEqual(t, result.Partitions[0].Landed, s.deadline.Open+s.settings.SubmitConfidence, "submitted before Open + confidence")
	require.Equal(t, "w1/gpu0", result.Partitions[1].Card)
	p := result.Partitions[0]
	require.False(t, p.Issued.IsZero())
	require.Equal(t, s.proveTime, p.Proven.Sub(p.Issued), "lists tell how long a job took by these")
	require.Equal(t, s.deadline.Open+s.settings.SubmitConfidence, p.Asked, "the epoch at which its message was asked for")
	require.True(t, p.Updated.After(p.Proven))
	require.Greater(t, s.now(), s.deadline.Close, "the chain was not asked after Close")
}

func TestNothingToProve(t *testing.T) {
	s := newStory(t)
	s.loaded.Partitions = []post.Partition{{Index: 0, Live: 2, Faulty: 2}, {Index: 1}}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StateNothing, result.State)
	require.Empty(t, s.jobs)
}

func TestPartitionThatIsPostedAlreadyIsNotProvenAgain(t *testing.T) {
	s := newStory(t)
	s.loaded.Partitions = []post.Partition{{Index: 0, Live: 2, ToProve: 2, Posted: true}, {Index: 1, Live: 2, ToProve: 2}}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 1)
	require.Equal(t, []uint64{1}, s.jobs[0].Partitions)
}

func TestPostThatAReorgDropsAfterTheWorkflowStartedIsMade(t *testing.T) {
	s := newStory(t)
	s.loaded.Partitions[0].Posted = true
	s.at(165, func() { s.loaded.Partitions = []post.Partition{{Index: 0, Live: 2, ToProve: 2}} })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 1, "nobody else would have noticed")
}

func TestMissingSectorsAreLookedForAgainWhileAStoreWasNeverReadable(t *testing.T) {
	s := newStory(t)
	lookups := 0
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		if lookups++; lookups < 5 {
			return post.Located{Sectors: in.Sectors[:1], Missing: []post.Skipped{{Sector: 1, Reason: "in no store"}}, Undecided: "store b has not been readable"}, nil
		}
		return post.Located{Sectors: in.Sectors}, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Empty(t, result.Partitions[0].Skipped, "a sector that a mount would have brought back was declared faulty")
}

func TestMissingSectorsAreSkippedWhenTheDeadlineOpensAndNobodyKnows(t *testing.T) {
	s := newStory(t)
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		return post.Located{Sectors: in.Sectors[:1], Missing: []post.Skipped{{Sector: 1, Reason: "in no store"}}, Undecided: "store b has not been readable"}, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, result.Partitions[0].Skipped, 1)
}

func TestCancelledDeadlineIsNotCalledMissed(t *testing.T) {
	s := newStory(t)
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, time.Minute)
	s.genesis = s.env.Now().Add(-time.Duration(s.deadline.Challenge-20) * epoch) // it waits for the challenge
	s.env.ExecuteWorkflow(workflows.DeadlineWorkflow, workflows.DeadlineInput{Deadline: s.deadline, Head: s.now(), Settings: s.settings})
	require.True(t, temporal.IsCanceledError(s.env.GetWorkflowError()), "%v", s.env.GetWorkflowError())
}

func TestBadSectorsAreSkippedAndReported(t *testing.T) {
	s := newStory(t)
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		return post.Located{Sectors: in.Sectors[1:], Missing: []post.Skipped{{Sector: 0, Reason: "in no store"}}}, nil
	}
	s.loaded.Partitions[0].ToProve = 2
	s.prove = func(job post.Job) (post.Proof, error) {
		p := proofOf(job)
		p.Skipped = []post.Skipped{{Sector: 7, Reason: "bit rot"}}
		return p, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []post.Skipped{{Sector: 0, Reason: "in no store"}, {Sector: 7, Reason: "bit rot"}}, s.built[0].Skipped)
	require.Equal(t, s.built[0].Skipped, result.Partitions[0].Skipped)
}

func TestPartitionWithoutAnySectorComesBackWithItsStore(t *testing.T) {
	s := newStory(t)
	lookups := 0
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		if lookups++; lookups < 4 {
			return post.Located{Missing: []post.Skipped{{Sector: 0, Reason: "store a is not mounted"}, {Sector: 1, Reason: "store a is not mounted"}}}, nil
		}
		return post.Located{Sectors: in.Sectors}, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Empty(t, result.Partitions[0].Skipped, "sectors that came back are still skipped")
}

func TestPartitionWithoutAnySectorIsMissedWithItsReason(t *testing.T) {
	s := newStory(t)
	s.located = func(workflows.PartitionInput) (post.Located, error) {
		return post.Located{Missing: []post.Skipped{{Sector: 0, Reason: "store a is not mounted"}}}, nil
	}
	result, err := s.run()
	require.ErrorContains(t, err, "store a is not mounted")
	require.Equal(t, post.StateMissed, result.State)
	require.Empty(t, s.requests, "the actor refuses a post without a good sector")
}

func TestOutOfTriesAndTriedAgainOnAnotherCard(t *testing.T) {
	s := newStory(t)
	s.prove = func(job post.Job) (post.Proof, error) {
		if len(s.jobs) <= 3 {
			return post.Proof{}, failure(post.FailureCard, fmt.Sprintf("w1/gpu%d", len(s.jobs)))
		}
		return proofOf(job), nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, 4, result.Partitions[0].Tries)
	require.Equal(t, []string{"w1/gpu1", "w1/gpu2", "w1/gpu3"}, s.jobs[3].AvoidCards)
}

func TestOutOfTriesStaysFailedUntilAnOperatorResetsIt(t *testing.T) {
	s := newStory(t)
	s.settings.RetryUntilClose = false
	broken := true
	s.prove = func(job post.Job) (post.Proof, error) {
		if broken {
			return post.Proof{}, failure(post.FailureProve, "")
		}
		return proofOf(job), nil
	}
	var triesBefore int
	var typo, accepted *updated
	s.at(200, func() {
		triesBefore, broken = len(s.jobs), false
		typo = s.reset(workflows.ResetJobs{Partitions: []uint64{9}})
		accepted = s.reset(workflows.ResetJobs{})
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, 2, triesBefore, "damocles's two tries and no more")
	require.ErrorContains(t, typo.rejected, "no partition 9")
	require.NoError(t, accepted.rejected)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, 1, result.Partitions[0].Tries, "a reset puts the tries back to 0")
	require.Empty(t, s.jobs[2].AvoidCards)
}

func TestResetWhileProvingBeginsAgain(t *testing.T) {
	s := newStory(t)
	s.proveTime = 5 * time.Minute
	s.at(163, func() { s.reset(workflows.ResetJobs{Partitions: []uint64{0}}) })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, 1, result.Partitions[0].Tries)
	require.Len(t, s.jobs, 2)
	require.Equal(t, []int{0, 1}, []int{s.jobs[0].Again, s.jobs[1].Again}, "what is in the making is not taken for the new one")
	require.Len(t, s.requests, 1)
}

func TestStoreThatIsNotAttachedCostsNoTry(t *testing.T) {
	s := newStory(t)
	s.prove = func(job post.Job) (post.Proof, error) {
		if len(s.jobs) < 6 {
			return post.Proof{}, failure(post.FailureNoStore, "")
		}
		return proofOf(job), nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, 1, result.Partitions[0].Tries)
}

func TestFalseProofIsCountedAndMadeElsewhere(t *testing.T) {
	s := newStory(t)
	checks := 0
	s.verify = func(workflows.VerifyInput) bool { checks++; return checks > 1 }
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, 2, result.Partitions[0].Tries)
	require.Equal(t, []string{"w1/gpu0"}, s.jobs[1].AvoidCards)
	require.Len(t, s.built, 1, "a false proof got near the chain")
}

func TestClosedBeforeProven(t *testing.T) {
	s := newStory(t)
	s.prove = func(post.Job) (post.Proof, error) { return post.Proof{}, failure(post.FailureCard, "w1/gpu0") }
	result, err := s.run()
	require.ErrorContains(t, err, "CardDied")
	require.Equal(t, post.StateMissed, result.State)
	require.Contains(t, result.Partitions[0].Reason, "not proven before the deadline closed")
	require.GreaterOrEqual(t, s.now(), s.deadline.Close)
}

func TestProofArrivesBySignalAndEndsTheAttempt(t *testing.T) {
	s := newStory(t)
	s.proveTime = 12 * time.Hour
	job := post.Job{Deadline: s.deadline, Partitions: []uint64{0}, ProofType: s.loaded.ProofType, Randomness: challengeOf(1), Sectors: sectors(0, 1)}
	s.at(170, func() {
		other := proofOf(job)
		other.JobKey = "of another job"
		s.env.SignalWorkflow(workflows.SignalProofFound, other)
	})
	s.at(190, func() {
		late := proofOf(job)
		late.Card = "w9/gpu3"
		s.env.SignalWorkflow(workflows.SignalProofFound, late)
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, "w9/gpu3", result.Partitions[0].Card)
}

func TestFalseProofBySignalIsNotTaken(t *testing.T) {
	s := newStory(t)
	s.proveTime = 10 * time.Minute
	s.verify = func(in workflows.VerifyInput) bool { return in.Proof.Card != "stranger" }
	job := post.Job{Deadline: s.deadline, Partitions: []uint64{0}, ProofType: s.loaded.ProofType, Randomness: challengeOf(1), Sectors: sectors(0, 1)}
	s.at(165, func() {
		p := proofOf(job)
		p.Card = "stranger"
		s.env.SignalWorkflow(workflows.SignalProofFound, p)
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card)
}

func TestChangedChallengeIsProvenAnew(t *testing.T) {
	s := newStory(t)
	s.challenge = func(times int) []byte {
		if times < 2 {
			return challengeOf(1)
		}
		return challengeOf(2)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 2)
	require.Equal(t, challengeOf(2), s.jobs[1].Randomness)
}

func TestRefusedMessageIsBuiltAnew(t *testing.T) {
	s := newStory(t)
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 1 {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeFailed, ExitCode: 16, Reason: "exit code 16"}
		}
		return landed(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, "wdpost-f01000-0-3/p0/2", s.requests[1].ID)
	require.Len(t, s.jobs, 1, "a proof is not made again for its message")
}

func TestMessageOfANewProofIsNotTakenForThatOfTheOldOne(t *testing.T) {
	s := newStory(t)
	changed := false
	s.challenge = func(int) []byte {
		if changed {
			return challengeOf(2)
		}
		return challengeOf(1)
	}
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 1 {
			changed = true // a reorg: the message fails, and so does the proof in it
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeFailed, ExitCode: 16, Reason: "exit code 16"}
		}
		return landed(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2, "the old message's outcome was taken for the new one's")
	require.Equal(t, "wdpost-f01000-0-3/p0/2", s.requests[1].ID)
}

func TestMessageDroppedByAReorgIsSentAgainAsTheSame(t *testing.T) {
	s := newStory(t)
	there := s.receipt
	s.receipt = func(times int) workflows.Receipt {
		if times == 1 {
			return workflows.Receipt{}
		}
		return there(times)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.Equal(t, s.requests[0].ID, s.requests[1].ID)
	require.Equal(t, 1, s.requests[1].Lost)
}

func TestMessageThatNeverLandsIsMissedWithItsReason(t *testing.T) {
	s := newStory(t)
	s.send = func(r post.MessageRequest) post.MessageSettled {
		s.at(s.deadline.Close+1, func() {})
		return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeExpired, Message: "bafylost", Reason: "it had not landed at epoch 240"}
	}
	result, err := s.run()
	require.ErrorContains(t, err, "bafylost")
	require.Equal(t, post.StateMissed, result.State)
}

func TestSenderThatNeverAnswersDoesNotHoldTheDeadlineForEver(t *testing.T) {
	s := newStory(t)
	s.send = func(post.MessageRequest) post.MessageSettled { return post.MessageSettled{} }
	s.env.RegisterDelayedCallback(func() {
		require.Equal(t, post.StateSubmitting, s.board.State)
		require.Positive(t, s.board.Partitions[0].Asked, "people see since when it should have landed")
	}, time.Duration(s.deadline.Close-2-s.deadline.Challenge)*epoch)
	result, err := s.run()
	require.ErrorContains(t, err, "did not answer")
	require.Equal(t, post.StateMissed, result.State)
}

func TestChainHoldsAPostedSectorFaultyAfterClose(t *testing.T) {
	s := newStory(t)
	s.faulty = map[uint64][]abi.SectorNumber{0: {1}}
	result, err := s.run()
	require.ErrorContains(t, err, "holds sectors 1 of it faulty")
	require.Equal(t, post.StateMissed, result.State)
}

// The sender has got the message onto the chain and died; or an operator has reset a completed deadline to before its proof.
func TestWhatTheChainHasIsNotMissed(t *testing.T) {
	s := newStory(t)
	s.send = func(post.MessageRequest) post.MessageSettled { return post.MessageSettled{} }
	s.posted = []uint64{0}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Contains(t, result.Partitions[0].Reason, "the chain has a post of it")
	require.Contains(t, result.Partitions[0].Reason, "did not answer", "what became of this run's own")

	s = newStory(t)
	s.send = func(post.MessageRequest) post.MessageSettled { return post.MessageSettled{} }
	s.posted, s.faulty = []uint64{0}, map[uint64][]abi.SectorNumber{0: {1}}
	_, err = s.run()
	require.ErrorContains(t, err, "holds sectors 1 of it faulty")
}

func TestSkippedSectorMayBeFaultyAfterClose(t *testing.T) {
	s := newStory(t)
	s.faulty = map[uint64][]abi.SectorNumber{0: {1}}
	s.prove = func(job post.Job) (post.Proof, error) {
		p := proofOf(job)
		p.Skipped = []post.Skipped{{Sector: 1, Reason: "gone"}}
		return p, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
}

func TestDeadlineThatCannotBeReadIsMissedWithTheNodesWord(t *testing.T) {
	s := newStory(t)
	s.node = errors.New("the node cannot be reached: connection refused")
	result, err := s.run()
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, post.StateMissed, result.State)
}

func TestMessageStillBeingBuiltAtCloseIsMissedWithThatReason(t *testing.T) {
	s := newStory(t)
	s.env.OnActivity(workflows.ActivityBuildPost, mock.Anything, mock.Anything).After(time.Hour).Return(workflows.BuiltPost{}, nil)
	_, err := s.run()
	require.ErrorContains(t, err, "its message was still being built then")
}

func TestWhatCameOfTheMessageBeforeIsToldWithOneStillBeingBuiltAtClose(t *testing.T) {
	s := newStory(t)
	first := workflows.BuiltPost{Method: 5, To: "f01000", Params: []byte{1}}
	s.env.OnActivity(workflows.ActivityBuildPost, mock.Anything, mock.Anything).Return(first, nil).Once()
	s.env.OnActivity(workflows.ActivityBuildPost, mock.Anything, mock.Anything).After(time.Hour).Return(workflows.BuiltPost{}, nil)
	s.send = func(r post.MessageRequest) post.MessageSettled {
		return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeRefused, Reason: "pushing it: not enough funds"}
	}
	_, err := s.run()
	require.ErrorContains(t, err, "its message was still being built then")
	require.ErrorContains(t, err, "not enough funds")
}

func TestChallengeThatCannotBeReadIsMissedWithTheNodesWord(t *testing.T) {
	s := newStory(t)
	s.noChallenge = errors.New("beacon entry not found")
	result, err := s.run()
	require.ErrorContains(t, err, "beacon entry not found")
	require.Equal(t, post.StateMissed, result.State)
}
