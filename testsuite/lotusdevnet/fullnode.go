package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/builtin"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	cbg "github.com/whyrusleeping/cbor-gen"

	"github.com/filecoin-project/lotus/api"
	"github.com/filecoin-project/lotus/api/v1api"
	"github.com/filecoin-project/lotus/chain/types"
	"github.com/filecoin-project/lotus/itests/kit"
	"github.com/filecoin-project/lotus/node"
	"github.com/filecoin-project/lotus/node/impl"

	"posthaste/testsuite/lotusdevnet/control"
)

// fullNode is one Lotus node of the network. What the tests do to it goes past its JSON-RPC: that is the poster's.
type fullNode struct {
	*kit.TestFullNode
	api     *impl.FullNodeAPI
	gate    *control.Gate // before its JSON-RPC
	count   *control.Count
	apiInfo string // FULLNODE_API_INFO of a client that may do everything

	// Of mining, and under its lock.
	turn   turn
	first  bool // mines, and the others follow
	cut    bool // has a chain for itself
	behind bool // when cut: mines nothing
}

// mines tells whether blocks are made on this node.
func (n *fullNode) mines() bool { return n.first || n.cut && !n.behind }

// head returns the tipset to mine on.
func (n *fullNode) head(ctx context.Context) (*types.TipSet, error) {
	head, err := n.api.ChainHead(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the head: %w", err)
	}
	if head.Key() != n.turn.base {
		n.turn = turn{base: head.Key()}
	}
	return head, nil
}

// newFullNode serves a node's JSON-RPC, as a Lotus daemon does, with tokens and permissions: all of it, or a view.
func newFullNode(ctx context.Context, t *testing.T, client *kit.TestFullNode, seen v1api.FullNode, l net.Listener) (*fullNode, error) {
	inside, ok := client.FullNode.(*impl.FullNodeAPI)
	if !ok {
		return nil, fmt.Errorf("the node is a %T, not in this process; adapt this program to this Lotus", client.FullNode)
	}
	count := new(control.Count)
	handler, err := node.FullNodeHandler(seen, client.V2, true, counting(count))
	if err != nil {
		return nil, fmt.Errorf("making the JSON-RPC handler: %w", err)
	}
	token, err := client.AuthNew(ctx, api.AllPermissions)
	if err != nil {
		return nil, fmt.Errorf("making an API token: %w", err)
	}
	addr := l.Addr().(*net.TCPAddr)
	family := "ip4"
	if addr.IP.To4() == nil {
		family = "ip6"
	}
	n := &fullNode{TestFullNode: client, api: inside, gate: control.NewGate(l), count: count}
	n.apiInfo = fmt.Sprintf("%s:/%s/%s/tcp/%d/http", token, family, addr.IP, addr.Port)
	serve(t, count.Listener(n.gate), handler)
	return n, nil
}

// keep stores a block that is not for the head, without checking it: it was made here.
func (n *fullNode) keep(ctx context.Context, block *types.BlockMsg) (*types.TipSet, error) {
	raw, err := block.Header.ToStorageBlock()
	if err != nil {
		return nil, err
	}
	if err := n.api.ChainPutObj(ctx, raw); err != nil {
		return nil, err
	}
	return types.NewTipSet([]*types.BlockHeader{block.Header})
}

// grown lists the tipsets above genesis, up to the head.
func (n *fullNode) grown(ctx context.Context) ([]*types.TipSet, error) {
	ts, err := n.api.ChainHead(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the head: %w", err)
	}
	var branch []*types.TipSet
	for ts.Height() > 0 {
		branch = append(branch, ts)
		if ts, err = n.api.ChainGetTipSet(ctx, ts.Parents()); err != nil {
			return nil, fmt.Errorf("reading the chain: %w", err)
		}
	}
	slices.Reverse(branch)
	return branch, nil
}

// follow takes a block that another node has made its head.
func (n *fullNode) follow(ctx context.Context, other *fullNode, block *types.BlockMsg) error {
	if err := copyDAG(ctx, other.api, n.api, block.Header.Messages); err != nil {
		return fmt.Errorf("copying the messages: %w", err)
	}
	return n.api.SyncSubmitBlock(ctx, block)
}

