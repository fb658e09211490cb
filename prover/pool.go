package prover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// VerifyFunc is Verify, or a stand-in for it.
type VerifyFunc func(ctx context.Context, miner abi.ActorID, proofType abi.RegisteredPoStProof, randomness []byte, sectors post.Sectors, proof []byte) (bool, error)

// PoolOptions are the settings of a pool. The zero value is right for production.
type PoolOptions struct {
	Log       *slog.Logger  // nil: slog.Default()
	Verify    VerifyFunc    // checks every proof outside the process that made it; nil: Verify
	HungAfter time.Duration // a process of ours without a sign of life for so long has hung; 0 means 10 s
}

const (
	defaultHungAfter = 10 * time.Second
	beat             = time.Second // how often a job's progress is told even if nothing changes
)

// Pool keeps the processes of a set of cards running, and gives them jobs.
type Pool struct {
	kind      string
	log       *slog.Logger
	verify    VerifyFunc
	hungAfter time.Duration

	mu      sync.Mutex
	cards   []*card
	waiters []*waiter // in the order in which they came
	count   uint64    // jobs given out, for least recently used
	closed  bool
}

// waiter is a job that no card was free for.
type waiter struct {
	avoid []string
	got   chan grant // buffered
}

// grant is a place on a card, or why there is none.
type grant struct {
	slot *slot
	err  error
}

// slot is a job's place on a card's process.
type slot struct {
	card      *card
	child     *child
	job       string // for people
	abandoned bool   // cancelled, but the process works on for other jobs
}

// errCancelled is why a child is killed whose only job was cancelled. It is nobody's failure.
var errCancelled = errors.New("its job was cancelled")

// NewPool makes a pool of window PoSt cards. It does nothing until Run is called.
func NewPool(configs []CardConfig, opts PoolOptions) (*Pool, error) {
	if err := validate(configs); err != nil {
		return nil, err
	}
	p := &Pool{kind: KindWindow, log: opts.Log, verify: opts.Verify, hungAfter: opts.HungAfter}
	if p.log == nil {
		p.log = slog.Default()
	}
	if p.verify == nil {
		p.verify = Verify
	}
	if p.hungAfter == 0 {
		p.hungAfter = defaultHungAfter
	}
	for _, config := range configs {
		p.cards = append(p.cards, &card{config: config, state: StateStarting})
	}
	return p, nil
}

// Run starts the cards and keeps them running until ctx ends; then it kills them, fails what is left with ErrClosed, and returns when
// no process is left. A pool runs once.
func (p *Pool) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, c := range p.cards {
		wg.Go(func() { p.supervise(ctx, c) })
	}
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	p.dispatch()
	p.mu.Unlock()
	wg.Wait()
	return nil
}

// Size is how many jobs can be proven at once.
func (p *Pool) Size() int {
	size := 0
	for _, c := range p.cards {
		size += c.capacity()
	}
	return size
}

func (c *card) capacity() int { return max(c.config.Concurrent, 1) }

// Status is what every card is doing, in the order of the configuration.
func (p *Pool) Status() []CardStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]CardStatus, len(p.cards))
	for i, c := range p.cards {
		s := CardStatus{Name: c.config.Name, State: c.state, Proofs: c.proofs, Failures: c.failures, Restarts: c.restarts}
		if c.err != nil {
			s.Error = c.err.Error()
		}
		if c.child != nil {
			s.State, s.PID, s.Alive = StateIdle, c.child.cmd.Process.Pid, c.child.silence() < p.hungAfter
			for _, taken := range c.slots {
				s.State = StateProving
				s.Jobs = append(s.Jobs, taken.job)
			}
		}
		all[i] = s
	}
	return all
}

// acquire waits for a place on a card.
func (p *Pool) acquire(ctx context.Context, job string, avoid []string, waiting func()) (*slot, error) {
	w := &waiter{avoid: avoid, got: make(chan grant, 1)}
	p.mu.Lock()
	p.waiters = append(p.waiters, w)
	p.dispatch()
	p.mu.Unlock()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for first := true; ; first = false {
		if first {
			select {
			case g := <-w.got:
				return p.named(g, job)
			default:
				waiting()
			}
		}
		select {
		case g := <-w.got:
			return p.named(g, job)
		case <-ticker.C:
			waiting()
		case <-ctx.Done():
			p.withdraw(w)
			return nil, ctx.Err()
		}
	}
}

