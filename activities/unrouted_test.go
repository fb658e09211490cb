package activities_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"

	"posthaste/activities"
	"posthaste/post"
)

func (f fleetService) GetWorkflowExecutionHistory(_ context.Context, in *workflowservice.GetWorkflowExecutionHistoryRequest, _ ...grpc.CallOption) (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
	s := f.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	part, next := page(s.histories[in.GetExecution().GetWorkflowId()], in.GetNextPageToken())
	return &workflowservice.GetWorkflowExecutionHistoryResponse{History: &historypb.History{Events: part}, NextPageToken: next}, nil
}

// unrouted adds a deadline that began before jobs were routed: its board does not say what its job needs.
func (s *fleetServer) unrouted(t *testing.T, id string, job any) {
	s.deadline(id, "wdpost.gpu", scheduled, func(r *post.Result, a *workflowpb.PendingActivityInfo) {
		a.ActivityId = "3"
		r.Size, r.Partitions[0].Queue, r.Partitions[0].Stores = 0, "", nil
	})
	input, err := converter.GetDefaultDataConverter().ToPayloads(job)
	require.NoError(t, err)
	s.histories = map[string][]*historypb.HistoryEvent{id: {{EventId: 1}, {EventId: 2}, {EventId: 3, Attributes: &historypb.HistoryEvent_ActivityTaskScheduledEventAttributes{
		ActivityTaskScheduledEventAttributes: &historypb.ActivityTaskScheduledEventAttributes{Input: input}}}}}
}

// Nobody polls the one queue of before any more: without this, a deadline that was under way at an upgrade would be missed.
func TestAJobFromBeforeRoutingFindsAWorker(t *testing.T) {
	b := newBalance(true, true)
	job := theJob()
	job.Sectors[0].Store = "b"
	b.unrouted(t, "old", job)
	assert.Equal(t, activities.Balanced{Waiting: 1, Moved: 1}, b.look(t))
	require.Len(t, b.updates, 1)
	assert.Equal(t, "3", b.updates[0].GetId())
	assert.Equal(t, b.wide, b.updates[0].GetActivityOptions().GetTaskQueue().GetName(), "its stores stand in the job")
	assert.Equal(t, activities.Balanced{Waiting: 1}, b.look(t))
	assert.Equal(t, 2, b.asked, "two pages, once")
	assert.LessOrEqual(t, len(b.routed["old"]), 1)
}

func TestAJobFromBeforeRoutingThatCannotBeRead(t *testing.T) {
	b := newBalance(true, true)
	b.unrouted(t, "old", "no job")
	b.deadline("waits", b.narrow, scheduled, nil)
	seen := b.look(t)
	assert.Contains(t, seen.Problem, "reading the job of event 3 of old")
	assert.Equal(t, 1, seen.Waiting, "the others do not wait for it")
	b.histories = nil
	assert.Contains(t, b.look(t).Problem, "the history of old has no event 3")
}
