package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"

	"github.com/filecoin-project/lotus/chain/types"

	"posthaste/testsuite/lotusdevnet/schedule"
)

// stallLimit is how long mining may fail. A chain that stands still for no reason of the tests' is no trial for anybody.
const stallLimit = time.Minute

// mining makes the chain grow, an epoch at a time, and does to it what the control port asks for. Between two blocks it is
// unlocked; whoever holds the lock has a chain that stands still.
//
// The first node mines. The others follow it, except for one that is cut off: that one mines its own fork, with the same
// miner, or falls behind.
type mining struct {
	nodes []*fullNode
	miner address.Address
	epoch time.Duration
	crowd *crowdWallet
	log   *slog.Logger

	mu        sync.Mutex
	paused    bool
	empty     bool // blocks get no messages
	nulls     schedule.Nulls
	made      map[place]bool
	grew      time.Time // when mining last did what it should
	lastError error
}

// turn is how far a mining node is.
type turn struct {
	base  types.TipSetKey // head at the last try
	tried abi.ChainEpoch  // epochs after base that got no block
}

// place is where a block was made. A second one at the same place would have the same ticket, and a miner's second block of
// an epoch on the same chain is an equivocation.
type place struct {
	parents types.TipSetKey
	epoch   abi.ChainEpoch
}

func newMining(nodes []*fullNode, miner address.Address, epoch time.Duration, crowd *crowdWallet, log *slog.Logger) *mining {
	return &mining{nodes: nodes, miner: miner, epoch: epoch, crowd: crowd, log: log, made: map[place]bool{}, grew: time.Now()}
}

// run mines until ctx ends. It gives up when nothing succeeded for stallLimit.
func (m *mining) run(ctx context.Context) error {
	for due := time.Now(); ; due = schedule.Next(due, time.Now(), m.epoch) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(due)):
		}
		if err := m.tick(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// tick lets one epoch pass. Its error is of a chain that has stopped for good.
func (m *mining) tick(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.advance(ctx)
	if err == nil {
		m.grew, m.lastError = time.Now(), nil
		return nil
	}
	if m.lastError == nil && ctx.Err() == nil {
		m.log.Warn("no block could be mined; trying again", "error", err)
	}
	m.lastError = err
	if idle := time.Since(m.grew); idle > stallLimit {
		return fmt.Errorf("the chain has not grown for %s: %w", idle.Round(time.Second), err)
	}
	return nil
}

// advance lets one epoch pass on every chain that there is.
func (m *mining) advance(ctx context.Context) error {
	if m.paused {
		return nil
	}
	for _, n := range m.nodes {
		if n.mines() {
			if err := m.mine(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// mine makes the block of the next epoch of a node's chain, if it is to have one and the miner wins it.
func (m *mining) mine(ctx context.Context, n *fullNode) error {
	head, err := n.head(ctx)
	if err != nil {
		return err
	}
	at := place{head.Key(), head.Height() + n.turn.tried + 1}
	if m.nulls.Has(int64(at.epoch)) || m.made[at] {
		n.turn.tried++
		return nil
	}
	block, err := m.producer(n).block(ctx, head, at.epoch, !m.empty)
	if err != nil {
		return fmt.Errorf("epoch %d: %w", at.epoch, err)
	}
	n.turn.tried++
	if block == nil {
		return nil
	}
	m.made[at] = true
	if err := n.api.SyncSubmitBlock(ctx, block); err != nil {
		return fmt.Errorf("submitting the block of epoch %d: %w", at.epoch, err)
	}
	for _, other := range m.followers(n) {
		if err := other.follow(ctx, n, block); err != nil {
			return fmt.Errorf("passing on the block of epoch %d: %w", at.epoch, err)
		}
	}
	return nil
}

// followers lists the nodes that have the chain of n: one that is cut off has a chain for itself.
func (m *mining) followers(n *fullNode) []*fullNode {
	var list []*fullNode
	for i, other := range m.nodes {
		if i > 0 && !other.cut && n == m.nodes[0] {
			list = append(list, other)
		}
	}
	return list
}

func (m *mining) producer(n *fullNode) producer { return producer{n.api, m.miner, m.crowd} }

// setMining lets the chain stand still, or go on: no epoch passes meanwhile.
func (m *mining) setMining(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = !on
	m.grew = time.Now()
}

// setIncluding lets blocks be empty, or not.
func (m *mining) setIncluding(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.empty = !on
}

// nullRounds plans epochs without a block: those that are named, or the next so many. It returns all that are yet to come.
func (m *mining) nullRounds(ctx context.Context, ask nullRoundsAsk) (nullRoundsAnswer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	head, err := m.nodes[0].head(ctx)
	if err != nil {
		return nullRoundsAnswer{}, err
	}
	last := int64(head.Height() + m.nodes[0].turn.tried)
	if err := ask.check(last); err != nil {
		return nullRoundsAnswer{}, err
	}
	for i := range int64(ask.Count) {
		m.nulls.Add(last + 1 + i)
	}
	m.nulls.Add(ask.Epochs...)
	return nullRoundsAnswer{Epoch: last, NullRounds: m.nulls.After(last)}, nil
}
