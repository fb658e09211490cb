package prover

import (
	"cmp"
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

// PoolOptions are the settings of a pool. The zero value is right for production with window cards.
type PoolOptions struct {
	Log           *slog.Logger      // nil: slog.Default()
	Kind          string            // KindWindow or KindWinning: what the cards prove; "": KindWindow
	Verify        VerifyFunc        // checks every window proof outside the process that made it; nil: Verify
	VerifyWinning VerifyWinningFunc // every winning proof; nil: VerifyWinning
	HungAfter     time.Duration     // a process of ours without a sign of life for so long has hung; 0 means 10 s
	Limits        *Limits           // shared with other pools; nil: none

	// OnFence is told when the pool takes a card out of use; not when Fence does. OnChange is told that Usable or the state of a card
	// has changed, once for changes that come together. They are called one at a time, from a goroutine of Run, without locks held: what
	// takes long in them delays other news and the end of Run, but no card.
	OnFence  func(card, reason string)
	OnChange func()
}

const (
	defaultHungAfter = 10 * time.Second
	beat             = time.Second      // how often a job's progress is told even if nothing changes
	endsWithin       = 20 * time.Second // a process that is killed: the kernel takes a while to take back a large one's memory and its GPU
)

// Pool keeps the processes of a set of cards running, and gives them jobs.
type Pool struct {
	kind          string
	log           *slog.Logger
	verify        VerifyFunc
	verifyWinning VerifyWinningFunc
	hungAfter     time.Duration
	endsWithin    time.Duration
	limits        *Limits
	onFence       func(card, reason string)
	onChange      func()
	news          chan struct{} // buffered: something below is to be told

	// Locked by Lock, and unlocked by unlock where something may have changed.
	mu      sync.Mutex
	cards   []*card
	waiters []*waiter // in the order in which they came
	count   uint64    // jobs given out, for least recently used
	turn    float64   // of the card that had its turn last, by card.turns
	closed  bool

	fences     []fenceNews // to be told
	changed    bool        // to be told
	seen       []CardState // as last told, or about to be
	seenUsable int
}

// waiter is a job that waits for a card.
type waiter struct {
	job     string
	avoid   []string
	arrival uint64     // by the limits' count
	got     chan grant // buffered
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
	id        string // the same for a job that is tried again; empty: not known
	since     time.Time
	phase     post.Phase
	answered  bool // the process has done its part
	abandoned bool // cancelled, but the process works on for other jobs
}

// errCancelled is why a child is killed whose only job was cancelled. It is nobody's failure.
var errCancelled = errors.New("its job was cancelled")

// NewPool makes a pool of cards. It does nothing until Run is called.
func NewPool(configs []CardConfig, opts PoolOptions) (*Pool, error) {
	if err := validate(configs); err != nil {
		return nil, err
	}
	p := &Pool{
		kind: cmp.Or(opts.Kind, KindWindow), log: cmp.Or(opts.Log, slog.Default()),
		verify: opts.Verify, verifyWinning: opts.VerifyWinning,
		hungAfter: cmp.Or(opts.HungAfter, defaultHungAfter), endsWithin: endsWithin, limits: opts.Limits,
		onFence: opts.OnFence, onChange: opts.OnChange, news: make(chan struct{}, 1),
	}
	if p.kind != KindWindow && p.kind != KindWinning {
		return nil, fmt.Errorf("cards of kind %q are not known; there are %s and %s", p.kind, KindWindow, KindWinning)
	}
	if p.verify == nil {
		p.verify = Verify
	}
	if p.verifyWinning == nil {
		p.verifyWinning = VerifyWinning
	}
	if p.limits == nil {
		p.limits = &Limits{}
	}
	for _, config := range configs {
		p.cards = append(p.cards, newCard(config))
		p.seen = append(p.seen, p.cards[len(p.cards)-1].shown())
	}
	p.seenUsable = p.usable()
	return p, nil
}

// Run starts the cards and keeps them running until ctx ends; then it kills them, fails what is left with ErrClosed, and returns when
// no process is left. A pool runs once.
func (p *Pool) Run(ctx context.Context) error {
	var cards, telling sync.WaitGroup
	done := make(chan struct{})
	telling.Go(func() { p.tell(done) })
	for _, c := range p.cards {
		cards.Go(func() { p.supervise(ctx, c) })
	}
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	p.dispatch()
	p.unlock()
	cards.Wait()
	close(done)
	telling.Wait()
	return nil
}

// Size is how many jobs can be proven at once when every card works.
func (p *Pool) Size() int {
	size := 0
	for _, c := range p.cards {
		size += c.capacity()
	}
	return size
}

// acquire waits for a place on a card.
func (p *Pool) acquire(ctx context.Context, job string, avoid []string, waiting func()) (*slot, error) {
	w := p.enqueue(job, avoid)
	select {
	case g := <-w.got:
		return g.slot, g.err
	default:
		waiting()
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case g := <-w.got:
			return g.slot, g.err
		case <-ticker.C:
			waiting()
		case <-ctx.Done():
			p.withdraw(w)
			return nil, ctx.Err()
		}
	}
}

