package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

func TestWatchedBy(t *testing.T) {
	watch := func(state enums.PendingActivityState, seen *activities.Seen, failed *failurepb.Failure) *workflowpb.PendingActivityInfo {
		a := &workflowpb.PendingActivityInfo{ActivityType: &commonpb.ActivityType{Name: workflows.ActivityWatchDeadlines}, State: state, LastFailure: failed}
		if seen != nil {
			var err error
			a.HeartbeatDetails, err = converter.GetDefaultDataConverter().ToPayloads(*seen)
			require.NoError(t, err)
		}
		return a
	}
	failure := &failurepb.Failure{Message: "it panics", FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{}}}
	lost := &failurepb.Failure{Message: "activity Heartbeat timeout", FailureInfo: &failurepb.Failure_TimeoutFailureInfo{TimeoutFailureInfo: &failurepb.TimeoutFailureInfo{}}}
	const started, waits = enums.PENDING_ACTIVITY_STATE_STARTED, enums.PENDING_ACTIVITY_STATE_SCHEDULED
	for name, c := range map[string]struct {
		pending []*workflowpb.PendingActivityInfo
		want    post.MinerOutlook
		watched bool
	}{
		"a daemon watches":                    {[]*workflowpb.PendingActivityInfo{watch(started, &activities.Seen{Head: 7}, nil)}, post.MinerOutlook{Taken: true}, true},
		"it has just begun":                   {[]*workflowpb.PendingActivityInfo{watch(started, nil, lost)}, post.MinerOutlook{Taken: true}, true},
		"it cannot":                           {[]*workflowpb.PendingActivityInfo{watch(started, &activities.Seen{Problem: "no state"}, nil)}, post.MinerOutlook{Taken: true, Problem: "no state"}, false},
		"a daemon was lost, and none goes on": {[]*workflowpb.PendingActivityInfo{watch(waits, &activities.Seen{Problem: "old"}, lost)}, post.MinerOutlook{Untaken: true}, false},
		"it failed, and is tried again":       {[]*workflowpb.PendingActivityInfo{watch(waits, nil, failure)}, post.MinerOutlook{Untaken: true, Problem: "it panics"}, false},
		"the workflow has not asked for it":   {nil, post.MinerOutlook{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := activities.WatchedBy(post.MinerOutlook{}, c.pending)
			require.Equal(t, c.want, m)
			require.Equal(t, c.watched, m.Watched())
		})
	}
}

// What has ended counts while nothing runs in its place, and a miner that was removed before is nobody's trouble.
func TestOutlookOfMiners(t *testing.T) {
	l, s, b := newOutlooks(true, true)
	running := s.miners[0]
	s.running = map[string]bool{"miner-f01000": true}
	ended := func(id string, state workflows.MinerState, ago time.Duration) *workflowpb.WorkflowExecutionInfo {
		return &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: id}, Memo: memo(workflows.MemoMiner, state),
			Status: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, CloseTime: timestamppb.New(b.clock.Now().Add(-ago)),
		}
	}
	s.lost = []*workflowpb.WorkflowExecutionInfo{
		ended("miner-f01000", workflows.MinerState{}, time.Minute), ended("miner-f01001", workflows.MinerState{}, time.Minute),
		ended("miner-f01001", workflows.MinerState{}, time.Hour), ended("miner-f01002", workflows.MinerState{Removed: "sold"}, time.Minute),
	}
	o, err := l.Read(t.Context())
	require.NoError(t, err)
	require.Empty(t, o.Problem)
	at := timestamppb.New(b.clock.Now().Add(-time.Minute)).AsTime()
	require.Equal(t, []post.MinerOutlook{
		{Miner: 1000}, {Miner: 1001, Ended: "Terminated", EndedAt: at}, {Miner: 1002, Idle: true, Ended: "Terminated", EndedAt: at},
	}, o.Miners)

	running.Memo = memo(workflows.MemoMiner, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000}, Paused: "moving"})
	s.lost = nil
	b.clock.pass(31 * time.Second)
	o, err = l.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Miners, 3, "what ended is remembered")
	require.True(t, o.Miners[0].Idle)

	b.clock.pass(25 * time.Hour)
	o, err = l.Read(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Miners, 1, "it ended a day ago")
}
