package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/rig"
	"posthaste/workers"
)

// deadlineOf is the deadline of a report in posthaste's words, as far as its workflow's ID needs it.
func deadlineOf(t *testing.T, d devnet.DeadlineReport) post.Deadline {
	t.Helper()
	miner, err := post.ParseMiner(d.Miner)
	require.NoError(t, err)
	return post.Deadline{Miner: miner, PeriodStart: d.PeriodStart, Index: d.Index}
}

// resultOf waits for the workflow of a deadline to end.
func resultOf(ctx context.Context, t *testing.T, r *rig.Rig, d devnet.DeadlineReport) post.Result {
	t.Helper()
	result, err := r.Result(ctx, deadlineOf(t, d))
	require.NoError(t, err)
	return result
}

// story is what the board says of a deadline, for a failed test.
func story(t *testing.T, r *rig.Rig, d devnet.DeadlineReport) string {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	row, err := boardOf(ctx, r, deadlineOf(t, d).WorkflowID())
	if err != nil {
		return err.Error()
	}
	return row.Status + ": " + row.Board.Markdown(0)
}

// boardOf is the board's row of a workflow's latest run.
func boardOf(ctx context.Context, r *rig.Rig, workflowID string) (workers.Row, error) {
	return workers.ReadRow(ctx, r.Client(), workflowID)
}

// eventually waits until a condition holds.
func eventually(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			require.FailNow(t, "never: "+what)
		}
	}
}

// patiently asks a server that may be busy: it says at times that it is unavailable, or answers too late.
func patiently[T any](ctx context.Context, t *testing.T, ask func() (T, error)) T {
	t.Helper()
	answer, err := ask()
	for range 5 {
		if err == nil || ctx.Err() != nil {
			break
		}
		t.Log(err)
		time.Sleep(time.Second)
		answer, err = ask()
	}
	require.NoError(t, err)
	return answer
}

// partitionOf is one partition of a result.
func partitionOf(t *testing.T, result post.Result, index uint64) post.PartitionResult {
	t.Helper()
	for _, p := range result.Partitions {
		if p.Index == index {
			return p
		}
	}
	require.FailNow(t, "no such partition", "%d in %+v", index, result)
	return post.PartitionResult{}
}
