package activities

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// lostFor is how long a miner is looked at whose workflow has ended. After a day all of its deadlines were missed, and told.
const lostFor = 24 * time.Hour

// lostMiners are the miners whose workflow failed or was ended, whether or not they have a new one. All of a day are listed once, and then
// those of the last minutes: daemons start one that cannot run every minute.
func (l *Outlooks) lostMiners(ctx context.Context, now time.Time) (map[abi.ActorID]post.MinerOutlook, error) {
	lost := map[abi.ActorID]post.MinerOutlook{}
	maps.Copy(lost, l.lost)
	since := now.Add(-lostFor)
	if l.lost != nil {
		since = later(since, l.askedAt.Add(-listedWithin))
	}
	query := fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled') AND CloseTime > '%s'",
		workflows.NameMinerWorkflow, since.UTC().Format(time.RFC3339))
	err := list(ctx, l.Temporal, query, func(info *workflowpb.WorkflowExecutionInfo) {
		m, ok := minerOutlook(info)
		if !ok {
			return
		}
		m.Ended, m.EndedAt = info.GetStatus().String(), info.GetCloseTime().AsTime()
		if m.EndedAt.After(lost[m.Miner].EndedAt) {
			lost[m.Miner] = m
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing miners whose workflows ended: %w", err)
	}
	maps.DeleteFunc(lost, func(_ abi.ActorID, m post.MinerOutlook) bool { return now.Sub(m.EndedAt) > lostFor })
	return lost, nil
}

// minerOutlook begins with what visibility says of a miner's workflow; false: it is another's. One that has shown nothing is known by its ID.
func minerOutlook(info *workflowpb.WorkflowExecutionInfo) (m post.MinerOutlook, ok bool) {
	name, of := strings.CutPrefix(info.GetExecution().GetWorkflowId(), "miner-")
	id, err := post.ParseMiner(name)
	if !of || err != nil {
		return m, false
	}
	var state workflows.MinerState
	if payload := info.GetMemo().GetFields()[workflows.MemoMiner]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &state) // of another version: taken as far as it can be
	}
	return post.MinerOutlook{Miner: id, Idle: !state.Issues()}, true
}

// watchedBy adds what its WatchDeadlines says, if it has one.
func watchedBy(m post.MinerOutlook, pending []*workflowpb.PendingActivityInfo) post.MinerOutlook {
	for _, a := range pending {
		if a.GetActivityType().GetName() != workflows.ActivityWatchDeadlines {
			continue
		}
		m.Taken = a.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED
		m.Untaken = !m.Taken
		if !m.Taken {
			// What the daemon said that had it is over. It failed, unless it was lost.
			if failed := a.GetLastFailure(); failed.GetApplicationFailureInfo() != nil {
				m.Problem = failed.GetMessage()
			}
			continue
		}
		var seen Seen
		if converter.GetDefaultDataConverter().FromPayloads(a.GetHeartbeatDetails(), &seen) == nil {
			m.Problem = seen.Problem
		}
	}
	return m
}
