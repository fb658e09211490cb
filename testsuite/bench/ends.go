package main

import (
	"context"
	"fmt"
	"time"

	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
)

const (
	endSleep  = 40 * time.Second // longer than anything that is measured here
	beatEvery = 3 * time.Second  // a job's heartbeats, whose answers bring a cancel
)

// measureEnds ends jobs and workers in each way, some times over, and looks when their cards are free, and when others have the jobs.
func measureEnds(ctx context.Context, dir string, times int) ([]figure, error) {
	b, err := openBare(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	miners, stores, err := b.miners(ctx, 1)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"a", "b"} {
		b.AddWorker(rig.Worker{Name: name, Attached: stores, Cards: b.stubs(1, endSleep)})
	}
	if err := b.StartWorkers(ctx); err != nil {
		return nil, err
	}
	if err := b.load.WaitReported(ctx); err != nil {
		return nil, err
	}
	var cancelled, freed, stopped, killed []time.Duration
	for i := range times {
		gone, free, err := b.cancel(ctx, miners[0], 2*time.Second+time.Duration(i)*700*time.Millisecond%beatEvery)
		if err != nil {
			return nil, err
		}
		cancelled, freed = append(cancelled, gone), append(freed, free)
		over, err := b.hand(ctx, miners[0], (*rig.Process).Stop)
		if err != nil {
			return nil, err
		}
		stopped = append(stopped, over)
		if i%3 == 0 { // each takes a heartbeat timeout
			if over, err = b.hand(ctx, miners[0], (*rig.Process).Kill); err != nil {
				return nil, err
			}
			killed = append(killed, over)
		}
		say("round %d: child gone %s and card busy again %s after a cancel, other worker %s after a SIGTERM, %s after the last SIGKILL", i+1, gone, free, stopped[i], killed[len(killed)-1])
	}
	return []figure{
		{name: "jobs cancelled, and workers stopped", value: float64(times), unit: "times"},
		milliseconds("cancelled until the child is gone, median", median(cancelled), 5000),
		milliseconds("cancelled until the child is gone, max", percentile(cancelled, 100), 5000),
		milliseconds("cancelled until the card has its next job, max", percentile(freed, 100), 5000),
		milliseconds("worker's SIGTERM until another runs the job, median", median(stopped), 1000),
		milliseconds("worker's SIGTERM until another runs the job, max", percentile(stopped, 100), 1000),
		milliseconds("worker's SIGKILL until another runs the job, max", percentile(killed, 100), 16000),
	}, nil
}

// begin issues one job and gives its start.
func (b *bare) begin(ctx context.Context, miner *load.Miner) (id string, first stub.Event, err error) {
	since := time.Now()
	d, err := b.load.Issue(ctx, load.Work{Miner: miner, Partitions: 1})
	if err != nil {
		return "", first, err
	}
	first, err = b.load.WaitEvent(ctx, "a job runs", load.Begun(since))
	return d.WorkflowID(), first, err
}

// end terminates workflows, the only ones that have something running, and waits until the children are gone that worked for them.
func (b *bare) end(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if err := b.Client().TerminateWorkflow(ctx, id, "", "the bench has seen enough"); err != nil {
			return fmt.Errorf("terminating %s: %w", id, err)
		}
	}
	events, err := b.load.Events()
	if err != nil {
		return err
	}
	for _, e := range events {
		for e.Event == stub.EventStart && rig.Alive(e.PID) {
			if err := pause(ctx, time.Millisecond); err != nil {
				return fmt.Errorf("waiting for the child of a terminated job to go: %w", err)
			}
		}
	}
	return nil
}

// cancel cancels a job for which another waits, after some time, and says when the child was gone and when the card had the other.
func (b *bare) cancel(ctx context.Context, miner *load.Miner, after time.Duration) (gone, free time.Duration, err error) {
	// Both cards work; a third job waits.
	first, running, err := b.begin(ctx, miner)
	if err != nil {
		return 0, 0, err
	}
	second, _, err := b.begin(ctx, miner)
	if err != nil {
		return 0, 0, err
	}
	waiting, err := b.load.Issue(ctx, load.Work{Miner: miner, Partitions: 1})
	if err != nil {
		return 0, 0, err
	}
	if err := pause(ctx, after); err != nil { // it waits by now, and both have sent heartbeats
		return 0, 0, err
	}
	asked := time.Now()
	if err := b.Client().CancelWorkflow(ctx, first, ""); err != nil {
		return 0, 0, fmt.Errorf("cancelling %s: %w", first, err)
	}
	for rig.Alive(running.PID) {
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, 0, fmt.Errorf("waiting for the child of a cancelled job to go: %w", err)
		}
	}
	gone = time.Since(asked)
	next, err := b.load.WaitEvent(ctx, "the freed card has the next job", load.Begun(asked))
	if err != nil {
		return 0, 0, err
	}
	if next.Parent != running.Parent {
		return 0, 0, fmt.Errorf("the next job went to another worker than the one whose job was cancelled")
	}
	return gone, next.At.Sub(asked), b.end(ctx, second, waiting.WorkflowID())
}

// hand ends the worker that runs a job and says when the other ran it; the ended one is started again.
func (b *bare) hand(ctx context.Context, miner *load.Miner, end func(*rig.Process)) (time.Duration, error) {
	id, first, err := b.begin(ctx, miner)
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, 4*time.Second); err != nil { // it has sent a heartbeat by then
		return 0, err
	}
	var worker *rig.Process
	for _, w := range b.Workers {
		if w.Pid() == first.Parent {
			worker = w
		}
	}
	if worker == nil {
		return 0, fmt.Errorf("no worker has process %d", first.Parent)
	}
	ended := time.Now()
	go end(worker)
	second, err := b.load.WaitEvent(ctx, "the other worker runs the job", load.Begun(ended))
	if err != nil {
		return 0, err
	}
	for worker.Running() {
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	if err := firstError(b.end(ctx, id), worker.Start(ctx)); err != nil {
		return 0, err
	}
	return second.At.Sub(ended), b.load.WaitReported(ctx)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
