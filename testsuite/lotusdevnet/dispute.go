package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/builtin"
	miner19 "github.com/filecoin-project/go-state-types/builtin/v19/miner"
	cbor "github.com/ipfs/go-ipld-cbor"

	"github.com/filecoin-project/lotus/blockstore"
	"github.com/filecoin-project/lotus/chain/actors"
	"github.com/filecoin-project/lotus/chain/actors/adt"
	"github.com/filecoin-project/lotus/chain/actors/builtin/miner"
	"github.com/filecoin-project/lotus/chain/types"

	"posthaste/testsuite/lotusdevnet/report"
)

const (
	// disputeGas is given by hand: estimating it would fail, and so never send, what the actor refuses.
	disputeGas = 1_000_000_000
	// validPost is in the actor's reason for refusing the dispute of a post that is right.
	validPost = "failed to dispute valid post"
)

// dispute sends a dispute of each proof that the actor keeps of a deadline's last period. Each is tried as a call first,
// which tells the actor's reason; a receipt has only the exit code.
func (f *follower) dispute(ctx context.Context, ts *types.TipSet, deadline uint64) ([]report.Dispute, error) {
	proofs, err := f.kept(ctx, ts, deadline)
	if err != nil {
		return nil, err
	}
	var disputes []report.Dispute
	for i, partitions := range proofs {
		d, err := f.disputeOne(ctx, ts, deadline, uint64(i))
		if err != nil {
			f.log.Error("disputing a post", "deadline", deadline, "proof", i, "partitions", partitions, "error", err)
		}
		d.Partitions = partitions
		disputes = append(disputes, d)
	}
	return disputes, nil
}

// disputeOne sends the dispute of one proof. Its error says why the proof cannot be taken as verified.
func (f *follower) disputeOne(ctx context.Context, ts *types.TipSet, deadline, proof uint64) (report.Dispute, error) {
	var d report.Dispute
	params, aerr := actors.SerializeParams(&miner19.DisputeWindowedPoStParams{Deadline: deadline, PoStIndex: proof})
	if aerr != nil {
		return d, fmt.Errorf("encoding the parameters: %w", aerr)
	}
	msg := &types.Message{
		From: f.outbox.from, To: f.miner, Value: types.NewInt(0),
		Method: builtin.MethodsMiner.DisputeWindowedPoSt, Params: params, GasLimit: disputeGas,
	}
	call, err := f.node.StateCall(ctx, msg, ts.Key())
	if err != nil {
		return d, fmt.Errorf("trying it as a call: %w", err)
	}
	d.ForValidity = strings.Contains(call.Error, validPost)
	sent, err := f.outbox.send(ctx, msg, ts)
	if err != nil {
		return d, fmt.Errorf("sending it: %w", err)
	}
	d.Message = sent.String()
	switch {
	case call.MsgRct.ExitCode.IsSuccess():
		return d, errors.New("the actor takes the dispute: the proof is wrong")
	case !d.ForValidity:
		return d, fmt.Errorf("refused for another reason than a valid post: %s", call.Error)
	}
	return d, nil
}

// kept lists the proofs of a deadline that can be disputed, in the order of their indices, each as the partitions that
// it proves. Node calls tell only how many there are, so this reads the actor's state, of the version that this Lotus
// starts its test networks with.
func (f *follower) kept(ctx context.Context, ts *types.TipSet, deadline uint64) ([][]uint64, error) {
	actor, err := f.node.StateGetActor(ctx, f.miner, ts.Key())
	if err != nil {
		return nil, fmt.Errorf("loading the miner actor: %w", err)
	}
	store := adt.WrapStore(ctx, cbor.NewCborStore(blockstore.NewAPIBlockstore(f.node)))
	loaded, err := miner.Load(store, actor)
	if err != nil {
		return nil, fmt.Errorf("reading the miner's state: %w", err)
	}
	state, ok := loaded.GetState().(*miner19.State)
	if !ok {
		return nil, fmt.Errorf("the miner's state is a %T, this program reads version 19 of the actors; adapt it to this Lotus", loaded.GetState())
	}
	all, err := state.LoadDeadlines(store)
	if err != nil {
		return nil, fmt.Errorf("reading the deadlines: %w", err)
	}
	d, err := all.LoadDeadline(store, deadline)
	if err != nil {
		return nil, fmt.Errorf("reading the deadline: %w", err)
	}
	snapshot, err := d.OptimisticProofsSnapshotArray(store)
	if err != nil {
		return nil, fmt.Errorf("reading the kept proofs: %w", err)
	}
	var kept [][]uint64
	var proof miner19.WindowedPoSt
	err = snapshot.ForEach(&proof, func(int64) error {
		partitions, err := list(proof.Partitions)
		kept = append(kept, partitions)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the kept proofs: %w", err)
	}
	return kept, nil
}

// maxPartitions is far more than a deadline of this chain can have.
const maxPartitions = 3000

func list(b bitfield.BitField) ([]uint64, error) {
	numbers, err := b.All(maxPartitions)
	if err != nil {
		return nil, fmt.Errorf("listing partitions: %w", err)
	}
	return numbers, nil
}
