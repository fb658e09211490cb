package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

// priorities notes those of the proofs' activities, which the test environment keeps from its listeners.
type priorities struct {
	interceptor.WorkerInterceptorBase
	story *story
}

func (p *priorities) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &inboundPriorities{interceptor.WorkflowInboundInterceptorBase{Next: next}, p.story}
}

type inboundPriorities struct {
	interceptor.WorkflowInboundInterceptorBase
	story *story
}

func (p *inboundPriorities) Init(outbound interceptor.WorkflowOutboundInterceptor) error {
	return p.Next.Init(&outboundPriorities{interceptor.WorkflowOutboundInterceptorBase{Next: outbound}, p.story})
}

type outboundPriorities struct {
	interceptor.WorkflowOutboundInterceptorBase
	story *story
}

func (p *outboundPriorities) ExecuteActivity(ctx workflow.Context, name string, args ...any) workflow.Future {
	if name == workflows.ActivityGenerateWindowPoSt {
		p.story.priorities = append(p.story.priorities, workflow.GetActivityOptions(ctx).Priority.PriorityKey)
	}
	return p.Next.ExecuteActivity(ctx, name, args...)
}

func TestJobIsRoutedBeforeEachTry(t *testing.T) {
	s := newStory(t)
	s.settings.Pool = "a100"
	s.route = func(in workflows.RouteInput) (post.Choice, error) {
		if len(in.Avoid) == 0 {
			return post.Choice{Queue: "wdpost.a100.1", Priority: 3}, nil
		}
		return post.Choice{Queue: "wdpost.a100.2", Priority: 2, Elsewhere: true}, nil
	}
	s.prove = func(job post.Job) (post.Proof, error) {
		if job.Try == 1 {
			return post.Proof{}, failure(post.FailureCard, "w1/gpu0")
		}
		return proofOf(job), nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []string{"prove-0-1", "prove-0-2"}, s.ids())
	require.Equal(t, []string{"wdpost.a100.1", "wdpost.a100.2"}, s.queues())
	require.Equal(t, []int{3, 2}, s.priorities)

	size, err := s.loaded.ProofType.SectorSize()
	require.NoError(t, err)
	needs := post.Needs{Miner: 1000, Size: size, Stores: []string{"a"}, Pool: "a100"}
	require.Equal(t, needs, s.routed[0].Needs)
	require.Equal(t, 1, s.routed[0].Try)
	require.Equal(t, []string{"w1/gpu0"}, s.routed[1].Avoid)
	require.Equal(t, 2, s.routed[1].Try)
	require.Greater(t, s.routed[0].Left, s.routed[1].Left)
	require.Positive(t, s.routed[1].Left)
	require.Equal(t, []bool{false, true}, []bool{s.jobs[0].Elsewhere, s.jobs[1].Elsewhere})
	require.Equal(t, "a100", s.jobs[0].Pool)
}

func TestBoardSaysWhereAJobWaitsAndWhatFor(t *testing.T) {
	s := newStory(t)
	s.settings.Pool = "a100"
	s.proveTime = 10 * time.Minute
	s.route = func(workflows.RouteInput) (post.Choice, error) {
		return post.Choice{Queue: post.QueueNobody, Waits: `no worker can read store "a"`}, nil
	}
	var waiting, moved post.Result
	s.after(time.Minute, func() { waiting = s.board })
	s.after(2*time.Minute, func() {
		s.env.SignalWorkflow(workflows.SignalRouted, post.Routed{Partition: 0, Choice: post.Choice{Queue: "wdpost.a100.1"}})
		s.env.SignalWorkflow(workflows.SignalRouted, post.Routed{Partition: 7, Choice: post.Choice{Queue: "wdpost.a100.2"}})
	})
	s.after(3*time.Minute, func() { moved = s.board })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, []string{post.QueueNobody}, s.queues())

	p := waiting.Partitions[0]
	require.Equal(t, post.QueueNobody, p.Queue)
	require.Equal(t, `no worker can read store "a"`, p.Waits)
	require.Equal(t, s.routed[0].Needs, waiting.Needs(p), "whoever moves the job must know what it needs")
	require.Equal(t, "wdpost.a100.1", moved.Partitions[0].Queue)
	require.Empty(t, moved.Partitions[0].Waits)

	done := result.Partitions[0]
	require.Empty(t, done.Queue+done.Waits, "it waits for nothing any more")
	require.Empty(t, append(done.Stores, done.Avoid...))
}

func TestMissedForWantOfAWorkerSaysSo(t *testing.T) {
	s := newStory(t)
	s.env.OnActivity(workflows.ActivityGenerateWindowPoSt, mock.Anything, mock.Anything).Return(post.Proof{}, temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE, nil))
	s.route = func(workflows.RouteInput) (post.Choice, error) {
		return post.Choice{Queue: post.QueueNobody, Waits: `no worker can read store "a"`}, nil
	}
	result, err := s.run()
	require.ErrorContains(t, err, `no worker can read store "a"`)
	require.Equal(t, post.StateMissed, result.State)
}

// The server has two timers for a job that nobody takes until the end, and either may be the first.
func TestJobThatNobodyTookUntilTheEndWasNotMoved(t *testing.T) {
	s := newStory(t)
	s.env.OnActivity(workflows.ActivityGenerateWindowPoSt, mock.Anything, mock.Anything).After(35*time.Minute).
		Return(post.Proof{}, temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil))
	s.route = func(workflows.RouteInput) (post.Choice, error) {
		return post.Choice{Queue: post.QueueNobody, Waits: `no worker can read store "a"`}, nil
	}
	_, err := s.run()
	require.ErrorContains(t, err, `OutOfTime: no proof in the time until Close less the reserve for submitting; it waited: no worker can read store "a"`)
	require.NotContains(t, err.Error(), "its worker was lost")
}

