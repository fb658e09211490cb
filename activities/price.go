package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	fil "github.com/filecoin-project/go-state-types/big"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// maxMessage is how many bytes a pool takes for a message (Lotus: MaxMessageSize), less what its signature takes.
const maxMessage = 64<<10 - 200

// noLimit is a fee that keeps the node from capping what it estimates: the limits are the operator's. All FIL that there will be.
var noLimit = fil.Mul(fil.NewInt(2_000_000_000), fil.NewInt(1e18))

// account is how a sender stands at a head.
type account struct {
	head    *chain.TipSet
	nonce   uint64 // the next one that the chain will take
	balance *big.Int
}

// account reads a sender's nonce and balance.
func (m *Messages) account(ctx context.Context, from address.Address) (account, error) {
	head, err := m.Node.ChainHead(ctx)
	if err != nil {
		return account{}, err
	}
	actor, err := m.Node.StateGetActor(ctx, from, head.Key())
	if err != nil {
		return account{}, fmt.Errorf("the sender %s: %w", from, err)
	}
	return account{head, actor.Nonce, funds(actor)}, nil
}

// left is the balance less what the messages that are on their way may cost, but for one nonce's.
func (s account) left(held []post.Held, but uint64) post.Atto {
	left := new(big.Int).Set(s.balance)
	for _, h := range held {
		if most := h.Gas.Most().Int(); most != nil && h.Nonce >= s.nonce && h.Nonce != but {
			left.Sub(left, most)
		}
	}
	if left.Sign() < 0 {
		left.SetInt64(0)
	}
	return post.AttoOf(left)
}

// priced is a message within the operator's limits, and its nonce. If the pool has the same one already, from before somebody ended the sender's
// workflow, that is adopted; if it has another one for the same purpose, this takes its place.
func (m *Messages) priced(ctx context.Context, in workflows.PrepareInput, at account, message *chain.Message, quote *post.Quote) (workflows.Prepared, error) {
	next, err := m.Node.MpoolGetNonce(ctx, message.From, at.nonce)
	if err != nil {
		return workflows.Prepared{}, err
	}
	unknown, looked, err := m.unknown(ctx, in, at, next, message.From)
	if err != nil {
		return workflows.Prepared{}, err
	}
	if looked { // one node's word for a nonce is worth nothing if no pool holds what is before it: they would all refuse the message
		next = post.FirstGap(at.nonce, next, in.Held, noncesOf(unknown))
	}
	nonce, instead := post.ChooseNonce(at.nonce, next, in.Held)
	if in.At != nil && in.At.Nonce >= at.nonce {
		nonce, instead = in.At.Nonce, in.At
	}
	var before []string
	for _, there := range unknown {
		switch {
		case sameCall(there.Message, *message):
			return adopt(there, at.head.Height)
		case in.Fill && there.Message.Nonce == nonce:
			return workflows.Prepared{Filled: true, Head: at.head.Height}, nil
		case samePost(there.Message, *message):
			nonce, instead = there.Message.Nonce, &post.Held{Nonce: there.Message.Nonce, Gas: gasOf(there.Message)}
			name, err := there.Cid()
			if err != nil {
				return workflows.Prepared{}, err
			}
			before = []string{name.String()}
		}
	}
	if late := in.Request.TooLate(at.head.Height); late != "" {
		return workflows.Prepared{}, errors.New(late)
	}
	message.Nonce = nonce // what has a higher one is not executed before it
	if quote == nil {
		now, err := m.quote(ctx, message)
		if err != nil {
			return workflows.Prepared{}, err
		}
		quote = &now
	}
	market := quote.Market(post.AttoOf(at.head.BaseFee().Int), at.left(in.Held, nonce))
	market.ShortOf = in.ShortOf
	gas, err := offer(in.Request.Fees, market, instead)
	if err != nil {
		return workflows.Prepared{}, err
	}
	raw, err := withGas(*message, gas)
	return workflows.Prepared{Message: raw, Nonce: nonce, Head: at.head.Height, Gas: gas, Before: before}, err
}

// offer is what a message offers: a new one within the limits of new ones, one that takes another's place within those of replacements.
func offer(fees post.Fees, market post.Market, instead *post.Held) (post.Gas, error) {
	if instead == nil || instead.Gas == (post.Gas{}) {
		return fees.Offer(market)
	}
	limit, err := fees.Limit(market)
	if err != nil {
		return post.Gas{}, err
	}
	return fees.Raise(post.Gas{Limit: limit, Premium: instead.Gas.Premium}, market)
}

// unknown are the messages of a sender in the pool that its workflow knows nothing of. The pool is only asked for when the nonces say that there
// are any, which looked says: on mainnet it is megabytes.
func (m *Messages) unknown(ctx context.Context, in workflows.PrepareInput, at account, next uint64, from address.Address) (unknown []*chain.SignedMessage, looked bool, err error) {
	known := map[uint64]bool{}
	for _, h := range in.Held {
		known[h.Nonce] = true
	}
	look := in.Fill && !known[in.At.Nonce]
	for nonce := at.nonce; nonce < next; nonce++ {
		look = look || !known[nonce]
	}
	if !look {
		return nil, false, nil
	}
	pending, err := m.Node.MpoolPending(ctx, at.head.Key())
	if err != nil {
		return nil, false, err
	}
	for _, p := range pending {
		if p != nil && p.Message.From == from && p.Message.Nonce >= at.nonce && !known[p.Message.Nonce] {
			unknown = append(unknown, p)
		}
	}
	return unknown, true, nil
}

