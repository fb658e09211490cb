package workers

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"posthaste/workflows"
)

// beating sends heartbeats for a daemon's activities while they run, so that a daemon that dies is noticed after the heartbeat
// timeout and not after the whole time that an attempt may take: a deadline has none to lose.
type beating struct {
	interceptor.WorkerInterceptorBase
}

// InterceptActivity wraps the activities.
func (*beating) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &beatingActivity{interceptor.ActivityInboundInterceptorBase{Next: next}}
}

type beatingActivity struct {
	interceptor.ActivityInboundInterceptorBase
}

// ExecuteActivity runs the activity with heartbeats beside it. WatchDeadlines sends its own, which say something.
func (b *beatingActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	if info.HeartbeatTimeout == 0 || info.ActivityType.Name == workflows.ActivityWatchDeadlines {
		return b.Next.ExecuteActivity(ctx, in)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		ticker := time.NewTicker(info.HeartbeatTimeout / 4)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				activity.RecordHeartbeat(ctx)
			case <-done:
				return
			}
		}
	}()
	return b.Next.ExecuteActivity(ctx, in)
}
