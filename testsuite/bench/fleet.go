package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
)

// bare is a rig without a chain, with a load on it.
type bare struct {
	*rig.Rig
	load *load.Load
}

// openBare starts Temporal and plays the daemon. Proofs are checked by the workers, as ever, but not here once more: on a machine
// of a few cores, which also runs what is a fleet's, that would be taken from the cards.
func openBare(ctx context.Context, dir string) (*bare, error) {
	return openBareWith(ctx, dir, load.Options{Trust: true})
}

func openBareWith(ctx context.Context, dir string, o load.Options) (*bare, error) {
	r, err := rig.Open(ctx, dir, rig.Options{Bare: true})
	if err != nil {
		return nil, err
	}
	l, err := load.Start(ctx, r, o)
	if err != nil {
		r.Close()
		return nil, err
	}
	return &bare{r, l}, nil
}

func (b *bare) close() {
	b.load.Stop()
	b.Close()
}

// stubs are cards that take so long for a proof.
func (b *bare) stubs(n int, sleep time.Duration, flags ...string) []rig.Card {
	cards := make([]rig.Card, n)
	for i := range cards {
		cards[i] = b.Stub(fmt.Sprintf("card%d", i), append(append(b.load.Proofs(), "--sleep", sleep.String()), flags...)...)
	}
	return cards
}

// miners with one set of sectors each, and their stores.
func (b *bare) miners(ctx context.Context, n int) (miners []*load.Miner, stores []rig.Store, err error) {
	for i := range n {
		m, err := b.load.NewMiner(ctx, abi.ActorID(1000+i), 1)
		if err != nil {
			return nil, nil, err
		}
		miners, stores = append(miners, m), append(stores, m.Store)
	}
	return miners, stores, nil
}

const (
	fleetWorkers = 8
	fleetCards   = 8 // of each worker
	fleetJobs    = 512
	fleetSleep   = 2 * time.Second
	fleetDeep    = 8 // partitions of a deadline
	// fleetAhead is when the deadlines open, in seconds from their start: proofs are made before, as most are on a real chain, and what
	// submitting costs comes later.
	fleetAhead = 600
	// fleetBefore is how long each card's job before the measured ones takes: until all of those wait.
	fleetBefore = 45 * time.Second
)

