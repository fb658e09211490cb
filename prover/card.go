package prover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"
)

// CardConfig describes a card: a process with its own environment, usually one per GPU.
type CardConfig struct {
	Name         string            // unique in the pool
	Bin          string            // "": this very program, with the arguments `processor window_post`
	Args         []string          // exactly as given if Bin is; not allowed otherwise
	Envs         map[string]string // CUDA_VISIBLE_DEVICES, TMPDIR (made if it is missing), …
	CleanEnv     bool              // start from an empty environment instead of this process's own
	Concurrent   int               // tasks at once; 0 means 1
	ReadyTimeout time.Duration     // until the ready line; 0 means 5 s, as in damocles
	NoRestart    bool              // leave it dead when it ends
}

const defaultReadyTimeout = 5 * time.Second

// command is the process to start.
func (c CardConfig) command(kind string) (*exec.Cmd, error) {
	bin, args := c.Bin, c.Args
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding this program's own file: %w", err)
		}
		bin, args = self, []string{"processor", kind}
	}
	if tmp := c.Envs["TMPDIR"]; tmp != "" {
		// The library puts its GPU lock there, and fails in strange ways without the folder.
		if err := os.MkdirAll(tmp, 0o755); err != nil {
			return nil, fmt.Errorf("making TMPDIR: %w", err)
		}
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = []string{} // not nil, which would mean all of ours
	if !c.CleanEnv {
		cmd.Env = os.Environ()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Envs)) {
		cmd.Env = append(cmd.Env, name+"="+c.Envs[name])
	}
	cmd.Env = append(cmd.Env, ProgressEnv+"=3")
	return cmd, nil
}

// validate names what is wrong with the cards of a pool.
func validate(configs []CardConfig) error {
	if len(configs) == 0 {
		return errors.New("there are no cards; a pool needs at least one")
	}
	seen := map[string]bool{}
	for i, c := range configs {
		switch {
		case c.Name == "":
			return fmt.Errorf("card %d has no name", i)
		case seen[c.Name]:
			return fmt.Errorf("two cards are named %q", c.Name)
		case c.Bin == "" && len(c.Args) > 0:
			return fmt.Errorf("card %q has args but no bin; without a bin it runs this program's own processor", c.Name)
		case c.Concurrent < 0:
			return fmt.Errorf("card %q: concurrent is %d; it must be at least 1, or 0 for the default of 1", c.Name, c.Concurrent)
		case c.ReadyTimeout < 0:
			return fmt.Errorf("card %q: its ready timeout is %v; it must be positive, or 0 for the default of %v", c.Name, c.ReadyTimeout, defaultReadyTimeout)
		}
		seen[c.Name] = true
	}
	return nil
}

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
