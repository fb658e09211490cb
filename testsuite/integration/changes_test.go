package integration_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
)

// A miner half of whose sectors are upgraded, and that becomes another one between its deadlines and within one.
//
//   - Deadline 0, sectors 1 and 2: the store has 1 upgraded as well, of which the chain does not know.
//   - Deadline 1, sectors 3 and 4: the upgraded files of 4 are gone; those from before its upgrade are there.
//   - Deadline 2, sectors 5 and 6: before it comes it gets a partition more, the first one is compacted to the end, and sector 5 is upgraded. While it is
//     under way the address that posts is no longer allowed to.
func TestTheMinerChanges(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	const miner = abi.ActorID(1000)
	change := func(r *rig.Rig, what string, with map[string]any) (answer map[string]any) {
		data, err := r.ChangeMiner(ctx, "f01000", what, with)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &answer))
		return answer
	}
	r := rig.New(t, rig.Options{
		Chain: slowChain("--miners", "1", "--deadlines", "4", "--upgraded-every", "2"),
		Before: func(r *rig.Rig) {
			store := r.Stores()[0].Path
			_, err := sealing.Upgrade(ctx, store, miner, 1)
			require.NoError(t, err)
			require.NoError(t, os.Remove(sealing.UpdateFile(store, miner, 4)))
			require.NoError(t, os.RemoveAll(sealing.UpdateCacheDir(store, miner, 4)))
			assert.Equal(t, []any{9., 10.}, change(r, "add-partition", map[string]any{"deadline": 2})["sectors"])
			change(r, "upgrade", map[string]any{"sector": 5})
			change(r, "compact", map[string]any{"deadline": 2, "partition": 0})
		},
	})
	was, is := changeSenders(ctx, t, r, change)

	deadlines := posted(ctx, t, r, 3)
	for _, p := range append(deadlines[0].Partitions, deadlines[2].Partitions...) {
		assert.Empty(t, p.Skipped)
	}
	assert.Equal(t, []abi.SectorNumber{4}, deadlines[1].Partitions[0].Skipped)
	skipped := partitionOf(t, resultOf(ctx, t, r, deadlines[1]), 0).Skipped
	if assert.Len(t, skipped, 1) {
		assert.Contains(t, skipped[0].Reason, "only as it was before its upgrade")
	}
	if assert.Len(t, deadlines[2].Partitions, 2) {
		for _, p := range deadlines[2].Partitions {
			assert.Contains(t, is, p.From)
			assert.NotContains(t, was, p.From)
		}
	}
}

// changeSenders waits until deadline 2 is being proven, and replaces every address that may send its posts. It gives those of before and of after.
func changeSenders(ctx context.Context, t *testing.T, r *rig.Rig, change func(*rig.Rig, string, map[string]any) map[string]any) (was, is []string) {
	var report devnet.Report
	eventually(ctx, t, "the first deadline is posted", func() bool {
		var err error
		report, err = r.Report(ctx)
		require.NoError(t, err)
		require.False(t, len(report.Deadlines) > 0 && report.Deadlines[0].Closed && !report.Deadlines[0].Partitions[0].Posted, "the first deadline was missed")
		return len(report.Deadlines) > 0 && report.Deadlines[0].Partitions[0].From != ""
	})
	first := report.Deadlines[0]
	third := post.Deadline{Miner: 1000, PeriodStart: first.PeriodStart, Index: 2}
	eventually(ctx, t, "deadline 2 is read, with both partitions", func() bool {
		row, err := boardOf(ctx, r, third.WorkflowID())
		return err == nil && len(row.Board.Partitions) == 2
	})
	for _, role := range []string{"control", "worker", "owner"} {
		is = append(is, change(r, "change-key", map[string]any{"role": role})[role].(string))
	}
	return []string{first.Partitions[0].From}, is
}
