package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
)

const (
	rushDeadlines = 500 // of one partition each
	rushWorkers   = 8
	rushCards     = 8 // of each worker
	rushSleep     = 10 * time.Second
)

// measureRush opens 500 deadlines at the same epoch and looks how much later their proofs begin than cards that lose no time would begin them.
func measureRush(ctx context.Context, dir string) ([]figure, error) {
	b, err := openBare(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	miners, stores, err := b.miners(ctx, 1)
	if err != nil {
		return nil, err
	}
	for i := range rushWorkers {
		b.AddWorker(rig.Worker{Name: fmt.Sprintf("w%d", i), Attached: stores, Cards: b.stubs(rushCards, rushSleep)})
	}
	if err := b.StartWorkers(ctx); err != nil {
		return nil, err
	}
	if err := b.load.WaitReported(ctx); err != nil {
		return nil, err
	}
	works := make([]load.Work, rushDeadlines)
	for i := range works {
		works[i] = load.Work{Miner: miners[0], Partitions: 1, Ahead: fleetAhead}
	}
	began := time.Now()
	deadlines, err := b.load.IssueAll(ctx, works)
	if err != nil {
		return nil, err
	}
	if err := b.load.WaitProven(ctx, rushDeadlines); err != nil {
		return nil, err
	}
	scheduled, err := b.scheduled(ctx, deadlines)
	if err != nil {
		return nil, err
	}
	events, err := b.load.Events()
	if err != nil {
		return nil, err
	}
	late, err := beyondCapacity(scheduled, starts(events), rushWorkers*rushCards, rushSleep)
	if err != nil {
		return nil, err
	}
	say("%d deadlines were issued within %s", rushDeadlines, scheduled[len(scheduled)-1].Sub(began).Round(time.Millisecond))
	return []figure{
		{name: "rush, deadlines of one epoch", value: rushDeadlines, unit: "deadlines"},
		{name: "rush, cards, 10 s a proof", value: rushWorkers * rushCards, unit: "cards"},
		{name: "rush, challenge known to the last proof scheduled", value: scheduled[len(scheduled)-1].Sub(began).Seconds(), unit: "s"},
		{name: "rush, scheduled to started beyond the cards' capacity p50", value: percentile(late, 50).Seconds(), unit: "s"},
		{name: "rush, scheduled to started beyond the cards' capacity p99", value: percentile(late, 99).Seconds(), unit: "s", most: 2},
	}, nil
}

// scheduled is when each deadline's proof was given to Temporal, the earliest first. Every one must have taken one activity.
func (b *bare) scheduled(ctx context.Context, deadlines []post.Deadline) ([]time.Time, error) {
	var out []time.Time
	for _, d := range deadlines {
		attempts, err := b.load.Attempts(ctx, d)
		if err != nil {
			return nil, err
		}
		if len(attempts) != 1 {
			return nil, fmt.Errorf("deadline %s took %d attempts", d, len(attempts))
		}
		out = append(out, attempts[0].Scheduled)
	}
	slices.SortFunc(out, time.Time.Compare)
	return out, nil
}

// starts is when cards began, the earliest first.
func starts(events []stub.Event) []time.Time {
	var out []time.Time
	for _, e := range events {
		if e.Event == stub.EventStart {
			out = append(out, e.At)
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// beyondCapacity says how much later than possible each job was begun: on that many cards that all take so long for a job, that take the jobs as they are
// scheduled, first come, first served, and that lose no time between two. The n-th start is compared with the n-th possible one. scheduled and started are in order.
func beyondCapacity(scheduled, started []time.Time, cards int, each time.Duration) ([]time.Duration, error) {
	if len(started) != len(scheduled) {
		return nil, fmt.Errorf("%d jobs were scheduled and %d begun", len(scheduled), len(started))
	}
	late := make([]time.Duration, len(scheduled))
	possible := make([]time.Time, len(scheduled))
	for i, at := range scheduled {
		possible[i] = at
		if i >= cards { // the card that began its job so many jobs ago is the next one that is free
			if free := possible[i-cards].Add(each); free.After(at) {
				possible[i] = free
			}
		}
		late[i] = max(started[i].Sub(possible[i]), 0)
	}
	return late, nil
}
