package post

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// RecoveryState is how a miner's faulty sectors stand: what its RecoveryWorkflow shows.
type RecoveryState struct {
	Miner      abi.ActorID      `json:"miner"`
	Head       abi.ChainEpoch   `json:"head"`              // at the last look
	At         time.Time        `json:"at,omitzero"`       // when that was
	Idle       string           `json:"idle,omitempty"`    // why nothing is looked at: the miner is paused, say
	Off        bool             `json:"off,omitempty"`     // nothing is declared: recover = false
	Problem    string           `json:"problem,omitempty"` // why the last look was not complete
	Faulty     int              `json:"faulty"`
	Recovering int              `json:"recovering"` // of these, declared recovered
	Blocked    RecoveryObstacle `json:"blocked,omitzero"`
	Declared   []Declaration    `json:"declared,omitempty"` // into windows that have not closed, the nearest cutoff first
	Waits      []RecoveryWait   `json:"waits,omitempty"`    // what cannot be declared, and why
	Cut        bool             `json:"cut,omitempty"`      // there is more than is shown
}

// Left is how many sectors are faulty and not declared recovered.
func (s RecoveryState) Left() int { return max(s.Faulty-s.Recovering, 0) }

// Blocks says why the last try to declare sectors came to nothing; empty: it did not, or there is nothing to declare.
func (s RecoveryState) Blocks() string {
	for _, d := range s.Declared {
		if d.State == DeclarationFailed {
			return fmt.Sprintf("deadline %d: %s", d.Deadline.Index, d.Reason)
		}
	}
	if s.Blocked.Any() && s.Left() > 0 {
		return s.Blocked.String()
	}
	return ""
}

// Bounds of what is shown: it stands in a memo.
const (
	shownWaits   = 40
	shownSectors = 60
)

// Short is what fits into a memo.
func (s RecoveryState) Short() RecoveryState {
	short := func(n Numbers) (Numbers, int) {
		if len(n) <= shownSectors {
			return n, 0
		}
		return n[:shownSectors], len(n)
	}
	s.Cut = len(s.Declared) > shownWaits || len(s.Waits) > shownWaits
	s.Declared = slices.Clone(s.Declared[:min(len(s.Declared), shownWaits)])
	for i, d := range s.Declared {
		s.Declared[i].Partitions = slices.Clone(d.Partitions[:min(len(d.Partitions), shownWaits)])
		for k, p := range s.Declared[i].Partitions {
			s.Declared[i].Partitions[k].Sectors, s.Declared[i].Partitions[k].Of = short(p.Sectors)
		}
	}
	s.Waits = slices.Clone(s.Waits[:min(len(s.Waits), shownWaits)])
	for i, w := range s.Waits {
		s.Waits[i].Sectors, s.Waits[i].Of = short(w.Sectors)
		s.Waits[i].Reason = cut(w.Reason, summaryLimit)
	}
	return s
}

// Count is how many sectors wait.
func (w RecoveryWait) Count() int { return max(len(w.Sectors), w.Of) }

// Named names sectors, cut short where there are many: 1-3,7, or 1-3,7 and 200 more.
func named(n Numbers, of int) string {
	text := FormatNumbers(n[:min(len(n), shownSectors)])
	if more := max(len(n), of) - min(len(n), shownSectors); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// String names the sectors of a wait, and why they wait: deadline 7 partition 0, sectors 1-3: …
func (w RecoveryWait) String() string {
	return fmt.Sprintf("deadline %d partition %d, sector%s %s: %s", w.Deadline, w.Partition, plural(w.Count()), named(w.Sectors, w.Of), w.Reason)
}

// String names what is declared: deadline 7, sectors 1-3 of partition 0.
func (d Declaration) String() string {
	var parts []string
	for _, p := range d.Partitions {
		parts = append(parts, fmt.Sprintf("sector%s %s of partition %d", plural(max(len(p.Sectors), p.Of)), named(p.Sectors, p.Of), p.Index))
	}
	return strings.TrimSuffix(fmt.Sprintf("deadline %d, %s", d.Deadline.Index, strings.Join(parts, ", ")), ", ")
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// String says what stands in the way, and what helps.
func (o RecoveryObstacle) String() string {
	if o.Owed != "" {
		return fmt.Sprintf("the miner actor has fee debt that it cannot pay: %s must be paid into it first", o.Owed)
	}
	return fmt.Sprintf("the miner has a consensus fault until epoch %d; no recoveries are taken before", o.Until)
}
