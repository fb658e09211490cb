package integration_test

import (
	"fmt"
	"slices"
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

// permitted is what a worker of the routing test may take, in the test's own words.
type permitted struct {
	pool   string
	miners []int // none: any
	stores []int
	size   string // empty: any
}

// Mixed pools, miners, sizes and stores over six workers, and 500 jobs at once: each is proven once, by a worker that may.
func TestRouting(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	f := newFleet(t, load.Options{Trust: true})
	var miners []*load.Miner
	for i := range 3 {
		miners = append(miners, f.miner(ctx, t, i, 1))
	}
	fleet := map[string]permitted{
		"all":     {pool: "gpu", stores: []int{0, 1, 2}},
		"own":     {pool: "gpu", miners: []int{0}, stores: []int{0, 1, 2}},
		"near":    {pool: "gpu", stores: []int{0}},
		"fast":    {pool: "fast", stores: []int{0, 1, 2}},
		"large":   {pool: "gpu", stores: []int{0, 1, 2}, size: "32GiB"},
		"two-few": {pool: "gpu", miners: []int{1, 2}, stores: []int{2}},
	}
	for name, may := range fleet {
		w := rig.Worker{Name: name, Pool: may.pool, Cards: f.stubs(3, 50*time.Millisecond)}
		for _, i := range may.stores {
			w.Attached = append(w.Attached, miners[i].Store)
		}
		if len(may.miners) > 0 || may.size != "" {
			var rule rig.Rule
			for _, i := range may.miners {
				rule.Miners = append(rule.Miners, uint64(minerNumber(i)))
			}
			if may.size != "" {
				rule.Sizes = []string{may.size}
			}
			w.Rules = []rig.Rule{rule}
		}
		f.AddWorker(w)
	}
	require.NoError(t, f.StartWorkers(ctx))
	f.reported(ctx, t)

	pools := map[post.Deadline]string{}
	const deadlines, partitions = 20, 25
	for i := range deadlines {
		pool := []string{"", "gpu", "fast", ""}[i%4]
		d := f.issue(ctx, t, load.Work{Miner: miners[i%3], Partitions: partitions, Set: func(s *post.Settings) { s.Pool = pool }})
		pools[d] = pool
	}
	byWorker := map[string]int{}
	seen := map[string]bool{}
	for _, p := range f.proven(ctx, t, deadlines*partitions) {
		worker, miner := workerOf(p.Card), int(p.Deadline.Miner-minerNumber(0))
		byWorker[worker]++
		may := fleet[worker]
		pool := pools[p.Deadline]
		assert.True(t, pool == "" || pool == may.pool, "a job for pool %q was proven in %q by %s", pool, may.pool, p.Card)
		assert.True(t, len(may.miners) == 0 || slices.Contains(may.miners, miner), "a job of miner %d was proven by %s", miner, p.Card)
		assert.Contains(t, may.stores, miner, "a job was proven by %s, which does not have the store", p.Card)
		assert.Empty(t, may.size, "a 2 KiB job was proven by %s", p.Card)
		assert.Equal(t, 1, p.Try)
		job := fmt.Sprint(p.Deadline, p.Partition)
		assert.False(t, seen[job], "%s was proven twice", job)
		seen[job] = true
	}
	assert.Len(t, seen, deadlines*partitions)
	assert.Equal(t, deadlines*partitions, f.count(t, func(e stub.Event) bool { return e.Event == stub.EventEnd }), "each is computed once")
	for _, worker := range []string{"all", "own", "near", "fast", "two-few"} {
		assert.Positive(t, byWorker[worker], "%s took part", worker)
	}
	t.Logf("proven by each: %v", byWorker)
}

// Jobs wait on the queue of a worker that is killed for good; another worker, which admits them and more, gets them all.
func TestMovedToTheLiving(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	f := newFleet(t, load.Options{Trust: true})
	miner, other := f.miner(ctx, t, 0, 1), f.miner(ctx, t, 1, 1)
	narrow := f.start(ctx, t, rig.Worker{Name: "narrow", Attached: miner.Stores(), Cards: f.stubs(1, time.Hour)})
	f.reported(ctx, t)
	const jobs = 6
	d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: jobs})
	f.event(ctx, t, "a job runs", load.Begun(time.Time{}))
	first := f.workerIs(ctx, t, "narrow", "polls", func(s post.WorkerState) bool { return s.Report.Groups[0].Queue != "" }).Report.Groups[0].Queue
	for i := range uint64(jobs) {
		f.partition(ctx, t, d, i, "routed", func(p post.PartitionResult) bool { return p.Queue == first })
	}
	narrow.Kill()
	f.start(ctx, t, rig.Worker{Name: "wide", Attached: []rig.Store{miner.Store, other.Store}, Cards: f.stubs(2, 50*time.Millisecond)})
	for _, p := range f.proven(ctx, t, jobs) {
		assert.Equal(t, "wide", workerOf(p.Card))
		assert.Equal(t, 1, p.Try, "a worker that is lost costs no try")
	}
	for i := range uint64(jobs) {
		assert.Equal(t, 1, f.posted(ctx, t, d, i).Tries)
	}
}

