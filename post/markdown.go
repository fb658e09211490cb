package post

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
)

// Markdown is what the Web UI shows as the workflow's current details: a partition table that fits beside the summary (about 60
// characters: what is wider is cut off there), and below it what each partition waits for, what went wrong and which command
// helps. head is where the chain was when this was written; 0: not known.
func (r Result) Markdown(head abi.ChainEpoch) string {
	var b strings.Builder
	put := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...)) }
	put("**%s**, deadline %d of the period from epoch %d: **%s**\n\n", MinerName(r.Deadline.Miner), r.Deadline.Index, r.Deadline.PeriodStart, r.State)
	put("Challenge %d, Open %d, Close %d%s\n\n", r.Deadline.Challenge, r.Deadline.Open, r.Deadline.Close, r.left(head))
	b.WriteString("| partition | state | sectors | tries | card | landed |\n|--|--|--|--|--|--|\n")
	for _, p := range r.Partitions {
		put("| %d | %s | %s | %d | %s | %s |\n", p.Index, p.State, p.sectorsText(), p.Tries, inCell(p.Card), p.landedText(r.Deadline.Open))
	}
	for _, p := range r.Partitions {
		r.story(put, p)
	}
	if r.Reason != "" {
		put("\n%s\n", inCell(r.Reason))
	}
	return b.String()
}

// inCell keeps text from elsewhere from ending its cell, its row or its paragraph.
var inCell = strings.NewReplacer("|", "/", "\r", "", "\n", " ").Replace

// left says how much time there is, as of the last change: nothing is written for an epoch that goes by.
func (r Result) left(head abi.ChainEpoch) string {
	switch d := r.Deadline; {
	case head == 0 || r.State.Final():
		return ""
	case head < d.Open:
		return fmt.Sprintf("; at epoch %d, when this was written, it opened in %d epochs, with %d until Close", head, d.Open-head, d.Close-head)
	case head < d.Close:
		return fmt.Sprintf("; at epoch %d, when this was written, %d epochs were left", head, d.Close-head)
	default:
		return fmt.Sprintf("; closed at epoch %d", d.Close)
	}
}

// sectorsText is how many sectors the post covers, and how many were left out.
func (p PartitionResult) sectorsText() string {
	if n := p.CountSkipped(); n > 0 {
		return fmt.Sprintf("%d, without %d", p.Sectors, n)
	}
	return fmt.Sprint(p.Sectors)
}

// landedText is when its message was included.
func (p PartitionResult) landedText(open abi.ChainEpoch) string {
	if p.Landed == 0 {
		return ""
	}
	return fmt.Sprintf("%d (Open+%d)", p.Landed, p.Landed-open)
}

// story adds what the table has no room for: nothing, of a partition that waits for nobody and for which nothing happened.
func (r Result) story(put func(string, ...any), p PartitionResult) {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	id := r.Deadline.JobID(p.Index)
	if p.Reason != "" {
		say("%s", inCell(p.Reason))
	}
	if p.Waits != "" {
		say("it waits: %s", inCell(p.Waits))
	}
	if p.Queue != "" {
		say("its queue is `%s`", p.Queue)
	}
	if n := p.CountSkipped(); n > 0 && len(p.Skipped) > 0 {
		say("left out: %s", skippedText(p.Skipped, n))
	}
	switch p.State {
	case StateFailed:
		say("when the cause is gone, run it again: `posthaste wdpost reset %s`", id)
	case StateSubmitting:
		if p.Asked != 0 {
			say("the sender has it, to be sent from epoch %d on", p.Asked)
		}
	}
	if p.Message != "" {
		say("its message is %s", p.Message)
	}
	if len(lines) == 0 {
		return
	}
	put("\n**Partition %d** (job `%s`)\n\n", p.Index, id)
	for _, line := range lines {
		put("- %s\n", line)
	}
}

// skippedText names the first sectors that were left out, and why.
func skippedText(skipped []Skipped, all int) string {
	const named = 3
	var texts []string
	for _, s := range skipped[:min(named, len(skipped))] {
		texts = append(texts, fmt.Sprintf("sector %d (%s)", s.Sector, inCell(cmp.Or(s.Reason, "no reason given"))))
	}
	if more := all - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}
