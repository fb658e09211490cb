package workers

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// sparse is for the Temporal SDK's log: what the SDK says again and again while the server is away is said every few minutes only.
type sparse struct {
	slog.Handler
	last *atomic.Int64 // when it was said last, in Unix nanoseconds
}

// sdkHeartbeatFails is what the SDK says every 10 s, once a process, when the server does not take what ListWorkers shows.
const sdkHeartbeatFails = "Failed to send heartbeat"

// sparseEvery is how often that is let through.
const sparseEvery = 10 * time.Minute

func newSparse(log *slog.Logger) *slog.Logger {
	return slog.New(sparse{log.Handler(), new(atomic.Int64)})
}

// Handle leaves out what was said a moment ago.
func (s sparse) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == sdkHeartbeatFails {
		last := s.last.Load()
		if last != 0 && r.Time.Sub(time.Unix(0, last)) < sparseEvery || !s.last.CompareAndSwap(last, r.Time.UnixNano()) {
			return nil
		}
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs keeps the handler around the one with the attributes.
func (s sparse) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sparse{s.Handler.WithAttrs(attrs), s.last}
}

// WithGroup keeps the handler around the one with the group.
func (s sparse) WithGroup(name string) slog.Handler {
	return sparse{s.Handler.WithGroup(name), s.last}
}
