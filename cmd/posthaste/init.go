package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"posthaste/config"
)

func newInit(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Write a posthaste.toml in which every key is explained",
		Example: `  posthaste init --config /etc/posthaste.toml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
			if force {
				flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
			}
			// Not for others to read: people put API tokens into it.
			f, err := os.OpenFile(a.configPath, flags, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already; --force overwrites it", a.configPath)
			}
			if err != nil {
				return fmt.Errorf("writing the configuration: %w", err)
			}
			_, err = f.WriteString(config.Commented())
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("writing the configuration: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s; give it a miner, a store and a node, then run: posthaste up\n", a.configPath)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite the file")
	return cmd
}
