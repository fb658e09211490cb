package prover

import (
	"slices"
	"time"

	"posthaste/post"
)

// CardStatus is one card as people see it.
type CardStatus struct {
	Name     string     `json:"name"`
	State    CardState  `json:"state"`
	PID      int        `json:"pid,omitempty"`
	Alive    bool       `json:"alive"`          // its process is there and, if it is one of ours, has given a sign of life lately
	Jobs     []string   `json:"jobs,omitempty"` // in the order in which they came
	Phase    post.Phase `json:"phase,omitempty"`
	Seconds  float64    `json:"seconds,omitempty"` // since it took the first of its jobs, whose phase Phase is
	Places   int        `json:"places"`            // jobs at once
	Weight   int        `json:"weight"`
	Proofs   int        `json:"proofs"`
	Failures int        `json:"failures"` // jobs that failed here, and processes that ended or did not start
	Restarts int        `json:"restarts"`
	Error    string     `json:"error,omitempty"` // why it is fenced, else why it failed last

	Device    string `json:"device,omitempty"`     // the GPUs that its process has found, if it is one of ours
	PeakBytes int64  `json:"peak_bytes,omitempty"` // the most memory that its present process has had resident
}

// Status is what every card is doing, in the order of the configuration.
func (p *Pool) Status() []CardStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]CardStatus, len(p.cards))
	for i, c := range p.cards {
		all[i] = p.status(c)
	}
	return all
}

// status is what a card is doing. The mutex is held.
func (p *Pool) status(c *card) CardStatus {
	s := CardStatus{Name: c.config.Name, State: c.shown(), Places: c.capacity(), Weight: max(c.config.Weight, 1),
		Proofs: c.proofs, Failures: c.failures, Restarts: c.restarts, Error: c.fenced}
	if c.err != nil && s.Error == "" {
		s.Error = c.err.Error()
	}
	if c.child != nil {
		s.PID, s.Alive = c.child.cmd.Process.Pid, c.child.silence() < p.hungAfter
		s.Device, s.PeakBytes = c.child.devices(), c.child.peakBytes()
	}
	for i, taken := range c.slots {
		s.Jobs = append(s.Jobs, taken.job)
		if i == 0 {
			s.Phase, s.Seconds = taken.phase, time.Since(taken.since).Seconds()
		}
	}
	return s
}

// shown is a card's state for people. The mutex is held.
func (c *card) shown() CardState {
	switch {
	case c.fenced != "":
		return StateFenced
	case c.child == nil:
		return c.state
	case len(c.slots) > 0:
		return StateProving
	default:
		return StateIdle
	}
}

// unlock is for whoever may have changed something: it lets OnFence and OnChange know, and other pools whose turn it is to start
// a task. The mutex is held, and is not afterwards.
func (p *Pool) unlock() {
	seen := make([]CardState, len(p.cards), len(p.cards)+1)
	for i, c := range p.cards {
		seen[i] = c.shown()
	}
	usable := p.usable()
	if usable != p.seenUsable || !slices.Equal(seen, p.seen) {
		p.seen, p.seenUsable, p.changed = seen, usable, true
	}
	if p.changed || len(p.fences) > 0 {
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
	p.mu.Unlock()
	// Nobody waits while this pool is not locked by whoever has just made room: so each turn is passed on by who ends one.
	if other := p.limits.next(); other != nil {
		other.mu.Lock()
		other.dispatch()
		other.unlock()
	}
}

// tell calls OnFence and OnChange when there is news, until done is closed. They run on their own, so that they hold up no card.
func (p *Pool) tell(done <-chan struct{}) {
	for open := true; open; {
		select {
		case <-p.news:
		case <-done:
			open = false // but a fence is never lost
		}
		p.mu.Lock()
		fences, changed := p.fences, p.changed
		p.fences, p.changed = nil, false
		p.mu.Unlock()
		for _, f := range fences {
			if p.onFence != nil {
				p.onFence(f.card, f.reason)
			}
		}
		if changed && p.onChange != nil {
			p.onChange()
		}
	}
}
