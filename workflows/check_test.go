package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

// checkup is a check of a miner with two deadlines of one partition of four sectors, of which the chain holds two faulty, one of them
// recovering; and one deadline without sectors.
type checkup struct {
	*testing.T
	env     *testsuite.TestWorkflowEnvironment
	in      workflows.CheckInput
	missing []post.Skipped
	bad     []post.BadSector
	failing error // of the look
	looked  []workflows.CheckSectorsInput
	queues  []string
}

func newCheckup(t *testing.T) *checkup {
	s := &checkup{T: t, in: workflows.CheckInput{Miner: 1000}}
	var suite testsuite.WorkflowTestSuite
	s.env = suite.NewTestWorkflowEnvironment()
	s.env.SetTestTimeout(20 * time.Second)
	register := func(name string, f any) { s.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register(workflows.ActivityFindDeadline, func(_ context.Context, in workflows.FindInput) (workflows.Found, error) {
		return workflows.Found{Deadline: post.Deadline{Miner: 1000, Index: in.Index}, Deadlines: 3}, nil
	})
	register(workflows.ActivityLoadDeadline, func(_ context.Context, in workflows.LoadInput) (post.Loaded, error) {
		loaded := post.Loaded{Head: 77, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1}
		if in.Deadline.Index != 1 {
			loaded.Partitions = []post.Partition{{Index: 0, Live: 4, Faulty: 2, Recovering: 1, ToProve: 3}}
		}
		return loaded, nil
	})
	register(workflows.ActivityReadPartition, func(context.Context, workflows.PartitionInput) (post.Live, error) {
		return post.Live{Sectors: sectors(1, 2, 3, 4), Faulty: []abi.SectorNumber{3, 4}, Recovering: []abi.SectorNumber{4}}, nil
	})
	register(workflows.ActivityLookupSectors, func(_ context.Context, in workflows.PartitionInput) (post.Located, error) {
		var gone []abi.SectorNumber
		for _, m := range s.missing {
			gone = append(gone, m.Sector)
		}
		return post.Located{Sectors: in.Sectors.Without(gone), Missing: s.missing}, nil
	})
	register(workflows.ActivityCheckSectors, func(ctx context.Context, in workflows.CheckSectorsInput) (workflows.CheckedSectors, error) {
		s.looked, s.queues = append(s.looked, in), append(s.queues, activity.GetInfo(ctx).TaskQueue)
		return workflows.CheckedSectors{Bad: s.bad}, s.failing
	})
	return s
}

func (s *checkup) run() (post.Checkup, error) {
	s.env.ExecuteWorkflow(workflows.CheckWorkflow, s.in)
	require.True(s, s.env.IsWorkflowCompleted())
	var result post.Checkup
	if err := s.env.GetWorkflowError(); err != nil {
		return result, err
	}
	return result, s.env.GetWorkflowResult(&result)
}

func at(n uint64) *uint64 { return &n }

func TestCheckOfAMinerLooksAtAllOfIt(t *testing.T) {
	s := newCheckup(t)
	s.in.Strict = true
	result, err := s.run()
	require.NoError(t, err)
	require.Len(t, result.Partitions, 2, "deadline 1 has none")
	require.Equal(t, 2, result.Of)
	require.Len(t, s.looked[0].Sectors, 4, "faulty ones too")
	require.True(t, s.looked[0].Strict)
	require.Equal(t, []string{workflows.QueueSectors, workflows.QueueSectors}, s.queues)
	p := result.Partitions[1]
	require.Equal(t, post.CheckedPartition{Deadline: 2, Sectors: 4, Good: 4, Mended: "3", Faulty: 2, Recovering: 1}, p)
	require.False(t, result.Bad())
}

func TestCheckTellsWhatTheChainDoesNotKnow(t *testing.T) {
	s := newCheckup(t)
	s.in.Deadline, s.in.Partition, s.in.Worker = at(0), at(0), "w1"
	s.missing = []post.Skipped{{Sector: 2, Reason: "in none of the stores"}}
	s.bad = []post.BadSector{{Skipped: post.Skipped{Sector: 3, Reason: "cut short"}, Store: "a"}, {Skipped: post.Skipped{Sector: 4, Reason: "cut short"}, Store: "a"}}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, []string{workflows.WorkerQueue("w1")}, s.queues)
	p := result.Partitions[0]
	require.Equal(t, 3, p.Bad)
	require.Equal(t, 2, p.News, "the faulty one is known, the recovering one has to be proven")
	require.Equal(t, []post.Finding{
		{Sectors: []abi.SectorNumber{2}, Reason: "in none of the stores"},
		{Sectors: []abi.SectorNumber{3}, Store: "a", Reason: "cut short", Chain: post.ChainFaulty},
		{Sectors: []abi.SectorNumber{4}, Store: "a", Reason: "cut short", Chain: post.ChainRecovering},
	}, p.Findings)
	require.True(t, result.Bad())
}

func TestCheckGoesOnAfterAPartitionThatCannotBeLookedAt(t *testing.T) {
	s := newCheckup(t)
	s.failing = errors.New("the machine burns")
	result, err := s.run()
	require.NoError(t, err)
	require.Len(t, result.Partitions, 2)
	require.Contains(t, result.Partitions[0].Unchecked, "the machine burns")
	require.True(t, result.Bad())
}

func TestCheckByAWorkerThatIsAway(t *testing.T) {
	s := newCheckup(t)
	s.in.Worker = "w1"
	s.failing = temporal.NewTimeoutError(2, nil) // schedule to start, as the server says it
	_, err := s.run()
	require.ErrorContains(t, err, "worker w1 has not begun with it within 1m0s; is it running?")
	require.Len(t, s.looked, 1, "each other partition would take as long")
}

func TestCheckOfAPartitionThatIsNotThere(t *testing.T) {
	s := newCheckup(t)
	s.in.Deadline, s.in.Partition = at(0), at(3)
	_, err := s.run()
	require.ErrorContains(t, err, "deadline f01000/0 has no partition 3; it has 1 partition, 0")
}

func TestLongCheckGoesOnInANewRun(t *testing.T) {
	s := newCheckup(t)
	s.env.SetContinueAsNewSuggested(true)
	_, err := s.run()
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, err, &again)
	s = newCheckup(t)
	s.in = workflows.CheckInput{Miner: 1000, Next: 1, Done: post.Checkup{Of: 1, Partitions: []post.CheckedPartition{{Deadline: 0, Sectors: 4, Good: 4}}}}
	result, err := s.run()
	require.NoError(t, err)
	require.Len(t, result.Partitions, 2)
	require.Len(t, s.looked, 1, "what was looked at is not looked at again")
}
