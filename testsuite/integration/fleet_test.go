package integration_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
)

// fleet is a bare rig with a load on it.
type fleet struct {
	*rig.Rig
	load *load.Load
}

// newFleet starts Temporal and a daemon that is played; the test adds the workers.
func newFleet(t *testing.T, o load.Options) fleet {
	t.Helper()
	r := rig.New(t, rig.Options{Bare: true})
	l, err := load.Start(t.Context(), r, o)
	require.NoError(t, err)
	t.Cleanup(l.Stop)
	return fleet{Rig: r, load: l}
}

// stubs are cards that take so long for a proof.
func (f fleet) stubs(n int, sleep time.Duration, flags ...string) []rig.Card {
	cards := make([]rig.Card, n)
	for i := range cards {
		cards[i] = f.Stub(fmt.Sprintf("card%d", i), append(append(f.load.Proofs(), "--sleep", sleep.String()), flags...)...)
	}
	return cards
}

// events is what the stubs have written down.
func (f fleet) events(t *testing.T) []stub.Event {
	t.Helper()
	events, err := stub.Events(f.load.Record())
	require.NoError(t, err)
	return events
}

// miner makes a miner with its sectors and proofs.
func (f fleet) miner(ctx context.Context, t *testing.T, i, sets int) *load.Miner {
	t.Helper()
	m, err := f.load.NewMiner(ctx, minerNumber(i), sets)
	require.NoError(t, err)
	return m
}

// Two workers that admit the same share a deadline of many partitions: each is proven once.
func TestSharedLoad(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	for _, name := range []string{"a", "b"} {
		f.AddWorker(rig.Worker{Name: name, Attached: miner.Stores(), Cards: f.stubs(4, 100*time.Millisecond)})
	}
	require.NoError(t, f.StartWorkers(ctx))
	const jobs = 64
	d, err := f.load.Issue(ctx, load.Work{Miner: miner, Partitions: jobs})
	require.NoError(t, err)
	require.NoError(t, f.load.WaitProven(ctx, jobs))

	byWorker, proofs := map[string]int{}, 0
	for _, p := range f.load.Proven() {
		byWorker[before(p.Card, "/")]++
		assert.Equal(t, 1, p.Try)
	}
	for _, e := range f.events(t) {
		if e.Event == stub.EventEnd {
			proofs++
		}
	}
	assert.Equal(t, jobs, proofs)
	assert.Positive(t, byWorker["a"])
	assert.Positive(t, byWorker["b"])
	attempts, err := f.load.Attempts(ctx, d)
	require.NoError(t, err)
	assert.Len(t, attempts, jobs)
}
