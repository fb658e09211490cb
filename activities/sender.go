package activities

import (
	"context"
	"fmt"
	"math/big"
	"slices"

	"github.com/filecoin-project/go-address"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// senderOf is who sends a deadline's posts. Where nobody is configured it stays with whoever has sent one already: a second post of the same
// partition, from another address, would not wait for the first and be paid for in vain.
func (c *Chain) senderOf(ctx context.Context, in workflows.LoadInput, miner address.Address, info chain.MinerInfo, head *chain.TipSet) (address.Address, error) {
	if in.Sender == "" && in.Fees != (post.Fees{}) && head.Height >= in.Deadline.Open && head.Height < in.Deadline.Close {
		// A deadline is loaded before Open, unless it is issued again, or was reset: only then anybody can have sent anything.
		pending, err := c.Node.MpoolPending(ctx, head.Key())
		if err != nil {
			return address.Undef, err
		}
		for _, m := range pending {
			if !isPostOf(m.Message, miner, in.Deadline) {
				continue
			}
			// Anybody may put such a message into a pool; of one who may not send it nothing comes.
			if from, err := c.sender(ctx, m.Message.From.String(), in.Fees, info, head.Key()); err == nil || !answered(err) {
				return from, err
			}
		}
	}
	return c.sender(ctx, in.Sender, in.Fees, info, head.Key())
}

// sender is the key address that signs the miner's messages: the configured one, or one that is chosen; the worker for messages without fees,
// which are those of deadlines that began before there was a choice. Only addresses that the actor lets post are taken: a message from
// another is paid for and refused.
func (c *Chain) sender(ctx context.Context, configured string, fees post.Fees, info chain.MinerInfo, head chain.TipSetKey) (address.Address, error) {
	worker, err := c.Node.StateAccountKey(ctx, info.Worker, head)
	switch {
	case err != nil || configured == "" && fees == (post.Fees{}):
		return worker, err
	case configured == "":
		return c.choose(ctx, worker, fees, info, head)
	}
	want, err := address.NewFromString(configured)
	if err != nil {
		return address.Undef, fmt.Errorf("sender %q is not an address: %w", configured, err)
	}
	for _, allowed := range info.Senders() {
		key, err := c.Node.StateAccountKey(ctx, allowed, head)
		if err != nil && answered(err) {
			continue // an owner is often a multisig, which has no key and sends nothing itself
		}
		if err != nil {
			return address.Undef, err
		}
		if allowed == want || key == want {
			return key, nil
		}
	}
	return address.Undef, fmt.Errorf("sender %s is not a worker, control or owner address of the miner; "+
		"choose one of those in posthaste.toml", configured)
}

// choose takes, of the control addresses in the actor's order, the worker and the owner, the first whose key the node has and that can pay a
// message's highest fee; else the richest with a key. With no key at all it is the worker, so that whoever looks finds the usual name.
func (c *Chain) choose(ctx context.Context, worker address.Address, fees post.Fees, info chain.MinerInfo, head chain.TipSetKey) (address.Address, error) {
	need := fees.MaxFee.Int()
	if need == nil {
		need = new(big.Int)
	}
	best, most := worker, (*big.Int)(nil)
	for i, role := range info.Senders() {
		if slices.Contains(info.Senders()[:i], role) {
			continue
		}
		key, balance, err := c.purse(ctx, role, head)
		switch {
		case err != nil && !answered(err):
			return address.Undef, err
		case err != nil || balance == nil:
			continue
		case balance.Cmp(need) >= 0:
			return key, nil
		case most == nil || balance.Cmp(most) > 0:
			best, most = key, balance
		}
	}
	return best, nil
}

// purse is the key address of an account and what it has; nil if the node has not its key, so that it cannot send.
func (c *Chain) purse(ctx context.Context, account address.Address, head chain.TipSetKey) (address.Address, *big.Int, error) {
	key, err := c.Node.StateAccountKey(ctx, account, head)
	if err != nil {
		return address.Undef, nil, err
	}
	has, err := c.Node.WalletHas(ctx, key)
	if err != nil || !has {
		return address.Undef, nil, err
	}
	actor, err := c.Node.StateGetActor(ctx, key, head)
	if err != nil {
		return address.Undef, nil, err
	}
	return key, funds(actor), nil
}

// funds are what an actor has.
func funds(actor *chain.Actor) *big.Int {
	if actor == nil || actor.Balance.Int == nil {
		return new(big.Int)
	}
	return actor.Balance.Int
}

// isPostOf says whether a message is a post for a deadline's window.
func isPostOf(m chain.Message, miner address.Address, d post.Deadline) bool {
	if m.To != miner || m.Method != chain.MethodSubmitWindowedPoSt {
		return false
	}
	params, err := chain.ParsePostParams(m.Params)
	return err == nil && params.Deadline == d.Index && params.ChainCommitEpoch == d.Challenge
}

// samePost says whether two messages are posts of a partition in the same window of the same deadline.
func samePost(a, b chain.Message) bool {
	if a.To != b.To || a.Method != chain.MethodSubmitWindowedPoSt || b.Method != a.Method {
		return false
	}
	x, err := chain.ParsePostParams(a.Params)
	if err != nil {
		return false
	}
	y, err := chain.ParsePostParams(b.Params)
	if err != nil || x.Deadline != y.Deadline || x.ChainCommitEpoch != y.ChainCommitEpoch {
		return false
	}
	for _, p := range x.Partitions {
		for _, q := range y.Partitions {
			if p.Index == q.Index {
				return true
			}
		}
	}
	return false
}
