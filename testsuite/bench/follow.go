package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// shape is how the deadlines of a chain follow each other. The miners' deadlines take turns, so that each has a long window and
// there is still one to prove every few seconds: what the chain finds missed is faulty from then on, and lost to the bench.
type shape struct {
	miners int
	window abi.ChainEpoch
	epoch  time.Duration
}

const (
	lookback  = 2 // epochs from a deadline's challenge to its Open
	lead      = 1 // epochs from the chain's start to the first challenge
	deadlines = 12
)

// flags of posthaste-devnet that make it so.
func (s shape) flags() []string {
	return []string{
		"--miners", fmt.Sprint(s.miners), "--window", fmt.Sprint(s.window), "--epoch", s.epoch.String(), "--wide-every", "0",
		"--deadlines", fmt.Sprint(deadlines), "--lookback", fmt.Sprint(lookback), "--lead", fmt.Sprint(lead), "--fault-cutoff", fmt.Sprint(lookback + 1),
	}
}

// apart is the least time from one deadline's challenge to the next one's, as the chain spreads its miners over a window.
func (s shape) apart() time.Duration {
	return time.Duration((s.window-lookback-lead)/abi.ChainEpoch(s.miners)) * s.epoch
}

// queue gives a chain's deadlines in the order in which they open.
type queue struct {
	rig  *rig.Rig
	last abi.ChainEpoch // Open of the one given last
}

// newQueue leaves out the deadlines whose challenge may have come before daemon and worker were ready.
func newQueue(ctx context.Context, r *rig.Rig) (*queue, error) {
	report, err := r.Report(ctx)
	if err != nil {
		return nil, err
	}
	return &queue{rig: r, last: report.Epoch + 2*lookback}, nil
}

// next waits until the next deadline is open. Its proof may be under way by then.
func (q *queue) next(ctx context.Context) (post.Deadline, error) {
	for {
		report, err := q.rig.Report(ctx)
		if err != nil {
			return post.Deadline{}, err
		}
		for _, d := range report.Deadlines {
			if d.Open <= q.last {
				continue
			}
			q.last = d.Open
			miner, err := post.ParseMiner(d.Miner)
			return post.Deadline{Miner: miner, Index: d.Index, PeriodStart: d.PeriodStart}, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return post.Deadline{}, fmt.Errorf("waiting for a deadline to open: %w", err)
		}
	}
}

// errUnfit says that a deadline did not go as one has to that something is measured on.
var errUnfit = errors.New("unfit to be measured")

const (
	// patience with one deadline; a client waits for ever for a server that has ended.
	patience = 2 * time.Minute
	// unstarted is when a workflow that has not started will not: its sectors are faulty, since an earlier proof was missed.
	unstarted = 2 * time.Second
)

// follow tells a deadline's story, as it happens, until enough is true. It waits for the workflow to start.
func follow(ctx context.Context, c client.Client, d post.Deadline, enough func(*story) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, began := newStory(), time.Now()
	for {
		events := c.GetWorkflowHistory(ctx, d.WorkflowID(), "", true, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		err := tell(events, s, enough)
		var missing *serviceerror.NotFound
		if !errors.As(err, &missing) {
			if err != nil {
				err = fmt.Errorf("following %s: %w", d.WorkflowID(), err)
			}
			return err
		}
		if time.Since(began) > unstarted {
			return fmt.Errorf("%s has not started: %w", d.WorkflowID(), errUnfit)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for %s to start: %w", d.WorkflowID(), err)
		}
	}
}

// tell reads events until enough is true.
func tell(events client.HistoryEventIterator, s *story, enough func(*story) (bool, error)) error {
	for events.HasNext() {
		var event *historypb.HistoryEvent
		event, err := events.Next()
		if err != nil {
			return err
		}
		if err := s.hear(event); err != nil {
			return err
		}
		if done, err := enough(s); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("its workflow ended: %w", errUnfit)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
