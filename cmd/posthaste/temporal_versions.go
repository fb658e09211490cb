package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"posthaste/workers"
)

// newTemporalVersions shows the versions of daemons.
func newTemporalVersions(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "versions",
		Short: "Show the versions of daemons that Temporal knows, and how many open deadlines each has",
		Long: `Show the versions of daemons that Temporal knows, when their configuration says temporal.versioning = true: deadlines that open go
to the current one and end in the one that began them. A version without open deadlines may be stopped.`,
		Example: `  posthaste temporal versions`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			versions, c, err := a.daemonVersions(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			if asJSON {
				return printJSON(a.stdout, versions)
			}
			if len(versions) == 0 {
				fmt.Fprintln(a.stdout, "Versioning was never on here: every daemon goes on with every deadline.")
				return nil
			}
			t := newTable(a.stdout)
			t.AppendHeader(table.Row{"Version", "", "Daemons", "Open deadlines", "Known since"})
			for _, v := range versions {
				t.AppendRow(table.Row{v.BuildID, map[bool]string{true: "current"}[v.Current], map[bool]string{true: "running", false: "none"}[v.Polling], v.Open, v.Since.Local().Format("2006-01-02 15:04")})
			}
			t.Render()
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list, a version an object")
	return cmd
}

func newTemporalCurrent(a *app) *cobra.Command {
	var unversioned, takeOver, force bool
	cmd := &cobra.Command{
		Use:   "current [VERSION]",
		Short: "Give the deadlines that open from now on to the daemons of a version",
		Long: `Give the deadlines that open from now on, and all workflows that are not deadlines, to the daemons of a version. Deadlines that are
open end in the version that began them: leave its daemons running until "posthaste temporal versions" shows none.

If those daemons will not come back, --take-over moves their open deadlines, too, to the version that becomes current.
--unversioned gives everything that begins to daemons without versioning, before it is switched off in their configuration.`,
		Example: `  posthaste temporal current v1.4.0
  posthaste temporal current v1.3.2 --take-over
  posthaste temporal current --unversioned`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: first(a.completing(func(ctx context.Context, c *connection, _ []string) ([]string, error) {
			versions, err := workers.DaemonVersions(ctx, c, c.Namespace)
			return buildIDs(versions), err
		})),
		RunE: func(cmd *cobra.Command, args []string) error {
			if unversioned == (len(args) == 1) {
				return errors.New("name one version, or give --unversioned; `posthaste temporal versions` lists them")
			}
			return a.makeCurrent(cmd, strings.Join(args, ""), takeOver, force)
		},
	}
	cmd.Flags().BoolVar(&unversioned, "unversioned", false, "to the daemons without versioning")
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "open deadlines of all other versions, too")
	cmd.Flags().BoolVar(&force, "force", false, "even if no daemon of the version runs")
	return cmd
}

// daemonVersions asks Temporal.
func (a *app) daemonVersions(cmd *cobra.Command) ([]workers.DaemonVersion, *connection, error) {
	c, err := a.connect(cmd)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), lookLimit)
	defer cancel()
	versions, err := workers.DaemonVersions(ctx, c, c.Namespace)
	if err != nil {
		c.Close()
		return nil, nil, c.explain(err)
	}
	return versions, c, nil
}

func buildIDs(versions []workers.DaemonVersion) []string {
	out := make([]string, len(versions))
	for i, v := range versions {
		out[i] = v.BuildID
	}
	return out
}

func (a *app) makeCurrent(cmd *cobra.Command, build string, takeOver, force bool) error {
	versions, c, err := a.daemonVersions(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := mayBeCurrent(versions, build, force); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), lookLimit)
	defer cancel()
	if err := workers.MakeCurrent(ctx, c, build); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s is current\n", map[bool]string{true: "unversioned", false: build}[build == ""])
	for _, v := range versions {
		switch {
		case v.BuildID == build || v.Open == 0:
		case !takeOver:
			fmt.Fprintf(a.stdout, "%s goes on with %d open deadlines: leave its daemons running until they are over\n", v.BuildID, v.Open)
		default:
			moved, err := workers.Unpin(ctx, c, v.BuildID)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%d open deadlines of %s go on here\n", moved, v.BuildID)
		}
	}
	return nil
}

// mayBeCurrent refuses a version that nobody knows, and one that would let everything stand still.
func mayBeCurrent(versions []workers.DaemonVersion, build string, force bool) error {
	at := slices.IndexFunc(versions, func(v workers.DaemonVersion) bool { return v.BuildID == build })
	switch {
	case len(versions) == 0:
		return errors.New("versioning was never on here: there is nothing to choose from (temporal.versioning)")
	case build == "":
		return nil
	case at < 0:
		return fmt.Errorf("there is no version %q; there are %s", build, strings.Join(buildIDs(versions), ", "))
	case !versions[at].Polling && !force:
		return fmt.Errorf("no daemon of version %s runs, so everything would stand still: start one first, or give --force", build)
	}
	return nil
}
