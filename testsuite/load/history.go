package load

import (
	"context"
	"fmt"
	"time"

	enums "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// Attempt is one GenerateWindowPoSt activity as a deadline's history tells of it, with Temporal's own retries inside.
type Attempt struct {
	ID        string // of the activity
	Job       post.Job
	Queue     string // that the workflow chose; the balancing of the fleet may have moved it since
	Scheduled time.Time
	Started   time.Time // of the last of Temporal's attempts; zero until it has ended
	Ended     time.Time
	Attempt   int32  // Temporal's count
	Identity  string // of the worker that had the last one
	Proof     *post.Proof
	Failure   string // type of the error that it ended with; empty: none
}

// Attempts reads a deadline's history.
func (l *Load) Attempts(ctx context.Context, d post.Deadline) ([]Attempt, error) {
	var all []*Attempt
	byEvent := map[int64]*Attempt{}
	events := l.client.GetWorkflowHistory(ctx, d.WorkflowID(), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err == nil {
			all, err = tell(event, all, byEvent)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the history of %s: %w", d.WorkflowID(), err)
		}
	}
	out := make([]Attempt, len(all))
	for i, a := range all {
		out[i] = *a
	}
	return out, nil
}

func tell(e *historypb.HistoryEvent, all []*Attempt, byEvent map[int64]*Attempt) ([]*Attempt, error) {
	at := e.GetEventTime().AsTime()
	decode := converter.GetDefaultDataConverter().FromPayloads
	end := func(scheduled int64, failure string) *Attempt {
		a := byEvent[scheduled]
		if a != nil {
			a.Ended, a.Failure = at, failure
		}
		return a
	}
	switch e.GetEventType() {
	case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		what := e.GetActivityTaskScheduledEventAttributes()
		if what.GetActivityType().GetName() != workflows.ActivityGenerateWindowPoSt {
			return all, nil
		}
		a := &Attempt{ID: what.GetActivityId(), Queue: what.GetTaskQueue().GetName(), Scheduled: at}
		byEvent[e.GetEventId()] = a
		return append(all, a), decode(what.GetInput(), &a.Job)
	case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED:
		what := e.GetActivityTaskStartedEventAttributes()
		if a := byEvent[what.GetScheduledEventId()]; a != nil {
			a.Started, a.Attempt, a.Identity = at, what.GetAttempt(), what.GetIdentity()
		}
	case enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		what := e.GetActivityTaskCompletedEventAttributes()
		if a := end(what.GetScheduledEventId(), ""); a != nil {
			a.Proof = &post.Proof{}
			return all, decode(what.GetResult(), a.Proof)
		}
	case enums.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		what := e.GetActivityTaskFailedEventAttributes()
		end(what.GetScheduledEventId(), failureType(what.GetFailure()))
	case enums.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		end(e.GetActivityTaskTimedOutEventAttributes().GetScheduledEventId(), "Timeout")
	case enums.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
		end(e.GetActivityTaskCanceledEventAttributes().GetScheduledEventId(), "Canceled")
	}
	return all, nil
}

func failureType(f *failurepb.Failure) string {
	if info := f.GetApplicationFailureInfo(); info != nil {
		return info.GetType()
	}
	return f.GetMessage()
}

// Partition is a partition of a deadline as the board shows it.
func (l *Load) Partition(ctx context.Context, d post.Deadline, index uint64) (post.PartitionResult, error) {
	described, err := l.client.DescribeWorkflowExecution(ctx, d.WorkflowID(), "")
	if err != nil {
		return post.PartitionResult{}, fmt.Errorf("describing %s: %w", d.WorkflowID(), err)
	}
	var board post.Result
	payload := described.GetWorkflowExecutionInfo().GetMemo().GetFields()[workflows.MemoBoard]
	if payload == nil {
		return post.PartitionResult{}, nil // nothing shown yet
	}
	if err := converter.GetDefaultDataConverter().FromPayload(payload, &board); err != nil {
		return post.PartitionResult{}, fmt.Errorf("the board of %s: %w", d.WorkflowID(), err)
	}
	for _, p := range board.Partitions {
		if p.Index == index {
			return p, nil
		}
	}
	return post.PartitionResult{}, fmt.Errorf("%s has no partition %d", d.WorkflowID(), index)
}
