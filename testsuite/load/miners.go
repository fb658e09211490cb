package load

import (
	"context"
	"fmt"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"go.temporal.io/sdk/client"

	"posthaste/activities"
	nodes "posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// watchLookback is from a watched deadline's challenge to its Open; a deadline made by Issue has as much behind it.
const watchLookback = 20

// watchedChain is what WatchDeadlines asks of a node. It asks nothing else.
type watchedChain struct {
	activities.ChainReader // nil
	chain                  *chain
}

// IssueWatched starts a miner's workflow, whose real WatchDeadlines finds one deadline with something to prove, open now, and issues it as
// often as it has to. A miner has one such deadline at most.
func (l *Load) IssueWatched(ctx context.Context, w Work) (post.Deadline, error) {
	if w.Epochs == 0 {
		w.Epochs = 3600
	}
	d := l.deadline(w, l.chain.head())
	start := l.chain.head() - 1
	l.chain.mu.Lock()
	sets := l.chain.deadlines[d]
	d = post.NewDeadline(d.Miner, l.chain.info(start, start, w.Epochs))
	l.chain.deadlines[d], l.chain.watched[d.Miner] = sets, d
	l.chain.mu.Unlock()
	_, err := l.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "miner-" + post.MinerName(d.Miner), TaskQueue: workflows.QueueChain},
		workflows.NameMinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: d.Miner, Settings: l.settings(w)}})
	if err != nil {
		return d, fmt.Errorf("watching the deadlines of %s: %w", post.MinerName(d.Miner), err)
	}
	return d, nil
}

// watching is WatchDeadlines: the real one for miners with a deadline that it can find, else what tells the head.
func (c *chain) watching(real *activities.Watch) func(context.Context, workflows.WatchInput) error {
	return func(ctx context.Context, in workflows.WatchInput) error {
		c.mu.Lock()
		_, finds := c.watched[in.Miner]
		c.mu.Unlock()
		if finds {
			return real.WatchDeadlines(ctx, in)
		}
		return c.watchDeadlines(ctx, in)
	}
}

// info is that of a proving period of two deadlines, the second of which is empty.
func (c *chain) info(start, head, window abi.ChainEpoch) *dline.Info {
	index := uint64(0)
	if head >= start+window {
		index = 1
	}
	return dline.NewInfo(start, index, head, 2, 2*window, window, watchLookback, 2*watchLookback)
}

func (c watchedChain) StateMinerProvingDeadline(_ context.Context, miner address.Address, _ nodes.TipSetKey) (*dline.Info, error) {
	id, err := address.IDFromAddress(miner)
	if err != nil {
		return nil, err
	}
	c.chain.mu.Lock()
	defer c.chain.mu.Unlock()
	d := c.chain.watched[abi.ActorID(id)]
	return c.chain.info(d.PeriodStart, c.chain.head(), d.Close-d.Open), nil
}

func (c watchedChain) StateMinerPartitions(_ context.Context, miner address.Address, index uint64, _ nodes.TipSetKey) ([]nodes.Partition, error) {
	id, err := address.IDFromAddress(miner)
	if err != nil || index != 0 {
		return nil, err
	}
	c.chain.mu.Lock()
	defer c.chain.mu.Unlock()
	var out []nodes.Partition
	for _, set := range c.chain.deadlines[c.chain.watched[abi.ActorID(id)]] {
		live := bitfield.New()
		for _, s := range set {
			live.Set(uint64(s.Number))
		}
		out = append(out, nodes.Partition{LiveSectors: live, FaultySectors: bitfield.New(), RecoveringSectors: bitfield.New()})
	}
	return out, nil
}

// Heads gives the head and then one with every epoch.
func (c *chain) Heads(ctx context.Context) <-chan *nodes.TipSet {
	heads := make(chan *nodes.TipSet)
	go func() {
		defer close(heads)
		for {
			head := c.head()
			select {
			case heads <- &nodes.TipSet{Cids: nodes.TipSetKey{tipsetName(head)}, Height: head}:
			case <-ctx.Done():
				return
			}
			next := c.began.Add(time.Duration(head+1-firstEpoch) * c.epoch)
			select {
			case <-time.After(time.Until(next)):
			case <-ctx.Done():
				return
			}
		}
	}()
	return heads
}

func tipsetName(epoch abi.ChainEpoch) cid.Cid {
	hash, err := multihash.Sum(fmt.Appendf(nil, "tipset %d", epoch), multihash.IDENTITY, -1)
	if err != nil {
		panic(err) // the identity of a few bytes cannot fail
	}
	return cid.NewCidV1(cid.Raw, hash)
}
