package activities

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/api/workflowservice/v1"

	"posthaste/post"
	"posthaste/workflows"
)

// FleetSource is what reading the fleet takes from Temporal's client.
type FleetSource interface {
	ListWorkflow(ctx context.Context, request *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error)
	WorkflowService() workflowservice.WorkflowServiceClient
}

// Fleet knows which cards there are, which of them live, and what waits for them. All of it is Temporal's knowledge, read at
// most once a second.
type Fleet struct {
	Temporal  FleetSource
	Namespace string
	Log       *slog.Logger
	Kind      string           // of the queues, post.KindWindow or post.KindWinning; "" is window
	Now       func() time.Time // nil: time.Now

	Ahead func() time.Duration // of the server's clock, this machine's; nil: not at all

	reading sync.Mutex // one reader at a time; the others take what it read

	mu     sync.Mutex
	snap   snapshot
	err    error
	readAt time.Time // when the last read ended; zero: never
	pulses pulses
	routed []routed
	times  post.Times
}

const (
	snapshotFor = time.Second      // how old a snapshot may be
	readWithin  = 5 * time.Second  // bounds the reading of one
	routedFor   = 30 * time.Second // how long a routed job is remembered at most
)

// routed is a job that this process has put on a queue, and that Temporal's figures may not show yet.
type routed struct {
	queue string
	at    time.Time
}

func (f *Fleet) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

// byServers is a time of ours by the server's clock.
func (f *Fleet) byServers(at time.Time) time.Time {
	if f.Ahead == nil {
		return at
	}
	return at.Add(-f.Ahead())
}

// byOurs is a time of the server's by our clock.
func (f *Fleet) byOurs(at time.Time) time.Time {
	if f.Ahead == nil {
		return at
	}
	return at.Add(f.Ahead())
}

// Snapshot is all queues that somebody serves or served, with who is there and what waits.
func (f *Fleet) Snapshot(ctx context.Context) (post.Fleet, error) {
	snap, err := f.snapshot(ctx)
	return snap.fleet(), err
}

// RouteJob chooses the queue for a new job, and counts it there, so that many at once spread.
func (f *Fleet) RouteJob(ctx context.Context, in workflows.RouteInput) (post.Choice, error) {
	if _, err := f.snapshot(ctx); err != nil {
		return post.Choice{}, fmt.Errorf("routing a job of %s: %w", post.MinerName(in.Needs.Miner), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	choice := post.Route(in.Needs, in.Avoid, f.snap.fleet(), "")
	choice.Priority = post.Priority(in.Try, in.Left, f.times.Proof(in.Needs.Size, 0))
	if !in.Look {
		f.count(choice.Queue)
	}
	return choice, nil
}

// count puts one more job on a queue of the snapshot. The mutex is held.
func (f *Fleet) count(queue string) {
	f.routed = append(f.routed, routed{queue: queue, at: f.now()})
	if i := f.snap.index(queue); i >= 0 {
		f.snap.queues[i].Backlog++
	}
}

// learn takes note of how long the proofs of a deadline took, those that are made.
func (f *Fleet) learn(d post.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range d.Partitions {
		if p.Index == p.Lead() { // of several that were proven together one stands for all
			f.times.Learn(d.Size, d.JobSectors(p), p.Phases, f.now())
		}
	}
}

// Forecast is how long a proof of so many sectors takes, as far as is known: see post.Times.Proof. The times are those of all deadlines
// that this process has looked at while it balanced the fleet.
func (f *Fleet) Forecast(size abi.SectorSize, sectors int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.times.Proof(size, sectors)
}

// snapshot is the cached one if it is new enough, else a new one. An error is kept as long, so that a Temporal that is away is not
// asked by everybody in turn.
func (f *Fleet) snapshot(ctx context.Context) (snapshot, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	f.mu.Lock()
	snap, err, age := f.snap, f.err, f.now().Sub(f.readAt)
	f.mu.Unlock()
	if age >= 0 && age < snapshotFor {
		return snap.clone(), err
	}
	began := f.now()
	limited, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	snap, err = f.read(limited)
	if err != nil && ctx.Err() != nil {
		return snapshot{}, err // of this caller alone
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routed = slices.DeleteFunc(f.routed, func(r routed) bool { return f.now().Sub(r.at) > routedFor })
	snap.settle(f.routed, began)
	f.snap, f.err, f.readAt = snap, err, f.now()
	return snap.clone(), err
}

// read asks Temporal for everything.
func (f *Fleet) read(ctx context.Context) (snapshot, error) {
	kind := f.Kind
	if kind == "" {
		kind = post.KindWindow
	}
	states, err := f.states(ctx)
	if err != nil {
		return snapshot{}, err
	}
	beats, err := f.beats(ctx)
	if err != nil {
		return snapshot{}, err
	}
	queues, err := f.queues(ctx, append(queuesOf(kind, states), unlisted(kind, states, beats)...))
	if err != nil {
		return snapshot{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pulses == nil {
		f.pulses = pulses{}
	}
	f.pulses.feel(f.now(), beats)
	return muster(kind, states, beats, queues, f.now()), nil
}
