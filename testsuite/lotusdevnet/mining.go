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
type mining struct {
	node  *fullNode
	miner address.Address
	epoch time.Duration
	log   *slog.Logger

	mu        sync.Mutex
	paused    bool
	empty     bool // blocks get no messages
	nulls     schedule.Nulls
	base      types.TipSetKey // head at the last try
	tried     abi.ChainEpoch  // epochs after base that got no block
	made      map[place]bool
	grew      time.Time // when mining last did what it should
	lastError error
}

// place is where a block was made. A second one at the same place would have the same ticket, and a miner's second block of
// an epoch on the same chain is an equivocation.
type place struct {
	parents types.TipSetKey
	epoch   abi.ChainEpoch
}

func newMining(node *fullNode, miner address.Address, epoch time.Duration, log *slog.Logger) *mining {
	return &mining{node: node, miner: miner, epoch: epoch, log: log, made: map[place]bool{}, grew: time.Now()}
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

// advance makes the block of the next epoch, if it is to have one and the miner wins it.
func (m *mining) advance(ctx context.Context) error {
	if m.paused {
		return nil
	}
	head, err := m.head(ctx)
	if err != nil {
		return err
	}
	epoch := head.Height() + m.tried + 1
	if m.nulls.Has(int64(epoch)) {
		m.tried++
		return nil
	}
	block, err := m.producer().block(ctx, head, epoch, !m.empty)
	if err != nil {
		return fmt.Errorf("epoch %d: %w", epoch, err)
	}
	m.tried++
	if block == nil {
		return nil
	}
	m.made[place{head.Key(), epoch}] = true
	if err := m.node.api.SyncSubmitBlock(ctx, block); err != nil {
		return fmt.Errorf("submitting the block of epoch %d: %w", epoch, err)
	}
	return nil
}

// head returns the tipset to mine on.
func (m *mining) head(ctx context.Context) (*types.TipSet, error) {
	head, err := m.node.api.ChainHead(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the head: %w", err)
	}
	if head.Key() != m.base {
		m.base, m.tried = head.Key(), 0
	}
	return head, nil
}

func (m *mining) producer() producer { return producer{m.node.api, m.miner} }

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
	head, err := m.head(ctx)
	if err != nil {
		return nullRoundsAnswer{}, err
	}
	last := int64(head.Height() + m.tried)
	if err := ask.check(last); err != nil {
		return nullRoundsAnswer{}, err
	}
	for i := range int64(ask.Count) {
		m.nulls.Add(last + 1 + i)
	}
	m.nulls.Add(ask.Epochs...)
	return nullRoundsAnswer{Epoch: last, NullRounds: m.nulls.After(last)}, nil
}
