package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/builtin"
	miner19 "github.com/filecoin-project/go-state-types/builtin/v19/miner"
	"github.com/filecoin-project/go-state-types/dline"

	"github.com/filecoin-project/lotus/chain/types"
)

// changeEpochs are more than two messages need. A deadline may be changed until the one before it opens.
const changeEpochs = 20

// interleave gives the next deadlines that may be changed partitions whose sectors are not in the order of their numbers, as a miner's are
// who has terminated sectors: a sector of the first partition is terminated, and what is left of it is compacted, which puts it behind the
// others. The miner's worker does it, before anybody else uses its key. Deadlines after these are as they were.
func interleave(ctx context.Context, n *fullNode, miner, worker address.Address, deadlines int) error {
	if deadlines == 0 {
		return nil
	}
	head, err := n.ChainHead(ctx)
	if err != nil {
		return fmt.Errorf("asking for the head: %w", err)
	}
	now, err := n.StateMinerProvingDeadline(ctx, miner, head.Key())
	if err != nil {
		return fmt.Errorf("asking for the deadline: %w", err)
	}
	for index := now.Index + 1; index < now.WPoStPeriodDeadlines && deadlines > 0; index++ {
		d := dline.NewInfo(now.PeriodStart, index, head.Height(), now.WPoStPeriodDeadlines, now.WPoStProvingPeriod, now.WPoStChallengeWindow,
			now.WPoStChallengeLookback, now.FaultDeclarationCutoff)
		if d.Open-d.WPoStChallengeWindow < head.Height()+changeEpochs {
			continue
		}
		mixed, err := mix(ctx, n, miner, worker, index)
		if err != nil {
			return fmt.Errorf("interleaving the sectors of deadline %d: %w", index, err)
		}
		if mixed {
			deadlines--
		}
	}
	if deadlines > 0 {
		return fmt.Errorf("%d deadlines too few have two partitions whose sectors can be interleaved", deadlines)
	}
	return nil
}

// mix interleaves the sectors of a deadline's partitions, if it has two or more.
func mix(ctx context.Context, n *fullNode, miner, worker address.Address, deadline uint64) (bool, error) {
	before, err := sectorsOf(ctx, n, miner, deadline)
	if err != nil || len(before) < 2 || len(before[0]) < 2 {
		return false, err
	}
	gone := before[0][len(before[0])-1]
	err = call(ctx, n, worker, miner, builtin.MethodsMiner.TerminateSectors, &miner19.TerminateSectorsParams{
		Terminations: []miner19.TerminationDeclaration{{Deadline: deadline, Partition: 0, Sectors: bitfield.NewFromSet([]uint64{gone})}},
	})
	if err != nil {
		return false, fmt.Errorf("terminating sector %d: %w", gone, err)
	}
	err = call(ctx, n, worker, miner, builtin.MethodsMiner.CompactPartitions, &miner19.CompactPartitionsParams{
		Deadline: deadline, Partitions: bitfield.NewFromSet([]uint64{0}),
	})
	if err != nil {
		return false, fmt.Errorf("compacting its first partition: %w", err)
	}
	after, err := sectorsOf(ctx, n, miner, deadline)
	if err != nil {
		return false, err
	}
	if last := after[len(after)-1]; len(last) == 0 || last[0] > after[0][0] {
		return false, errors.New("the actor has put the sectors elsewhere than behind the others; adapt this to this Lotus")
	}
	return true, nil
}

// sectorsOf are a deadline's live sectors, by partition.
func sectorsOf(ctx context.Context, n *fullNode, miner address.Address, deadline uint64) ([][]uint64, error) {
	partitions, err := n.StateMinerPartitions(ctx, miner, deadline, types.EmptyTSK)
	if err != nil {
		return nil, fmt.Errorf("asking for its partitions: %w", err)
	}
	var sectors [][]uint64
	for _, p := range partitions {
		of, err := p.LiveSectors.All(miner19.AddressedSectorsMax)
		if err != nil {
			return nil, err
		}
		sectors = append(sectors, of)
	}
	return sectors, nil
}
