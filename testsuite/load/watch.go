package load

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workflows"
)

// look is how often something is looked for that other processes do.
const look = 10 * time.Millisecond

// until calls holds until it is true, every so often.
func (l *Load) until(ctx context.Context, what string, every time.Duration, holds func() (bool, error)) error {
	for {
		done, err := holds()
		if err == nil && !done {
			err = l.rig.Died()
		}
		if err != nil {
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
}

// Events is what the stubs have written down.
func (l *Load) Events() ([]stub.Event, error) { return stub.Events(l.record) }

// WaitEvent waits for the stubs to write down something, and gives the first such thing.
func (l *Load) WaitEvent(ctx context.Context, what string, is func(stub.Event) bool) (found stub.Event, err error) {
	err = l.until(ctx, what, look, func() (bool, error) {
		events, err := l.Events()
		for _, e := range events {
			if is(e) {
				found = e
				return true, err
			}
		}
		return false, err
	})
	return found, err
}

// Begun is a task's start after a moment.
func Begun(since time.Time) func(stub.Event) bool {
	return func(e stub.Event) bool { return e.Event == stub.EventStart && e.At.After(since) }
}

// Ended is a task's end after a moment.
func Ended(since time.Time) func(stub.Event) bool {
	return func(e stub.Event) bool { return e.Event == stub.EventEnd && e.At.After(since) }
}

// Worker is what is kept of a worker: its WorkerWorkflow's memo.
func (l *Load) Worker(ctx context.Context, name string) (post.WorkerState, error) {
	var state post.WorkerState
	described, err := l.client.DescribeWorkflowExecution(ctx, workflows.WorkerWorkflowID(name), "")
	if err != nil {
		return state, fmt.Errorf("describing worker %s: %w", name, err)
	}
	if payload := described.GetWorkflowExecutionInfo().GetMemo().GetFields()[workflows.MemoWorker]; payload != nil {
		err = converter.GetDefaultDataConverter().FromPayload(payload, &state)
	}
	return state, err
}

// WaitReported waits until the present processes of all running workers have said what they may take.
func (l *Load) WaitReported(ctx context.Context) error {
	for i, p := range l.rig.Workers {
		if !p.Running() {
			continue
		}
		name := l.rig.Config.Workers[i].Name
		if err := l.waitReported(ctx, name, p); err != nil {
			return err
		}
	}
	return nil
}

func (l *Load) waitReported(ctx context.Context, name string, p *rig.Process) error {
	return l.until(ctx, "worker "+name+" has reported", 5*look, func() (bool, error) {
		state, err := l.Worker(ctx, name)
		return err == nil && strings.HasPrefix(state.Report.Instance, fmt.Sprintf("worker %s@%d-", name, p.Pid())) && len(state.Report.Groups) > 0, nil
	})
}

// WaitPartition waits until the board shows a partition as a condition wants it, and gives what it showed last.
func (l *Load) WaitPartition(ctx context.Context, d post.Deadline, index uint64, what string, holds func(post.PartitionResult) bool) (last post.PartitionResult, err error) {
	err = l.until(ctx, fmt.Sprintf("partition %d of %s is %s", index, d, what), 10*look, func() (bool, error) {
		p, err := l.Partition(ctx, d, index)
		if err == nil {
			last = p
		}
		return err == nil && holds(p), nil
	})
	if err != nil {
		err = fmt.Errorf("%w; it is %+v", err, last)
	}
	return last, err
}
