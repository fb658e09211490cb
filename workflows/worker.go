package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// WorkerWorkflow keeps what is known of one worker and what operators want of it, beyond its process: its memo is what routing and lists
// read. The worker reports to it by signal, operators give orders by Update, and it hands those to the worker. One activity on the
// worker is always pending: its heartbeats say what the worker does.
func WorkerWorkflow(ctx workflow.Context, state post.WorkerState) error {
	w := &workerRun{WorkerState: state, dirty: true, ordered: 1}
	if err := w.listen(ctx); err != nil {
		return err
	}
	workflow.Go(ctx, w.paint)
	workflow.Go(ctx, w.tell)
	workflow.Go(ctx, w.attend)
	err := workflow.Await(ctx, func() bool {
		return full(ctx) && (w.told == w.ordered || crowded(ctx)) && workflow.AllHandlersFinished(ctx)
	})
	if err != nil {
		return err
	}
	w.drainSignals()
	return workflow.NewContinueAsNewError(ctx, WorkerWorkflow, w.WorkerState)
}

// crowded says that a run's history must not wait any longer for its end: the server ends a workflow that has 51,200 events, and the
// fences with it. A worker that crashes every second is told its orders again each time, and is never there to take them.
func crowded(ctx workflow.Context) bool {
	return workflow.GetInfo(ctx).GetCurrentHistoryLength() > 20_000
}

// workerRun is the state of one run of a WorkerWorkflow.
type workerRun struct {
	post.WorkerState
	reports workflow.ReceiveChannel
	fences  workflow.ReceiveChannel
	dirty   bool // there is something new to show

	// Orders are numbered, and delivered one after the other: an old one that is tried again must not undo a newer one. The first is
	// what stood when the run began.
	ordered   int    // the latest
	told      int    // the latest whose delivery has ended
	unreached string // why that failed, if it did
	drain     int    // the latest one that says to drain; it concerns nobody any more when it has been delivered
}

// listen takes the worker's signals and operators' updates.
func (w *workerRun) listen(ctx workflow.Context) error {
	w.reports = workflow.GetSignalChannel(ctx, SignalReport)
	w.fences = workflow.GetSignalChannel(ctx, SignalFence)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var report post.WorkerReport
			if !w.reports.Receive(ctx, &report) {
				return
			}
			w.report(report)
		}
	})
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var fence post.Fence
			if !w.fences.Receive(ctx, &fence) {
				return
			}
			w.fence(fence)
		}
	})
	return errors.Join(
		workflow.SetUpdateHandlerWithOptions(ctx, UpdatePause, w.pause, workflow.UpdateHandlerOptions{
			Description: "take nothing new; what runs goes on. Argument: why"}),
		workflow.SetUpdateHandlerWithOptions(ctx, UpdateResume, w.resume, workflow.UpdateHandlerOptions{
			Description: "take work again after a pause"}),
		workflow.SetUpdateHandlerWithOptions(ctx, UpdateDrain, w.drainWorker, workflow.UpdateHandlerOptions{
			Description: "finish what runs, then end the worker's process"}),
		workflow.SetUpdateHandlerWithOptions(ctx, UpdateUnfence, w.unfence, workflow.UpdateHandlerOptions{
			Description: "use a fenced card again. Argument: the card; empty: all of them", Validator: w.validateUnfence}),
	)
}

// report takes in what the worker says of itself. Another instance is a new process: it has read its orders, but maybe before the latest
// of them; and it does not drain because the one before it did.
func (w *workerRun) report(r post.WorkerReport) {
	if w.superseded(r) {
		return
	}
	if r.Instance != w.Report.Instance {
		w.drain = 0
		w.order()
	} else {
		r.Draining = r.Draining || w.Report.Draining // a report may be older than the order to drain
	}
	w.Report, w.dirty = r, true
	w.Orders.Fences = slices.DeleteFunc(w.Orders.Fences, func(f post.Fence) bool { return !slices.Contains(w.cards(), f.Card) })
}

// superseded says whether a report is of a process that ends, while another one has reported: who takes jobs is the other one. Which of the
// two began later says nothing: clocks of machines differ, and are set back.
func (w *workerRun) superseded(r post.WorkerReport) bool {
	return r.Draining && r.Instance != w.Report.Instance
}

// fence takes a card out of use. The worker has done so already; it is told all the same, in case an order from before undid it.
func (w *workerRun) fence(f post.Fence) {
	f.Card = w.short(f.Card)
	w.Orders.Fences = append(w.without(f.Card), f)
	w.order()
}

// without are the fences of the other cards.
func (w *workerRun) without(card string) []post.Fence {
	return slices.DeleteFunc(slices.Clone(w.Orders.Fences), func(f post.Fence) bool { return f.Card == card })
}

