package main

import (
	"context"
	"fmt"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/filecoin-project/lotus/api"
	"github.com/filecoin-project/lotus/chain/types"

	"posthaste/testsuite/lotusdevnet/control"
)

type cutAsk struct {
	Node   int  `json:"node"`
	Behind bool `json:"behind"`
}

type cutAnswer struct {
	Node  int            `json:"node"`
	Epoch abi.ChainEpoch `json:"epoch"` // last that the node has in common with the others
}

type joinAsk struct {
	Node int `json:"node"`
	Keep int `json:"keep"` // the node whose chain becomes all nodes'
}

type joinAnswer struct {
	Node   int              `json:"node"`
	Common abi.ChainEpoch   `json:"common"` // last tipset that both chains had
	Heads  []abi.ChainEpoch `json:"heads"`  // of all nodes, before
	To     abi.ChainEpoch   `json:"to"`     // of all nodes, now
}

// cut parts a node from the others. From now on it mines a fork of its own: the same miner's, of which no block is one of
// the others'. Or it falls behind. Messages do not pass either.
func (m *mining) cut(ctx context.Context, ask cutAsk) (cutAnswer, error) {
	ctx = context.WithoutCancel(ctx) // whoever asked may go; half a cut would be none
	m.mu.Lock()
	defer m.mu.Unlock()
	if ask.Node < 1 || ask.Node >= len(m.nodes) || m.nodes[ask.Node].cut {
		return cutAnswer{}, control.Refuse("node %d: only those from 1 on can be cut off, of %d, and once", ask.Node, len(m.nodes))
	}
	n := m.nodes[ask.Node]
	for _, other := range m.nodes {
		if other != n {
			if err := n.block(ctx, other); err != nil {
				return cutAnswer{}, err
			}
		}
	}
	head, err := n.head(ctx)
	if err != nil {
		return cutAnswer{}, err
	}
	n.cut, n.behind = true, ask.Behind
	m.log.Info("cut off", "node", ask.Node, "epoch", head.Height(), "behind", ask.Behind)
	return cutAnswer{ask.Node, head.Height()}, nil
}

// join ends a cut: one chain becomes that of all nodes, with one block more, and the others change to it at once.
func (m *mining) join(ctx context.Context, ask joinAsk) (joinAnswer, error) {
	ctx = context.WithoutCancel(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if ask.Node < 1 || ask.Node >= len(m.nodes) || !m.nodes[ask.Node].cut {
		return joinAnswer{}, control.Refuse("node %d: is not cut off", ask.Node)
	}
	n, first := m.nodes[ask.Node], m.nodes[0]
	keep, lose := first, []*fullNode{n}
	switch ask.Keep {
	case 0:
	case ask.Node:
		keep, lose = n, append([]*fullNode{first}, m.followers(first)...)
	default:
		return joinAnswer{}, control.Refuse("keep %d: must be 0 or %d", ask.Keep, ask.Node)
	}
	answer, branch, err := m.merge(ctx, keep, lose)
	if err != nil {
		return answer, err
	}
	answer.Node = ask.Node
	for _, loser := range lose {
		if err := loser.adopt(ctx, keep, branch); err != nil {
			return answer, fmt.Errorf("node %d takes the chain of node %d: %w", ask.Node, ask.Keep, err)
		}
	}
	n.cut, n.behind = false, false
	for _, other := range m.nodes {
		if other != n && !other.cut {
			if err := n.unblock(ctx, other); err != nil {
				return answer, err
			}
		}
	}
	m.log.Info("joined", "node", ask.Node, "common", answer.Common, "to", answer.To)
	return answer, nil
}

// merge adds a block to the chain that stays, at an epoch that no node has yet, makes it that node's head, and returns the
// tipsets that the others lack.
func (m *mining) merge(ctx context.Context, keep *fullNode, lose []*fullNode) (joinAnswer, []*types.TipSet, error) {
	var answer joinAnswer
	above := abi.ChainEpoch(0)
	for _, n := range m.nodes {
		head, err := n.head(ctx)
		if err != nil {
			return answer, nil, err
		}
		answer.Heads = append(answer.Heads, head.Height())
		above = max(above, head.Height())
	}
	head, err := keep.head(ctx)
	if err != nil {
		return answer, nil, err
	}
	tips, err := m.branch(ctx, keep, head, above, !m.empty)
	if err != nil {
		return answer, nil, err
	}
	answer.To = tips[len(tips)-1].Height()
	if err := keep.adopt(ctx, keep, tips); err != nil {
		return answer, nil, err
	}
	branch := tips
	for ts := head; ; {
		has, err := lose[0].api.ChainHasObj(ctx, ts.Cids()[0])
		if err != nil || has {
			answer.Common = ts.Height()
			return answer, branch, err
		}
		branch = append([]*types.TipSet{ts}, branch...)
		if ts, err = keep.api.ChainGetTipSet(ctx, ts.Parents()); err != nil {
			return answer, nil, err
		}
	}
}

// block ends the connection to another node, and refuses it from then on.
func (n *fullNode) block(ctx context.Context, other *fullNode) error {
	for _, pair := range [][2]*fullNode{{n, other}, {other, n}} {
		id, err := pair[1].api.ID(ctx)
		if err != nil {
			return fmt.Errorf("asking for a node's peer ID: %w", err)
		}
		if err := pair[0].api.NetBlockAdd(ctx, api.NetBlockList{Peers: []peer.ID{id}}); err != nil {
			return fmt.Errorf("parting the nodes: %w", err)
		}
	}
	return nil
}

// unblock connects the nodes again.
func (n *fullNode) unblock(ctx context.Context, other *fullNode) error {
	for _, pair := range [][2]*fullNode{{n, other}, {other, n}} {
		id, err := pair[1].api.ID(ctx)
		if err != nil {
			return fmt.Errorf("asking for a node's peer ID: %w", err)
		}
		if err := pair[0].api.NetBlockRemove(ctx, api.NetBlockList{Peers: []peer.ID{id}}); err != nil {
			return fmt.Errorf("joining the nodes: %w", err)
		}
	}
	return n.connect(ctx, other)
}

func (n *fullNode) connect(ctx context.Context, other *fullNode) error {
	addr, err := other.api.NetAddrsListen(ctx)
	if err != nil {
		return fmt.Errorf("asking for a node's addresses: %w", err)
	}
	if err := n.api.NetConnect(ctx, addr); err != nil {
		return fmt.Errorf("connecting the nodes: %w", err)
	}
	return nil
}
