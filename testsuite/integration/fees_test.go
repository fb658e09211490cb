package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/big"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/rig"
)

// waitPool waits until the messages in the node's pool are as wanted.
func waitPool(ctx context.Context, t *testing.T, r *rig.Rig, what string, wanted func([]devnet.PoolMessage) bool) []devnet.PoolMessage {
	t.Helper()
	var pool []devnet.PoolMessage
	eventually(ctx, t, what, func() (ok bool) {
		var err error
		pool, err = r.Pool(ctx)
		require.NoError(t, err)
		return wanted(pool)
	})
	return pool
}

// The base fee rises far above what a post may pay that waits in the pool: it is replaced at its nonce. A node forgets its pool: what was in it
// is pushed again. A block is full for some epochs: premiums rise. Whatever happens, with two daemons each partition is posted once.
func TestFees(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	r := rig.New(t, rig.Options{
		Chain:  slowChain("--miners", "1", "--deadlines", "4", "--partitions", "2"),
		Policy: []string{"submit_confidence = 0", `max_fee = "3 FIL"`},
	})
	second := r.AddDaemon("daemon2")
	require.NoError(t, second.Start(ctx))
	two := func(pool []devnet.PoolMessage) bool { return len(pool) == 2 }

	require.NoError(t, r.StopIncluding(ctx))
	before := waitPool(ctx, t, r, "two posts wait in the pool", two)
	// About 40 M gas: 3 FIL allow 75 nanoFIL. A sender with 9 FIL gives each message a quarter of what it has left, 57 nanoFIL at first.
	require.NoError(t, r.SetBaseFee(ctx, 600_000)) // 60 nanoFIL
	after := waitPool(ctx, t, r, "both are replaced, since no block could hold them", func(pool []devnet.PoolMessage) bool {
		return two(pool) && pool[0].Message != before[0].Message && pool[1].Message != before[1].Message
	})
	for i := range after {
		assert.Equal(t, before[i].Nonce, after[i].Nonce)
		assert.Equal(t, before[i].From, after[i].From)
		least := big.Div(big.Mul(before[i].Premium, big.NewInt(125)), big.NewInt(100))
		assert.True(t, after[i].Premium.GreaterThanEqual(least), "%s after %s", after[i].Premium, before[i].Premium)
		assert.True(t, after[i].FeeCap.GreaterThan(big.NewInt(60_000_000_000)), "a fee cap of %s", after[i].FeeCap)
	}
	require.NoError(t, r.ResumeIncluding(ctx))
	first := allPosted(ctx, t, r, 1)[0]
	for i, p := range first.Partitions {
		assert.NotEqual(t, before[i].Message, p.Message)
		landed := partitionOf(t, resultOf(ctx, t, r, first), p.Index)
		assert.Equal(t, p.Message, landed.Message, "the board names the message that landed")
	}

	require.NoError(t, r.SetBaseFee(ctx, 1))
	require.NoError(t, r.StopIncluding(ctx))
	before = waitPool(ctx, t, r, "the next deadline's posts wait", two)
	dropped, err := r.DropMempool(ctx)
	require.NoError(t, err)
	assert.Equal(t, 2, dropped)
	waitPool(ctx, t, r, "they are there again", two)
	waitPool(ctx, t, r, "the lowest nonce is replaced first, when it has waited", func(pool []devnet.PoolMessage) bool {
		return two(pool) && pool[0].Premium.GreaterThan(before[0].Premium)
	})
	require.NoError(t, second.Restart(ctx))
	require.NoError(t, r.ResumeIncluding(ctx))
	deadlines := allPosted(ctx, t, r, 2)
	assert.Equal(t, post.StatePosted, resultOf(ctx, t, r, deadlines[1]).State)
	record(ctx, t, r, "sender-"+before[0].From, "", "sender-fees")
}
