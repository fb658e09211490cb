package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"posthaste/post"
	"posthaste/workflows"
)

// story is a deadline with the chain, the cards and the sender around it played by the test. Time is skipped; epochs are 30 s
// of the skipped time.
type story struct {
	*testing.T
	env      *testsuite.TestWorkflowEnvironment
	deadline post.Deadline
	settings post.Settings
	loaded   post.Loaded
	genesis  time.Time // when epoch 0 was

	located   func(in workflows.PartitionInput) (post.Located, error)
	prove     func(job post.Job) (post.Proof, error)
	proveTime time.Duration
	send      func(r post.MessageRequest) post.MessageSettled
	node      error // what reading the deadline fails with

	noChallenge error // what reading the challenge fails with

	faulty    map[uint64][]abi.SectorNumber
	challenge func(times int) []byte
	verify    func(in workflows.VerifyInput) bool
	receipt   func(times int) workflows.Receipt

	jobs     []post.Job
	requests []post.MessageRequest
	built    []workflows.BuildInput
	asked    int // for the challenge
	confirms int
	ahead    abi.ChainEpoch
	resets   int
}

const epoch = 30 * time.Second

// newStory is a deadline with one partition of two good sectors, of which everything succeeds.
func newStory(t *testing.T) *story {
	s := &story{T: t, settings: post.DefaultSettings(), proveTime: time.Minute}
	s.settings.EpochDuration = epoch
	s.deadline = post.Deadline{Miner: 1000, Index: 3, PeriodStart: 0, Challenge: 160, Open: 180, Close: 240}
	s.loaded = post.Loaded{ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Sender: "f3sender",
		Partitions: []post.Partition{{Index: 0, Live: 2, ToProve: 2}}}
	s.located = func(in workflows.PartitionInput) (post.Located, error) { return post.Located{Sectors: in.Sectors}, nil }
	s.prove = func(job post.Job) (post.Proof, error) { return proofOf(job), nil }
	s.send = func(r post.MessageRequest) post.MessageSettled {
		return post.MessageSettled{ID: r.ID, Lost: r.Lost, Outcome: post.OutcomeLanded, Message: "bafy" + r.ID, Landed: s.now() + 2}
	}
	s.challenge = func(int) []byte { return challengeOf(1) }
	s.verify = func(workflows.VerifyInput) bool { return true }
	s.receipt = func(int) workflows.Receipt {
		return workflows.Receipt{Found: true, Message: "bafy", Epoch: s.now() - 10}
	}

	var suite testsuite.WorkflowTestSuite
	s.env = suite.NewTestWorkflowEnvironment()
	s.env.SetTestTimeout(20 * time.Second)
	s.env.RegisterWorkflow(workflows.DeadlineWorkflow)
	s.play()
	return s
}

func challengeOf(b byte) []byte { return []byte(strings.Repeat(string(rune(b)), 32)) }

func proofOf(job post.Job) post.Proof {
	return post.Proof{JobKey: job.Key(), ProofType: job.ProofType, Bytes: []byte("proof"), Card: "w1/gpu0"}
}

func sectors(numbers ...abi.SectorNumber) post.Sectors {
	var out post.Sectors
	for _, n := range numbers {
		out = append(out, post.Sector{Number: n, CommR: [32]byte{byte(n)}, Store: "a"})
	}
	return out
}

// now is the chain's epoch. The activity that waits for one cannot wait in skipped time; where it would have, it runs ahead.
func (s *story) now() abi.ChainEpoch {
	return max(s.ahead, abi.ChainEpoch(s.env.Now().Sub(s.genesis)/epoch))
}

