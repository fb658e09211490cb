package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin"
	miner19 "github.com/filecoin-project/go-state-types/builtin/v19/miner"
	"github.com/ipfs/go-cid"
	cbg "github.com/whyrusleeping/cbor-gen"

	"github.com/filecoin-project/lotus/chain/actors"
	"github.com/filecoin-project/lotus/chain/actors/builtin/reward"
	"github.com/filecoin-project/lotus/chain/consensus"
	"github.com/filecoin-project/lotus/chain/consensus/filcns"
	"github.com/filecoin-project/lotus/chain/stmgr"
	"github.com/filecoin-project/lotus/chain/types"
	"github.com/filecoin-project/lotus/chain/vm"

	"posthaste/testsuite/lotusdevnet/control"
)

const (
	// addedWithin epochs after the one that they are planned for, sectors come onto the chain: some of them may have no block.
	addedWithin = 10
	// addedAhead epochs after the head they are planned, so that no node has executed that epoch yet.
	addedAhead = 2
	// addedAtOnce is what one command adds at most. Making the files of a sector takes 0.1 s.
	addedAtOnce = 64
	// addedFor is how long they are promised for: a year.
	addedFor = 365 * builtin.EpochsInDay
	// addedDeposit is in FIL, for each: far above what the actor asks for.
	addedDeposit = 1000
)

// additions are sectors that come onto a chain that runs. A real proof of replication would be verified by the FVM itself and takes parameters that
// nobody has; so they come as those of genesis do, by a message of the system actor, which the actor believes. It gives them deadlines and
// partitions as any other, and from then on they are proven, or not. The message is executed at the end of a block, as its reward is. Every
// node has the same additions, so they agree on the state.
type additions struct {
	log *slog.Logger

	mu      sync.Mutex
	planned []addition
}

// addition is the messages that bring sectors, and the first epoch to execute them in.
type addition struct {
	from     abi.ChainEpoch
	messages []*types.Message
}

// executor executes tipsets as Lotus does, with the additions.
func (a *additions) executor() stmgr.Executor { return consensus.NewTipSetExecutor(a.award) }

// award rewards a block, which is the last that is done for it before cron, and adds the sectors that are due.
func (a *additions) award(ctx context.Context, vmi vm.Interface, em stmgr.ExecMonitor, epoch abi.ChainEpoch, ts *types.TipSet, params *reward.AwardBlockRewardParams) error {
	if err := filcns.RewardFunc(ctx, vmi, em, epoch, ts, params); err != nil {
		return err
	}
	a.mu.Lock()
	planned := a.planned
	a.mu.Unlock()
	for _, p := range planned {
		if epoch < p.from || epoch >= p.from+addedWithin {
			continue
		}
		for _, m := range p.messages {
			ret, err := vmi.ApplyImplicitMessage(ctx, m)
			if err != nil {
				return fmt.Errorf("adding sectors: %w", err)
			}
			if !ret.ExitCode.IsSuccess() { // they are there since an earlier epoch
				a.log.Debug("adding sectors", "epoch", epoch, "method", m.Method, "exit_code", ret.ExitCode, "error", ret.ActorErr)
				break
			}
		}
	}
	return nil
}

// plan has sectors added from an epoch on.
func (a *additions) plan(from abi.ChainEpoch, messages []*types.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.planned = append(a.planned[:len(a.planned):len(a.planned)], addition{from, messages})
}

// grower makes sectors and has them added.
type grower struct {
	mining    *mining
	additions *additions
	node      *fullNode
	miner     address.Address
	worker    address.Address
	dir       string // the store

	mu sync.Mutex // one command at a time
}

type addAsk struct {
	Count int `json:"count"`
}

// added is where the actor has put a sector.
type added struct {
	Sector    uint64 `json:"sector"`
	Deadline  uint64 `json:"deadline"`
	Partition uint64 `json:"partition"`
}

