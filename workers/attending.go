package workers

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"posthaste/workflows"
)

// attending looks after a daemon's activities while they run. It sends their heartbeats, so that a daemon that dies is noticed
// after the heartbeat timeout and not after the whole time that an attempt may take: a deadline has none to lose. And it
// ends them when the daemon stops (the SDK would wait for them first), so that another daemon goes on at once.
type attending struct {
	interceptor.WorkerInterceptorBase
}

// InterceptActivity wraps the activities.
func (*attending) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &attendedActivity{interceptor.ActivityInboundInterceptorBase{Next: next}}
}

type attendedActivity struct {
	interceptor.ActivityInboundInterceptorBase
}

// ownBeats are activities whose own heartbeats say something.
func ownBeats(name string) bool {
	switch name {
	case workflows.ActivityWatchDeadlines, workflows.ActivityBalanceFleet, workflows.ActivityWatchAlerts, workflows.ActivityCheckSectors:
		return true
	}
	return false
}

// ExecuteActivity runs the activity with its attendant beside it.
func (a *attendedActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beat <-chan time.Time
	if info.HeartbeatTimeout > 0 && !ownBeats(info.ActivityType.Name) {
		ticker := time.NewTicker(info.HeartbeatTimeout / 4)
		defer ticker.Stop()
		beat = ticker.C
	}
	stopping := activity.GetWorkerStopChannel(ctx)
	go func() {
		for {
			select {
			case <-beat:
				activity.RecordHeartbeat(ctx)
			case <-stopping:
				cancel()
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return a.Next.ExecuteActivity(ctx, in)
}
