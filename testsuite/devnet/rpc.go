package devnet

import (
	"context"
	"fmt"
	"slices"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-jsonrpc/auth"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/filecoin-project/go-state-types/network"
	"github.com/ipfs/go-cid"

	"posthaste/chain"
)

// The permissions of Lotus's tokens, each including those before it.
const (
	permRead  auth.Permission = "read"
	permWrite auth.Permission = "write"
	permSign  auth.Permission = "sign"
	permAdmin auth.Permission = "admin"
)

func allPermissions() []auth.Permission {
	return []auth.Permission{permRead, permWrite, permSign, permAdmin}
}

// rpcAPI is the node's methods: go-jsonrpc serves every exported method under its name. Without a token one may read, as on Lotus.
type rpcAPI struct {
	c      *Chain
	tokens tokens
}

func need(ctx context.Context, method string, perm auth.Permission) error {
	if auth.HasPerm(ctx, []auth.Permission{permRead}, perm) {
		return nil
	}
	return fmt.Errorf("missing permission to invoke '%s' (need '%s')", method, perm)
}

func (r *rpcAPI) Version(context.Context) (chain.Version, error) {
	return chain.Version{Version: "posthaste-devnet", APIVersion: 0x020300, BlockDelay: r.c.cfg.blockDelay()}, nil
}

func (r *rpcAPI) AuthVerify(ctx context.Context, token string) ([]auth.Permission, error) {
	return r.tokens.verify(ctx, token)
}

func (r *rpcAPI) ChainHead(context.Context) (*chain.TipSet, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.head.tipset, nil
}

func (r *rpcAPI) ChainNotify(ctx context.Context) (<-chan []*chain.HeadChange, error) {
	heads, stop := r.c.subscribe()
	context.AfterFunc(ctx, stop)
	return heads, nil
}

func (r *rpcAPI) ChainGetTipSet(_ context.Context, key chain.TipSetKey) (*chain.TipSet, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	b, err := r.c.at(key)
	if err != nil {
		return nil, err
	}
	return b.tipset, nil
}

func (r *rpcAPI) ChainGetTipSetByHeight(_ context.Context, epoch abi.ChainEpoch, key chain.TipSetKey) (*chain.TipSet, error) {
	return r.c.tipsetAt(epoch, key, true)
}

func (r *rpcAPI) ChainGetTipSetAfterHeight(_ context.Context, epoch abi.ChainEpoch, key chain.TipSetKey) (*chain.TipSet, error) {
	return r.c.tipsetAt(epoch, key, false)
}

func (r *rpcAPI) StateNetworkVersion(context.Context, chain.TipSetKey) (network.Version, error) {
	return network.Version25, nil
}

func (r *rpcAPI) StateGetNetworkParams(context.Context) (*chain.NetworkParams, error) {
	return &chain.NetworkParams{NetworkName: "posthaste-devnet", BlockDelaySecs: r.c.cfg.blockDelay(), GenesisTimestamp: r.c.genesis}, nil
}

func (r *rpcAPI) StateMinerProvingDeadline(_ context.Context, miner address.Address, key chain.TipSetKey) (*dline.Info, error) {
	return onMiner(r.c, miner, key, func(b *block, m *minerState) (*dline.Info, error) {
		return r.c.cfg.deadlineInfo(m, b.height()), nil
	})
}

func (r *rpcAPI) StateMinerDeadlines(_ context.Context, miner address.Address, key chain.TipSetKey) ([]chain.Deadline, error) {
	return onMiner(r.c, miner, key, func(_ *block, m *minerState) ([]chain.Deadline, error) {
		out := make([]chain.Deadline, len(m.deadlines))
		for i, d := range m.deadlines {
			out[i] = chain.Deadline{PostSubmissions: bitfield.New(), DailyFee: big.Zero()}
			for p := range d.posted {
				out[i].PostSubmissions.Set(p)
			}
		}
		return out, nil
	})
}

