package main

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	activitypb "go.temporal.io/api/activity/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const (
	slowQueue  = "nobody-yet"
	cardQueue  = "card"
	activityID = "prove"
)

// TestWhatPosthasteNeeds goes through the server features that posthaste is built on, on one server.
func TestWhatPosthasteNeeds(t *testing.T) {
	p := start(t, dbPath(t), "--headless")
	c := dial(t, p)
	w := worker.New(c, testQueue, worker.Options{DisableRegistrationAliasing: true})
	w.RegisterWorkflow(doubleAfterSignal)
	w.RegisterWorkflow(waitForUpdate)
	w.RegisterWorkflow(proveSomewhere)
	w.RegisterWorkflow(provePriorities)
	w.RegisterActivity(double)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)

	t.Run("a search attribute is usable as soon as it is registered", func(t *testing.T) { searchAttribute(t, c) })
	t.Run("workers are listed", func(t *testing.T) {
		eventually(t, "the worker is listed", func() bool {
			list, err := c.WorkflowService().ListWorkers(testContext(t), &workflowservice.ListWorkersRequest{Namespace: "default"})
			if err != nil {
				t.Fatal(err)
			}
			return len(list.GetWorkers()) > 0
		})
	})
	t.Run("Update, and Update with start", func(t *testing.T) { updates(t, c) })
	t.Run("a waiting activity is paused, moved to another queue and goes on there", func(t *testing.T) { activityCommands(t, c) })
	t.Run("a queue's tasks start in order of priority", func(t *testing.T) { priorities(t, c) })
}

func searchAttribute(t *testing.T, c client.Client) {
	ctx := testContext(t)
	_, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace:        "default",
		SearchAttributes: map[string]enumspb.IndexedValueType{"miner": enumspb.INDEXED_VALUE_TYPE_KEYWORD},
	})
	if err != nil {
		t.Fatal(err)
	}
	miner := temporal.NewSearchAttributeKeyKeyword("miner")
	_, err = c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "tagged", TaskQueue: testQueue,
		TypedSearchAttributes: temporal.NewSearchAttributes(miner.ValueSet("f01000")),
	}, doubleAfterSignal, 1)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the workflow is found by its attribute", func() bool {
		list, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: `miner = "f01000"`})
		return err == nil && len(list.GetExecutions()) == 1
	})
}

// waitForUpdate ends when it is told to, and says with what.
func waitForUpdate(ctx workflow.Context) (string, error) {
	var told string
	err := workflow.SetUpdateHandler(ctx, "tell", func(_ workflow.Context, what string) (string, error) {
		told = what
		return "heard " + what, nil
	})
	if err != nil {
		return "", err
	}
	err = workflow.Await(ctx, func() bool { return told != "" })
	return told, err
}

func updates(t *testing.T, c client.Client) {
	ctx := testContext(t)
	update := client.UpdateWorkflowOptions{
		WorkflowID: "updated", UpdateName: "tell", Args: []any{"pause"}, WaitForStage: client.WorkflowUpdateStageCompleted,
	}
	started := c.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID: "updated-with-start", TaskQueue: testQueue, WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
	}, waitForUpdate)
	if _, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "updated", TaskQueue: testQueue}, waitForUpdate); err != nil {
		t.Fatal(err)
	}
	handle, err := c.UpdateWorkflow(ctx, update)
	wantAnswer(t, handle, err)
	update.WorkflowID = "updated-with-start"
	handle, err = c.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: started, UpdateOptions: update,
	})
	wantAnswer(t, handle, err)
}

func wantAnswer(t *testing.T, handle client.WorkflowUpdateHandle, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var answer string
	if err := handle.Get(testContext(t), &answer); err != nil || answer != "heard pause" {
		t.Errorf("the update answered %q (%v)", answer, err)
	}
}

