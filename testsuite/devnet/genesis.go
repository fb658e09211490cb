package devnet

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/testsuite/sealing"
)

// Store is a folder with the sealed sectors of one miner.
type Store struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// firstAccount is the ID of the first owner; each miner has three accounts in a row: owner, worker, control.
const firstAccount = 100

// maker makes one sector, upgraded or not, known to the chain: by sealing it, or out of thin air in tests of rules.
type maker func(miner abi.ActorID, number abi.SectorNumber, upgraded bool) (*chain.SectorOnChainInfo, error)

// genesisState is the state at the start: all sectors active, and the deadline that is open then posted already, since nobody
// can have proven it.
func genesisState(cfg Config, w wallet, source maker) (*state, error) {
	st := &state{accounts: map[address.Address]account{}, miners: map[abi.ActorID]*minerState{}}
	for i := range cfg.Miners {
		m := &minerState{id: firstMiner + abi.ActorID(i), firstPeriod: cfg.firstOpen(i), sectors: map[abi.SectorNumber]*chain.SectorOnChainInfo{},
			funds: chain.MinerFunds{Balance: cfg.Balance, Bound: big.Zero(), FeeDebt: big.Zero()}, consensusFault: -1}
		for place, role := range []struct {
			name string
			id   *address.Address
		}{{"owner", &m.owner}, {"worker", &m.worker}, {"control", &m.control}} {
			key, err := w.newKey(cfg, fmt.Sprintf("%s of %s", role.name, post.MinerName(m.id)))
			if err != nil {
				return nil, err
			}
			if *role.id, err = address.NewIDAddress(uint64(firstAccount + 3*i + place)); err != nil {
				return nil, fmt.Errorf("making the %s of %s: %w", role.name, post.MinerName(m.id), err)
			}
			st.accounts[*role.id] = account{key: key, balance: cfg.Balance}
		}
		if cfg.SharedControl && i > 0 {
			m.control = st.miners[firstMiner].control
		}
		if err := fillDeadlines(cfg, i, m, source); err != nil {
			return nil, err
		}
		open := m.deadlines[cfg.deadlineInfo(m, cfg.StartEpoch).Index]
		for p := range open.partitions {
			open.posted[uint64(p)] = true
		}
		st.miners[m.id] = m
	}
	return st, nil
}

// fillDeadlines gives each deadline its partitions, sectors numbered from 1 on.
func fillDeadlines(cfg Config, i int, m *minerState, source maker) error {
	next := abi.SectorNumber(1)
	for index := range cfg.Deadlines {
		d := &deadline{posted: map[uint64]bool{}}
		for range cfg.partitions(i, index) {
			var p partition
			for range cfg.SectorsPerPartition {
				sector, err := source(m.id, next, cfg.upgraded(next))
				if err != nil {
					return err
				}
				m.sectors[next] = sector
				p.all = append(p.all, next)
				next++
			}
			d.partitions = append(d.partitions, p)
		}
		m.deadlines = append(m.deadlines, d)
	}
	return nil
}

// sealer seals each sector, and upgrades some, in its miner's store under dir, or reads back what an earlier run sealed there.
func sealer(ctx context.Context, cfg Config) (maker, []Store, error) {
	paths := map[abi.ActorID]string{}
	var stores []Store
	for i := range cfg.Miners {
		id := firstMiner + abi.ActorID(i)
		store := Store{Name: "devnet-" + post.MinerName(id)}
		var err error
		if store.Path, err = filepath.Abs(filepath.Join(cfg.Dir, "stores", post.MinerName(id))); err != nil {
			return nil, nil, fmt.Errorf("the store of %s: %w", post.MinerName(id), err)
		}
		if err := sealing.NewStore(store.Path, store.Name); err != nil {
			return nil, nil, err
		}
		paths[id] = store.Path
		stores = append(stores, store)
	}
	return func(miner abi.ActorID, number abi.SectorNumber, upgraded bool) (*chain.SectorOnChainInfo, error) {
		seal := sealing.Seal
		if upgraded {
			seal = sealing.Upgrade
		}
		sector, err := seal(ctx, paths[miner], miner, number)
		if err != nil {
			return nil, err
		}
		info := &chain.SectorOnChainInfo{
			SectorNumber: sector.Number, SealProof: sector.SealProof, SealedCID: sector.SealedCID,
			Activation: 0, Expiration: cfg.StartEpoch + 1_000_000,
		}
		if upgraded {
			info.SectorKeyCID = &sector.SectorKeyCID
		}
		return info, nil
	}, stores, nil
}
