package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin"

	"github.com/filecoin-project/lotus/api"
	"github.com/filecoin-project/lotus/api/v1api"
	"github.com/filecoin-project/lotus/chain/store"
	"github.com/filecoin-project/lotus/chain/types"

	"posthaste/testsuite/lotusdevnet/report"
)

// follower reads the canonical chain, tipset by tipset, into the ledger.
type follower struct {
	node   v1api.FullNode
	miner  address.Address
	outbox *outbox // for the disputes; its wallet is not one of the miner's, so that nonces do not meet
	ledger *report.Ledger
	turns  bool // deadlines have posters
	log    *slog.Logger
	ready  abi.ChainEpoch // only deadlines whose challenge comes later are listed: others could not be asked of anyone
}

// begin takes the head that a subscription starts with.
func (f *follower) begin(ctx context.Context, heads <-chan []*api.HeadChange) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case changes := <-heads:
		if len(changes) != 1 || changes[0].Type != store.HCCurrent {
			return errors.New("the node's head subscription does not begin with the present head")
		}
		f.ready = changes[0].Val.Height()
		f.ledger.Saw(int64(f.ready), time.Now())
		return f.holdings(ctx, changes[0].Val)
	}
}

// follow keeps the ledger until ctx ends. It gives up when the chain can no longer be followed without a gap, since a
// report that is silently wrong is worse than none.
func (f *follower) follow(ctx context.Context, heads <-chan []*api.HeadChange) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case changes, open := <-heads:
			if ctx.Err() != nil {
				return nil
			}
			if !open {
				return errors.New("the node ended the head subscription")
			}
			f.ledger.Saw(int64(changes[len(changes)-1].Val.Height()), time.Now())
			f.reorged(changes)
			for _, c := range changes {
				if err := f.change(ctx, c); err != nil && ctx.Err() == nil {
					return fmt.Errorf("following the chain at epoch %d: %w", c.Val.Height(), err)
				}
			}
		}
	}
}

// reorged records a change that takes tipsets back. One that only does so has no new head yet.
func (f *follower) reorged(changes []*api.HeadChange) {
	var r report.Reorg
	for _, c := range changes {
		switch height := int64(c.Val.Height()); {
		case c.Type == store.HCApply:
			r.To = height
		case r.From == 0:
			r.From = height
		}
		if c.Type == store.HCRevert {
			r.Fork = int64(c.Val.Height()) - 1
		}
	}
	if r.From > 0 && changes[0].Type == store.HCRevert {
		f.ledger.Reorged(r)
	}
}

func (f *follower) change(ctx context.Context, c *api.HeadChange) error {
	// Messages of a tipset are executed on the way to the next one: what ts tells of is its parent.
	ts := c.Val
	parent, err := f.node.ChainGetTipSet(ctx, ts.Parents())
	if err != nil {
		return fmt.Errorf("loading the parent tipset: %w", err)
	}
	switch c.Type {
	case store.HCRevert:
		f.ledger.Reverted(int64(parent.Height()))
		return nil
	case store.HCApply:
		f.ledger.Grew(int64(parent.Height()), int64(ts.Height()))
		if err := f.messages(ctx, ts, parent.Height()); err != nil {
			return err
		}
		if err := f.deadline(ctx, ts); err != nil {
			return err
		}
		for _, k := range f.ledger.Due(int64(parent.Height())) {
			if err := f.settle(ctx, ts, parent.Height(), k); err != nil {
				return err
			}
		}
		if err := f.outbox.tend(ctx, ts); err != nil {
			return err
		}
		return f.holdings(ctx, ts)
	}
	return nil
}

