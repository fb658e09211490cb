package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"posthaste/post"
)

// print is the report for people.
func (r *trialReport) print(out io.Writer) {
	var why notes
	if r.DryRun {
		r.printPlan(out)
	} else {
		r.printProofs(out)
	}
	for _, p := range r.Partitions {
		where := fmt.Sprintf("partition %d", p.Index)
		why.add(where, p.Reason)
		if p.Waits != "" {
			why.add(where, "nobody can take it: "+p.Waits)
		}
		if n := p.CountSkipped(); n > 0 {
			why.add(where, fmt.Sprintf("%s left out: %s%s", post.Count(n, "sector"), p.SkippedSectors, reasons(p.Skipped)))
		}
		why.add(where, p.Undecided)
		if p.Faulty > 0 {
			why.add(where, fmt.Sprintf("%s of it on the chain are declared faulty, and no post covers them; `posthaste proving check` says which could be proven", post.Count(p.Faulty, "sector")))
		}
	}
	why.print(out)
	r.printForecast(out)
}

// shownReasons is how many reasons of a partition's skipped sectors are printed; the JSON has more.
const shownReasons = 8

// reasons are those of skipped sectors, a line each.
func reasons(skipped []post.Skipped) string {
	var b strings.Builder
	for _, s := range skipped[:min(len(skipped), shownReasons)] {
		fmt.Fprintf(&b, "\n  sector %d: %s", s.Sector, s.Reason)
	}
	if more := len(skipped) - shownReasons; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

func (r *trialReport) printProofs(out io.Writer) {
	colours := colourful(out)
	t := newTable(out)
	t.AppendHeader(table.Row{"Partition", "State", "Sectors", "Skipped", "Card", "Waited", "Reading", "SNARK", "Check", "Verified"})
	for _, p := range r.Partitions {
		colour, verified := text.FgHiRed, ""
		switch {
		case p.State == post.StateNothing:
			colour = 0
		case p.State == post.StateProven:
			colour, verified = text.FgGreen, "yes"
		default:
			verified = "no"
		}
		t.AppendRow(table.Row{p.Index, paint(string(p.State), colour, colours), p.Sectors, p.CountSkipped(), p.Card,
			phase(p, p.Phases.Wait), phase(p, p.Phases.Vanilla), phase(p, p.Phases.Snark), phase(p, p.Phases.Verify), verified})
	}
	t.Render()
}

// phase is how long one took, of what was proven.
func phase(p post.TrialPartition, took time.Duration) string {
	if p.State != post.StateProven {
		return ""
	}
	return rounded(took)
}

// rounded is a time in three digits or so.
func rounded(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

func (r *trialReport) printPlan(out io.Writer) {
	t := newTable(out)
	t.AppendHeader(table.Row{"Partition", "Sectors", "Missing", "Stores", "Queue", "Workers"})
	for _, p := range r.Partitions {
		queue, who := p.Queue, strings.Join(r.Workers[p.Queue], "\n")
		if p.Waits != "" {
			who = "nobody now"
		}
		t.AppendRow(table.Row{p.Index, p.Sectors, p.CountSkipped(), strings.Join(p.Stores, "\n"), queue, who})
	}
	t.Render()
}

// printForecast says what the trial means for the deadline.
func (r *trialReport) printForecast(out io.Writer) {
	if r.DryRun {
		fmt.Fprintf(out, "A dry run of deadline %s at epoch %d: nothing was proven, nothing sent.\n", r.Deadline, r.Head)
		return
	}
	fmt.Fprintf(out, "Deadline %s as of epoch %d, with the challenge of epoch %d. Nothing was sent.\n", r.Deadline, r.Head, r.Answered)
	need := r.Forecast(r.Places)
	if need == 0 {
		return
	}
	verdict := "that fits"
	if need > r.Window {
		verdict = "THAT IS TOO LONG: prove on more cards, or on faster ones"
	}
	fmt.Fprintf(out, "All of its %s, %d at once, would take about %s; from the challenge to Close, less the reserve for submitting, there are %s: %s.\n",
		post.Count(r.Of, "partition"), r.Places, rounded(need), rounded(r.Window), verdict)
}