// proveSomewhere runs one activity on a queue that nobody polls.
func proveSomewhere(ctx workflow.Context, n int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ActivityID: activityID, TaskQueue: slowQueue, StartToCloseTimeout: time.Minute, DisableEagerExecution: true,
	})
	var twice int
	err := workflow.ExecuteActivity(ctx, "double", n).Get(ctx, &twice)
	return twice, err
}

func activityCommands(t *testing.T, c client.Client) {
	ctx, service := testContext(t), c.WorkflowService()
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "moved", TaskQueue: testQueue}, proveSomewhere, 21)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the activity waits", func() bool {
		d, err := c.DescribeWorkflowExecution(ctx, "moved", "")
		return err == nil && len(d.GetPendingActivities()) == 1
	})
	execution := &commonpb.WorkflowExecution{WorkflowId: "moved"}
	_, err = service.PauseActivity(ctx, &workflowservice.PauseActivityRequest{
		Namespace: "default", Execution: execution, Activity: &workflowservice.PauseActivityRequest_Id{Id: activityID},
	})
	if err != nil {
		t.Fatalf("pause: %v", err)
	}
	_, err = service.UpdateActivityOptions(ctx, &workflowservice.UpdateActivityOptionsRequest{
		Namespace: "default", Execution: execution,
		Activity:        &workflowservice.UpdateActivityOptionsRequest_Id{Id: activityID},
		ActivityOptions: &activitypb.ActivityOptions{TaskQueue: &taskqueuepb.TaskQueue{Name: testQueue}},
		UpdateMask:      &fieldmaskpb.FieldMask{Paths: []string{"task_queue.name"}},
	})
	if err != nil {
		t.Fatalf("move: %v", err)
	}
	_, err = service.UnpauseActivity(ctx, &workflowservice.UnpauseActivityRequest{
		Namespace: "default", Execution: execution, Activity: &workflowservice.UnpauseActivityRequest_Id{Id: activityID},
	})
	if err != nil {
		t.Fatalf("unpause: %v", err)
	}
	var got int
	if err := run.Get(ctx, &got); err != nil || got != 42 {
		t.Errorf("the moved activity gave %d (%v)", got, err)
	}
}

// provePriorities queues one activity per priority given, in that order, and waits for all.
func provePriorities(ctx workflow.Context, keys []int) error {
	var futures []workflow.Future
	for _, key := range keys {
		futures = append(futures, workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue: cardQueue, StartToCloseTimeout: time.Minute, Priority: temporal.Priority{PriorityKey: key},
		}), "card", key))
	}
	for _, f := range futures {
		if err := f.Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

func priorities(t *testing.T, c client.Client) {
	ctx := testContext(t)
	keys := []int{5, 3, 1, 4, 2, 3, 1, 5, 2, 4}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "ordered", TaskQueue: testQueue}, provePriorities, keys)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all tasks are queued", func() bool {
		d, err := c.DescribeTaskQueueEnhanced(ctx, client.DescribeTaskQueueEnhancedOptions{
			TaskQueue: cardQueue, TaskQueueTypes: []client.TaskQueueType{client.TaskQueueTypeActivity}, ReportStats: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		var queued int64
		for _, version := range d.VersionsInfo { //nolint:staticcheck // the unversioned queue's statistics stand here
			queued += version.TypesInfo[client.TaskQueueTypeActivity].Stats.ApproximateBacklogCount
		}
		return queued == int64(len(keys))
	})
	var mu sync.Mutex
	var order []int
	card := worker.New(c, cardQueue, worker.Options{
		DisableWorkflowWorker: true, MaxConcurrentActivityExecutionSize: 1, MaxConcurrentActivityTaskPollers: 1,
	})
	card.RegisterActivityWithOptions(func(_ context.Context, key int) error {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, key)
		return nil
	}, activity.RegisterOptions{Name: "card"})
	if err := card.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(card.Stop)
	if err := run.Get(ctx, nil); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.IsSorted(order) || len(order) != len(keys) {
		t.Errorf("started in the order %v", order)
	}
}
