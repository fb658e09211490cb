// Command bench measures posthaste on this machine and prints one line per figure on stdout, tab-separated: name, value, unit,
// goal, and `ok` or `short`. A figure without a goal has "-" and is ok. Progress goes to stderr. It exits 0 even when figures are
// short, because a figure is not a test, and otherwise only if something could not be measured.
//
// What the figures mean and how they are taken is in docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"posthaste/testsuite/rig"
)

// options are the command line's.
type options struct {
	proofs int           // counted ones, for the tax and the pick-up
	pace   time.Duration // from one of them to the next
	kills  int
	ends   int
	turns  int           // deadlines on a real Lotus chain
	epoch  time.Duration // of that chain
	only   string        // the measurements whose names have this in them
	keep   bool          // the measurements' folders
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == libraryArg {
		if err := serveLibrary(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.proofs, "proofs", 100, "proofs, one after another, that the orchestration tax and the pick-up are taken from; 0: leave them out")
	flag.DurationVar(&o.pace, "pace", 4*time.Second, "least time from one of these proofs to the next: our proof and one call of the library have to fit in")
	flag.IntVar(&o.kills, "kills", 7, "proofs whose card is killed; 0: leave it out")
	flag.IntVar(&o.ends, "ends", 7, "times that a job is cancelled and a worker stopped; 0: leave it out")
	flag.IntVar(&o.turns, "turns", 0, "`deadlines` that posthaste and Lotus's own poster prove in turns on a real Lotus chain, for which bin/posthaste-lotusdevnet must have been built; 0: leave it out")
	flag.DurationVar(&o.epoch, "epoch", 500*time.Millisecond, "wall-clock `time` of an epoch of that chain")
	flag.StringVar(&o.only, "only", "", "only measurements whose names have `this` in them: tax, killed cards, history, fleet, mixed pools, rush, list, ends, reset, one card, turns")
	flag.BoolVar(&o.keep, "keep", false, "leave each measurement's folder, with the programs' logs and Temporal's database, and say where it is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure does one measurement after another, each on programs of its own, and prints figures as it has them. One that fails
// does not keep the others from being taken.
func measure(ctx context.Context, o options) error {
	var errs []error
	for _, m := range []struct {
		name string
		skip bool
		run  func(context.Context, string) ([]figure, error)
	}{
		{"tax, pick-up and memory", o.proofs == 0, func(ctx context.Context, dir string) ([]figure, error) { return measureTax(ctx, dir, o.proofs, o.pace) }},
		{"killed cards", o.kills == 0, func(ctx context.Context, dir string) ([]figure, error) { return measureKills(ctx, dir, o.kills) }},
		{"history", false, measureHistory},
		{"fleet", false, measureFleet},
		{"mixed pools", false, measureMixed},
		{"rush", false, measureRush},
		{"list", false, measureList},
		{"ends of jobs and workers", o.ends == 0, func(ctx context.Context, dir string) ([]figure, error) { return measureEnds(ctx, dir, o.ends) }},
		{"reset and terminate", false, measureReset},
		{"one card", false, measureCard},
		{"turns", o.turns == 0, func(ctx context.Context, dir string) ([]figure, error) {
			return measureTurns(ctx, dir, o.turns, o.epoch)
		}},
	} {
		if m.skip || ctx.Err() != nil || !strings.Contains(m.name, o.only) {
			continue
		}
		began := time.Now()
		say("measuring: %s", m.name)
		figures, err := inFolder(o.keep, func(dir string) ([]figure, error) { return m.run(ctx, dir) })
		for _, f := range figures {
			fmt.Println(f)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			continue
		}
		say("%s took %s", m.name, time.Since(began).Round(time.Second))
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// inFolder runs a measurement in a folder of its own, which stays when it fails or is to be kept: the programs' logs are there.
func inFolder(keep bool, run func(dir string) ([]figure, error)) ([]figure, error) {
	dir, err := os.MkdirTemp("", "posthaste-bench-")
	if err != nil {
		return nil, fmt.Errorf("making the folder of a measurement: %w", err)
	}
	figures, err := run(dir)
	if err != nil {
		return figures, fmt.Errorf("%w (logs are in %s)", err, dir)
	}
	if keep {
		say("logs are in %s", dir)
		return figures, nil
	}
	return figures, os.RemoveAll(dir)
}

// policy is what all measurements configure: a post goes out as soon as it may, since no reorg is to be expected.
func policy() []string {
	return []string{"challenge_confidence = 1", "submit_confidence = 0", "confidence = 1", "submit_reserve = 1"}
}

// open starts the programs around a chain.
func open(ctx context.Context, dir string, o rig.Options) (*rig.Rig, error) {
	o.Policy = policy()
	return rig.Open(ctx, dir, o)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
