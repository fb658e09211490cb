package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// AlertWorkflow, of which there is one, keeps the activity running that judges deadlines, workers and the node, and tells people of what
// needs them. Daemons make sure that it exists.
//
// What was told lives in three places, since each of them is lost at times: in the activity's heartbeat (a daemon that takes over
// from one that died finds it there), in this workflow's state, which the activity tells of every change (a reset, or the next run), and
// in the memo, where people and `posthaste alert list` look.
func AlertWorkflow(ctx workflow.Context, book post.AlertBook) error {
	a := &alertRun{book: book, changes: workflow.GetSignalChannel(ctx, SignalAlerts)}
	a.show(ctx)
	workflow.Go(ctx, a.listen)
	for !full(ctx) {
		if err := a.watch(ctx); err != nil {
			return err
		}
		if full(ctx) {
			break
		}
		if err := sleep(ctx, time.Second, "before watching again"); err != nil {
			return err
		}
	}
	a.drain()
	return workflow.NewContinueAsNewError(ctx, AlertWorkflow, a.book)
}

// alertRun is the state of one run of an AlertWorkflow.
type alertRun struct {
	book    post.AlertBook
	changes workflow.ReceiveChannel
}

// watch runs the activity until it ends, or until the history is full: then it waits for the end of the activity, so that there are never
// two who tell.
func (a *alertRun) watch(ctx workflow.Context) error {
	watching, stop := workflow.WithCancel(ctx)
	defer stop()
	running := workflow.ExecuteActivity(workflow.WithWaitForCancellation(policyAlerts.apply(watching, 0, "alerts"), true), ActivityWatchAlerts, a.book)
	if err := workflow.Await(ctx, func() bool { return running.IsReady() || full(ctx) }); err != nil {
		return err
	}
	stop()
	err := running.Get(ctx, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !full(ctx) {
		workflow.GetLogger(ctx).Error("watching for alerts ended; it begins again", "error", plain(err))
	}
	return nil
}

// listen takes the changes that the activity tells. Those that come together are shown once: each showing has the whole book in the history.
func (a *alertRun) listen(ctx workflow.Context) {
	for {
		var book post.AlertBook
		if !a.changes.Receive(ctx, &book) {
			return
		}
		newer := a.take(book)
		if a.drain() || newer {
			a.show(ctx)
		}
	}
}

// drain takes the changes that have come, and says whether any was news.
func (a *alertRun) drain() (newer bool) {
	for {
		var book post.AlertBook
		if !a.changes.ReceiveAsync(&book) {
			return newer
		}
		newer = a.take(book) || newer
	}
}

// take keeps a book unless it is older than what is known, and says whether it is another.
func (a *alertRun) take(book post.AlertBook) bool {
	if book.Count < a.book.Count || fmt.Sprintf("%+v", book) == fmt.Sprintf("%+v", a.book) {
		return false
	}
	a.book = book
	return true
}

// show puts the open alerts where people look.
func (a *alertRun) show(ctx workflow.Context) {
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoAlerts: a.book}); err != nil {
		workflow.GetLogger(ctx).Error("setting the memo", "error", err)
	}
	workflow.SetCurrentDetails(ctx, alertsMarkdown(a.book))
}

// shownAlerts bounds the list in the Web UI.
const shownAlerts = 20

// alertsMarkdown is the list of open alerts for the Web UI.
func alertsMarkdown(book post.AlertBook) string {
	open := book.Open()
	if len(open) == 0 {
		return "Nothing needs anybody. The pending activity's heartbeat says what was looked at last."
	}
	var b strings.Builder
	line := strings.NewReplacer("\r", "", "\n", " ").Replace
	for _, alert := range open[:min(shownAlerts, len(open))] {
		b.WriteString(fmt.Sprintf("- **%s** (%s, since %s) %s\n  - mend: %s\n", alert.Kind, alert.Severity, alert.Since.UTC().Format(time.DateTime+" MST"), line(alert.Summary), line(alert.Mend)))
	}
	if more := len(open) - shownAlerts; more > 0 {
		b.WriteString(fmt.Sprintf("- … and %d more\n", more))
	}
	return b.String()
}
