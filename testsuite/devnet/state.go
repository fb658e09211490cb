package devnet

import (
	"maps"
	"slices"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"

	"posthaste/chain"
)

// state is everything that messages change. A tipset's execution works on a clone; what it does not touch is shared.
type state struct {
	accounts map[address.Address]account // by ID address
	miners   map[abi.ActorID]*minerState
}

// account is an address that can send messages.
type account struct {
	key     address.Address // its f3 address
	nonce   uint64
	balance abi.TokenAmount
}

// minerState is a miner actor. Owner, worker and control are ID addresses, as in the real one.
type minerState struct {
	id                     abi.ActorID
	owner, worker, control address.Address
	firstPeriod            abi.ChainEpoch // start of a proving period; the others follow by the period's length
	sectors                map[abi.SectorNumber]*chain.SectorOnChainInfo
	deadlines              []*deadline // replaced as a whole when one changes
	funds                  chain.MinerFunds
	consensusFault         abi.ChainEpoch // the last epoch of a consensus fault; -1: there was none
}

// deadline is the partitions of one deadline and which of them were posted in the current window.
type deadline struct {
	partitions []partition
	posted     map[uint64]bool
}

// partition is the sectors of one partition. None is ever terminated here, so all are live.
type partition struct {
	all, faulty, recovering sectorSet
}

// toProve is what a post of this partition covers.
func (p partition) toProve() sectorSet { return p.all.minus(p.faulty).union(p.recovering) }

func (s *state) clone() *state {
	out := &state{accounts: maps.Clone(s.accounts), miners: make(map[abi.ActorID]*minerState, len(s.miners))}
	for id, m := range s.miners {
		copied := *m
		copied.deadlines = slices.Clone(m.deadlines)
		out.miners[id] = &copied
	}
	return out
}

func (d *deadline) clone() *deadline {
	return &deadline{partitions: slices.Clone(d.partitions), posted: maps.Clone(d.posted)}
}

// live says whether the deadline has a sector at all.
func (d *deadline) live() bool {
	return slices.ContainsFunc(d.partitions, func(p partition) bool { return len(p.all) > 0 })
}

// deadlineInfo is the deadline that is current for a miner at an epoch.
func (c Config) deadlineInfo(m *minerState, epoch abi.ChainEpoch) *dline.Info {
	start := c.periodStart(m, epoch)
	return c.nthDeadline(start, uint64((epoch-start)/c.Window), epoch)
}

// periodStart is the start of the miner's proving period that epoch is in.
func (c Config) periodStart(m *minerState, epoch abi.ChainEpoch) abi.ChainEpoch {
	into := (epoch - m.firstPeriod) % c.period()
	if into < 0 {
		into += c.period()
	}
	return epoch - into
}

func (c Config) nthDeadline(periodStart abi.ChainEpoch, index uint64, epoch abi.ChainEpoch) *dline.Info {
	return dline.NewInfo(periodStart, index, epoch, c.Deadlines, c.period(), c.Window, c.Lookback, c.FaultCutoff)
}

// closeDeadlines is the actor's cron in the last epoch of a deadline: what was not posted turns faulty, recoveries that were
// not proven are forgotten, and the record of posts is cleared for the next window.
func (c Config) closeDeadlines(s *state, epoch abi.ChainEpoch, closed func(*minerState, *dline.Info)) {
	for _, m := range s.miners {
		di := c.deadlineInfo(m, epoch)
		if epoch != di.Last() {
			continue
		}
		d := m.deadlines[di.Index].clone()
		for i, p := range d.partitions {
			if !d.posted[uint64(i)] {
				d.partitions[i] = partition{all: p.all, faulty: p.all}
			}
		}
		d.posted = map[uint64]bool{}
		m.deadlines[di.Index] = d
		closed(m, di)
	}
}
