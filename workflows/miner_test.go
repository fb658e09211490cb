package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

func TestMinerIsWatchedUntilThePeriodEndsThenGoesOn(t *testing.T) {
	env, watch := newMiner(t)
	env.ExecuteWorkflow(workflows.MinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}})
	require.True(t, env.IsWorkflowCompleted())
	require.True(t, workflow.IsContinueAsNewError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.Len(t, watch.inputs, 1)
}

func TestPausedMinerIssuesNothingUntilItIsResumed(t *testing.T) {
	env, watch := newMiner(t)
	env.RegisterDelayedCallback(func() { env.UpdateWorkflow(workflows.UpdatePause, "1", new(updated), "moving racks") }, time.Hour)
	env.RegisterDelayedCallback(func() {
		require.Len(t, watch.inputs, 1)
		env.UpdateWorkflow(workflows.UpdateResume, "2", new(updated))
	}, 10*time.Hour)
	env.ExecuteWorkflow(workflows.MinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}})
	require.Len(t, watch.inputs, 2, "not watched again after it was resumed")
}

func TestMinerLearnsANewConfigurationAtOnce(t *testing.T) {
	env, watch := newMiner(t)
	changed := workflows.WatchInput{Miner: 1000, Settings: post.Settings{MaxTry: 7}}
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(workflows.SignalConfigure, changed) }, time.Hour)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(workflows.SignalConfigure, changed) }, 2*time.Hour)
	env.ExecuteWorkflow(workflows.MinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}})
	require.Equal(t, []workflows.WatchInput{{Miner: 1000}, changed}, watch.inputs, "the same configuration again must change nothing")
}

// What an operator has removed stays removed, whatever daemons' files say.
func TestRemovedMinerIssuesNothingUntilItIsAddedAgain(t *testing.T) {
	env, watch := newMiner(t)
	configured := workflows.WatchInput{Miner: 1000, Settings: post.Settings{MaxTry: 7}}
	env.RegisterDelayedCallback(func() { env.UpdateWorkflow(workflows.UpdateRemove, "1", new(updated), "sold") }, time.Hour)
	for hour := range time.Duration(8) {
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(workflows.SignalConfigure, configured) }, (hour+2)*time.Hour)
	}
	refused := &updated{}
	env.RegisterDelayedCallback(func() { env.UpdateWorkflow(workflows.UpdateResume, "2", refused) }, 9*time.Hour)
	env.RegisterDelayedCallback(func() {
		require.Len(t, watch.inputs, 1, "removed, and watched all the same")
		require.Equal(t, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}, Removed: "sold"}, watch.shown, "lists do not see it")
		env.UpdateWorkflow(workflows.UpdateAdd, "3", new(updated), workflows.AddMiner{})
	}, 12*time.Hour)
	env.ExecuteWorkflow(workflows.MinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}})
	require.ErrorContains(t, refused.failed, "it was removed (sold); `posthaste miner add f01000` lifts that")
	require.Equal(t, []workflows.WatchInput{{Miner: 1000}, configured}, watch.inputs, "not watched again with what daemons said in the meantime")
	require.Equal(t, workflows.MinerState{WatchInput: configured}, watch.shown)
}

func TestRemovedMinerStaysSoInItsNextRun(t *testing.T) {
	for situation, state := range map[string]workflows.MinerState{
		"removed":                       {Removed: "sold"},
		"paused, and removed meanwhile": {Paused: "moving racks"},
	} {
		t.Run(situation, func(t *testing.T) {
			env, watch := newMiner(t)
			state.Miner = 1000
			env.RegisterDelayedCallback(func() { env.UpdateWorkflow(workflows.UpdateRemove, "1", new(updated), "sold") }, time.Hour)
			env.RegisterDelayedCallback(func() {
				require.Equal(t, "sold", watch.shown.Removed)
				env.SetContinueAsNewSuggested(true)
			}, 2*time.Hour)
			env.RegisterDelayedCallback(func() { env.SignalWorkflow(workflows.SignalConfigure, workflows.WatchInput{Miner: 1000}) }, 3*time.Hour)
			env.RegisterDelayedCallback(env.CancelWorkflow, 23*time.Hour)
			env.ExecuteWorkflow(workflows.MinerWorkflow, state)
			var next *workflow.ContinueAsNewError
			require.ErrorAs(t, env.GetWorkflowError(), &next)
			var input workflows.MinerState
			require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input))
			state.Removed = "sold"
			require.Equal(t, state, input)
			require.Empty(t, watch.inputs)
		})
	}
}

