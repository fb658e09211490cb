package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// newWorkerPause and its like give orders. Each order is recorded in the worker's workflow and outlives the worker's process.
func newWorkerPause(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:               "pause NAME…",
		Short:             "Let workers finish what they have and take nothing new, until resumed",
		Example:           `  posthaste worker pause gpu-1 --reason "new disks"`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeWorkers(),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.steer(cmd, names, func(ctx context.Context, c *connection, v workers.WorkerView) error {
				told, err := workers.Order(ctx, c, v.Name, workflows.UpdatePause, reason)
				return a.tellOrder(v.Name, told, err, fmt.Sprintf("paused (%s): it finishes what it has and takes nothing new", reason))
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "by an operator", "a `text` that those see who look at the list")
	return cmd
}

func newWorkerResume(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "resume NAME…",
		Short:             "Let paused workers take jobs again",
		Example:           `  posthaste worker resume gpu-1 gpu-2`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeWorkers(),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.steer(cmd, names, func(ctx context.Context, c *connection, v workers.WorkerView) error {
				told, err := workers.Order(ctx, c, v.Name, workflows.UpdateResume)
				return a.tellOrder(v.Name, told, err, "takes jobs")
			})
		},
	}
}

func newWorkerDrain(a *app) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "drain NAME…",
		Short: "Let workers finish what they have, then end their processes",
		Long: "Let workers finish what they have, then end their processes.\n\n" +
			"What is running is proven to its end, nothing new is taken, and the process ends by itself when the last job is done. Whatever\n" +
			"supervises it (systemd, `posthaste up`) may start it again; it then takes jobs, unless it is paused. Only a worker that is\n" +
			"there can be drained: the order is not kept for later.",
		Example:           `  posthaste worker drain gpu-1 --wait`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeWorkers(),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.steer(cmd, names, func(ctx context.Context, c *connection, v workers.WorkerView) error {
				if !v.Alive {
					return fmt.Errorf("worker %s is gone: there is nothing to drain", v.Name)
				}
				told, err := workers.Order(ctx, c, v.Name, workflows.UpdateDrain)
				if err != nil {
					return err
				}
				if !told.Reached {
					return fmt.Errorf("worker %s does not drain, and the order is not kept for later: %s", v.Name, told.Why)
				}
				running := v.Count(func(c workers.CardView) int {
					if c.Job != "" {
						return 1
					}
					return 0
				})
				fmt.Fprintf(a.stdout, "%s: draining: it takes nothing new and ends when its jobs are done (%d now)\n", v.Name, running)
				if wait {
					return a.awaitEnd(ctx, c, v)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "return when they have ended")
	return cmd
}

func newWorkerUnfence(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "unfence NAME [CARD…]",
		Short:             "Put fenced cards of a worker back into use; without CARD, all of them",
		Example:           `  posthaste worker unfence gpu-1 card0`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeCards(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.steer(cmd, args[:1], func(ctx context.Context, c *connection, v workers.WorkerView) error {
				return a.unfence(ctx, c, v, args[1:])
			})
		},
	}
}

func (a *app) unfence(ctx context.Context, c *connection, v workers.WorkerView, cards []string) error {
	known := list(v.Cards, func(c workers.CardView) string { return c.Name })
	var errs []error
	var asked []string
	for _, card := range cards {
		card = strings.TrimPrefix(card, v.Name+"/")
		if !slices.ContainsFunc(v.Cards, func(c workers.CardView) bool { return c.Name == card }) {
			errs = append(errs, fmt.Errorf("worker %s has no card %q; it has %s", v.Name, card, strings.ReplaceAll(known, "\n", ", ")))
			continue
		}
		asked = append(asked, card)
	}
	switch {
	case len(cards) == 0 && len(v.Fences) == 0:
		fmt.Fprintf(a.stdout, "%s: no card is fenced\n", v.Name)
		return nil
	case len(cards) == 0:
		asked = []string{""}
	}
	for _, card := range asked {
		told, err := workers.Order(ctx, c, v.Name, workflows.UpdateUnfence, card)
		what := "card " + card + " is not fenced any more"
		if card == "" {
			what = "no card is fenced any more"
		}
		if others := fencesText(told.Orders.Fences); others != "" {
			what += "; still fenced: " + others
		}
		errs = append(errs, a.tellOrder(v.Name, told, err, what))
	}
	return errors.Join(errs...)
}

func fencesText(fences []post.Fence) string {
	return strings.ReplaceAll(list(fences, func(f post.Fence) string { return f.Card }), "\n", ", ")
}

func newWorkerForget(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "forget NAME…",
		Short:             "Take workers that are gone for good off the list, with their orders and fences",
		Example:           `  posthaste worker forget gpu-9`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeWorkers(),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.steer(cmd, names, func(ctx context.Context, c *connection, v workers.WorkerView) error {
				if v.Alive && !force {
					return fmt.Errorf("worker %s is alive (%s) and would come back, with its orders and fences; stop it first, or give --force to have it begin a new history", v.Name, v.State)
				}
				if err := workers.Forget(ctx, c, v.Name); err != nil {
					return err
				}
				if v.Alive {
					fmt.Fprintf(a.stdout, "%s: forgotten; it is alive, and comes back in a moment, with the orders and fences that it has\n", v.Name)
					return nil
				}
				fmt.Fprintf(a.stdout, "%s: forgotten, with its orders and fences\n", v.Name)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when it is alive: it comes back at once, with its orders and fences")
	return cmd
}

// steer does something with each of the named workers. One that is unknown or fails does not keep it from the others.
func (a *app) steer(cmd *cobra.Command, names []string, do func(context.Context, *connection, workers.WorkerView) error) error {
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	views, err := c.workers(cmd.Context())
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		v, err := findWorker(views, name)
		if err == nil {
			err = do(cmd.Context(), c, v)
		}
		errs = append(errs, err)
		if errors.Is(err, workers.ErrNoDaemon) {
			break // nobody would answer for the others either, and each would take as long
		}
	}
	return errors.Join(errs...)
}

// tellOrder says how a worker stands after an order.
func (a *app) tellOrder(name string, told workflows.Told, err error, done string) error {
	if err != nil {
		return err
	}
	printOrder(a.stdout, name, told, done)
	return nil
}

func printOrder(out io.Writer, name string, told workflows.Told, done string) {
	if told.Reached {
		fmt.Fprintf(out, "%s: %s\n", name, done)
		return
	}
	why := ""
	if told.Why != "" {
		why = " (" + told.Why + ")"
	}
	fmt.Fprintf(out, "%s: recorded; it applies when the worker starts%s: %s\n", name, why, done)
}

// endedEvery is how often --wait looks whether a worker has ended.
const endedEvery = 2 * time.Second

// awaitEnd returns when the process of a worker has ended, whether or not another has taken its name since.
func (a *app) awaitEnd(ctx context.Context, c *connection, was workers.WorkerView) error {
	ticker := time.NewTicker(endedEvery)
	defer ticker.Stop()
	for {
		views, err := c.workers(ctx)
		if err != nil {
			return fmt.Errorf("waiting for worker %s to end: %w", was.Name, err)
		}
		v, err := findWorker(views, was.Name)
		if err != nil || !v.Alive || v.Instance != was.Instance {
			fmt.Fprintf(a.stdout, "%s: ended\n", was.Name)
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for worker %s to end: %w", was.Name, ctx.Err())
		}
	}
}
