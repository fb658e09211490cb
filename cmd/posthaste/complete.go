package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"

	"posthaste/post"
	"posthaste/workers"
)

// completeLimit is how long a completion may take: somebody has pressed a key and waits for the shell.
const completeLimit = 2 * time.Second

// completing makes a completion of what Temporal is asked for: candidates, which may be followed by a tab and a word about each. What
// is on the command line already is left out. Without Temporal, or without a configuration that can be read, there are none, and
// nothing is printed.
func (a *app) completing(ask func(ctx context.Context, c *connection, args []string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeLimit)
		defer cancel()
		silent := &app{configPath: a.configPath, stdout: io.Discard, stderr: io.Discard, dial: a.dial}
		c, err := silent.connect(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		candidates, err := ask(ctx, c, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(candidates, func(candidate string) bool {
			word, _, _ := strings.Cut(candidate, "\t")
			return !strings.HasPrefix(word, begun) || slices.Contains(args, word)
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeJobs completes the IDs of those jobs that are not over, or failed of late, with which the command can do something.
func (a *app) completeJobs(fits func(workers.Job) bool) cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, c *connection, _ []string) ([]string, error) {
		rows, err := workers.ListBoard(ctx, c, workers.QueryUnsettled(time.Now()))
		if err != nil {
			return nil, err
		}
		var candidates []string
		for _, row := range rows {
			for _, j := range workers.JobsOf(row, workers.Head{}, 0, time.Now()) {
				if fits(j) {
					candidates = append(candidates, fmt.Sprintf("%s\t%s", j.ID, j.Stage))
				}
			}
		}
		slices.Sort(candidates)
		return slices.Compact(candidates), nil
	})
}

// anyJob, runsAgain and removable are what `show`, `reset` and `remove` are of use for, as far as the list knows: not whether a deadline
// is closed. One that was missed is most probably.
func anyJob(workers.Job) bool { return true }

func runsAgain(j workers.Job) bool {
	way, _ := j.CanReset()
	return way != workers.ResetNot && j.Stage != post.StateMissed
}

func removable(j workers.Job) bool {
	return j.Status == enums.WORKFLOW_EXECUTION_STATUS_RUNNING.String() && j.Unsettled()
}

// completeMiners completes the miners that are watched.
func (a *app) completeMiners() cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, c *connection, _ []string) ([]string, error) {
		watched, err := workers.ReadWatched(ctx, c)
		if err != nil {
			return nil, err
		}
		candidates := make([]string, len(watched))
		for i, m := range watched {
			candidates[i] = post.MinerName(m.Miner)
			if m.Paused != "" {
				candidates[i] += "\tpaused: " + m.Paused
			}
		}
		return candidates, nil
	})
}

// completeWorkers completes the workers that are known, gone ones too.
func (a *app) completeWorkers() cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, c *connection, _ []string) ([]string, error) {
		views, err := workers.ReadWorkers(ctx, c, c.Namespace)
		if err != nil {
			return nil, err
		}
		candidates := make([]string, len(views))
		for i, v := range views {
			candidates[i] = v.Name + "\t" + v.State
		}
		return candidates, nil
	})
}

// completeWorker is completeWorkers for a command that takes one.
func (a *app) completeWorker() cobra.CompletionFunc { return first(a.completeWorkers()) }

// first completes the first argument only.
func first(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, begun)
	}
}

// completeCards completes a worker, and then its fenced cards.
func (a *app) completeCards() cobra.CompletionFunc {
	workersFirst := a.completeWorkers()
	cards := a.completing(func(ctx context.Context, c *connection, args []string) ([]string, error) {
		views, err := workers.ReadWorkers(ctx, c, c.Namespace)
		if err != nil {
			return nil, err
		}
		v, err := findWorker(views, args[0])
		if err != nil {
			return nil, err
		}
		candidates := make([]string, len(v.Fences))
		for i, f := range v.Fences {
			candidates[i] = f.Card + "\t" + f.Reason
		}
		return candidates, nil
	})
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return workersFirst(cmd, args, begun)
		}
		return cards(cmd, args, begun)
	}
}

// completeFlag gives a flag a completion. That the flag is there is known to whoever wrote the command.
func completeFlag(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(fmt.Sprintf("completing --%s of %s: %v", flag, cmd.Name(), err))
	}
}
