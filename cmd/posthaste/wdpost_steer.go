package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
)

// newWdpostReset runs jobs again.
func newWdpostReset(a *app) *cobra.Command {
	var failed bool
	var miner string
	cmd := &cobra.Command{
		Use:   "reset JOBID…",
		Short: "Run jobs again now, with their tries back at 0",
		Long: "Run jobs again now, with their tries back at 0, on any card: also after their last try, and from a workflow that was ended, while the\n" +
			"deadline is open. A proof that is being made begins anew. Of a workflow that was ended, a new run is begun, which proves all of\n" +
			"the deadline that the chain does not have. It needs a running daemon.",
		Example: `  posthaste wdpost reset f01000-2880-7-0
  posthaste wdpost reset --all-failed --miner f01000`,
		ValidArgsFunction: a.completeJobs(runsAgain),
		Args: func(_ *cobra.Command, args []string) error {
			if failed == (len(args) > 0) {
				return errors.New("name jobs, or give --all-failed")
			}
			if miner != "" && !failed {
				return errors.New("--miner goes with --all-failed; a job's ID names its miner")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			if !failed {
				jobs, list, err := c.named(cmd.Context(), names)
				return errors.Join(err, a.reset(cmd.Context(), c, jobs, wholes(names), list))
			}
			q, err := (&jobFilter{miner: miner, state: workers.JobFailed}).query(cmd)
			if err != nil {
				return err
			}
			list, err := c.jobs(cmd.Context(), q)
			if err != nil {
				return err
			}
			// Nobody who asks for all of them means those that are too late.
			open := slices.DeleteFunc(slices.Clone(list.Jobs), func(j workers.Job) bool { return !j.Open() })
			if len(open) == 0 {
				fmt.Fprintln(a.stdout, "No job has failed whose deadline is open.")
			}
			return a.reset(cmd.Context(), c, open, nil, list)
		},
	}
	cmd.Flags().BoolVar(&failed, "all-failed", false, "all that have failed and whose deadlines are open")
	cmd.Flags().StringVar(&miner, "miner", "", "with --all-failed: only those of this `miner`, such as f01000")
	completeFlag(cmd, "miner", a.completeMiners())
	return cmd
}

// reset runs jobs again, deadline by deadline. What cannot be does not keep the others from it.
func (a *app) reset(ctx context.Context, c *connection, jobs []workers.Job, whole map[post.JobID]bool, list workers.JobList) error {
	var errs []error
	for _, of := range byDeadline(jobs) {
		again, way, refused := resettable(of, whole)
		errs = append(errs, refused)
		if len(again) == 0 {
			continue
		}
		err := a.resetDeadline(ctx, c, way, again, list)
		errs = append(errs, err)
		if errors.Is(err, workers.ErrNoDaemon) {
			break // nobody would answer for the others either, and each would take as long
		}
	}
	return errors.Join(errs...)
}

// resettable are the jobs of a deadline that can be run again, in which way, and why the others cannot. Where the deadline was named and not
// its jobs, those are meant that can be, if any can.
func resettable(of []workers.Job, whole map[post.JobID]bool) (again []workers.Job, way workers.ResetWay, refused error) {
	var errs []error
	for _, j := range of {
		w, err := j.CanReset()
		if err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", j.ID, err))
			continue
		}
		way, again = w, append(again, j)
	}
	if len(again) > 0 && whole[of[0].Deadline.JobIDs()] {
		return again, way, nil
	}
	return again, way, errors.Join(errs...)
}

// wholes are those of the names that stand for all jobs of a deadline.
func wholes(names []string) map[post.JobID]bool {
	whole := map[post.JobID]bool{}
	for _, name := range names {
		if id, err := post.ParseJobID(name); err == nil && id.Whole {
			whole[id] = true
		}
	}
	return whole
}

