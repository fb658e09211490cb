package main

import (
	"context"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin"
	miner19 "github.com/filecoin-project/go-state-types/builtin/v19/miner"
	"github.com/ipfs/go-cid"
	cbg "github.com/whyrusleeping/cbor-gen"

	"github.com/filecoin-project/lotus/api"
	"github.com/filecoin-project/lotus/chain/actors"
	"github.com/filecoin-project/lotus/chain/types"
	"github.com/filecoin-project/lotus/itests/kit"

	"posthaste/testsuite/lotusdevnet/options"
)

// addresses of the miner. Every node's wallet has the keys of all.
type addresses struct {
	Owner   string   `json:"owner"`
	Worker  string   `json:"worker"`
	Control []string `json:"control"` // without that of Lotus's poster
}

const (
	transferGas = 10_000_000
	// allowance is what an owner and a control address begin with: enough for all that they may ever pay.
	allowance = "100000 FIL"
)

// shareKeys gives every node the miner's key and, if apart, the miner an owner and a control address of their own, with
// keys that every node has. The test kit's miners have one key for all.
func shareKeys(ctx context.Context, nodes []*fullNode, miner *kit.TestMiner, opts options.Options, keys *controlKeys, send *outbox) (addresses, error) {
	worker := miner.OwnerKey.Address
	for _, n := range nodes[1:] {
		if _, err := n.WalletImport(ctx, &miner.OwnerKey.KeyInfo); err != nil {
			return addresses{}, fmt.Errorf("giving a node the worker's key: %w", err)
		}
	}
	if !opts.Addresses {
		return addresses{Owner: worker.String(), Worker: worker.String(), Control: []string{}}, nil
	}
	owner, err := newKey(ctx, nodes, send)
	if err != nil {
		return addresses{}, fmt.Errorf("making an owner: %w", err)
	}
	control, err := newKey(ctx, nodes, send)
	if err != nil {
		return addresses{}, fmt.Errorf("making a control address: %w", err)
	}
	controls := []address.Address{control}
	keys.set(ours, control)
	if opts.Turns {
		other, err := newKey(ctx, nodes, send)
		if err != nil {
			return addresses{}, fmt.Errorf("making a control address for Lotus's poster: %w", err)
		}
		controls = append(controls, other)
		keys.set(theirs, other)
	}
	steps := []struct {
		from   address.Address
		method abi.MethodNum
		params cbg.CBORMarshaler
	}{
		{worker, builtin.MethodsMiner.ChangeWorkerAddress, &miner19.ChangeWorkerAddressParams{NewWorker: worker, NewControlAddrs: controls}},
		{worker, builtin.MethodsMiner.ChangeOwnerAddress, &owner}, // proposed by the old one
		{owner, builtin.MethodsMiner.ChangeOwnerAddress, &owner},  // confirmed by the new one
	}
	for _, s := range steps {
		if err := call(ctx, nodes[0], s.from, miner.ActorAddr, s.method, s.params); err != nil {
			return addresses{}, fmt.Errorf("changing the miner's addresses: %w", err)
		}
	}
	return addresses{Owner: owner.String(), Worker: worker.String(), Control: []string{control.String()}}, nil
}

// newKey makes a key that every node has, with an account that can pay, and returns the account's ID address.
func newKey(ctx context.Context, nodes []*fullNode, send *outbox) (address.Address, error) {
	first := nodes[0]
	key, err := first.WalletNew(ctx, types.KTSecp256k1)
	if err != nil {
		return key, err
	}
	secret, err := first.WalletExport(ctx, key)
	if err != nil {
		return key, err
	}
	for _, n := range nodes[1:] {
		if _, err := n.WalletImport(ctx, secret); err != nil {
			return key, err
		}
	}
	head, err := first.ChainHead(ctx)
	if err != nil {
		return key, err
	}
	message, err := send.send(ctx, &types.Message{To: key, Value: abi.TokenAmount(types.MustParseFIL(allowance)), GasLimit: transferGas}, head)
	if err != nil {
		return key, err
	}
	if err := landed(ctx, first, message); err != nil {
		return key, err
	}
	return first.StateLookupID(ctx, key, types.EmptyTSK)
}

// call sends a message to a method and waits until it was executed.
func call(ctx context.Context, n *fullNode, from, to address.Address, method abi.MethodNum, params cbg.CBORMarshaler) error {
	encoded, aerr := actors.SerializeParams(params)
	if aerr != nil {
		return aerr
	}
	sent, err := n.MpoolPushMessage(ctx, &types.Message{From: from, To: to, Value: types.NewInt(0), Method: method, Params: encoded}, nil)
	if err != nil {
		return err
	}
	return landed(ctx, n, sent.Cid())
}

// landed waits until a message was executed with success.
func landed(ctx context.Context, n *fullNode, message cid.Cid) error {
	found, err := n.StateWaitMsg(ctx, message, 0, api.LookbackNoLimit, true)
	if err != nil {
		return fmt.Errorf("waiting for message %s: %w", message, err)
	}
	if found.Receipt.ExitCode != 0 {
		return fmt.Errorf("message %s ended with exit code %d", message, found.Receipt.ExitCode)
	}
	return nil
}
