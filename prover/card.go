package prover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// CardState is what a card is doing.
type CardState string

// States of a card. A dead one is still tried again, with growing pauses, unless NoRestart is set.
const (
	StateStarting   CardState = "starting"
	StateIdle       CardState = "idle"
	StateProving    CardState = "proving"
	StateRestarting CardState = "restarting"
	StateDead       CardState = "dead"
)

// CardStatus is one card as people see it.
type CardStatus struct {
	Name     string    `json:"name"`
	State    CardState `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Alive    bool      `json:"alive"` // its process is there and, if it is one of ours, has given a sign of life lately
	Jobs     []string  `json:"jobs,omitempty"`
	Proofs   int       `json:"proofs"`
	Failures int       `json:"failures"` // jobs that failed here, and processes that ended or did not start
	Restarts int       `json:"restarts"`
	Error    string    `json:"error,omitempty"` // why it failed last

	Device    string `json:"device,omitempty"`     // the GPUs that its process has found, if it is one of ours
	PeakBytes int64  `json:"peak_bytes,omitempty"` // the most memory that its present process has had resident
}

// card is a place in the pool. Its fields below config are guarded by the pool's mutex.
type card struct {
	config   CardConfig
	state    CardState // starting, restarting or dead while child is nil
	child    *child    // nil: nothing to give jobs to
	slots    []*slot   // taken ones of child
	used     uint64    // when it was last given a job, by the pool's count
	proofs   int
	failures int
	restarts int
	err      error
	streak   int // processes in a row that ended without having been of use
}

// usefulLife is how long a process has to live to count as one that works, if it makes no proof.
const usefulLife = time.Minute

// maxPause bounds the pauses between starts of a process that does not live.
const maxPause = 30 * time.Second

// pause is how long to wait before the next start, after so many useless processes in a row: none after the first, because
// a deadline may be waiting, then 100 ms and twice as much each time.
func pause(streak int) time.Duration {
	if streak <= 1 {
		return 0
	}
	if streak > 12 {
		return maxPause
	}
	return min(100*time.Millisecond<<(streak-2), maxPause)
}

// supervise keeps a card's process running until ctx ends.
func (p *Pool) supervise(ctx context.Context, c *card) {
	// See launch for why.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		p.runOnce(ctx, c)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		wait := pause(c.streak)
		if c.config.NoRestart {
			c.state = StateDead
		} else {
			c.restarts++
		}
		p.dispatch()
		p.mu.Unlock()
		if c.config.NoRestart {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// runOnce starts a card's process, offers it to jobs once it is ready, and returns when it has ended.
func (p *Pool) runOnce(ctx context.Context, c *card) {
	started := time.Now()
	ch, err := launch(c.config, p.kind, p.log)
	if err != nil {
		p.ended(c, nil, &CardError{Card: c.config.Name, Kind: ErrNotReady, Detail: err.Error()}, 0)
		return
	}
	// The watcher tells the pool of readiness, and kills; this goroutine must wait, with its thread.
	go p.watchStart(ctx, c, ch, cmp.Or(c.config.ReadyTimeout, defaultReadyTimeout))
	ch.wait()
	p.ended(c, ch, ch.goneErr, time.Since(started))
}

// watchStart kills a process that does not get ready in time, or when the pool ends.
func (p *Pool) watchStart(ctx context.Context, c *card, ch *child, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ch.ready:
		p.mu.Lock()
		c.child, c.slots = ch, nil
		p.log.Info("card is ready", "card", c.config.Name, "pid", ch.cmd.Process.Pid)
		p.dispatch()
		p.mu.Unlock()
	case <-timer.C:
		ch.kill(fmt.Errorf("%w: it did not print %q within %v", ErrNotReady, p.kind+" processor ready", limit))
	case <-ch.gone:
		return
	case <-ctx.Done():
	}
	select {
	case <-ch.gone:
	case <-ctx.Done():
		ch.kill(ErrClosed)
	}
}

// ended takes note of a process that is no more.
func (p *Pool) ended(c *card, ch *child, err error, lived time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wasReady := ch != nil && isClosed(ch.ready)
	deliberate := errors.Is(err, errCancelled) || errors.Is(err, ErrClosed)
	c.child, c.slots = nil, nil
	switch {
	case deliberate:
		c.state = StateRestarting
		return
	case lived >= usefulLife:
		c.streak = 1
	default:
		c.streak++
	}
	c.failures++
	c.err = err
	c.state = StateRestarting
	// One bad start may be chance. From the second on, jobs should not wait for this card.
	if !wasReady && (c.streak > 1 || c.config.NoRestart) {
		c.state = StateDead
	}
	p.log.Warn("a card's process has ended", "card", c.config.Name, "error", err, "streak", c.streak, "pause", pause(c.streak))
}

// isClosed says whether a channel that only ever gets closed is.
func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
