package workflows

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// show puts how faulty sectors stand where people look.
func (r *recovery) show(ctx workflow.Context) {
	r.state.Problem = strings.Join(r.problems, "; ")
	r.state.Waits = slices.Clone(r.Waits)
	r.state.Declared = slices.Clone(r.Declared)
	slices.SortFunc(r.state.Declared, func(a, b post.Declaration) int {
		return cmp.Or(cmp.Compare(a.Cutoff, b.Cutoff), cmp.Compare(a.Number, b.Number))
	})
	short := r.state.Short()
	// Most looks find what the one before did: that the memo is not written again then keeps the history short.
	if seen := recoveryMarkdown(unstamped(short)); seen != r.shown {
		r.shown = seen
		if err := workflow.UpsertMemo(ctx, map[string]any{MemoRecovery: short}); err != nil {
			workflow.GetLogger(ctx).Error("setting the memo", "miner", post.MinerName(r.Miner), "error", err)
		}
	}
	workflow.SetCurrentDetails(ctx, recoveryMarkdown(short))
}

// unstamped is a state without what changes at every look.
func unstamped(s post.RecoveryState) post.RecoveryState {
	s.Head, s.At = 0, time.Time{}
	return s
}

// recoveryMarkdown is what the Web UI shows as a RecoveryWorkflow's current details.
func recoveryMarkdown(s post.RecoveryState) string {
	var b strings.Builder
	put := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...)) }
	name := post.MinerName(s.Miner)
	switch {
	case s.Idle != "":
		put("**%s**: nothing is looked at, since %s.\n", name, cell(s.Idle))
	case s.Problem != "" && s.Head == 0:
		put("**%s**: %s.\n", name, cell(s.Problem))
	default:
		put("**%s**: %s, %d declared recovered, as of epoch %d (%s).\n", name, post.Count(s.Faulty, "faulty sector"), s.Recovering, s.Head, s.At.UTC().Format(time.DateTime))
	}
	if s.Off {
		put("\nNothing is declared recovered: `recover = false`.\n")
	}
	if s.Blocked.Any() {
		put("\nNothing can be declared recovered: %s.\n", s.Blocked)
	}
	if s.Problem != "" && s.Head != 0 {
		put("\nNot all could be looked at: %s.\n", cell(s.Problem))
	}
	if len(s.Declared) > 0 {
		put("\n| declared recovered | cutoff | message | |\n|--|--|--|--|\n")
	}
	for _, d := range s.Declared {
		put("| %s | %d | %s %s | %s |\n", cell(d.String()), d.Cutoff, d.State, d.Message, cell(d.Reason))
	}
	if len(s.Waits) > 0 {
		put("\n| cannot be declared | again at epoch |\n|--|--|\n")
	}
	for _, w := range s.Waits {
		put("| %s | %d |\n", cell(w.String()), w.Until)
	}
	if s.Cut {
		put("\nThere is more than is shown here.\n")
	}
	put("\n`posthaste proving recover --miner %s` looks at once.\n", name)
	return b.String()
}