func TestLateNewsOfAMoveIsNotShown(t *testing.T) {
	s := newStory(t)
	s.after(2*time.Minute, func() { // proven after 1 minute
		s.env.SignalWorkflow(workflows.SignalRouted, post.Routed{Partition: 0, Choice: post.Choice{Queue: "wdpost.gpu.1", Waits: "for a worker"}})
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Empty(t, result.Partitions[0].Queue+result.Partitions[0].Waits)
}

func TestJobIsNotLostWhenRoutingFails(t *testing.T) {
	s := newStory(t)
	s.route = func(workflows.RouteInput) (post.Choice, error) {
		return post.Choice{}, errors.New("the workers could not be listed")
	}
	var waiting post.Result
	s.after(30*time.Second, func() { waiting = s.board })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []string{post.QueueNobody}, s.queues(), "from where the balancing of the fleet moves it")
	require.Greater(t, len(s.routed), 2, "it was not tried again")
	require.Contains(t, waiting.Partitions[0].Waits, "the workers could not be listed")
}

func TestRefusedJobGoesElsewhereAtOnceAndAtNoCost(t *testing.T) {
	for _, kind := range []post.Failure{post.FailureNoStore, post.FailureNoCard} {
		t.Run(string(kind), func(t *testing.T) {
			s := newStory(t)
			s.proveTime = time.Second
			s.prove = func(job post.Job) (post.Proof, error) {
				if n := len(s.jobs); n <= 4 {
					return post.Proof{}, failure(kind, post.AllCards([]string{"", "w1", "w2", "w3", "w4"}[n]))
				}
				return proofOf(job), nil
			}
			result, err := s.run()
			require.NoError(t, err)
			require.Equal(t, 1, result.Partitions[0].Tries)
			require.Equal(t, []string{"w1/*"}, s.routed[1].Avoid)
			require.Equal(t, []string{"w1/*", "w2/*"}, s.jobs[2].AvoidCards, "asked back and forth")
			require.Less(t, s.times[3], epoch/2, "a refusal is answered at once")
			require.GreaterOrEqual(t, s.times[4], epoch, "four in a row: what is known of the fleet is not true")
		})
	}
}

// What the server does to a job whose worker was lost when it is moved to another queue is nobody's failure.
func TestJobThatEndsByBeingMovedIsScheduledAgainAtOnceAndAtNoCost(t *testing.T) {
	s := newStory(t)
	s.proveTime = time.Second
	s.prove = func(job post.Job) (post.Proof, error) {
		if len(s.jobs) == 1 {
			return post.Proof{}, temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
		}
		return proofOf(job), nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, 1, result.Partitions[0].Tries)
	require.Less(t, s.times[1], epoch/2)
}

func TestRefusalIsForgottenAfterAnotherFailure(t *testing.T) {
	s := newStory(t)
	s.prove = func(job post.Job) (post.Proof, error) {
		switch len(s.jobs) {
		case 1:
			return post.Proof{}, failure(post.FailureNoStore, "w1/*")
		case 2:
			return post.Proof{}, failure(post.FailureSetup, "w2/*")
		}
		return proofOf(job), nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, []string{"w2/*"}, s.jobs[2].AvoidCards, "a store comes back; parameters do not")
	require.Equal(t, 2, result.Partitions[0].Tries)
}

func TestResetForgetsWhoRefusedAndWhoFailed(t *testing.T) {
	s := newStory(t)
	s.proveTime = 20 * time.Second
	s.prove = func(job post.Job) (post.Proof, error) {
		switch len(s.jobs) {
		case 1:
			return post.Proof{}, failure(post.FailureCard, "w1/gpu0")
		case 2:
			return post.Proof{}, failure(post.FailureNoStore, "w2/*")
		}
		return proofOf(job), nil
	}
	s.after(50*time.Second, func() { s.reset(workflows.ResetJobs{Partitions: []uint64{0}}) }) // while the third runs
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, []string{"w1/gpu0", "w2/*"}, s.routed[2].Avoid)
	require.Empty(t, s.routed[3].Avoid)
	require.Equal(t, 1, result.Partitions[0].Tries)
}

func TestRunFromBeforeRoutingGoesOnAsItBegan(t *testing.T) {
	s := newStory(t)
	s.unrouted, s.proveTime = true, time.Second
	s.prove = func(job post.Job) (post.Proof, error) {
		switch len(s.jobs) {
		case 1:
			return post.Proof{}, failure(post.FailureNoStore, "")
		case 2:
			return post.Proof{}, failure(post.FailureCard, "w1/gpu0")
		}
		return proofOf(job), nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, 2, result.Partitions[0].Tries)
	require.Empty(t, s.routed)
	queue := s.settings.ProveQueue
	require.Equal(t, []string{queue, queue, queue}, s.queues())
	require.GreaterOrEqual(t, s.times[1], epoch, "the pause after a refusal is in its history")
	require.Equal(t, []int{3, 3, 2}, s.priorities)
	for _, id := range s.ids() {
		require.NotContains(t, id, "prove")
	}
}
