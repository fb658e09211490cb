package integration_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// patientChain has deadlines in which a minute can go by: two from a challenge to Close, a new one every 100 s.
var patientChain = []string{"--miners", "2", "--epoch", "500ms", "--window", "200", "--lookback", "40", "--fault-cutoff", "50", "--deadlines", "4", "--wide-every", "0"}

// The node is down when the daemon starts and goes away in the middle of a deadline; Temporal goes away in the middle of a
// proof; one configured miner does not exist. Each is said clearly and nothing is lost.
func TestOutages(t *testing.T) {
	t.Parallel() // with cards that only sleep: its deadlines are patient
	ctx := within(t, 8*time.Minute)
	const away = time.Minute
	r := rig.New(t, rig.Options{Chain: patientChain, Before: func(r *rig.Rig) {
		r.Config.Miners = append(r.Config.Miners, "f09999")
		require.NoError(t, r.PauseRPC(ctx, 3*time.Second))
	}})
	says(ctx, t, r.Daemon, "the node cannot be reached", "check that it runs and listens there")

	first, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, r.PauseRPC(ctx, away))
	t.Logf("the node went away for %v in the middle of %s", away, first.WorkflowID)
	says(ctx, t, r.Daemon, "the chain has no miner actor f09999", "posthaste.toml")

	second, err := r.WaitForRunningProof(ctx, func(id string) bool { return id == first.WorkflowID || minerOf(t, id) != minerOf(t, first.WorkflowID) })
	require.NoError(t, err)
	r.Temporal.Kill()
	t.Logf("Temporal went away for %v in the middle of %s", away, second.WorkflowID)
	time.Sleep(away)
	require.NoError(t, r.Temporal.Start(ctx))

	for _, d := range allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, second.Deadline)) {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
		assert.Equal(t, 1, partitionOf(t, result, 0).Tries, "an outage is nobody's failed try")
	}
	assert.Equal(t, 1, proofsMade(r, first.Deadline), "a worker does not need the node")
	assert.Equal(t, 1, proofsMade(r, second.Deadline), "the proof outlives a server that is away")
	record(ctx, t, r, first.WorkflowID, "", "deadline-node-away")
	record(ctx, t, r, second.WorkflowID, "", "deadline-proof-by-signal")
}
