package activities

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"
)

// The SDK reckons an activity's deadline by this machine's clock, and drops an answer that comes after it, without a word to the server. With
// a clock that is minutes fast, that happens to proofs which the server still waits for.

// answer gives an activity's answer to Temporal if the SDK would drop it. If it really comes too late, Temporal drops it.
func answer(ctx context.Context, client Attempts, log *slog.Logger, result any, failed error) {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	err := client.CompleteActivity(limited, activity.GetInfo(ctx).TaskToken, result, failed)
	log.Warn("an answer came after its deadline by this machine's clock; is the clock right?", "told_temporal", err == nil, "error", err)
}

// closes is when an activity must have ended, by this machine's clock: the SDK takes the server's time for it. Zero: never. It is asked when the
// activity begins, which the server has just noted.
func closes(ctx context.Context) time.Time {
	deadline, limited := ctx.Deadline()
	started := activity.GetInfo(ctx).StartedTime
	if !limited || started.Unix() <= 0 {
		return deadline
	}
	return deadline.Add(time.Since(started))
}
