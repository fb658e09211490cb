package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
)

// mount gives a worker a way of its own to a store, which can be taken away without the others noticing.
func (f fleet) mount(t *testing.T, worker string, store rig.Store) rig.Store {
	t.Helper()
	path := filepath.Join(f.Dir, "mnt-"+worker+"-"+store.Name)
	require.NoError(t, os.Symlink(store.Path, path))
	return rig.Store{Name: store.Name, Path: path}
}

// unmount takes it away; remount brings it back.
func unmount(t *testing.T, store rig.Store) {
	t.Helper()
	require.NoError(t, os.Rename(store.Path, store.Path+".away"))
}

func remount(t *testing.T, store rig.Store) {
	t.Helper()
	require.NoError(t, os.Rename(store.Path+".away", store.Path))
}

// lost says whether a worker reports a store as lost.
func lost(store rig.Store) func(post.WorkerState) bool {
	return func(s post.WorkerState) bool {
		for _, l := range s.Report.LostStores {
			if l.Name == store.Name {
				return true
			}
		}
		return false
	}
}

// A store goes away at one of two workers: the other does its jobs. It goes away there too: the jobs wait, say so, and go on when it is
// back. No try is burned by any of that.
func TestStoresComeAndGo(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	mounts := map[string]rig.Store{}
	for _, name := range []string{"a", "b"} {
		mounts[name] = f.mount(t, name, miner.Store)
		f.start(ctx, t, rig.Worker{Name: name, Attached: []rig.Store{mounts[name]}, Cards: f.stubs(2, 20*time.Millisecond)})
	}
	f.reported(ctx, t)

	unmount(t, mounts["a"])
	f.issue(ctx, t, load.Work{Miner: miner, Partitions: 8}) // at once: the worker finds out when it is asked
	all := f.proven(ctx, t, 8)
	for _, p := range all {
		assert.Equal(t, 1, p.Try)
	}
	f.workerIs(ctx, t, "a", "reports its lost store", lost(mounts["a"]))
	f.issue(ctx, t, load.Work{Miner: miner, Partitions: 8})
	assert.Equal(t, 8, cardsOf("b", f.proven(ctx, t, 16)[8:]))

	unmount(t, mounts["b"])
	f.workerIs(ctx, t, "b", "reports its lost store", lost(mounts["b"]))
	d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: 2})
	f.waits(ctx, t, d, fmt.Sprintf("%q", miner.Store.Name))
	remount(t, mounts["a"])
	for i := range uint64(2) {
		p := f.posted(ctx, t, d, i)
		assert.Equal(t, "a", workerOf(p.Card))
		assert.Equal(t, 1, p.Tries)
		assert.Empty(t, p.Skipped)
	}
}

// cardsOf counts the proofs of a worker.
func cardsOf(worker string, proven []load.Proven) int {
	n := 0
	for _, p := range proven {
		if workerOf(p.Card) == worker {
			n++
		}
	}
	return n
}

// A store that goes away while a job is read makes sectors look bad. They are not declared faulty: the job goes to a worker that can
// read the store.
func TestStoreLostInAJob(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	mount := f.mount(t, "a", miner.Store)
	f.start(ctx, t, rig.Worker{Name: "a", Attached: []rig.Store{mount}, Cards: f.stubs(1, 5*time.Second, "--mode", string(stub.Faults))})
	f.reported(ctx, t)
	d := f.issue(ctx, t, load.Work{Miner: miner})
	f.event(ctx, t, "the job is being read", load.Begun(time.Time{}))
	unmount(t, mount)
	f.start(ctx, t, rig.Worker{Name: "b", Attached: miner.Stores(), Cards: f.stubs(1, 20*time.Millisecond)})
	p := f.posted(ctx, t, d, 0)
	assert.Equal(t, "b/card0", p.Card)
	assert.Empty(t, p.Skipped, "nothing is declared faulty")
	assert.Equal(t, 1, p.Tries)
}

// A mount that hangs, as one whose server is gone does, keeps neither the worker nor its other stores from working.
func TestHangingMount(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	good, hanging := f.miner(ctx, t, 0, 1), f.miner(ctx, t, 1, 1)
	name := filepath.Join(hanging.Store.Path, "sectorstore.json")
	require.NoError(t, os.Remove(name))
	require.NoError(t, syscall.Mkfifo(name, 0o644)) // whoever opens it waits for ever
	f.start(ctx, t, rig.Worker{Name: "a", Attached: []rig.Store{good.Store, hanging.Store}, Cards: f.stubs(1, 20*time.Millisecond)})
	f.workerIs(ctx, t, "a", "reports the hanging store", lost(hanging.Store))
	d := f.issue(ctx, t, load.Work{Miner: good})
	assert.Equal(t, 1, f.posted(ctx, t, d, 0).Tries)
	waits := f.issue(ctx, t, load.Work{Miner: hanging})
	f.waits(ctx, t, waits, fmt.Sprintf("%q", hanging.Store.Name))
}
