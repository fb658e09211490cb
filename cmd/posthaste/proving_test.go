package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// pendingActivity is one that is under way, and has failed with a message, unless that is empty.
func pendingActivity(name, failed string) *workflowpb.PendingActivityInfo {
	a := &workflowpb.PendingActivityInfo{ActivityType: &commonpb.ActivityType{Name: name}, Attempt: 1}
	if failed != "" {
		a.Attempt, a.LastFailure = 3, &failurepb.Failure{Message: failed}
	}
	return a
}

// memo is of a workflow that keeps a value under a key.
func memo(t *testing.T, key string, value any) *workflowpb.WorkflowExecutionInfo {
	t.Helper()
	payload, err := converter.GetDefaultDataConverter().ToPayload(value)
	require.NoError(t, err)
	return &workflowpb.WorkflowExecutionInfo{Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{key: payload}}}
}

// Whoever waits for an errand is told what holds it up.
func TestProgressTellsWhatFails(t *testing.T) {
	const away = "asking the node: connection refused"
	begun := memo(t, workflows.MemoCheck, post.Checkup{Miner: 1000})
	half := memo(t, workflows.MemoCheck, post.Checkup{Miner: 1000, Of: 4, Partitions: make([]post.CheckedPartition, 2)})
	load := pendingActivity(workflows.ActivityLoadDeadline, away)
	told := progressLine{workflows.ActivityLoadDeadline, "failed, is tried again: " + away, "(try 3)"}
	so := progressLine{"f01000", "2 of 4 partitions looked at, 0 sectors cannot be proven", ""}
	for situation, c := range map[string]struct {
		info    *workflowpb.WorkflowExecutionInfo
		pending []*workflowpb.PendingActivityInfo
		want    []progressLine
	}{
		"the node is away from the beginning": {begun, []*workflowpb.PendingActivityInfo{load}, []progressLine{told}},
		"the node goes away":                  {half, []*workflowpb.PendingActivityInfo{load}, []progressLine{so, told}},
		"all is well":                         {half, []*workflowpb.PendingActivityInfo{pendingActivity(workflows.ActivityLoadDeadline, "")}, []progressLine{so}},
	} {
		assert.Equal(t, c.want, checkProgress(c.info, c.pending), situation)
	}

	board := memo(t, workflows.MemoBoard, post.Result{Partitions: []post.PartitionResult{{Index: 1, State: post.StateWaiting}}})
	waiting := progressLine{"partition 1", "looking its sectors up", ""}
	assert.Equal(t, []progressLine{waiting, told}, trialProgress(board, []*workflowpb.PendingActivityInfo{load}))
	assert.Equal(t, []progressLine{told}, trialProgress(memo(t, "other", 1), []*workflowpb.PendingActivityInfo{load}))
	proof := pendingActivity(workflows.ActivityGenerateWindowPoSt, "no card")
	assert.Equal(t, []progressLine{waiting}, trialProgress(board, []*workflowpb.PendingActivityInfo{proof}), "its partition's line tells it")
}
