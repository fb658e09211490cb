// Package crowd decides what others send: messages that fill blocks, or that raise the base fee by their premiums
// (FIP-0115). It knows nothing of a node.
package crowd

import (
	"slices"

	"github.com/filecoin-project/go-state-types/big"
)

const (
	// BlockGas is the limit of a block.
	BlockGas = int64(10_000_000_000)
	// raisingGas is what it takes to raise the base fee: it follows the premium that 80% of a block's gas offers at least.
	// The rest is left to everybody else.
	raisingGas = BlockGas*80/100 + 500_000_000
	// leastGas is that of a message which does nothing but be there.
	leastGas = int64(5_000_000)
	// adjustment is the divisor of the base fee's greatest change from epoch to epoch.
	adjustment = 8
)

// Plan is what the crowd wants. The zero value wants nothing.
type Plan struct {
	Premium big.Int // fill blocks with messages of this premium, in attoFIL a unit of gas; nil or 0: do not
	BaseFee big.Int // raise the base fee to this and keep it there; nil or 0: do not
}

// Wants tells whether the crowd sends anything.
func (p Plan) Wants() bool { return positive(p.Premium) || positive(p.BaseFee) }

func positive(n big.Int) bool { return n.Int != nil && n.Sign() > 0 }

// Message is what is known of one message for a block. Those of one sender are in the order of their nonces.
type Message struct {
	Sender  string
	Gas     int64
	Premium big.Int // effective at the block's base fee
}

// Block says what a block with this base fee holds: which of the messages that the pool offers, by their places in the list,
// and one message of the crowd, with its gas (0: none) and its premium.
func (p Plan) Block(baseFee big.Int, offered []Message) (kept []int, gas int64, premium big.Int) {
	switch {
	case positive(p.Premium):
		// Whoever offers more comes first; then there is room for nobody else.
		kept = fit(offered, BlockGas-leastGas, func(m Message) bool { return m.Premium.GreaterThan(p.Premium) })
		return kept, BlockGas - sum(offered, kept), p.Premium
	case positive(p.BaseFee):
		return fit(offered, BlockGas-raisingGas, everybody), raisingGas, p.pressure(baseFee)
	}
	return fit(offered, BlockGas, everybody), 0, big.Zero()
}

// pressure is the premium that raises the base fee as fast as it can rise, or keeps it where it is.
func (p Plan) pressure(baseFee big.Int) big.Int {
	step := big.Div(big.Add(baseFee, big.NewInt(adjustment-1)), big.NewInt(adjustment))
	missing := big.Sub(p.BaseFee, baseFee)
	return big.Add(step, big.Max(big.Sub(big.Zero(), step), big.Min(step, missing)))
}

func everybody(Message) bool { return true }

// fit keeps the messages that are wanted and fit into so much gas, in their order. After one that is left out the same
// sender's later ones have no place either.
func fit(offered []Message, room int64, wanted func(Message) bool) []int {
	kept, out := []int{}, []string{}
	for i, m := range offered {
		if m.Gas > room || !wanted(m) || slices.Contains(out, m.Sender) {
			out = append(out, m.Sender)
			continue
		}
		kept, room = append(kept, i), room-m.Gas
	}
	return kept
}

func sum(offered []Message, kept []int) (gas int64) {
	for _, i := range kept {
		gas += offered[i].Gas
	}
	return gas
}
