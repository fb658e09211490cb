package workers

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// serverClock knows how far this machine's clock is ahead of the Temporal server's.
//
// The SDK reckons by this machine's clock until when an activity may take, from the server's time at which it was scheduled. With a clock that is
// minutes fast, activities begin with a context that is over, and what they return is dropped; with a slow one they go on when nobody waits for them
// any more. So tasks get their times by our clock before the SDK sees them.
type serverClock struct {
	log   *slog.Logger
	ahead atomic.Int64 // nanoseconds
	told  atomic.Bool
}

const (
	// clockSlack is what is taken for the way of an answer and for a clock that is as right as clocks are.
	clockSlack = time.Second
	// clockWrong is worth a word to whoever keeps the machine.
	clockWrong = 10 * time.Second
)

// Ahead is how far this machine's clock is ahead of the server's; 0 while no task has come, or if they agree.
func (c *serverClock) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// intercept is a gRPC client interceptor.
func (c *serverClock) intercept(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, opts...)
	if err != nil {
		return err
	}
	switch r := reply.(type) {
	case *workflowservice.PollActivityTaskQueueResponse:
		c.correct(r, time.Now())
	case *workflowservice.RespondWorkflowTaskCompletedResponse: // with what is to be done here at once
		for _, task := range r.GetActivityTasks() {
			c.correct(task, time.Now())
		}
	}
	return nil
}

// correct gives a task that came just now its times by our clock.
func (c *serverClock) correct(task *workflowservice.PollActivityTaskQueueResponse, now time.Time) {
	if task.GetStartedTime().AsTime().Unix() <= 0 { // there was none
		return
	}
	ahead := now.Sub(task.GetStartedTime().AsTime()) // the server noted it as it handed the task out
	if ahead.Abs() <= clockSlack {
		c.ahead.Store(0)
		return
	}
	c.ahead.Store(int64(ahead))
	if ahead.Abs() > clockWrong && !c.told.Swap(true) {
		c.log.Warn("this machine's clock and the Temporal server's differ; it is reckoned with, but set them right", "ahead", ahead.Round(time.Second))
	}
	for _, at := range []**timestamppb.Timestamp{&task.ScheduledTime, &task.CurrentAttemptScheduledTime, &task.StartedTime} {
		if *at != nil {
			*at = timestamppb.New((*at).AsTime().Add(ahead))
		}
	}
}