// enqueue puts a job behind those that wait.
func (p *Pool) enqueue(job string, avoid []string) *waiter {
	p.mu.Lock()
	defer p.unlock()
	w := &waiter{job: job, avoid: avoid, arrival: p.limits.arrive(), got: make(chan grant, 1)}
	p.waiters = append(p.waiters, w)
	p.dispatch()
	return w
}

// withdraw takes a waiter out of the queue, or gives back the place that it was just given.
func (p *Pool) withdraw(w *waiter) {
	p.mu.Lock()
	p.waiters = slices.DeleteFunc(p.waiters, func(other *waiter) bool { return other == w })
	p.dispatch()
	p.unlock()
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
		case c != nil && p.limits.take(p, w.arrival):
			g.slot = p.occupy(c, w.job)
		case c != nil:
			return // its turn will come
		case p.hopeless():
			g.err = p.noCard()
		default:
			p.limits.leave(p)
			return
		}
		p.waiters = p.waiters[1:]
		w.got <- g
	}
	p.limits.leave(p)
}

// noCard is the error of a job when every card is fenced or dead. The mutex is held.
func (p *Pool) noCard() error {
	details := make([]string, len(p.cards))
	for i, c := range p.cards {
		switch {
		case c.fenced != "":
			details[i] = fmt.Sprintf("%s is fenced: %s", c.config.Name, c.fenced)
		case c.err != nil:
			details[i] = c.err.Error()
		default:
			details[i] = c.config.Name + " is dead"
		}
	}
	return fmt.Errorf("%w (%d cards: %s)", ErrNoCard, len(p.cards), strings.Join(details, "; "))
}

// vacate takes jobs off their card. The mutex is held.
func (p *Pool) vacate(c *card, gone ...*slot) {
	gone = slices.Clone(gone) // it may be the card's own list
	before := len(c.slots)
	c.slots = slices.DeleteFunc(slices.Clone(c.slots), func(s *slot) bool { return slices.Contains(gone, s) })
	p.limits.give(before - len(c.slots))
	p.catchUp(c)
}

// release gives a place back. If its process has ended, all its places were given back already.
func (p *Pool) release(s *slot) {
	p.mu.Lock()
	defer p.unlock()
	p.leave(s)
}

// leave is release. The mutex is held.
func (p *Pool) leave(s *slot) {
	p.vacate(s.card, s)
	p.killIfUnwanted(s.card)
	p.stopIfFenced(s.card)
	p.dispatch()
}

// settle gives a place back and counts how its job ended.
func (p *Pool) settle(s *slot, err error) {
	p.mu.Lock()
	defer p.unlock()
	if err != nil && isClosed(s.child.gone) && errors.Is(err, s.child.goneErr) {
		return // the end of a process counts itself, once for all its jobs, and takes their places
	}
	p.score(s, err)
	p.leave(s)
}

// score counts how a job ended on a card that is still there. The mutex is held.
func (p *Pool) score(s *slot, err error) {
	c := s.card
	switch {
	case err == nil:
		c.proofs++
		c.streak, c.strikes, c.blamed, c.err = 0, 0, nil, nil
		return
	case errors.Is(err, ErrAllBad):
		return // the sectors' fault
	}
	c.failures++
	c.err = err
	switch {
	case errors.Is(err, ErrFellBack):
		p.fenceItself(c, err.Error())
	case errors.Is(err, ErrProofInvalid):
		p.strike(c, err, s)
	}
}

// note keeps the phase of a job for its card's status.
func (p *Pool) note(s *slot, phase post.Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.phase = phase
	s.answered = phase == post.PhaseVerify
}

// abandon is release for a job that was cancelled while its process works on it. If nobody else uses the process it is killed;
// else the place stays taken until the answer comes, because the work goes on.
func (p *Pool) abandon(s *slot, a *asking) {
	p.mu.Lock()
	defer p.unlock()
	s.abandoned = true
	p.killIfUnwanted(s.card)
	p.dispatch()
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
	p.vacate(c, c.slots...)
	c.child, c.state = nil, StateRestarting
}