func noncesOf(messages []*chain.SignedMessage) []uint64 {
	nonces := make([]uint64, len(messages))
	for i, m := range messages {
		nonces[i] = m.Message.Nonce
	}
	return nonces
}

// adopt is a message that was sent already, to be followed as if it had been sent now.
func adopt(there *chain.SignedMessage, head abi.ChainEpoch) (workflows.Prepared, error) {
	name, err := there.Cid()
	if err != nil {
		return workflows.Prepared{}, err
	}
	raw, err := json.Marshal(there)
	return workflows.Prepared{
		Nonce: there.Message.Nonce, Head: head, Gas: gasOf(there.Message), Adopted: &workflows.Signed{Message: name.String(), Bytes: raw},
	}, err
}

// gasOf is the gas that executing a message takes.
func (m *Messages) gasOf(ctx context.Context, message *chain.Message) (int64, error) {
	var whole bytes.Buffer
	if err := message.MarshalCBOR(&whole); err != nil {
		return 0, err
	}
	if whole.Len() > maxMessage {
		return 0, fmt.Errorf("%w: it has %d bytes, and a message has %d at most", post.ErrTooLarge, whole.Len(), maxMessage)
	}
	used, err := m.Node.GasEstimateGasLimit(ctx, message, nil)
	if err != nil && answered(err) && (strings.Contains(err.Error(), "ran out of gas") || strings.Contains(err.Error(), "SysErrOutOfGas")) {
		return 0, fmt.Errorf("%w: %w", post.ErrTooLarge, err)
	}
	return used, err
}

// quote estimates a message that has a nonce.
func (m *Messages) quote(ctx context.Context, message *chain.Message) (post.Quote, error) {
	used, err := m.gasOf(ctx, message)
	if err != nil {
		return post.Quote{}, err
	}
	return m.ask(ctx, message, used)
}

// ask adds to the gas that a message takes the premium and the fee cap that the node would choose.
func (m *Messages) ask(ctx context.Context, message *chain.Message, used int64) (post.Quote, error) {
	bare := *message
	bare.GasLimit, bare.GasFeeCap, bare.GasPremium = used, fil.Zero(), fil.Zero()
	estimated, err := m.Node.GasEstimateMessageGas(ctx, &bare, &chain.MessageSendSpec{MaxFee: noLimit}, nil)
	if err != nil {
		return post.Quote{}, err
	}
	if estimated == nil || estimated.GasPremium.Int == nil || estimated.GasFeeCap.Int == nil {
		return post.Quote{}, fmt.Errorf("the node estimates neither premium nor fee cap")
	}
	return post.Quote{GasUsed: used, Premium: post.AttoOf(estimated.GasPremium.Int), FeeCap: post.AttoOf(estimated.GasFeeCap.Int)}, nil
}

// RepriceMessage is a signed message with more paid for its gas, and otherwise the same, as far as the limits go.
func (m *Messages) RepriceMessage(ctx context.Context, in workflows.RepriceInput) (workflows.Repriced, error) {
	fail := func(err error) (workflows.Repriced, error) {
		return workflows.Repriced{}, refusal(fmt.Errorf("raising the fees of message %s: %w", in.Signed.Message, err))
	}
	var old chain.SignedMessage
	if err := json.Unmarshal(in.Signed.Bytes, &old); err != nil {
		return fail(err)
	}
	message := old.Message
	at, err := m.account(ctx, message.From)
	if err != nil {
		return fail(err)
	}
	if at.nonce > message.Nonce {
		return workflows.Repriced{Stuck: "its nonce is used on the chain", Head: at.head.Height}, nil
	}
	quote, err := m.ask(ctx, &message, message.GasLimit)
	if err != nil {
		return fail(err)
	}
	gas, err := in.Request.Fees.Raise(gasOf(message), quote.Market(post.AttoOf(at.head.BaseFee().Int), at.left(in.Held, message.Nonce)))
	if err != nil {
		return workflows.Repriced{Stuck: err.Error(), Head: at.head.Height}, nil
	}
	raw, err := withGas(message, gas)
	if err != nil {
		return fail(err)
	}
	return workflows.Repriced{Message: raw, Gas: gas, Head: at.head.Height}, nil
}

// withGas is a message with its gas, as JSON.
func withGas(m chain.Message, gas post.Gas) ([]byte, error) {
	m.GasLimit = gas.Limit
	m.GasFeeCap, m.GasPremium = abi.TokenAmount{Int: gas.FeeCap.Int()}, abi.TokenAmount{Int: gas.Premium.Int()}
	return json.Marshal(m)
}

// gasOf is what a message offers.
func gasOf(m chain.Message) post.Gas {
	return post.Gas{Limit: m.GasLimit, FeeCap: post.AttoOf(m.GasFeeCap.Int), Premium: post.AttoOf(m.GasPremium.Int)}
}

// sameCall says whether two messages ask the same of the same, whatever they pay and in whichever order.
func sameCall(a, b chain.Message) bool {
	return a.From == b.From && a.To == b.To && a.Method == b.Method && bytes.Equal(a.Params, b.Params) && len(a.Params)+int(a.Method) > 0
}

// sameMessage says whether two messages are the same in everything.
func sameMessage(a, b chain.Message) bool {
	x, err := a.Cid()
	if err != nil {
		return false
	}
	y, err := b.Cid()
	return err == nil && x == y
}
