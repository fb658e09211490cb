package prover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAnythingCanHappen has two pools under one limit go through random stories of jobs that come, give up, end well and badly, of
// processes that start, die and do not start, and of fences, and looks after each step whether everything is in order.
func TestAnythingCanHappen(t *testing.T) {
	for seed := range uint64(1000) {
		s := newStory(t, seed)
		for range 150 {
			s.step()
			s.inOrder()
		}
		s.endsWell()
	}
}

// TestARoughDay has real processes killed, fenced and unfenced while jobs run. Each job has to end in one of the ways that there are,
// and every card has to be there in the end.
func TestARoughDay(t *testing.T) {
	cards := []CardConfig{fake("a", "good"), fake("b", "good"), fake("c", "slow")}
	cards[0].Concurrent, cards[2].Concurrent = 2, 2
	pool := startPool(t, PoolOptions{Limits: &Limits{Tasks: 4}, Log: slog.New(slog.DiscardHandler)}, cards...)
	var jobs, trouble sync.WaitGroup
	var proven atomic.Int64
	done := make(chan struct{})
	for i := range 6 {
		jobs.Go(func() {
			for range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				if i == 0 {
					time.AfterFunc(20*time.Millisecond, cancel)
				}
				_, err := pool.Prove(ctx, fakeTask(1), nil, nil)
				cancel()
				if err == nil {
					proven.Add(1)
				}
				if i == 0 && errors.Is(err, context.Canceled) {
					continue
				}
				if err != nil && !errors.Is(err, ErrCardCrashed) && !errors.Is(err, ErrNoCard) {
					t.Error(err)
				}
			}
		})
	}
	trouble.Go(func() {
		random := rand.New(rand.NewPCG(3, 3))
		for ticker := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			card := pool.Status()[random.IntN(3)]
			switch random.IntN(4) {
			case 0:
				if card.PID != 0 {
					_ = syscall.Kill(card.PID, syscall.SIGKILL)
				}
			case 1:
				_ = pool.Fence(card.Name, "trouble")
			default:
				_ = pool.Unfence("")
			}
		}
	})
	jobs.Wait()
	close(done)
	trouble.Wait()
	require.NoError(t, pool.Unfence(""))
	require.Positive(t, proven.Load())
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(pool.Status(), func(s CardStatus) bool { return s.State != StateIdle })
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, pool.Size(), pool.Usable())
	pool.mu.Lock()
	defer pool.mu.Unlock()
	require.Zero(t, pool.limits.taken)
}

// story is what happens to pools, and what the test knows about it.
type story struct {
	t       *testing.T
	random  *rand.Rand
	seed    uint64
	last    string
	limits  *Limits
	pools   []*Pool
	waiters map[*Pool][]*waiter
	places  map[*Pool][]*slot
}

func newStory(t *testing.T, seed uint64) *story {
	s := &story{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 7)), waiters: map[*Pool][]*waiter{}, places: map[*Pool][]*slot{}}
	s.limits = &Limits{Tasks: s.random.IntN(5)} // 0: none
	for i := range 2 {
		var configs []CardConfig
		for j := range 1 + s.random.IntN(4) {
			configs = append(configs, CardConfig{Name: fmt.Sprint(i, j), Concurrent: s.random.IntN(3), Weight: s.random.IntN(4), NoRestart: s.random.IntN(8) == 0})
		}
		s.pools = append(s.pools, unmanned(t, PoolOptions{Limits: s.limits}, configs...))
	}
	return s
}

func (s *story) step() {
	p := s.pools[s.random.IntN(len(s.pools))]
	c := p.cards[s.random.IntN(len(p.cards))]
	running := c.process != nil
	switch s.random.IntN(12) {
	case 0, 1, 2:
		s.last = "a job comes"
		var avoid []string
		for _, c := range p.cards {
			if s.random.IntN(3) == 0 {
				avoid = append(avoid, c.config.Name)
			}
		}
		s.waiters[p] = append(s.waiters[p], p.enqueue("job", avoid))
	case 3:
		s.last = "a job gives up waiting"
		if n := len(s.waiters[p]); n > 0 {
			i := s.random.IntN(n)
			p.withdraw(s.waiters[p][i])
			s.waiters[p] = slices.Delete(s.waiters[p], i, i+1)
		}
	case 4, 5:
		s.last = "a job ends"
		if n := len(s.places[p]); n > 0 {
			i := s.random.IntN(n)
			outcomes := []error{nil, nil, nil, &AllBadError{}, &CardError{Kind: ErrTask}, &CardError{Kind: ErrProofInvalid}, &CardError{Kind: ErrProofInvalid}, &CardError{Kind: ErrFellBack}}
			p.settle(s.places[p][i], outcomes[s.random.IntN(len(outcomes))])
			s.places[p] = slices.Delete(s.places[p], i, i+1)
		}
	case 6:
		s.last = "a job is cancelled"
		if n := len(s.places[p]); n > 0 {
			i := s.random.IntN(n)
			place := s.places[p][i]
			s.places[p] = slices.Delete(s.places[p], i, i+1)
			p.mu.Lock() // as abandon, without its goroutine: the answer comes at once, or never
			place.abandoned = true
			p.killIfUnwanted(place.card)
			p.dispatch()
			p.unlock()
			p.release(place)
		}
	case 7:
		s.last = "a process dies"
		if running && (isClosed(c.process.ready) || c.process.dying.Load()) {
			p.dies(c, ErrCardCrashed)
			s.placesWithout(p, c)
		}
	case 8:
		s.last = "a process does not get ready"
		if running && !isClosed(c.process.ready) {
			p.dies(c, ErrNotReady)
		}
	case 9:
		s.last = "a process starts, or gets ready"
		switch {
		case !running && c.fenced == "" && !c.stays:
			p.launched(c)
		case running && !isClosed(c.process.ready):
			p.gotReady(c)
		}
	case 10:
		s.last = "a card is fenced"
		if s.random.IntN(3) == 0 {
			require.NoError(s.t, p.Fence(c.config.Name, "by hand"))
		}
	case 11:
		s.last = "a fence is lifted"
		require.NoError(s.t, p.Unfence(c.config.Name))
	}
	for _, p := range s.pools {
		s.collect(p)
	}
}

