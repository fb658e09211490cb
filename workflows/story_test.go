package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

// story is a deadline with the chain, the cards and the sender around it played by the test. Time is skipped; epochs are 30 s
// of the skipped time.
type story struct {
	mu sync.Mutex // activities run beside each other
	*testing.T
	env      *testsuite.TestWorkflowEnvironment
	deadline post.Deadline
	settings post.Settings
	loaded   post.Loaded
	genesis  time.Time // when epoch 0 was

	wanted    func(partition uint64) (post.Sectors, error) // by the chain
	located   func(in workflows.PartitionInput) (post.Located, error)
	prove     func(job post.Job) (post.Proof, error)
	proveTime time.Duration
	send      func(r post.MessageRequest) post.MessageSettled
	node      error // what reading the deadline fails with

	noChallenge error // what reading the challenge fails with

	faulty    map[uint64][]abi.SectorNumber
	posted    []uint64 // before Close, as the chain says after it
	challenge func(times int) []byte
	verify    func(in workflows.VerifyInput) bool
	receipt   func(times int) workflows.Receipt
	build     func(in workflows.BuildInput) (workflows.BuiltPost, error) // nil, or an empty answer: a message
	commit    func(times int) string                                     // the commit randomness of the message that is built for the nth time

	route    func(in workflows.RouteInput) (post.Choice, error)
	unrouted bool // the run is from before jobs were routed

	jobs       []post.Job
	issued     []activity.Info // of the proofs' activities, when each began
	routed     []workflows.RouteInput
	board      post.Result // as lists show it
	began      time.Time
	times      []time.Duration // of issued, since the workflow began
	priorities []int           // of issued
	cancelled  int             // proofs' activities
	requests   []post.MessageRequest
	built      []workflows.BuildInput
	asked      int // for the challenge
	confirms   int
	resets     int
}

const epoch = 30 * time.Second

// newStory is a deadline with one partition of two good sectors, of which everything succeeds.
func newStory(t *testing.T) *story {
	s := &story{T: t, settings: post.DefaultSettings(), proveTime: time.Minute}
	s.settings.EpochDuration = epoch
	s.deadline = post.Deadline{Miner: 1000, Index: 3, PeriodStart: 0, Challenge: 160, Open: 180, Close: 240}
	s.loaded = post.Loaded{ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Sender: "f3sender",
		Partitions: []post.Partition{{Index: 0, Live: 2, ToProve: 2}}}
	s.wanted = func(partition uint64) (post.Sectors, error) {
		first := abi.SectorNumber(10 * partition)
		return sectors(first, first+1), nil
	}
	s.commit = func(int) string { return "" }
	s.located = func(in workflows.PartitionInput) (post.Located, error) { return post.Located{Sectors: in.Sectors}, nil }
	s.prove = func(job post.Job) (post.Proof, error) { return proofOf(job), nil }
	s.send = func(r post.MessageRequest) post.MessageSettled {
		return post.MessageSettled{ID: r.ID, Lost: r.Lost, Outcome: post.OutcomeLanded, Message: "bafy" + r.ID, Landed: s.now() + 2}
	}
	s.route = func(workflows.RouteInput) (post.Choice, error) {
		return post.Choice{Queue: "wdpost.gpu.0", Priority: 3}, nil
	}
	s.challenge = func(int) []byte { return challengeOf(1) }
	s.verify = func(workflows.VerifyInput) bool { return true }
	s.receipt = func(int) workflows.Receipt {
		return workflows.Receipt{Found: true, Message: "bafy", Epoch: s.now() - 10}
	}

	var suite testsuite.WorkflowTestSuite
	s.env = suite.NewTestWorkflowEnvironment()
	s.env.SetTestTimeout(20 * time.Second)
	s.env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&priorities{story: s}}})
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
	return abi.ChainEpoch(s.env.Now().Sub(s.genesis) / epoch)
}

