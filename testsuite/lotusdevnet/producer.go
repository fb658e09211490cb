package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/proof"

	"github.com/filecoin-project/lotus/api"
	"github.com/filecoin-project/lotus/build/buildconstants"
	"github.com/filecoin-project/lotus/chain/gen"
	"github.com/filecoin-project/lotus/chain/rand"
	"github.com/filecoin-project/lotus/chain/types"
	"github.com/filecoin-project/lotus/node/impl"
)

// winningProof is what Lotus's test networks take for a WinningPoSt, so that a block costs milliseconds.
const winningProof = "valid proof"

// errIneligible is of a miner that may not mine: it has no power, a fee debt, or a consensus fault.
var errIneligible = errors.New("the miner may not mine (no power, a fee debt, or a consensus fault)")

// producer makes blocks of one miner. Unlike Lotus's own miner it makes them on any tipset, for any epoch after it, and
// when it is told to.
type producer struct {
	node  *impl.FullNodeAPI
	miner address.Address
	crowd *crowdWallet
}

// block makes the block of an epoch on top of base, with what the node would choose from its pool, or with no messages. It
// is nil if the miner does not win the epoch, which happens in 7 of 1,000.
func (p producer) block(ctx context.Context, base *types.TipSet, epoch abi.ChainEpoch, including bool) (*types.BlockMsg, error) {
	info, err := p.node.MinerGetBaseInfo(ctx, p.miner, epoch, base.Key())
	if err != nil {
		return nil, fmt.Errorf("asking what to mine with: %w", err)
	}
	if info == nil || !info.EligibleForMining {
		return nil, errIneligible
	}
	beacon := info.PrevBeaconEntry
	if n := len(info.BeaconEntries); n > 0 {
		beacon = info.BeaconEntries[n-1]
	}
	election, err := gen.IsRoundWinner(ctx, epoch, p.miner, beacon, info, p.node)
	if err != nil || election == nil {
		return nil, err
	}
	ticket, err := p.ticket(ctx, base, epoch, beacon, info.WorkerKey)
	if err != nil {
		return nil, err
	}
	var messages []*types.SignedMessage
	if including {
		if messages, err = p.node.MpoolSelect(ctx, base.Key(), ticket.Quality()); err != nil {
			return nil, fmt.Errorf("choosing messages: %w", err)
		}
		if messages, err = p.crowd.join(ctx, p.node, base, messages); err != nil {
			return nil, err
		}
	}
	block, err := p.node.MinerCreateBlock(ctx, &api.BlockTemplate{
		Miner:            p.miner,
		Parents:          base.Key(),
		Ticket:           ticket,
		Eproof:           election,
		BeaconValues:     info.BeaconEntries,
		Messages:         messages,
		Epoch:            epoch,
		Timestamp:        base.MinTimestamp() + uint64(epoch-base.Height())*buildconstants.BlockDelaySecs,
		WinningPoStProof: []proof.PoStProof{{ProofBytes: []byte(winningProof)}},
	})
	if err != nil {
		return nil, fmt.Errorf("making the block: %w", err)
	}
	return block, nil
}

// ticket follows from the parent's ticket, the beacon and the epoch, and from nothing else: on the same tipset only another
// epoch gives another one.
func (p producer) ticket(ctx context.Context, base *types.TipSet, epoch abi.ChainEpoch, beacon types.BeaconEntry, worker address.Address) (*types.Ticket, error) {
	var entropy bytes.Buffer
	if err := p.miner.MarshalCBOR(&entropy); err != nil {
		return nil, fmt.Errorf("encoding the miner's address: %w", err)
	}
	entropy.Write(base.MinTicket().VRFProof)
	input, err := rand.DrawRandomnessFromBase(beacon.Data, crypto.DomainSeparationTag_TicketProduction,
		epoch-buildconstants.TicketRandomnessLookback, entropy.Bytes())
	if err != nil {
		return nil, fmt.Errorf("drawing the ticket's randomness: %w", err)
	}
	vrf, err := gen.ComputeVRF(ctx, p.node.WalletSign, worker, input)
	if err != nil {
		return nil, fmt.Errorf("making the ticket: %w", err)
	}
	return &types.Ticket{VRFProof: vrf}, nil
}
