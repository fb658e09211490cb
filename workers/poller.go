package workers

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

// neverStops is how long an SDK worker that polls no more lets its jobs run: longer than any job may.
const neverStops = 30 * 24 * time.Hour

// pollAgain is the pause before polling is begun again, when Temporal did not let it begin.
const pollAgain = 2 * time.Second

// poller keeps a group of cards polling the task queue that it should poll, which changes with the stores that can be read and ends
// while it is paused. Each queue gets an SDK worker of its own. One that is not wanted any more stops polling at once, and its jobs
// run on.
type poller struct {
	temporal client.Client
	log      *slog.Logger
	slots    *slots
	register func(worker.ActivityRegistry)
	fatal    func(error)

	mu    sync.Mutex
	queue string // that should be polled; "" for none

	news     chan struct{}
	stopping sync.WaitGroup // SDK workers that have stopped polling, with their jobs
}

// newPoller makes a poller for a group with so many places at most. It polls nothing until it is told a queue, and Run is called.
func newPoller(temporal client.Client, places int, register func(worker.ActivityRegistry), fatal func(error), log *slog.Logger) *poller {
	return &poller{temporal: temporal, log: log, slots: newSlots(places), register: register, fatal: fatal, news: make(chan struct{}, 1)}
}

// Set says what should be polled from now on, and for how many jobs at once. No queue or no place: nothing.
func (p *poller) Set(queue string, places int) {
	if places == 0 {
		queue = ""
	}
	p.slots.resize(places)
	p.mu.Lock()
	p.queue = queue
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *poller) wanted() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue
}

// Run polls until ctx ends. Then it returns when the jobs have ended, or after limit: the process takes what is left with it.
func (p *poller) Run(ctx context.Context, limit time.Duration) error {
	var current worker.Worker
	polled, said := "", ""
	stop := func() {
		if current != nil {
			p.stopping.Go(current.Stop)
			p.log.Info("polls no more", "queue", polled, "running", p.slots.busy())
		}
		current, polled = nil, ""
	}
	for {
		queue, again := p.wanted(), (<-chan time.Time)(nil)
		if queue != polled || p.slots.excess() > 0 {
			stop()
			if queue != "" {
				w, err := p.begin(queue)
				if err != nil {
					if err.Error() != said { // an outage may last
						p.log.Warn("polling cannot begin; trying again", "queue", queue, "error", err)
					}
					again, said = time.After(pollAgain), err.Error()
				} else {
					current, polled, said = w, queue, ""
				}
			}
		}
		select {
		case <-p.news:
		case <-again:
		case <-ctx.Done():
			stop()
			return p.ended(limit)
		}
	}
}

// begin starts to poll a queue. There are as many polls as places: with fewer, a card would be idle while a job waits.
func (p *poller) begin(queue string) (worker.Worker, error) {
	tuner, err := p.tuner()
	if err != nil {
		return nil, err
	}
	w := worker.New(p.temporal, queue, worker.Options{
		Tuner:                            tuner,
		MaxConcurrentActivityTaskPollers: p.slots.most,
		DisableWorkflowWorker:            true,
		DisableEagerActivities:           true,
		DisableRegistrationAliasing:      true,
		// Jobs are ended by ourselves, if at all (activities.Prover.Stopping).
		WorkerStopTimeout: neverStops,
		OnFatalError:      p.fatal,
	})
	p.register(w)
	if err := w.Start(); err != nil {
		return nil, fmt.Errorf("starting to poll %s: %w", queue, err)
	}
	p.log.Info("polling", "queue", queue, "at_once", p.slots.places())
	return w, nil
}

// tuner gives the SDK our slots for activities. The others are never used; the SDK wants them all the same.
func (p *poller) tuner() (worker.WorkerTuner, error) {
	one, err := worker.NewFixedSizeSlotSupplier(1)
	if err != nil {
		return nil, fmt.Errorf("the SDK's slots: %w", err)
	}
	tuner, err := worker.NewCompositeTuner(worker.CompositeTunerOptions{
		ActivitySlotSupplier: p.slots, WorkflowSlotSupplier: one, LocalActivitySlotSupplier: one, NexusSlotSupplier: one, SessionActivitySlotSupplier: one,
	})
	if err != nil {
		return nil, fmt.Errorf("the SDK's slots: %w", err)
	}
	return tuner, nil
}

// ended waits for the jobs.
func (p *poller) ended(limit time.Duration) error {
	done := make(chan struct{})
	go func() { p.stopping.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("%d jobs had not ended within %s", p.slots.busy(), limit)
	}
}
