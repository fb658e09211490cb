package post

import (
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/filecoin-project/go-state-types/abi"
)

// Fees bound what a message may cost and how its gas is reckoned from the node's estimate. The zero value is for messages whose workflow
// began before there was a choice: the node's own estimate and limits.
type Fees struct {
	MaxFee            Atto    `json:"max_fee,omitempty"`            // for the whole message: gas limit × fee cap never exceeds it
	GasFeeCap         Atto    `json:"gas_fee_cap,omitempty"`        // per unit of gas; empty: the highest that MaxFee allows
	GasOverEstimation float64 `json:"gas_over_estimation,omitzero"` // factor on the gas that executing it took; 0 is 1
	GasOverPremium    float64 `json:"gas_over_premium,omitzero"`    // factor on the estimated premium; 0 is 1
	// ReplaceMaxFee is what MaxFee becomes for replacing a message that does not land, and then GasFeeCap no longer holds; empty: both stay.
	ReplaceMaxFee Atto `json:"replace_max_fee,omitempty"`
}

// DefaultFees are lotus-miner's for posts (MaxWindowPoStGasFee, MaximizeWindowPoStFeeCap), with its node's factor on gas.
func DefaultFees() Fees {
	return Fees{MaxFee: "5000000000000000000", GasOverEstimation: 1.25, GasOverPremium: 1}
}

// Atto is an amount of attoFIL (10⁻¹⁸ FIL) in decimal; empty: none is given. A text, so that settings can be compared.
type Atto string

// Recovery is how faulty sectors that can be proven again are declared recovered.
type Recovery struct {
	Off           bool `json:"off,omitempty"`           // they are not; the operator does it
	MaxSectors    int  `json:"max_sectors,omitzero"`    // of one deadline in one look; 0: no limit (lotus-miner's LOTUS_RECOVERING_SECTOR_LIMIT)
	MaxPartitions int  `json:"max_partitions,omitzero"` // in one message; 0: what the network allows (MaxPartitionsPerRecoveryMessage)
}

const (
	// BlockGasLimit is how much gas a block may hold, and so a message.
	BlockGasLimit = 10_000_000_000
	// A new message of a sender that is short of funds may bind this part of what it has left, so that others can be sent beside it.
	shareOfFunds = 4
	// What is needed is told with room for a base fee that rises by an eighth twice.
	roomPercent = 127
)

// Gas is what a message offers for being executed.
type Gas struct {
	Limit   int64 `json:"limit"`   // units of gas, at most
	FeeCap  Atto  `json:"fee_cap"` // per unit of gas at most, base fee and premium together
	Premium Atto  `json:"premium"` // per unit of gas to the miner of the block
}

// Most is what the message can cost at most, and what a pool wants the sender to have.
func (g Gas) Most() Atto {
	cap := g.FeeCap.Int()
	if cap == nil {
		return ""
	}
	return AttoOf(cap.Mul(cap, big.NewInt(g.Limit)))
}

// Market is what is known of the chain when a message is priced.
type Market struct {
	GasUsed   int64 // that executing the message took, by the node's estimate
	ShortOf   int   // how many messages for the same purpose ran out of gas on the chain
	Premium   Atto  // that a message needs to be included soon, by the node's estimate
	BaseFee   Atto  // of the head
	FeeCap    Atto  // that lets the base fee rise for twenty tipsets, by the node's estimate
	Available Atto  // the sender's balance less what its other messages on their way may cost
}

// Market is what a message is priced by, given the head's base fee and what its sender can spend.
func (q Quote) Market(baseFee, available Atto) Market {
	return Market{GasUsed: q.GasUsed, Premium: q.Premium, FeeCap: q.FeeCap, BaseFee: baseFee, Available: available}
}

// ErrTooLarge is a message that takes more gas than a block has: it must be split.
var ErrTooLarge = errors.New("message too large for a block")

// Offer prices a new message: the estimated gas and premium with their factors, and the highest fee cap that limits and balance allow,
// so that it still lands when the base fee has risen. It is an error, with what would have to be, if no block could include it now.
func (f Fees) Offer(m Market) (Gas, error) {
	limit, err := f.Limit(m)
	if err != nil {
		return Gas{}, err
	}
	most := f.cap(f.MaxFee, f.GasFeeCap, limit, m)
	payable := over(m.Available, limit)
	cap := most
	base := number(m.BaseFee)
	if share := new(big.Int).Div(payable, big.NewInt(shareOfFunds)); cap.Cmp(share) > 0 {
		cap = least(most, greatest(share, least(payable, greatest(number(m.FeeCap), base))))
	}
	if cap.Cmp(base) < 0 {
		if payable.Cmp(base) < 0 && most.Cmp(base) >= 0 {
			return Gas{}, fmt.Errorf("not enough funds: a gas limit of %d at the base fee of %s costs %s at least, and the sender has %s left beside its other messages; send it some FIL",
				limit, m.BaseFee.PerGas(), times(base, limit), m.Available)
		}
		return Gas{}, fmt.Errorf("no block can include it: the base fee is %s, and %s allows a fee cap of %s at a gas limit of %d; with max_fee at %s it could be sent now",
			m.BaseFee.PerGas(), f.bound(f.MaxFee, f.GasFeeCap), AttoOf(most).PerGas(), limit, needed(base, limit))
	}
	return Gas{Limit: limit, FeeCap: AttoOf(cap), Premium: AttoOf(least(f.premium(m), cap))}, nil
}

