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

// fencedBook is one in which a fenced card was told.
func fencedBook(count int) post.AlertBook {
	return post.AlertBook{Count: count, Alerts: []post.OpenAlert{{
		Alert:  post.Alert{Kind: post.AlertCardFenced, Key: "CardFenced/w1/card0", Severity: post.Warning, Summary: "card w1/card0 is fenced", Mend: "posthaste worker unfence w1 card0"},
		Raised: time.Unix(1000, 0).UTC(), Told: []post.Telling{{Hook: "slack-1", At: time.Unix(1001, 0).UTC()}},
	}}}
}

// watchingBooks runs an AlertWorkflow whose activity is watch, until that says that it is enough. It gives the book that is handed to the
// next run, with which the workflow must end.
func watchingBooks(t *testing.T, from post.AlertBook, watch func(env *testsuite.TestWorkflowEnvironment, ctx context.Context, book post.AlertBook) error) post.AlertBook {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterWorkflowWithOptions(workflows.AlertWorkflow, workflow.RegisterOptions{Name: workflows.NameAlertWorkflow})
	env.RegisterActivityWithOptions(func(ctx context.Context, book post.AlertBook) error { return watch(env, ctx, book) },
		activity.RegisterOptions{Name: workflows.ActivityWatchAlerts})
	shown := 0
	env.OnUpsertMemo(mock.Anything).Run(func(mock.Arguments) { shown++ }).Return(nil)
	env.ExecuteWorkflow(workflows.NameAlertWorkflow, from)
	require.LessOrEqual(t, shown, 2, "what comes at once is shown once, and what is known already is not")
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &next)
	var book post.AlertBook
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &book))
	return book
}

// What was told outlives the run, and a book that is older than another is not believed.
func TestAlertsAreHandedOn(t *testing.T) {
	book := watchingBooks(t, fencedBook(3), func(env *testsuite.TestWorkflowEnvironment, _ context.Context, book post.AlertBook) error {
		require.Equal(t, fencedBook(3), book, "whoever watches hears what was told before")
		env.SignalWorkflow(workflows.SignalAlerts, fencedBook(7))
		env.SignalWorkflow(workflows.SignalAlerts, post.AlertBook{Count: 5})
		env.SignalWorkflow(workflows.SignalAlerts, fencedBook(7))
		env.SetContinueAsNewSuggested(true)
		return nil
	})
	require.Equal(t, fencedBook(7), book)
}

// An activity that ends, for whatever reason, begins again and hears what was told by then.
func TestWatchingBeginsAgain(t *testing.T) {
	runs := 0
	watchingBooks(t, post.AlertBook{}, func(env *testsuite.TestWorkflowEnvironment, _ context.Context, book post.AlertBook) error {
		if runs++; runs == 1 {
			env.SignalWorkflow(workflows.SignalAlerts, fencedBook(1))
			return nil
		}
		require.Equal(t, fencedBook(1), book)
		env.SetContinueAsNewSuggested(true)
		return nil
	})
	require.Equal(t, 2, runs)
}

// A daemon that fails to watch is tried again, for ever.
func TestWatchingIsRetried(t *testing.T) {
	attempts := 0
	watchingBooks(t, post.AlertBook{}, func(env *testsuite.TestWorkflowEnvironment, _ context.Context, _ post.AlertBook) error {
		if attempts++; attempts < 30 {
			return errors.New("the daemon is stopping")
		}
		env.SetContinueAsNewSuggested(true)
		return nil
	})
	require.Equal(t, 30, attempts)
}
