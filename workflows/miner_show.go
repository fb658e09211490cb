package workflows

import (
	"fmt"
	"strings"

	"posthaste/post"
)

// markdown is what the Web UI shows as a MinerWorkflow's current details: whether deadlines are issued, how, and where to look on.
func (s MinerState) markdown() string {
	var b strings.Builder
	put := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...)) }
	name := post.MinerName(s.Miner)
	put("**%s**: **%s**", name, s.State())
	switch {
	case s.Removed != "":
		put(" (%s). No deadline is issued, whatever daemons' files say, until `posthaste miner add %s`.\n", cell(s.Removed), name)
	case s.Paused != "":
		put(" (%s). No new deadline is issued until `posthaste miner resume %s`; those under way go on.\n", cell(s.Paused), name)
	default:
		b.WriteString(". Each deadline gets a workflow at its challenge; the pending activity's heartbeat says which are under way.\n")
	}
	put("\nIts deadlines: `PostMiner = \"%s\" AND WorkflowType = \"%s\"`, those that need somebody: `PostMiner = \"%s\" AND PostState IN (\"%s\", \"%s\")`.\n",
		name, NameDeadlineWorkflow, name, post.StateFailed, post.StateMissed)
	put("\n| setting | value |\n|--|--|\n")
	row := func(name string, value any) { put("| %s | %s |\n", name, cell(fmt.Sprint(value))) }
	row("max_try", s.Settings.MaxTry)
	row("retry_until_close", s.Settings.RetryUntilClose)
	row("submit_confidence", fmt.Sprintf("%d epochs", s.Settings.SubmitConfidence))
	row("submit_reserve", fmt.Sprintf("%d epochs", s.Settings.SubmitReserve))
	row("confidence", fmt.Sprintf("%d epochs", s.Settings.Confidence))
	if s.Settings.Pool != "" {
		row("pool", s.Settings.Pool)
	}
	if s.Settings.Sender != "" {
		row("sender", s.Settings.Sender)
	}
	return b.String()
}
