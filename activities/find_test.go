package activities_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

func TestFindDeadline(t *testing.T) {
	n := newNode(t) // at epoch 112, in deadline 1 of the period from 100; periods have 40 epochs
	f := &activities.Finder{Node: n}
	for situation, c := range map[string]struct {
		index uint64
		start abi.ChainEpoch
	}{
		"the open one":             {1, 100},
		"one of this period":       {0, 100},
		"not challenged yet":       {3, 60},
		"challenged a moment ago":  {1, 100},
		"its challenge comes in 3": {2, 60},
	} {
		t.Run(situation, func(t *testing.T) {
			found, err := f.FindDeadline(t.Context(), workflows.FindInput{Miner: 1000, Index: c.index})
			require.NoError(t, err)
			assert.Equal(t, c.start, found.Deadline.PeriodStart)
			assert.LessOrEqual(t, found.Deadline.Challenge, found.Head)
			assert.True(t, found.Known)
			assert.EqualValues(t, 4, found.Deadlines)
			assert.Equal(t, 30*time.Second, found.EpochDuration)
		})
	}
	final := func(err error, kind, says string) {
		t.Helper()
		var said *temporal.ApplicationError
		require.ErrorAs(t, err, &said)
		assert.True(t, said.NonRetryable())
		assert.Equal(t, kind, said.Type())
		assert.Equal(t, says, said.Message())
	}
	_, err := f.FindDeadline(t.Context(), workflows.FindInput{Miner: 1000, Index: 4})
	final(err, workflows.ErrorNotThere, "f01000 has no deadline 4; a proving period has 4, 0 to 3")
	n.fails("StateMinerProvingDeadline", fmt.Errorf("miner: %w", chain.ErrNoActor))
	_, err = f.FindDeadline(t.Context(), workflows.FindInput{Miner: 7, Index: 0})
	final(err, workflows.ErrorNoSuchMiner, "the chain has no miner actor f07")
	n.fails("StateMinerProvingDeadline", errors.New("busy"))
	_, err = f.FindDeadline(t.Context(), workflows.FindInput{Miner: 1000, Index: 0})
	retried(t, err)
}

func TestReadPartition(t *testing.T) {
	c := &activities.Chain{Node: newNode(t)}
	live, err := c.ReadPartition(t.Context(), workflows.PartitionInput{Deadline: deadlineOf(0)})
	require.NoError(t, err)
	assert.Equal(t, []abi.SectorNumber{1, 2, 3, 4}, live.Sectors.Numbers(), "faulty ones too")
	assert.Equal(t, []abi.SectorNumber{2, 3}, live.Faulty)
	assert.Equal(t, []abi.SectorNumber{3}, live.Recovering)
	assert.True(t, live.Sectors[3].Upgraded)
	_, err = c.ReadPartition(t.Context(), workflows.PartitionInput{Deadline: deadlineOf(0), Partition: 1})
	require.ErrorContains(t, err, "the deadline has 1 partitions")
}

func TestATrialsJobIsNotTheDeadlines(t *testing.T) {
	job := post.Job{Deadline: deadlineOf(0), Partitions: []uint64{0}, Randomness: make([]byte, 32), Sectors: in("a", 1)}
	trial := job
	trial.Trial = "compute-f01000-0-aa"
	assert.NotEqual(t, job.Key(), trial.Key(), "a deadline would be given a trial's proof, or a trial a deadline's")
}