// resetDeadline runs jobs of one deadline again.
func (a *app) resetDeadline(ctx context.Context, c *connection, way workers.ResetWay, jobs []workers.Job, list workers.JobList) error {
	if way == workers.ResetNewRun {
		all, err := c.jobs(ctx, workers.JobQuery{Of: []post.JobID{jobs[0].Deadline.JobIDs()}})
		if err != nil {
			return err
		}
		if err := workers.BeginAgain(ctx, c, jobs[0], list.Head, partitionsOf(all.Jobs), time.Now()); err != nil {
			return fmt.Errorf("job %s: %w", idsText(jobs), err)
		}
		fmt.Fprintf(a.stdout, "%s: its workflow had ended (%s); a new run of it has begun, which proves what the chain does not have of the deadline%s\n", idsText(jobs), jobs[0].Status, others(jobs, all.Jobs))
		return nil
	}
	partitions := make([]uint64, len(jobs))
	for i, j := range jobs {
		partitions[i] = j.ID.Partition
	}
	if err := workers.ResetJobs(ctx, c, jobs[0].WorkflowID, partitions); err != nil {
		return fmt.Errorf("job %s: %w", idsText(jobs), err)
	}
	fmt.Fprintf(a.stdout, "%s: runs again now, tries back at 0\n", idsText(jobs))
	return nil
}

func partitionsOf(jobs []workers.Job) (n int) {
	for _, j := range jobs {
		if !j.ID.Whole {
			n++
		}
	}
	return n
}

// others names the jobs of a deadline that were not asked for and that are concerned all the same.
func others(asked, all []workers.Job) string {
	if rest := without(all, asked); len(rest) > 0 {
		return "; so does " + idsText(rest)
	}
	return ""
}

// without are the jobs that are not among those named and not posted.
func without(all, named []workers.Job) (rest []workers.Job) {
	for _, j := range all {
		found := j.Stage.Final()
		for _, n := range named {
			found = found || n.ID == j.ID || n.ID.Whole && n.WorkflowID == j.WorkflowID
		}
		if !found {
			rest = append(rest, j)
		}
	}
	return rest
}

func idsText(jobs []workers.Job) string {
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID.String()
	}
	return strings.Join(ids, ", ")
}

// byDeadline groups jobs, in the order in which their deadlines come first.
func byDeadline(jobs []workers.Job) (groups [][]workers.Job) {
	at := map[string]int{}
	for _, j := range jobs {
		i, known := at[j.WorkflowID]
		if !known {
			i = len(groups)
			at[j.WorkflowID] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], j)
	}
	return groups
}

// newWdpostRemove ends jobs.
func newWdpostRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove JOBID…",
		Short: "End jobs; their miner's workflow issues them afresh while the deadline is open",
		Long: "End jobs: the workflow of their deadline is ended, and what its cards are doing with it. While the deadline is open, the miner's\n" +
			"workflow issues it afresh in a few seconds; what the chain has is not proven again. A deadline is ended as a whole: with other jobs\n" +
			"of it that are not over, all of them have to be named, or the deadline itself (f01000-2880-7).\n\n" +
			"To have a job run again, `posthaste wdpost reset` is enough, and loses nothing of the others.",
		Example:           `  posthaste wdpost remove f01000-2880-7`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeJobs(removable),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			jobs, list, err := c.named(cmd.Context(), names)
			if len(jobs) == 0 {
				return err
			}
			whole := make([]post.JobID, len(jobs))
			for i, j := range jobs {
				whole[i] = j.Deadline.JobIDs()
			}
			all, err2 := c.jobs(cmd.Context(), workers.JobQuery{Of: whole})
			if err2 != nil {
				return errors.Join(err, err2)
			}
			return errors.Join(err, a.remove(cmd.Context(), c, jobs, all.Jobs, list))
		},
	}
}