// adopt makes a branch that was mined on another node, or on this one, the chain of this node, whatever its weight.
func (n *fullNode) adopt(ctx context.Context, other *fullNode, branch []*types.TipSet) error {
	if n != other {
		for _, ts := range branch {
			if err := n.fetch(ctx, other, ts); err != nil {
				return fmt.Errorf("copying epoch %d: %w", ts.Height(), err)
			}
		}
	}
	tip := branch[len(branch)-1]
	store := n.api.ChainAPI.Chain
	for _, block := range tip.Blocks() {
		// Otherwise Lotus would look for a better head at the next block, and find the old one.
		if err := store.AddToTipSetTracker(ctx, block); err != nil {
			return fmt.Errorf("making epoch %d known: %w", tip.Height(), err)
		}
	}
	if err := store.SetHead(ctx, tip); err != nil {
		return fmt.Errorf("setting the head to epoch %d: %w", tip.Height(), err)
	}
	return nil
}

// fetch copies a tipset whose parent is here, and executes the parent: without its state the tipset could not be.
func (n *fullNode) fetch(ctx context.Context, other *fullNode, ts *types.TipSet) error {
	for _, block := range ts.Blocks() {
		if err := copyDAG(ctx, other.api, n.api, block.Messages); err != nil {
			return err
		}
		if _, err := n.keep(ctx, &types.BlockMsg{Header: block}); err != nil {
			return err
		}
	}
	parent, err := n.api.ChainGetTipSet(ctx, ts.Parents())
	if err != nil {
		return err
	}
	_, _, err = n.api.StateAPI.StateManager.TipSetState(ctx, parent)
	return err
}

// copyDAG copies an object and all that it refers to from one node's store to another's.
func copyDAG(ctx context.Context, from, to *impl.FullNodeAPI, root cid.Cid) error {
	if has, err := to.ChainHasObj(ctx, root); err != nil || has {
		return err
	}
	data, err := from.ChainReadObj(ctx, root)
	if err != nil {
		return err
	}
	var refers []cid.Cid
	if err := cbg.ScanForLinks(bytes.NewReader(data), func(c cid.Cid) { refers = append(refers, c) }); err != nil {
		return err
	}
	for _, c := range refers {
		if err := copyDAG(ctx, from, to, c); err != nil {
			return err
		}
	}
	block, err := blocks.NewBlockWithCid(data, root)
	if err != nil {
		return err
	}
	return to.ChainPutObj(ctx, block)
}

// drop takes messages out of the pool, once that has followed the head to tip, and tells how many were there.
func (n *fullNode) drop(ctx context.Context, tip *types.TipSet, messages []*types.Message) (int, error) {
	pool, deadline := n.api.MpoolAPI.Mpool, time.Now().Add(poolLimit)
	// Not by Pending: that remembers what it answered, tipset included, until a message comes or goes.
	for _, at := pool.PendingFor(ctx, builtin.SystemActorAddr); !at.Equals(tip); _, at = pool.PendingFor(ctx, builtin.SystemActorAddr) {
		if time.Now().After(deadline) {
			return 0, errors.New("the message pool did not follow the head, so nothing was dropped from it")
		}
		time.Sleep(time.Millisecond)
	}
	dropped := 0
	for _, m := range messages {
		pending, _ := pool.PendingFor(ctx, m.From)
		if slices.ContainsFunc(pending, func(p *types.SignedMessage) bool { return p.Message.Cid() == m.Cid() }) {
			pool.Remove(ctx, m.From, m.Nonce, false)
			dropped++
		}
	}
	return dropped, nil
}

// dropAll empties the pool and returns how many messages were in it.
func (n *fullNode) dropAll(ctx context.Context) (int, error) {
	pending, _ := n.api.MpoolAPI.Mpool.Pending(ctx)
	return len(pending), n.api.MpoolClear(ctx, true)
}
