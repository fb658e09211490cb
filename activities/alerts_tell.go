package activities

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"posthaste/post"
	"posthaste/webhook"
)

// There is no queue of messages: what a webhook has to be told is reckoned from what is open and what it was told (post.AlertBook.Due) when it
// can be told something. One that was away for an hour hears what is open then, and not all that came and went.

// teller is a webhook with what is known of it in this attempt.
type teller struct {
	hook      webhook.Hook
	busy      bool      // a request is under way
	notBefore time.Time // it is asked again
	failures  int       // in a row
	problem   string    // of the last one; empty: it went well
	since     time.Time // of the first of them
	refreshed time.Time // an Alertmanager was told all that is open
}

// told is what became of a request.
type told struct {
	teller *teller
	due    post.Due
	all    bool // it was told all that is open
	err    error
}

const (
	firstPause = 5 * time.Second
	lastPause  = 5 * time.Minute // with growing ones between
)

// tell gives each webhook that can be told something what is due. It does not wait for them. It is called right after a heartbeat was
// answered, or not refused at least: whoever lost the attempt tells nobody.
func (w *watch) tell(ctx context.Context) {
	now := time.Now()
	for _, t := range w.tellers {
		if t.busy || now.Before(t.notBefore) {
			continue
		}
		due := w.book.Due(t.hook.Name, t.hook.Kinds, w.repeat(t.hook), now)
		notice := webhook.Notice{Due: due, Now: now}
		all := t.hook.Kind == webhook.Alertmanager && (!due.Empty() || now.Sub(t.refreshed) >= webhook.Refresh)
		if all {
			notice.Refresh = w.known(t.hook, due)
		}
		if due.Empty() && len(notice.Refresh) == 0 {
			continue
		}
		t.busy = true
		go func() {
			// Not ended with the activity, but by its own limit: half a request says nothing of whether it arrived.
			err := t.hook.Send(context.WithoutCancel(ctx), notice)
			w.answers <- told{teller: t, due: due, all: all, err: err}
		}()
	}
}

// repeat is after how long a webhook is reminded. An Alertmanager repeats by its own configuration.
func (w *watch) repeat(hook webhook.Hook) time.Duration {
	if hook.Kind == webhook.Alertmanager {
		return 0
	}
	return w.Repeat
}

// known are the open alerts that a webhook was told of and is not told of now.
func (w *watch) known(hook webhook.Hook, due post.Due) []post.OpenAlert {
	return slices.DeleteFunc(w.book.Open(), func(a post.OpenAlert) bool {
		return len(hook.Kinds) > 0 && !slices.Contains(hook.Kinds, a.Kind) ||
			slices.ContainsFunc(due.Open, func(d post.OpenAlert) bool { return d.Key == a.Key })
	})
}

// hear notes what became of a request.
func (w *watch) hear(of told) {
	t, now := of.teller, time.Now()
	t.busy = false
	if of.err == nil {
		if t.problem != "" {
			w.Log.Info("a webhook can be told of alerts again", "webhook", t.hook.Name, "failures", t.failures)
		}
		t.failures, t.problem, t.since, t.notBefore = 0, "", time.Time{}, time.Time{}
		if of.all {
			t.refreshed = now
		}
		if !of.due.Empty() {
			w.book = w.book.Tell(t.hook.Name, of.due, now)
		}
		return
	}
	if t.problem == "" {
		t.since = now
		w.Log.Error("a webhook cannot be told of alerts; it is tried on", "error", of.err)
	}
	pause := cmp.Or(w.Pause, firstPause)
	for range min(t.failures, 8) {
		pause = min(2*pause, lastPause)
	}
	var refused *webhook.Refused
	if errors.As(of.err, &refused) {
		pause = max(pause, min(refused.RetryAfter, lastPause))
	}
	t.failures++
	t.problem, t.notBefore = of.err.Error(), now.Add(pause)
}

// busy says whether any webhook is being told something.
func (w *watch) busy() bool {
	return slices.ContainsFunc(w.tellers, func(t *teller) bool { return t.busy })
}
