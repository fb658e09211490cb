package main

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
)

// newProvingRecover has faulty sectors looked at.
func newProvingRecover(a *app) *cobra.Command {
	var what whatToProve
	var status, asJSON bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Declare a miner's faulty sectors recovered, those that can be proven again",
		Long: "Declare a miner's faulty sectors recovered, those that can be proven again.\n\n" +
			"posthaste does that by itself every 20 epochs; this is for whoever has just put files back and will not wait, and it also looks at sectors that are\n" +
			"left alone for a while because they failed before. Each sector whose files are there is read as a proof does; what passes is declared in a\n" +
			"message to the chain, before its deadline's fault cutoff, and the next post covers it.\n\n" +
			"--status only tells what is known, and needs no running daemon.",
		Example: "  posthaste proving recover --miner f01000\n" +
			"  posthaste proving recover --miner f01000 --status --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			miner, err := what.id()
			if err != nil {
				return err
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			look := workers.Recover
			if status {
				look = workers.ReadRecovery
			}
			state, err := look(cmd.Context(), c, miner)
			if err != nil {
				return c.explainAway(err)
			}
			if asJSON {
				return printJSON(a.stdout, state)
			}
			printRecovery(a.stdout, state)
			return nil
		},
	}
	what.minerFlag(cmd, a)
	cmd.Flags().BoolVar(&status, "status", false, "tell what is known, without looking")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// printRecovery is how a miner's faulty sectors stand, for people.
func printRecovery(out io.Writer, s post.RecoveryState) {
	name := post.MinerName(s.Miner)
	if s.Idle != "" {
		fmt.Fprintf(out, "%s: nothing is looked at, since %s.\n", name, s.Idle)
		return
	}
	if len(s.Declared) > 0 {
		t := newTable(out)
		t.AppendHeader(table.Row{"Declared recovered", "Cutoff", "State", "Message", "Reason"})
		for _, d := range s.Declared {
			t.AppendRow(table.Row{d.String(), d.Cutoff, d.State, d.Message, d.Reason})
		}
		t.SuppressEmptyColumns()
		t.Render()
	}
	for _, w := range s.Waits {
		fmt.Fprintf(out, "%s: not declared, again at epoch %d: %s\n", name, w.Until, w)
	}
	if s.Cut {
		fmt.Fprintf(out, "There is more than is shown here; `posthaste proving check --strict --miner %s` looks at every sector.\n", name)
	}
	switch {
	case s.Off:
		fmt.Fprintf(out, "Nothing is declared recovered: recover = false in posthaste.toml.\n")
	case s.Blocked.Any():
		fmt.Fprintf(out, "Nothing can be declared recovered: %s.\n", s.Blocked)
	}
	if s.Problem != "" {
		fmt.Fprintf(out, "Not all could be looked at: %s.\n", s.Problem)
	}
	untold := s.Faulty > s.Recovering && len(s.Declared)+len(s.Waits) == 0 && !s.Off && !s.Blocked.Any() && !s.Cut && s.Problem == ""
	if untold {
		fmt.Fprintf(out, "The deadlines of the others are open, or too near to it: they are looked at when these have closed.\n")
	}
	fmt.Fprintf(out, "%s: %s, %d declared recovered on the chain (epoch %d, %s).\n", name, post.Count(s.Faulty, "faulty sector"), s.Recovering, s.Head, s.At.Local().Format(time.DateTime))
}
