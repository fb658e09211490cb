package workers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"posthaste/activities"
	"posthaste/workflows"
)

// Watched is a miner actor whose MinerWorkflow runs.
type Watched struct {
	workflows.MinerState
	WorkflowID string
}

// ReadWatched lists the miners whose workflows run, by number, from visibility alone.
func ReadWatched(ctx context.Context, temporal client.Client) ([]Watched, error) {
	listed, err := listWorkflows(ctx, temporal, fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflows.NameMinerWorkflow))
	if err != nil {
		return nil, fmt.Errorf("listing miners: %w", err)
	}
	var all []Watched
	for _, info := range listed {
		m := Watched{WorkflowID: info.GetExecution().GetWorkflowId()}
		payload := info.GetMemo().GetFields()[workflows.MemoMiner]
		if payload != nil && converter.GetDefaultDataConverter().FromPayload(payload, &m.MinerState) == nil {
			all = append(all, m) // one that was started a moment ago has shown nothing yet
		}
	}
	slices.SortFunc(all, func(a, b Watched) int { return cmp.Compare(a.Miner, b.Miner) })
	return all, nil
}

// Head is where the chain was when a daemon saw it last. The zero value is an unknown one.
type Head struct {
	Epoch         abi.ChainEpoch
	At            time.Time     // when it was seen
	EpochDuration time.Duration // wall-clock time of an epoch
}

// Known says whether it is.
func (h Head) Known() bool { return h.Epoch > 0 && !h.At.IsZero() }

// When is the epoch at which the chain should be by a time: no daemon has to run to know it, within an epoch or two.
func (h Head) When(now time.Time) abi.ChainEpoch {
	if h.EpochDuration <= 0 || now.Before(h.At) {
		return h.Epoch
	}
	return h.Epoch + abi.ChainEpoch(now.Sub(h.At)/h.EpochDuration)
}

// headFrom is how many miners are asked for the head at most: they all watch one chain, but one that is paused, or whose watching has
// just begun, knows none.
const headFrom = 8

// ReadHead asks the miners' watching for the chain's head, until one knows it. An unknown one is no error.
func ReadHead(ctx context.Context, temporal client.Client, miners []Watched) (Head, error) {
	asked := 0
	for _, m := range miners {
		if !m.Issues() {
			continue
		}
		if asked++; asked > headFrom {
			break
		}
		// Without a run ID: it may have continued as new since it was listed.
		described, err := temporal.DescribeWorkflowExecution(ctx, m.WorkflowID, "")
		switch {
		case notFound(err):
			continue
		case err != nil:
			return Head{}, fmt.Errorf("describing %s: %w", m.WorkflowID, err)
		}
		if head := headOf(described.GetPendingActivities(), m.Settings.EpochDuration); head.Known() {
			return head, nil
		}
	}
	return Head{}, nil
}

// headOf reads the head out of a MinerWorkflow's activities.
func headOf(pending []*workflowpb.PendingActivityInfo, epochDuration time.Duration) Head {
	watching, seen := watchingOf(pending)
	if seen == nil || seen.Head <= 0 {
		return Head{}
	}
	return Head{Epoch: seen.Head, At: watching.GetLastHeartbeatTime().AsTime(), EpochDuration: cmp.Or(epochDuration, seen.EpochDuration)}
}

// watchingOf finds the activity among a MinerWorkflow's that watches, and what it has said last: nil if nothing that can be read. Its
// heartbeat stays when the daemon that made it dies.
func watchingOf(pending []*workflowpb.PendingActivityInfo) (watching *workflowpb.PendingActivityInfo, seen *activities.Seen) {
	i := slices.IndexFunc(pending, func(a *workflowpb.PendingActivityInfo) bool {
		return a.GetActivityType().GetName() == workflows.ActivityWatchDeadlines
	})
	if i < 0 {
		return nil, nil
	}
	var said activities.Seen
	if pending[i].GetLastHeartbeatTime() == nil || converter.GetDefaultDataConverter().FromPayloads(pending[i].GetHeartbeatDetails(), &said) != nil {
		return pending[i], nil
	}
	return pending[i], &said
}
