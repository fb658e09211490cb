package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
)

// newMiner is what people see and steer of miner actors.
func newMiner(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "miner", Short: "See and steer the miner actors whose deadlines are proven", Args: cobra.NoArgs}
	cmd.AddCommand(newMinerList(a), newMinerPause(a), newMinerResume(a), newMinerAdd(a), newMinerRemove(a))
	return cmd
}

func newMinerList(a *app) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the miners: who watches them, with what settings, and what is under way",
		Long: "Show the miners: who watches them, with what settings, and what is under way.\n\n" +
			"It asks Temporal and nobody else: no daemon has to run. \"Named by\" is the daemon whose posthaste.toml has the miner among its\n" +
			"[[miners]], as of the last minutes. A miner that no file names any more, or that was added by a command, is watched all the\n" +
			"same, until `posthaste miner remove`.",
		Example: `  posthaste miner list
  posthaste miner list --all --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			views, err := c.miners(cmd.Context())
			if err != nil {
				return err
			}
			removed := 0
			if !all {
				before := len(views)
				views = slices.DeleteFunc(views, func(v workers.MinerView) bool { return v.State == "Removed" })
				removed = before - len(views)
			}
			if asJSON {
				return printJSON(a.stdout, append([]workers.MinerView{}, views...))
			}
			printMiners(a.stdout, views, removed, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list, a miner an object")
	cmd.Flags().BoolVar(&all, "all", false, "also those that were removed")
	return cmd
}

// miners asks Temporal for all miners.
func (c *connection) miners(ctx context.Context) ([]workers.MinerView, error) {
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	views, err := workers.ReadMiners(limited, c, c.Namespace, time.Now())
	if err != nil {
		return nil, c.explain(err)
	}
	return views, nil
}

// seenFor is how old the last word of a miner's watching may be: it is given every 5 s, and passed on a little later.
const seenFor = 30 * time.Second

// minerColours of a miner's states on a terminal: red needs somebody.
var minerColours = map[string]text.Color{
	"Watching": text.FgGreen, "Paused": text.FgYellow, "Removed": text.FgYellow, workers.MinerFailed: text.FgHiRed,
}

// printMiners is the table for people.
func printMiners(out io.Writer, views []workers.MinerView, removed int, now time.Time) {
	if removed > 0 {
		defer fmt.Fprintf(out, "%s removed: `posthaste miner list --all` shows them.\n", map[bool]string{true: "1 miner is", false: fmt.Sprintf("%d miners are", removed)}[removed == 1])
	}
	if len(views) == 0 {
		fmt.Fprintln(out, "No miner is watched: is a daemon running, and are there [[miners]] in its posthaste.toml? `posthaste miner add` adds one without a file.")
		return
	}
	colours := colourful(out)
	t := newTable(out)
	t.AppendHeader(table.Row{"Miner", "State", "Head", "Seen", "Named by", "Settings", "Deadlines"})
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "State", WidthMax: 30}})
	var why notes
	for _, v := range views {
		head := any("")
		if v.Head > 0 {
			head = v.Head
		}
		state := paint(v.State, minerColours[v.State], colours)
		if v.State == "Paused" || v.State == "Removed" {
			state += ": " + v.Why
		}
		t.AppendRow(table.Row{v.Miner, state, head, ago(v.Seen, now), namedCell(v), settingsCell(v.Settings), deadlinesCell(v.Deadlines)})
		for _, note := range minerNotes(v, now) {
			why.add(v.Miner, note)
		}
	}
	t.SuppressEmptyColumns()
	t.Render()
	why.print(out)
}

// minerNotes are what somebody should know of a miner, in sentences.
func minerNotes(v workers.MinerView, now time.Time) (says []string) {
	silent := v.State == "Watching" && (v.Seen.IsZero() || now.Sub(v.Seen) > seenFor)
	switch {
	case v.State == workers.MinerFailed:
		says = append(says, v.Why)
	case silent:
		says = append(says, "nobody watches it now: is a daemon running?")
	}
	if v.Problem != "" {
		says = append(says, "trouble with watching: "+v.Problem)
	}
	if v.Unnamed && !silent && (v.State == "Watching" || v.State == "Paused") {
		says = append(says, "no daemon's posthaste.toml names it; it is watched all the same, until `posthaste miner remove`")
	}
	return says
}

// namedCell is the host of the daemon whose file names a miner.
func namedCell(v workers.MinerView) string {
	if v.Unnamed && v.NamedBy == "" {
		return "no file"
	}
	host, _, _ := strings.Cut(v.NamedBy, "@")
	if v.Unnamed {
		return "no file now"
	}
	return host
}

// settingsCell is what is set otherwise than by default, a setting a line.
func settingsCell(s post.Settings) string {
	d := post.DefaultSettings()
	var lines []string
	say := func(differs bool, name string, value any) {
		if differs {
			lines = append(lines, fmt.Sprintf("%s %v", name, value))
		}
	}
	say(s.Sender != d.Sender, "sender", shortAddress(s.Sender))
	say(s.Pool != d.Pool, "pool", s.Pool)
	say(s.ChallengeConfidence != d.ChallengeConfidence, "challenge_confidence", s.ChallengeConfidence)
	say(s.SubmitConfidence != d.SubmitConfidence, "submit_confidence", s.SubmitConfidence)
	say(s.Confidence != d.Confidence, "confidence", s.Confidence)
	say(s.SubmitReserve != d.SubmitReserve, "submit_reserve", s.SubmitReserve)
	say(s.MaxTry != d.MaxTry, "max_try", s.MaxTry)
	say(s.RetryUntilClose != d.RetryUntilClose, "retry_until_close", s.RetryUntilClose)
	say(s.JobLifetime != d.JobLifetime, "job_lifetime", s.JobLifetime)
	say(s.Fees.MaxFee != d.Fees.MaxFee, "max_fee", s.Fees.MaxFee)
	say(s.Fees.GasFeeCap != d.Fees.GasFeeCap, "gas_fee_cap", s.Fees.GasFeeCap.PerGas())
	say(s.Fees.GasOverEstimation != d.Fees.GasOverEstimation, "gas_over_estimation", s.Fees.GasOverEstimation)
	say(s.Fees.GasOverPremium != d.Fees.GasOverPremium, "gas_over_premium", s.Fees.GasOverPremium)
	say(s.Fees.ReplaceMaxFee != d.Fees.ReplaceMaxFee, "replace_max_fee", s.Fees.ReplaceMaxFee)
	return cmp.Or(strings.Join(lines, "\n"), "default")
}

// shortAddress is an address with its middle left out.
func shortAddress(address string) string {
	if len(address) <= 16 {
		return address
	}
	return address[:8] + "…" + address[len(address)-6:]
}

func deadlinesCell(open []workers.MinerDeadline) string {
	lines := make([]string, len(open))
	for i, d := range open {
		lines[i] = fmt.Sprintf("%d %s", d.Deadline, d.State)
	}
	return strings.Join(lines, "\n")
}
