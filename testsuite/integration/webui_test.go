package integration_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/workers"
)

// What a person sees in Temporal's Web UI, and does there, in a real browser: the list by our search attributes, a deadline while it is
// proven, one that failed and why, and the reset of that one, after which it is posted, once.
func TestWebUI(t *testing.T) {
	t.Parallel()
	ctx := within(t, 6*time.Minute)
	b := newBrowser(ctx, t)
	r := rig.New(t, rig.Options{
		Chain: []string{"--miners", "2", "--epoch", "1s", "--window", "100", "--lookback", "20", "--fault-cutoff", "25", "--lead", "10", "--deadlines", "2",
			"--partitions", "3", "--wide-every", "0"},
		Cards:  1,
		Policy: []string{"max_try = 1", "retry_until_close = false"},
		Before: func(r *rig.Rig) {
			hide(t, filepath.Join(r.Stores()[1].Path, "cache"))
			r.Config.Workers[0].Cards[0] = slowCard(t, r.Dir)
		},
	})
	ui := webUI{b, r}

	proof := waitBoard(ctx, t, r, "f01000", 0, "being proven", func(row boardRow) bool {
		return slices.ContainsFunc(row.Jobs, func(j workers.RunningJob) bool { return j.Started && j.Progress.Card != "" })
	})
	ui.proving(proof.WorkflowID, proof.RunID)
	require.NoError(t, os.Remove(filepath.Join(r.Dir, slowFile)))

	b.rest()
	row := waitBoard(ctx, t, r, "f01001", 0, "out of tries", func(row boardRow) bool {
		return row.Board.State == post.StateFailed && len(row.Board.Partitions) == 3 && row.Board.Partitions[2].State == post.StateFailed
	})
	ui.failed(row)

	mend(t, filepath.Join(r.Stores()[1].Path, "cache"))
	time.Sleep(1500 * time.Millisecond) // stores are listed again at most every second
	ui.reset(ctx, row)
	ui.entities(row)
	b.rest()
	for _, d := range allPosted(ctx, t, r, 2) {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
	}
	ran(ctx, t, r, row.WorkflowID, terminatedRun, completedRun)
	b.open(ui.of(proof.WorkflowID, proof.RunID, "timeline"))
	b.shows("COMPLETED", "CheckDeadline", "Posted")
	b.shot("deadline-timeline")
	b.open(ui.of(proof.WorkflowID, proof.RunID, "user-metadata"))
	b.shows("Posted", "its message is")
	b.shot("deadline-posted")
}

// slowFile has a slowCard wait while it is there.
const slowFile = "slow"

// slowCard is a card that waits before each task, so that a person has the time to look at it, however slow the browser is.
func slowCard(t *testing.T, dir string) rig.Card {
	t.Helper()
	posthaste, err := filepath.Abs("../../bin/posthaste")
	require.NoError(t, err)
	slow, script := filepath.Join(dir, slowFile), filepath.Join(dir, "slow.sh")
	require.NoError(t, os.WriteFile(slow, nil, 0o600))
	text := fmt.Sprintf("#!/bin/sh\nwhile read -r task; do while [ -e '%s' ]; do sleep 0.2; done; printf '%%s\\n' \"$task\"; done | '%s' processor window_post\n", slow, posthaste)
	require.NoError(t, os.WriteFile(script, []byte(text), 0o700))
	return rig.Card{Name: "card0", Bin: script, ReadyTimeout: 30 * time.Second, Keys: []string{"gpu = false"}}
}

// webUI is the Web UI of a rig in a browser.
type webUI struct {
	*browser
	rig *rig.Rig
}

// list is the address of the list of workflows that a query gives.
func (u webUI) list(query string) string {
	return u.rig.UI() + "/namespaces/default/workflows?query=" + url.QueryEscape(query)
}

// of is the address of a tab of one run.
func (u webUI) of(workflowID, runID, tab string) string {
	return fmt.Sprintf("%s/namespaces/default/workflows/%s/%s/%s", u.rig.UI(), url.PathEscape(workflowID), runID, tab)
}

// proving looks at a deadline while it is proven.
func (u webUI) proving(workflowID, runID string) {
	u.t.Helper()
	u.open(u.of(workflowID, runID, "pending-activities"))
	page := u.shows("GenerateWindowPoSt", `"partition": `, `"card": "rig/card0"`, `"phase": "`, `"seconds": `)
	assert.Contains(u.t, page, "Last Heartbeat", "when it was heard of last")
	u.shot("deadline-proving")
	u.open(u.of(workflowID, runID, "user-metadata"))
	u.shows("f01000 deadline 0: 3 partitions", "Challenge 1010, Open 1030, Close 1130", "partition", "Proving", "its queue is wdpost.gpu.")
	u.shot("deadline-details")
	u.open(u.list(`PostMiner = "f01000" AND PostState = "Proving"`))
	u.shows("1 Workflow", workflowID)
}

// failed looks for what needs somebody, as the docs say, and reads why.
func (u webUI) failed(row boardRow) {
	u.t.Helper()
	u.open(u.list(`PostMiner = "f01000" AND PostState = "Failed"`))
	page := u.shows("0 Workflows")
	assert.NotContains(u.t, page, row.WorkflowID, "it is another miner's")
	u.open(u.list(`PostMiner = "f01001" AND PostState = "Failed"`))
	u.shows("1 Workflow", row.WorkflowID)
	u.shot("list-failed")
	u.open(u.of(row.WorkflowID, row.RunID, "user-metadata"))
	u.shows("Failed", "AllSectorsBad", "no store has any of its sectors", "posthaste wdpost reset "+row.Board.Deadline.JobID(0).String())
	u.shot("deadline-failed")
}

// entities looks at what is said for programs, and at the workflows that are not deadlines: each says what it is there for.
func (u webUI) entities(row boardRow) {
	u.t.Helper()
	u.open(u.of(row.WorkflowID, row.RunID, "memo"))
	u.shows("AllSectorsBad", "board")
	u.open(u.of(row.WorkflowID, row.RunID, "search-attributes"))
	u.shows("PostDeadline", "PostMiner", "PostState")
	for id, says := range map[string][]string{
		"miner-f01000": {"f01000: Watching", "max_try"},
		"worker-rig":   {"rig on", "card0", "wdpost.gpu."},
		"fleet":        {"moves jobs that wait"},
	} {
		description, err := u.rig.Client().DescribeWorkflowExecution(u.ctx, id, "")
		require.NoError(u.t, err, id)
		u.open(u.of(id, description.GetWorkflowExecutionInfo().GetExecution().GetRunId(), "user-metadata"))
		u.shows(says...)
		if id == "worker-rig" {
			u.shot("worker")
		}
	}
}

// reset resets a workflow to its last workflow task, by the menu.
func (u webUI) reset(ctx context.Context, row boardRow) {
	u.t.Helper()
	u.open(u.of(row.WorkflowID, row.RunID, "timeline"))
	u.shows(row.WorkflowID, "More Actions")
	u.click("button", "More Actions")
	u.click("[role=menuitem]", "Reset")
	u.shows("Choose an Event to reset to")
	u.click("#reset-confirmation-modal [data-testid=workflow-reset-event-id-select-button]", "")
	u.click("#reset-event-id-select [role=option]", "")
	u.shot("reset")
	u.click("#reset-confirmation-modal [data-testid=confirm-modal-button]", "")
	eventually(ctx, u.t, "a new run after the reset", func() bool { return len(runsOf(ctx, u.t, u.rig, row.WorkflowID)) == 2 })
}
