package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/workflows"
)

// newLostStory is a deadline whose sector 1 is in a store that nobody can read. The first activity waits for longer than half of the
// time, the next ones are proven in a minute.
func newLostStory(t *testing.T) *story {
	s := newStory(t)
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		in.Sectors[1].Store = "b"
		return post.Located{Sectors: in.Sectors}, nil
	}
	s.route = func(in workflows.RouteInput) (post.Choice, error) {
		if len(in.Needs.Stores) == 1 {
			return post.Choice{Queue: "wdpost.gpu.0"}, nil
		}
		return post.Choice{Queue: post.QueueNobody, Waits: `no worker can read store "b"`, Lost: []string{"b"}}, nil
	}
	issued := 0
	s.env.OnActivity(workflows.ActivityGenerateWindowPoSt, mock.Anything, mock.Anything).AfterFn(func() time.Duration {
		if issued++; issued == 1 {
			return 25 * time.Minute
		}
		return time.Minute
	}).Return(func(_ context.Context, job post.Job) (post.Proof, error) {
		s.jobs = append(s.jobs, job)
		return s.prove(job)
	})
	return s
}

func TestSectorsOfALostStoreDoNotCostTheOthers(t *testing.T) {
	s := newLostStory(t)
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []string{post.QueueNobody, "wdpost.gpu.0"}, s.queues())
	require.Equal(t, 1, s.cancelled)
	require.InDelta(t, 17, s.times[1].Minutes(), 1, "half of the time until it must be proven")
	require.Equal(t, []abi.SectorNumber{0}, s.jobs[0].Sectors.Numbers(), "the other activity is cancelled, and ends later here")
	p := result.Partitions[0]
	require.Equal(t, []post.Skipped{{Sector: 1, Reason: `no worker could read store "b" for half of the time`}}, p.Skipped)
	require.Equal(t, 1, p.Tries)
	require.Equal(t, p.Skipped, s.built[0].Skipped, "the post declares it faulty")
}

func TestAStoreThatComesBackInTimeIsWaitedFor(t *testing.T) {
	s := newLostStory(t)
	s.after(10*time.Minute, func() {
		s.env.SignalWorkflow(workflows.SignalRouted, post.Routed{Partition: 0, Choice: post.Choice{Queue: "wdpost.gpu.1"}})
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Zero(t, s.cancelled)
	require.Empty(t, result.Partitions[0].Skipped)
}

func TestAStoreThatCameBackUnheardIsAskedAbout(t *testing.T) {
	s := newLostStory(t)
	lost := s.route
	s.route = func(in workflows.RouteInput) (post.Choice, error) {
		if s.env.Now().Sub(s.began) > 10*time.Minute {
			return post.Choice{Queue: "wdpost.gpu.1"}, nil
		}
		return lost(in)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Zero(t, s.cancelled)
	require.Empty(t, result.Partitions[0].Skipped)
}

// The fleet cannot be read at that moment: what is known of the store is not forgotten over it.
func TestALostStoreIsAskedAboutUntilThereIsAnAnswer(t *testing.T) {
	s := newLostStory(t)
	lost := s.route
	s.route = func(in workflows.RouteInput) (post.Choice, error) {
		if at := s.env.Now().Sub(s.began); at > 16*time.Minute && at < 20*time.Minute {
			return post.Choice{}, errors.New("visibility is away")
		}
		return lost(in)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []string{post.QueueNobody, "wdpost.gpu.0"}, s.queues())
	require.InDelta(t, 20, s.times[1].Minutes(), 1)
	require.Len(t, result.Partitions[0].Skipped, 1)
}

func TestAResetTriesALostStoreAgain(t *testing.T) {
	s := newLostStory(t)
	lost, reset := s.route, false
	s.route = func(in workflows.RouteInput) (post.Choice, error) {
		if reset {
			return post.Choice{Queue: "wdpost.gpu.1"}, nil
		}
		return lost(in)
	}
	s.prove = func(job post.Job) (post.Proof, error) {
		if len(job.Sectors) == 1 {
			return post.Proof{}, failure(post.FailureProve, "w1/gpu0")
		}
		return proofOf(job), nil
	}
	s.after(20*time.Minute, func() {
		reset = true
		s.reset(workflows.ResetJobs{Partitions: []uint64{0}})
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Empty(t, result.Partitions[0].Skipped)
	require.Equal(t, []abi.SectorNumber{0, 1}, s.jobs[len(s.jobs)-1].Sectors.Numbers())
}