// newWdpostRemoveAll ends everything.
func newWdpostRemoveAll(a *app) *cobra.Command {
	var really bool
	var miner string
	cmd := &cobra.Command{
		Use:   "remove-all --really-do-it",
		Short: "End all jobs that are not over; miners' workflows issue them afresh while their deadlines are open",
		Long: "End the workflows of all deadlines that are not over, and what the cards are doing. While a deadline is open, its miner's workflow issues it\n" +
			"afresh in a few seconds: proofs that are being made begin anew, and the time until then is lost.",
		Example: `  posthaste wdpost remove-all --really-do-it
  posthaste wdpost remove-all --miner f01000 --really-do-it`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := (&jobFilter{miner: miner}).query(cmd)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			q.All = true
			list, err := c.jobs(cmd.Context(), q)
			if err != nil {
				return err
			}
			var running []workers.Job
			for _, j := range list.Jobs {
				if err := canRemove(j); err == nil {
					running = append(running, j)
				}
			}
			deadlines := len(byDeadline(running))
			switch {
			case deadlines == 0:
				fmt.Fprintln(a.stdout, "No job is under way.")
				return nil
			case !really:
				return fmt.Errorf("this ends %s of %s, and every proof that is being made for them begins anew; if you mean it, give --really-do-it",
					post.Count(len(running), "job"), post.Count(deadlines, "deadline"))
			}
			return a.remove(cmd.Context(), c, running, running, list)
		},
	}
	cmd.Flags().BoolVar(&really, "really-do-it", false, "without it nothing is done")
	cmd.Flags().StringVar(&miner, "miner", "", "only jobs of this `miner`, such as f01000")
	completeFlag(cmd, "miner", a.completeMiners())
	return cmd
}

// canRemove says whether a job's deadline is there to be ended.
func canRemove(j workers.Job) error {
	if j.Status == "Running" {
		return nil
	}
	return fmt.Errorf("job %s: the workflow of its deadline is over already (%s): there is nothing to remove", j.ID, j.Status)
}

// remove ends the deadlines of jobs. all are all jobs of these deadlines.
func (a *app) remove(ctx context.Context, c *connection, jobs, all []workers.Job, list workers.JobList) error {
	var errs []error
	of := map[string][]workers.Job{}
	for _, j := range all {
		of[j.WorkflowID] = append(of[j.WorkflowID], j)
	}
	for _, named := range byDeadline(jobs) {
		j := named[0]
		if err := canRemove(j); err != nil {
			errs = append(errs, err)
			continue
		}
		if rest := without(of[j.WorkflowID], named); len(rest) > 0 {
			errs = append(errs, fmt.Errorf("job %s: its deadline has other jobs that are not over, which would be ended with it: %s; name them too, or the whole deadline, %s",
				idsText(named), idsText(rest), j.Deadline.JobIDs()))
			continue
		}
		if err := workers.EndDeadline(ctx, c, j.WorkflowID, j.RunID); err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", idsText(named), err))
			continue
		}
		fmt.Fprintf(a.stdout, "%s: removed; %s\n", idsText(named), afterRemoval(j, list))
	}
	return errors.Join(errs...)
}

// afterRemoval says what becomes of a deadline that was removed.
func afterRemoval(j workers.Job, list workers.JobList) string {
	miner, watched := list.Miners[j.Deadline.Miner]
	switch {
	case !j.Open():
		return "the deadline is closed, so it is not issued again"
	case !watched:
		return fmt.Sprintf("miner %s is not watched, so it is not issued again until a daemon has %s among its [[miners]]", j.Miner, j.Miner)
	case miner.Removed != "":
		return fmt.Sprintf("miner %s was removed (%s), so it is not issued again before `posthaste miner add %s`", j.Miner, miner.Removed, j.Miner)
	case miner.Paused != "":
		return fmt.Sprintf("miner %s is paused (%s), so it is not issued again before `posthaste miner resume %s`", j.Miner, miner.Paused, j.Miner)
	case j.EpochsLeft == nil:
		return "its miner's workflow issues it afresh in a few seconds, if the deadline is open"
	}
	return fmt.Sprintf("its miner's workflow issues it afresh in a few seconds, %s before Close", post.Count(int(*j.EpochsLeft), "epoch"))
}
