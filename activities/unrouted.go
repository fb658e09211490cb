package activities

import (
	"context"
	"fmt"
	"strconv"

	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
)

// Deadlines that began before jobs were routed go on as they did: their jobs go to one queue, which no worker polls any more. Balancing finds
// them places as for the others. What a job needs does not stand in the memo of such a deadline, but in the job.

// unrouted says whether an activity is of such a deadline: the SDK gave it the number of the event that scheduled it.
func unrouted(a *workflowpb.PendingActivityInfo) (event int64, ok bool) {
	event, err := strconv.ParseInt(a.GetActivityId(), 10, 64)
	return event, err == nil && event > 0
}

// recover makes a job that waits of an activity of such a deadline. Its history is read once.
func (b *Balance) recover(ctx context.Context, job waitingJob, event int64) (waitingJob, error) {
	b.inputsMu.Lock()
	input, known := b.inputs[job.id()]
	b.inputsMu.Unlock()
	if !known {
		var err error
		if input, err = b.input(ctx, job, event); err != nil {
			return job, err
		}
		b.inputsMu.Lock()
		if b.inputs == nil {
			b.inputs = map[string]post.Job{}
		}
		b.inputs[job.id()] = input
		b.inputsMu.Unlock()
	}
	needs, err := input.Needs()
	if err != nil {
		return job, fmt.Errorf("event %d of %s: %w", event, job.workflow, err)
	}
	job.needs, job.avoid, job.try, job.label = needs, input.AvoidCards, input.Try, labelOf(input)
	if len(input.Partitions) > 0 {
		job.partition = input.Partitions[0]
	}
	return job, nil
}

// input reads the job that an event of a workflow's history scheduled.
func (b *Balance) input(ctx context.Context, of waitingJob, event int64) (job post.Job, err error) {
	request := &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: b.Fleet.Namespace, Execution: &commonpb.WorkflowExecution{WorkflowId: of.workflow, RunId: of.run},
	}
	for {
		page, err := b.Temporal.WorkflowService().GetWorkflowExecutionHistory(ctx, request)
		if err != nil {
			return job, fmt.Errorf("reading the history of %s: %w", of.workflow, err)
		}
		if e := eventOf(page.GetHistory(), event); e != nil {
			err := converter.GetDefaultDataConverter().FromPayloads(e.GetActivityTaskScheduledEventAttributes().GetInput(), &job)
			if err != nil {
				return job, fmt.Errorf("reading the job of event %d of %s: %w", event, of.workflow, err)
			}
			return job, nil
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return job, fmt.Errorf("the history of %s has no event %d", of.workflow, event)
		}
	}
}

func eventOf(history *historypb.History, id int64) *historypb.HistoryEvent {
	for _, e := range history.GetEvents() {
		if e.GetEventId() == id {
			return e
		}
	}
	return nil
}
