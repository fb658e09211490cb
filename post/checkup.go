package post

import (
	"cmp"
	"slices"

	"github.com/filecoin-project/go-state-types/abi"
)

// Checkup is what came of looking whether sectors can be proven.
type Checkup struct {
	Miner      abi.ActorID        `json:"miner"`
	Head       abi.ChainEpoch     `json:"head"`
	Strict     bool               `json:"strict"`           // a vanilla proof of every sector was made
	Worker     string             `json:"worker,omitempty"` // whose stores were looked into; empty: a daemon's
	Of         int                `json:"of"`               // partitions to be looked at, as far as is known
	Partitions []CheckedPartition `json:"partitions"`       // those that were, in order
	Cut        bool               `json:"cut,omitempty"`    // there were so many findings that some are only counted
}

// CheckedPartition is one partition of a Checkup.
type CheckedPartition struct {
	Deadline   uint64    `json:"deadline"`
	Partition  uint64    `json:"partition"`
	Sectors    int       `json:"sectors"` // live ones
	Good       int       `json:"good"`
	Bad        int       `json:"bad"`
	News       int       `json:"news"`             // bad ones that the chain does not hold faulty, or that are declared recovered
	Mended     string    `json:"mended,omitempty"` // good ones that the chain holds faulty, as 1-3,7: they can be declared recovered
	Findings   []Finding `json:"findings,omitempty"`
	Undecided  string    `json:"undecided,omitempty"` // why what no store has may be there after all
	Unchecked  string    `json:"unchecked,omitempty"` // why the partition could not be looked at: nothing else is known of it
	Faulty     int       `json:"faulty,omitempty"`    // on the chain, of these Recovering
	Recovering int       `json:"recovering,omitempty"`
}

// Finding is what is wrong with some sectors, which are all in one store.
type Finding struct {
	Sectors []abi.SectorNumber `json:"sectors"`
	Store   string             `json:"store,omitempty"` // empty: in none
	Reason  string             `json:"reason"`
	Chain   OnChain            `json:"chain,omitempty"`
}

// OnChain is what the chain holds of a sector.
type OnChain string

// A sector that recovers has been declared recovered: the next post must cover it, else it stays faulty.
const (
	ChainHealthy    OnChain = ""
	ChainFaulty     OnChain = "faulty"
	ChainRecovering OnChain = "recovering"
)

// Bad says whether anything was found that the chain does not know, or a partition could not be looked at.
func (c Checkup) Bad() bool {
	return slices.ContainsFunc(c.Partitions, func(p CheckedPartition) bool { return p.News > 0 || p.Unchecked != "" })
}

// findingsKept is how much of findings a Checkup carries, in bytes, roughly: it must fit into one payload of Temporal's, 2 MiB.
const findingsKept = 1 << 20

// Add takes in a partition, and drops its findings if there are too many already.
func (c *Checkup) Add(p CheckedPartition) {
	size := 0
	for _, old := range append(slices.Clone(c.Partitions), p) {
		size += 200
		for _, f := range old.Findings {
			size += 80 + len(f.Store) + len(f.Reason) + 11*len(f.Sectors)
		}
	}
	if size > findingsKept && len(p.Findings) > 0 {
		p.Findings, c.Cut = nil, true
	}
	c.Partitions = append(c.Partitions, p)
}

// Short is the checkup without findings, for the memo.
func (c Checkup) Short() Checkup {
	c.Partitions = slices.Clone(c.Partitions)
	for i := range c.Partitions {
		c.Partitions[i].Findings, c.Partitions[i].Mended = nil, ""
	}
	return c
}

// Live is all sectors that the chain has in a partition, also those that a post does not cover.
type Live struct {
	Sectors    Sectors            `json:"sectors"`
	Faulty     []abi.SectorNumber `json:"faulty,omitempty"`     // declared faulty, also those that recover; ascending
	Recovering []abi.SectorNumber `json:"recovering,omitempty"` // of these, declared recovered; ascending
}

// on is what the chain holds of one of the sectors.
func (l Live) on(number abi.SectorNumber) OnChain {
	has := func(numbers []abi.SectorNumber) bool { _, found := slices.BinarySearch(numbers, number); return found }
	switch {
	case has(l.Recovering):
		return ChainRecovering
	case has(l.Faulty):
		return ChainFaulty
	}
	return ChainHealthy
}

// BadSector is a sector that cannot be proven.
type BadSector struct {
	Skipped
	Store string `json:"store,omitempty"`
}

// Sum compares what was found bad with what the chain holds. What is the same of several sectors is one finding.
func (l Live) Sum(deadline, partition uint64, bad []BadSector) CheckedPartition {
	out := CheckedPartition{Deadline: deadline, Partition: partition, Sectors: len(l.Sectors), Bad: len(bad), Good: len(l.Sectors) - len(bad),
		Faulty: len(l.Faulty), Recovering: len(l.Recovering)}
	bad = slices.Clone(bad)
	slices.SortFunc(bad, func(a, b BadSector) int { return cmp.Compare(a.Sector, b.Sector) })
	type kind struct {
		store, reason string
		chain         OnChain
	}
	at, isBad := map[kind]int{}, map[abi.SectorNumber]bool{}
	for _, b := range bad {
		k := kind{b.Store, b.Reason, l.on(b.Sector)}
		isBad[b.Sector] = true
		if k.chain != ChainFaulty {
			out.News++
		}
		i, known := at[k]
		if !known {
			i = len(out.Findings)
			at[k] = i
			out.Findings = append(out.Findings, Finding{Store: k.store, Reason: k.reason, Chain: k.chain})
		}
		out.Findings[i].Sectors = append(out.Findings[i].Sectors, b.Sector)
	}
	var mended []abi.SectorNumber
	for _, n := range l.Sectors.Numbers() {
		if !isBad[n] && l.on(n) == ChainFaulty {
			mended = append(mended, n)
		}
	}
	out.Mended = FormatNumbers(mended)
	return out
}

// CheckProgress is what a running check's heartbeat says.
type CheckProgress struct {
	Deadline  uint64 `json:"deadline"`
	Partition uint64 `json:"partition"`
	Done      int    `json:"done"`
	Of        int    `json:"of"`
	Bad       int    `json:"bad"`
}
