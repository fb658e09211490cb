package main

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// BenchmarkPickUp measures what one activity on an idle card costs: a workflow with a single no-op activity on a queue
// of its own, which a worker with one slot polls. It prints the pick-up (scheduled → started) and the whole workflow.
func BenchmarkPickUp(b *testing.B) {
	p := start(b, dbPath(b), "--headless")
	c := dial(b, p)
	w := worker.New(c, testQueue, worker.Options{})
	w.RegisterWorkflow(useCard)
	card := worker.New(c, cardQueue, worker.Options{DisableWorkflowWorker: true, MaxConcurrentActivityExecutionSize: 1})
	card.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "card"})
	for _, w := range []worker.Worker{w, card} {
		if err := w.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(w.Stop)
	}
	var pickUp, whole []time.Duration
	for b.Loop() {
		began := time.Now()
		ctx := testContext(b)
		run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: "bench-" + strconv.Itoa(len(whole)), TaskQueue: testQueue,
		}, useCard)
		if err != nil {
			b.Fatal(err)
		}
		if err := run.Get(ctx, nil); err != nil {
			b.Fatal(err)
		}
		whole = append(whole, time.Since(began))
		pickUp = append(pickUp, scheduledToStarted(b, c, run))
	}
	report(b, "pick-up", pickUp)
	report(b, "whole", whole)
}

func useCard(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: cardQueue, StartToCloseTimeout: time.Minute, DisableEagerExecution: true,
	})
	return workflow.ExecuteActivity(ctx, "card").Get(ctx, nil)
}

// scheduledToStarted reads the pick-up from the run's history, in the server's own times.
func scheduledToStarted(b *testing.B, c client.Client, run client.WorkflowRun) time.Duration {
	b.Helper()
	var scheduled time.Time
	events := c.GetWorkflowHistory(testContext(b), run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			b.Fatal(err)
		}
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			scheduled = event.GetEventTime().AsTime()
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED:
			return event.GetEventTime().AsTime().Sub(scheduled)
		}
	}
	b.Fatal("the activity was never started")
	return 0
}

func report(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	for _, percent := range []int{50, 99} {
		d := took[(len(took)-1)*percent/100]
		b.ReportMetric(float64(d.Microseconds())/1000, name+"-p"+strconv.Itoa(percent)+"-ms")
	}
}