// play registers the activities.
func (s *story) play() {
	register := func(name string, f any) { s.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register(workflows.ActivityAwaitEpoch, func(_ context.Context, in workflows.AwaitInput) (abi.ChainEpoch, error) {
		if now := s.now(); now < in.Target-2 {
			return now, nil
		}
		s.ahead = max(s.ahead, in.Target)
		return s.now(), nil
	})
	register(workflows.ActivityLoadDeadline, func(context.Context, workflows.LoadInput) (post.Loaded, error) {
		s.loaded.Head = s.now()
		return s.loaded, s.node
	})
	register(workflows.ActivityLoadPartition, func(_ context.Context, in workflows.PartitionInput) (post.Sectors, error) {
		first := abi.SectorNumber(10 * in.Partition)
		return sectors(first, first+1), nil
	})
	register(workflows.ActivityLookupSectors, func(_ context.Context, in workflows.PartitionInput) (post.Located, error) { return s.located(in) })
	register(workflows.ActivityChallengeRandomness, func(context.Context, post.Deadline) ([]byte, error) {
		s.asked++
		return s.challenge(s.asked), s.noChallenge
	})
	register(workflows.ActivityVerifyProof, func(_ context.Context, in workflows.VerifyInput) (bool, error) { return s.verify(in), nil })
	register(workflows.ActivityBuildPost, func(_ context.Context, in workflows.BuildInput) (workflows.BuiltPost, error) {
		s.built = append(s.built, in)
		if now := s.challenge(s.asked + 1); string(now) != string(in.Randomness) {
			return workflows.BuiltPost{}, temporal.NewNonRetryableApplicationError("changed", workflows.ErrorRandomnessChanged, nil)
		}
		return workflows.BuiltPost{Method: 5, To: "f01000", Params: in.Proof.Bytes}, nil
	})
	register(workflows.ActivityRequestMessage, func(_ context.Context, r post.MessageRequest) error {
		s.requests = append(s.requests, r)
		if settled := s.send(r); settled.ID != "" {
			s.env.RegisterDelayedCallback(func() { s.env.SignalWorkflow(workflows.SignalMessageSettled, settled) }, epoch)
		}
		return nil
	})
	register(workflows.ActivityConfirmMessage, func(_ context.Context, in workflows.ConfirmInput) (workflows.Receipt, error) {
		s.confirms++
		return s.receipt(s.confirms), nil
	})
	register(workflows.ActivityCheckDeadline, func(context.Context, post.Deadline) (workflows.Checked, error) {
		return workflows.Checked{Faulty: s.faulty}, nil
	})
	register(workflows.ActivityGenerateWindowPoSt, func(context.Context, post.Job) (post.Proof, error) {
		return post.Proof{}, errors.New("replaced by the mock")
	})
}

// run starts the workflow at Challenge + 1 and gives its result, whether it completed or failed.
func (s *story) run() (post.Result, error) {
	s.genesis = s.env.Now().Add(-time.Duration(s.deadline.Challenge+1) * epoch)
	s.env.OnActivity(workflows.ActivityGenerateWindowPoSt, mock.Anything, mock.Anything).After(s.proveTime).Return(
		func(_ context.Context, job post.Job) (post.Proof, error) {
			s.jobs = append(s.jobs, job)
			return s.prove(job)
		})
	s.env.ExecuteWorkflow(workflows.DeadlineWorkflow, workflows.DeadlineInput{Deadline: s.deadline, Head: s.now(), Settings: s.settings})
	require.True(s, s.env.IsWorkflowCompleted(), "the workflow has not ended")
	var result post.Result
	err := s.env.GetWorkflowError()
	var failed *temporal.ApplicationError
	switch {
	case err == nil:
		require.NoError(s, s.env.GetWorkflowResult(&result))
	case errors.As(err, &failed) && failed.Type() == workflows.ErrorDeadlineMissed:
		require.NoError(s, failed.Details(&result))
	default:
		require.NoError(s, err)
	}
	return result, err
}

// at does something when the chain is at an epoch.
func (s *story) at(e abi.ChainEpoch, do func()) {
	s.env.RegisterDelayedCallback(do, time.Duration(e-s.deadline.Challenge-1)*epoch)
}

// reset sends the operator's update.
func (s *story) reset(in workflows.ResetJobs) *updated {
	u := new(updated)
	s.resets++
	s.env.UpdateWorkflow(workflows.UpdateReset, fmt.Sprintf("reset %d", s.resets), u, in)
	return u
}

type updated struct{ rejected, failed error }

func (u *updated) Accept()          {}
func (u *updated) Reject(err error) { u.rejected = err }
func (u *updated) Complete(_ any, err error) {
	u.failed = err
}

func failure(kind post.Failure, card string) error {
	return temporal.NewNonRetryableApplicationError("as the test wants", string(kind), nil, card)
}

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

func TestChallengeThatCannotBeReadIsMissedWithTheNodesWord(t *testing.T) {
	s := newStory(t)
	s.noChallenge = errors.New("beacon entry not found")
	result, err := s.run()
	require.ErrorContains(t, err, "beacon entry not found")
	require.Equal(t, post.StateMissed, result.State)
}
