package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"posthaste/config"
	"posthaste/workers"
)

// connection is the Temporal server of a command that only looks and steers.
type connection struct {
	client.Client
	config.Temporal
}

// connect dials Temporal for a command that needs nothing else, so that it works on any machine: without a posthaste.toml, the
// address is TEMPORAL_ADDRESS's or the default. A file that is named with --config must be there.
func (a *app) connect(cmd *cobra.Command) (*connection, error) {
	c, err := a.lookingConfig(cmd)
	if err != nil {
		return nil, err
	}
	log, err := a.logger(c.Log)
	if err != nil {
		return nil, err
	}
	dial := workers.Dial
	if a.dial != nil {
		dial = a.dial
	}
	temporal, err := dial(c.Temporal, cmd.CommandPath(), log)
	if err != nil {
		return nil, err
	}
	return &connection{temporal, c.Temporal}, nil
}

func (a *app) lookingConfig(cmd *cobra.Command) (*config.Config, error) {
	if _, err := os.Stat(a.configPath); errors.Is(err, fs.ErrNotExist) && !cmd.Flags().Changed("config") {
		return config.Default()
	}
	return config.Load(a.configPath)
}