// add makes the files of new sectors and answers when the chain has them.
func (g *grower) add(ctx context.Context, ask addAsk) (map[string][]added, error) {
	if ask.Count < 1 || ask.Count > addedAtOnce {
		return nil, control.Refuse("count %d: must be 1 to %d", ask.Count, addedAtOnce)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	numbers, err := g.order(ctx, ask.Count)
	if err != nil {
		return nil, err
	}
	limit := time.Now().Add(time.Duration(addedAhead+2*addedWithin) * g.mining.epoch)
	for {
		sectors, err := g.find(ctx, numbers)
		if err == nil {
			return map[string][]added{"sectors": sectors}, nil
		}
		if time.Now().After(limit) {
			return nil, fmt.Errorf("the actor has not taken the sectors: %w", err)
		}
		select {
		case <-time.After(g.mining.epoch / 2):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// order makes the files of new sectors and plans when they come.
func (g *grower) order(ctx context.Context, count int) ([]abi.SectorNumber, error) {
	known, err := g.node.StateMinerSectors(ctx, g.miner, nil, types.EmptyTSK)
	if err != nil {
		return nil, fmt.Errorf("asking for the sectors: %w", err)
	}
	if len(known) == 0 {
		return nil, errors.New("the miner has no sector to take the proof type of")
	}
	next := abi.SectorNumber(0)
	for _, s := range known {
		next = max(next, s.SectorNumber+1)
	}
	var numbers []abi.SectorNumber
	var sectors []miner19.SectorPreCommitInfo
	for ; len(numbers) < count; next++ {
		info := miner19.SectorPreCommitInfo{SealProof: known[0].SealProof, SectorNumber: next}
		if info.SealedCID, err = g.seal(info.SealProof, next); err != nil {
			return nil, fmt.Errorf("making sector %d: %w", next, err)
		}
		numbers, sectors = append(numbers, next), append(sectors, info)
	}
	g.mining.mu.Lock() // the chain stands still
	defer g.mining.mu.Unlock()
	head, err := g.node.ChainHead(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the head: %w", err)
	}
	for i := range sectors {
		sectors[i].SealRandEpoch, sectors[i].Expiration = head.Height(), head.Height()+addedFor
	}
	deposit := types.BigMul(types.NewInt(uint64(count*addedDeposit)), types.NewInt(1e18))
	committed, err := g.message(g.worker, deposit, builtin.MethodsMiner.PreCommitSectorBatch2, &miner19.PreCommitSectorBatchParams2{Sectors: sectors})
	if err != nil {
		return nil, err
	}
	believed, err := g.message(builtin.SystemActorAddr, types.NewInt(0), builtin.MethodsMiner.InternalSectorSetupForPreseal,
		&miner19.InternalSectorSetupForPresealParams{Sectors: numbers, RewardBaselinePower: types.NewInt(0)})
	if err != nil {
		return nil, err
	}
	g.additions.plan(head.Height()+addedAhead, []*types.Message{committed, believed})
	return numbers, nil
}

func (g *grower) message(from address.Address, value types.BigInt, method abi.MethodNum, params cbg.CBORMarshaler) (*types.Message, error) {
	encoded, aerr := actors.SerializeParams(params)
	if aerr != nil {
		return nil, aerr
	}
	return &types.Message{
		From: from, To: g.miner, Value: value, Method: method, Params: encoded, GasLimit: 1_000_000_000_000, GasFeeCap: types.NewInt(0), GasPremium: types.NewInt(0),
	}, nil
}

// seal makes the files of a sector as those of genesis are: an empty replica with a real tree over it.
func (g *grower) seal(proof abi.RegisteredSealProof, number abi.SectorNumber) (commR cid.Cid, err error) {
	id, err := address.IDFromAddress(g.miner)
	if err != nil {
		return commR, err
	}
	name := fmt.Sprintf("s-t0%d-%d", id, number)
	cache, sealed := filepath.Join(g.dir, "cache", name), filepath.Join(g.dir, "sealed", name)
	if err := os.Mkdir(cache, 0o755); err != nil {
		return commR, err
	}
	return ffi.FauxRep(proof, cache, sealed)
}

// find says where sectors are. It is an error if the chain has not all of them.
func (g *grower) find(ctx context.Context, numbers []abi.SectorNumber) ([]added, error) {
	var all []added
	for _, n := range numbers {
		at, err := g.node.StateSectorPartition(ctx, g.miner, n, types.EmptyTSK)
		if err != nil {
			return nil, fmt.Errorf("looking for sector %d: %w", n, err)
		}
		all = append(all, added{uint64(n), at.Deadline, at.Partition})
	}
	return all, nil
}
