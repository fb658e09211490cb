package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/spf13/cobra"

	"posthaste/config"
	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

func newMinerPause(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause MINER…",
		Short: "Issue no new deadlines of miners, until resumed; those under way go on",
		Long: "Issue no new deadlines of miners, until resumed; those under way go on.\n\n" +
			"A deadline that closes while its miner is paused is missed, unless it was issued before: some epochs before it opens.",
		Example:           `  posthaste miner pause f01000 --reason "moving racks"`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeMiners(),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.steerMiners(cmd, names, func(ctx context.Context, c *connection, v workers.MinerView) error {
				if err := workers.OrderMiner(ctx, c, v.ID, workflows.UpdatePause, reason); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "%s: paused (%s): no new deadline is issued; %s\n", v.Miner, reason, underWay(v))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "by an operator", "a `text` that those see who look at the list")
	return cmd
}

// underWay says what becomes of the deadlines that were issued already.
func underWay(v workers.MinerView) string {
	if len(v.Deadlines) == 0 {
		return "none is under way"
	}
	names := make([]string, len(v.Deadlines))
	for i, d := range v.Deadlines {
		names[i] = fmt.Sprint(d.Deadline)
	}
	return "under way, and going on: " + strings.Join(names, ", ")
}

func newMinerResume(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "resume MINER…",
		Short:             "Issue the deadlines of paused miners again",
		Example:           `  posthaste miner resume f01000 f01001`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeMiners(),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.steerMiners(cmd, names, func(ctx context.Context, c *connection, v workers.MinerView) error {
				if err := workers.OrderMiner(ctx, c, v.ID, workflows.UpdateResume); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "%s: its deadlines are issued\n", v.Miner)
				return nil
			})
		},
	}
}

func newMinerRemove(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "remove MINER…",
		Short: "Watch miners no more, whatever daemons' files say, until added again; deadlines under way go on",
		Long: "Watch miners no more, whatever daemons' files say, until added again; deadlines under way go on.\n\n" +
			"The removal is kept in the miner's workflow, which goes on without issuing anything: a posthaste.toml that still names the miner\n" +
			"does not bring it back, nor does a restart. `posthaste miner add` lifts the removal. To end deadlines that are under way,\n" +
			"use `posthaste wdpost remove` afterwards.",
		Example:           `  posthaste miner remove f01000 --reason "sold"`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeMiners(),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.steerMiners(cmd, names, func(ctx context.Context, c *connection, v workers.MinerView) error {
				if v.State == "Removed" {
					fmt.Fprintf(a.stdout, "%s: removed already (%s)\n", v.Miner, v.Why)
					return nil
				}
				if err := workers.OrderMiner(ctx, c, v.ID, workflows.UpdateRemove, reason); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "%s: removed (%s): nothing is issued until `posthaste miner add %s`; %s\n", v.Miner, reason, v.Miner, underWay(v))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "by an operator", "a `text` that those see who look at the list")
	return cmd
}

// steerMiners does something with each of the named miners. One that is unknown or fails does not keep it from the others.
func (a *app) steerMiners(cmd *cobra.Command, names []string, do func(context.Context, *connection, workers.MinerView) error) error {
	return a.eachMiner(cmd, names, func(ctx context.Context, c *connection, views []workers.MinerView, id abi.ActorID) error {
		v, err := findMiner(views, id)
		if err != nil {
			return err
		}
		return do(ctx, c, v)
	})
}

