package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/webhook"
	"posthaste/workflows"
)

// AlertsClient is what watching takes from Temporal's client.
type AlertsClient interface {
	RecordActivityHeartbeat(ctx context.Context, taskToken []byte, details ...any) error
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	SignalWorkflow(ctx context.Context, workflowID, runID, signalName string, arg any) error
}

// Alerts judges how things stand, again and again, and tells people of what needs them: in the log and by webhooks, once per cause. The
// configuration of the daemon that runs it counts.
type Alerts struct {
	Read     func(context.Context) (post.Outlook, error) // Outlooks.Read
	Temporal AlertsClient
	Hooks    []webhook.Hook
	Limits   post.Limits
	Repeat   time.Duration // after which a webhook is reminded of what is open; 0: never
	Log      *slog.Logger
	Every    time.Duration // between two looks; 0 means 5 s
	Pause    time.Duration // before a webhook is tried again for the first time; 0 means 5 s

	// Observe sees every look, with the alerts that are open, for metrics; and a zero outlook (its At is zero) when this daemon watches no
	// longer. nil: nobody does.
	Observe func(post.Outlook, []post.OpenAlert)

	watching sync.Mutex // one attempt at a time: one that Temporal has given up goes on for some seconds beside the next
}

const (
	watchEvery = 5 * time.Second
	// watchBeats is below the half of the heartbeat timeout.
	watchBeats = 3 * time.Second
	// lastWords is how long a stopping daemon waits for webhooks that are just being told: what it does not note is told again.
	lastWords = 2 * time.Second
)

// Watched is what the heartbeat of WatchAlerts says.
type Watched struct {
	At      time.Time      `json:"at"` // of the last look that was complete
	Book    post.AlertBook `json:"book"`
	Hooks   []HookState    `json:"hooks"`
	Problem string         `json:"problem,omitempty"` // why the last look was not complete
	Seconds float64        `json:"seconds"`           // that it took
}

// HookState is how a webhook is doing.
type HookState struct {
	Name    string       `json:"name"`
	Kind    webhook.Kind `json:"kind"`
	Host    string       `json:"host"`
	Problem string       `json:"problem,omitempty"` // why it could not be told; empty: all is well
	Since   time.Time    `json:"since,omitzero"`    // of the problem
}

// WatchAlerts watches until its context ends.
func (a *Alerts) WatchAlerts(ctx context.Context, book post.AlertBook) error {
	a.watching.Lock()
	defer a.watching.Unlock()
	if a.Observe != nil {
		defer a.Observe(post.Outlook{}, nil)
	}
	w := a.begin(ctx, book)
	stop := w.beatOn(ctx)
	defer stop()
	every := a.Every
	if every == 0 {
		every = watchEvery
	}
	for {
		began := time.Now()
		if err := w.round(ctx); err != nil {
			return w.leave(ctx, err)
		}
		next := time.After(pauseAfter(every, time.Since(began)))
		for waiting := true; waiting; {
			select {
			case told := <-w.answers:
				w.hear(told)
				if _, err := w.keep(ctx); err != nil {
					return w.leave(ctx, err)
				}
			case <-next:
				waiting = false
			case <-w.lost:
				return w.leave(ctx, w.lostBy)
			case <-activity.GetWorkerStopChannel(ctx):
				return w.leave(ctx, errors.New("the daemon is stopping; another one goes on watching"))
			case <-ctx.Done():
				return w.leave(ctx, ctx.Err())
			}
		}
	}
}

// errLost ends an attempt that Temporal has given up: another one watches, or nobody wants it.
var errLost = errors.New("this attempt timed out, and another one watches")

// watch is one attempt of WatchAlerts.
type watch struct {
	*Alerts
	token    []byte
	workflow workflow.Execution
	tellers  []*teller
	answers  chan told
	lost     chan struct{} // closed when Temporal does not want this attempt any more
	lostBy   error         // why; valid then
	losing   sync.Once
	book     post.AlertBook
	kept     int // the Count that the workflow was told last

	mu   sync.Mutex
	last Watched // what the next heartbeat says
}

// begin takes up what was remembered: by the attempt before, by the workflow, or by its memo, whoever knows most.
func (a *Alerts) begin(ctx context.Context, book post.AlertBook) *watch {
	info := activity.GetInfo(ctx)
	w := &watch{Alerts: a, token: info.TaskToken, workflow: info.WorkflowExecution, answers: make(chan told, len(a.Hooks)), lost: make(chan struct{})}
	var before Watched
	if activity.HasHeartbeatDetails(ctx) && activity.GetHeartbeatDetails(ctx, &before) == nil && before.Book.Count >= book.Count {
		book = before.Book
	}
	w.kept = -1
	if shown, err := a.shown(ctx, info.WorkflowExecution); err == nil && shown.Count > book.Count {
		book = shown // it was reset, or what it heard last came after this was issued
	}
	names := make([]string, len(a.Hooks))
	for i, hook := range a.Hooks {
		names[i] = hook.Name
		w.tellers = append(w.tellers, &teller{hook: hook})
	}
	w.book = book.Forget(names)
	a.Log.Info("watching for alerts", "open", len(w.book.Open()), "webhooks", len(a.Hooks))
	w.note(func(*Watched) {})
	return w
}