// measureFleet has 64 cards work on a long job each, lets 512 jobs queue up behind those, and looks at how the cards then spend their time.
func measureFleet(ctx context.Context, dir string) ([]figure, error) {
	b, err := openBare(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	miners, stores, err := b.miners(ctx, 2)
	if err != nil {
		return nil, err
	}
	measured, before := miners[0], miners[1]
	for i := range fleetWorkers {
		cards := b.stubs(fleetCards, fleetSleep, "--sleep-for", fmt.Sprintf("%d=%s", before.ID, fleetBefore))
		b.AddWorker(rig.Worker{Name: fmt.Sprintf("w%d", i), Attached: stores, Cards: cards})
	}
	if err := b.StartWorkers(ctx); err != nil {
		return nil, err
	}
	if err := b.load.WaitReported(ctx); err != nil {
		return nil, err
	}
	// Their ends are as far apart as their starts, so that the cards do not move in step.
	if err := b.issueAll(ctx, before, fleetWorkers*fleetCards); err != nil {
		return nil, err
	}
	busy, err := b.load.WaitEvent(ctx, "a card works", load.Begun(time.Time{}))
	if err != nil {
		return nil, err
	}
	if err := b.issueAll(ctx, measured, fleetJobs); err != nil {
		return nil, err
	}
	if events, err := b.load.Events(); err != nil || slices.ContainsFunc(events, load.Ended(busy.At)) {
		return nil, fmt.Errorf("a card was free before all jobs waited; this machine is too slow: %w", err)
	}
	say("%d jobs wait for %d cards, after %s", fleetJobs, fleetWorkers*fleetCards, time.Since(busy.At).Round(time.Millisecond))
	if _, err := b.load.WaitEvent(ctx, "a card is free", load.Ended(busy.At)); err != nil {
		return nil, err
	}
	spent := spend(b)
	if err := b.load.WaitProven(ctx, fleetWorkers*fleetCards+fleetJobs); err != nil {
		return nil, err
	}
	say("%s", spent)
	events, err := b.load.Events()
	if err != nil {
		return nil, err
	}
	use, err := cardTime(events, uint64(measured.ID))
	if err != nil {
		return nil, err
	}
	say("%d jobs by %d cards took %s", use.jobs, use.cards, use.whole.Round(time.Millisecond))
	return []figure{
		{name: "fleet, jobs of 2 s", value: float64(use.jobs), unit: "jobs"},
		{name: "fleet, cards over 8 workers", value: float64(use.cards), unit: "cards"},
		{name: "fleet, card time used while jobs waited", value: 100 * use.share, unit: "%", least: 97},
		milliseconds("fleet, from one job of a card to its next p50", percentile(use.gaps, 50), 0),
		milliseconds("fleet, from one job of a card to its next p99", percentile(use.gaps, 99), 0),
		milliseconds("fleet, longest that a card was idle while jobs waited", percentile(use.gaps, 100), 0),
		{name: "fleet, all jobs done after", value: use.whole.Seconds(), unit: "s"},
	}, nil
}

// issueAll issues deadlines until there are so many jobs, and returns when each of them waits for a card or has one.
func (b *bare) issueAll(ctx context.Context, miner *load.Miner, jobs int) error {
	for range jobs / fleetDeep {
		d, err := b.load.Issue(ctx, load.Work{Miner: miner, Partitions: fleetDeep, Ahead: fleetAhead})
		if err != nil {
			return err
		}
		for i := range uint64(fleetDeep) {
			if _, err := b.load.WaitPartition(ctx, d, i, "waiting for a card", func(p post.PartitionResult) bool { return p.Queue != "" }); err != nil {
				return err
			}
		}
	}
	return nil
}

// cardUse is how cards spent their time on the measured jobs.
type cardUse struct {
	cards, jobs int
	whole       time.Duration   // from the first start to the last end
	share       float64         // worked, of the time in which they worked or could have
	gaps        []time.Duration // in which a card was idle and jobs waited
}

// cardTime reads it out of the record of cards that take one job at a time, the measured ones of one miner. A card is free for those from
// its last other job on. As long as a job is still to start, jobs wait; afterwards there is nothing to be idle for.
func cardTime(events []stub.Event, measured uint64) (cardUse, error) {
	var use cardUse
	var first, lastStart, lastEnd time.Time
	var worked, idle time.Duration
	busySince, idleSince := map[int]time.Time{}, map[int]time.Time{}
	gap := func(d time.Duration) {
		idle += d
		use.gaps = append(use.gaps, d)
	}
	for _, e := range events {
		ours := e.Miner == measured
		switch {
		case e.Event == stub.EventEnd && e.Outcome != stub.OK:
			return use, fmt.Errorf("a job of card process %d did not end well", e.PID)
		case e.Event == stub.EventEnd && !ours:
			idleSince[e.PID] = e.At
		case e.Event == stub.EventStart && ours:
			if first.IsZero() {
				first = e.At
			}
			lastStart, busySince[e.PID] = e.At, e.At
			gap(e.At.Sub(idleSince[e.PID]))
			delete(idleSince, e.PID)
		case e.Event == stub.EventEnd:
			worked, lastEnd = worked+e.At.Sub(busySince[e.PID]), e.At
			delete(busySince, e.PID)
			idleSince[e.PID] = e.At
			use.jobs++
		}
	}
	use.cards = len(idleSince) + len(busySince)
	for _, since := range idleSince { // those whose last job was over before the last one was given out
		if since.Before(lastStart) {
			gap(lastStart.Sub(since))
		}
	}
	if use.jobs == 0 {
		return use, fmt.Errorf("no card has done anything")
	}
	use.whole = lastEnd.Sub(first)
	use.share = worked.Seconds() / (worked + idle).Seconds()
	return use, nil
}