// messages records what was executed in the parent tipset, at epoch landed.
func (f *follower) messages(ctx context.Context, ts *types.TipSet, landed abi.ChainEpoch) error {
	block := ts.Cids()[0]
	msgs, err := f.node.ChainGetParentMessages(ctx, block)
	if err != nil {
		return fmt.Errorf("loading messages: %w", err)
	}
	receipts, err := f.node.ChainGetParentReceipts(ctx, block)
	if err != nil {
		return fmt.Errorf("loading receipts: %w", err)
	}
	if len(msgs) != len(receipts) {
		return fmt.Errorf("%d messages but %d receipts", len(msgs), len(receipts))
	}
	for i, m := range msgs {
		if m.Message.To != f.miner {
			continue
		}
		ok := receipts[i].ExitCode.IsSuccess()
		executed := report.Executed{Landed: int64(landed), Method: methodName(m.Message.Method), ExitCode: int64(receipts[i].ExitCode)}
		if ok && m.Message.Method == builtin.MethodsMiner.DeclareFaultsRecovered {
			if executed.Recoveries, err = decodeRecoveries(m, landed); err != nil {
				return err
			}
		}
		f.ledger.Executed(executed)
		switch m.Message.Method {
		case builtin.MethodsMiner.SubmitWindowedPoSt:
			post, err := decodePost(m, landed, ok)
			if err != nil {
				return err
			}
			f.ledger.Landed(post)
		case builtin.MethodsMiner.DisputeWindowedPoSt:
			f.ledger.Answered(m.Cid.String(), int64(landed), !ok)
		}
	}
	return nil
}

// deadline records the deadline that is open at ts, with its partitions as they are then.
func (f *follower) deadline(ctx context.Context, ts *types.TipSet) error {
	d, err := f.node.StateMinerProvingDeadline(ctx, f.miner, ts.Key())
	if err != nil {
		return fmt.Errorf("asking for the proving deadline: %w", err)
	}
	k := report.Key{Miner: f.miner.String(), PeriodStart: int64(d.PeriodStart), Index: d.Index}
	if !d.IsOpen() || d.Challenge <= f.ready || f.ledger.Knows(k) {
		return nil
	}
	parts, err := f.node.StateMinerPartitions(ctx, f.miner, d.Index, ts.Key())
	if err != nil {
		return fmt.Errorf("asking for the partitions of deadline %d: %w", d.Index, err)
	}
	w := report.Window{Key: k, Challenge: int64(d.Challenge), Open: int64(d.Open), Close: int64(d.Close), Live: map[uint64]uint64{}}
	if f.turns {
		w.Poster = poster(d.Index)
	}
	for i, part := range parts {
		live, err := part.LiveSectors.Count()
		if err != nil {
			return fmt.Errorf("counting the sectors of deadline %d partition %d: %w", d.Index, i, err)
		}
		if live > 0 {
			w.Live[uint64(i)] = live
		}
	}
	f.ledger.Opened(w)
	return nil
}

// settle records how a deadline ended; the chain has executed its last epoch before ts.
func (f *follower) settle(ctx context.Context, ts *types.TipSet, executed abi.ChainEpoch, k report.Key) error {
	parts, err := f.node.StateMinerPartitions(ctx, f.miner, k.Index, ts.Key())
	if err != nil {
		return fmt.Errorf("asking for the partitions of deadline %d after its end: %w", k.Index, err)
	}
	faulty := map[uint64]uint64{}
	for i, part := range parts {
		if faulty[uint64(i)], err = part.FaultySectors.Count(); err != nil {
			return fmt.Errorf("counting the faulty sectors of deadline %d partition %d: %w", k.Index, i, err)
		}
	}
	disputes, err := f.dispute(ctx, ts, k.Index)
	if err != nil {
		return fmt.Errorf("disputing the posts of deadline %d: %w", k.Index, err)
	}
	f.ledger.Settled(k, int64(executed), faulty, disputes)
	return nil
}

// holdings records the miner's power and faults at ts.
func (f *follower) holdings(ctx context.Context, ts *types.TipSet) error {
	power, err := f.node.StateMinerPower(ctx, f.miner, ts.Key())
	if err != nil {
		return fmt.Errorf("asking for the power: %w", err)
	}
	faults, err := f.node.StateMinerFaults(ctx, f.miner, ts.Key())
	if err != nil {
		return fmt.Errorf("asking for the faults: %w", err)
	}
	n, err := faults.Count()
	if err != nil {
		return fmt.Errorf("counting the faults: %w", err)
	}
	f.ledger.At(int64(ts.Height()), ts.Blocks()[0].ParentBaseFee.String(), power.MinerPower.RawBytePower.String(), power.MinerPower.QualityAdjPower.String(), n)
	return nil
}
