package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/builtin/v16/miner"
)

// MethodDeclareFaultsRecovered is the miner actor's method number.
const MethodDeclareFaultsRecovered = abi.MethodNum(11)

// RecoveredPartition names faulty sectors of a partition that can be proven again.
type RecoveredPartition struct {
	Deadline  uint64
	Partition uint64
	Sectors   []abi.SectorNumber
}

// RecoveryParams encodes the parameters of DeclareFaultsRecovered as the actor reads them.
func RecoveryParams(partitions []RecoveredPartition) ([]byte, error) {
	var params miner.DeclareFaultsRecoveredParams
	for _, p := range partitions {
		sectors := bitfield.New()
		for _, s := range p.Sectors {
			sectors.Set(uint64(s))
		}
		params.Recoveries = append(params.Recoveries, miner.RecoveryDeclaration{Deadline: p.Deadline, Partition: p.Partition, Sectors: sectors})
	}
	var buf bytes.Buffer
	if err := params.MarshalCBOR(&buf); err != nil {
		return nil, fmt.Errorf("encoding the recoveries of %d partitions: %w", len(partitions), err)
	}
	return buf.Bytes(), nil
}

// MinerFunds is what a miner actor has and owes, in attoFIL.
type MinerFunds struct {
	Balance abi.TokenAmount
	Bound   abi.TokenAmount // pledge, deposits and rewards that have not vested
	FeeDebt abi.TokenAmount // fees that could not be taken yet
}

// Owed is how much has to be paid in before the actor takes recoveries: it pays its whole debt then, out of what is not bound, or refuses
// (builtin-actors, repay_debts). Zero: nothing.
func (f MinerFunds) Owed() abi.TokenAmount {
	return big.Max(big.Zero(), big.Sub(f.FeeDebt, big.Sub(f.Balance, f.Bound)))
}

// ActorState is an actor's state as the node dumps it, of a miner actor as far as funds go.
type ActorState struct {
	Balance abi.TokenAmount
	State   MinerActorState
}

// MinerActorState is what is read of a miner actor's state. Lotus sends more; it is ignored.
type MinerActorState struct {
	PreCommitDeposits abi.TokenAmount
	LockedFunds       abi.TokenAmount
	InitialPledge     abi.TokenAmount
	FeeDebt           abi.TokenAmount
}

// StateMinerFunds is what a miner actor has and owes. No call of its own tells the debt: it stands in the actor's state.
func (n *Node) StateMinerFunds(ctx context.Context, miner address.Address, key TipSetKey) (MinerFunds, error) {
	read, err := call(ctx, n, "StateReadState", answerMessage, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateReadState(ctx, miner, key)
	}, decodeActorState)
	if err != nil {
		return MinerFunds{}, miners(err, miner)
	}
	bound := big.Sum(read.State.PreCommitDeposits, read.State.LockedFunds, read.State.InitialPledge)
	return MinerFunds{Balance: read.Balance, Bound: bound, FeeDebt: read.State.FeeDebt}, nil
}
