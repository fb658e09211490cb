package post

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// State is where a partition, or a whole deadline, stands.
type State string

// A partition goes through these in order; it can fall back from Submitting to Proving when the chain's randomness
// changed, and from Landed to Submitting when a reorg dropped its message.
const (
	StateWaiting    State = "Waiting"    // for the sectors' places and the challenge
	StateProving    State = "Proving"    // a GenerateWindowPoSt activity is scheduled or running
	StateFailed     State = "Failed"     // out of tries; it is tried again later unless configured otherwise
	StateSubmitting State = "Submitting" // proven; its message is being built, sent and followed
	StateLanded     State = "Landed"     // its message is on the chain with exit code 0, not yet deep enough
	StatePosted     State = "Posted"     // final: on the chain, deep enough
	StateMissed     State = "Missed"     // final: not on the chain at Close
	StateNothing    State = "Nothing"    // final: nothing to prove
	StateProven     State = "Proven"     // final, of a trial: proven, verified, and not sent
)

// Final says that the partition's story is over.
func (s State) Final() bool { return s == StatePosted || s == StateMissed || s == StateNothing }

// PartitionResult is the story of one partition. It stands in the workflow's memo while the deadline is open, so that lists
// need no running daemon, and in the workflow's result afterwards.
type PartitionResult struct {
	Index   uint64         `json:"index"`
	State   State          `json:"state"`
	Sectors int            `json:"sectors"`           // how many its post covers
	Skipped []Skipped      `json:"skipped,omitempty"` // those left out of it, and why; the first of them, see Short
	Tries   int            `json:"tries"`             // counted ones
	Card    string         `json:"card,omitempty"`    // worker/card that made the proof
	Phases  PhaseTimes     `json:"phases"`
	Message string         `json:"message,omitempty"` // CID of the message that carried it
	Landed  abi.ChainEpoch `json:"landed,omitempty"`  // epoch of the tipset that included it
	Reason  string         `json:"reason,omitempty"`  // what went wrong last

	With []uint64 `json:"with,omitempty"` // the other partitions that are proven and sent with it, in order

	// While it is being proven: where its job waits, and what for.
	Queue  string   `json:"queue,omitempty"`
	Waits  string   `json:"waits,omitempty"`  // nobody can take it now; what has to happen first
	Stores []string `json:"stores,omitempty"` // that its sectors are in
	Avoid  []string `json:"avoid,omitempty"`  // cards that failed it, as post.Job's

	SkippedCount int `json:"skipped_count,omitempty"` // all that were left out, where Skipped is shortened

	// Since when, in the workflow's time; zero: not yet, or from before these were kept.
	Issued  time.Time      `json:"issued,omitzero"`  // its first try
	Proven  time.Time      `json:"proven,omitzero"`  // it has the proof that its State speaks of
	Updated time.Time      `json:"updated,omitzero"` // anything of this changed
	Asked   abi.ChainEpoch `json:"asked,omitempty"`  // the epoch from which on the sender, who has it, is to send the proof
}

// Lead is the partition that names the job which the partition is in: the first of those that are proven together.
func (p PartitionResult) Lead() uint64 {
	if len(p.With) > 0 {
		return min(p.Index, slices.Min(p.With))
	}
	return p.Index
}

// Job are the partitions of the job that the partition is in, in order.
func (p PartitionResult) Job() []uint64 {
	return slices.Sorted(slices.Values(append(slices.Clone(p.With), p.Index)))
}

// JobSectors is how many sectors the job of a partition covers: those of all partitions that are proven together.
func (r Result) JobSectors(p PartitionResult) int {
	sectors := p.Sectors
	for _, other := range r.Partitions {
		if slices.Contains(p.With, other.Index) {
			sectors += other.Sectors
		}
	}
	return sectors
}

// shownSkipped is how many skipped sectors a shortened result names.
const shownSkipped = 8

// Short is the result for memos and histories, with the first skipped sectors and the count of all: a store that is gone can cost
// thousands, the memo is written again at every change, and Temporal ends a workflow whose memo is above 2 MiB or whose
// history is above 50 MiB. All of them stand in the results of the activities that found them.
func (p PartitionResult) Short() PartitionResult {
	if len(p.Skipped) > shownSkipped {
		p.SkippedCount, p.Skipped = len(p.Skipped), p.Skipped[:shownSkipped]
	}
	return p
}

// CountSkipped is how many sectors were left out of the post, shortened or not.
func (p PartitionResult) CountSkipped() int { return max(p.SkippedCount, len(p.Skipped)) }

// Result is what a DeadlineWorkflow returns.
type Result struct {
	Deadline   Deadline          `json:"deadline"`
	State      State             `json:"state"`
	Partitions []PartitionResult `json:"partitions"`
	Reason     string            `json:"reason,omitempty"`
	Size       abi.SectorSize    `json:"size,omitempty"` // bytes of the miner's sectors
	Pool       string            `json:"pool,omitempty"` // the GPU tag that proves; empty: any
}

// Needs is what a partition's job asks of whoever takes it.
func (r Result) Needs(p PartitionResult) Needs {
	return Needs{Miner: r.Deadline.Miner, Size: r.Size, Stores: p.Stores, Pool: r.Pool}
}

// DeadlineState sums up the partitions: the one that needs looking at most decides.
func DeadlineState(partitions []PartitionResult) State {
	if len(partitions) == 0 {
		return StateNothing
	}
	worst := StateNothing
	for _, s := range []State{StatePosted, StateLanded, StateSubmitting, StateProving, StateWaiting, StateFailed, StateMissed} {
		for _, p := range partitions {
			if p.State == s {
				worst = s
			}
		}
	}
	return worst
}

// Reasons gives each missed partition's reason, for the error that the workflow fails with.
func (r Result) Reasons() string {
	var lines []string
	for _, p := range r.Partitions {
		if p.State == StateMissed {
			lines = append(lines, fmt.Sprintf("partition %d: %s", p.Index, p.Reason))
		}
	}
	if r.Reason != "" {
		lines = append(lines, r.Reason)
	}
	return strings.Join(lines, "; ")
}

// Count writes a number of things as people do: 1 sector, 2 sectors.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