func TestAddedMinerTakesNewSettingsAndLosesItsPause(t *testing.T) {
	env, watch := newMiner(t)
	add := func(s *post.Settings) {
		env.UpdateWorkflow(workflows.UpdateAdd, "", new(updated), workflows.AddMiner{Settings: s})
	}
	env.RegisterDelayedCallback(func() { add(nil) }, time.Hour)
	env.RegisterDelayedCallback(func() {
		require.Len(t, watch.inputs, 1, "it was paused")
		add(&post.Settings{Pool: "big"})
	}, 2*time.Hour)
	env.ExecuteWorkflow(workflows.MinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}, Paused: "moving racks"})
	require.Equal(t, []workflows.WatchInput{{Miner: 1000}, {Miner: 1000, Settings: post.Settings{Pool: "big"}}}, watch.inputs)
	require.Empty(t, watch.shown.Paused)
}

func TestSurveyGivesWhatADaemonReads(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterWorkflow(workflows.SurveyWorkflow)
	tries := 0
	want := post.Survey{Miner: 1000, Head: 7, EpochDuration: time.Second, Deadlines: []post.SurveyedDeadline{{Deadline: post.Deadline{Miner: 1000, Index: 0}}}}
	env.RegisterActivityWithOptions(func(_ context.Context, in workflows.SurveyInput) (post.Survey, error) {
		if tries++; tries < 3 {
			return post.Survey{}, errors.New("the node is slow")
		}
		require.Equal(t, workflows.SurveyInput{Miner: 1000, Pool: "big"}, in)
		return want, nil
	}, activity.RegisterOptions{Name: workflows.ActivitySurveyMiner})
	env.ExecuteWorkflow(workflows.SurveyWorkflow, workflows.SurveyInput{Miner: 1000, Pool: "big"})
	var got post.Survey
	require.NoError(t, env.GetWorkflowResult(&got))
	require.Equal(t, want, got)
}

// watching records how WatchDeadlines was run.
type watching struct {
	inputs []workflows.WatchInput
	shown  workflows.MinerState // the memo
}

func newMiner(t *testing.T) (*testsuite.TestWorkflowEnvironment, *watching) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	env.RegisterWorkflow(workflows.MinerWorkflow)
	w := &watching{}
	env.RegisterActivityWithOptions(func(context.Context, workflows.WatchInput) error { return nil }, activity.RegisterOptions{Name: workflows.ActivityWatchDeadlines})
	env.OnActivity(workflows.ActivityWatchDeadlines, mock.Anything, mock.Anything).After(24 * time.Hour).Return(nil)
	env.OnUpsertMemo(mock.Anything).Run(func(args mock.Arguments) {
		w.shown = args.Get(0).(map[string]any)[workflows.MemoMiner].(workflows.MinerState)
	}).Return(nil)
	env.SetOnActivityStartedListener(func(_ *activity.Info, _ context.Context, args converter.EncodedValues) {
		var in workflows.WatchInput
		require.NoError(t, args.Get(&in))
		w.inputs = append(w.inputs, in)
	})
	return env, w
}

// Every daemon sends its configuration once a minute, four events each, and Temporal ends a workflow of 51,200 events. A new
// start by a daemon would not know that the miner is paused.
func TestMinerGoesOnInANewRunBeforeItsHistoryIsFull(t *testing.T) {
	for _, paused := range []string{"", "moving racks"} {
		t.Run("paused: "+paused, func(t *testing.T) {
			env, _ := newMiner(t)
			began := env.Now()
			env.RegisterDelayedCallback(func() { env.SetContinueAsNewSuggested(true) }, time.Hour)
			env.RegisterDelayedCallback(func() { env.SignalWorkflow(workflows.SignalConfigure, workflows.WatchInput{Miner: 1000}) }, 2*time.Hour)
			env.RegisterDelayedCallback(env.CancelWorkflow, 23*time.Hour)
			env.ExecuteWorkflow(workflows.MinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}, Paused: paused})
			require.True(t, workflow.IsContinueAsNewError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
			require.Less(t, env.Now().Sub(began), 3*time.Hour)
		})
	}
}
