package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/rig"
)

// The main job: two miners, several deadlines of one and two partitions, all posted in time and once, and each workflow says
// by which card, at which try and in which message.
func TestMainJob(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	r := rig.New(t, rig.Options{Chain: slowChain("--deadlines", "6", "--wide-every", "2")})
	deadlines := allPosted(ctx, t, r, 4)

	partitions, miners := 0, map[string]bool{}
	var results []post.Result
	for _, d := range deadlines {
		miners[d.Miner] = true
		result := resultOf(ctx, t, r, d)
		results = append(results, result)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
		require.Len(t, result.Partitions, len(d.Partitions))
		for i, p := range result.Partitions {
			partitions++
			landed := d.Partitions[i]
			assert.Equal(t, post.StatePosted, p.State)
			assert.Contains(t, []string{"rig/card0", "rig/card1"}, p.Card)
			assert.Equal(t, 1, p.Tries, "one try is enough when nothing fails")
			assert.Equal(t, 2, p.Sectors)
			assert.Empty(t, p.Skipped)
			assert.Empty(t, p.Reason)
			assert.Equal(t, landed.Message, p.Message, "the workflow names the message that the chain has")
			assert.Equal(t, landed.LandedEpoch, p.Landed)
			assert.Positive(t, p.Phases.Snark)
		}
	}
	assert.Len(t, miners, 2)
	assert.Greater(t, partitions, len(deadlines), "some deadlines have two partitions")
	recordPosted(ctx, t, r, results)
}

// within bounds a whole test, so that one that waits in vain says what for. The limit is generous for a machine with nothing else to do; one that is
// slow or busy has twice the time.
func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
	t.Cleanup(cancel)
	return ctx
}

// allPosted waits until the first n deadlines are closed and checks that the chain has a verified proof of
// each partition, sent once, with no message failed and no sector skipped or faulty.
func allPosted(ctx context.Context, t *testing.T, r *rig.Rig, n int) []devnet.DeadlineReport {
	t.Helper()
	deadlines := posted(ctx, t, r, n)
	for _, d := range deadlines {
		for _, p := range d.Partitions {
			assert.Empty(t, p.Skipped, "%s/%d partition %d", d.Miner, d.Index, p.Index)
			assert.Zero(t, p.FaultyAfter, "%s/%d partition %d", d.Miner, d.Index, p.Index)
		}
	}
	return deadlines
}

// posted is allPosted where sectors may be bad.
func posted(ctx context.Context, t *testing.T, r *rig.Rig, n int) []devnet.DeadlineReport {
	t.Helper()
	deadlines, err := r.WaitDeadlinesClosed(ctx, 0, n)
	require.NoError(t, err)
	for _, d := range deadlines {
		for _, p := range d.Partitions {
			assert.True(t, p.Posted && p.Verified, "%s/%d partition %d: posted %v, verified %v; the workflow says: %s",
				d.Miner, d.Index, p.Index, p.Posted, p.Verified, story(t, r, d))
		}
	}
	report, err := r.Report(ctx)
	require.NoError(t, err)
	assert.Zero(t, report.Messages.Failed, "messages failed on the chain")
	assert.Zero(t, report.Messages.SentTwice, "posts were sent twice")
	return deadlines
}
