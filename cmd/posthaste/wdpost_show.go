package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
)

// shownJob is a job as `wdpost show --json` prints it.
type shownJob struct {
	workers.JobStory
	WebUI string `json:"web_ui,omitempty"`
}

// newWdpostShow shows everything about jobs.
func newWdpostShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show JOBID…",
		Short: "Show everything about jobs: every try with its error, the sectors and their stores, the message",
		Long: "Show everything about jobs: every try with its error, the sectors and their stores, the message, and where the Web UI has it.\n\n" +
			"The ID of a deadline, such as f01000-2880-7, shows all jobs of it. It asks Temporal and nobody else: no daemon has to run.",
		Example: `  posthaste wdpost show f01000-2880-7-0
  posthaste wdpost show f01000-2880-7 --json`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeJobs(anyJob),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			jobs, list, unknown := c.named(cmd.Context(), names)
			ctx, cancel := context.WithTimeout(cmd.Context(), lookLimit)
			defer cancel()
			stories, err := workers.ReadStories(ctx, c, jobs)
			if err != nil {
				return errors.Join(unknown, c.explain(err))
			}
			shown := make([]shownJob, len(stories))
			for i, s := range stories {
				shown[i] = shownJob{s, c.webUI(s.WorkflowID, s.RunID)}
			}
			if asJSON {
				return errors.Join(printJSON(a.stdout, shown), unknown)
			}
			for i, s := range shown {
				if i > 0 {
					fmt.Fprintln(a.stdout)
				}
				s.print(a.stdout, list, time.Now())
			}
			return unknown
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list, a job an object")
	return cmd
}

// webUI is the address of a workflow's run in the Web UI; empty if it is not known where that is.
func (c *connection) webUI(workflowID, runID string) string {
	if c.WebUI() == "" {
		return ""
	}
	return fmt.Sprintf("%s/namespaces/%s/workflows/%s/%s/history", c.WebUI(), c.Namespace, workflowID, runID)
}

// print is a job for people.
func (s shownJob) print(out io.Writer, list workers.JobList, now time.Time) {
	line := func(key, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(out, "%-11s %s\n", key+":", text)
		}
	}
	p := jobsPrinter{colours: colourful(out)}
	d := s.Deadline
	line("Job", "%s", s.ID)
	line("State", "%s", p.state(s.Job))
	line("Deadline", "%d of %s: challenge %d, open %d, close %d%s", d.Index, s.Miner, d.Challenge, d.Open, d.Close, s.left(list, now))
	if len(s.With) > 0 {
		line("Sent with", "%s, proven as one set", post.PartitionNames(s.With))
	}
	line("Try", "%s", s.tries())
	line("Waits", "%s", s.Waits)
	line("Error", "%s", s.Error)
	line("Note", "%s", s.Note)
	line("Card", "%s", strings.TrimSpace(cmp.Or(s.Card, s.Worker)+" "+phaseText(s.Job)))
	line("Queue", "%s", s.Queue)
	line("Times", "%s", s.times(now))
	line("Phases", "%s", s.phases())
	line("Message", "%s", s.message())
	s.printSectors(line)
	line("Workflow", "%s, run %s, %s", s.WorkflowID, s.RunID, s.Status)
	line("Web UI", "%s", s.WebUI)
	s.printAttempts(out)
	if _, err := s.CanReset(); err == nil {
		fmt.Fprintf(out, "  posthaste wdpost reset %s   runs it again now, tries back at 0\n", s.ID)
	}
}

// left is how long the deadline has.
func (s shownJob) left(list workers.JobList, now time.Time) string {
	if s.EpochsLeft == nil {
		return ""
	}
	head := list.Head.When(now)
	switch left := *s.EpochsLeft; {
	case left <= 0:
		return fmt.Sprintf(" (closed %s ago)", post.Count(int(-left), "epoch"))
	case head < s.Deadline.Open:
		return fmt.Sprintf(" (opens in %s, %s left)", post.Count(int(s.Deadline.Open-head), "epoch"), post.Count(int(left), "epoch"))
	default:
		return fmt.Sprintf(" (%s left)", post.Count(int(left), "epoch"))
	}
}

