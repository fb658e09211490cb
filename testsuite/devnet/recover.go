package devnet

import (
	"bytes"
	"context"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/builtin/v16/miner"
	"github.com/filecoin-project/go-state-types/exitcode"

	"posthaste/chain"
)

// addressed is what a DeclareFaultsRecovered message says of one partition.
type addressed struct {
	deadline, partition uint64
	sectors             sectorSet
}

// declareRecovered is DeclareFaultsRecovered, check by check in the real actor's order (builtin-actors, declare_faults_recovered).
// On an error the state is as before.
func (r *runtime) declareRecovered(m *minerState, caller address.Address, raw []byte) *actorError {
	all, abort := r.readRecoveries(raw)
	if abort != nil {
		return abort
	}
	if free := big.Sub(m.funds.Balance, m.funds.Bound); free.LessThan(m.funds.FeeDebt) {
		return abortf(exitcode.ErrInsufficientFunds, "unlocked balance can not repay fee debt (%s < %s)", free, m.funds.FeeDebt)
	}
	if !m.sends(caller) {
		return abortf(exitcode.ErrForbidden, "caller %s is not one of supported", caller)
	}
	if r.epoch <= m.consensusFault {
		return abortf(exitcode.ErrForbidden, "recovery not allowed during active consensus fault")
	}
	deadlines := map[uint64]*deadline{}
	for _, a := range all {
		di := r.cfg.nthDeadline(r.cfg.periodStart(m, r.epoch), a.deadline, r.epoch).NextNotElapsed()
		if di.FaultCutoffPassed() {
			return abortf(exitcode.ErrIllegalArgument, "failed recovery declaration at deadline %d: late fault or recovery declaration", a.deadline)
		}
		d := deadlines[a.deadline]
		if d == nil {
			d = m.deadlines[a.deadline].clone()
			deadlines[a.deadline] = d
		}
		if a.partition >= uint64(len(d.partitions)) {
			return abortf(exitcode.ErrNotFound, "no such partition %d", a.partition)
		}
		p := d.partitions[a.partition]
		if len(a.sectors.minus(p.all)) > 0 {
			return abortf(exitcode.ErrIllegalArgument, "failed fault declaration: not all sectors are assigned to the partition")
		}
		p.recovering = p.recovering.union(p.faulty.minus(p.faulty.minus(a.sectors))) // sectors that are not faulty are ignored
		d.partitions[a.partition] = p
	}
	m.funds.Balance, m.funds.FeeDebt = big.Sub(m.funds.Balance, m.funds.FeeDebt), big.Zero()
	for i, d := range deadlines {
		m.deadlines[i] = d
	}
	return nil
}

// readRecoveries is the part that looks at no state: a partition that is named twice is one, with both sets.
func (r *runtime) readRecoveries(raw []byte) ([]addressed, *actorError) {
	var params miner.DeclareFaultsRecoveredParams
	if err := params.UnmarshalCBOR(bytes.NewReader(raw)); err != nil {
		return nil, abortf(exitcode.ErrSerialization, "failed to decode DeclareFaultsRecoveredParams: %v", err)
	}
	var all []addressed
	at := map[[2]uint64]int{}
	for _, declared := range params.Recoveries {
		if declared.Deadline >= r.cfg.Deadlines {
			return nil, abortf(exitcode.ErrIllegalArgument, "failed to process deadline %d, partition %d: invalid deadline %d", declared.Deadline, declared.Partition, declared.Deadline)
		}
		sectors, err := setOf(declared.Sectors)
		if err != nil {
			return nil, abortf(exitcode.ErrIllegalArgument, "cannot process requested parameters: %v", err)
		}
		place := [2]uint64{declared.Deadline, declared.Partition}
		i, known := at[place]
		if !known {
			i = len(all)
			at[place] = i
			all = append(all, addressed{deadline: declared.Deadline, partition: declared.Partition})
		}
		all[i].sectors = all[i].sectors.union(sectors)
	}
	count := 0
	for _, a := range all {
		count += len(a.sectors)
	}
	switch {
	case len(all) > miner.AddressedPartitionsMax:
		return nil, abortf(exitcode.ErrIllegalArgument, "cannot process requested parameters: too many partitions %d, max %d", len(all), miner.AddressedPartitionsMax)
	case count > miner.AddressedSectorsMax:
		return nil, abortf(exitcode.ErrIllegalArgument, "cannot process requested parameters: too many sectors %d, max %d", count, miner.AddressedSectorsMax)
	}
	return all, nil
}

// sends says whether an address may send the miner's messages.
func (m *minerState) sends(caller address.Address) bool {
	return caller == m.control || caller == m.worker || caller == m.owner
}

func (r *rpcAPI) StateReadState(_ context.Context, a address.Address, key chain.TipSetKey) (*chain.ActorState, error) {
	return onMiner(r.c, a, key, func(_ *block, m *minerState) (*chain.ActorState, error) {
		// The real state has what is bound in three parts; whoever reads it adds them up.
		return &chain.ActorState{Balance: m.funds.Balance, State: chain.MinerActorState{
			PreCommitDeposits: big.Zero(), LockedFunds: big.Zero(), InitialPledge: m.funds.Bound, FeeDebt: m.funds.FeeDebt,
		}}, nil
	})
}

// Recoveries counts DeclareFaultsRecovered messages in blocks.
type Recoveries struct {
	Messages int `json:"messages"`
	Failed   int `json:"failed"`
}

// recovered notes a message in a block.
func (l *ledger) recovered(exit exitcode.ExitCode) {
	l.recoveries.Messages++
	if exit != exitcode.Ok {
		l.recoveries.Failed++
	}
}