// Raise prices a replacement of a message at its nonce: 1.25 times its premium (pools take 1.10 times and 1 more), or what the node
// estimates now if that is more, and the highest fee cap that is allowed for replacing. It is an error, with the reason, if it
// cannot be replaced within the limits.
func (f Fees) Raise(old Gas, m Market) (Gas, error) {
	most, bound := f.cap(f.MaxFee, f.GasFeeCap, old.Limit, m), f.bound(f.MaxFee, f.GasFeeCap)
	if f.ReplaceMaxFee != "" {
		most, bound = f.cap(f.ReplaceMaxFee, "", old.Limit, m), "replace_max_fee "+f.ReplaceMaxFee.String()
	}
	cap := most
	if payable := over(m.Available, old.Limit); cap.Cmp(payable) > 0 {
		cap, bound = payable, fmt.Sprintf("what the sender has left beside its other messages (%s)", m.Available)
	}
	if base := number(m.BaseFee); cap.Cmp(base) < 0 {
		return Gas{}, fmt.Errorf("the base fee is %s, and %s allows a fee cap of %s at a gas limit of %d; %s would be needed",
			m.BaseFee.PerGas(), bound, AttoOf(cap).PerGas(), old.Limit, needed(base, old.Limit))
	}
	floor := Replacing(old.Premium).Int()
	if cap.Cmp(floor) < 0 {
		return Gas{}, fmt.Errorf("its premium would have to be %s for a pool to take another one, and %s allows a fee cap of %s at a gas limit of %d",
			AttoOf(floor).PerGas(), bound, AttoOf(cap).PerGas(), old.Limit)
	}
	premium := greatest(floor, greatest(up(number(old.Premium), 125, 100), f.premium(m)))
	return Gas{Limit: old.Limit, FeeCap: AttoOf(cap), Premium: AttoOf(least(premium, cap))}, nil
}

// Replacing is the least premium with which pools take a message in the place of one with that premium: 1.10 times, and 1 more.
func Replacing(premium Atto) Atto {
	return AttoOf(new(big.Int).Add(up(number(premium), 110, 100), big.NewInt(1)))
}

// Limit is the gas limit. One message that ran out of gas shows that the estimate was too low by more than its factor.
func (f Fees) Limit(m Market) (int64, error) {
	if m.GasUsed > BlockGasLimit {
		return 0, fmt.Errorf("%w: executing it takes %d gas of %d", ErrTooLarge, m.GasUsed, int64(BlockGasLimit))
	}
	limit := float64(m.GasUsed) * factor(f.GasOverEstimation) * math.Pow(1.25, float64(m.ShortOf))
	return int64(min(math.Ceil(limit), BlockGasLimit)), nil
}

// cap is the highest fee cap that a fee for the whole message and a price of gas allow; the node's estimate if neither is given.
func (f Fees) cap(fee, price Atto, limit int64, m Market) *big.Int {
	switch {
	case fee == "" && price == "":
		return number(m.FeeCap)
	case fee == "":
		return number(price)
	case price == "":
		return over(fee, limit)
	default:
		return least(number(price), over(fee, limit))
	}
}

// bound says which settings limit the fee cap.
func (f Fees) bound(fee, price Atto) string {
	switch {
	case fee == "" && price == "":
		return "the node's estimate"
	case fee == "":
		return "gas_fee_cap " + price.PerGas()
	case price == "":
		return "max_fee " + fee.String()
	default:
		return "max_fee " + fee.String() + " with gas_fee_cap " + price.PerGas()
	}
}

// premium is the estimated one with its factor, at least 1: a message without any is worth nothing to a miner.
func (f Fees) premium(m Market) *big.Int {
	const precision = 1 << 20
	return greatest(up(number(m.Premium), int64(factor(f.GasOverPremium)*precision), precision), big.NewInt(1))
}

// needed is a fee at which a message of that gas limit can be included, with some room.
func needed(base *big.Int, limit int64) Atto {
	return times(up(base, roomPercent, 100), limit)
}

// ReplaceAfter is how many epochs a message is given to land before it is replaced, with so many epochs left to Close. Messages land in the
// next two or three tipsets unless they pay too little, and a node finds them a tipset later. What is sent at Open + 4 on mainnet can so be replaced
// twenty times; its premium is 87 times what it was then.
func ReplaceAfter(left abi.ChainEpoch) abi.ChainEpoch {
	return min(max(left/6, 1), 5)
}

func factor(f float64) float64 {
	if f <= 0 {
		return 1
	}
	return f
}

// number is an amount, 0 where none is given.
func number(a Atto) *big.Int {
	if n := a.Int(); n != nil {
		return n
	}
	return new(big.Int)
}

func over(a Atto, limit int64) *big.Int {
	return new(big.Int).Div(greatest(number(a), new(big.Int)), big.NewInt(max(limit, 1)))
}

func times(price *big.Int, limit int64) Atto {
	return AttoOf(new(big.Int).Mul(price, big.NewInt(limit)))
}

// up is n × num / den, rounded up.
func up(n *big.Int, num, den int64) *big.Int {
	out := new(big.Int).Mul(n, big.NewInt(num))
	out.Add(out, big.NewInt(den-1))
	return out.Div(out, big.NewInt(den))
}

func least(a, b *big.Int) *big.Int {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

func greatest(a, b *big.Int) *big.Int {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}