// cards are the names of the cards that the worker has.
func (w *workerRun) cards() []string {
	var names []string
	for _, g := range w.Report.Groups {
		for _, c := range g.Cards {
			names = append(names, c.Name)
		}
	}
	return names
}

// short is a card's name within its worker; people may write worker/card.
func (w *workerRun) short(card string) string { return strings.TrimPrefix(card, w.Report.Name+"/") }

func (w *workerRun) pause(ctx workflow.Context, reason string) (Told, error) {
	if reason == "" {
		reason = "by an operator"
	}
	w.Orders.Paused = reason
	return w.deliver(ctx)
}

func (w *workerRun) resume(ctx workflow.Context) (Told, error) {
	w.Orders.Paused = ""
	return w.deliver(ctx)
}

// drainWorker concerns the process that runs now: if it is not reached, nothing is kept of it.
func (w *workerRun) drainWorker(ctx workflow.Context) (Told, error) {
	w.drain = w.ordered + 1
	instance := w.Report.Instance
	told, err := w.deliver(ctx)
	switch {
	case err != nil || !told.Reached:
	case w.Report.Instance != instance:
		told.Reached, told.Why = false, fmt.Sprintf("worker %s was started again meanwhile", w.Report.Name)
	default:
		w.Report.Draining, w.dirty = true, true
	}
	return told, err
}

func (w *workerRun) unfence(ctx workflow.Context, card string) (Told, error) {
	if card == "" {
		w.Orders.Fences = nil
	} else {
		w.Orders.Fences = w.without(w.short(card))
	}
	return w.deliver(ctx)
}

// validateUnfence refuses a card that there is not, so that nobody believes a typo to have helped.
func (w *workerRun) validateUnfence(card string) error {
	if card == "" || slices.Contains(w.cards(), w.short(card)) {
		return nil
	}
	for _, f := range w.Orders.Fences {
		if f.Card == w.short(card) {
			return nil
		}
	}
	return fmt.Errorf("worker %s has no card %q; it has: %s", w.Report.Name, card, strings.Join(w.cards(), ", "))
}

// order gives the orders that stand now a new number, to be delivered.
func (w *workerRun) order() int {
	w.ordered++
	w.dirty = true
	return w.ordered
}

// deliver has the worker told the orders that stand now, and returns what became of it.
func (w *workerRun) deliver(ctx workflow.Context) (Told, error) {
	number := w.order()
	if err := workflow.Await(ctx, func() bool { return w.told >= number }); err != nil {
		return Told{}, err
	}
	return Told{Reached: w.unreached == "", Why: w.unreached, Orders: w.Orders}, nil
}

// tell delivers orders, the latest ones each time. What a worker does not take now it finds in the memo when it starts.
func (w *workerRun) tell(ctx workflow.Context) {
	for workflow.Await(ctx, func() bool { return w.told < w.ordered }) == nil {
		number, in := w.ordered, OrdersInput{Orders: w.Orders, Drain: w.drain > w.told}
		if !in.Drain && w.Report.Draining {
			in.Drain, in.Process = true, w.Report.Instance
		}
		policy := policyOrders.on(WorkerQueue(w.Report.Name))
		err := workflow.ExecuteActivity(policy.apply(ctx, ordersWithin, "orders"), ActivityApplyOrders, in).Get(ctx, nil)
		w.told, w.unreached = number, w.whyUnreached(err)
	}
}

// whyUnreached says in words why orders did not arrive; empty if they did.
func (w *workerRun) whyUnreached(err error) string {
	var timeout *temporal.TimeoutError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &timeout) && timeout.Unwrap() == nil:
		return fmt.Sprintf("worker %s did not answer within %v: it does not run, or cannot reach Temporal", w.Report.Name, ordersWithin)
	default:
		return fmt.Sprintf("worker %s: %v", w.Report.Name, plain(err))
	}
}

// attend keeps an AttendWorker activity pending. It ends when an attempt has run for as long as one may.
func (w *workerRun) attend(ctx workflow.Context) {
	for ctx.Err() == nil {
		policy := policyAttend.on(WorkerQueue(w.Report.Name))
		err := workflow.ExecuteActivity(policy.apply(ctx, 0, w.Report.Name), ActivityAttendWorker, w.Report.Name).Get(ctx, nil)
		if err != nil && ctx.Err() == nil {
			workflow.GetLogger(ctx).Warn("attending a worker ended", "worker", w.Report.Name, "error", plain(err))
		}
		_ = sleep(ctx, time.Second, "before attending the worker again")
	}
}

// drainSignals takes what has come before the run ends, so that nothing is lost to a continue-as-new.
func (w *workerRun) drainSignals() {
	for {
		var report post.WorkerReport
		var fence post.Fence
		switch {
		case w.reports.ReceiveAsync(&report):
			w.report(report)
		case w.fences.ReceiveAsync(&fence):
			w.fence(fence)
		default:
			return
		}
	}
}
