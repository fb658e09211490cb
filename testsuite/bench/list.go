package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
)

const (
	listDeadlines  = 500
	listPartitions = 4 // of each deadline
	listJobs       = listDeadlines * listPartitions
	listWorkers    = 8
	listCards      = 8  // of each worker: so many jobs run, and the others wait
	listTimes      = 15 // that the list is asked for
	listRefreshes  = 6  // of --watch, at its usual pace, that the server's CPU is taken from
	listPace       = 10 * time.Second
)

// measureList has 2,000 jobs of 500 open deadlines, of which 64 run, and looks how long `wdpost list` takes, as a shell sees it, and what
// `wdpost list --watch` costs the server.
func measureList(ctx context.Context, dir string) ([]figure, error) {
	b, err := openBare(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := b.manyJobs(ctx); err != nil {
		return nil, err
	}
	// What daemons and cards ask of the server meanwhile would be taken for what the list costs: it needs none of them.
	b.load.Stop()
	var took []time.Duration
	for range listTimes {
		one, err := b.timeList(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, one)
	}
	idle, err := b.serverCPU(ctx, listRefreshes*listPace)
	if err != nil {
		return nil, err
	}
	busy, err := b.watchCPU(ctx)
	if err != nil {
		return nil, err
	}
	say("temporal-dev used %.1f %% of a core, and %.1f %% while the list was watched", 100*idle, 100*busy)
	return []figure{
		{name: "list, open deadlines", value: listDeadlines, unit: "deadlines"},
		{name: "list, jobs", value: listJobs, unit: "jobs"},
		milliseconds("list, wdpost list with process start p50", percentile(took, 50), 2000),
		milliseconds("list, wdpost list with process start, slowest", percentile(took, 100), 0),
		{name: "list, server's CPU for --watch every 10 s", value: 100 * max(busy-idle, 0), unit: "% of a core", most: 5},
	}, nil
}

// manyJobs issues all deadlines and returns when each of their jobs waits for a card or has one.
func (b *bare) manyJobs(ctx context.Context) error {
	miners, stores, err := b.miners(ctx, 1)
	if err != nil {
		return err
	}
	for i := range listWorkers {
		b.AddWorker(rig.Worker{Name: fmt.Sprintf("w%d", i), Attached: stores, Cards: b.stubs(listCards, time.Hour)})
	}
	if err := b.StartWorkers(ctx); err != nil {
		return err
	}
	if err := b.load.WaitReported(ctx); err != nil {
		return err
	}
	if err := b.load.Watch(ctx, miners[0]); err != nil {
		return err
	}
	works := make([]load.Work, listDeadlines)
	for i := range works {
		works[i] = load.Work{Miner: miners[0], Partitions: listPartitions, Ahead: fleetAhead}
	}
	deadlines, err := b.load.IssueAll(ctx, works)
	if err != nil {
		return err
	}
	for _, d := range deadlines {
		for i := range uint64(listPartitions) {
			if _, err := b.load.WaitPartition(ctx, d, i, "waiting for a card", func(p post.PartitionResult) bool { return p.Queue != "" }); err != nil {
				return err
			}
		}
	}
	return nil
}

// wdpostList is the command with flags, in a folder without a posthaste.toml.
func (b *bare) wdpostList(ctx context.Context, flags ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.Posthaste(), append([]string{"wdpost", "list"}, flags...)...)
	cmd.Dir = b.Dir
	cmd.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+b.Address(), "TEMPORAL_NAMESPACE=")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// complete says whether a line sums up all jobs.
func complete(line string) bool { return strings.HasPrefix(line, fmt.Sprintf("%d jobs: ", listJobs)) }

// timeList lists once, from the start of the process to its end.
func (b *bare) timeList(ctx context.Context) (time.Duration, error) {
	cmd := b.wdpostList(ctx)
	began := time.Now()
	out, err := cmd.Output()
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("wdpost list: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; !complete(last) {
		return 0, fmt.Errorf("wdpost list does not show %d jobs, but %q", listJobs, last)
	}
	return took, nil
}

// serverCPU is the share of a core that the server uses over a time.
func (b *bare) serverCPU(ctx context.Context, over time.Duration) (float64, error) {
	began, before := time.Now(), cpuOf(b.Temporal.Pid())
	select {
	case <-time.After(over):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return (cpuOf(b.Temporal.Pid()) - before).Seconds() / time.Since(began).Seconds(), nil
}

// watchCPU is the share of a core that the server uses while the list is watched, from its first appearance on.
func (b *bare) watchCPU(ctx context.Context) (float64, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	cmd := b.wdpostList(watching, "--watch", "--interval", listPace.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("wdpost list --watch: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("wdpost list --watch: %w", err)
	}
	var began time.Time
	var before time.Duration
	seen := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for seen <= listRefreshes && lines.Scan() {
		if !complete(lines.Text()) {
			continue
		}
		if seen == 0 {
			began, before = time.Now(), cpuOf(b.Temporal.Pid())
		}
		seen++
	}
	share := (cpuOf(b.Temporal.Pid()) - before).Seconds() / time.Since(began).Seconds()
	stop()
	err = cmd.Wait()
	if seen <= listRefreshes {
		return 0, fmt.Errorf("wdpost list --watch showed all jobs %d times and ended: %w", seen, errors.Join(err, lines.Err()))
	}
	return share, nil
}
