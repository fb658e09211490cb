package chain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/ipfs/go-cid"
)

// TipSetKey names a tipset by the CIDs of its blocks. The empty key means the head, in every call that takes one.
type TipSetKey []cid.Cid

// MarshalJSON writes the empty key as [], which is what Lotus expects, never null.
func (k TipSetKey) MarshalJSON() ([]byte, error) {
	if k == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]cid.Cid(k))
}

// Equal says whether both name the same tipset.
func (k TipSetKey) Equal(other TipSetKey) bool { return slices.Equal(k, other) }

// String joins the CIDs, for logs and as a map key.
func (k TipSetKey) String() string {
	names := make([]string, len(k))
	for i, c := range k {
		names[i] = c.String()
	}
	return strings.Join(names, ",")
}

// BlockHeader is what a poster reads of a block. Lotus sends more; it is ignored.
type BlockHeader struct {
	Miner         address.Address
	Parents       TipSetKey
	Height        abi.ChainEpoch
	Timestamp     uint64  // seconds since 1970
	ParentWeight  big.Int // of the chain below; the heaviest is the one that nodes follow
	ParentBaseFee abi.TokenAmount
}

// TipSet is the blocks of one epoch with the same parents. An epoch without any is a null round and has no tipset.
type TipSet struct {
	Cids   TipSetKey
	Blocks []*BlockHeader
	Height abi.ChainEpoch
}

// Key names the tipset; empty for no tipset.
func (t *TipSet) Key() TipSetKey {
	if t == nil {
		return nil
	}
	return t.Cids
}

// Parents names the tipset below; empty at genesis.
func (t *TipSet) Parents() TipSetKey {
	if t == nil || len(t.Blocks) == 0 {
		return nil
	}
	return t.Blocks[0].Parents
}

// time is when the tipset's epoch was, by its own word; zero if unknown.
func (t *TipSet) time() time.Time {
	if t == nil || len(t.Blocks) == 0 || t.Blocks[0].Timestamp == 0 {
		return time.Time{}
	}
	return time.Unix(int64(t.Blocks[0].Timestamp), 0)
}

// BaseFee is the base fee that messages in this tipset's blocks pay, in attoFIL per unit of gas; zero if unknown.
func (t *TipSet) BaseFee() abi.TokenAmount {
	if t == nil || len(t.Blocks) == 0 || t.Blocks[0].ParentBaseFee.Int == nil {
		return abi.NewTokenAmount(0)
	}
	return t.Blocks[0].ParentBaseFee
}

// The kinds of HeadChange.
const (
	HeadCurrent = "current" // the first one of a subscription
	HeadApply   = "apply"
	HeadRevert  = "revert"
)

// HeadChange is one step of the head.
type HeadChange struct {
	Type string
	Val  *TipSet
}

// MessageReceipt is what executing a message gave.
type MessageReceipt struct {
	ExitCode   exitcode.ExitCode
	Return     []byte
	GasUsed    int64
	EventsRoot *cid.Cid
}

// MsgLookup says where a message was executed.
type MsgLookup struct {
	Message cid.Cid // differs from the one asked for if that was replaced by one with other gas values
	Receipt MessageReceipt
	TipSet  TipSetKey // the tipset in whose execution the receipt was made: the one above that which includes the message
	Height  abi.ChainEpoch
}

// MinerInfo is what a poster reads of a miner actor's info. Lotus sends more; it is ignored.
type MinerInfo struct {
	Owner                      address.Address
	Worker                     address.Address
	ControlAddresses           []address.Address
	WindowPoStProofType        abi.RegisteredPoStProof
	SectorSize                 abi.SectorSize
	WindowPoStPartitionSectors uint64
	ConsensusFaultElapsed      abi.ChainEpoch // no recoveries before it; -1 if there was no fault
}

// Senders are the addresses that may send the miner's posts: control addresses first, in the actor's order, then worker, then owner.
func (m MinerInfo) Senders() []address.Address {
	return append(slices.Clone(m.ControlAddresses), m.Worker, m.Owner)
}

// Deadline is what the state keeps of one deadline.
type Deadline struct {
	PostSubmissions      bitfield.BitField // partitions posted in the current window; cleared in the deadline's last epoch
	DisputableProofCount uint64
	DailyFee             abi.TokenAmount
}

// Partition is the sectors of one partition, as sets of sector numbers.
type Partition struct {
	AllSectors        bitfield.BitField
	FaultySectors     bitfield.BitField
	RecoveringSectors bitfield.BitField // a subset of the faulty ones
	LiveSectors       bitfield.BitField // not terminated
	ActiveSectors     bitfield.BitField // live, proven at least once and not faulty
}

// SectorOnChainInfo is what a poster reads of a sector. Lotus sends more; it is ignored.
type SectorOnChainInfo struct {
	SectorNumber abi.SectorNumber
	SealProof    abi.RegisteredSealProof
	SealedCID    cid.Cid // its digest is CommR
	Activation   abi.ChainEpoch
	Expiration   abi.ChainEpoch
	SectorKeyCID *cid.Cid // set when the sector was upgraded (snap)
}

// Actor is an actor's entry in the state tree.
type Actor struct {
	Code             cid.Cid
	Head             cid.Cid
	Nonce            uint64
	Balance          abi.TokenAmount
	DelegatedAddress *address.Address
}

// NetworkParams is what a poster reads of the network's parameters.
type NetworkParams struct {
	NetworkName      string
	BlockDelaySecs   uint64 // an epoch's length by the blocks' timestamps
	GenesisTimestamp uint64 // seconds since 1970
}

// String is the network's name and when it began.
func (p NetworkParams) String() string {
	return fmt.Sprintf("%q since %s", p.NetworkName, time.Unix(int64(p.GenesisTimestamp), 0).UTC().Format(time.DateTime))
}

// EpochDuration is an epoch's length by the blocks' timestamps.
func (p NetworkParams) EpochDuration() time.Duration {
	return time.Duration(p.BlockDelaySecs) * time.Second
}

// MessageSendSpec bounds what a gas estimate may choose.
type MessageSendSpec struct {
	MaxFee         abi.TokenAmount // attoFIL for the whole message; zero: the node's own limit
	MaximizeFeeCap bool
}

// Version is what a node says of itself.
type Version struct {
	Version    string
	APIVersion uint32
	BlockDelay uint64
}
