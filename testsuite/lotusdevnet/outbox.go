package main

import (
	"context"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/ipfs/go-cid"

	"github.com/filecoin-project/lotus/api/v1api"
	"github.com/filecoin-project/lotus/chain/types"
)

// pushAgain is after how many epochs a message that did not land is pushed again, in case that the pool lost it.
const pushAgain = 10

var (
	// outboxFeeCap is in attoFIL a unit of gas: far above any base fee that the tests drive up to.
	outboxFeeCap = big.NewInt(1_000_000_000_000)
	// outboxPremium is about the least that Lotus itself would offer. More would raise the base fee.
	outboxPremium = big.NewInt(100_000)
)

// outbox sends messages of a wallet that nobody else uses, and sees to it that each of them lands: after a reorg, or when
// the pool was emptied, it pushes the same message again. Lotus's own MpoolPushMessage would leave a gap in the nonces.
type outbox struct {
	node v1api.FullNode
	from address.Address
	sent []*outgoing // by nonce, without gaps
}

type outgoing struct {
	message *types.SignedMessage
	pushed  abi.ChainEpoch
}

// send signs the message and pushes it. Its sender, nonce and fees are the outbox's.
func (o *outbox) send(ctx context.Context, m *types.Message, ts *types.TipSet) (cid.Cid, error) {
	nonce, err := o.landed(ctx, ts)
	if err != nil {
		return cid.Undef, err
	}
	if n := len(o.sent); n > 0 {
		nonce = max(nonce, o.sent[n-1].message.Message.Nonce+1)
	}
	m.From, m.Nonce, m.GasFeeCap, m.GasPremium = o.from, nonce, outboxFeeCap, outboxPremium
	block, err := m.ToStorageBlock()
	if err != nil {
		return cid.Undef, fmt.Errorf("encoding the message: %w", err)
	}
	signature, err := o.node.WalletSign(ctx, o.from, block.Cid().Bytes())
	if err != nil {
		return cid.Undef, fmt.Errorf("signing the message: %w", err)
	}
	signed := &types.SignedMessage{Message: *m, Signature: *signature}
	if _, err := o.node.MpoolPush(ctx, signed); err != nil {
		return cid.Undef, fmt.Errorf("pushing the message: %w", err)
	}
	o.sent = append(o.sent, &outgoing{signed, ts.Height()})
	return signed.Cid(), nil
}

// tend pushes again what has not landed for a while. The pool refuses what it has.
func (o *outbox) tend(ctx context.Context, ts *types.TipSet) error {
	if len(o.sent) == 0 {
		return nil
	}
	nonce, err := o.landed(ctx, ts)
	if err != nil {
		return err
	}
	for _, s := range o.sent {
		if s.message.Message.Nonce >= nonce && ts.Height() >= s.pushed+pushAgain {
			s.pushed = ts.Height()
			_, _ = o.node.MpoolPush(ctx, s.message)
		}
	}
	return nil
}

// landed returns the first nonce that the chain at ts has not had.
func (o *outbox) landed(ctx context.Context, ts *types.TipSet) (uint64, error) {
	actor, err := o.node.StateGetActor(ctx, o.from, ts.Key())
	if err != nil {
		return 0, fmt.Errorf("asking for the nonce of %s: %w", o.from, err)
	}
	return actor.Nonce, nil
}
