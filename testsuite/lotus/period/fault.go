package period

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of fault.
type Kind string

// The kinds. Those of files last from before a deadline's challenge until after its Close, and the files are as they were afterwards.
const (
	SectorHidden    Kind = "sector hidden"
	SectorTruncated Kind = "sector truncated"
	SectorFlipped   Kind = "sector flipped"
	PartitionHidden Kind = "partition hidden" // all its sectors: there is nothing to prove, and no message may go out

	NullChallenge Kind = "null round at Challenge"
	NullOpen      Kind = "null round at Open"
	NullLast      Kind = "null round at Close - 1"

	ReorgChallenge Kind = "reorg across Challenge"
	ReorgOpen      Kind = "reorg across Open"
	ReorgLanded    Kind = "reorg after landing"
	ReorgDropped   Kind = "reorg that drops the post"

	RPCPaused      Kind = "RPC away"
	NodeStopped    Kind = "one node stopped"
	NodeBehind     Kind = "one node behind"
	NodeForked     Kind = "one node on a fork"
	PoolDropped    Kind = "mempool dropped"
	NothingTaken   Kind = "blocks without messages"
	BaseFeeUp      Kind = "base fee driven up"
	DaemonKilled   Kind = "daemon killed"
	WorkerKilled   Kind = "worker killed"
	WorkerLost     Kind = "worker killed mid-proof"
	CardKilled     Kind = "card killed mid-proof"
	TemporalKilled Kind = "Temporal killed"
)

// anchor is what a fault's epoch is counted from.
type anchor int

const (
	challenge anchor = iota
	open
	last      // Close - 1
	landed    // the deadline's first post
	asTheyRun // the deadline's first running proof
)

// kinds says when each is done. Offsets are in epochs.
var kinds = map[Kind]struct {
	anchor anchor
	offset int64
}{
	// Early enough to be true at the challenge, late enough that the deadline before is proven.
	SectorHidden:    {challenge, -8},
	SectorTruncated: {challenge, -8},
	SectorFlipped:   {challenge, -8},
	PartitionHidden: {challenge, -8},
	// They are announced: the chain's program is told which heights are to stay empty.
	NullChallenge: {challenge, -12},
	NullOpen:      {open, -12},
	NullLast:      {last, -12},
	// Once it is there, so that it is among those that are mined anew. Across Open: before posts go out, as one that is in the pool
	// already would be taken before Open, where it fails.
	ReorgChallenge: {challenge, 2},
	ReorgOpen:      {open, 0},
	ReorgLanded:    {landed, 1},
	ReorgDropped:   {landed, 1},
	RPCPaused:      {challenge, 4},
	NodeStopped:    {challenge, 4},
	NodeBehind:     {challenge, -4},
	// The ticket of the challenge epoch is the same on both sides then: which side a post is made on decides nothing.
	NodeForked:     {challenge, 3},
	NothingTaken:   {open, 2},
	PoolDropped:    {open, 2},
	BaseFeeUp:      {open, -24}, // it rises by an eighth an epoch
	DaemonKilled:   {open, 1},
	WorkerKilled:   {landed, 1},
	WorkerLost:     {asTheyRun, 0},
	CardKilled:     {asTheyRun, 0},
	TemporalKilled: {challenge, 4},
}

// Fault is one thing that goes wrong.
type Fault struct {
	Kind     Kind `json:"kind"`
	Deadline int  `json:"deadline"` // of those that are followed, from 0
	// Epochs is the number of null rounds, how long something is away, or how far a reorg reaches below what it crosses (Challenge,
	// Open, the epoch in which the post landed).
	Epochs    int64    `json:"epochs,omitempty"`
	Partition uint64   `json:"partition,omitempty"` // of the sectors
	Sectors   []uint64 `json:"sectors,omitempty"`
	Which     int      `json:"which,omitempty"` // of several daemons, workers, cards or nodes, from 0
}

// OfFiles says whether the fault is one of sectors' files.
func (f Fault) OfFiles() bool {
	switch f.Kind {
	case SectorHidden, SectorTruncated, SectorFlipped, PartitionHidden:
		return true
	}
	return false
}

// OfReorg says whether it is a reorg.
func (f Fault) OfReorg() bool {
	switch f.Kind {
	case ReorgChallenge, ReorgOpen, ReorgLanded, ReorgDropped:
		return true
	}
	return false
}

// String is a line of the plan.
func (f Fault) String() string {
	text := fmt.Sprintf("deadline %2d: %s", f.Deadline, f.Kind)
	switch {
	case f.OfFiles():
		text += fmt.Sprintf(", partition %d, sectors %v", f.Partition, f.Sectors)
	case f.Epochs > 0:
		text += fmt.Sprintf(", %d epochs", f.Epochs)
	}
	switch f.Kind {
	case DaemonKilled, WorkerKilled, NodeStopped, NodeBehind, NodeForked:
		text += fmt.Sprintf(", number %d", f.Which)
	}
	return text
}

// Window is where a deadline is.
type Window struct {
	Index                  uint64
	Challenge, Open, Close int64
}

// When says at which epoch the fault is done. If it is done when something happens and not at an epoch, it is the earliest and
// waits says for what.
func (f Fault) When(w Window) (epoch int64, waits Wait) {
	k := kinds[f.Kind]
	switch k.anchor {
	case open:
		return w.Open + k.offset, WaitNothing
	case last:
		return w.Close - 1 + k.offset, WaitNothing
	case landed:
		return w.Open, WaitLanded
	case asTheyRun:
		return w.Challenge, WaitProof
	default:
		return w.Challenge + k.offset, WaitNothing
	}
}

// Wait is what a fault waits for beside an epoch.
type Wait int

// What there is to wait for.
const (
	WaitNothing Wait = iota
	WaitLanded       // a post of the deadline is on the chain
	WaitProof        // a card computes a proof of the deadline
)

// Heights are the epochs of which a fault takes the blocks away.
func (f Fault) Heights(w Window) []int64 {
	first := w.Challenge
	switch f.Kind {
	case NullOpen:
		first = w.Open
	case NullLast:
		first = w.Close - f.Epochs // the last of them is Close - 1
	case NullChallenge:
	default:
		return nil
	}
	var heights []int64
	for h := first; h < first+f.Epochs; h++ {
		heights = append(heights, h)
	}
	return heights
}

// Plan is all that goes wrong in one run.
type Plan struct {
	Seed      uint64  `json:"seed"`
	Deadlines int     `json:"deadlines"` // that are followed
	Faults    []Fault `json:"faults"`
}

// String is the plan for people.
func (p Plan) String() string {
	lines := []string{fmt.Sprintf("seed %d: %d deadlines, %d faults", p.Seed, p.Deadlines, len(p.Faults))}
	for _, f := range p.Faults {
		lines = append(lines, "  "+f.String())
	}
	return strings.Join(lines, "\n")
}

// First is the plan's first n deadlines.
func (p Plan) First(n int) Plan {
	p.Deadlines = min(n, p.Deadlines)
	p.Faults = slices.DeleteFunc(slices.Clone(p.Faults), func(f Fault) bool { return f.Deadline >= p.Deadlines })
	return p
}

// inOrder sorts faults by deadline.
func inOrder(faults []Fault) []Fault {
	slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Compare(a.Deadline, b.Deadline) })
	return faults
}
