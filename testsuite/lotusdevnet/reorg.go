package main

import (
	"context"
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"github.com/filecoin-project/lotus/chain/types"

	"posthaste/testsuite/lotusdevnet/control"
)

// maxReorg is Lotus's own limit of a fork, in epochs.
const maxReorg = 900

// poolLimit is how long the message pool may take to follow the head.
const poolLimit = 10 * time.Second

// reorg forgets the last epochs and mines them anew, all at once: the node sees one change of its head from the old chain
// to the new one. Epochs pass for it as for anybody: the new head is at least one epoch further than the old one, since a
// miner's second block of an epoch would be an equivocation, for which Lotus would leave the head again.
func (m *mining) reorg(ctx context.Context, ask reorgAsk) (reorgAnswer, error) {
	if ask.Epochs < 1 || ask.Epochs > maxReorg {
		return reorgAnswer{}, control.Refuse("epochs %d: must be 1 to %d", ask.Epochs, maxReorg)
	}
	ctx = context.WithoutCancel(ctx) // whoever asked may go; nodes must not differ for that
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.nodes[0]
	head, err := first.head(ctx)
	if err != nil {
		return reorgAnswer{}, err
	}
	from, fork := head.Height(), head.Height()-abi.ChainEpoch(ask.Epochs)
	if fork < 2 {
		return reorgAnswer{}, control.Refuse("epochs %d: the chain is only at %d", ask.Epochs, from)
	}
	base, forgotten, err := m.forget(ctx, head, fork)
	if err != nil {
		return reorgAnswer{}, err
	}
	branch, err := m.branch(ctx, first, base, from, !m.empty && !ask.DropMessages)
	if err != nil {
		return reorgAnswer{}, err
	}
	tip := branch[len(branch)-1]
	answer := reorgAnswer{From: from, Fork: fork, Common: base.Height(), To: tip.Height(), Messages: len(forgotten)}
	for _, n := range append([]*fullNode{first}, m.followers(first)...) {
		if err := n.adopt(ctx, first, branch); err != nil {
			return answer, err
		}
		if ask.DropMessages {
			if answer.Dropped, err = n.drop(ctx, tip, forgotten); err != nil {
				return answer, err
			}
		}
	}
	m.log.Info("reorg", "from", from, "fork", fork, "to", tip.Height(), "messages", len(forgotten), "dropped", answer.Dropped)
	return answer, nil
}

// forget goes back from the head to the last tipset at or below fork, and returns it with the messages on the way.
func (m *mining) forget(ctx context.Context, head *types.TipSet, fork abi.ChainEpoch) (*types.TipSet, []*types.Message, error) {
	var messages []*types.Message
	ts := head
	for ts.Height() > fork {
		for _, block := range ts.Cids() {
			held, err := m.nodes[0].api.ChainGetBlockMessages(ctx, block)
			if err != nil {
				return nil, nil, fmt.Errorf("reading the messages of epoch %d: %w", ts.Height(), err)
			}
			messages = append(messages, held.BlsMessages...)
			for _, m := range held.SecpkMessages {
				messages = append(messages, &m.Message)
			}
		}
		parent, err := m.nodes[0].api.ChainGetTipSet(ctx, ts.Parents())
		if err != nil {
			return nil, nil, fmt.Errorf("reading the parent of epoch %d: %w", ts.Height(), err)
		}
		ts = parent
	}
	return ts, messages, nil
}

// branch mines on base until the chain is higher than an epoch, beside the node's head. Its first block is at an epoch at
// which none was made on this base before, so that all of its tickets are new.
func (m *mining) branch(ctx context.Context, n *fullNode, base *types.TipSet, above abi.ChainEpoch, including bool) ([]*types.TipSet, error) {
	var branch []*types.TipSet
	tip := base
	for epoch := base.Height() + 1; tip.Height() <= above; epoch++ {
		at := place{tip.Key(), epoch}
		if m.made[at] || m.nulls.Has(int64(epoch)) {
			continue
		}
		block, err := m.producer(n).block(ctx, tip, epoch, including)
		if err != nil {
			return nil, fmt.Errorf("mining the branch at epoch %d: %w", epoch, err)
		}
		m.made[at] = true
		if block == nil {
			continue
		}
		if tip, err = n.keep(ctx, block); err != nil {
			return nil, fmt.Errorf("keeping the block of epoch %d: %w", epoch, err)
		}
		branch = append(branch, tip)
	}
	return branch, nil
}
