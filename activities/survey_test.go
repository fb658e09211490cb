package activities_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// cardsOf is a fleet as a survey sees it.
type cardsOf struct {
	post.Fleet
	err error
}

func (c cardsOf) Snapshot(context.Context) (post.Fleet, error) { return c.Fleet, c.err }

func surveyed(t *testing.T, n *node, cards cardsOf, in workflows.SurveyInput) (post.Survey, error) {
	s := &activities.Survey{Node: n, Fleet: cards, Now: func() time.Time { return time.Unix(5000, 0) }}
	env := newEnvironment()
	env.RegisterActivity(s.SurveyMiner)
	value, err := env.ExecuteActivity(s.SurveyMiner, in)
	if err != nil {
		return post.Survey{}, err
	}
	var survey post.Survey
	require.NoError(t, value.Get(&survey))
	return survey, nil
}

func TestSurveyOfAMiner(t *testing.T) {
	n := newNode(t)
	n.info.SectorSize = 2048
	n.height = 121
	cards := cardsOf{Fleet: post.Fleet{Queues: []post.Queue{
		{Name: "may", Live: 3}, {Name: "too", Live: 1, Admits: post.Admits{Stores: []string{"a"}}}, {Name: "another's", Live: 8, Admits: post.Admits{Rules: []post.Rule{{Miners: []abi.ActorID{1001}}}}},
	}}}
	s, err := surveyed(t, n, cards, workflows.SurveyInput{Miner: 1000})
	require.NoError(t, err)
	assert.Equal(t, abi.ChainEpoch(121), s.Head)
	assert.Equal(t, time.Unix(5000, 0).UTC(), s.At.UTC())
	assert.Equal(t, 30*time.Second, s.EpochDuration)
	assert.EqualValues(t, 2, s.Current)
	assert.EqualValues(t, 2048, s.Size)
	assert.Equal(t, 4, s.Places)
	require.Len(t, s.Deadlines, 4)
	for i, d := range s.Deadlines {
		assert.Equal(t, deadlineOf(uint64(i)), d.Deadline)
	}
	assert.Equal(t, []post.Partition{{Index: 0, Live: 4, Faulty: 2, Recovering: 1, ToProve: 3}}, s.Deadlines[0].Partitions)
	assert.Empty(t, s.Deadlines[1].Partitions)
	assert.Equal(t, []post.Partition{{Index: 0, Live: 2, ToProve: 2}, {Index: 1, Live: 1, ToProve: 1, Posted: true}}, s.Deadlines[2].Partitions)
	assert.EqualValues(t, 3, s.Deadlines[2].Count(func(p post.Partition) uint64 { return p.Live }))

	s, err = surveyed(t, n, cardsOf{err: errors.New("Temporal is slow")}, workflows.SurveyInput{Miner: 1000})
	require.NoError(t, err, "the chain is known all the same")
	assert.Equal(t, "the cards are not known: Temporal is slow", s.Problem)
	s, err = surveyed(t, n, cards, workflows.SurveyInput{Miner: 1000, Pool: "big"})
	require.NoError(t, err)
	assert.Zero(t, s.Places, "nobody is in that pool")
}

func TestSurveyThatFails(t *testing.T) {
	for _, method := range []string{"ChainHead", "EpochDuration", "StateMinerInfo", "StateMinerProvingDeadline", "StateMinerDeadlines", "StateMinerPartitions 2"} {
		n := newNode(t)
		n.fails(method, errors.New("the node is away"))
		_, err := surveyed(t, n, cardsOf{}, workflows.SurveyInput{Miner: 1000})
		retried(t, err)
		require.ErrorContains(t, err, "reading the deadlines of f01000: ", method)
	}
	n := newNode(t)
	n.fails("StateMinerInfo", fmt.Errorf("miner f01000: %w", chain.ErrNoActor))
	_, err := surveyed(t, n, cardsOf{}, workflows.SurveyInput{Miner: 1000})
	final := application(t, err)
	assert.Equal(t, workflows.ErrorNoSuchMiner, final.Type())
	assert.True(t, final.NonRetryable())
	n = newNode(t)
	n.deadlines = n.deadlines[:3]
	_, err = surveyed(t, n, cardsOf{}, workflows.SurveyInput{Miner: 1000})
	require.ErrorContains(t, err, "the node tells of 4 deadlines and of 3")
}
