package prover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"
)

// CardState is what a card is doing.
type CardState string

// States of a card. A dead one is still tried again, with growing pauses, unless NoRestart is set. A fenced one is left alone until Unfence;
// it may still be at the jobs that it had.
const (
	StateStarting   CardState = "starting"
	StateIdle       CardState = "idle"
	StateProving    CardState = "proving"
	StateRestarting CardState = "restarting"
	StateDead       CardState = "dead"
	StateFenced     CardState = "fenced"
)

// card is a place in the pool. Its fields below wake are guarded by the pool's mutex.
type card struct {
	config CardConfig
	wake   chan struct{} // buffered: there is reason to start it before its time
	cpus   said          // of its CPUs, by who starts it

	state    CardState // starting, restarting or dead while child is nil
	process  *child    // the running one, ready or not
	child    *child    // the ready one; nil: nothing to give jobs to
	slots    []*slot   // taken ones of child
	turns    float64   // jobs that it was given, by its weight
	used     uint64    // when it was last given a job, by the pool's count
	fenced   string    // why it is; "": it is not
	strikes  int       // failures of its own since the last proof
	blamed   []string  // the jobs that it had at each of them, by slot.id
	started  bool      // ever
	unready  bool      // its last start failed
	stays    bool      // is not to be started again
	next     time.Time // when it is to be started again
	proofs   int
	failures int
	restarts int
	err      error
	said     said // of its end
	streak   int  // processes in a row that ended without having been of use
}

func newCard(config CardConfig) *card {
	return &card{config: config, wake: make(chan struct{}, 1), state: StateStarting, fenced: config.Fenced}
}

func (c *card) capacity() int { return max(c.config.Concurrent, 1) }

// usefulLife is how long a process has to live to count as one that works, if it makes no proof.
const usefulLife = time.Minute

// maxPause bounds the pauses between starts of a process that does not live.
const maxPause = 30 * time.Second

// longPause is what a job should not wait for.
const longPause = time.Second

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
	for p.await(ctx, c) {
		p.runOnce(ctx, c)
	}
}

// await returns when it is time to start a card's process, or false when ctx has ended.
func (p *Pool) await(ctx context.Context, c *card) bool {
	for ctx.Err() == nil {
		p.mu.Lock()
		never, wait := c.fenced != "" || c.stays, time.Until(c.next)
		p.mu.Unlock()
		if !never && wait <= 0 {
			return true
		}
		var due <-chan time.Time
		if !never {
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-due:
		case <-c.wake:
		}
	}
	return false
}

// runOnce starts a card's process, offers it to jobs once it is ready, and returns when it has ended.
func (p *Pool) runOnce(ctx context.Context, c *card) {
	started := time.Now()
	ch, err := launch(c.config, p.kind, p.snarkMemory(), &c.cpus, p.log)
	if err != nil {
		p.starting(c, nil)
		p.ended(c, nil, &CardError{Card: c.config.Name, Kind: ErrNotReady, Detail: err.Error()}, 0)
		return
	}
	p.starting(c, ch)
	// The watcher tells the pool of readiness, and kills; this goroutine must wait, with its thread.
	go p.watchStart(ctx, c, ch, c.config.readyTimeout())
	ch.wait()
	p.ended(c, ch, ch.goneErr, time.Since(started))
}

// watchStart kills a process that does not get ready in time, or when the pool ends.
func (p *Pool) watchStart(ctx context.Context, c *card, ch *child, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ch.ready:
		p.log.Info("card is ready", "card", c.config.Name, "pid", ch.cmd.Process.Pid)
		p.ready(c, ch)
	case <-timer.C:
		ch.kill(fmt.Errorf("%w: it did not print %q within %v", ErrNotReady, p.kind+" processor ready", limit))
	case <-ch.gone:
		return
	case <-ctx.Done():
	}
	select {
	case <-ch.gone:
		return
	case <-ch.doomed:
	case <-ctx.Done():
		ch.kill(ErrClosed)
	}
	select {
	case <-ch.gone:
	case <-time.After(p.endsWithin):
		p.lose(c, ch)
	}
}

