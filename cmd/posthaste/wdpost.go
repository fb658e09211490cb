package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
)

// newWdpost is what people see of jobs and do with them.
func newWdpost(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wdpost",
		Short: "See WindowPoSt jobs, run them again, or end them",
		Long: "See WindowPoSt jobs, run them again, or end them.\n\n" +
			"A job is the proof of one partition of one deadline. Its ID, such as f01000-2880-7-0, is made of the miner, the first epoch of the\n" +
			"proving period, the deadline and the partition; without the last number it stands for all jobs of the deadline.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newWdpostList(a), newWdpostShow(a), newWdpostReset(a), newWdpostRemove(a), newWdpostRemoveAll(a))
	return cmd
}

// jobFilter are the flags that narrow a list of jobs.
type jobFilter struct {
	miner    string
	deadline int64
	state    string
}

func (f *jobFilter) flags(cmd *cobra.Command, a *app) {
	cmd.Flags().StringVar(&f.miner, "miner", "", "only jobs of this `miner`, such as f01000")
	cmd.Flags().Int64Var(&f.deadline, "deadline", -1, "only jobs of the deadline with this `index`")
	cmd.Flags().StringVar(&f.state, "state", "", "only jobs in this `state`: "+strings.Join(workers.JobStates, ", ")+", or a stage such as Submitting")
	completeFlag(cmd, "miner", a.completeMiners())
	completeFlag(cmd, "state", cobra.FixedCompletions(workers.JobStates, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "deadline", cobra.NoFileCompletions)
}

// stages are what --state takes beside the states.
var stages = []post.State{post.StateWaiting, post.StateProving, post.StateFailed, post.StateSubmitting, post.StateLanded, post.StatePosted, post.StateMissed}

// query checks the flags: a misspelt state would show that nothing is there, which is not so.
func (f *jobFilter) query(cmd *cobra.Command) (q workers.JobQuery, err error) {
	if f.miner != "" {
		var miner abi.ActorID
		if miner, err = post.ParseMiner(f.miner); err != nil {
			return q, fmt.Errorf("--miner: %w", err)
		}
		q.Miner = &miner
	}
	if cmd.Flags().Changed("deadline") {
		if f.deadline < 0 {
			return q, fmt.Errorf("--deadline %d: deadlines count from 0", f.deadline)
		}
		index := uint64(f.deadline)
		q.Deadline = &index
	}
	known := slices.Clone(workers.JobStates)
	for _, s := range stages {
		if !slices.Contains(known, string(s)) {
			known = append(known, string(s))
		}
	}
	if f.state != "" && !slices.ContainsFunc(known, func(s string) bool { return strings.EqualFold(s, f.state) }) {
		return q, fmt.Errorf("--state %q: there are %s", f.state, strings.Join(known, ", "))
	}
	q.State = f.state
	return q, nil
}

// jobs reads jobs once.
func (c *connection) jobs(ctx context.Context, q workers.JobQuery) (workers.JobList, error) {
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	list, err := workers.ReadJobs(limited, c, q)
	if err != nil {
		return workers.JobList{}, c.explain(err)
	}
	return list, nil
}

// named reads the jobs of IDs. What is not a job's ID and what no job has is an error; the jobs that there are come all the same, each
// once and in the order in which they were named.
func (c *connection) named(ctx context.Context, names []string) (jobs []workers.Job, list workers.JobList, err error) {
	var errs []error
	var ids []post.JobID
	for _, name := range names {
		id, err := post.ParseJobID(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, list, errors.Join(errs...)
	}
	if list, err = c.jobs(ctx, workers.JobQuery{Of: ids}); err != nil {
		return nil, list, errors.Join(append(errs, err)...)
	}
	taken := map[post.JobID]bool{}
	for _, id := range ids {
		found := false
		for _, j := range list.Jobs {
			// A deadline whose partitions are not known yet is found by the ID of any job of it.
			if j.ID != id && !(j.WorkflowID == id.WorkflowID() && (id.Whole || j.ID.Whole)) {
				continue
			}
			found = true
			if !taken[j.ID] {
				taken[j.ID] = true
				jobs = append(jobs, j)
			}
		}
		if !found {
			errs = append(errs, noJob(id, list))
		}
	}
	return jobs, list, errors.Join(errs...)
}

// noJob says that there is no such job, and which there are of its deadline.
func noJob(id post.JobID, list workers.JobList) error {
	var others []string
	for _, j := range list.Jobs {
		if j.WorkflowID == id.WorkflowID() {
			others = append(others, j.ID.String())
		}
	}
	if len(others) > 0 {
		return fmt.Errorf("there is no job %s; of its deadline there are %s", id, strings.Join(others, ", "))
	}
	return fmt.Errorf("there is no job %s; `posthaste wdpost list --all` shows those that there are", id)
}
