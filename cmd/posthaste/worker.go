package main

import (
	"github.com/spf13/cobra"

	"posthaste/config"
	"posthaste/workers"
)

// newWorker is the process that proves.
func newWorker(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "worker", Short: "Prove on this machine's cards; see and steer workers", Args: cobra.NoArgs}
	cmd.AddCommand(newWorkerRun(a))
	cmd.AddCommand(newWorkerList(a), newWorkerInfo(a), newWorkerPause(a), newWorkerResume(a), newWorkerDrain(a), newWorkerUnfence(a), newWorkerForget(a))
	return cmd
}

func newWorkerRun(a *app) *cobra.Command {
	var extProver string
	var drain bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep a proving process per card and take jobs until stopped",
		Long: "Keep a proving process per card and take jobs until stopped.\n\n" +
			"A worker needs Temporal and its [[attached]] stores, and the proof parameters (FIL_PROOFS_PARAMETER_CACHE); no node and\n" +
			"no wallet. On SIGTERM it hands what is running over to another worker at once, or with --drain finishes it first\n" +
			"(a second SIGTERM then hands it over).\n\n" +
			"--config may also be a damocles-worker's file with sealing threads of plan \"wdpost\", and --ext-prover-config a\n" +
			"damocles-manager's ext-prover.cfg, both as they are. The log names what of them does not apply here. Temporal's address\n" +
			"is then that of TEMPORAL_ADDRESS.",
		Example: "  posthaste worker run --config damocles-worker.toml\n" +
			"  posthaste worker run --ext-prover-config ext-prover.cfg --drain",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.LoadWorker(a.configPath, extProver)
			if err != nil {
				return err
			}
			c.Worker.Drain = c.Worker.Drain || drain
			_, log, err := a.loaded(c)
			if err != nil {
				return err
			}
			if err := c.ForWorker(); err != nil {
				return err
			}
			a.patient.Store(c.Worker.Drain)
			return runProcess(cmd.Context(), log, workers.Worker(c, log))
		},
	}
	cmd.Flags().StringVar(&extProver, "ext-prover-config", "", "a damocles-manager's ext-prover.cfg, a `file` whose cards are taken in place of the configuration's")
	cmd.Flags().BoolVar(&drain, "drain", false, "on SIGTERM, finish what is running before the process ends, however long that takes (worker.drain)")
	return cmd
}
