package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"posthaste/config"
	"posthaste/prover"
)

// newProcessor is the child process of a card. Workers start it, and so can damocles.
func newProcessor(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "processor", Short: "The child process of a card; workers start it", Hidden: true, Args: cobra.NoArgs}
	for _, kind := range []string{prover.KindWindow, prover.KindWinning} {
		var parallel int
		var limit time.Duration
		sub := &cobra.Command{
			Use:   kind,
			Short: "Answer " + kind + " tasks, a JSON line each, from stdin to stdout",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				log, err := a.logger(config.Log{Format: "text"})
				if err != nil {
					return err
				}
				reading := prover.Reading{Parallel: parallel, Limit: limit}
				return prover.RunProcessor(cmd.Context(), kind, os.Stdin, os.Stdout, prover.ProcessorOptions{Log: log, Reading: reading})
			},
		}
		sub.Flags().IntVar(&parallel, "parallel-reads", 0, "sectors read at once; 0 is the default")
		sub.Flags().DurationVar(&limit, "read-timeout", 0, "how long reading one sector may take; 0 is the default")
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "devices",
		Short: "Print the names of the GPUs that the proofs library finds, as a list in JSON",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return prover.PrintDevices(os.Stdout) },
	})
	return cmd
}
