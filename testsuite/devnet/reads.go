package devnet

import (
	"errors"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/ipfs/go-cid"

	"posthaste/chain"
)

var errFuture = errors.New("cannot draw randomness from the future")

// lookupID is the ID address of an account, by either of its addresses. The caller holds the lock.
func (c *Chain) lookupID(a address.Address) (address.Address, error) {
	id := a
	if a.Protocol() != address.ID {
		id = c.ids[a]
	}
	if _, known := c.head.after.accounts[id]; known {
		return id, nil
	}
	if n, err := address.IDFromAddress(id); err == nil && c.head.after.miners[abi.ActorID(n)] != nil {
		return id, nil
	}
	return address.Undef, fmt.Errorf("resolve address %s: actor not found", a)
}

// accountKey is the key address of an account. The caller holds the lock.
func (c *Chain) accountKey(a address.Address) (address.Address, error) {
	id, err := c.lookupID(a)
	if err != nil {
		return address.Undef, err
	}
	account, known := c.head.after.accounts[id]
	if !known {
		return address.Undef, fmt.Errorf("%s is not an account actor", a)
	}
	return account.key, nil
}

// onMiner runs a read on the state of a miner as the tipset of that key has it.
func onMiner[T any](c *Chain, a address.Address, key chain.TipSetKey, read func(*block, *minerState) (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var none T
	b, err := c.at(key)
	if err != nil {
		return none, err
	}
	id, err := address.IDFromAddress(a)
	if err != nil || b.before.miners[abi.ActorID(id)] == nil {
		return none, fmt.Errorf("failed to load miner actor %s: actor not found", a)
	}
	return read(b, b.before.miners[abi.ActorID(id)])
}

// randomness draws from the beacon or the tickets of the chain that ends in key.
func (c *Chain) randomness(key chain.TipSetKey, epoch abi.ChainEpoch, draw func(*runtime) abi.Randomness) (abi.Randomness, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.at(key)
	if err != nil {
		return nil, err
	}
	if epoch > b.height() {
		return nil, fmt.Errorf("%w: epoch %d, head %d", errFuture, epoch, b.height())
	}
	return draw(c.runtimeAt(b)), nil
}

func (c *Chain) beaconRandomness(tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key chain.TipSetKey) (abi.Randomness, error) {
	return c.randomness(key, epoch, func(r *runtime) abi.Randomness { return r.beacon(tag, epoch, entropy) })
}

func (c *Chain) ticketRandomness(tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key chain.TipSetKey) (abi.Randomness, error) {
	return c.randomness(key, epoch, func(r *runtime) abi.Randomness { return r.ticket(tag, epoch, entropy) })
}

// tipsetAt is the tipset at epoch on the chain that ends in key. Where epoch is a null round it is the one after it, or the one
// before it if before is asked for.
func (c *Chain) tipsetAt(epoch abi.ChainEpoch, key chain.TipSetKey, before bool) (*chain.TipSet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.at(key)
	if err != nil {
		return nil, err
	}
	if epoch > at.height() {
		return nil, fmt.Errorf("looking for tipset with height greater than start point")
	}
	later := at
	for at.height() > epoch && at.parent != nil {
		later, at = at, at.parent
	}
	if at.height() == epoch || before {
		return at.tipset, nil
	}
	return later.tipset, nil
}

// search finds the receipt of a message on the chain that ends in key. A message in one tipset is executed by the next, which
// is the one that a lookup names, as on Lotus.
func (c *Chain) search(key chain.TipSetKey, name cid.Cid, limit abi.ChainEpoch, allowReplaced bool) (*chain.MsgLookup, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	head, err := c.at(key)
	if err != nil {
		return nil, err
	}
	wanted, known := c.seen[name]
	if !known {
		return nil, fmt.Errorf("failed to load message: %s not found", name)
	}
	for child := head; child.parent != nil; child = child.parent {
		if limit >= 0 && head.height()-child.height() > limit {
			return nil, nil
		}
		for i, m := range child.parent.messages {
			if m.Message.From != wanted.Message.From || m.Message.Nonce != wanted.Message.Nonce {
				continue
			}
			found, err := m.Cid()
			if err != nil {
				return nil, err
			}
			if found != name && (!allowReplaced || !sameCall(m.Message, wanted.Message)) {
				return nil, fmt.Errorf("failed to look back through chain for message: found message with equal nonce as the one we are looking for (F:%s n %d, TS: %s n%d)",
					name, wanted.Message.Nonce, found, m.Message.Nonce)
			}
			return &chain.MsgLookup{Message: found, Receipt: child.parent.receipts[i], TipSet: child.tipset.Cids, Height: child.height()}, nil
		}
	}
	return nil, nil
}

// sameCall says whether two messages differ in gas only.
func sameCall(a, b chain.Message) bool {
	a.GasLimit, a.GasFeeCap, a.GasPremium = b.GasLimit, b.GasFeeCap, b.GasPremium
	x, err1 := a.Cid()
	y, err2 := b.Cid()
	return err1 == nil && err2 == nil && x == y
}
