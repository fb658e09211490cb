package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"posthaste/post"
	"posthaste/workflows"
)

// tryOut is a trial with the chain and the cards played by the test. Time is skipped.
type tryOut struct {
	*testing.T
	env   *testsuite.TestWorkflowEnvironment
	in    workflows.ComputeInput
	found workflows.Found

	partitions []post.Partition
	located    func(workflows.PartitionInput) (post.Located, error)
	checked    workflows.CheckedSectors
	route      func(workflows.RouteInput) post.Choice
	prove      func(context.Context, post.Job) (post.Proof, error)
	verify     func(workflows.VerifyInput) bool

	jobs       []post.Job
	issued     []activity.Info
	challenged []abi.ChainEpoch
	looks      int // questions where a job would wait
}

func newTryOut(t *testing.T) *tryOut {
	s := &tryOut{T: t, in: workflows.ComputeInput{Miner: 1000, Index: 3, Patience: time.Minute, Limit: time.Hour}}
	s.found = workflows.Found{Deadline: post.Deadline{Miner: 1000, Index: 3, PeriodStart: 0, Challenge: 160, Open: 180, Close: 240}, Known: true,
		Head: 300, Deadlines: 48, EpochDuration: epoch}
	s.partitions = []post.Partition{{Index: 0, Live: 2, ToProve: 2}}
	s.located = func(in workflows.PartitionInput) (post.Located, error) { return post.Located{Sectors: in.Sectors}, nil }
	s.route = func(workflows.RouteInput) post.Choice { return post.Choice{Queue: "wdpost.gpu.0", Priority: 3} }
	s.prove = func(_ context.Context, job post.Job) (post.Proof, error) { return proofOf(job), nil }
	s.verify = func(workflows.VerifyInput) bool { return true }
	var suite testsuite.WorkflowTestSuite
	s.env = suite.NewTestWorkflowEnvironment()
	s.env.SetTestTimeout(20 * time.Second)
	register := func(name string, f any) { s.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register(workflows.ActivityFindDeadline, func(context.Context, workflows.FindInput) (workflows.Found, error) { return s.found, nil })
	register(workflows.ActivityLoadDeadline, func(context.Context, workflows.LoadInput) (post.Loaded, error) {
		return post.Loaded{Head: 300, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Partitions: s.partitions}, nil
	})
	register(workflows.ActivityChallengeRandomness, func(_ context.Context, d post.Deadline) ([]byte, error) {
		s.challenged = append(s.challenged, d.Challenge)
		return challengeOf(1), nil
	})
	register(workflows.ActivityLoadPartition, func(_ context.Context, in workflows.PartitionInput) (post.Sectors, error) {
		return sectors(abi.SectorNumber(2*in.Partition), abi.SectorNumber(2*in.Partition+1)), nil
	})
	register(workflows.ActivityLookupSectors, func(_ context.Context, in workflows.PartitionInput) (post.Located, error) { return s.located(in) })
	register(workflows.ActivityCheckSectors, func(context.Context, workflows.CheckSectorsInput) (workflows.CheckedSectors, error) {
		return s.checked, nil
	})
	register(workflows.ActivityRouteJob, func(_ context.Context, in workflows.RouteInput) (post.Choice, error) {
		if in.Look {
			s.looks++
		}
		return s.route(in), nil
	})
	register(workflows.ActivityGenerateWindowPoSt, func(ctx context.Context, job post.Job) (post.Proof, error) {
		s.jobs, s.issued = append(s.jobs, job), append(s.issued, activity.GetInfo(ctx))
		return s.prove(ctx, job)
	})
	register(workflows.ActivityVerifyProof, func(_ context.Context, in workflows.VerifyInput) (bool, error) { return s.verify(in), nil })
	return s
}

func (s *tryOut) run() (post.Trial, error) {
	s.env.ExecuteWorkflow(workflows.ComputeWorkflow, s.in)
	require.True(s, s.env.IsWorkflowCompleted())
	var result post.Trial
	if err := s.env.GetWorkflowError(); err != nil {
		return result, err
	}
	return result, s.env.GetWorkflowResult(&result)
}

func TestTrialProvesAndSendsNothing(t *testing.T) {
	s := newTryOut(t)
	s.partitions = append(s.partitions, post.Partition{Index: 1, Live: 4, Faulty: 2, Recovering: 1, ToProve: 2}, post.Partition{Index: 2, Live: 1, Faulty: 1})
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		if in.Partition == 1 {
			return post.Located{Sectors: in.Sectors[:1], Missing: []post.Skipped{{Sector: 3, Reason: "in no store"}}}, nil
		}
		return post.Located{Sectors: in.Sectors}, nil
	}
	s.prove = func(_ context.Context, job post.Job) (post.Proof, error) {
		p := proofOf(job)
		p.Phases = post.PhaseTimes{Vanilla: time.Second, Snark: 3 * time.Second}
		return p, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, []abi.ChainEpoch{160}, s.challenged)
	require.Len(t, s.jobs, 2)
	for _, job := range s.jobs {
		require.NotEmpty(t, job.Trial, "a deadline's own job has no other key")
	}
	require.Equal(t, 3, len(result.Partitions))
	require.Equal(t, 2, result.Of)
	p := result.Partitions[1]
	require.Equal(t, post.StateProven, p.State)
	require.True(t, p.Verified)
	require.Equal(t, []byte("proof"), p.Proof)
	require.Equal(t, "3", p.SkippedSectors)
	require.Equal(t, 1, p.Sectors)
	require.Equal(t, 1, p.Faulty, "the recovering one is proven")
	require.Equal(t, post.StateNothing, result.Partitions[2].State)
	require.Equal(t, 69*epoch, result.Window, "from Challenge + 1 to Close - 10")
	require.Equal(t, 4*time.Second, result.Slowest())
}

