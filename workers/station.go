package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/sectors"
	"posthaste/workflows"
)

// group is a cardGroup at work.
type group struct {
	cardGroup
	pool   *prover.Pool
	poller *poller
}

// places is how many jobs it can take at once now.
func (g *group) places() int {
	places := g.pool.Usable()
	if g.limit > 0 {
		places = min(places, g.limit)
	}
	return places
}

// station is a worker's process: its cards in groups, its stores, and what operators want of it. What a group polls follows from them
// (tune), and so does what the fleet is told (report.go).
type station struct {
	first     post.WorkerReport // what does not change in its reports
	namespace string
	rules     []post.Rule
	temporal  client.Client
	log       *slog.Logger
	stores    *sectors.Stores
	monitor   *sectors.Monitor
	groups    []*group
	end       func() // ends the process

	handOver chan struct{} // closed when running jobs have to be handed over
	handOnce sync.Once
	news     chan struct{} // buffered: something may have to be reported
	doubts   chan struct{} // buffered: see doubt

	tuning sync.Mutex // one tune at a time

	mu       sync.Mutex
	open     bool // its orders are known: it may poll
	draining bool
	orders   post.Orders
	unsent   []post.Fence // of orders.Fences, those that the WorkerWorkflow does not know yet
}

// changed is called when a card, a store or an order has changed.
func (s *station) changed() {
	s.tune()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// tune has each group poll what it should now.
func (s *station) tune() {
	s.tuning.Lock()
	defer s.tuning.Unlock()
	s.mu.Lock()
	works := s.open && !s.draining && s.orders.Paused == ""
	s.mu.Unlock()
	stores := s.monitor.Readable()
	for _, g := range s.groups {
		queue := ""
		if works {
			queue = s.admits(g, stores).Queue(g.kind)
		}
		g.poller.Set(queue, g.places())
	}
}

func (s *station) admits(g *group, stores []string) post.Admits {
	return post.Admits{Pool: g.cardGroup.pool, Rules: s.rules, Stores: stores, MaxSize: g.most}
}

// fencedItself takes note of a fence that a pool has put up.
func (s *station) fencedItself(card, reason string) {
	fence := post.Fence{Card: card, Reason: reason, At: time.Now().Round(time.Millisecond)}
	s.mu.Lock()
	s.orders.Fences = append(s.orders.Fences, fence)
	s.unsent = append(s.unsent, fence)
	s.mu.Unlock()
	s.changed()
}

// Apply makes orders hold. A drain ends the process when its jobs are done; Apply does not wait for that.
func (s *station) Apply(_ context.Context, in workflows.OrdersInput) error {
	fences := s.obey(in.Orders)
	var errs []error
	for _, g := range s.groups {
		for _, card := range g.cards {
			i := slices.IndexFunc(fences, func(f post.Fence) bool { return f.Card == card.Name })
			if i >= 0 {
				errs = append(errs, g.pool.Fence(card.Name, fences[i].Reason))
			} else if isFenced(g.pool, card.Name) {
				errs = append(errs, g.pool.Unfence(card.Name))
			}
		}
	}
	if in.Drain && (in.Process == "" || in.Process == s.first.Instance) {
		s.drain()
	}
	s.changed()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("fences of worker %s: %w", s.first.Name, err)
	}
	return nil
}

// obey keeps orders and says which fences hold: those, and the ones that whoever gave the orders cannot have known.
func (s *station) obey(orders post.Orders) []post.Fence {
	s.mu.Lock()
	defer s.mu.Unlock()
	orders.Fences = slices.Clone(orders.Fences)
	for _, fence := range s.unsent {
		if !slices.ContainsFunc(orders.Fences, func(f post.Fence) bool { return f.Card == fence.Card }) {
			orders.Fences = append(orders.Fences, fence)
		}
	}
	if orders.Paused != s.orders.Paused {
		s.log.Info("orders", "paused", orders.Paused)
	}
	s.orders = orders
	return orders.Fences
}

func isFenced(pool *prover.Pool, card string) bool {
	return slices.ContainsFunc(pool.Status(), func(c prover.CardStatus) bool { return c.Name == card && c.State == prover.StateFenced })
}

// drain takes nothing new and ends the process when all jobs are done.
func (s *station) drain() {
	s.mu.Lock()
	was := s.draining
	s.draining = true
	s.mu.Unlock()
	if was {
		return
	}
	s.log.Info("draining: nothing new is taken, and the process ends when its jobs are done", "running", s.busy())
	go func() {
		if s.idle(context.Background()) == nil {
			s.log.Info("drained")
			s.end()
		}
	}()
}

// busy is how many jobs run.
func (s *station) busy() (n int) {
	for _, g := range s.groups {
		n += g.poller.slots.busy()
	}
	return n
}

// idle returns when no job runs and none can come.
func (s *station) idle(ctx context.Context) error {
	for _, g := range s.groups {
		if err := g.poller.slots.idle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// letGo has running jobs handed over to other workers.
func (s *station) letGo() { s.handOnce.Do(func() { close(s.handOver) }) }

// gauges is what the worker is at, for its metrics.
func (s *station) gauges() workerGauges {
	now := s.Now()
	return workerGauges{cards: now.Cards, paused: s.paused() != "", readable: s.monitor.Readable(), lost: s.monitor.Lost()}
}

func (s *station) paused() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders.Paused
}

// Now is what the worker is doing.
func (s *station) Now() post.WorkerNow {
	now := post.WorkerNow{Instance: s.first.Instance, At: time.Now().Round(time.Millisecond), State: WorkerRunning}
	usable := 0
	for _, g := range s.groups {
		usable += g.pool.Usable()
		now.Cards = append(now.Cards, activities.CardsNow(g.pool.Status())...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		now.State = WorkerDraining
	case s.orders.Paused != "":
		now.State = WorkerPaused
	case usable == 0:
		now.State = WorkerIdle
	}
	return now
}
