package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newTemporal is what there is to do to Temporal's own database. Another program does it: this one does not link Temporal's server.
func newTemporal(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "temporal", Short: "Temporal itself: its database, copies of it, the versions of daemons"}
	cmd.AddCommand(newTemporalSchema(a), newTemporalBackup(a), newTemporalRestore(a), newTemporalVersions(a), newTemporalCurrent(a))
	return cmd
}

func newTemporalSchema(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Make or update Temporal's databases on a PostgreSQL server",
		Long: `Make or update Temporal's two databases on a PostgreSQL server (12 or later), for the version of Temporal's server that
temporal-dev is. Tells each database's schema version before and after. Done again, it changes nothing, and a Temporal server
that works on the databases meanwhile is not disturbed: schemas stay usable for the server before. A database with other tables,
or of a newer server, is left as it is.

The password is PGPASSWORD's, or in a file; the user must be allowed to create databases, or own two that are empty.
The namespace is made by temporal-dev when it starts there; on a Temporal cluster: temporal operator namespace create -n default`,
		Example: `  PGPASSWORD=… posthaste temporal schema --postgres db.example:5432 --postgres-user temporal --postgres-tls verify-full
  posthaste temporal schema --postgres /var/run/postgresql --check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.temporalDev(cmd.Context(), append([]string{"schema"}, givenFlags(cmd)...))
		},
	}
	f := cmd.Flags()
	f.String("postgres", "", "`host[:port]` of the PostgreSQL server, or the folder of its socket (required)")
	f.String("postgres-user", "", "`name` to log in with (default: PGUSER, else temporal)")
	f.String("postgres-password-file", "", "`file` with the password in its first line (default: PGPASSWORD, else ~/.pgpass)")
	f.String("postgres-database", "temporal", "`name` of the database of workflows")
	f.String("postgres-visibility-database", "temporal_visibility", "`name` of the database of lists")
	f.String("postgres-tls", "disable", "`mode`: disable, require (encrypted, anybody) or verify-full")
	f.String("postgres-ca", "", "`file` of certificates that the server's is checked with")
	f.String("postgres-cert", "", "`file` of a client certificate")
	f.String("postgres-key", "", "`file` of its key")
	f.Bool("check", false, "change nothing; exit code 1 if something is to be done")
	f.Bool("json", false, "one JSON object a database")
	_ = cmd.MarkFlagRequired("postgres")
	modes := cobra.FixedCompletions([]string{"disable", "require", "verify-full"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("postgres-tls", modes)
	return cmd
}

// givenFlags are a command's own flags as they were given, for a program that has the same.
func givenFlags(cmd *cobra.Command) []string {
	var out []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if cmd.InheritedFlags().Lookup(f.Name) == nil {
			out = append(out, "--"+f.Name+"="+f.Value.String())
		}
	})
	return out
}

func newTemporalBackup(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the database of the embedded Temporal, also while it runs",
		Long: `Copy the database of the embedded Temporal into a new file, also while it runs: it goes on meanwhile. The copy is of one
moment, is read through before it gets its name, and is complete or not there.

What is posted is on the chain, and not only here: a copy, however old, or none at all, loses what was paused and the past's
history, never a proof (docs/cluster.md).`,
		Example: `  posthaste temporal backup /backup/temporal-$(date +%F).db`,
		Args:    cobra.ExactArgs(1),
		// A file's name.
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onDatabase(cmd.Context(), "backup", dataDir, args[0])
		},
	}
	dataDirFlag(cmd, &dataDir)
	return cmd
}

func newTemporalRestore(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a copy in the place of the database of the embedded Temporal, which must not run",
		Long: `Put a copy that "posthaste temporal backup" made in the place of the database of the embedded Temporal, which must not run.
What was there is put aside under another name. Started again, posthaste asks the chain what is posted: nothing is sent twice.`,
		Example: `  posthaste temporal restore /backup/temporal-2026-11-20.db`,
		Args:    cobra.ExactArgs(1),
		// A file's name.
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onDatabase(cmd.Context(), "restore", dataDir, args[0])
		},
	}
	dataDirFlag(cmd, &dataDir)
	return cmd
}

func dataDirFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "data-dir", "", "`folder` of Temporal's database (default: posthaste in $XDG_DATA_HOME)")
}

// onDatabase runs one of temporal-dev's commands that have the database of a data folder and another file.
func (a *app) onDatabase(ctx context.Context, what, dataDir, file string) error {
	home, err := dataHome(os.Getenv)
	if dataDir == "" && err != nil {
		return err
	}
	return a.temporalDev(ctx, []string{what, "--db-file", filepath.Join(cmp.Or(dataDir, home), "temporal.db"), file})
}

// endsWithin is how long temporal-dev may take to end one of its commands that is interrupted.
const endsWithin = 10 * time.Second

// temporalDev runs temporal-dev to its end. What it complains of becomes the error.
func (a *app) temporalDev(ctx context.Context, args []string) error {
	path, err := sibling("temporal-dev")
	if err != nil {
		return err
	}
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = a.stdout, &complaint
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it tidies up
	cmd.WaitDelay = endsWithin
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = cmd.Run()
	if said := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(complaint.String()), "temporal-dev:")); err != nil && said != "" {
		return errors.New(said)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", path, args[0], err)
	}
	return nil
}
