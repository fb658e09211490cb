package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	activitypb "go.temporal.io/api/activity/v1"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"posthaste/post"
	"posthaste/workflows"
)

// BalanceSource is what balancing takes from Temporal's client.
type BalanceSource interface {
	FleetSource
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	SignalWorkflow(ctx context.Context, workflowID, runID, signalName string, arg any) error
}

// Balance moves jobs that wait for a card to where they would be taken sooner.
type Balance struct {
	Fleet    *Fleet
	Temporal BalanceSource
	Log      *slog.Logger
	Every    time.Duration  // between two looks; 0 means 5 s
	Observe  func(Balanced) // every look, for metrics, and an empty one when it ends; nil: nobody watches

	looking sync.Mutex // one look at a time: an attempt that Temporal has given up goes on for some seconds beside the next

	told  map[string]post.Choice // what a job's workflow was told last, by the job's id
	stuck map[string]int         // looks at which a cause kept jobs waiting

	inputsMu sync.Mutex
	inputs   map[string]post.Job // of jobs from before routing, by the job's id

	lastMu sync.Mutex
	last   reading // of the last look, for alerts
}

// reading is what a look reads of the fleet and of the deadlines that run. It is not changed any more.
type reading struct {
	at     time.Time // when it began
	snap   snapshot
	boards []board
	jobs   jobs
	err    error // what is not in it
}

// read reads everything anew.
func (b *Balance) read(ctx context.Context) (r reading, err error) {
	r.at = b.Fleet.now()
	if r.snap, err = b.Fleet.snapshot(ctx); err != nil {
		return r, err
	}
	if r.boards, err = b.boards(ctx); err != nil {
		return r, err
	}
	r.jobs, r.err = b.jobs(ctx, r.boards)
	return r, nil
}

// publish keeps a look's reading for whoever needs the same.
func (b *Balance) publish(r reading) {
	b.lastMu.Lock()
	defer b.lastMu.Unlock()
	b.last = r
}

// recent is the last look's reading if it is new enough: of a process that balances and watches, only one reads.
func (b *Balance) recent(within time.Duration) (r reading, ok bool) {
	b.lastMu.Lock()
	defer b.lastMu.Unlock()
	return b.last, !b.last.at.IsZero() && b.Fleet.now().Sub(b.last.at) <= within
}

const (
	balanceEvery = 5 * time.Second
	passWithin   = 30 * time.Second // bounds one look
	// stuckLooks is at how many looks in a row jobs must be stuck before it is called an error. Right after Temporal's own start
	// nobody seems to be there.
	stuckLooks = 2
	// idleShare keeps looks from taking more than a fifth of the time where Temporal is slow: measured with 500 running deadlines, a
	// look takes 0.3 to 1 s of waiting and 20 to 70 ms of our CPU time.
	idleShare = 5
)

// Balanced is what the last look saw: the heartbeat of BalanceFleet.
type Balanced struct {
	At      time.Time      `json:"at"`
	Waiting int            `json:"waiting"` // jobs that no card has begun
	Running int            `json:"running"`
	Moved   int            `json:"moved"`             // to another queue, at this look
	Raised  int            `json:"raised"`            // in priority, at this look
	Stuck   map[string]int `json:"stuck,omitempty"`   // jobs that nobody can take now, by what has to happen first
	Problem string         `json:"problem,omitempty"` // why the look is not complete
	Seconds float64        `json:"seconds"`           // that it took
}

