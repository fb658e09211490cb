package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posthaste/post"
	"posthaste/workers"
)

// fault is something that `demo --break` breaks, for a person to find and to mend.
type fault struct {
	name   string
	chain  []string // more arguments of the chain program
	policy []string // lines of [policy]
	check  func(o demoOptions) error
	early  func(ctx context.Context, d *demonstration) error                // when the chain runs, and nothing of posthaste yet; nil: nothing
	later  func(ctx context.Context, d *demonstration, s *supervisor) error // once a proof is under way; nil: nothing
	tell   func(d *demonstration) briefing                                  // after either
}

// briefing is what the demo says of a fault.
type briefing struct {
	broken string // what was done to whom
	seen   string // what becomes of it
	look   []hint // where one sees it
	mend   []hint // what helps
}

// hint is a command for a person.
type hint struct{ command, why string }

// slowChain are arguments for deadlines of two minutes: time for a person to look, to read and to type.
var slowChain = []string{"--epoch=1s", "--window=120", "--lookback=20", "--fault-cutoff=30", "--lead=20", "--deadlines=6", "--wide-every=0"}

// brokenDeadlines is how many deadlines a demo with a fault follows if nobody says: about five minutes.
const brokenDeadlines = 4

// asInDamocles lets a job that is out of tries wait for a person. By default it is tried again until Close by itself.
const asInDamocles = "retry_until_close = false"

// faults are what --break takes.
var faults = []fault{sectorFault, cardFault, nodeFault, temporalFault}

