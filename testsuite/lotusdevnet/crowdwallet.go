package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"

	"github.com/filecoin-project/lotus/chain/types"
	"github.com/filecoin-project/lotus/chain/wallet/key"
	"github.com/filecoin-project/lotus/node/impl"

	"posthaste/testsuite/lotusdevnet/control"
	"posthaste/testsuite/lotusdevnet/crowd"
)

const (
	// crowdBalance pays for days of full blocks.
	crowdBalance = "50000000 FIL"
	// baseFeePatience is how long /base-fee waits, in epochs; a factor of a million takes 118.
	baseFeePatience = 200
	nano            = 1e9 // attoFIL
)

// crowdWallet sends what others send. Its messages do not go through a pool: they are put into blocks as these are made, so
// that each block has just what the crowd is to have in it.
type crowdWallet struct {
	key  *key.Key
	plan crowd.Plan
}

// join says what a block on base holds, given what the pool offers.
func (w *crowdWallet) join(ctx context.Context, node *impl.FullNodeAPI, base *types.TipSet, offered []*types.SignedMessage) ([]*types.SignedMessage, error) {
	// A reorg puts the crowd's own ones into the pool.
	offered = slices.DeleteFunc(offered, func(m *types.SignedMessage) bool { return m.Message.From == w.key.Address })
	if !w.plan.Wants() {
		return offered, nil
	}
	baseFee, err := node.ChainAPI.Chain.ComputeBaseFee(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("computing the base fee: %w", err)
	}
	list := make([]crowd.Message, len(offered))
	for i, m := range offered {
		list[i] = crowd.Message{Sender: m.Message.From.String(), Gas: m.Message.GasLimit, Premium: m.Message.EffectiveGasPremium(baseFee)}
	}
	kept, gas, premium := w.plan.Block(baseFee, list)
	messages := make([]*types.SignedMessage, 0, len(kept)+1)
	for _, i := range kept {
		messages = append(messages, offered[i])
	}
	own, err := w.message(ctx, node, base, gas, baseFee, premium)
	if err != nil {
		return nil, err
	}
	return append(messages, own), nil
}

func (w *crowdWallet) message(ctx context.Context, node *impl.FullNodeAPI, base *types.TipSet, gas int64, baseFee, premium big.Int) (*types.SignedMessage, error) {
	nonce, err := w.nonce(ctx, node, base)
	if err != nil {
		return nil, err
	}
	m := types.Message{
		From: w.key.Address, To: w.key.Address, Nonce: nonce, Value: big.Zero(),
		GasLimit: gas, GasFeeCap: big.Add(baseFee, premium), GasPremium: premium,
	}
	block, err := m.ToStorageBlock()
	if err != nil {
		return nil, fmt.Errorf("encoding the crowd's message: %w", err)
	}
	signature, err := node.WalletSign(ctx, w.key.Address, block.Cid().Bytes())
	if err != nil {
		return nil, fmt.Errorf("signing the crowd's message: %w", err)
	}
	return &types.SignedMessage{Message: m, Signature: *signature}, nil
}

// nonce is the crowd's next one after base's own messages, which the state that base names does not have yet.
func (w *crowdWallet) nonce(ctx context.Context, node *impl.FullNodeAPI, base *types.TipSet) (uint64, error) {
	actor, err := node.StateGetActor(ctx, w.key.Address, base.Key())
	if err != nil {
		return 0, fmt.Errorf("asking for the crowd's nonce: %w", err)
	}
	held, err := node.ChainGetBlockMessages(ctx, base.Cids()[0])
	if err != nil {
		return 0, fmt.Errorf("reading the messages of epoch %d: %w", base.Height(), err)
	}
	nonce := actor.Nonce
	for _, m := range held.BlsMessages {
		if m.From == w.key.Address {
			nonce = max(nonce, m.Nonce+1)
		}
	}
	return nonce, nil
}

type premiumAsk struct {
	Nano float64 `json:"nano"` // nanoFIL a unit of gas
}

// premium lets others fill the blocks with messages of this premium, or no longer: then the base fee is left alone too.
func (m *mining) premium(_ context.Context, ask premiumAsk) (premiumAsk, error) {
	if ask.Nano < 0 || ask.Nano > 1e6 {
		return ask, control.Refuse("nano %g: must be 0 to 1000000", ask.Nano)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crowd.plan = crowd.Plan{Premium: big.NewInt(int64(math.Round(ask.Nano * nano)))}
	return ask, nil
}

type baseFeeAsk struct {
	Times float64 `json:"times"` // what it is now
}

type baseFeeAnswer struct {
	From   string         `json:"from"` // attoFIL a unit of gas
	Goal   string         `json:"goal"`
	To     string         `json:"to"` // now
	Times  float64        `json:"times"`
	Epochs abi.ChainEpoch `json:"epochs"` // that it took
}

// baseFee lets others raise the base fee, waits until it is there, and lets them keep it there until /premium.
func (m *mining) baseFee(ctx context.Context, ask baseFeeAsk) (baseFeeAnswer, error) {
	if ask.Times < 1 || ask.Times > 1e9 {
		return baseFeeAnswer{}, control.Refuse("times %g: must be 1 to 1000000000", ask.Times)
	}
	m.mu.Lock()
	from, start, err := m.nodes[0].baseFee(ctx)
	if err != nil {
		m.mu.Unlock()
		return baseFeeAnswer{}, err
	}
	goal := times(from, ask.Times)
	m.crowd.plan = crowd.Plan{BaseFee: goal}
	m.mu.Unlock()

	answer := baseFeeAnswer{From: from.String(), Goal: goal.String()}
	for {
		fee, epoch, err := m.nodes[0].baseFee(ctx)
		if err != nil {
			return answer, err
		}
		answer.To, answer.Epochs, answer.Times = fee.String(), epoch-start, ratio(fee, from)
		if fee.GreaterThanEqual(goal) || answer.Epochs > baseFeePatience {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(m.epoch / 2):
		}
	}
}

// baseFee is the base fee of the next block.
func (n *fullNode) baseFee(ctx context.Context) (big.Int, abi.ChainEpoch, error) {
	head, err := n.api.ChainHead(ctx)
	if err != nil {
		return big.Zero(), 0, fmt.Errorf("asking for the head: %w", err)
	}
	fee, err := n.api.ChainAPI.Chain.ComputeBaseFee(ctx, head)
	if err != nil {
		return fee, 0, fmt.Errorf("computing the base fee: %w", err)
	}
	return fee, head.Height(), nil
}

// times multiplies, to three digits after the point.
func times(n big.Int, factor float64) big.Int {
	return big.Div(big.Mul(n, big.NewInt(int64(factor*1000))), big.NewInt(1000))
}

// ratio divides, to two digits after the point.
func ratio(a, b big.Int) float64 {
	return float64(big.Div(big.Mul(a, big.NewInt(100)), b).Int64()) / 100
}
