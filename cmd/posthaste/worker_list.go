package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"

	"posthaste/post"
	"posthaste/workers"
)

// lookLimit is how long a command that only looks may take.
const lookLimit = 20 * time.Second

// newWorkerList shows all workers.
func newWorkerList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the workers: where they are, what they prove, what is wrong with them",
		Long: "Show the workers: where they are, what they prove, what is wrong with them.\n\n" +
			"It asks Temporal and nobody else: no daemon has to run, and no posthaste.toml is needed (TEMPORAL_ADDRESS says where the server is).",
		Example: `  posthaste worker list
  TEMPORAL_ADDRESS=10.0.0.9:7233 posthaste worker list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			views, err := a.readWorkers(cmd)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, views)
			}
			if len(views) == 0 {
				fmt.Fprintln(a.stdout, "No worker is known. `posthaste worker run` starts one.")
				return nil
			}
			printWorkers(a.stdout, views, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list, a worker an object")
	return cmd
}

// readWorkers asks Temporal for all workers.
func (a *app) readWorkers(cmd *cobra.Command) ([]workers.WorkerView, error) {
	c, err := a.connect(cmd)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.workers(cmd.Context())
}

func (c *connection) workers(ctx context.Context) ([]workers.WorkerView, error) {
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	views, err := workers.ReadWorkers(limited, c, c.Namespace)
	if err != nil {
		return nil, c.explain(err)
	}
	return views, nil
}

// explainAway is explain for what may have other reasons, such as an errand that failed.
func (c *connection) explainAway(err error) error {
	var away *serviceerror.Unavailable
	if errors.As(err, &away) {
		return c.explain(err)
	}
	return err
}

// explain says whom a command asked in vain.
func (c *connection) explain(err error) error {
	return fmt.Errorf("asking the Temporal server at %s (is it running? TEMPORAL_ADDRESS or temporal.address says where it is): %w", c.Address, err)
}

// printWorkers is the table for people.
func printWorkers(out io.Writer, views []workers.WorkerView, now time.Time) {
	colours := colourful(out)
	t := newTable(out)
	t.AppendHeader(table.Row{"Worker", "State", "Host", "Pool", "Queue", "Cards", "Jobs", "Proofs", "Failures", "Lost stores", "Version"})
	for _, v := range views {
		t.AppendRow(table.Row{
			v.Name, stateCell(v, now, colours), v.Host, list(v.Groups, func(g post.Group) string { return g.Pool }),
			list(v.Groups, func(g post.Group) string { return g.Queue }), cardsCell(v, colours), jobsCell(v),
			v.Count(func(c workers.CardView) int { return c.Proofs }), v.Count(func(c workers.CardView) int { return c.Failures }),
			list(v.LostStores, func(s post.LostStore) string { return s.Name }), v.Version,
		})
	}
	t.SuppressEmptyColumns() // it is wide enough without; when a worker was seen last stands in the state of one that is gone
	t.Render()
}

// list is a column of what things have, each once.
func list[T any](things []T, of func(T) string) string {
	var lines []string
	seen := map[string]bool{}
	for _, thing := range things {
		if line := of(thing); line != "" && !seen[line] {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// stateCell is a worker's state with its reason where there is one to be told.
func stateCell(v workers.WorkerView, now time.Time, colours bool) string {
	cell := paint(v.State, workerColours[v.State], colours)
	switch v.State {
	case workers.WorkerPaused, workers.WorkerIdle:
		cell += ": " + v.Why
	case workers.WorkerGone:
		if !v.Seen.IsZero() {
			cell += " since " + when(v.Seen, now)
		}
	}
	if v.Paused != "" && v.State != workers.WorkerPaused {
		cell += "\npaused: " + v.Paused
	}
	return cell
}

// cardsCell counts: "2, 1 busy, 1 fenced".
func cardsCell(v workers.WorkerView, colours bool) string {
	count := func(is func(workers.CardView) bool) int {
		return v.Count(func(c workers.CardView) int {
			if is(c) {
				return 1
			}
			return 0
		})
	}
	cell := fmt.Sprint(len(v.Cards))
	if busy := count(func(c workers.CardView) bool { return c.State == "proving" }); busy > 0 {
		cell += fmt.Sprintf(", %d busy", busy)
	}
	if dead := count(func(c workers.CardView) bool { return c.State == "dead" && c.Fence == nil }); dead > 0 {
		cell += ", " + paint(fmt.Sprintf("%d dead", dead), text.FgHiRed, colours)
	}
	if fenced := count(func(c workers.CardView) bool { return c.Fence != nil }); fenced > 0 {
		cell += ", " + paint(fmt.Sprintf("%d fenced", fenced), text.FgHiRed, colours)
	}
	return cell
}

func jobsCell(v workers.WorkerView) string {
	return list(v.Cards, func(c workers.CardView) string {
		if c.Job == "" {
			return ""
		}
		return strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Name, c.Job, c.Phase))
	})
}

// when is a time of the last day, or a date and time; both as short as a column wants it.
func when(t, now time.Time) string {
	if now.Sub(t) < 24*time.Hour {
		return t.Local().Format(time.TimeOnly)
	}
	return t.Local().Format("01-02 15:04")
}

// ago is how long something is over, to the second; empty if it never was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return max(now.Sub(t), 0).Round(time.Second).String() + " ago"
}

// workerColours of a worker's and a card's states on a terminal: red needs somebody.
var workerColours = map[string]text.Color{
	workers.WorkerRunning: text.FgGreen, workers.WorkerPaused: text.FgYellow, workers.WorkerDraining: text.FgYellow,
	workers.WorkerIdle: text.FgHiRed, workers.WorkerGone: text.FgHiRed,
	"proving": text.FgCyan, "dead": text.FgHiRed, "fenced": text.FgHiRed, "restarting": text.FgYellow,
}

// colourful says whether colours are welcome: on a terminal whose user has not set NO_COLOR.
func colourful(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == ""
}

func paint(s string, colour text.Color, colours bool) string {
	if !colours || colour == 0 {
		return s
	}
	return colour.Sprint(s)
}

// printJSON prints a value for programs, on one line.
func printJSON(out io.Writer, v any) error {
	if of := reflect.ValueOf(v); of.Kind() == reflect.Slice && of.IsNil() {
		v = []struct{}{} // a list without anything, for those who go through it
	}
	if err := json.NewEncoder(out).Encode(v); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	return nil
}