// eachMiner is steerMiners for what may be unknown.
func (a *app) eachMiner(cmd *cobra.Command, names []string, do func(context.Context, *connection, []workers.MinerView, abi.ActorID) error) error {
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	views, err := c.miners(cmd.Context())
	if err != nil {
		return err
	}
	var errs []error
	done := map[abi.ActorID]bool{}
	for _, name := range names {
		id, err := post.ParseMiner(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if done[id] {
			continue
		}
		done[id] = true
		err = do(cmd.Context(), c, views, id)
		errs = append(errs, err)
		if errors.Is(err, workers.ErrNoDaemon) {
			break // nobody would answer for the others either, and each would take as long
		}
	}
	return errors.Join(errs...)
}

// findMiner is the miner of that number, or an error that says which there are.
func findMiner(views []workers.MinerView, id abi.ActorID) (workers.MinerView, error) {
	var names []string
	for _, v := range views {
		switch {
		case v.ID == id && v.State == workers.MinerFailed:
			return v, fmt.Errorf("miner %s is not watched: %s", v.Miner, v.Why)
		case v.ID == id:
			return v, nil
		case v.State != workers.MinerFailed:
			names = append(names, v.Miner)
		}
	}
	if len(names) == 0 {
		return workers.MinerView{}, fmt.Errorf("there is no miner %s; none is watched at all", post.MinerName(id))
	}
	return workers.MinerView{}, fmt.Errorf("there is no miner %s; there are %s", post.MinerName(id), strings.Join(names, ", "))
}

// watchedWithin is how long `miner add` waits to see a daemon watch what it has added.
const watchedWithin = 15 * time.Second

func newMinerAdd(a *app) *cobra.Command {
	var sender, pool string
	var policy []string
	cmd := &cobra.Command{
		Use:   "add MINER…",
		Short: "Watch miners that no daemon's file names, or lift a removal",
		Long: "Watch miners that no daemon's file names, or lift a removal.\n\n" +
			"The settings are the defaults of [policy], with what the flags say, whatever daemons' files have there; given again, those of an\n" +
			"added miner change. They are kept in Temporal until a daemon's posthaste.toml names the miner: then the file's hold.\n" +
			"That the chain knows the miner is seen as soon as a daemon watches it, which the command waits for.",
		Example: `  posthaste miner add f01000
  posthaste miner add f01000 --sender f3abc… --pool big --policy max_try=3`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRemoved(),
		RunE: func(cmd *cobra.Command, names []string) error {
			if cmd.Flags().Changed("sender") {
				policy = append(policy, "sender="+sender)
			}
			if cmd.Flags().Changed("pool") {
				policy = append(policy, "pool="+pool)
			}
			if _, err := config.PolicySettings(post.DefaultSettings(), policy); err != nil {
				return err
			}
			return a.eachMiner(cmd, names, func(ctx context.Context, c *connection, views []workers.MinerView, id abi.ActorID) error {
				return a.addMiner(ctx, c, views, id, policy)
			})
		},
	}
	cmd.Flags().StringVar(&sender, "sender", "auto", "the `address` that sends its posts; auto: chosen among the miner's addresses")
	cmd.Flags().StringVar(&pool, "pool", "", "the `name` of the pool of cards that prove it; empty: any")
	cmd.Flags().StringArrayVar(&policy, "policy", nil, "another key of [policy] as `KEY=VALUE`, such as max_try=3; may be given several times")
	return cmd
}

// completeRemoved completes the miners that may be added again.
func (a *app) completeRemoved() cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, c *connection, _ []string) ([]string, error) {
		watched, err := workers.ReadWatched(ctx, c)
		if err != nil {
			return nil, err
		}
		var candidates []string
		for _, m := range watched {
			if m.Removed != "" {
				candidates = append(candidates, post.MinerName(m.Miner)+"\tremoved: "+m.Removed)
			}
		}
		return candidates, nil
	})
}

// addMiner adds one miner, and tells whether it is watched then.
func (a *app) addMiner(ctx context.Context, c *connection, views []workers.MinerView, id abi.ActorID, policy []string) error {
	i := slices.IndexFunc(views, func(v workers.MinerView) bool { return v.ID == id && v.State != workers.MinerFailed })
	if i < 0 {
		settings, err := config.PolicySettings(post.DefaultSettings(), policy)
		if err != nil {
			return err
		}
		if err := workers.StartMiner(ctx, c.Temporal, c, workflows.WatchInput{Miner: id, Settings: settings}, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		return a.tellWatched(ctx, c, id)
	}
	v := views[i]
	if v.State == "Watching" && len(policy) == 0 {
		fmt.Fprintf(a.stdout, "%s: watched already\n", v.Miner)
		return nil
	}
	var add workflows.AddMiner
	if len(policy) > 0 {
		if v.NamedBy != "" && !v.Unnamed {
			return fmt.Errorf("miner %s: the posthaste.toml of daemon %s names it, and its settings hold: change them there", v.Miner, v.NamedBy)
		}
		settings, err := config.PolicySettings(v.Settings, policy)
		if err != nil {
			return err
		}
		add.Settings = &settings
	}
	if err := workers.OrderMiner(ctx, c, id, workflows.UpdateAdd, add); err != nil {
		return err
	}
	return a.tellWatched(ctx, c, id)
}

func (a *app) tellWatched(ctx context.Context, c *connection, id abi.ActorID) error {
	v, err := workers.AwaitWatched(ctx, c, id, watchedWithin)
	switch {
	case err != nil:
		return fmt.Errorf("miner %s was not added: %w", post.MinerName(id), err)
	case v.Head > 0 && v.Problem == "":
		fmt.Fprintf(a.stdout, "%s: watched; the chain is at epoch %d\n", v.Miner, v.Head)
	case v.Problem != "":
		fmt.Fprintf(a.stdout, "%s: added; the daemon that watches it is in trouble: %s\n", v.Miner, v.Problem)
	default:
		fmt.Fprintf(a.stdout, "%s: added; it is watched, and seen whether the chain knows it, when a daemon runs (`posthaste daemon run`)\n", v.Miner)
	}
	return nil
}
