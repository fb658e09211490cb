package workflows

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// paint shows changes, several of one workflow task at once.
func (w *workerRun) paint(ctx workflow.Context) {
	for workflow.Await(ctx, func() bool { return w.dirty }) == nil {
		w.dirty = false
		w.show(ctx)
	}
}

// show puts the state where routing, lists and people look.
func (w *workerRun) show(ctx workflow.Context) {
	logger := workflow.GetLogger(ctx)
	if err := workflow.UpsertTypedSearchAttributes(ctx, temporal.NewSearchAttributeKeyKeyword(AttributeState).ValueSet(w.state())); err != nil {
		logger.Error("setting the state attribute", "worker", w.Report.Name, "error", err)
	}
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoWorker: w.WorkerState}); err != nil {
		logger.Error("setting the memo", "worker", w.Report.Name, "error", err)
	}
	workflow.SetCurrentDetails(ctx, w.markdown())
}

// state is the search attribute's value.
func (w *workerRun) state() string {
	switch {
	case w.Report.Draining:
		return "Draining"
	case w.Orders.Paused != "":
		return "Paused"
	}
	return "Running"
}

// markdown is what the Web UI shows as the workflow's current details: the cards, the queues that they poll, and what is wrong.
func (w *workerRun) markdown() string {
	var b strings.Builder
	put := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...)) }
	r := w.Report
	put("**%s** on %s, version %s, since %s: **%s**", r.Name, r.Host, r.Version, r.Started.UTC().Format(time.RFC3339), w.state())
	if w.Orders.Paused != "" {
		put(" (paused: %s)", cell(w.Orders.Paused))
	}
	fences := map[string]post.Fence{}
	for _, f := range w.Orders.Fences {
		fences[f.Card] = f
	}
	b.WriteString("\n\n| card | device | CPUs | places | weight | fenced |\n|--|--|--|--|--|--|\n")
	for _, g := range r.Groups {
		for _, c := range g.Cards {
			fenced := ""
			if f, is := fences[c.Name]; is {
				fenced = fmt.Sprintf("%s: %s", f.At.UTC().Format(time.RFC3339), f.Reason)
			}
			put("| %s | %s | %s | %d | %d | %s |\n", cell(c.Name), cell(cmp.Or(c.Device, "CPU")), cell(c.CPUs), c.Places, max(c.Weight, 1), cell(fenced))
		}
	}
	b.WriteString("\n| queue | places | pool | takes | stores |\n|--|--|--|--|--|\n")
	for _, g := range r.Groups {
		put("| %s | %d | %s | %s | %s |\n", cell(g.Queue), g.Slots, cell(g.Pool), cell(takes(g.Admits)), cell(strings.Join(g.Stores, ", ")))
	}
	if len(r.LostStores) > 0 {
		b.WriteString("\n| store that cannot be read | path | why |\n|--|--|--|\n")
		for _, s := range r.LostStores {
			put("| %s | %s | %s |\n", cell(s.Name), cell(s.Path), cell(s.Reason))
		}
	}
	return b.String()
}

// cell keeps text from elsewhere from ending its cell or its row.
var cell = strings.NewReplacer("|", "/", "\r", "", "\n", " ").Replace

// takes says in words which jobs are admitted.
func takes(a post.Admits) string {
	var rules []string
	for _, r := range a.Rules {
		rule := "any miner"
		if len(r.Miners) > 0 {
			var miners []string
			for _, m := range r.Miners {
				miners = append(miners, post.MinerName(m))
			}
			rule = strings.Join(miners, ", ")
		}
		for i, size := range r.Sizes {
			rule += map[bool]string{true: " with sectors of ", false: ", "}[i == 0] + size.ShortString()
		}
		rules = append(rules, rule)
	}
	text := cmp.Or(strings.Join(rules, "; "), "any miner")
	if a.MaxSize > 0 {
		text += "; no sectors above " + a.MaxSize.ShortString()
	}
	return text
}