// lose gives up on a process that was killed and is still there: the kernel cannot end one whose driver or disk does not answer. Its jobs
// fail, and others do not wait for it. If it ends after all, its card is started again.
func (p *Pool) lose(c *card, ch *child) {
	p.mu.Lock()
	defer p.unlock()
	if c.process != ch {
		return
	}
	p.log.Error("a card's process was killed and does not end; is its GPU or a disk in trouble (see dmesg)?", "card", c.config.Name, "pid", ch.cmd.Process.Pid)
	c.child, c.state, c.err = nil, StateDead, ch.lostErr()
	close(ch.lost)
	p.dispatch()
}

// lostErr is the error of the jobs of a process that does not end.
func (c *child) lostErr() error {
	return &CardError{Card: c.card, Kind: ErrHung, Detail: fmt.Sprintf("process %d was killed (%v) and does not end", c.cmd.Process.Pid, *c.killedAs.Load())}
}

// starting takes note of a process that was started, nil if it could not be.
func (p *Pool) starting(c *card, ch *child) {
	p.mu.Lock()
	defer p.unlock()
	if c.started {
		c.restarts++
	}
	c.started, c.process = true, ch
	p.stopIfFenced(c) // it may have been fenced in the meantime
}

// ready offers a card's process to jobs.
func (p *Pool) ready(c *card, ch *child) {
	p.mu.Lock()
	defer p.unlock()
	if c.process != ch || ch.dying.Load() {
		return
	}
	c.child, c.unready, c.said = ch, false, said{}
	p.catchUp(c)
	p.stopIfFenced(c)
	p.dispatch()
}

// ended takes note of a process that is no more.
func (p *Pool) ended(c *card, ch *child, err error, lived time.Duration) {
	p.mu.Lock()
	defer p.unlock()
	wasReady := ch != nil && isClosed(ch.ready) && !errors.Is(err, ErrNotReady) // its ready line may come before it is known to have no GPU
	atWork := slices.ContainsFunc(c.slots, func(s *slot) bool { return !s.abandoned && !s.answered })
	had := c.slots
	p.vacate(c, c.slots...)
	c.process, c.child, c.state = nil, nil, StateRestarting
	if deliberate(err) {
		c.next = time.Time{}
		p.dispatch()
		return
	}
	c.streak++
	if lived >= usefulLife {
		c.streak = 1
	}
	c.failures++
	c.err = err
	c.unready = !wasReady
	c.stays = c.config.NoRestart
	c.next = time.Now().Add(pause(c.streak))
	// One bad start may be chance. From the second on, jobs should not wait for this card, nor through a long pause.
	if c.stays || c.unready && c.streak > 1 || pause(c.streak) >= longPause {
		c.state = StateDead
	}
	p.tellEnd(c, atWork)
	switch {
	case errors.Is(err, ErrFellBack):
		p.fenceItself(c, err.Error())
	case atWork:
		p.strike(c, err, had...)
	}
	p.dispatch()
}

// tellEnd logs how a card's process has ended. One that is started in vain again and again says so once, and at each change. The mutex is held.
func (p *Pool) tellEnd(c *card, atWork bool) {
	level, what := slog.LevelWarn, "a card's process has ended"
	if c.unready {
		what = "a card's process does not get ready; it is tried again, with growing pauses"
	}
	if c.stays {
		what += "; it is not started again (auto_restart)"
	}
	if again := c.said.again(withoutFigures(c.err.Error())); again && c.dead() && !atWork {
		level = slog.LevelDebug
	}
	p.log.Log(context.Background(), level, what, "card", c.config.Name, "error", c.err, "streak", c.streak, "pause", pause(c.streak))
}

// deliberate says whether a process has ended because the pool wanted it to.
func deliberate(err error) bool {
	return errors.Is(err, errCancelled) || errors.Is(err, errFenced) || errors.Is(err, ErrClosed)
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