func (s shownJob) tries() string {
	if s.ID.Whole {
		return ""
	}
	text := tryText(s.Job)
	if s.MaxTry > 0 {
		text += fmt.Sprintf(" of %d", s.MaxTry)
	}
	if s.Attempt > 1 {
		text += fmt.Sprintf(", started %d times: workers were lost, or handed it over", s.Attempt)
	}
	return text
}

// times are those that are known, in their order.
func (s shownJob) times(now time.Time) string {
	var parts []string
	for _, t := range []struct {
		what string
		at   time.Time
	}{{"created", s.Created}, {"started", s.Started}, {"heartbeat", s.Heartbeat}, {"finished", s.Finished}, {"updated", s.Updated}} {
		if !t.at.IsZero() {
			parts = append(parts, t.what+" "+stamp(t.at))
		}
	}
	if s.Elapsed > 0 {
		parts = append(parts, "elapsed "+elapsedText(s.Job))
	}
	return strings.Join(parts, ", ")
}

// phases of the proof that there is.
func (s shownJob) phases() string {
	if s.Phases == (post.PhaseTimes{}) {
		return ""
	}
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("waiting %s, reading %s, SNARK %s, check %s", round(s.Phases.Wait), round(s.Phases.Vanilla), round(s.Phases.Snark), round(s.Phases.Verify))
}

// message says how far the proof is on its way to the chain.
func (s shownJob) message() string {
	switch {
	case s.Message != "" && s.Landed != 0:
		return fmt.Sprintf("%s, landed at epoch %d", s.Message, s.Landed)
	case s.Message != "":
		return s.Message
	case s.Asked != 0:
		return fmt.Sprintf("not landed yet; its sender has it, to be sent from epoch %d on", s.Asked)
	}
	return ""
}

// printSectors lists sectors by store, and each that is left out with its reason.
func (s shownJob) printSectors(line func(key, format string, args ...any)) {
	if len(s.Placed) == 0 {
		return
	}
	byStore := map[string][]abi.SectorNumber{}
	var stores []string
	for _, sector := range s.Placed {
		if byStore[sector.Store] == nil {
			stores = append(stores, sector.Store)
		}
		byStore[sector.Store] = append(byStore[sector.Store], sector.Number)
	}
	slices.Sort(stores)
	key := "Sectors"
	for _, store := range stores {
		line(key, "%s in %s: %s", post.Count(len(byStore[store]), "sector"), cmp.Or(store, "no store"), post.FormatNumbers(byStore[store]))
		key = "  and"
	}
	var why notes
	for _, skipped := range s.LeftOut {
		why.add(fmt.Sprint(skipped.Sector), skipped.Reason)
	}
	for _, what := range why.what {
		line("Left out", "%s: %s", strings.Join(why.of[what], ", "), what)
	}
}

// printAttempts lists every attempt, with its error in full.
func (s shownJob) printAttempts(out io.Writer) {
	if len(s.Attempts) > 0 {
		fmt.Fprintln(out, "Tries:")
	}
	for _, a := range s.Attempts {
		where := cmp.Or(a.Card, a.Worker)
		if where != "" {
			where = " on " + where
		}
		outcome := cmp.Or(a.Outcome, "goes on")
		if a.Ended.IsZero() && a.Started.IsZero() {
			outcome = "waits in " + a.Queue
		}
		took := ""
		if !a.Started.IsZero() && !a.Ended.IsZero() {
			took = fmt.Sprintf(" after %s", a.Ended.Sub(a.Started).Round(100*time.Millisecond))
		}
		fmt.Fprintf(out, "  %s  try %d%s: %s%s\n", stamp(a.Issued), a.Try, where, outcome, took)
		for _, text := range []string{a.Error, a.Before} {
			if text != "" {
				fmt.Fprintf(out, "      %s\n", strings.ReplaceAll(text, "\n", "\n      "))
			}
		}
	}
}