// faultNames are for help and completion.
func faultNames() (names []string) {
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// useFault puts what --break names into the options.
func (o *demoOptions) useFault(deadlinesGiven bool) error {
	if o.breaks == "" {
		return nil
	}
	i := slices.IndexFunc(faults, func(f fault) bool { return f.name == o.breaks })
	if i < 0 {
		return fmt.Errorf("--break %s: there is no such fault; it is one of %s", o.breaks, strings.Join(faultNames(), ", "))
	}
	if o.chain != "" {
		return fmt.Errorf("--break %s needs the simulated chain; leave --chain out", o.breaks)
	}
	f := faults[i]
	if f.check != nil {
		if err := f.check(*o); err != nil {
			return err
		}
	}
	o.fault = &f
	o.chainArgs = slices.Concat(slowChain, f.chain, o.chainArgs)
	if !deadlinesGiven {
		o.deadlines = brokenDeadlines
	}
	return nil
}

// breakage follows a fault through a demo.
type breakage struct {
	done    bool // it was injected and told
	trouble map[string]trouble
}

// trouble is what became of a job that was hit.
type trouble struct {
	was  string // what it was hit by: "Failed", "Faults(1)"
	over bool   // said to be mended
}

// breakEarly injects what is broken before posthaste starts.
func (d *demonstration) breakEarly(ctx context.Context) error {
	if d.fault == nil || d.fault.early == nil {
		return nil
	}
	if err := d.fault.early(ctx, d); err != nil {
		return fmt.Errorf("--break %s: %w", d.fault.name, err)
	}
	return nil
}

// tellEarly says what breakEarly did, when everything runs.
func (d *demonstration) tellEarly() {
	if d.fault != nil && d.fault.early != nil {
		d.breakage.done = true
		d.fault.tell(d).print(d.stderr, d)
	}
}

// watchFault injects the fault as soon as a proof is under way, and says which jobs were hit and which are mended.
func (d *demonstration) watchFault(ctx context.Context, screen *screen, rows []workers.Row) error {
	if d.fault == nil {
		return nil
	}
	if !d.breakage.done && proofUnderWay(d.oursOnly(rows)) {
		d.breakage.done = true
		if err := d.fault.later(ctx, d, d.supervisor); err != nil {
			return fmt.Errorf("--break %s: %w", d.fault.name, err)
		}
		screen.say(func() { d.fault.tell(d).print(d.stderr, d) })
	}
	if news := d.breakage.news(d.oursOnly(rows)); len(news) > 0 {
		screen.say(func() {
			for _, line := range news {
				fmt.Fprintln(d.stderr, line.text)
				if line.reset != "" {
					fmt.Fprintf(d.stderr, "  %s wdpost show %s\n  %s wdpost reset %s\n", self(), line.reset, self(), line.reset)
				}
			}
		})
	}
	return nil
}

// oursOnly drops the deadlines that were open before posthaste was started.
func (d *demonstration) oursOnly(rows []workers.Row) []workers.Row {
	return slices.DeleteFunc(slices.Clone(rows), func(r workers.Row) bool {
		return r.Board.Deadline.Close != 0 && r.Board.Deadline.Open <= d.started
	})
}

// proofUnderWay says whether some worker has a job.
func proofUnderWay(rows []workers.Row) bool {
	return slices.ContainsFunc(rows, func(r workers.Row) bool {
		return slices.ContainsFunc(r.Jobs, func(j workers.RunningJob) bool { return j.Started })
	})
}

// news is a line about a job.
type news struct {
	text  string
	reset string // the job, where a reset is what helps
}

// news says what has happened to jobs since the last time.
func (b *breakage) news(rows []workers.Row) (all []news) {
	if b.trouble == nil {
		b.trouble = map[string]trouble{}
	}
	for _, r := range rows {
		for _, p := range r.Board.Partitions {
			id := r.Board.Deadline.JobID(p.Index).String()
			was, hit := b.trouble[id]
			switch bad := troubleOf(p); {
			case bad != "" && bad != was.was:
				b.trouble[id] = trouble{was: bad}
				all = append(all, told(id, bad, p))
			case bad == "" && hit && !was.over && p.State == post.StatePosted:
				b.trouble[id] = trouble{was: was.was, over: true}
				all = append(all, news{text: fmt.Sprintf("MENDED: job %s was %s and is posted", id, was.was)})
			}
		}
	}
	return all
}

// troubleOf is what is wrong with a job; empty: nothing.
func troubleOf(p post.PartitionResult) string {
	switch {
	case p.State == post.StateFailed, p.State == post.StateMissed:
		return string(p.State)
	case p.CountSkipped() > 0 && !p.Proven.IsZero():
		return fmt.Sprintf("Faults(%d)", p.CountSkipped())
	}
	return ""
}

func told(id, bad string, p post.PartitionResult) news {
	switch p.State {
	case post.StateFailed:
		return news{text: fmt.Sprintf("HIT: job %s is Failed after %s: %s\nTo see all of it, and to run it again when the cause is gone:", id, tries(p.Tries), p.Reason), reset: id}
	case post.StateMissed:
		return news{text: fmt.Sprintf("MISSED: job %s: %s", id, p.Reason)}
	}
	return news{text: fmt.Sprintf("HIT: job %s is proven without %s: %s", id, post.Count(p.CountSkipped(), "sector"), p.Skipped[0].Reason)}
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

// mended says of each job that was hit what the chain has of it now.
func (b *breakage) mended(deadlines []reportDeadline) map[string]string {
	out := map[string]string{}
	for _, d := range deadlines {
		miner, err := post.ParseMiner(d.Miner)
		if err != nil {
			continue
		}
		for _, p := range d.Partitions {
			id := post.Deadline{Miner: miner, PeriodStart: d.PeriodStart, Index: d.Index}.JobID(p.Index).String()
			if t, hit := b.trouble[id]; hit {
				out[id] = map[bool]string{true: "posted", false: "missed"}[p.Posted]
				if strings.HasPrefix(t.was, "Faults") {
					out[id] += ", " + t.was
				}
			}
		}
	}
	return out
}

// mendedText is that for people.
func mendedText(name string, jobs map[string]string) string {
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(jobs)) {
		lines = append(lines, id+" "+jobs[id])
	}
	return fmt.Sprintf("--break %s hit %s%s", name, post.Count(len(jobs), "job"), strings.TrimSuffix(": "+strings.Join(lines, "; "), ": "))
}

// print says it so that the commands can be pasted into another terminal.
func (b briefing) print(out io.Writer, d *demonstration) {
	fmt.Fprintf(out, "\nBROKEN, on purpose: %s\nWhat comes of it: %s\n\nLook, in another terminal:\n", b.broken, b.seen)
	address := []hint{{"export TEMPORAL_ADDRESS=" + d.server.Address, ""}}
	printHints(out, slices.Concat(address, b.look))
	fmt.Fprintln(out, "\nMend:")
	printHints(out, b.mend)
	fmt.Fprintln(out, "\nThe runbook is docs/operations.md.")
	fmt.Fprintln(out)
}

// hintColumn is where the reasons stand, unless a command is longer.
const hintColumn = 40

func printHints(out io.Writer, hints []hint) {
	for _, h := range hints {
		why := ""
		if h.why != "" {
			why = "  # " + h.why
		}
		fmt.Fprintf(out, "  %s\n", strings.TrimRight(fmt.Sprintf("%-*s%s", hintColumn, h.command, why), " "))
	}
}

// self is this program as a person would call it from where it was called.
func self() string {
	path := cmp.Or(os.Args[0], "posthaste")
	if filepath.Base(path) != "posthaste" {
		return "posthaste" // a test's program
	}
	return path
}

// seconds is a duration in whole seconds for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
