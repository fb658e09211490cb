package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
)

// newWorkerInfo shows everything about one worker.
func newWorkerInfo(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info NAME",
		Short: "Show everything about one worker: what it may take, its stores, each of its cards",
		Long: "Show everything about one worker: what it may take, its stores, each of its cards.\n\n" +
			"It asks Temporal and nobody else: no daemon has to run. What the cards do is at most a few seconds old.",
		Example:           `  posthaste worker info gpu-1`,
		ValidArgsFunction: a.completeWorker(),
		Args:              cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			views, err := a.readWorkers(cmd)
			if err != nil {
				return err
			}
			v, err := findWorker(views, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, v)
			}
			printWorker(a.stdout, v, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// findWorker is the worker of that name, or an error that says which there are.
func findWorker(views []workers.WorkerView, name string) (workers.WorkerView, error) {
	i := slices.IndexFunc(views, func(v workers.WorkerView) bool { return v.Name == name })
	if i >= 0 {
		return views[i], nil
	}
	if len(views) == 0 {
		return workers.WorkerView{}, fmt.Errorf("there is no worker %q; none is known at all", name)
	}
	names := list(views, func(v workers.WorkerView) string { return v.Name })
	return workers.WorkerView{}, fmt.Errorf("there is no worker %q; there are %s", name, strings.ReplaceAll(names, "\n", ", "))
}

// printWorker is a worker for people.
func printWorker(out io.Writer, v workers.WorkerView, now time.Time) {
	colours := colourful(out)
	line := func(key, format string, args ...any) {
		fmt.Fprintf(out, "%-12s %s\n", key+":", fmt.Sprintf(format, args...))
	}
	line("Worker", "%s", v.Name)
	state := strings.ReplaceAll(stateCell(v, now, colours), "\n", "; ")
	if v.State == workers.WorkerDraining || v.State == workers.WorkerGone {
		state += " (" + v.Why + ")"
	}
	line("State", "%s", state)
	line("Host", "%s, %s", v.Host, v.Instance)
	line("Version", "%s", v.Version)
	if !v.Started.IsZero() {
		line("Started", "%s", v.Started.Local().Format(time.DateTime))
	}
	if !v.Seen.IsZero() {
		line("Last seen", "%s", ago(v.Seen, now))
	}
	printGroups(line, v)
	for _, s := range v.LostStores {
		line("Lost store", "%s at %s: %s", s.Name, s.Path, s.Reason)
	}
	printCards(out, v, colours)
	if v.Alive && !slices.ContainsFunc(v.Cards, func(c workers.CardView) bool { return c.State != workers.CardUnknown }) {
		fmt.Fprintln(out, "What its cards do is not known yet: no daemon has run since it was started.")
	}
	for _, f := range v.Fences {
		fmt.Fprintf(out, "Card %s is fenced since %s: %s\n  posthaste worker unfence %s %s   puts it back into use\n",
			f.Card, f.At.Local().Format(time.DateTime), f.Reason, v.Name, f.Card)
	}
	if v.Paused != "" {
		fmt.Fprintf(out, "It is paused (%s)\n  posthaste worker resume %s   lets it take jobs again\n", v.Paused, v.Name)
	}
	if !v.Alive {
		fmt.Fprintf(out, "If it is gone for good:\n  posthaste worker forget %s   takes it off this list\n", v.Name)
	}
}

// printGroups says what the cards may take, group by group.
func printGroups(line func(key, format string, args ...any), v workers.WorkerView) {
	for _, g := range v.Groups {
		most := ""
		if g.MaxSize > 0 {
			most = "; no sectors above " + g.MaxSize.ShortString()
		}
		line("Takes", "%s of pool %s: %s%s", map[string]string{post.KindWindow: "WindowPoSt", post.KindWinning: "WinningPoSt"}[g.Kind], g.Pool, rulesText(g.Rules), most)
		stores := "none: it cannot read any"
		if len(g.Stores) > 0 {
			stores = strings.Join(g.Stores, ", ")
		}
		line("  stores", "%s", stores)
		polls := post.Count(g.Slots, "job") + " at once"
		if g.Slots == 0 {
			polls = "nothing now: no usable card"
		}
		line("  queue", "%s, %s", g.Queue, polls)
	}
}

// rulesText is what a job must fit: any of the rules.
func rulesText(rules []post.Rule) string {
	if len(rules) == 0 {
		return "any miner, any sector size"
	}
	texts := make([]string, len(rules))
	for i, r := range rules {
		miners, sizes := "any miner", "any sector size"
		if len(r.Miners) > 0 {
			names := make([]string, len(r.Miners))
			for i, m := range r.Miners {
				names[i] = post.MinerName(m)
			}
			miners = strings.Join(names, ", ")
		}
		if len(r.Sizes) > 0 {
			names := make([]string, len(r.Sizes))
			for i, s := range r.Sizes {
				names[i] = s.ShortString()
			}
			sizes = "sectors of " + strings.Join(names, ", ")
		}
		texts[i] = miners + " with " + sizes
	}
	return strings.Join(texts, "; or ")
}

func printCards(out io.Writer, v workers.WorkerView, colours bool) {
	t := newTable(out)
	t.AppendHeader(table.Row{"Card", "Pool", "Device", "CPUs", "Places", "Weight", "State", "PID", "Job", "Phase", "Seconds", "Proofs", "Failures", "Restarts"})
	var errs notes
	for _, c := range v.Cards {
		state := c.State
		if c.Fence != nil {
			state = "fenced"
		}
		pid, seconds := any(""), any("")
		if c.PID != 0 {
			pid = c.PID
		}
		if c.Job != "" {
			seconds = fmt.Sprintf("%.0f", c.Seconds)
		}
		pool := c.Pool
		if c.Kind == post.KindWinning {
			pool += " (winning)"
		}
		t.AppendRow(table.Row{c.Name, pool, deviceText(c.Device), c.CPUs, c.Places, max(c.Weight, 1), paint(state, workerColours[state], colours), pid, c.Job, c.Phase, seconds,
			c.Proofs, c.Failures, c.Restarts})
		if c.Fence == nil || c.Fence.Reason != c.Error { // the reason is told by itself
			errs.add("Card "+c.Name+", last error", strings.TrimPrefix(c.Error, "card "+c.Name+": "))
		}
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "Job", WidthMax: 40}})
	t.SuppressEmptyColumns()
	t.Render()
	errs.print(out)
}

// deviceText is a GPU for people: its process says its name; before, only CUDA_VISIBLE_DEVICES' numbers are known.
func deviceText(device string) string {
	switch {
	case device == "":
		return "CPU"
	case strings.Trim(device, "0123456789,") == "":
		return "GPU " + device
	}
	return device
}
