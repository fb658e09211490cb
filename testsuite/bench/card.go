package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
)

// laterProofs is how many proofs a card makes after its first.
const laterProofs = 5

// measureCard has one card of posthaste's own make a few real proofs, one after another, and looks at the times and at its child's memory.
func measureCard(ctx context.Context, dir string) ([]figure, error) {
	b, err := openBare(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	miners, stores, err := b.miners(ctx, 1)
	if err != nil {
		return nil, err
	}
	worker := b.AddWorker(rig.Worker{Name: "real", Attached: stores, Cards: []rig.Card{{Name: "card0", ReadyTimeout: 30 * time.Second}}})
	if err := worker.Start(ctx); err != nil {
		return nil, err
	}
	if err := b.load.WaitReported(ctx); err != nil {
		return nil, err
	}
	children := worker.Children()
	if len(children) != 1 {
		return nil, fmt.Errorf("the worker has %d children instead of its one card's", len(children))
	}
	idle, err := statusOf(children[0], residentPeak)
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	var peaks []float64
	for i := range 1 + laterProofs {
		d, err := b.load.Issue(ctx, load.Work{Miner: miners[0], Partitions: 1})
		if err != nil {
			return nil, err
		}
		if err := b.load.WaitProven(ctx, i+1); err != nil {
			return nil, err
		}
		attempts, err := b.load.Attempts(ctx, d)
		if err != nil {
			return nil, err
		}
		last := attempts[len(attempts)-1]
		if last.Proof == nil {
			return nil, fmt.Errorf("the history of deadline %s has no proof", d)
		}
		peak, err := statusOf(children[0], residentPeak)
		if err != nil {
			return nil, err
		}
		times, peaks = append(times, last.Proof.Phases.Vanilla+last.Proof.Phases.Snark), append(peaks, peak)
	}
	return []figure{
		milliseconds("card, first proof of 2 sectors of 2 KiB", times[0], 0),
		milliseconds("card, later proofs, median", median(times[1:]), 0),
		{name: "memory, card's child before its first proof", value: idle, unit: "MB"},
		{name: "memory, card's child at most in its first proof", value: peaks[0], unit: "MB"},
		{name: fmt.Sprintf("memory, card's child at most in %d proofs", len(peaks)), value: peaks[len(peaks)-1], unit: "MB"},
	}, nil
}

// statusOf reads a field of /proc/PID/status in MB of 10^6 bytes.
func statusOf(pid int, field string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, field+":"); found {
			var kB float64
			if _, err := fmt.Sscanf(rest, "%g kB", &kB); err != nil {
				return 0, fmt.Errorf("%q: %w", line, err)
			}
			return kB * 1024 / 1e6, nil
		}
	}
	return 0, fmt.Errorf("it has no %s; has it ended?", field)
}
