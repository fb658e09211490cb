package devnet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"

	"posthaste/chain"
)

// Limits of Lotus's pool (chain/messagepool): how far a nonce may be ahead, and the least premium of a replacement, 1.10 times plus 1.
const (
	maxNonceGap      = 4
	replaceByFeeMin  = 110 // percent of the old premium
	blockGasLimit    = 10_000_000_000
	minimumBaseFee   = 100 // attoFIL
	maxMessageLength = 64 << 10
)

// pool is the messages that are not on the chain yet, by sender's key address and nonce.
type pool struct {
	pending map[address.Address]map[uint64]pooled
}

type pooled struct {
	message *chain.SignedMessage
	from    abi.ChainEpoch // first height that may hold it
}

func newPool() *pool { return &pool{pending: map[address.Address]map[uint64]pooled{}} }

// add takes a message, or says why not in the words of Lotus's pool. next is the sender's nonce on the chain.
func (p *pool) add(m *chain.SignedMessage, next uint64, balance abi.TokenAmount, from abi.ChainEpoch) error {
	msg := m.Message
	if err := checkMessage(msg); err != nil {
		return err
	}
	if msg.Nonce < next {
		return fmt.Errorf("minimum expected nonce is %d: message nonce too low", next)
	}
	own := p.pending[msg.From]
	old, has := own[msg.Nonce]
	if has {
		oldCid, err := old.message.Cid()
		if err != nil {
			return err
		}
		newCid, err := m.Cid()
		if err != nil {
			return err
		}
		if oldCid == newCid {
			return fmt.Errorf("message from %s with nonce %d already in mpool: message with nonce already exists", msg.From, msg.Nonce)
		}
		if least := replacementPremium(old.message.Message.GasPremium); msg.GasPremium.LessThan(least) {
			return fmt.Errorf("message from %s with nonce %d already in mpool, increase GasPremium to %s from %s to trigger replace by fee: replace by fee has too low GasPremium",
				msg.From, msg.Nonce, least, msg.GasPremium)
		}
	} else if msg.Nonce > p.nextNonce(msg.From, next)+maxNonceGap {
		return fmt.Errorf("message from %s with nonce %d: unfulfilled nonce gap (next is %d)", msg.From, msg.Nonce, p.nextNonce(msg.From, next))
	}
	need := requiredFunds(msg)
	for nonce, other := range own {
		if nonce != msg.Nonce {
			need = big.Add(need, requiredFunds(other.message.Message))
		}
	}
	if balance.LessThan(need) {
		return fmt.Errorf("mpool push: not enough funds: %s needs %s attoFIL for its pending messages and has %s", msg.From, need, balance)
	}
	if own == nil {
		own = map[uint64]pooled{}
		p.pending[msg.From] = own
	}
	own[msg.Nonce] = pooled{message: m, from: from}
	return nil
}

// checkMessage is what a pool looks at before it looks at anything else.
func checkMessage(m chain.Message) error {
	switch {
	case len(m.Params) > maxMessageLength:
		return fmt.Errorf("message too big: %d bytes of parameters", len(m.Params))
	case m.GasLimit <= 0 || m.GasLimit > blockGasLimit:
		return fmt.Errorf("message will not be included in a block: 'GasLimit' %d is not between 1 and %d", m.GasLimit, int64(blockGasLimit))
	case m.GasFeeCap.Int == nil || m.GasPremium.Int == nil || m.Value.Int == nil || m.Value.Sign() < 0 || m.GasPremium.Sign() < 0:
		return fmt.Errorf("message not valid for block inclusion: a value or fee is missing or negative")
	case m.GasPremium.GreaterThan(m.GasFeeCap):
		return fmt.Errorf("message not valid for block inclusion: 'GasFeeCap' less than 'GasPremium'")
	case m.GasFeeCap.LessThan(big.NewInt(minimumBaseFee)):
		return fmt.Errorf("message not valid for block inclusion: 'GasFeeCap' below the minimum base fee %d", minimumBaseFee)
	}
	return nil
}

// replacementPremium is the least premium that replaces a message of the same nonce.
func replacementPremium(old abi.TokenAmount) abi.TokenAmount {
	return big.Add(big.Div(big.Mul(old, big.NewInt(replaceByFeeMin)), big.NewInt(100)), big.NewInt(1))
}

func requiredFunds(m chain.Message) abi.TokenAmount {
	return big.Add(m.Value, big.Mul(m.GasFeeCap, big.NewInt(m.GasLimit)))
}

// nextNonce is the first nonce from next on that the pool does not hold.
func (p *pool) nextNonce(from address.Address, next uint64) uint64 {
	for {
		if _, has := p.pending[from][next]; !has {
			return next
		}
		next++
	}
}

// all are the pending messages, by sender and nonce.
func (p *pool) all() []*chain.SignedMessage {
	out := []*chain.SignedMessage{}
	for _, from := range p.senders() {
		for _, nonce := range slices.Sorted(maps.Keys(p.pending[from])) {
			out = append(out, p.pending[from][nonce].message)
		}
	}
	return out
}

func (p *pool) senders() []address.Address {
	return slices.SortedFunc(maps.Keys(p.pending), func(a, b address.Address) int { return cmp.Compare(a.String(), b.String()) })
}

// take removes the messages that the tipset at height includes: of each sender in the order of nonces without a gap, as long as
// they have waited long enough and pay the base fee.
func (p *pool) take(height abi.ChainEpoch, baseFee abi.TokenAmount, next func(address.Address) uint64) []*chain.SignedMessage {
	var out []*chain.SignedMessage
	for _, from := range p.senders() {
		for nonce := next(from); ; nonce++ {
			waiting, has := p.pending[from][nonce]
			if !has || waiting.from > height || waiting.message.Message.GasFeeCap.LessThan(baseFee) {
				break
			}
			out = append(out, waiting.message)
			delete(p.pending[from], nonce)
		}
		if len(p.pending[from]) == 0 {
			delete(p.pending, from)
		}
	}
	return out
}
