package devnet

import (
	"fmt"
	"maps"
	"slices"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/chain"
	"posthaste/post"
)

// What a miner's owner does to its actor between two deadlines: other keys, more partitions, fewer, an upgrade. On a real chain messages do it; here
// whoever asks at the control port. It holds from the next tipset on, before that tipset's messages are executed.

// ChangeKey gives a role of a miner ("owner", "worker" or "control") to a new address with as much money as the others began with, and returns its key. With
// held the node has the key. On a real chain a new worker takes 900 epochs to be confirmed.
func (c *Chain) ChangeKey(miner abi.ActorID, role string, held bool) (address.Address, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.minerToChange(miner); err != nil {
		return address.Undef, err
	}
	place := func(m *minerState) *address.Address {
		return map[string]*address.Address{"owner": &m.owner, "worker": &m.worker, "control": &m.control}[role]
	}
	if place(&minerState{}) == nil {
		return address.Undef, fmt.Errorf("a miner has no %q; there are owner, worker and control", role)
	}
	n := uint64(firstAccount + len(c.ids))
	id, err := address.NewIDAddress(n)
	if err != nil {
		return address.Undef, err
	}
	key, err := c.wallet.newKey(c.cfg, fmt.Sprintf("account %d", n))
	if err != nil {
		return address.Undef, err
	}
	if !held {
		delete(c.wallet, key)
	}
	c.ids[key] = id
	c.changes = append(c.changes, func(s *state) {
		s.accounts[id] = account{key: key, balance: c.cfg.Balance}
		*place(s.miners[miner]) = id
	})
	return key, nil
}

// AddPartition seals a partition of new sectors and puts it behind the others of a deadline, as the first posts of fresh sectors do. Like the real actor it
// leaves a deadline alone that is open or the next to open.
func (c *Chain) AddPartition(miner abi.ActorID, index uint64) ([]abi.SectorNumber, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.mutable(miner, index)
	if err != nil {
		return nil, err
	}
	made := map[abi.SectorNumber]*chain.SectorOnChainInfo{}
	// Behind those that the changes before this one may have added for the same tipset.
	next := slices.Max(slices.Collect(maps.Keys(m.sectors))) + 1 + abi.SectorNumber(c.cfg.SectorsPerPartition*len(c.changes))
	var added sectorSet
	for range c.cfg.SectorsPerPartition {
		if made[next], err = c.source(miner, next, c.cfg.upgraded(next)); err != nil {
			return nil, err
		}
		added = append(added, next)
		next++
	}
	c.changes = append(c.changes, func(s *state) {
		m := s.miners[miner]
		m.sectors = maps.Clone(m.sectors) // states before share it
		maps.Copy(m.sectors, made)
		d := m.deadlines[index].clone()
		d.partitions = append(d.partitions, partition{all: added})
		m.deadlines[index] = d
	})
	return added, nil
}

// Compact is CompactPartitions for one partition of a deadline: it goes, those behind it move up, and its sectors come back behind them. The real actor
// wants more of the deadline: no faults, and that its last posts cannot be disputed any more.
func (c *Chain) Compact(miner abi.ActorID, index, partitionIndex uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.mutable(miner, index)
	if err != nil {
		return err
	}
	switch partitions := m.deadlines[index].partitions; {
	case partitionIndex >= uint64(len(partitions)):
		return fmt.Errorf("deadline %d of %s has %d partitions", index, post.MinerName(miner), len(partitions))
	case slices.ContainsFunc(partitions, func(p partition) bool { return len(p.faulty) > 0 }):
		return fmt.Errorf("deadline %d of %s has faulty sectors; the actor compacts none such", index, post.MinerName(miner))
	}
	c.changes = append(c.changes, func(s *state) {
		m := s.miners[miner]
		d := m.deadlines[index].clone()
		moved := d.partitions[partitionIndex]
		d.partitions = append(slices.Delete(d.partitions, int(partitionIndex), int(partitionIndex)+1), moved)
		m.deadlines[index] = d
	})
	return nil
}

// Upgrade puts data into a sector (snap): in the miner's store, and on the chain, where its CommR is another from then on.
func (c *Chain) Upgrade(miner abi.ActorID, number abi.SectorNumber) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.minerToChange(miner)
	if err != nil {
		return err
	}
	if m.sectors[number] == nil {
		return fmt.Errorf("%s has no sector %d", post.MinerName(miner), number)
	}
	for index, d := range m.deadlines {
		if slices.ContainsFunc(d.partitions, func(p partition) bool { return p.all.has(number) }) {
			if _, err := c.mutable(miner, uint64(index)); err != nil {
				return err
			}
		}
	}
	upgraded, err := c.source(miner, number, true)
	if err != nil {
		return err
	}
	c.changes = append(c.changes, func(s *state) {
		m := s.miners[miner]
		m.sectors = maps.Clone(m.sectors)
		m.sectors[number] = upgraded
	})
	return nil
}

// minerToChange is a miner as it is now. The caller holds the lock.
func (c *Chain) minerToChange(miner abi.ActorID) (*minerState, error) {
	m := c.head.after.miners[miner]
	if m == nil {
		return nil, fmt.Errorf("there is no miner %s", post.MinerName(miner))
	}
	return m, nil
}

// mutable is a miner whose deadline may be changed in the next tipset: neither open nor the next to open. The caller holds the lock.
func (c *Chain) mutable(miner abi.ActorID, index uint64) (*minerState, error) {
	m, err := c.minerToChange(miner)
	if err != nil {
		return nil, err
	}
	if index >= c.cfg.Deadlines {
		return nil, fmt.Errorf("%s has no deadline %d; there are %d", post.MinerName(miner), index, c.cfg.Deadlines)
	}
	epoch := c.head.height() + 1
	current := c.cfg.deadlineInfo(m, epoch)
	di := c.cfg.nthDeadline(current.PeriodStart, index, epoch).NextNotElapsed()
	if epoch >= di.Open-c.cfg.Window {
		return nil, fmt.Errorf("deadline %d of %s opens at epoch %d: it cannot be changed from %d until it is closed", index, post.MinerName(miner), di.Open, di.Open-c.cfg.Window)
	}
	return m, nil
}
