package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workflows"
)

// mode writes what a stub with this --mode-file does from now on; without a file, into a new one.
func (f fleet) mode(t *testing.T, file string, mode stub.Mode) string {
	t.Helper()
	if file == "" {
		folder, err := os.MkdirTemp(f.Dir, "mode-")
		require.NoError(t, err)
		file = filepath.Join(folder, "mode")
	}
	require.NoError(t, os.WriteFile(file+".new", []byte(mode), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
	return file
}

// fenced says whether a card is, in what is kept of its worker, and why.
func fenced(s post.WorkerState, card string) (string, bool) {
	for _, fence := range s.Orders.Fences {
		if fence.Card == card {
			return fence.Reason, true
		}
	}
	return "", false
}

// cards counts proofs by card.
func cards(proven []load.Proven) map[string]int {
	n := map[string]int{}
	for _, p := range proven {
		n[p.Card]++
	}
	return n
}

// A card that proves false, or dies, three times in a row is fenced, and its work goes to the other card; so it stays when the worker is
// killed and started again, until an operator lifts the fence.
func TestFencing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		mode stub.Mode
		says string
	}{{stub.False, "verif"}, {stub.Crash, "out of memory, as a test wants it"}} {
		t.Run(string(tc.mode), func(t *testing.T) {
			t.Parallel()
			ctx := within(t, 3*time.Minute)
			f := newFleet(t, load.Options{})
			miner := f.miner(ctx, t, 0, 1)
			mode := f.mode(t, "", tc.mode)
			worker := f.start(ctx, t, rig.Worker{Name: "a", Attached: miner.Stores(),
				Cards: []rig.Card{f.stub("bad", 20*time.Millisecond, "--mode-file", mode), f.stub("good", 20*time.Millisecond)}})
			f.reported(ctx, t)

			jobs := 0
			var state post.WorkerState
			for len(state.Orders.Fences) == 0 { // the good card may be faster than the bad one
				jobs += 6
				f.issue(ctx, t, load.Work{Miner: miner, Partitions: 6})
				all := f.proven(ctx, t, jobs)
				assert.Equal(t, map[string]int{"a/good": jobs}, cards(all), "all work goes to the other card")
				var err error
				state, err = f.load.Worker(ctx, "a")
				require.NoError(t, err)
			}
			reason, is := fenced(state, "bad")
			require.True(t, is, "%+v", state.Orders)
			assert.Contains(t, reason, tc.says)
			t.Log(reason)
			ends := f.count(t, func(e stub.Event) bool { return e.Event == stub.EventEnd && e.Outcome == tc.mode })
			assert.Equal(t, 3, ends, "three in a row")

			worker.Kill()
			require.NoError(t, worker.Start(ctx))
			f.reported(ctx, t)
			f.issue(ctx, t, load.Work{Miner: miner, Partitions: 12})
			all := f.proven(ctx, t, jobs+12)
			assert.Equal(t, map[string]int{"a/good": jobs + 12}, cards(all), "the fence outlives the worker")
			assert.Equal(t, 3, f.count(t, func(e stub.Event) bool { return e.Event == stub.EventEnd && e.Outcome == tc.mode }))

			f.mode(t, mode, stub.OK)
			told := f.order(ctx, t, "a", workflows.UpdateUnfence, "bad")
			assert.True(t, told.Reached, told.Why)
			assert.Empty(t, told.Orders.Fences)
			f.provenBy(ctx, t, miner, "a/bad")
			if tc.mode == stub.False {
				record(ctx, t, f.Rig, workflows.WorkerWorkflowID("a"), "", "worker-fenced")
			}
		})
	}
}

// provenBy issues deadlines until a card has proven something.
func (f fleet) provenBy(ctx context.Context, t *testing.T, miner *load.Miner, card string) {
	t.Helper()
	for cards(f.load.Proven())[card] == 0 {
		n := len(f.load.Proven())
		f.issue(ctx, t, load.Work{Miner: miner, Partitions: 4})
		f.proven(ctx, t, n+4)
	}
}

// A GPU card whose library goes on on the CPU is fenced at once, and its job is proven elsewhere.
func TestFallbackIsFenced(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	bad := f.stub("bad", 30*time.Second, "--mode", string(stub.Fallback))
	bad.Keys = []string{"gpu = true"}
	f.start(ctx, t, rig.Worker{Name: "a", Attached: miner.Stores(), Cards: []rig.Card{bad, f.stub("good", 20*time.Millisecond)}})
	f.reported(ctx, t)
	const jobs = 4
	f.issue(ctx, t, load.Work{Miner: miner, Partitions: jobs})
	assert.Equal(t, map[string]int{"a/good": jobs}, cards(f.proven(ctx, t, jobs)))
	state := f.workerIs(ctx, t, "a", "has a fenced card", func(s post.WorkerState) bool { return len(s.Orders.Fences) > 0 })
	reason, is := fenced(state, "bad")
	require.True(t, is, "%+v", state.Orders)
	assert.Contains(t, strings.ToLower(reason), "cpu")
	t.Log(reason)
	assert.Equal(t, 1, f.count(t, func(e stub.Event) bool {
		return e.Event == stub.EventPhase && e.Phase == "vanilla" && e.TempDir == f.tempDir("bad")
	}), "once is enough")
}

// tempDir is the TMPDIR of a card of the first worker.
func (f fleet) tempDir(card string) string { return filepath.Join(f.Dir, "worker-tmp", card) }

// A worker whose only card is fenced has its waiting jobs taken by another.
func TestLastCardFenced(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	f.start(ctx, t, rig.Worker{Name: "a", Attached: miner.Stores(), Cards: f.stubs(1, 20*time.Millisecond, "--mode", string(stub.False))})
	f.reported(ctx, t)
	d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: 4})
	f.workerIs(ctx, t, "a", "has a fenced card", func(s post.WorkerState) bool { return len(s.Orders.Fences) > 0 })
	f.partition(ctx, t, d, 3, "said to wait for a card that is not fenced", func(p post.PartitionResult) bool { return strings.Contains(p.Waits, "fenced") })
	f.start(ctx, t, rig.Worker{Name: "b", Attached: miner.Stores(), Cards: f.stubs(1, 20*time.Millisecond)})
	assert.Equal(t, map[string]int{"b/card0": 4}, cards(f.proven(ctx, t, 4)))
}