// A job that nobody admits waits, says what is missing, and runs when somebody comes who has it.
func TestNobodyAdmits(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner, other := f.miner(ctx, t, 0, 1), f.miner(ctx, t, 1, 1)
	f.start(ctx, t, rig.Worker{Name: "other", Attached: other.Stores(), Cards: f.stubs(1, 0)})
	f.reported(ctx, t)
	store := f.issue(ctx, t, load.Work{Miner: miner})
	pool := f.issue(ctx, t, load.Work{Miner: other, Set: func(s *post.Settings) { s.Pool = "fast" }})
	for _, c := range []struct {
		d    post.Deadline
		says string
	}{{store, fmt.Sprintf("%q", miner.Store.Name)}, {pool, `"fast"`}} {
		p := f.waits(ctx, t, c.d, c.says)
		assert.Equal(t, post.QueueNobody, p.Queue)
		t.Log(p.Waits)
	}
	assert.Empty(t, f.load.Proven())
	f.start(ctx, t, rig.Worker{Name: "both", Pool: "fast", Attached: []rig.Store{miner.Store, other.Store}, Cards: f.stubs(1, 0)})
	for _, d := range []post.Deadline{store, pool} {
		p := f.posted(ctx, t, d, 0)
		assert.Equal(t, "both/card0", p.Card)
		assert.Equal(t, 1, p.Tries)
		assert.Empty(t, p.Waits)
	}
	record(ctx, t, f.Rig, store.WorkflowID(), "", "deadline-waited-for-a-worker")
	record(ctx, t, f.Rig, workflows.FleetWorkflowID, "", "fleet")
}

// In a queue, what was tried before goes first (it is most often somebody's last chance), then what came first.
func TestOrderInAQueue(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	var miners []*load.Miner
	var stores []rig.Store
	for i := range 3 {
		miners = append(miners, f.miner(ctx, t, i, 1))
		stores = append(stores, miners[i].Store)
	}
	mode := f.mode(t, "", stub.Err)
	f.start(ctx, t, rig.Worker{Name: "a", Attached: stores, Cards: []rig.Card{f.stub("card0", time.Second, "--mode-file", mode, "--sleep-for", "1000=5s")}})
	f.reported(ctx, t)
	tried := f.issue(ctx, t, load.Work{Miner: miners[0]})
	f.event(ctx, t, "the first job has begun", load.Begun(time.Time{}))
	told := f.order(ctx, t, "a", workflows.UpdatePause, "for the test") // while it runs, which takes 5 s
	require.True(t, told.Reached, told.Why)
	const each = 4
	for _, miner := range miners[1:] {
		d := f.issue(ctx, t, load.Work{Miner: miner, Partitions: each})
		for i := range uint64(each) {
			f.partition(ctx, t, d, i, "waiting", func(p post.PartitionResult) bool { return p.Queue != "" })
		}
	}
	f.partition(ctx, t, tried, 0, "tried for the second time", func(p post.PartitionResult) bool { return p.Tries == 2 && p.Queue != "" })
	f.mode(t, mode, stub.OK)
	resumed := time.Now()
	f.order(ctx, t, "a", workflows.UpdateResume)
	f.proven(ctx, t, 1+2*each)
	var order []uint64
	for _, e := range f.events(t) {
		if load.Begun(resumed)(e) {
			order = append(order, e.Miner)
		}
	}
	assert.Equal(t, []uint64{1000, 1001, 1001, 1001, 1001, 1002, 1002, 1002, 1002}, order)
}