// shown is the book in the workflow's memo.
func (a *Alerts) shown(ctx context.Context, of workflow.Execution) (book post.AlertBook, err error) {
	limited, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	described, err := a.Temporal.DescribeWorkflowExecution(limited, of.ID, of.RunID)
	if err != nil {
		return book, err
	}
	payload := described.GetWorkflowExecutionInfo().GetMemo().GetFields()[workflows.MemoAlerts]
	if payload == nil {
		return book, nil
	}
	err = converter.GetDefaultDataConverter().FromPayload(payload, &book)
	return book, err
}

// round is one look, and what follows from it.
func (w *watch) round(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, passWithin)
	defer cancel()
	began := time.Now()
	outlook, err := w.Read(limited)
	took := time.Since(began).Seconds()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.Log.Warn("looking for alerts", "error", err)
		w.note(func(s *Watched) { s.Problem, s.Seconds = err.Error(), took })
		return w.keepAndTell(ctx) // what is known: an Alertmanager that hears nothing takes it for over
	}
	if outlook.Problem != "" {
		w.Log.Warn("looking for alerts", "error", outlook.Problem)
	}
	after, raised, over := w.book.Look(post.Judge(outlook, w.Limits), outlook, w.Limits)
	w.book = after
	w.log(raised, over)
	w.note(func(s *Watched) {
		s.Problem, s.Seconds = outlook.Problem, took
		if s.Problem == "" {
			s.At = outlook.At
		}
	})
	if w.Observe != nil {
		w.Observe(outlook, w.book.Open())
	}
	return w.keepAndTell(ctx)
}

// keepAndTell tells webhooks what is due, if Temporal has heard what is known.
func (w *watch) keepAndTell(ctx context.Context) error {
	heard, err := w.keep(ctx)
	if heard {
		w.tell(ctx)
	}
	return err
}

// log tells whoever reads logs.
func (w *watch) log(raised, over []post.OpenAlert) {
	for _, a := range raised {
		say := w.Log.Warn
		if a.Severity == post.Critical {
			say = w.Log.Error
		}
		say("alert: "+a.Summary, "kind", a.Kind, "details", a.Details, "mend", a.Mend)
	}
	for _, a := range over {
		w.Log.Info("alert is over: "+a.Summary, "kind", a.Kind)
	}
}

// note changes what the next heartbeat says.
func (w *watch) note(change func(*Watched)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.last)
	w.last.Book, w.last.Hooks = w.book.Fit(), w.states()
}

// states are those of the webhooks.
func (w *watch) states() []HookState {
	states := make([]HookState, len(w.tellers))
	for i, t := range w.tellers {
		states[i] = HookState{Name: t.hook.Name, Kind: t.hook.Kind, Host: t.hook.URL.String(), Problem: t.problem, Since: t.since}
	}
	return states
}

// keep puts what was told where it outlives this daemon. It says whether Temporal has heard it: while it does not answer, another daemon
// may watch already, and this one tells nobody anything. An error ends the attempt.
func (w *watch) keep(ctx context.Context) (heard bool, err error) {
	w.note(func(*Watched) {})
	if heard, err = w.beat(ctx); !heard {
		return false, err
	}
	w.report(ctx)
	return true, nil
}

// report tells the workflow of what has changed.
func (w *watch) report(ctx context.Context) {
	if w.kept == w.book.Count {
		return
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	err := w.Temporal.SignalWorkflow(limited, w.workflow.ID, w.workflow.RunID, workflows.SignalAlerts, w.book.Fit())
	if err != nil {
		w.Log.Warn("the workflow of alerts could not be told of a change; it is told again", "error", err)
		return
	}
	w.kept = w.book.Count
}

// beatOn beats beside the looks, which may take long.
func (w *watch) beatOn(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(watchBeats)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_, _ = w.beat(ctx) // it closes lost if that is so
			case <-done:
				return
			}
		}
	})
	return func() { close(done); beating.Wait() }
}

// beat tells Temporal directly, not at the SDK's own pace: what a heartbeat has not brought there is told twice when this daemon dies.
func (w *watch) beat(ctx context.Context) (heard bool, err error) {
	w.mu.Lock()
	details := w.last
	w.mu.Unlock()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	err = w.Temporal.RecordActivityHeartbeat(limited, w.token, details)
	var gone *serviceerror.NotFound
	var cancelled *temporal.CanceledError
	switch {
	case errors.As(err, &gone):
		return false, w.lose(errLost)
	case errors.As(err, &cancelled):
		return false, w.lose(err)
	case err != nil:
		w.Log.Warn("Temporal does not answer the heartbeat of whoever watches for alerts", "error", err)
		return false, nil
	}
	return true, nil
}

// lose ends the attempt.
func (w *watch) lose(why error) error {
	w.losing.Do(func() {
		w.lostBy = why
		close(w.lost)
	})
	return why
}

// leave is the end of an attempt. What webhooks are being told just now is noted, so that the next one does not tell it again, unless the
// next one watches already.
func (w *watch) leave(ctx context.Context, why error) error {
	if errors.Is(why, errLost) {
		return why
	}
	limit := time.NewTimer(lastWords)
	defer limit.Stop()
	for late := false; !late && w.busy(); {
		select {
		case told := <-w.answers:
			w.hear(told)
		case <-limit.C:
			late = true
			w.Log.Warn("a webhook was being told when this daemon stopped; it may be told again")
		}
	}
	w.note(func(*Watched) {})
	if _, err := w.beat(ctx); errors.Is(err, errLost) {
		return err
	}
	w.report(ctx)
	return fmt.Errorf("watching for alerts: %w", why)
}