// BalanceFleet keeps an eye on the jobs that wait, until its context ends.
func (b *Balance) BalanceFleet(ctx context.Context) error {
	every := b.Every
	if every == 0 {
		every = balanceEvery
	}
	observe := b.Observe
	if observe == nil {
		observe = func(Balanced) {}
	}
	defer observe(Balanced{}) // another daemon goes on, and its figures count
	var mu sync.Mutex
	var last Balanced
	beats, done := time.NewTicker(every), make(chan struct{})
	defer beats.Stop()
	var beating sync.WaitGroup
	defer beating.Wait()
	defer close(done)
	beating.Go(func() { // a slow look must not be taken for a dead daemon
		for {
			select {
			case <-beats.C:
				mu.Lock()
				activity.RecordHeartbeat(ctx, last)
				mu.Unlock()
			case <-done:
				return
			}
		}
	})
	for {
		limited, cancel := context.WithTimeout(ctx, passWithin)
		seen := b.look(limited)
		cancel()
		observe(seen)
		mu.Lock()
		last = seen
		activity.RecordHeartbeat(ctx, seen)
		mu.Unlock()
		took := time.Duration(seen.Seconds * float64(time.Second))
		select {
		case <-time.After(pauseAfter(every, took)):
		case <-activity.GetWorkerStopChannel(ctx):
			return errors.New("the daemon is stopping; another one goes on balancing")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pauseAfter is how long nobody looks after a look that took so long, where looks are so far apart as a rule.
func pauseAfter(every, took time.Duration) time.Duration {
	return min(max(every, idleShare*took), 2*every)
}

// look is one pass over the jobs that wait.
func (b *Balance) look(ctx context.Context) Balanced {
	b.looking.Lock()
	defer b.looking.Unlock()
	began := time.Now()
	seen := Balanced{At: began}
	if b.told == nil {
		b.told, b.stuck = map[string]post.Choice{}, map[string]int{}
	}
	problem := func(err error) {
		seen.Problem = err.Error()
		if ctx.Err() == nil {
			b.Log.Warn("balancing the fleet", "error", err)
		}
	}
	snap, err := b.Fleet.snapshot(ctx)
	if err != nil {
		problem(err)
		return timed(seen, began)
	}
	boards, err := b.boards(ctx)
	if err != nil {
		problem(err)
		return timed(seen, began)
	}
	jobs, err := b.jobs(ctx, boards)
	if err != nil {
		problem(err) // of some workflows: the others do not wait for them
	}
	waiting, running := jobs.waiting, jobs.running
	b.publish(reading{at: b.Fleet.now(), snap: snap, boards: boards, jobs: jobs, err: err})
	moves := plan(snap.with(waiting, running), waiting, b.Fleet.Forecast)
	err = b.carryOut(ctx, moves, &seen)
	if err != nil {
		problem(err)
	}
	seen.Waiting = len(waiting)
	for _, n := range running {
		seen.Running += n
	}
	b.report(moves, &seen)
	b.forget(waiting)
	return timed(seen, began)
}

func timed(seen Balanced, began time.Time) Balanced {
	seen.Seconds = time.Since(began).Seconds()
	return seen
}

// carryOut moves jobs and tells their workflows.
func (b *Balance) carryOut(ctx context.Context, moves []move, seen *Balanced) error {
	var mu sync.Mutex
	return SideBySide(len(moves), func(i int) error {
		m := moves[i]
		if m.changesQueue() || m.raises() {
			found, err := b.update(ctx, m)
			if err != nil || !found {
				return err
			}
			mu.Lock()
			if m.changesQueue() {
				seen.Moved++
				b.Log.Info("a waiting job was moved", "job", m.job.label, "from", m.job.queue, "to", m.choice.Queue, "waits", m.choice.Waits)
			} else {
				seen.Raised++
			}
			mu.Unlock()
		}
		mu.Lock()
		told, known := b.told[m.job.id()]
		mu.Unlock()
		if !known {
			told = m.job.shown
		}
		if told.Queue == m.choice.Queue && told.Waits == m.choice.Waits && slices.Equal(told.Lost, m.choice.Lost) {
			return nil
		}
		err := b.Temporal.SignalWorkflow(ctx, m.job.workflow, m.job.run, workflows.SignalRouted, post.Routed{Partition: m.job.partition, Choice: m.choice})
		var gone *serviceerror.NotFound
		if err != nil && !errors.As(err, &gone) {
			return fmt.Errorf("telling %s that its job waits on %s: %w", m.job.label, m.choice.Queue, err)
		}
		mu.Lock()
		b.told[m.job.id()] = m.choice
		mu.Unlock()
		return nil
	})
}

// update changes the options of an activity that waits. A job that was begun in the meantime is not disturbed by it.
func (b *Balance) update(ctx context.Context, m move) (found bool, err error) {
	request := &workflowservice.UpdateActivityOptionsRequest{
		Namespace:       b.Fleet.Namespace,
		Execution:       &commonpb.WorkflowExecution{WorkflowId: m.job.workflow, RunId: m.job.run},
		Activity:        &workflowservice.UpdateActivityOptionsRequest_Id{Id: m.job.activity},
		ActivityOptions: &activitypb.ActivityOptions{},
		UpdateMask:      &fieldmaskpb.FieldMask{},
	}
	if m.changesQueue() {
		request.ActivityOptions.TaskQueue = &taskqueuepb.TaskQueue{Name: m.choice.Queue}
		request.UpdateMask.Paths = append(request.UpdateMask.Paths, "task_queue.name")
	}
	if m.raises() {
		request.ActivityOptions.Priority = &commonpb.Priority{PriorityKey: int32(m.choice.Priority)}
		request.UpdateMask.Paths = append(request.UpdateMask.Paths, "priority.priority_key")
	}
	_, err = b.Temporal.WorkflowService().UpdateActivityOptions(ctx, request)
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &gone): // it has ended since
		return false, nil
	case err != nil:
		return false, fmt.Errorf("moving %s to %s: %w", m.job.label, m.choice.Queue, err)
	}
	return true, nil
}

// report says, once per cause, that jobs wait which nobody can take, and when that is over.
func (b *Balance) report(moves []move, seen *Balanced) {
	first := map[string]string{}
	for _, m := range moves {
		if m.choice.Waits == "" || m.job.trial {
			continue // whoever tries something out is told by the command
		}
		if seen.Stuck == nil {
			seen.Stuck = map[string]int{}
		}
		if seen.Stuck[m.choice.Waits]++; first[m.choice.Waits] == "" {
			first[m.choice.Waits] = m.job.label
		}
	}
	for cause, jobs := range seen.Stuck {
		if b.stuck[cause]++; b.stuck[cause] == stuckLooks {
			b.Log.Error("nobody can take jobs that wait", "why", cause, "jobs", jobs, "first", first[cause])
		}
	}
	for cause, looks := range b.stuck {
		if seen.Stuck[cause] > 0 {
			continue
		}
		if looks >= stuckLooks {
			b.Log.Info("no job waits any more because of this", "why", cause)
		}
		delete(b.stuck, cause)
	}
}

// forget drops what is known of jobs that do not wait any more.
func (b *Balance) forget(waiting []waitingJob) {
	waits := map[string]bool{}
	for _, job := range waiting {
		waits[job.id()] = true
	}
	maps.DeleteFunc(b.told, func(id string, _ post.Choice) bool { return !waits[id] })
	b.inputsMu.Lock() // alerts read jobs, too
	defer b.inputsMu.Unlock()
	maps.DeleteFunc(b.inputs, func(id string, _ post.Job) bool { return !waits[id] })
}