// placesWithout forgets the jobs of a process that has ended.
func (s *story) placesWithout(p *Pool, c *card) {
	s.places[p] = slices.DeleteFunc(s.places[p], func(place *slot) bool { return place.card == c })
}

// collect takes note of who was given a place, and looks whether it should have been.
func (s *story) collect(p *Pool) {
	passed := false // somebody before still waits
	s.waiters[p] = slices.DeleteFunc(s.waiters[p], func(w *waiter) bool {
		g, ok := w.given()
		if !ok {
			passed = true
			return false
		}
		require.False(s.t, passed, "%s: first come, first served", s)
		if g.err != nil {
			require.ErrorIs(s.t, g.err, ErrNoCard, s.String())
			require.Zero(s.t, p.Usable(), "%s: a job must not fail while there is a card", s)
			return true
		}
		c := g.slot.card
		require.Empty(s.t, c.fenced, "%s: a fenced card got a job", s)
		require.NotNil(s.t, c.child, "%s: a dead card got a job", s)
		require.False(s.t, c.child.dying.Load(), "%s: a dying card got a job", s)
		require.Same(s.t, c.child, g.slot.child, s.String())
		if slices.Contains(w.avoid, c.config.Name) {
			others := slices.ContainsFunc(p.cards, func(o *card) bool { return o != c && o.free() && !slices.Contains(w.avoid, o.config.Name) })
			require.False(s.t, others && s.limits.Tasks == 0 && s.last == "a job comes", "%s: a card to avoid got the job while another is free", s)
		}
		s.places[p] = append(s.places[p], g.slot)
		return true
	})
}

// inOrder says what must always be true.
func (s *story) inOrder() {
	t, taken := s.t, 0
	for _, p := range s.pools {
		usable, hope, free := 0, false, false
		for _, c := range p.cards {
			taken += len(c.slots)
			require.LessOrEqual(t, len(c.slots), c.capacity(), s.String())
			if c.fenced != "" && c.process != nil && len(c.slots) == 0 {
				require.True(t, c.process.dying.Load(), "%s: the process of a fenced card goes on without a job", s)
			}
			if c.fenced == "" && (c.child != nil || c.state != StateDead) {
				hope = true
				if !c.unready {
					usable += c.capacity()
				}
			}
			free = free || c.free()
		}
		require.Equal(t, usable, p.Usable(), s.String())
		for _, place := range s.places[p] {
			if place.card.child == place.child {
				require.Contains(t, place.card.slots, place, "%s: a job lost its place", s)
			}
		}
		if len(s.waiters[p]) > 0 {
			require.True(t, hope, "%s: a job waits for cards that are all dead or fenced", s)
			require.False(t, free && (s.limits.Tasks == 0 || s.limits.taken < s.limits.Tasks), "%s: a job waits while a card is free", s)
		}
	}
	require.Equal(t, taken, s.limits.taken, "%s: places and tasks", s)
	if s.limits.Tasks > 0 {
		require.LessOrEqual(t, taken, s.limits.Tasks, s.String())
	}
}

// endsWell lets everything end and every card come back; then all places must be there to be taken.
func (s *story) endsWell() {
	s.last = "at the end"
	for _, p := range s.pools {
		for _, w := range s.waiters[p] {
			p.withdraw(w)
		}
		s.waiters[p] = nil
	}
	for _, p := range s.pools {
		for _, place := range s.places[p] {
			p.settle(place, nil)
		}
		s.places[p] = nil
		require.NoError(s.t, p.Unfence(""))
		for _, c := range p.cards {
			if c.process != nil && c.process.dying.Load() {
				p.dies(c, ErrCardCrashed)
			}
			if c.process == nil {
				require.NoError(s.t, p.Unfence(c.config.Name))
				p.launched(c)
			}
			if !isClosed(c.process.ready) {
				p.gotReady(c)
			}
		}
	}
	s.inOrder()
	want := 0
	for _, p := range s.pools {
		want += p.Size()
		for range p.Size() {
			s.waiters[p] = append(s.waiters[p], p.enqueue("job", nil))
			s.collect(p)
		}
	}
	if s.limits.Tasks > 0 {
		want = min(want, s.limits.Tasks)
	}
	require.Equal(s.t, want, len(s.places[s.pools[0]])+len(s.places[s.pools[1]]), "%s: a place was lost", s)
	s.inOrder()
}

func (s *story) String() string { return fmt.Sprintf("story %d, %s", s.seed, s.last) }
