package main

import (
	"context"
	"errors"
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
	"posthaste/workflows"
)

// newDeadline is what people see of deadlines.
func newDeadline(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "deadline", Short: "See the deadlines of miners", Args: cobra.NoArgs}
	cmd.AddCommand(newDeadlineList(a))
	return cmd
}

func newDeadlineList(a *app) *cobra.Command {
	var asJSON, all bool
	var miners []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the deadlines of miners: when, how much, what is posted, and whether there is time for it",
		Long: "Show the deadlines of miners: when, how much, what is posted, and whether there is time for it.\n\n" +
			"They are those of the proving period that runs, by number; the one that is open is marked. The chain's data comes from a daemon,\n" +
			"which must run. The forecast is how long the proofs that are not made yet will take the cards that are there now, from the times of\n" +
			"the last day's proofs, as if the cards did nothing else; beside it stands how much time there is for them, from now or from the\n" +
			"challenge, until the reserve for submitting (submit_reserve).",
		Example: `  posthaste deadline list --miner f01000
  posthaste deadline list --all --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			read, err := a.readDeadlines(cmd, miners)
			if err != nil && len(read) == 0 {
				return err
			}
			if asJSON {
				return errors.Join(printJSON(a.stdout, read), err)
			}
			for i, m := range read {
				if i > 0 {
					fmt.Fprintln(a.stdout)
				}
				printDeadlines(a.stdout, m, all)
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&miners, "miner", nil, "the `miner`; may be given several times. Without it: all that are watched")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list, a miner an object")
	cmd.Flags().BoolVar(&all, "all", false, "also deadlines without sectors")
	completeFlag(cmd, "miner", a.completeMiners())
	return cmd
}

// readDeadlines surveys the named miners, or all that are watched. What is unknown or fails is told in the error, beside what was read.
func (a *app) readDeadlines(cmd *cobra.Command, names []string) (read []workers.MinerDeadlines, err error) {
	c, err := a.connect(cmd)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	limited, cancel := context.WithTimeout(cmd.Context(), lookLimit)
	defer cancel()
	watched, err := workers.ReadWatched(limited, c)
	if err != nil {
		return nil, c.explain(err)
	}
	board, err := workers.RecentBoard(limited, c, time.Now())
	if err != nil {
		return nil, c.explain(err)
	}
	wanted, err := chosenMiners(watched, names)
	errs := []error{err}
	for _, m := range wanted {
		deadlines, err := workers.ReadDeadlines(cmd.Context(), c, m, board)
		errs = append(errs, err)
		if errors.Is(err, workers.ErrNoDaemon) {
			break // the others would wait as long for nobody
		}
		if err == nil {
			read = append(read, deadlines)
		}
	}
	return read, errors.Join(errs...)
}

// chosenMiners are the named ones, also of those whose workflow was never there: the chain knows them. Without a name it is all that were not
// removed.
func chosenMiners(watched []workers.Watched, names []string) (chosen []workflows.MinerState, err error) {
	if len(names) == 0 {
		for _, m := range watched {
			if m.Removed == "" {
				chosen = append(chosen, m.MinerState)
			}
		}
		if len(chosen) == 0 {
			err = errors.New("no miner is watched; --miner names one")
		}
		return chosen, err
	}
	var errs []error
	for _, name := range names {
		id, err := post.ParseMiner(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m := workflows.MinerState{WatchInput: workflows.WatchInput{Miner: id, Settings: post.DefaultSettings()}, Removed: "never added"}
		if i := slices.IndexFunc(watched, func(w workers.Watched) bool { return w.Miner == id }); i >= 0 {
			m = watched[i].MinerState
		}
		chosen = append(chosen, m)
	}
	return chosen, errors.Join(errs...)
}

// printDeadlines is a miner's table for people.
func printDeadlines(out io.Writer, m workers.MinerDeadlines, all bool) {
	fmt.Fprintf(out, "%s at epoch %d (%s): %s; %s at once on live cards\n", m.Miner, m.Head, m.At.Local().Format(time.DateTime),
		map[bool]string{true: "not watched", false: strings.ToLower(m.State)}[m.State == "Removed"], post.Count(m.Places, "proof"))
	if m.Problem != "" {
		fmt.Fprintln(out, m.Problem)
	}
	colours := colourful(out)
	t := newTable(out)
	t.AppendHeader(table.Row{"DDL", "Open", "Close", "Sectors", "To prove", "Posted", "Faulty", "Recov.", "Forecast", "Left", "State"})
	right := func(name string) table.ColumnConfig {
		return table.ColumnConfig{Name: name, Align: text.AlignRight, AlignHeader: text.AlignLeft}
	}
	t.SetColumnConfigs([]table.ColumnConfig{right("DDL"), right("Posted"), right("Forecast"), right("Left")})
	empty, unknown, late := 0, 0, 0
	for _, d := range m.Deadlines {
		if d.Sectors == 0 && !d.Current && !all {
			empty++
			continue
		}
		index := fmt.Sprint(d.Index)
		if d.Current {
			index = paint("→ "+index, text.FgCyan, colours)
		}
		forecast, left := "", ""
		if d.Unproven > 0 {
			forecast, left = "?", d.Left.Round(time.Second).String()
			if d.Known {
				forecast = brief(d.Forecast)
			} else {
				unknown++
			}
			if d.Late() {
				late++
				forecast = paint(forecast+"!", text.FgHiRed, colours)
			}
		}
		t.AppendRow(table.Row{index, epochCell(d.Open, d.OpenAt, m.At), epochCell(d.Close, d.CloseAt, m.At), d.Sectors, d.ToProve, postedCell(d),
			count(d.Faulty), count(d.Recovering), forecast, left, deadlineState(d, colours)})
	}
	t.SuppressEmptyColumns()
	t.Render()
	if empty > 0 {
		fmt.Fprintf(out, "%s without sectors not shown (--all).\n", post.Count(empty, "deadline"))
	}
	if unknown > 0 {
		why := "no proof of this sector size was made in the last day"
		if m.Places == 0 {
			why = "no live card may take its jobs (`posthaste worker list`)"
		}
		fmt.Fprintf(out, "?: how long it takes is not known: %s.\n", why)
	}
	if late > 0 {
		fmt.Fprintln(out, "!: it takes longer than there is time, as things are: more cards are needed, or it is missed in part.")
	}
}

// brief is a duration as short as a forecast is good.
func brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// count is a number that is only shown if there is something to count.
func count(n uint64) any {
	if n == 0 {
		return ""
	}
	return n
}

// epochCell is an epoch and its local time, with the date if that is another day's.
func epochCell[E ~int64](epoch E, at, now time.Time) string {
	layout := time.TimeOnly
	if at.Local().YearDay() != now.Local().YearDay() {
		layout = "01-02 15:04"
	}
	return fmt.Sprintf("%d %s", epoch, at.Local().Format(layout))
}

// postedCell counts partitions.
func postedCell(d workers.DeadlineView) string {
	if len(d.Partitions) == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", d.Posted, d.Due)
}

// deadlineState is how its workflow stands, with what Temporal says if that has ended otherwise than well.
func deadlineState(d workers.DeadlineView, colours bool) string {
	state := string(d.State)
	if colours && state != "" {
		state = coloured(d.State)
	}
	if d.Status != "" && d.Status != "Running" && d.Status != "Completed" && d.State != post.StateMissed {
		state += " (" + d.Status + ")"
	}
	return state
}
