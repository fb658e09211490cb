package workflows_test

import (
	"context"
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

// watching records how WatchDeadlines was run.
type watching struct {
	inputs []workflows.WatchInput
}

func newMiner(t *testing.T) (*testsuite.TestWorkflowEnvironment, *watching) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	env.RegisterWorkflow(workflows.MinerWorkflow)
	w := &watching{}
	env.RegisterActivityWithOptions(func(context.Context, workflows.WatchInput) error { return nil }, activity.RegisterOptions{Name: workflows.ActivityWatchDeadlines})
	env.OnActivity(workflows.ActivityWatchDeadlines, mock.Anything, mock.Anything).After(24 * time.Hour).Return(nil)
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
