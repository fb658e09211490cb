package devnet

import (
	"context"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/ipfs/go-cid"

	"posthaste/chain"
)

func (r *rpcAPI) StateLookupID(_ context.Context, a address.Address, _ chain.TipSetKey) (address.Address, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.lookupID(a)
}

func (r *rpcAPI) StateAccountKey(_ context.Context, a address.Address, _ chain.TipSetKey) (address.Address, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.accountKey(a)
}

func (r *rpcAPI) StateGetActor(_ context.Context, a address.Address, key chain.TipSetKey) (*chain.Actor, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	b, err := r.c.at(key)
	if err != nil {
		return nil, err
	}
	id, err := r.c.lookupID(a)
	if err != nil {
		return nil, err
	}
	// The codes and state roots are those of no real actor: nobody here reads them.
	code, head := r.c.cfg.derive("code"), r.c.cfg.derive("head", []byte(id.String()))
	out := &chain.Actor{Balance: big.Zero()}
	if out.Code, err = abi.CidBuilder.Sum(code[:]); err != nil {
		return nil, err
	}
	if out.Head, err = abi.CidBuilder.Sum(head[:]); err != nil {
		return nil, err
	}
	if account, known := b.before.accounts[id]; known {
		out.Nonce, out.Balance = account.nonce, account.balance
	}
	return out, nil
}

func (r *rpcAPI) MpoolGetNonce(_ context.Context, a address.Address) (uint64, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	key, err := r.c.accountKey(a)
	if err != nil {
		return 0, err
	}
	return r.c.pool.nextNonce(key, r.c.head.after.accounts[r.c.ids[key]].nonce), nil
}

func (r *rpcAPI) MpoolPending(context.Context, chain.TipSetKey) ([]*chain.SignedMessage, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.pool.all(), nil
}

func (r *rpcAPI) MpoolPush(ctx context.Context, m *chain.SignedMessage) (cid.Cid, error) {
	if err := need(ctx, "MpoolPush", permWrite); err != nil {
		return cid.Undef, err
	}
	return r.c.Push(m)
}

// WalletHas knows keys by their key address only, as Lotus's wallet does.
func (r *rpcAPI) WalletHas(ctx context.Context, a address.Address) (bool, error) {
	if err := need(ctx, "WalletHas", permWrite); err != nil {
		return false, err
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	_, has := r.c.wallet[a]
	return has, nil
}

func (r *rpcAPI) WalletBalance(_ context.Context, a address.Address) (abi.TokenAmount, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	id, err := r.c.lookupID(a)
	if err != nil {
		return big.Zero(), nil // as on Lotus: who is not on the chain has nothing
	}
	if account, known := r.c.head.after.accounts[id]; known {
		return account.balance, nil
	}
	return big.Zero(), nil
}

func (r *rpcAPI) WalletSignMessage(ctx context.Context, a address.Address, m *chain.Message) (*chain.SignedMessage, error) {
	if err := need(ctx, "WalletSignMessage", permSign); err != nil {
		return nil, err
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	key, err := r.c.accountKey(a)
	if err != nil {
		return nil, fmt.Errorf("failed to resolve ID address %s: %w", a, err)
	}
	return r.c.wallet.sign(key, *m)
}
