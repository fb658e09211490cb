package activities_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

// node is a chain of one tipset an epoch, with one miner, f01000. Its deadlines are short: 4 of 10 epochs, the challenge 5 epochs
// before Open, periods from epoch 100.
type node struct {
	mu         sync.Mutex
	height     abi.ChainEpoch
	info       chain.MinerInfo
	deadlines  []chain.Deadline
	partitions map[uint64][]chain.Partition // by deadline
	sectors    map[abi.SectorNumber]*chain.SectorOnChainInfo
	keys       map[address.Address]address.Address // of accounts; others have none
	challenge  []byte
	commit     []byte
	landed     map[cid.Cid]*chain.MsgLookup
	searches   map[cid.Cid]error // what the search of one message fails with
	nonces     map[address.Address]uint64
	fail       map[string]error // by method, or method and deadline
	pushed     []*chain.SignedMessage
	estimated  *chain.Message
	sign       func(*chain.SignedMessage)
	asked      int
	baseFee    int64                     // attoFIL
	nextNonce  uint64                    // of the pool; 0: as the chain's
	without    map[address.Address]bool  // keys that its wallet has not
	balances   map[address.Address]int64 // in FIL; others have 100
	pending    []*chain.SignedMessage
	null       map[abi.ChainEpoch]bool // rounds without a tipset
	cleared    abi.ChainEpoch          // from here on there are no posts; 0: there are
}

// calls is how often the node was asked anything.
func (n *node) calls() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// keyAddress makes a key address out of a name.
func keyAddress(name string) address.Address {
	a, err := address.NewSecp256k1Address([]byte(name))
	if err != nil {
		panic(err)
	}
	return a
}

func idAddress(id uint64) address.Address {
	a, err := address.NewIDAddress(id)
	if err != nil {
		panic(err)
	}
	return a
}

// newCid names something.
func newCid(text string) cid.Cid {
	hash, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.DagCBOR, hash)
}

func set(numbers ...uint64) bitfield.BitField { return bitfield.NewFromSet(numbers) }

// healthy is a partition of sectors without faults.
func healthy(numbers ...uint64) chain.Partition {
	return chain.Partition{AllSectors: set(numbers...), LiveSectors: set(numbers...), ActiveSectors: set(numbers...), FaultySectors: set(), RecoveringSectors: set()}
}

// newNode has sectors 1 to 9: four in deadline 0, of which one is faulty and one recovers, none in deadline 1, two partitions
// in deadline 2 of which the second is posted, one in deadline 3. Its owner is a multisig.
func newNode(t *testing.T) *node {
	n := &node{
		height: 112,
		info: chain.MinerInfo{Owner: idAddress(99), Worker: idAddress(101), ControlAddresses: []address.Address{idAddress(102), idAddress(103)},
			WindowPoStProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1},
		deadlines: []chain.Deadline{{PostSubmissions: set()}, {PostSubmissions: set()}, {PostSubmissions: set(1)}, {PostSubmissions: set()}},
		keys: map[address.Address]address.Address{idAddress(101): keyAddress("worker"), idAddress(102): keyAddress("control0"),
			idAddress(103): keyAddress("control1")},
		sectors: map[abi.SectorNumber]*chain.SectorOnChainInfo{}, landed: map[cid.Cid]*chain.MsgLookup{}, searches: map[cid.Cid]error{}, nonces: map[address.Address]uint64{},
		challenge: make([]byte, 32), commit: make([]byte, 32), fail: map[string]error{},
	}
	n.challenge[0], n.commit[0] = 1, 2
	first := healthy(1, 2, 3, 4)
	first.FaultySectors, first.RecoveringSectors = set(2, 3), set(3)
	n.partitions = map[uint64][]chain.Partition{0: {first}, 1: {}, 2: {healthy(5, 6), healthy(7)}, 3: {healthy(8, 9)}}
	for i := range byte(9) {
		sealed, err := commcid.ReplicaCommitmentV1ToCID(append(make([]byte, 31), i+1))
		require.NoError(t, err)
		n.sectors[abi.SectorNumber(i+1)] = &chain.SectorOnChainInfo{SectorNumber: abi.SectorNumber(i + 1), SealedCID: sealed}
	}
	key := newCid("sector key")
	n.sectors[4].SectorKeyCID = &key
	return n
}

// tipset is the one at a height.
func tipset(height abi.ChainEpoch) *chain.TipSet {
	name := func(h abi.ChainEpoch) chain.TipSetKey { return chain.TipSetKey{newCid(fmt.Sprint("tipset ", h))} }
	return &chain.TipSet{Cids: name(height), Height: height, Blocks: []*chain.BlockHeader{{Height: height, Parents: name(height - 1)}}}
}

// at is the height of a tipset by its key; the empty key is the head.
func (n *node) at(key chain.TipSetKey) abi.ChainEpoch {
	for h := n.height + 100; h >= 0; h-- {
		if tipset(h).Cids.Equal(key) {
			return h
		}
	}
	return n.height
}

// failing is the error that a test wants of a call.
func (n *node) failing(method string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return n.fail[method]
}

func (n *node) fails(method string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail[method] = err
}

func (n *node) ChainHead(context.Context) (*chain.TipSet, error) {
	head := tipset(n.height)
	head.Blocks[0].ParentBaseFee = abi.NewTokenAmount(n.baseFee)
	return head, n.failing("ChainHead")
}

func (n *node) ChainGetTipSet(_ context.Context, key chain.TipSetKey) (*chain.TipSet, error) {
	return tipset(n.at(key)), n.failing("ChainGetTipSet")
}

