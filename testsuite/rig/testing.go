package rig

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

// T is what a rig takes of a test; *testing.T has it.
type T interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// New opens a rig that ends with the test. If the test fails, the ends of the programs' logs are printed and the folder stays.
func New(t T, o Options) *Rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "posthaste-rig-") // short: the test's own name would be part of t.TempDir
	if err != nil {
		t.Fatalf("the rig's folder: %v", err)
	}
	r, err := Open(t.Context(), dir, o)
	if err != nil {
		_ = os.RemoveAll(dir)
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		r.Close()
		if !t.Failed() {
			_ = os.RemoveAll(dir)
			return
		}
		for _, p := range r.processesBackwards() {
			t.Logf("the end of %s's log (all of it: %s):\n%s", p.Name, p.Log, p.Tail())
		}
	})
	return r
}

// ResultOf waits for a deadline's workflow and gives the result that it completed or failed with.
func ResultOf(ctx context.Context, c client.Client, workflowID string) (post.Result, error) {
	var result post.Result
	err := c.GetWorkflow(ctx, workflowID, "").Get(ctx, &result)
	var missed *temporal.ApplicationError
	if errors.As(err, &missed) && missed.Type() == workflows.ErrorDeadlineMissed {
		return result, missed.Details(&result)
	}
	if err != nil {
		return result, fmt.Errorf("the result of %s: %w", workflowID, err)
	}
	return result, nil
}
