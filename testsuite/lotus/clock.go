package lotus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"posthaste/testsuite/lotus/period"
	"posthaste/testsuite/rig"
)

// clock reads the chain's report a few times an epoch. It asks the control port, which answers when the node's RPC does not.
type clock struct {
	rig *rig.Rig

	mu   sync.Mutex
	last period.Report
}

// unanswered is how often the control port may fail in a row: it is busy at times, but a chain that is gone is the end of a run.
const unanswered = 10

func newClock(r *rig.Rig) *clock { return &clock{rig: r} }

// run reads until ctx ends, or a program of the rig has.
func (c *clock) run(ctx context.Context) error {
	ticker := time.NewTicker(max(c.rig.Epoch()/3, 20*time.Millisecond))
	defer ticker.Stop()
	for failed := 0; ; {
		var report period.Report
		switch err := c.rig.ReadReport(ctx, &report); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			failed = 0
			c.mu.Lock()
			c.last = report
			c.mu.Unlock()
		default:
			if failed++; failed >= unanswered {
				return err
			}
		}
		if err := c.rig.Died(); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report is the latest.
func (c *clock) report() period.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// until waits until the report says something, and gives up when the chain is at an epoch.
func (c *clock) until(ctx context.Context, what string, limit int64, holds func(period.Report) bool) (period.Report, error) {
	for {
		report := c.report()
		switch {
		case holds(report):
			return report, nil
		case report.Epoch >= limit:
			return report, fmt.Errorf("%s: not before epoch %d", what, limit)
		}
		select {
		case <-time.After(c.rig.Epoch() / 4):
		case <-ctx.Done():
			return report, fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
}

// at waits for an epoch and gives the head, which may be later.
func (c *clock) at(ctx context.Context, epoch int64) (int64, error) {
	const never = 1 << 62
	report, err := c.until(ctx, fmt.Sprintf("epoch %d", epoch), never, func(r period.Report) bool { return r.Epoch >= epoch })
	return report.Epoch, err
}