func (n *node) ChainGetTipSetAfterHeight(_ context.Context, epoch abi.ChainEpoch, _ chain.TipSetKey) (*chain.TipSet, error) {
	if epoch < 0 {
		return nil, fmt.Errorf("height %d is negative", epoch)
	}
	for n.null[epoch] {
		epoch++
	}
	return tipset(epoch), n.failing("ChainGetTipSetAfterHeight")
}

func (n *node) StateMinerInfo(context.Context, address.Address, chain.TipSetKey) (chain.MinerInfo, error) {
	return n.info, n.failing("StateMinerInfo")
}

func (n *node) StateMinerDeadlines(_ context.Context, _ address.Address, key chain.TipSetKey) ([]chain.Deadline, error) {
	if n.cleared > 0 && n.at(key) >= n.cleared {
		return make([]chain.Deadline, len(n.deadlines)), n.failing("StateMinerDeadlines")
	}
	return n.deadlines, n.failing("StateMinerDeadlines")
}

func (n *node) StateMinerPartitions(_ context.Context, _ address.Address, index uint64, _ chain.TipSetKey) ([]chain.Partition, error) {
	return n.partitions[index], errors.Join(n.failing("StateMinerPartitions"), n.failing(fmt.Sprint("StateMinerPartitions ", index)))
}

func (n *node) StateMinerSectors(_ context.Context, _ address.Address, of *bitfield.BitField, _ chain.TipSetKey) ([]*chain.SectorOnChainInfo, error) {
	numbers, err := of.All(1000)
	if err != nil {
		return nil, err
	}
	var out []*chain.SectorOnChainInfo
	for i := range numbers { // in descending order: the caller must not rely on any
		if s := n.sectors[abi.SectorNumber(numbers[len(numbers)-1-i])]; s != nil {
			out = append(out, s)
		}
	}
	return out, n.failing("StateMinerSectors")
}

func (n *node) StateMinerProvingDeadline(_ context.Context, _ address.Address, key chain.TipSetKey) (*dline.Info, error) {
	if err := n.failing("StateMinerProvingDeadline"); err != nil {
		return nil, err
	}
	now := n.at(key)
	start := 100 + (now-100)/40*40
	return dline.NewInfo(start, uint64(now-start)/10, now, 4, 40, 10, 5, 7), nil
}

func (n *node) EpochDuration(context.Context) (time.Duration, error) {
	return 30 * time.Second, n.failing("EpochDuration")
}

func (n *node) StateAccountKey(_ context.Context, of address.Address, _ chain.TipSetKey) (address.Address, error) {
	if err := n.failing("StateAccountKey"); err != nil {
		return address.Undef, err
	}
	if key, known := n.keys[of]; known {
		return key, nil
	}
	return address.Undef, fmt.Errorf("actor code of %s is not account", of)
}

func (n *node) StateSearchMsg(_ context.Context, _ chain.TipSetKey, message cid.Cid, _ abi.ChainEpoch, _ bool) (*chain.MsgLookup, error) {
	if err := n.searches[message]; err != nil {
		return nil, err
	}
	return n.landed[message], n.failing("StateSearchMsg")
}

func (n *node) ChallengeRandomness(context.Context, address.Address, abi.ChainEpoch, chain.TipSetKey) (abi.Randomness, error) {
	return n.challenge, n.failing("ChallengeRandomness")
}

func (n *node) CommitRandomness(context.Context, abi.ChainEpoch, chain.TipSetKey) (abi.Randomness, error) {
	return n.commit, n.failing("CommitRandomness")
}

func (n *node) GasEstimateMessageGas(_ context.Context, message *chain.Message, _ *chain.MessageSendSpec, _ chain.TipSetKey) (*chain.Message, error) {
	out := *message
	out.GasLimit, out.GasFeeCap, out.GasPremium = 5_000_000, abi.NewTokenAmount(200), abi.NewTokenAmount(100)
	n.estimated = &out
	return &out, n.failing("GasEstimateMessageGas")
}

func (n *node) GasEstimateGasLimit(_ context.Context, message *chain.Message, _ chain.TipSetKey) (int64, error) {
	return 4_000_000, n.failing("GasEstimateGasLimit")
}

func (n *node) MpoolPending(context.Context, chain.TipSetKey) ([]*chain.SignedMessage, error) {
	return n.pending, n.failing("MpoolPending")
}

func (n *node) WalletHas(_ context.Context, key address.Address) (bool, error) {
	return !n.without[key], n.failing("WalletHas")
}

func (n *node) MpoolGetNonce(_ context.Context, from address.Address, _ uint64) (uint64, error) {
	return max(n.nonces[from], n.nextNonce), n.failing("MpoolGetNonce")
}

func (n *node) MpoolPush(_ context.Context, message *chain.SignedMessage) (cid.Cid, error) {
	n.pushed = append(n.pushed, message)
	if err := n.failing("MpoolPush"); err != nil {
		return cid.Undef, err
	}
	return message.Cid()
}

func (n *node) WalletSignMessage(_ context.Context, _ address.Address, message *chain.Message) (*chain.SignedMessage, error) {
	signed := &chain.SignedMessage{Message: *message, Signature: crypto.Signature{Type: crypto.SigTypeSecp256k1, Data: make([]byte, 65)}}
	if n.sign != nil {
		n.sign(signed)
	}
	return signed, n.failing("WalletSignMessage")
}

func (n *node) StateGetActor(_ context.Context, of address.Address, _ chain.TipSetKey) (*chain.Actor, error) {
	balance, set := n.balances[of]
	if !set {
		balance = 100
	}
	return &chain.Actor{Nonce: n.nonces[of], Balance: big.Mul(big.NewInt(balance), big.NewInt(1e18))}, n.failing("StateGetActor")
}
