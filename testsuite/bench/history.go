package main

import (
	"context"
	"fmt"
	"time"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

const partitions = 8

// historyShape leaves time for all partitions of a deadline, one after another.
var historyShape = shape{miners: 1, window: 60, epoch: 500 * time.Millisecond}

// measureHistory sees a deadline of 8 partitions through and says how large its history is.
func measureHistory(ctx context.Context, dir string) ([]figure, error) {
	r, err := open(ctx, dir, rig.Options{Cards: 2, Chain: append(historyShape.flags(), "--partitions", fmt.Sprint(partitions))})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	queue, err := newQueue(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := queue.next(ctx)
	if err != nil {
		return nil, err
	}
	say("following deadline %s with %d partitions, about %s", d, partitions, historyShape.apart())
	result, err := r.Result(ctx, d)
	if err != nil {
		return nil, err
	}
	if result.State != post.StatePosted || len(result.Partitions) != partitions {
		return nil, fmt.Errorf("deadline %s ended as %s with %d partitions: %s", d, result.State, len(result.Partitions), result.Reasons())
	}
	described, err := r.Client().DescribeWorkflowExecution(ctx, d.WorkflowID(), "")
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", d.WorkflowID(), err)
	}
	info := described.GetWorkflowExecutionInfo()
	return []figure{
		{name: "history of a deadline with 8 partitions, events", value: float64(info.GetHistoryLength()), unit: "events"},
		{name: "history of a deadline with 8 partitions, bytes", value: float64(info.GetHistorySizeBytes()), unit: "bytes"},
	}, nil
}
