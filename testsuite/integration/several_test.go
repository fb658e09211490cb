package integration_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
)

// Three partitions of a deadline are one proof and one message. The first sector is gone: the cut of the proof moves by one against the
// partitions, so that proofs of single partitions, merged, would not be the chain's; and it is skipped in the partition that holds it.
func TestThreePartitionsInOneMessage(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	r := rig.New(t, rig.Options{
		Chain:  slowChain("--miners", "1", "--partitions", "3", "--deadlines", "4"),
		Policy: []string{"partitions_per_post = 3"},
		Before: func(r *rig.Rig) {
			require.NoError(t, sealing.Delete(r.Stores()[0].Path, minerNumber(0), 1))
		},
	})
	d := posted(ctx, t, r, 1)[0]
	require.Len(t, d.Partitions, 3)
	assert.Equal(t, []abi.SectorNumber{1}, d.Partitions[0].Skipped)
	assert.Empty(t, d.Partitions[1].Skipped)
	assert.Empty(t, d.Partitions[2].Skipped)
	result := resultOf(ctx, t, r, d)
	message := result.Partitions[0].Message
	require.NotEmpty(t, message)
	for i, p := range result.Partitions {
		assert.Equal(t, message, p.Message, "partition %d went by itself", i)
		assert.Len(t, p.With, 2)
		assert.Equal(t, result.Partitions[0].Card, p.Card)
	}
	assert.Len(t, result.Partitions[0].Skipped, 1)
}
