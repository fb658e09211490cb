package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// Steered is the worker's process, as its orders see it.
type Steered interface {
	// Apply makes orders hold: pauses, resumes, fences, lifts fences, drains. It returns when they do.
	Apply(ctx context.Context, in workflows.OrdersInput) error
	// Now is what the worker is doing.
	Now() post.WorkerNow
}

// WorkerOrders is what a WorkerWorkflow asks of its worker.
type WorkerOrders struct {
	Worker   Steered
	Temporal Attempts
	Log      *slog.Logger
	Stopping <-chan struct{} // closed when the process ends; nil: never
	Every    time.Duration   // between heartbeats; 0 means 2 s
	Doubt    func()          // may be nil; called when the workflow may not know this process: see AttendWorker
}

// nowEvery is how old what people see of a worker is at most.
const nowEvery = 2 * time.Second

// AttendWorker says in its heartbeats what the worker is doing, as long as the worker runs, so that it can be read while no daemon
// runs. When the worker stops it fails, for the next process of the same name to go on at once. The heartbeats go to Temporal directly:
// the SDK would hold most of them back, and cancel this after a short outage.
//
// Whoever attends is the worker, for everybody. When an attempt begins, another process of this name may have been the worker until now; when
// nobody listens to one any more, the workflow may have been ended or reset. Doubt is called both times.
func (o *WorkerOrders) AttendWorker(ctx context.Context, name string) error {
	every := o.Every
	if every == 0 {
		every = nowEvery
	}
	token := activity.GetInfo(ctx).TaskToken
	lasting := context.WithoutCancel(ctx)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	o.doubt()
	for {
		if err := o.beat(lasting, token, name); err != nil {
			o.doubt()
			return err
		}
		select {
		case <-ticker.C:
		case <-o.Stopping:
			return handedOver(name, errHandOver)
		}
	}
}

func (o *WorkerOrders) doubt() {
	if o.Doubt != nil {
		o.Doubt()
	}
}

// beat sends one heartbeat. Its error says that nobody listens to this attempt any more.
func (o *WorkerOrders) beat(ctx context.Context, token []byte, name string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := o.Temporal.RecordActivityHeartbeat(ctx, token, o.Worker.Now())
	var canceled *temporal.CanceledError
	var notFound *serviceerror.NotFound
	switch {
	case err == nil:
		return nil
	case errors.As(err, &canceled):
		return err
	case errors.As(err, &notFound), errors.Is(err, activity.ErrActivityPaused), errors.Is(err, activity.ErrActivityReset):
		return fmt.Errorf("attending worker %s: Temporal has given this attempt up: %w", name, err)
	default:
		o.Log.Debug("Temporal does not answer a worker's heartbeat", "worker", name, "error", err)
		return nil
	}
}

// ApplyOrders makes orders hold on this worker.
func (o *WorkerOrders) ApplyOrders(ctx context.Context, in workflows.OrdersInput) (err error) {
	defer func() { answer(ctx, o.Temporal, o.Log, nil, err) }()
	if err := o.Worker.Apply(ctx, in); err != nil {
		return fmt.Errorf("applying orders: %w", err)
	}
	o.Log.Info("orders taken", "paused", in.Orders.Paused, "fences", len(in.Orders.Fences), "drain", in.Drain)
	return nil
}

// CardsNow puts the cards of a pool as people see them.
func CardsNow(cards []prover.CardStatus) []post.CardNow {
	now := make([]post.CardNow, len(cards))
	for i, c := range cards {
		now[i] = post.CardNow{
			Name: c.Name, State: string(c.State), PID: c.PID, Device: c.Device, Phase: c.Phase, Seconds: c.Seconds,
			Proofs: c.Proofs, Failures: c.Failures, Restarts: c.Restarts, Error: c.Error,
		}
		for j, job := range c.Jobs {
			if j > 0 {
				now[i].Job += ", "
			}
			now[i].Job += job
		}
	}
	return now
}
