package devnet

import (
	"fmt"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"

	"posthaste/chain"
)

// What executing a post costs here: of the order of a real one, and the same every time.
const (
	gasBase         = 30_000_000
	gasPerByte      = 1_300 // what the network charges for a byte of a message on the chain
	gasOverestimate = 125   // percent; Lotus's default
	defaultPremium  = 100_000
	feeCapBlocks    = 20 // Lotus's fee cap lets the base fee rise by an eighth so many times
)

func gasUsed(m chain.Message) int64 { return gasBase + gasPerByte*int64(len(m.Params)) }

// gasLimit executes a message on the state of a tipset with its messages, at its height, and gives the gas that it took. As on Lotus, a message
// that fails there is an error with the actor's reason.
func (c *Chain) gasLimit(m chain.Message, key chain.TipSetKey) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.at(key)
	if err != nil {
		return 0, err
	}
	return c.try(b, m)
}

// try executes a message without keeping what it does. The caller holds the lock.
func (c *Chain) try(b *block, m chain.Message) (int64, error) {
	from, err := c.lookupID(m.From)
	if err != nil {
		return 0, fmt.Errorf("estimating gas used: getting the sender: %w", err)
	}
	if _, abort := c.invoke(b, b.applied.clone(), from, m); abort != nil {
		trace := fmt.Sprintf("message failed with backtrace:\n00: %s (method %d) -- %s (%d)\n (RetCode=%d)", m.To, m.Method, abort.reason, abort.code, abort.code)
		return 0, fmt.Errorf("estimating gas used: message execution failed (exit=[%s], vm error=[%s])", abort.code, trace)
	}
	return gasUsed(m), nil
}

// estimate fills in what a message leaves open: gas limit, premium and fee cap.
func (c *Chain) estimate(m chain.Message, spec *chain.MessageSendSpec, key chain.TipSetKey) (*chain.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.at(key)
	if err != nil {
		return nil, err
	}
	if m.GasLimit == 0 {
		used, err := c.try(b, m)
		if err != nil {
			return nil, err
		}
		m.GasLimit = used * gasOverestimate / 100
	}
	if m.GasPremium.Int == nil || m.GasPremium.IsZero() {
		m.GasPremium = big.NewInt(defaultPremium)
	}
	if m.GasFeeCap.Int == nil || m.GasFeeCap.IsZero() {
		m.GasFeeCap = big.Add(raisedBaseFee(c.baseFee), m.GasPremium)
	}
	if spec != nil && spec.MaxFee.Int != nil && spec.MaxFee.Sign() > 0 {
		if most := big.Div(spec.MaxFee, big.NewInt(m.GasLimit)); m.GasFeeCap.GreaterThan(most) {
			m.GasFeeCap = most
			m.GasPremium = big.Min(m.GasPremium, most)
		}
	}
	return &m, nil
}

func raisedBaseFee(fee abi.TokenAmount) abi.TokenAmount {
	for range feeCapBlocks {
		fee = big.Div(big.Mul(fee, big.NewInt(9)), big.NewInt(8))
	}
	return fee
}