func (r *rpcAPI) StateMinerPartitions(_ context.Context, miner address.Address, index uint64, key chain.TipSetKey) ([]chain.Partition, error) {
	return onMiner(r.c, miner, key, func(_ *block, m *minerState) ([]chain.Partition, error) {
		if index >= uint64(len(m.deadlines)) {
			return nil, fmt.Errorf("failed to load the deadline: invalid deadline index %d of %d", index, len(m.deadlines))
		}
		out := []chain.Partition{}
		for _, p := range m.deadlines[index].partitions {
			out = append(out, chain.Partition{
				AllSectors: p.all.bitfield(), FaultySectors: p.faulty.bitfield(), RecoveringSectors: p.recovering.bitfield(),
				LiveSectors: p.all.bitfield(), ActiveSectors: p.all.minus(p.faulty).bitfield(),
			})
		}
		return out, nil
	})
}

func (r *rpcAPI) StateMinerSectors(_ context.Context, miner address.Address, wanted *bitfield.BitField, key chain.TipSetKey) ([]*chain.SectorOnChainInfo, error) {
	return onMiner(r.c, miner, key, func(_ *block, m *minerState) ([]*chain.SectorOnChainInfo, error) {
		var numbers sectorSet
		for n := range m.sectors {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		if wanted != nil {
			asked, err := setOf(*wanted)
			if err != nil {
				return nil, err
			}
			if unknown := asked.minus(numbers); len(unknown) > 0 {
				return nil, fmt.Errorf("failed to load sector %d: not found", unknown[0])
			}
			numbers = asked
		}
		out := []*chain.SectorOnChainInfo{}
		for _, n := range numbers {
			out = append(out, m.sectors[n])
		}
		return out, nil
	})
}

func (r *rpcAPI) StateMinerFaults(_ context.Context, miner address.Address, key chain.TipSetKey) (bitfield.BitField, error) {
	return onMiner(r.c, miner, key, func(_ *block, m *minerState) (bitfield.BitField, error) {
		var faulty sectorSet
		for _, d := range m.deadlines {
			for _, p := range d.partitions {
				faulty = faulty.union(p.faulty)
			}
		}
		return faulty.bitfield(), nil
	})
}

func (r *rpcAPI) StateMinerInfo(_ context.Context, miner address.Address, key chain.TipSetKey) (chain.MinerInfo, error) {
	return onMiner(r.c, miner, key, func(_ *block, m *minerState) (chain.MinerInfo, error) {
		return chain.MinerInfo{
			Owner: m.owner, Worker: m.worker, ControlAddresses: []address.Address{m.control},
			WindowPoStProofType: proofType, SectorSize: 2048, WindowPoStPartitionSectors: sectorsPerPartition, ConsensusFaultElapsed: m.consensusFault,
		}, nil
	})
}

func (r *rpcAPI) StateGetRandomnessFromBeacon(_ context.Context, tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key chain.TipSetKey) (abi.Randomness, error) {
	return r.c.beaconRandomness(tag, epoch, entropy, key)
}

func (r *rpcAPI) StateGetRandomnessFromTickets(_ context.Context, tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key chain.TipSetKey) (abi.Randomness, error) {
	return r.c.ticketRandomness(tag, epoch, entropy, key)
}

func (r *rpcAPI) StateSearchMsg(_ context.Context, from chain.TipSetKey, message cid.Cid, limit abi.ChainEpoch, allowReplaced bool) (*chain.MsgLookup, error) {
	return r.c.search(from, message, limit, allowReplaced)
}

func (r *rpcAPI) GasEstimateGasLimit(_ context.Context, m *chain.Message, key chain.TipSetKey) (int64, error) {
	return r.c.gasLimit(*m, key)
}

func (r *rpcAPI) GasEstimateMessageGas(_ context.Context, m *chain.Message, spec *chain.MessageSendSpec, key chain.TipSetKey) (*chain.Message, error) {
	return r.c.estimate(*m, spec, key)
}
