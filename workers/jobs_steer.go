package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

// ResetWay is how a job is run again.
type ResetWay int

// The ways.
const (
	ResetNot    ResetWay = iota // it is not
	ResetJob                    // its deadline's workflow runs it again
	ResetNewRun                 // its deadline's workflow has ended: a new run of it
)

// CanReset says how a job can be run again, or why that is of no use.
func (j Job) CanReset() (ResetWay, error) {
	switch {
	case j.Stage == post.StatePosted:
		return ResetNot, fmt.Errorf("it is posted%s: there is nothing to run again", j.where())
	case !j.Open():
		return ResetNot, fmt.Errorf("its deadline closed at epoch %d, %s ago: the chain takes no proof any more", j.Deadline.Close, post.Count(int(-*j.EpochsLeft), "epoch"))
	case j.sawClose():
		return ResetNot, fmt.Errorf("its deadline closed at epoch %d, as its workflow saw: the chain takes no proof any more", j.Deadline.Close)
	case j.Status == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED.String():
		return ResetNot, errors.New("its deadline's workflow has completed: there is nothing to run again")
	case j.Status != running:
		return ResetNewRun, nil
	}
	switch j.Stage {
	case post.StateProving, post.StateFailed:
		return ResetJob, nil
	case post.StateSubmitting:
		return ResetNot, errors.New("it is proven, and its sender has the post: to prove it again would not bring it to the chain sooner. What it leaves out is declared recovered by itself when it is back")
	case post.StateLanded:
		return ResetNot, fmt.Errorf("it is on the chain%s and is only waited for until it is deep enough: there is nothing to run again", j.where())
	case post.StateMissed:
		return ResetNot, fmt.Errorf("this run of its deadline's workflow has given it up (%s); `posthaste wdpost remove %s` ends the run, and the deadline is issued afresh", j.Error, j.Deadline.JobIDs())
	default:
		return ResetNot, errors.New("it has not begun: its deadline is still being read from the chain and its sectors are looked for")
	}
}

// sawClose says whether the job's workflow has ended with it missed, which it does after the chain has passed Close. The head that people
// are shown is carried on by the clock, and may be an epoch or two behind that: a run that began then would find nothing to prove, and
// hide why the job was missed. (A deadline that could not be read has no partitions; its workflow may end before Close.)
func (j Job) sawClose() bool {
	return j.Stage == post.StateMissed && j.Status == enums.WORKFLOW_EXECUTION_STATUS_FAILED.String() && !j.ID.Whole
}

// where says by what a job is on the chain, as far as that is known.
func (j Job) where() string {
	if j.Message == "" {
		return ""
	}
	return fmt.Sprintf(" (message %s, epoch %d)", j.Message, j.Landed)
}

// ResetJobs has the running workflow of a deadline run partitions again now, with their tries back at 0. It needs a running daemon.
func ResetJobs(ctx context.Context, c client.Client, workflowID string, partitions []uint64) error {
	err := order(ctx, c, daemonLimit, workflowID, workflows.UpdateReset, nil, workflows.ResetJobs{Partitions: partitions})
	var refused *temporal.ApplicationError
	switch {
	case errors.As(err, &refused):
		return errors.New(refused.Message()) // the workflow's own words
	case notFound(err):
		return errors.New("its workflow has ended a moment ago; look at it once more")
	}
	return err
}

// errClosed is a deadline's end.
func errClosed(d post.Deadline, head abi.ChainEpoch) error {
	return fmt.Errorf("its deadline closed at epoch %d, %s ago: the chain takes no proof any more", d.Close, post.Count(int(head-d.Close), "epoch"))
}

// BeginAgain starts a new run of the workflow of a job's deadline, as the miner's watching would after a pause. What the chain has already is not
// proven again. Without a known head, the time since the earlier run began says where the chain is. It needs no daemon, but the
// run does.
func BeginAgain(ctx context.Context, c client.Client, j Job, head Head, partitions int, now time.Time) error {
	limited, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	in, began, err := inputOf(limited, c, j.WorkflowID, j.RunID)
	if err != nil {
		return err
	}
	if !head.Known() {
		head = Head{Epoch: in.Head, At: began, EpochDuration: in.Settings.EpochDuration}
	}
	if in.Head = head.When(now); in.Head >= in.Deadline.Close {
		return errClosed(in.Deadline, in.Head)
	}
	_, err = c.ExecuteWorkflow(limited, workflows.DeadlineOptions(in.Deadline, partitions), workflows.NameDeadlineWorkflow, in)
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &already) {
		return errors.New("its deadline was seen through in the meantime; look at it once more")
	}
	if err != nil {
		return fmt.Errorf("starting workflow %s: %w", j.WorkflowID, err)
	}
	return nil
}

// inputOf reads what a run was started with, and when that was.
func inputOf(ctx context.Context, c client.Client, workflowID, runID string) (in workflows.DeadlineInput, began time.Time, err error) {
	events := c.GetWorkflowHistory(ctx, workflowID, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	if !events.HasNext() {
		return in, began, fmt.Errorf("reading the history of %s: it is empty", workflowID)
	}
	first, err := events.Next()
	if err != nil {
		return in, began, fmt.Errorf("reading the history of %s: %w", workflowID, err)
	}
	payloads := first.GetWorkflowExecutionStartedEventAttributes().GetInput()
	if err := converter.GetDefaultDataConverter().FromPayloads(payloads, &in); err != nil {
		return in, began, fmt.Errorf("reading what %s was started with: %w", workflowID, err)
	}
	return in, first.GetEventTime().AsTime(), nil
}

// EndDeadline ends a run of a deadline's workflow for good. The cards that work for it are told at their next heartbeat.
func EndDeadline(ctx context.Context, c client.Client, workflowID, runID string) error {
	limited, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	err := c.TerminateWorkflow(limited, workflowID, runID, "removed by an operator (posthaste wdpost remove)")
	if notFound(err) {
		return errors.New("its workflow has ended a moment ago; look at it once more")
	}
	if err != nil {
		return fmt.Errorf("ending workflow %s: %w", workflowID, err)
	}
	return nil
}
