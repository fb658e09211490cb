package integration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workers"
	"posthaste/workflows"
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

// miner makes a miner with its sectors and proofs.
func (f fleet) miner(ctx context.Context, t *testing.T, i, sets int) *load.Miner {
	t.Helper()
	m, err := f.load.NewMiner(ctx, minerNumber(i), sets)
	require.NoError(t, err)
	return m
}

// stub is a card that takes so long for a proof.
func (f fleet) stub(name string, sleep time.Duration, flags ...string) rig.Card {
	return f.Stub(name, append(append(f.load.Proofs(), "--sleep", sleep.String()), flags...)...)
}

// stubs are several of them.
func (f fleet) stubs(n int, sleep time.Duration, flags ...string) []rig.Card {
	cards := make([]rig.Card, n)
	for i := range cards {
		cards[i] = f.stub(fmt.Sprintf("card%d", i), sleep, flags...)
	}
	return cards
}

// start adds a worker and starts it.
func (f fleet) start(ctx context.Context, t *testing.T, w rig.Worker) *rig.Process {
	t.Helper()
	p := f.AddWorker(w)
	require.NoError(t, p.Start(ctx))
	return p
}

// issue issues a deadline.
func (f fleet) issue(ctx context.Context, t *testing.T, w load.Work) post.Deadline {
	t.Helper()
	d, err := f.load.Issue(ctx, w)
	require.NoError(t, err)
	return d
}

// proven waits until so many proofs have arrived.
func (f fleet) proven(ctx context.Context, t *testing.T, n int) []load.Proven {
	t.Helper()
	require.NoError(t, f.load.WaitProven(ctx, n))
	return f.load.Proven()
}

// partition waits until the board shows a partition as a condition wants it.
func (f fleet) partition(ctx context.Context, t *testing.T, d post.Deadline, index uint64, what string, holds func(post.PartitionResult) bool) post.PartitionResult {
	t.Helper()
	p, err := f.load.WaitPartition(ctx, d, index, what, holds)
	require.NoError(t, err)
	return p
}

// waits waits until the board says that a deadline's first partition waits, and for what.
func (f fleet) waits(ctx context.Context, t *testing.T, d post.Deadline, says string) post.PartitionResult {
	t.Helper()
	p := f.partition(ctx, t, d, 0, "said to wait: "+says, func(p post.PartitionResult) bool { return strings.Contains(p.Waits, says) })
	t.Log(p.Waits)
	return p
}

// posted waits until a partition is posted.
func (f fleet) posted(ctx context.Context, t *testing.T, d post.Deadline, index uint64) post.PartitionResult {
	t.Helper()
	return f.partition(ctx, t, d, index, "posted", func(p post.PartitionResult) bool { return p.State == post.StatePosted })
}

// events is what the stubs have written down.
func (f fleet) events(t *testing.T) []stub.Event {
	t.Helper()
	events, err := f.load.Events()
	require.NoError(t, err)
	return events
}

// event waits for the stubs to write down something, and gives the first such thing.
func (f fleet) event(ctx context.Context, t *testing.T, what string, is func(stub.Event) bool) stub.Event {
	t.Helper()
	e, err := f.load.WaitEvent(ctx, what, is)
	require.NoError(t, err)
	return e
}

// count counts events.
func (f fleet) count(t *testing.T, is func(stub.Event) bool) int {
	t.Helper()
	n := 0
	for _, e := range f.events(t) {
		if is(e) {
			n++
		}
	}
	return n
}

// of is the worker whose card an event is of, and the others.
func (f fleet) of(t *testing.T, e stub.Event) (worker *rig.Process, others []*rig.Process) {
	t.Helper()
	for _, w := range f.Workers {
		if w.Pid() == e.Parent {
			worker = w
		} else {
			others = append(others, w)
		}
	}
	require.NotNil(t, worker, "no worker has process %d", e.Parent)
	return worker, others
}

// workerIs waits until what is kept of a worker is as a condition wants it.
func (f fleet) workerIs(ctx context.Context, t *testing.T, name, what string, holds func(post.WorkerState) bool) post.WorkerState {
	t.Helper()
	var state post.WorkerState
	eventually(ctx, t, "worker "+name+" "+what, func() bool {
		var err error
		state, err = f.load.Worker(ctx, name)
		return err == nil && holds(state)
	})
	return state
}

// reported waits until all running workers have said what they may take.
func (f fleet) reported(ctx context.Context, t *testing.T) {
	t.Helper()
	require.NoError(t, f.load.WaitReported(ctx))
}

// order gives a worker an order.
func (f fleet) order(ctx context.Context, t *testing.T, worker, update string, args ...any) workflows.Told {
	t.Helper()
	told, err := workers.Order(ctx, f.Client(), worker, update, args...)
	require.NoError(t, err)
	return told
}

// status of a deadline's latest run.
func (f fleet) status(ctx context.Context, t *testing.T, d post.Deadline) enums.WorkflowExecutionStatus {
	t.Helper()
	return describe(ctx, t, f.Rig, d.WorkflowID()).GetWorkflowExecutionInfo().GetStatus()
}

// workerOf is the worker in the name of a card.
func workerOf(card string) string { return before(card, "/") }

// Two workers that admit the same share a deadline of many partitions: each is proven once.
func TestSharedLoad(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	for _, name := range []string{"a", "b"} {
		f.start(ctx, t, rig.Worker{Name: name, Attached: miner.Stores(), Cards: f.stubs(4, 100*time.Millisecond)})
	}
	f.reported(ctx, t)
	const jobs = 64
	d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: jobs})
	byWorker := map[string]int{}
	for _, p := range f.proven(ctx, t, jobs) {
		byWorker[workerOf(p.Card)]++
		assert.Equal(t, 1, p.Try)
	}
	assert.Equal(t, jobs, f.count(t, func(e stub.Event) bool { return e.Event == stub.EventEnd }))
	assert.Positive(t, byWorker["a"])
	assert.Positive(t, byWorker["b"])
	attempts, err := f.load.Attempts(ctx, d)
	require.NoError(t, err)
	assert.Len(t, attempts, jobs)
	for _, a := range attempts {
		assert.True(t, strings.HasPrefix(a.Queue, "wdpost."), a.Queue)
	}
}