func TestTrialOfAYoungChainAnswersTheHead(t *testing.T) {
	s := newTryOut(t)
	s.found.Known, s.found.Head = false, 100
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, []abi.ChainEpoch{100}, s.challenged)
	require.EqualValues(t, 100, result.Answered)
}

func TestTrialHasOneTry(t *testing.T) {
	s := newTryOut(t)
	s.prove = func(context.Context, post.Job) (post.Proof, error) {
		return post.Proof{}, failure(post.FailureCard, "w1/gpu0")
	}
	result, err := s.run()
	require.NoError(t, err, "what could not be proven is a result")
	require.Len(t, s.jobs, 1)
	require.Equal(t, post.StateFailed, result.Partitions[0].State)
	require.Equal(t, "w1/gpu0", result.Partitions[0].Card)
	require.Contains(t, result.Partitions[0].Reason, "CardDied")
	require.True(t, result.Partitions[0].Failed(false))
}

func TestTrialWithAProofThatDoesNotVerify(t *testing.T) {
	s := newTryOut(t)
	s.verify = func(workflows.VerifyInput) bool { return false }
	result, err := s.run()
	require.NoError(t, err)
	require.Contains(t, result.Partitions[0].Reason, "the proof does not verify (card w1/gpu0)")
	require.False(t, result.Partitions[0].Verified)
}

// slow is a proof that takes so long of the skipped time.
func (s *tryOut) slow(took time.Duration) {
	s.env.OnActivity(workflows.ActivityGenerateWindowPoSt, mock.Anything, mock.Anything).After(took).Return(
		func(_ context.Context, job post.Job) (post.Proof, error) {
			s.jobs = append(s.jobs, job)
			return s.prove(nil, job)
		})
}

func TestTrialThatNobodyCanTake(t *testing.T) {
	s := newTryOut(t)
	s.route = func(workflows.RouteInput) post.Choice {
		return post.Choice{Queue: post.QueueNobody, Waits: "no worker can read store a"}
	}
	s.slow(30 * time.Minute)
	began := s.env.Now()
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "NoCard: nobody could take it for 1m0s: no worker can read store a", result.Partitions[0].Reason)
	require.Less(t, s.env.Now().Sub(began), 5*time.Minute)
	require.Equal(t, 1, s.looks, "it was asked once more before it gave up")
}

func TestTrialGoesOnWhenSomebodyComes(t *testing.T) {
	s := newTryOut(t)
	s.route = func(workflows.RouteInput) post.Choice {
		return post.Choice{Queue: post.QueueNobody, Waits: "no worker is known"}
	}
	s.slow(30 * time.Minute)
	s.env.RegisterDelayedCallback(func() {
		s.env.SignalWorkflow(workflows.SignalRouted, post.Routed{Partition: 0, Choice: post.Choice{Queue: "wdpost.gpu.0"}})
	}, 50*time.Second)
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StateProven, result.Partitions[0].State)
	require.Equal(t, "wdpost.gpu.0", result.Partitions[0].Queue)
}

