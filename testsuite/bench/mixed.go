package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	enums "go.temporal.io/api/enums/v1"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/workflows"
)

// permitted is what a worker of the mixed fleet may take, in the bench's own words.
type permitted struct {
	name   string
	pool   string
	miners []int // none: any
	stores []int
}

func (p permitted) admits(miner int, pool string) bool {
	return (pool == "" || pool == p.pool) && slices.Contains(p.stores, miner) && (len(p.miners) == 0 || slices.Contains(p.miners, miner))
}

var mixed = []permitted{
	{name: "all", pool: "gpu", stores: []int{0, 1, 2}},
	{name: "own", pool: "gpu", miners: []int{0}, stores: []int{0, 1, 2}},
	{name: "near", pool: "gpu", stores: []int{0}},
	{name: "dying", pool: "gpu", stores: []int{0, 1}},
	{name: "fast", pool: "fast", stores: []int{0, 1, 2}},
	{name: "few", pool: "gpu", miners: []int{1, 2}, stores: []int{2}},
}

const (
	mixedDeadlines  = 20
	mixedPartitions = 25
	mixedSleep      = time.Second
	watchEvery      = 250 * time.Millisecond
)

// measureMixed gives 500 jobs to a fleet of workers that may take different things, and kills one of them while jobs wait for it.
func measureMixed(ctx context.Context, dir string) ([]figure, error) {
	b, err := openBare(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	miners, stores, err := b.miners(ctx, 3)
	if err != nil {
		return nil, err
	}
	var dying *rig.Process
	for _, may := range mixed {
		w := rig.Worker{Name: may.name, Pool: may.pool, Cards: b.stubs(3, mixedSleep)}
		for _, i := range may.stores {
			w.Attached = append(w.Attached, stores[i])
		}
		if len(may.miners) > 0 {
			var rule rig.Rule
			for _, i := range may.miners {
				rule.Miners = append(rule.Miners, uint64(miners[i].ID))
			}
			w.Rules = []rig.Rule{rule}
		}
		p := b.AddWorker(w)
		if may.name == "dying" {
			dying = p
		}
	}
	if err := b.StartWorkers(ctx); err != nil {
		return nil, err
	}
	if err := b.load.WaitReported(ctx); err != nil {
		return nil, err
	}
	pools := map[post.Deadline]string{}
	for i := range mixedDeadlines {
		pool := []string{"", "gpu", "fast"}[i%3]
		d, err := b.load.Issue(ctx, load.Work{Miner: miners[i%3], Partitions: mixedPartitions, Set: func(s *post.Settings) { s.Pool = pool }})
		if err != nil {
			return nil, err
		}
		pools[d] = pool
	}
	stay, stranded, err := b.killAndWatch(ctx, dying, pools)
	if err != nil {
		return nil, err
	}
	if err := b.load.WaitProven(ctx, mixedDeadlines*mixedPartitions); err != nil {
		return nil, err
	}
	return []figure{
		{name: "mixed fleet, jobs", value: mixedDeadlines * mixedPartitions, unit: "jobs"},
		{name: "mixed fleet, proven by a worker that may not have them", value: float64(wrongPlacements(b.load.Proven(), pools)), unit: "jobs", none: true},
		{name: "mixed fleet, waited for a worker that was killed", value: float64(stranded), unit: "jobs"},
		{name: "mixed fleet, longest stay on a queue without a live card", value: stay.Seconds(), unit: "s", most: 15},
	}, nil
}

// wrongPlacements counts proofs by workers that may not make them.
func wrongPlacements(proven []load.Proven, pools map[post.Deadline]string) int {
	wrong := 0
	for _, p := range proven {
		may := mixed[slices.IndexFunc(mixed, func(m permitted) bool {
			return p.Card == m.name || len(p.Card) > len(m.name) && p.Card[:len(m.name)+1] == m.name+"/"
		})]
		if !may.admits(int(p.Deadline.Miner-1000), pools[p.Deadline]) {
			wrong++
		}
	}
	return wrong
}

// killAndWatch kills a worker when jobs wait on its queue, which no other polls, and looks how long the last of them stays there.
func (b *bare) killAndWatch(ctx context.Context, dying *rig.Process, pools map[post.Deadline]string) (stay time.Duration, stranded int, err error) {
	state, err := b.load.Worker(ctx, "dying")
	if err != nil {
		return 0, 0, err
	}
	queue := state.Report.Groups[0].Queue
	for stranded == 0 {
		if err := pause(ctx, watchEvery); err != nil {
			return 0, 0, fmt.Errorf("waiting for jobs on %s: %w", queue, err)
		}
		waiting, err := b.waitingOn(ctx, queue, pools)
		if err != nil {
			return 0, 0, err
		}
		stranded = len(waiting)
		if len(b.load.Proven()) > mixedDeadlines*mixedPartitions/2 {
			return 0, 0, fmt.Errorf("no job waited on %s", queue)
		}
	}
	killed := time.Now()
	dying.Kill()
	since := map[string]time.Time{} // when each job that waits there came, or was left
	for {
		waiting, err := b.waitingOn(ctx, queue, pools)
		if err != nil {
			return 0, 0, err
		}
		stranded = max(stranded, len(waiting))
		for job := range since {
			if !waiting[job] {
				delete(since, job)
			}
		}
		for job := range waiting {
			if since[job].IsZero() {
				since[job] = time.Now()
			}
			stay = max(stay, time.Since(since[job]))
		}
		// What it had in its hands when it was killed comes back to its queue after the heartbeat timeout.
		if len(waiting) == 0 && time.Since(killed) > time.Minute || len(b.load.Proven()) == mixedDeadlines*mixedPartitions {
			return stay, stranded, nil
		}
		if err := pause(ctx, watchEvery); err != nil {
			return 0, 0, fmt.Errorf("waiting for jobs to leave %s: %w", queue, err)
		}
	}
}

// waitingOn are the jobs that wait on a queue, by what Temporal says of the activities: boards are told a moment later.
func (b *bare) waitingOn(ctx context.Context, queue string, deadlines map[post.Deadline]string) (map[string]bool, error) {
	waiting := map[string]bool{}
	for d := range deadlines {
		described, err := b.Client().DescribeWorkflowExecution(ctx, d.WorkflowID(), "")
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", d.WorkflowID(), err)
		}
		for _, a := range described.GetPendingActivities() {
			if a.GetActivityType().GetName() == workflows.ActivityGenerateWindowPoSt && a.GetState() == enums.PENDING_ACTIVITY_STATE_SCHEDULED &&
				a.GetActivityOptions().GetTaskQueue().GetName() == queue {
				waiting[d.WorkflowID()+"/"+a.GetActivityId()] = true
			}
		}
	}
	return waiting, nil
}
