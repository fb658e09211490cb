package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/jedib0t/go-pretty/v6/table"

	"posthaste/post"
	"posthaste/workers"
)

// demoResult is what `demo --json` prints: the chain's word on the deadlines that were followed.
type demoResult struct {
	Deadlines       int     `json:"deadlines"` // closed
	Partitions      int     `json:"partitions"`
	Posted          int     `json:"posted"`
	Missed          int     `json:"missed"`     // partitions without a post when their deadline closed
	Verified        int     `json:"verified"`   // partitions whose proof the chain's side verified
	SentTwice       int     `json:"sent_twice"` // partitions for which more than one message went out
	FailedMessages  int     `json:"failed_messages"`
	FaultySectors   int     `json:"faulty_sectors"` // after Close
	DisputesTried   int     `json:"disputes_tried,omitempty"`
	DisputesRefused int     `json:"disputes_refused,omitempty"`
	Power           *power  `json:"power,omitempty"`      // where the chain says it
	FaultsNow       int     `json:"faults_now,omitempty"` // faulty sectors of the miner at the end
	Workers         int     `json:"workers"`              // worker processes
	Seconds         float64 `json:"seconds"`

	Proofs map[string]int `json:"proofs"` // partitions by the card that proved them, "worker/card"

	Broken string            `json:"broken,omitempty"` // what --break broke
	Hit    map[string]string `json:"hit,omitempty"`    // the jobs that it hit, and what became of them: "posted", "missed"
}

// followed are the first n deadlines that opened after the epoch at which posthaste was started: those before had nobody.
func (r chainReport) followed(started abi.ChainEpoch, n int) []reportDeadline {
	var out []reportDeadline
	for _, d := range r.Deadlines {
		if d.Open > started && d.sectors() > 0 && len(out) < n {
			out = append(out, d)
		}
	}
	return out
}

func (d reportDeadline) sectors() (n int) {
	for _, p := range d.Partitions {
		n += p.Sectors
	}
	return n
}

// closed counts those that are over.
func closed(deadlines []reportDeadline) (n int) {
	for _, d := range deadlines {
		if d.Closed {
			n++
		}
	}
	return n
}

// judge counts what became of the deadlines. Messages and disputes are the whole chain's: a doubled message is wrong wherever
// it is.
func judge(r chainReport, deadlines []reportDeadline, took time.Duration) demoResult {
	out := demoResult{
		SentTwice: r.Messages.SentTwice, FailedMessages: r.Messages.Failed,
		DisputesTried: r.Disputes.Tried, DisputesRefused: r.Disputes.Refused, Power: r.Power, FaultsNow: r.Faults, Seconds: took.Round(100 * time.Millisecond).Seconds(),
	}
	for _, d := range deadlines {
		if d.Closed {
			out.Deadlines++
		}
		for _, p := range d.Partitions {
			if p.Sectors == 0 {
				continue
			}
			out.Partitions++
			if p.Posted {
				out.Posted++
			} else if d.Closed {
				out.Missed++
			}
			if p.Verified {
				out.Verified++
			}
			if d.Closed {
				out.FaultySectors += p.FaultyAfter
			}
		}
	}
	return out
}

// err says what was not as it should be, nil if all was.
func (r demoResult) err(wanted int) error {
	var wrong []string
	say := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	say(r.Deadlines < wanted, "only %d of %d deadlines were over", r.Deadlines, wanted)
	say(r.Partitions == 0, "there was no partition to prove")
	say(r.Posted != r.Partitions, "%d of %d partitions posted", r.Posted, r.Partitions)
	say(r.Missed > 0, "%d missed", r.Missed)
	say(r.Verified != r.Partitions, "%d of %d verified by the chain", r.Verified, r.Partitions)
	say(r.SentTwice > 0, "%d sent twice", r.SentTwice)
	say(r.DisputesTried != r.DisputesRefused, "%d of %d disputes not refused", r.DisputesTried-r.DisputesRefused, r.DisputesTried)
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("the demo failed: %s", strings.Join(wrong, ", "))
}

// proven says which card proved a partition.
type proven map[provenKey]string

type provenKey struct {
	workflowID string
	partition  uint64
}

// provenBy reads off the board who proved the partitions of these deadlines.
func provenBy(rows []workers.Row, deadlines []reportDeadline) proven {
	ours := map[string]bool{}
	for _, d := range deadlines {
		ours[d.workflowID()] = true
	}
	out := proven{}
	for _, r := range rows { // of several runs of a workflow, the oldest first
		for _, p := range r.Board.Partitions {
			if ours[r.WorkflowID] && p.Card != "" {
				out[provenKey{r.WorkflowID, p.Index}] = p.Card
			}
		}
	}
	return out
}

// whyMissed reads off the board what kept the partitions that nobody posted.
func whyMissed(rows []workers.Row, deadlines []reportDeadline) notes {
	reasons := map[provenKey]string{}
	for _, r := range rows { // of several runs of a workflow, the oldest first
		for _, p := range r.Board.Partitions {
			reasons[provenKey{r.WorkflowID, p.Index}] = cmp.Or(p.Reason, p.Waits)
		}
	}
	var why notes
	for _, d := range deadlines {
		for _, p := range d.Partitions {
			if p.Sectors > 0 && !p.Posted {
				why.add(fmt.Sprintf("%s/%d partition %d", d.Miner, d.Index, p.Index), cmp.Or(reasons[provenKey{d.workflowID(), p.Index}], "no workflow knew of it"))
			}
		}
	}
	return why
}

// count counts the partitions of each card, with those that proved none.
func (p proven) count(cards []string) map[string]int {
	counts := map[string]int{}
	for _, card := range cards {
		counts[card] = 0
	}
	for _, card := range p {
		counts[card]++
	}
	return counts
}

// proofsText is the count for people: "demo-1/card0 3, demo-1/card1 2".
func proofsText(counts map[string]int) string {
	var texts []string
	for _, card := range slices.Sorted(maps.Keys(counts)) {
		texts = append(texts, fmt.Sprintf("%s %d", card, counts[card]))
	}
	return strings.Join(texts, ", ")
}

// workflowID is that of the deadline's workflow; empty if the chain named no miner.
func (d reportDeadline) workflowID() string {
	miner, err := post.ParseMiner(d.Miner)
	if err != nil {
		return ""
	}
	return post.Deadline{Miner: miner, PeriodStart: d.PeriodStart, Index: d.Index}.WorkflowID()
}

// resultTable is the table of the deadlines at the end.
func resultTable(deadlines []reportDeadline, proven proven) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.AppendHeader(table.Row{"Miner", "Deadline", "Open", "Close", "Partition", "Sectors", "Skipped", "Posted", "Verified", "Landed at", "Proven by", "Message"})
	for _, d := range deadlines {
		for _, p := range d.Partitions {
			landed, skipped := "-", ""
			if len(p.Skipped) > 0 {
				skipped = fmt.Sprint(len(p.Skipped))
			}
			if p.Posted {
				landed = fmt.Sprintf("Open+%d", p.LandedEpoch-d.Open)
			}
			t.AppendRow(table.Row{d.Miner, d.Index, d.Open, d.Close, p.Index, p.Sectors, skipped, yes(p.Posted), yes(p.Verified), landed, proven[provenKey{d.workflowID(), p.Index}], short(p.Message)})
		}
	}
	t.SuppressEmptyColumns()
	return t.Render()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

// short is a CID's end: the beginning is the same for all.
func short(cid string) string {
	if len(cid) <= 12 {
		return cid
	}
	return "…" + cid[len(cid)-10:]
}