func TestTrialTakesAProofWhoseAttemptIsGone(t *testing.T) {
	s := newTryOut(t)
	s.slow(30 * time.Minute)
	s.env.RegisterDelayedCallback(func() {
		s.env.SignalWorkflow(workflows.SignalProofClaimed, post.Claim{JobKey: "x", Card: "w9/gpu3"})
		other := proofOf(post.Job{Deadline: s.found.Deadline, Partitions: []uint64{0}, Randomness: challengeOf(1), Sectors: sectors(0, 1)})
		s.env.SignalWorkflow(workflows.SignalProofFound, other)
	}, time.Minute)
	s.env.RegisterDelayedCallback(func() {
		mine := proofOf(post.Job{Deadline: s.found.Deadline, Partitions: []uint64{0}, Randomness: challengeOf(1), Sectors: sectors(0, 1), Trial: "default-test-workflow-id"})
		mine.Card = "w9/gpu3"
		s.env.SignalWorkflow(workflows.SignalProofFound, mine)
	}, 2*time.Minute)
	began := s.env.Now()
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, "w9/gpu3", result.Partitions[0].Card)
	require.Less(t, s.env.Now().Sub(began), 10*time.Minute, "the other attempt was waited for")
}

func TestCancelledTrialEnds(t *testing.T) {
	s := newTryOut(t)
	s.slow(30 * time.Minute)
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, time.Minute)
	_, err := s.run()
	require.True(t, temporal.IsCanceledError(err), "%v", err)
}

func TestDryRunOfATrial(t *testing.T) {
	s := newTryOut(t)
	s.in.DryRun = true
	s.checked = workflows.CheckedSectors{Bad: []post.BadSector{{Skipped: post.Skipped{Sector: 1, Reason: "t_aux does not exist"}, Store: "a"}}}
	result, err := s.run()
	require.NoError(t, err)
	require.Empty(t, s.jobs)
	require.Empty(t, s.challenged)
	p := result.Partitions[0]
	require.Equal(t, post.StateWaiting, p.State)
	require.Equal(t, "1", p.SkippedSectors)
	require.Equal(t, 1, p.Sectors)
	require.Equal(t, "wdpost.gpu.0", p.Queue)
	require.False(t, p.Failed(true))
	require.Equal(t, 1, s.looks, "no job is counted that will not come")
}

func TestTrialOfWhatDoesNotExist(t *testing.T) {
	for situation, c := range map[string]struct {
		change func(*tryOut)
		says   string
	}{
		"no such partition": {func(s *tryOut) { s.in.Partitions = []uint64{0, 5} }, "deadline f01000/3 has no partition 5; it has 1 partition, 0"},
		"nothing to prove":  {func(s *tryOut) { s.partitions = nil }, "there is nothing to prove in deadline f01000/3"},
		"only an empty partition": {func(s *tryOut) {
			s.in.Partitions, s.partitions = []uint64{1}, append(s.partitions, post.Partition{Index: 1})
		}, "there is nothing to prove in deadline f01000/3"},
	} {
		t.Run(situation, func(t *testing.T) {
			s := newTryOut(t)
			c.change(s)
			_, err := s.run()
			var said *temporal.ApplicationError
			require.True(t, errors.As(err, &said), "%v", err)
			require.Contains(t, said.Message(), c.says)
			require.Empty(t, s.jobs)
		})
	}
}

func TestTrialShowsItselfAsDeadlinesDo(t *testing.T) {
	s := newTryOut(t)
	var shown []post.Result
	s.env.OnUpsertMemo(mock.Anything).Return(nil).Run(func(args mock.Arguments) {
		payload, err := converter.GetDefaultDataConverter().ToPayload(args.Get(0).(map[string]any)[workflows.MemoBoard])
		require.NoError(t, err)
		var board post.Result
		require.NoError(t, converter.GetDefaultDataConverter().FromPayload(payload, &board))
		shown = append(shown, board)
	})
	_, err := s.run()
	require.NoError(t, err)
	require.Empty(t, shown[0].Partitions, "at once, so that it is known that a daemon has it")
	last := shown[len(shown)-1]
	require.Equal(t, post.StateProven, last.State)
	require.EqualValues(t, 2048, last.Size)
	require.Equal(t, []string{"a"}, last.Partitions[0].Stores, "balancing needs to know what the job needs")
}
