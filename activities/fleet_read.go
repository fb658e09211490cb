package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workerpb "go.temporal.io/api/worker/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// pageSize is how many entries of a list are asked for at once; 1,000 is what the server gives at most.
const pageSize = 1000

// listRunning calls visit for every running workflow of a type.
func listRunning(ctx context.Context, temporal FleetSource, workflowType string, visit func(*workflowpb.WorkflowExecutionInfo)) error {
	if err := list(ctx, temporal, fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflowType), visit); err != nil {
		return fmt.Errorf("listing running %ss: %w", workflowType, err)
	}
	return nil
}

// list calls visit for every workflow that a query finds.
func list(ctx context.Context, temporal FleetSource, query string, visit func(*workflowpb.WorkflowExecutionInfo)) error {
	var next []byte
	for {
		page, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, NextPageToken: next, PageSize: pageSize})
		if err != nil {
			return err
		}
		for _, info := range page.GetExecutions() {
			visit(info)
		}
		if next = page.GetNextPageToken(); len(next) == 0 {
			return nil
		}
	}
}

// states are the memos of the workers' workflows. One that has shown nothing yet is left out.
func (f *Fleet) states(ctx context.Context) (states []post.WorkerState, err error) {
	err = listRunning(ctx, f.Temporal, workflows.NameWorkerWorkflow, func(info *workflowpb.WorkflowExecutionInfo) {
		payload := info.GetMemo().GetFields()[workflows.MemoWorker]
		var state post.WorkerState
		if payload == nil {
			return
		}
		if err := converter.GetDefaultDataConverter().FromPayload(payload, &state); err != nil {
			f.Log.Warn("the memo of a worker cannot be read", "workflow", info.GetExecution().GetWorkflowId(), "error", err)
			return
		}
		states = append(states, state)
	})
	return states, err
}

// beat is one SDK worker's last heartbeat to Temporal.
type beat struct {
	key      string // of the SDK worker: a process has several
	identity string // of the process
	queue    string
	stopping bool
	at       time.Time     // by the worker's clock
	every    time.Duration // since the one before
	used     int           // activities that it runs
	fresh    bool          // see pulses: what it says is true still. The server lists it for minutes after the last one
	alive    bool          // fresh, and it polls
	felt     time.Time     // when it was sent, by our clock
}

// beats are the SDK workers that Temporal knows of. A server without that list gives none: the pollers say who is there.
func (f *Fleet) beats(ctx context.Context) (beats []beat, err error) {
	var next []byte
	for {
		page, err := f.Temporal.WorkflowService().ListWorkers(ctx, &workflowservice.ListWorkersRequest{Namespace: f.Namespace, PageSize: pageSize, NextPageToken: next})
		var missing *serviceerror.Unimplemented
		if errors.As(err, &missing) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing Temporal's workers: %w", err)
		}
		//lint:ignore SA1019 its successor does not have the heartbeats; from a server without it the pollers say who is there
		for _, worker := range page.GetWorkersInfo() {
			beats = append(beats, beatOf(worker.GetWorkerHeartbeat()))
		}
		if next = page.GetNextPageToken(); len(next) == 0 {
			return beats, nil
		}
	}
}

func beatOf(h *workerpb.WorkerHeartbeat) beat {
	return beat{
		key: h.GetWorkerInstanceKey(), identity: h.GetWorkerIdentity(), queue: h.GetTaskQueue(),
		stopping: h.GetStatus() != enums.WORKER_STATUS_RUNNING, at: h.GetHeartbeatTime().AsTime(),
		every: h.GetElapsedSinceLastHeartbeat().AsDuration(), used: int(h.GetActivityTaskSlotsInfo().GetCurrentUsedSlots()),
	}
}

// queueFacts is what Temporal says of a task queue.
type queueFacts struct {
	backlog int
	pollers map[string]time.Time // when each process polled last, by its identity
}

// queues asks about task queues.
func (f *Fleet) queues(ctx context.Context, names []string) (map[string]queueFacts, error) {
	var mu sync.Mutex
	facts := map[string]queueFacts{}
	errs := SideBySide(len(names), func(i int) error {
		described, err := f.Temporal.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
			Namespace: f.Namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: names[i]}, TaskQueueType: enums.TASK_QUEUE_TYPE_ACTIVITY, ReportStats: true,
		})
		if err != nil {
			return fmt.Errorf("describing task queue %s: %w", names[i], err)
		}
		fact := queueFacts{backlog: int(described.GetStats().GetApproximateBacklogCount()), pollers: map[string]time.Time{}}
		for _, poller := range described.GetPollers() {
			fact.pollers[poller.GetIdentity()] = f.byOurs(poller.GetLastAccessTime().AsTime())
		}
		mu.Lock()
		defer mu.Unlock()
		facts[names[i]] = fact
		return nil
	})
	return facts, errs
}

// queuesOf are the queues of a kind that workers report, ascending.
func queuesOf(kind string, states []post.WorkerState) []string {
	var names []string
	for _, s := range states {
		for _, g := range s.Report.Groups {
			if g.Kind == kind {
				names = append(names, g.Queue)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unlisted are the own queues of workers that have a queue of a kind of which the server lists no heartbeat: one that has just started, or that
// keeps no list. A worker polls its own queue also while all its cards work, which takes longer than anybody remembers a poll.
func unlisted(kind string, states []post.WorkerState, beats []beat) []string {
	var names []string
	for _, s := range states {
		if slices.ContainsFunc(s.Report.Groups, func(g post.Group) bool { return g.Kind == kind && !listed(beats, g.Queue) }) {
			names = append(names, workflows.WorkerQueue(s.Report.Name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// listed says whether the server lists anybody who polls a queue, or did.
func listed(beats []beat, queue string) bool {
	return slices.ContainsFunc(beats, func(b beat) bool { return b.queue == queue })
}
