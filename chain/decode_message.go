package chain

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/ipfs/go-cid"
)

// decodeLookup decodes where a message was executed; nil where it was not.
func decodeLookup(raw json.RawMessage) (*MsgLookup, error) {
	if isNull(raw) {
		return nil, nil
	}
	var l MsgLookup
	if err := decodeInto(raw, &l); err != nil {
		return nil, err
	}
	if !l.Message.Defined() || len(l.TipSet) == 0 || len(l.TipSet) > maxBlocks || !defined(l.TipSet) {
		return nil, errors.New("it names no message or no tipset")
	}
	return &l, checkEpoch("the receipt's tipset", l.Height, 0)
}

// checkMessage refuses what is no message.
func checkMessage(m *Message) error {
	switch {
	case m.To == address.Undef || m.From == address.Undef:
		return errors.New("the message has no sender or no receiver")
	case len(m.Params) > maxParams:
		return fmt.Errorf("the message's parameters have %d bytes", len(m.Params))
	case m.GasLimit < 0 || m.GasLimit > maxGas:
		return fmt.Errorf("the message's gas limit is %d", m.GasLimit)
	}
	for name, amount := range map[string]abi.TokenAmount{"Value": m.Value, "GasFeeCap": m.GasFeeCap, "GasPremium": m.GasPremium} {
		if err := checkAmount(name, amount); err != nil {
			return err
		}
	}
	return nil
}

// checkAmount refuses what is no amount of attoFIL.
func checkAmount(what string, amount abi.TokenAmount) error {
	if amount.Int == nil || amount.Sign() < 0 {
		return fmt.Errorf("%s is %v, which is no amount", what, amount)
	}
	return nil
}

func decodeMessage(raw json.RawMessage) (*Message, error) {
	var m Message
	if err := decodeInto(raw, &m); err != nil {
		return nil, err
	}
	return &m, checkMessage(&m)
}

func decodeSigned(raw json.RawMessage) (*SignedMessage, error) {
	var s SignedMessage
	if err := decodeInto(raw, &s); err != nil {
		return nil, err
	}
	if n := len(s.Signature.Data); n == 0 || n > maxSignature {
		return nil, fmt.Errorf("the message's signature has %d bytes", n)
	}
	return &s, checkMessage(&s.Message)
}

func decodeActor(raw json.RawMessage) (*Actor, error) {
	var a Actor
	if err := decodeInto(raw, &a); err != nil {
		return nil, err
	}
	return &a, checkAmount("the actor's balance", a.Balance)
}

// decodeActorState decodes a miner actor's state as far as its funds go.
func decodeActorState(raw json.RawMessage) (*ActorState, error) {
	var a ActorState
	if err := decodeInto(raw, &a); err != nil {
		return nil, err
	}
	for name, amount := range map[string]abi.TokenAmount{
		"Balance": a.Balance, "PreCommitDeposits": a.State.PreCommitDeposits, "LockedFunds": a.State.LockedFunds,
		"InitialPledge": a.State.InitialPledge, "FeeDebt": a.State.FeeDebt,
	} {
		if err := checkAmount(name, amount); err != nil {
			return nil, err
		}
	}
	return &a, nil
}

// decodeGas decodes what a message's execution took.
func decodeGas(raw json.RawMessage) (int64, error) {
	var gas int64
	if err := decodeInto(raw, &gas); err != nil {
		return 0, err
	}
	if gas < 0 || gas > maxGas {
		return 0, fmt.Errorf("%d is no amount of gas", gas)
	}
	return gas, nil
}

func decodeParams(raw json.RawMessage) (*NetworkParams, error) {
	var p NetworkParams
	if err := decodeInto(raw, &p); err != nil {
		return nil, err
	}
	if p.BlockDelaySecs > maxEpochSeconds || p.GenesisTimestamp > maxTimestamp {
		return nil, fmt.Errorf("an epoch of %d s, genesis at %d", p.BlockDelaySecs, p.GenesisTimestamp)
	}
	return &p, nil
}

// decodeRandomness decodes the 32 bytes that every draw gives.
func decodeRandomness(raw json.RawMessage) (abi.Randomness, error) {
	var r abi.Randomness
	if err := decodeInto(raw, &r); err != nil {
		return nil, err
	}
	if len(r) != 32 {
		return nil, fmt.Errorf("the randomness has %d bytes instead of 32", len(r))
	}
	return r, nil
}

func decodeAddress(raw json.RawMessage) (address.Address, error) {
	var a address.Address
	if err := decodeInto(raw, &a); err != nil {
		return address.Undef, err
	}
	if a == address.Undef {
		return address.Undef, errors.New("the address is empty")
	}
	return a, nil
}

func decodeAmount(raw json.RawMessage) (abi.TokenAmount, error) {
	var a abi.TokenAmount
	if err := decodeInto(raw, &a); err != nil {
		return big.Zero(), err
	}
	return a, checkAmount("the balance", a)
}

func decodeCID(raw json.RawMessage) (cid.Cid, error) {
	var c cid.Cid
	if err := decodeInto(raw, &c); err != nil {
		return cid.Undef, err
	}
	if !c.Defined() {
		return cid.Undef, errors.New("the CID is empty")
	}
	return c, nil
}

// decodeAs decodes what needs no check beyond its type.
func decodeAs[T any](raw json.RawMessage) (T, error) {
	var v T
	err := decodeInto(raw, &v)
	return v, err
}
