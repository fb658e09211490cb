package chain

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/filecoin-project/go-state-types/network"
	"github.com/ipfs/go-cid"
)

// api is the node's methods as go-jsonrpc fills them in: field name is method name.
type api struct {
	AuthVerify                    func(ctx context.Context, token string) ([]string, error)
	Version                       func(ctx context.Context) (Version, error)
	ChainHead                     func(ctx context.Context) (*TipSet, error)
	ChainGetTipSet                func(ctx context.Context, key TipSetKey) (*TipSet, error)
	ChainGetTipSetAfterHeight     func(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (*TipSet, error)
	StateNetworkVersion           func(ctx context.Context, key TipSetKey) (network.Version, error)
	StateGetNetworkParams         func(ctx context.Context) (*NetworkParams, error)
	StateMinerProvingDeadline     func(ctx context.Context, miner address.Address, key TipSetKey) (*dline.Info, error)
	StateMinerDeadlines           func(ctx context.Context, miner address.Address, key TipSetKey) ([]Deadline, error)
	StateMinerPartitions          func(ctx context.Context, miner address.Address, deadline uint64, key TipSetKey) ([]Partition, error)
	StateMinerSectors             func(ctx context.Context, miner address.Address, sectors *bitfield.BitField, key TipSetKey) ([]*SectorOnChainInfo, error)
	StateMinerInfo                func(ctx context.Context, miner address.Address, key TipSetKey) (MinerInfo, error)
	StateMinerFaults              func(ctx context.Context, miner address.Address, key TipSetKey) (bitfield.BitField, error)
	StateReadState                func(ctx context.Context, actor address.Address, key TipSetKey) (*ActorState, error)
	StateGetRandomnessFromBeacon  func(ctx context.Context, tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key TipSetKey) (abi.Randomness, error)
	StateGetRandomnessFromTickets func(ctx context.Context, tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key TipSetKey) (abi.Randomness, error)
	StateGetActor                 func(ctx context.Context, actor address.Address, key TipSetKey) (*Actor, error)
	StateAccountKey               func(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error)
	StateLookupID                 func(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error)
	StateSearchMsg                func(ctx context.Context, from TipSetKey, message cid.Cid, limit abi.ChainEpoch, allowReplaced bool) (*MsgLookup, error)
	GasEstimateGasLimit           func(ctx context.Context, message *Message, key TipSetKey) (int64, error)
	GasEstimateMessageGas         func(ctx context.Context, message *Message, spec *MessageSendSpec, key TipSetKey) (*Message, error)
	MpoolGetNonce                 func(ctx context.Context, from address.Address) (uint64, error)
	MpoolPending                  func(ctx context.Context, key TipSetKey) ([]*SignedMessage, error)
	MpoolPush                     func(ctx context.Context, message *SignedMessage) (cid.Cid, error)
	WalletHas                     func(ctx context.Context, account address.Address) (bool, error)
	WalletBalance                 func(ctx context.Context, account address.Address) (abi.TokenAmount, error)
	WalletSignMessage             func(ctx context.Context, account address.Address, message *Message) (*SignedMessage, error)
}

// Permissions are what the token may do: of "read", "write", "sign", "admin". A poster needs sign.
func (n *Node) Permissions(ctx context.Context) ([]string, error) {
	return call(ctx, n, "AuthVerify", func(ctx context.Context) ([]string, error) { return n.api.AuthVerify(ctx, n.info.token) })
}

// Version is what the node says of itself.
func (n *Node) Version(ctx context.Context) (Version, error) {
	return call(ctx, n, "Version", n.api.Version)
}

// ChainHead is the heaviest tipset that the node knows.
func (n *Node) ChainHead(ctx context.Context) (*TipSet, error) {
	head, err := call(ctx, n, "ChainHead", n.api.ChainHead)
	if err == nil && (head == nil || len(head.Cids) == 0) {
		return nil, &CallError{Method: "ChainHead", Endpoint: n.info.URL, Err: fmt.Errorf("the node has no head yet; wait until it has synced")}
	}
	return head, err
}

// ChainGetTipSet is the tipset of that name.
func (n *Node) ChainGetTipSet(ctx context.Context, key TipSetKey) (*TipSet, error) {
	return call(ctx, n, "ChainGetTipSet", func(ctx context.Context) (*TipSet, error) { return n.api.ChainGetTipSet(ctx, key) })
}

// ChainGetTipSetAfterHeight is the tipset at epoch on the chain that ends in key, or the next one after it where epoch is a
// null round. It tells whether a receipt is on the canonical chain.
func (n *Node) ChainGetTipSetAfterHeight(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (*TipSet, error) {
	return call(ctx, n, "ChainGetTipSetAfterHeight", func(ctx context.Context) (*TipSet, error) {
		return n.api.ChainGetTipSetAfterHeight(ctx, epoch, key)
	})
}

// StateNetworkVersion is the network's version at a tipset.
func (n *Node) StateNetworkVersion(ctx context.Context, key TipSetKey) (network.Version, error) {
	return call(ctx, n, "StateNetworkVersion", func(ctx context.Context) (network.Version, error) { return n.api.StateNetworkVersion(ctx, key) })
}

// StateGetNetworkParams is the network's name and timing.
func (n *Node) StateGetNetworkParams(ctx context.Context) (*NetworkParams, error) {
	return call(ctx, n, "StateGetNetworkParams", n.api.StateGetNetworkParams)
}

// EpochDuration is the wall-clock length of an epoch: the configured one, else the network's.
func (n *Node) EpochDuration(ctx context.Context) (time.Duration, error) {
	if n.options.EpochDuration > 0 {
		return n.options.EpochDuration, nil
	}
	params, err := n.StateGetNetworkParams(ctx)
	if err != nil {
		return 0, err
	}
	if params == nil || params.BlockDelaySecs == 0 {
		return 0, fmt.Errorf("the node at %s does not say how long an epoch is; set epoch_duration in [chain]", n.info)
	}
	return params.EpochDuration(), nil
}

// StateMinerProvingDeadline is the miner's current deadline. Its epochs are the chain's own; CurrentEpoch is the tipset's height.
func (n *Node) StateMinerProvingDeadline(ctx context.Context, miner address.Address, key TipSetKey) (*dline.Info, error) {
	di, err := call(ctx, n, "StateMinerProvingDeadline", func(ctx context.Context) (*dline.Info, error) {
		return n.api.StateMinerProvingDeadline(ctx, miner, key)
	})
	return di, miners(err, miner)
}

// StateMinerDeadlines are all deadlines of a miner, by index.
func (n *Node) StateMinerDeadlines(ctx context.Context, miner address.Address, key TipSetKey) ([]Deadline, error) {
	out, err := call(ctx, n, "StateMinerDeadlines", func(ctx context.Context) ([]Deadline, error) {
		return n.api.StateMinerDeadlines(ctx, miner, key)
	})
	return out, miners(err, miner)
}

// StateMinerPartitions are the partitions of one deadline, by index.
func (n *Node) StateMinerPartitions(ctx context.Context, miner address.Address, deadline uint64, key TipSetKey) ([]Partition, error) {
	out, err := call(ctx, n, "StateMinerPartitions", func(ctx context.Context) ([]Partition, error) {
		return n.api.StateMinerPartitions(ctx, miner, deadline, key)
	})
	return out, miners(err, miner)
}

// StateMinerSectors are the sectors of a set; all of the miner's if sectors is nil.
func (n *Node) StateMinerSectors(ctx context.Context, miner address.Address, sectors *bitfield.BitField, key TipSetKey) ([]*SectorOnChainInfo, error) {
	out, err := call(ctx, n, "StateMinerSectors", func(ctx context.Context) ([]*SectorOnChainInfo, error) {
		return n.api.StateMinerSectors(ctx, miner, sectors, key)
	})
	return out, miners(err, miner)
}

// StateMinerInfo is the miner's proof type and addresses.
func (n *Node) StateMinerInfo(ctx context.Context, miner address.Address, key TipSetKey) (MinerInfo, error) {
	out, err := call(ctx, n, "StateMinerInfo", func(ctx context.Context) (MinerInfo, error) { return n.api.StateMinerInfo(ctx, miner, key) })
	return out, miners(err, miner)
}

// StateMinerFaults are the miner's faulty sectors.
func (n *Node) StateMinerFaults(ctx context.Context, miner address.Address, key TipSetKey) (bitfield.BitField, error) {
	out, err := call(ctx, n, "StateMinerFaults", func(ctx context.Context) (bitfield.BitField, error) {
		return n.api.StateMinerFaults(ctx, miner, key)
	})
	return out, miners(err, miner)
}

// ChallengeRandomness is the 32 bytes that a miner's window proof for that challenge epoch answers: from the beacon, so
// that it hardly moves in a reorg. The head must be at challenge or past it.
func (n *Node) ChallengeRandomness(ctx context.Context, miner address.Address, challenge abi.ChainEpoch, key TipSetKey) (abi.Randomness, error) {
	var entropy bytes.Buffer
	if err := miner.MarshalCBOR(&entropy); err != nil {
		return nil, fmt.Errorf("encoding miner %s: %w", miner, err)
	}
	out, err := call(ctx, n, "StateGetRandomnessFromBeacon", func(ctx context.Context) (abi.Randomness, error) {
		return n.api.StateGetRandomnessFromBeacon(ctx, crypto.DomainSeparationTag_WindowedPoStChallengeSeed, challenge, entropy.Bytes(), key)
	})
	return out, miners(err, miner)
}

// CommitRandomness is the 32 bytes by which a post says on which chain it was made: from the tickets, so it moves in
// a reorg that reaches below epoch.
func (n *Node) CommitRandomness(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (abi.Randomness, error) {
	return call(ctx, n, "StateGetRandomnessFromTickets", func(ctx context.Context) (abi.Randomness, error) {
		return n.api.StateGetRandomnessFromTickets(ctx, crypto.DomainSeparationTag_PoStChainCommit, epoch, nil, key)
	})
}

// StateGetActor is an actor's balance and nonce.
func (n *Node) StateGetActor(ctx context.Context, actor address.Address, key TipSetKey) (*Actor, error) {
	return call(ctx, n, "StateGetActor", func(ctx context.Context) (*Actor, error) { return n.api.StateGetActor(ctx, actor, key) })
}

// StateAccountKey is the key address (f1, f3) of an account.
func (n *Node) StateAccountKey(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error) {
	return call(ctx, n, "StateAccountKey", func(ctx context.Context) (address.Address, error) { return n.api.StateAccountKey(ctx, account, key) })
}

// StateLookupID is the ID address (f0) of an account.
func (n *Node) StateLookupID(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error) {
	return call(ctx, n, "StateLookupID", func(ctx context.Context) (address.Address, error) { return n.api.StateLookupID(ctx, account, key) })
}

// StateSearchMsg looks for a message's receipt on the chain that ends in from, at most limit epochs back (-1: no limit);
// nil if it is not there. With allowReplaced, one that differs in gas only counts as found.
func (n *Node) StateSearchMsg(ctx context.Context, from TipSetKey, message cid.Cid, limit abi.ChainEpoch, allowReplaced bool) (*MsgLookup, error) {
	return call(ctx, n, "StateSearchMsg", func(ctx context.Context) (*MsgLookup, error) {
		return n.api.StateSearchMsg(ctx, from, message, limit, allowReplaced)
	})
}

// GasEstimateGasLimit executes the message on the state of a tipset and gives the gas that it took, without any room to spare. Where executing
// it fails it is an error with the actor's reason.
func (n *Node) GasEstimateGasLimit(ctx context.Context, message *Message, key TipSetKey) (int64, error) {
	return call(ctx, n, "GasEstimateGasLimit", func(ctx context.Context) (int64, error) {
		return n.api.GasEstimateGasLimit(ctx, message, key)
	})
}

// GasEstimateMessageGas executes the message on the state of a tipset and gives it back with gas limit, premium and fee cap.
// Where executing it fails it is an error with the actor's reason. With a gas limit given, it is not executed, only priced.
func (n *Node) GasEstimateMessageGas(ctx context.Context, message *Message, spec *MessageSendSpec, key TipSetKey) (*Message, error) {
	return call(ctx, n, "GasEstimateMessageGas", func(ctx context.Context) (*Message, error) {
		return n.api.GasEstimateMessageGas(ctx, message, spec, key)
	})
}

// MpoolGetNonce is the next free nonce of an address in the node's pool.
func (n *Node) MpoolGetNonce(ctx context.Context, from address.Address) (uint64, error) {
	return call(ctx, n, "MpoolGetNonce", func(ctx context.Context) (uint64, error) { return n.api.MpoolGetNonce(ctx, from) })
}

// MpoolPending are the messages that the node's pool holds and the chain that ends in key does not.
func (n *Node) MpoolPending(ctx context.Context, key TipSetKey) ([]*SignedMessage, error) {
	return call(ctx, n, "MpoolPending", func(ctx context.Context) ([]*SignedMessage, error) { return n.api.MpoolPending(ctx, key) })
}

// MpoolPush puts a signed message into the node's pool. The same bytes again are harmless: a node that says that it has them
// already has them, which is what was asked for.
func (n *Node) MpoolPush(ctx context.Context, message *SignedMessage) (cid.Cid, error) {
	name, err := call(ctx, n, "MpoolPush", func(ctx context.Context) (cid.Cid, error) { return n.api.MpoolPush(ctx, message) })
	if err != nil && strings.Contains(err.Error(), "already in mpool") && !strings.Contains(err.Error(), "increase GasPremium") {
		return message.Cid()
	}
	return name, err
}

// WalletHas says whether the node's wallet holds the key of an address.
func (n *Node) WalletHas(ctx context.Context, account address.Address) (bool, error) {
	return call(ctx, n, "WalletHas", func(ctx context.Context) (bool, error) { return n.api.WalletHas(ctx, account) })
}

// WalletBalance is what an address owns, in attoFIL.
func (n *Node) WalletBalance(ctx context.Context, account address.Address) (abi.TokenAmount, error) {
	return call(ctx, n, "WalletBalance", func(ctx context.Context) (abi.TokenAmount, error) { return n.api.WalletBalance(ctx, account) })
}

// WalletSignMessage signs a message with a key of the node's wallet and does nothing else with it.
func (n *Node) WalletSignMessage(ctx context.Context, account address.Address, message *Message) (*SignedMessage, error) {
	return call(ctx, n, "WalletSignMessage", func(ctx context.Context) (*SignedMessage, error) {
		return n.api.WalletSignMessage(ctx, account, message)
	})
}

// miners adds the miner's name to an error of a call about one.
func miners(err error, miner address.Address) error {
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "actor not found") {
		return fmt.Errorf("miner %s: %w: %w", miner, ErrNoActor, err)
	}
	return fmt.Errorf("miner %s: %w", miner, err)
}
