package integration_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/workflows"
)

// Whatever is killed in the middle of a proof, and started again as a supervisor would: every deadline is posted, once.
func TestKilledMidProof(t *testing.T) {
	t.Parallel()
	ctx := within(t, 5*time.Minute)
	r := rig.New(t, rig.Options{Chain: slowChain()})
	hit := map[string]bool{}
	strike := func(what string, kill func(rig.RunningProof)) post.Deadline {
		t.Helper()
		proof, err := r.WaitForRunningProof(ctx, func(id string) bool { return hit[id] })
		require.NoError(t, err)
		kill(proof)
		hit[proof.WorkflowID] = true
		t.Logf("killed %s in the middle of %s partition %d, attempt %d", what, proof.WorkflowID, proof.Partition, proof.Attempt)
		return proof.Deadline
	}
	again := func(p *rig.Process) {
		t.Helper()
		require.NoError(t, p.Start(ctx))
	}

	child := strike("a card's process", func(proof rig.RunningProof) { require.NoError(t, syscall.Kill(proof.ChildPid, syscall.SIGKILL)) })
	worker := strike("the worker", func(rig.RunningProof) {
		children := r.CardChildren()
		r.Worker.Kill()
		eventually(ctx, t, "the cards' processes end with the worker", func() bool { return !anyAlive(children) })
		again(r.Worker)
	})
	daemon := strike("the daemon", func(rig.RunningProof) { r.Daemon.Kill(); again(r.Daemon) })
	server := strike("the Temporal server", func(rig.RunningProof) { r.Temporal.Kill(); again(r.Temporal) })

	if waitAwaiting(ctx, t, r, server) {
		require.NoError(t, r.Daemon.Restart(ctx))
		t.Logf("killed the daemon while it waited for an epoch for %s", server.WorkflowID())
	}

	deadlines := allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, server))
	byID := map[string]post.PartitionResult{}
	for _, d := range deadlines {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
		byID[result.Deadline.WorkflowID()] = partitionOf(t, result, 0)
	}
	assert.Equal(t, 2, byID[child.WorkflowID()].Tries, "a card that dies costs a try")
	assert.Equal(t, 1, byID[worker.WorkflowID()].Tries, "a worker that is lost does not")
	assert.Equal(t, 1, byID[daemon.WorkflowID()].Tries)
	assert.Equal(t, 1, byID[server.WorkflowID()].Tries)
	assert.Equal(t, 1, proofsMade(r, daemon), "the worker's proof went on without the daemon")
	assert.Equal(t, 1, proofsMade(r, server), "and without Temporal")
	record(ctx, t, r, child.WorkflowID(), "", "deadline-card-died")
	record(ctx, t, r, worker.WorkflowID(), "", "deadline-worker-lost")
}

// waitAwaiting returns while a daemon waits for the epoch at which a proven deadline may be submitted, or at which its post
// counts, or says false if both are over.
func waitAwaiting(ctx context.Context, t *testing.T, r *rig.Rig, d post.Deadline) bool {
	t.Helper()
	for {
		row := patiently(ctx, t, func() (boardRow, error) { return boardOf(ctx, r, d.WorkflowID()) })
		require.NoError(t, r.Died())
		state := row.Board.State
		if state.Final() {
			return false
		}
		for _, a := range describe(ctx, t, r, d.WorkflowID()).GetPendingActivities() {
			if (state == post.StateSubmitting || state == post.StateLanded) && a.GetActivityType().GetName() == workflows.ActivityAwaitEpoch && a.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED {
				return true
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func anyAlive(pids []int) bool {
	for _, pid := range pids {
		if rig.Alive(pid) {
			return true
		}
	}
	return false
}

// proofsMade counts in the worker's log how often a proof of a deadline was begun.
func proofsMade(r *rig.Rig, d post.Deadline) int {
	n := 0
	for line := range strings.Lines(r.Worker.ReadLog()) {
		if strings.Contains(line, "msg=proving ") && strings.Contains(line, "deadline="+d.String()+" ") {
			n++
		}
	}
	return n
}
