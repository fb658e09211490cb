package post_test

import (
	"strings"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"

	"posthaste/post"
)

func TestMarkdown(t *testing.T) {
	r := post.Result{
		Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: -2399, Challenge: 3280, Open: 3300, Close: 3360}, State: post.StateFailed,
		Partitions: []post.PartitionResult{
			{Index: 0, State: post.StatePosted, Sectors: 2349, Skipped: []post.Skipped{{Sector: 5, Reason: "not\nfound"}, {Sector: 6, Reason: "torn"}}, Tries: 1, Card: "w1/0", Landed: 3305, Message: "bafy1"},
			{Index: 1, State: post.StateFailed, Sectors: 12, Tries: 2, Card: "odd|name/0", Reason: "exit status 1 | stderr:\r\nout of memory\nbye"},
		},
		Reason: "partition 1 needs you",
	}
	text := r.Markdown(0)
	assert.Contains(t, text, "**f01000**, deadline 7 of the period from epoch -2399: **Failed**")
	assert.Contains(t, text, "Challenge 3280, Open 3300, Close 3360\n")
	assert.Contains(t, text, "| 0 | Posted | 2349, without 2 | 1 | w1/0 | 3305 (Open+5) |\n")
	assert.Contains(t, text, "| 1 | Failed | 12 | 2 | odd/name/0 |  |\n")
	assert.Contains(t, text, "**Partition 0** (job `f01000--2399-7-0`)\n\n- left out: sector 5 (not found), sector 6 (torn)\n- its message is bafy1\n")
	assert.Contains(t, text, "- exit status 1 / stderr: out of memory bye\n- when the cause is gone, run it again: `posthaste wdpost reset f01000--2399-7-1`\n")
	assert.True(t, strings.HasSuffix(text, "\npartition 1 needs you\n"))
	rows := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|") {
			rows++
			assert.Equal(t, 7, strings.Count(line, "|"), "six columns in %q", line)
		}
	}
	assert.Equal(t, 4, rows, "head, rule and one a partition, whatever the reasons hold")
}

func TestMarkdownSaysWhatAJobWaitsFor(t *testing.T) {
	r := post.Result{Partitions: []post.PartitionResult{
		{Index: 0, State: post.StateProving, Waits: "no worker can read store \"b\""},
		{Index: 1, State: post.StateProving, Reason: "CardDied: exit 1", Waits: "w1 is paused", Queue: "wdpost.gpu.1"},
		{Index: 2, State: post.StateSubmitting, Asked: 17},
		{Index: 3, State: post.StateProving},
	}}
	text := r.Markdown(0)
	assert.Contains(t, text, "- it waits: no worker can read store \"b\"\n")
	assert.Contains(t, text, "- CardDied: exit 1\n- it waits: w1 is paused\n- its queue is `wdpost.gpu.1`\n")
	assert.Contains(t, text, "- the sender has it, to be sent from epoch 17 on\n")
	assert.NotContains(t, text, "Partition 3", "of which there is nothing to tell")
}

func TestMarkdownSaysHowMuchTimeThereWas(t *testing.T) {
	d := post.Deadline{Challenge: 80, Open: 100, Close: 160}
	for situation, c := range map[string]struct {
		head  abi.ChainEpoch
		state post.State
		want  string
	}{
		"nobody knows the head": {0, post.StateProving, "Close 160\n"},
		"before it opens":       {90, post.StateProving, "Close 160; at epoch 90, when this was written, it opened in 10 epochs, with 70 until Close\n"},
		"open":                  {150, post.StateFailed, "; at epoch 150, when this was written, 10 epochs were left\n"},
		"closed":                {160, post.StateLanded, "; closed at epoch 160\n"},
		"posted":                {150, post.StatePosted, "Close 160\n"},
	} {
		t.Run(situation, func(t *testing.T) {
			assert.Contains(t, post.Result{Deadline: d, State: c.state}.Markdown(c.head), c.want)
		})
	}
}
