package main

import (
	"github.com/spf13/cobra"

	"posthaste/workers"
)

// newWorker is the process that proves.
func newWorker(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "worker", Short: "Prove on this machine's cards; see and steer workers", Args: cobra.NoArgs}
	cmd.AddCommand(&cobra.Command{
		Use:   "run",
		Short: "Keep a proving process per card and take jobs until stopped",
		Long: "Keep a proving process per card and take jobs until stopped.\n\n" +
			"A worker needs Temporal and its [[attached]] stores, and the proof parameters (FIL_PROOFS_PARAMETER_CACHE); no node and\n" +
			"no wallet. On SIGTERM it hands what is running over to another worker at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := a.load()
			if err != nil {
				return err
			}
			if err := c.ForWorker(); err != nil {
				return err
			}
			return runProcess(cmd.Context(), log, workers.Worker(c, log))
		},
	})
	cmd.AddCommand(newWorkerList(a), newWorkerInfo(a), newWorkerPause(a), newWorkerResume(a), newWorkerDrain(a), newWorkerUnfence(a), newWorkerForget(a))
	return cmd
}