// play registers the activities.
func (s *story) play() {
	register := func(name string, f any) { s.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register(workflows.ActivityAwaitEpoch, func(_ context.Context, in workflows.AwaitInput) (abi.ChainEpoch, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		now := s.now()
		if now < in.Target-2 {
			return now, nil
		}
		if now < in.Target {
			s.genesis = s.genesis.Add(-time.Duration(in.Target-now) * epoch) // and goes on from there
		}
		return s.now(), nil
	})
	register(workflows.ActivityLoadDeadline, func(context.Context, workflows.LoadInput) (post.Loaded, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.loaded.Head = s.now()
		return s.loaded, s.node
	})
	register(workflows.ActivityLoadPartition, func(_ context.Context, in workflows.PartitionInput) (post.Sectors, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.wanted(in.Partition)
	})
	register(workflows.ActivityLookupSectors, func(_ context.Context, in workflows.PartitionInput) (post.Located, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.located(in)
	})
	register(workflows.ActivityChallengeRandomness, func(context.Context, post.Deadline) ([]byte, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		return s.challenge(s.asked), s.noChallenge
	})
	register(workflows.ActivityVerifyProof, func(_ context.Context, in workflows.VerifyInput) (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.verify(in), nil
	})
	register(workflows.ActivityBuildPost, func(_ context.Context, in workflows.BuildInput) (workflows.BuiltPost, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.built = append(s.built, in)
		if now := s.challenge(s.asked + 1); string(now) != string(in.Randomness) {
			return workflows.BuiltPost{}, temporal.NewNonRetryableApplicationError("changed", workflows.ErrorRandomnessChanged, nil)
		}
		if s.build != nil {
			if built, err := s.build(in); err != nil || built.Posted || len(built.PostedOf) > 0 {
				return built, err
			}
		}
		return workflows.BuiltPost{Method: 5, To: "f01000", Params: append([]byte(s.commit(len(s.built))), in.Proof.Bytes...)}, nil
	})
	register(workflows.ActivityRequestMessage, func(_ context.Context, r post.MessageRequest) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, r)
		send := func() {
			if settled := s.send(r); settled.ID != "" {
				s.env.RegisterDelayedCallback(func() { s.env.SignalWorkflow(workflows.SignalMessageSettled, settled) }, epoch)
			}
		}
		if early := r.NotBefore - s.now(); early > 0 {
			s.env.RegisterDelayedCallback(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				send()
			}, time.Duration(early)*epoch)
		} else {
			send()
		}
		return nil
	})
	register(workflows.ActivityConfirmMessage, func(_ context.Context, in workflows.ConfirmInput) (workflows.Receipt, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.confirms++
		return s.receipt(s.confirms), nil
	})
	register(workflows.ActivityCheckDeadline, func(context.Context, post.Deadline) (workflows.Checked, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return workflows.Checked{Faulty: s.faulty, Posted: s.posted}, nil
	})
	register(workflows.ActivityRouteJob, func(_ context.Context, in workflows.RouteInput) (post.Choice, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.routed = append(s.routed, in)
		return s.route(in)
	})
	register(workflows.ActivityGenerateWindowPoSt, func(context.Context, post.Job) (post.Proof, error) {
		return post.Proof{}, errors.New("replaced by the mock")
	})
}

// run starts the workflow at Challenge + 1 and gives its result, whether it completed or failed.
func (s *story) run() (post.Result, error) {
	s.genesis = s.env.Now().Add(-time.Duration(s.deadline.Challenge+1) * epoch)
	if s.unrouted {
		s.env.OnGetVersion("routing", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	}
	s.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name == workflows.ActivityGenerateWindowPoSt {
			s.issued = append(s.issued, *info)
			s.times = append(s.times, s.env.Now().Sub(s.began).Round(time.Second))
		}
	})
	s.env.SetOnActivityCanceledListener(func(info *activity.Info) {
		if info.ActivityType.Name == workflows.ActivityGenerateWindowPoSt {
			s.cancelled++
		}
	})
	s.env.OnUpsertMemo(mock.Anything).Run(func(args mock.Arguments) {
		s.board = args.Get(0).(map[string]any)[workflows.MemoBoard].(post.Result)
	}).Return(nil)
	s.began = s.env.Now()
	s.env.OnActivity(workflows.ActivityGenerateWindowPoSt, mock.Anything, mock.Anything).After(s.proveTime).Return(
		func(_ context.Context, job post.Job) (post.Proof, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
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

// after does something when the workflow has run for so long.
func (s *story) after(d time.Duration, do func()) { s.env.RegisterDelayedCallback(do, d) }

// queues are the ones that the proofs' activities were issued on.
func (s *story) queues() []string {
	var queues []string
	for _, info := range s.issued {
		queues = append(queues, info.TaskQueue)
	}
	return queues
}

// ids are those of the proofs' activities.
func (s *story) ids() []string {
	var ids []string
	for _, info := range s.issued {
		ids = append(ids, info.ActivityID)
	}
	return ids
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