func (p *Pool) named(g grant, job string) (*slot, error) {
	if g.err != nil {
		return nil, g.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g.slot.job = job
	return g.slot, nil
}

// withdraw takes a waiter out of the queue, or gives back the place that it was just given.
func (p *Pool) withdraw(w *waiter) {
	p.mu.Lock()
	p.waiters = slices.DeleteFunc(p.waiters, func(other *waiter) bool { return other == w })
	p.mu.Unlock()
	select {
	case g := <-w.got:
		if g.slot != nil {
			p.release(g.slot)
		}
	default:
	}
}

// dispatch gives free places to waiters, first come first served. The mutex is held.
func (p *Pool) dispatch() {
	for len(p.waiters) > 0 {
		w := p.waiters[0]
		g := grant{}
		switch c := p.choose(w.avoid); {
		case p.closed:
			g.err = ErrClosed
		case c != nil:
			p.count++
			c.used = p.count
			g.slot = &slot{card: c, child: c.child}
			c.slots = append(c.slots, g.slot)
		case p.allDead():
			g.err = p.notReady()
		default:
			return
		}
		p.waiters = p.waiters[1:]
		w.got <- g
	}
}

// choose is the card with a free place that was used least recently; one to avoid only if there is no other.
func (p *Pool) choose(avoid []string) *card {
	var best *card
	var bestAvoided bool
	for _, c := range p.cards {
		if c.child == nil || c.child.dying.Load() || len(c.slots) >= c.capacity() {
			continue
		}
		avoided := slices.Contains(avoid, c.config.Name)
		if best == nil || bestAvoided && !avoided || bestAvoided == avoided && c.used < best.used {
			best, bestAvoided = c, avoided
		}
	}
	return best
}

func (p *Pool) allDead() bool {
	return !slices.ContainsFunc(p.cards, func(c *card) bool { return c.child != nil || c.state != StateDead })
}

// notReady is the error of a job when every card is dead.
func (p *Pool) notReady() error {
	var details []string
	for _, c := range p.cards {
		if c.err != nil {
			details = append(details, c.err.Error())
		}
	}
	return &CardError{Card: p.cards[0].config.Name, Kind: ErrNotReady,
		Detail: fmt.Sprintf("none of %d cards starts: %s", len(p.cards), strings.Join(details, "; "))}
}

// release gives a place back.
func (p *Pool) release(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := s.card
	if c.child != s.child {
		return // its process has ended, and took all places with it
	}
	c.slots = slices.DeleteFunc(c.slots, func(other *slot) bool { return other == s })
	p.killIfUnwanted(c)
	p.dispatch()
}

// abandon is release for a job that was cancelled while its process works on it. If nobody else uses the process it is killed;
// else the place stays taken until the answer comes, because the work goes on.
func (p *Pool) abandon(s *slot, a *asking) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.abandoned = true
	p.killIfUnwanted(s.card)
	if s.card.child != s.child {
		return
	}
	go func() {
		select {
		case <-a.answer:
		case <-s.child.gone:
		}
		s.child.forget(a)
		p.release(s)
	}()
}

// killIfUnwanted ends a process that works for cancelled jobs only. The mutex is held.
func (p *Pool) killIfUnwanted(c *card) {
	if c.child == nil || len(c.slots) == 0 || slices.ContainsFunc(c.slots, func(s *slot) bool { return !s.abandoned }) {
		return
	}
	c.child.kill(errCancelled)
	c.child, c.slots, c.state = nil, nil, StateRestarting
}

// scored counts how a job ended on a card.
func (p *Pool) scored(c *card, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		c.proofs++
		c.streak = 0
		c.err = nil
		return
	}
	// The end of a process counts itself.
	if !errors.Is(err, ErrCardCrashed) && !errors.Is(err, ErrHung) {
		c.failures++
		c.err = err
	}
}
