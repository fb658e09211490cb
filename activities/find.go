package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"go.temporal.io/sdk/temporal"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// FinderNode is what finding a deadline takes from a node.
type FinderNode interface {
	ChainHead(context.Context) (*chain.TipSet, error)
	StateMinerProvingDeadline(context.Context, address.Address, chain.TipSetKey) (*dline.Info, error)
	EpochDuration(context.Context) (time.Duration, error)
}

// Finder finds deadlines that people name by miner and index.
type Finder struct {
	Node FinderNode
}

// FindDeadline gives a deadline in the latest proving period in which its challenge is known. A miner or a deadline that does not exist is
// an error that is not tried again.
func (f *Finder) FindDeadline(ctx context.Context, in workflows.FindInput) (workflows.Found, error) {
	fail := func(err error) (workflows.Found, error) {
		return workflows.Found{}, fmt.Errorf("looking for deadline %d of %s: %w", in.Index, post.MinerName(in.Miner), err)
	}
	miner, err := chain.MinerAddress(in.Miner)
	if err != nil {
		return fail(err)
	}
	head, err := f.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	di, err := f.Node.StateMinerProvingDeadline(ctx, miner, head.Key())
	if errors.Is(err, chain.ErrNoActor) {
		return workflows.Found{}, mistyped(workflows.ErrorNoSuchMiner, "the chain has no miner actor %s", post.MinerName(in.Miner))
	}
	if err != nil {
		return fail(err)
	}
	if in.Index >= di.WPoStPeriodDeadlines {
		return workflows.Found{}, mistyped(workflows.ErrorNotThere, "%s has no deadline %d; a proving period has %d, 0 to %d",
			post.MinerName(in.Miner), in.Index, di.WPoStPeriodDeadlines, di.WPoStPeriodDeadlines-1)
	}
	epoch, err := f.Node.EpochDuration(ctx)
	if err != nil {
		return fail(err)
	}
	d, known := post.LastChallenged(in.Miner, di, in.Index)
	return workflows.Found{Deadline: d, Known: known, Head: head.Height, Deadlines: di.WPoStPeriodDeadlines, EpochDuration: epoch}, nil
}

// mistyped is the error of somebody at a terminal, who is told; it is none of the daemon's, so the SDK does not log it as one.
func mistyped(kind, format string, args ...any) error {
	return temporal.NewApplicationErrorWithOptions(fmt.Sprintf(format, args...), kind,
		temporal.ApplicationErrorOptions{NonRetryable: true, Category: temporal.ApplicationErrorCategoryBenign})
}

// ReadPartition reads all live sectors of a partition, and which of them are faulty.
func (c *Chain) ReadPartition(ctx context.Context, in workflows.PartitionInput) (post.Live, error) {
	var live post.Live
	err := c.partition(ctx, in, func(p chain.Partition, read sectorReader) (err error) {
		if live.Sectors, err = read(p.LiveSectors); err != nil {
			return err
		}
		if live.Faulty, err = numbersIn(p.FaultySectors); err != nil {
			return err
		}
		live.Recovering, err = numbersIn(p.RecoveringSectors)
		return err
	})
	if err != nil {
		return post.Live{}, fmt.Errorf("reading the sectors of partition %d of deadline %s: %w", in.Partition, in.Deadline, err)
	}
	return live, nil
}

// numbersIn are the sector numbers in a set, ascending.
func numbersIn(set bitfield.BitField) ([]abi.SectorNumber, error) {
	all, err := set.All(abi.MaxSectorNumber)
	if err != nil {
		return nil, err
	}
	numbers := make([]abi.SectorNumber, len(all))
	for i, n := range all {
		numbers[i] = abi.SectorNumber(n)
	}
	return numbers, nil
}
