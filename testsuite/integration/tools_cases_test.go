package integration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"posthaste/post"
	"posthaste/workflows"
)

// toolCase is something that an operator does to one deadline at one moment.
type toolCase struct {
	name    string
	watched bool   // the miner's workflow issues it, as often as it is needed
	fails   bool   // its card fails it at first, until it is out of tries
	held    bool   // its messages do not land until the operator has done it
	after   bool   // it is done when the deadline is completed
	only    string // the program that has the command; empty: both
	same    bool   // it makes no other run
	do      func(ctx context.Context, t *testing.T, p tool, d post.Deadline)
	// How often a card begins a proof of the deadline's one partition. Another run that comes to the worker that makes it, or has it still, is
	// given that.
	least, most int
}

// proofAt is the event after which the workflow had its proof issued: a reset to it has the proof made again.
func proofAt(ctx context.Context, t *testing.T, p tool, id string) int64 {
	t.Helper()
	var before int64
	for _, event := range historyOf(ctx, t, p.rig, id, "").GetEvents() {
		switch event.GetEventType() {
		case enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
			before = event.GetEventId()
		case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			if event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == workflows.ActivityGenerateWindowPoSt {
				return before
			}
		}
	}
	require.FailNow(t, "no proof was issued", id)
	return 0
}

func resetsTo(to string, times int) func(context.Context, *testing.T, tool, post.Deadline) {
	return func(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
		p.reset(ctx, t, d.WorkflowID(), to)
		for range times - 1 {
			// The run that a reset makes cannot be reset before its first task is done.
			eventually(ctx, t, "it can be reset again", func() bool { return p.tryReset(ctx, d.WorkflowID(), to) == nil })
		}
	}
}

func resetsToTheProof(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	p.resetTo(ctx, t, d.WorkflowID(), proofAt(ctx, t, p, d.WorkflowID()))
}

func terminates(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	p.terminate(ctx, t, d.WorkflowID())
}

func cancels(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	p.workflow(ctx, t, "cancel", d.WorkflowID())
}

// looks has everything shown that there is to see of a deadline.
func looks(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
	id := d.WorkflowID()
	described := p.workflow(ctx, t, "describe", id)
	for _, text := range []string{workflows.NameDeadlineWorkflow, "GenerateWindowPoSt", "PostMiner", "Proving"} {
		assert.Contains(t, described, text)
	}
	stack := p.workflow(ctx, t, "stack", id)
	assert.Contains(t, stack, "workflows.(*deadline).prove", "who has the code sees where each partition is")
	query := fmt.Sprintf(`PostMiner = "%s" AND PostState = "Proving" AND WorkflowType = "DeadlineWorkflow"`, post.MinerName(d.Miner))
	eventually(ctx, t, p.name+" lists "+id, func() bool { return strings.Contains(p.run(ctx, t, "workflow", "list", "--query", query), id) })
	assert.NotContains(t, p.run(ctx, t, "workflow", "list", "--query", `PostMiner = "f09999"`), "wdpost-")
	show := p.workflow(ctx, t, "show", id)
	for _, text := range []string{"WorkflowTaskCompleted", "ActivityTaskScheduled"} {
		assert.Contains(t, show, text)
	}
}

// activity does something to the deadline's pending proof.
func activity(commands ...string) func(context.Context, *testing.T, tool, post.Deadline) {
	return func(ctx context.Context, t *testing.T, p tool, d post.Deadline) {
		for _, command := range commands {
			p.run(ctx, t, "activity", command, "--workflow-id", d.WorkflowID(), "--activity-id", "prove-0-1")
		}
	}
}

const last, first = "LastWorkflowTask", "FirstWorkflowTask"

var toolCases = []toolCase{
	{name: "looked at while proving", same: true, do: looks, least: 1, most: 1},
	{name: "reset to the last task while proving", do: resetsTo(last, 1), least: 1, most: 2},
	{name: "reset to the first task while proving", do: resetsTo(first, 1), least: 1, most: 2},
	{name: "reset to an event while proving", do: resetsToTheProof, least: 1, most: 2},
	{name: "reset twice in a row while proving", do: resetsTo(last, 2), least: 1, most: 3},
	{name: "terminated while proving", do: terminates, watched: true, least: 1, most: 2},
	{name: "cancelled while proving", do: cancels, watched: true, least: 1, most: 2},

	{name: "reset to the last task when out of tries", fails: true, do: resetsTo(last, 1), least: 2, most: 2},
	{name: "reset to the first task when out of tries", fails: true, do: resetsTo(first, 1), least: 2, most: 2},
	{name: "reset to an event when out of tries", fails: true, do: resetsToTheProof, least: 2, most: 2},

	{name: "reset to the last task while submitting", held: true, do: resetsTo(last, 1), least: 1, most: 1},
	{name: "reset twice in a row while submitting", held: true, do: resetsTo(last, 2), least: 1, most: 1},
	{name: "reset to the first task while submitting", held: true, do: resetsTo(first, 1), least: 1, most: 2},
	{name: "reset to an event while submitting", held: true, do: resetsToTheProof, least: 1, most: 2},
	{name: "terminated while submitting", held: true, watched: true, do: terminates, least: 1, most: 2},

	{name: "reset to the last task when completed", after: true, do: resetsTo(last, 1), least: 1, most: 1},
	{name: "reset to the first task when completed", after: true, do: resetsTo(first, 1), least: 1, most: 1},
	{name: "reset to an event when completed", after: true, do: resetsToTheProof, least: 1, most: 1},

	{name: "its activity reset while proving", only: "temporal", same: true, do: activity("reset"), least: 1, most: 2},
	{name: "its activity paused and let go on while proving", only: "temporal", same: true, do: activity("pause", "unpause"), least: 1, most: 2},
}
