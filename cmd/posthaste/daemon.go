package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"go.uber.org/dig"
	"go.uber.org/fx"

	"posthaste/workers"
)

// newDaemon is the process that drives workflows.
func newDaemon(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "daemon", Short: "Drive the miners' deadlines", Args: cobra.NoArgs}
	cmd.AddCommand(&cobra.Command{
		Use:   "run",
		Short: "Run workflows, chain and lookup activities until stopped",
		Long: "Run workflows, chain and lookup activities until stopped.\n\n" +
			"A daemon is stateless: run two or ten of them with the same configuration. It needs Temporal, a Filecoin node and the\n" +
			"stores, to find sectors in; it waits for what is not there yet.",
		Example: `  FULLNODE_API_INFO=TOKEN:/ip4/10.0.0.5/tcp/1234/http posthaste daemon run --config /etc/posthaste.toml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := a.load()
			if err != nil {
				return err
			}
			if err := c.ForDaemon(); err != nil {
				return err
			}
			return runProcess(cmd.Context(), log, workers.Daemon(c, log))
		},
	})
	return cmd
}

// runProcess runs an application until it is told to stop or gives up.
func runProcess(ctx context.Context, log *slog.Logger, process fx.Option) error {
	app := fx.New(process, fx.NopLogger)
	if err := app.Err(); err != nil {
		return fxCause(err)
	}
	if err := app.Start(ctx); err != nil {
		return err
	}
	exit := 0
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case signal := <-app.Wait():
		exit = signal.ExitCode
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), app.StopTimeout())
	defer cancel()
	if err := app.Stop(stopping); err != nil {
		return err
	}
	if exit != 0 {
		return errors.New("stopped after the error above")
	}
	return nil
}

// fxCause is what a constructor said, without fx's account of which function it was called for.
func fxCause(err error) error { return dig.RootCause(err) }
