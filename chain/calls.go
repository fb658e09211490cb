package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// api is the node's methods as go-jsonrpc fills them in: field name is method name. What a node answers is decoded here, where it is
// bounded and checked.
type api struct {
	AuthVerify                    func(ctx context.Context, token string) (json.RawMessage, error)
	Version                       func(ctx context.Context) (json.RawMessage, error)
	ChainHead                     func(ctx context.Context) (json.RawMessage, error)
	ChainGetTipSet                func(ctx context.Context, key TipSetKey) (json.RawMessage, error)
	ChainGetTipSetAfterHeight     func(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (json.RawMessage, error)
	StateNetworkVersion           func(ctx context.Context, key TipSetKey) (json.RawMessage, error)
	StateGetNetworkParams         func(ctx context.Context) (json.RawMessage, error)
	StateMinerProvingDeadline     func(ctx context.Context, miner address.Address, key TipSetKey) (json.RawMessage, error)
	StateMinerDeadlines           func(ctx context.Context, miner address.Address, key TipSetKey) (json.RawMessage, error)
	StateMinerPartitions          func(ctx context.Context, miner address.Address, deadline uint64, key TipSetKey) (json.RawMessage, error)
	StateMinerSectors             func(ctx context.Context, miner address.Address, sectors *bitfield.BitField, key TipSetKey) (json.RawMessage, error)
	StateMinerInfo                func(ctx context.Context, miner address.Address, key TipSetKey) (json.RawMessage, error)
	StateMinerFaults              func(ctx context.Context, miner address.Address, key TipSetKey) (json.RawMessage, error)
	StateReadState                func(ctx context.Context, actor address.Address, key TipSetKey) (json.RawMessage, error)
	StateGetRandomnessFromBeacon  func(ctx context.Context, tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key TipSetKey) (json.RawMessage, error)
	StateGetRandomnessFromTickets func(ctx context.Context, tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte, key TipSetKey) (json.RawMessage, error)
	StateGetActor                 func(ctx context.Context, actor address.Address, key TipSetKey) (json.RawMessage, error)
	StateAccountKey               func(ctx context.Context, account address.Address, key TipSetKey) (json.RawMessage, error)
	StateLookupID                 func(ctx context.Context, account address.Address, key TipSetKey) (json.RawMessage, error)
	StateSearchMsg                func(ctx context.Context, from TipSetKey, message cid.Cid, limit abi.ChainEpoch, allowReplaced bool) (json.RawMessage, error)
	GasEstimateGasLimit           func(ctx context.Context, message *Message, key TipSetKey) (json.RawMessage, error)
	GasEstimateMessageGas         func(ctx context.Context, message *Message, spec *MessageSendSpec, key TipSetKey) (json.RawMessage, error)
	MpoolGetNonce                 func(ctx context.Context, from address.Address) (json.RawMessage, error)
	MpoolPending                  func(ctx context.Context, key TipSetKey) (json.RawMessage, error)
	MpoolPush                     func(ctx context.Context, message *SignedMessage) (json.RawMessage, error)
	WalletHas                     func(ctx context.Context, account address.Address) (json.RawMessage, error)
	WalletBalance                 func(ctx context.Context, account address.Address) (json.RawMessage, error)
	WalletSignMessage             func(ctx context.Context, account address.Address, message *Message) (json.RawMessage, error)
}

// Permissions are what the token may do: of "read", "write", "sign", "admin". A poster needs sign.
func (n *Node) Permissions(ctx context.Context) ([]string, error) {
	return call(ctx, n, "AuthVerify", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.AuthVerify(ctx, n.info.token) }, decodeAs[[]string])
}

// Version is what the node says of itself.
func (n *Node) Version(ctx context.Context) (Version, error) {
	return call(ctx, n, "Version", answerSmall, n.api.Version, decodeAs[Version])
}

// ChainHead is the heaviest tipset that the node knows. One that cannot be is an ErrAnswer.
func (n *Node) ChainHead(ctx context.Context) (*TipSet, error) {
	return call(ctx, n, "ChainHead", answerSmall, n.api.ChainHead, func(raw json.RawMessage) (*TipSet, error) {
		head, err := decodeTipSet(raw)
		if err == nil {
			err = n.believes.check(head, n.options.EpochDuration, time.Now())
		}
		return head, err
	})
}

// ChainGetTipSet is the tipset of that name; the head for the empty name.
func (n *Node) ChainGetTipSet(ctx context.Context, key TipSetKey) (*TipSet, error) {
	if known, ok := n.tipsets.Get(key.String()); ok && len(key) > 0 {
		return known, nil
	}
	t, err := call(ctx, n, "ChainGetTipSet", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.ChainGetTipSet(ctx, key) },
		func(raw json.RawMessage) (*TipSet, error) {
			t, err := decodeTipSet(raw)
			if err == nil && len(key) > 0 && !t.Cids.Equal(key) {
				return nil, fmt.Errorf("it is tipset %s and not %s", t.Cids, key)
			}
			return t, err
		})
	if err == nil && len(key) > 0 {
		n.tipsets.Add(key.String(), t)
	}
	return t, err
}

// ChainGetTipSetAfterHeight is the tipset at epoch on the chain that ends in key, or the next one after it where epoch is a
// null round. It tells whether a receipt is on the canonical chain.
func (n *Node) ChainGetTipSetAfterHeight(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (*TipSet, error) {
	return call(ctx, n, "ChainGetTipSetAfterHeight", answerSmall, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.ChainGetTipSetAfterHeight(ctx, epoch, key)
	}, func(raw json.RawMessage) (*TipSet, error) {
		t, err := decodeTipSet(raw)
		if err == nil && t.Height < epoch {
			return nil, fmt.Errorf("it is the tipset of epoch %d, which is before epoch %d", t.Height, epoch)
		}
		return t, err
	})
}

// StateNetworkVersion is the network's version at a tipset.
func (n *Node) StateNetworkVersion(ctx context.Context, key TipSetKey) (network.Version, error) {
	return call(ctx, n, "StateNetworkVersion", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.StateNetworkVersion(ctx, key) }, decodeAs[network.Version])
}

// StateGetNetworkParams is the network's name and timing.
func (n *Node) StateGetNetworkParams(ctx context.Context) (*NetworkParams, error) {
	params, err := call(ctx, n, "StateGetNetworkParams", answerSmall, n.api.StateGetNetworkParams, decodeParams)
	if err == nil {
		n.believes.learn(params)
	}
	return params, err
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
	if params.BlockDelaySecs == 0 {
		return 0, fmt.Errorf("the node at %s does not say how long an epoch is; set epoch_duration in [chain]", n.info)
	}
	return params.EpochDuration(), nil
}

// StateMinerProvingDeadline is the miner's current deadline. Its epochs are the chain's own; CurrentEpoch is the tipset's height.
func (n *Node) StateMinerProvingDeadline(ctx context.Context, miner address.Address, key TipSetKey) (*dline.Info, error) {
	di, err := call(ctx, n, "StateMinerProvingDeadline", answerSmall, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateMinerProvingDeadline(ctx, miner, key)
	}, decodeDline)
	return di, miners(err, miner)
}

// StateMinerDeadlines are all deadlines of a miner, by index; never none.
func (n *Node) StateMinerDeadlines(ctx context.Context, miner address.Address, key TipSetKey) ([]Deadline, error) {
	out, err := call(ctx, n, "StateMinerDeadlines", answerList, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateMinerDeadlines(ctx, miner, key)
	}, decodeDeadlines)
	return out, miners(err, miner)
}

// StateMinerPartitions are the partitions of one deadline, by index. A deadline may have none.
func (n *Node) StateMinerPartitions(ctx context.Context, miner address.Address, deadline uint64, key TipSetKey) ([]Partition, error) {
	out, err := call(ctx, n, "StateMinerPartitions", answerList, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateMinerPartitions(ctx, miner, deadline, key)
	}, decodePartitions)
	return out, miners(err, miner)
}

// StateMinerSectors are the sectors of a set, each once, though perhaps not all of them; all of the miner's if sectors is nil.
func (n *Node) StateMinerSectors(ctx context.Context, miner address.Address, sectors *bitfield.BitField, key TipSetKey) ([]*SectorOnChainInfo, error) {
	out, err := call(ctx, n, "StateMinerSectors", answerList, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateMinerSectors(ctx, miner, sectors, key)
	}, func(raw json.RawMessage) ([]*SectorOnChainInfo, error) { return decodeSectors(raw, sectors) })
	return out, miners(err, miner)
}

// StateMinerInfo is the miner's proof type and addresses.
func (n *Node) StateMinerInfo(ctx context.Context, miner address.Address, key TipSetKey) (MinerInfo, error) {
	out, err := call(ctx, n, "StateMinerInfo", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.StateMinerInfo(ctx, miner, key) }, decodeMinerInfo)
	return out, miners(err, miner)
}

// StateMinerFaults are the miner's faulty sectors.
func (n *Node) StateMinerFaults(ctx context.Context, miner address.Address, key TipSetKey) (bitfield.BitField, error) {
	out, err := call(ctx, n, "StateMinerFaults", answerList, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateMinerFaults(ctx, miner, key)
	}, func(raw json.RawMessage) (bitfield.BitField, error) {
		return decodeBitfield("its faults", raw, maxSectors)
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
	out, err := call(ctx, n, "StateGetRandomnessFromBeacon", answerSmall, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateGetRandomnessFromBeacon(ctx, crypto.DomainSeparationTag_WindowedPoStChallengeSeed, challenge, entropy.Bytes(), key)
	}, decodeRandomness)
	return out, miners(err, miner)
}

// CommitRandomness is the 32 bytes by which a post says on which chain it was made: from the tickets, so it moves in
// a reorg that reaches below epoch.
func (n *Node) CommitRandomness(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (abi.Randomness, error) {
	return call(ctx, n, "StateGetRandomnessFromTickets", answerSmall, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateGetRandomnessFromTickets(ctx, crypto.DomainSeparationTag_PoStChainCommit, epoch, nil, key)
	}, decodeRandomness)
}

// StateGetActor is an actor's balance and nonce.
func (n *Node) StateGetActor(ctx context.Context, actor address.Address, key TipSetKey) (*Actor, error) {
	return call(ctx, n, "StateGetActor", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.StateGetActor(ctx, actor, key) }, decodeActor)
}

// StateAccountKey is the key address (f1, f3) of an account.
func (n *Node) StateAccountKey(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error) {
	return call(ctx, n, "StateAccountKey", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.StateAccountKey(ctx, account, key) }, decodeAddress)
}

// StateLookupID is the ID address (f0) of an account.
func (n *Node) StateLookupID(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error) {
	return call(ctx, n, "StateLookupID", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.StateLookupID(ctx, account, key) }, decodeAddress)
}

// StateSearchMsg looks for a message's receipt on the chain that ends in from, at most limit epochs back (-1: no limit);
// nil if it is not there. With allowReplaced, one that differs in gas only counts as found.
func (n *Node) StateSearchMsg(ctx context.Context, from TipSetKey, message cid.Cid, limit abi.ChainEpoch, allowReplaced bool) (*MsgLookup, error) {
	return call(ctx, n, "StateSearchMsg", answerMessage, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.StateSearchMsg(ctx, from, message, limit, allowReplaced)
	}, func(raw json.RawMessage) (*MsgLookup, error) {
		found, err := decodeLookup(raw)
		if err == nil && found != nil && !allowReplaced && found.Message != message {
			return nil, fmt.Errorf("it is about message %s and not %s", found.Message, message)
		}
		return found, err
	})
}

// GasEstimateGasLimit executes the message on the state of a tipset and gives the gas that it took, without any room to spare. Where executing
// it fails it is an error with the actor's reason.
func (n *Node) GasEstimateGasLimit(ctx context.Context, message *Message, key TipSetKey) (int64, error) {
	return call(ctx, n, "GasEstimateGasLimit", answerSmall, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.GasEstimateGasLimit(ctx, message, key)
	}, decodeGas)
}

// GasEstimateMessageGas executes the message on the state of a tipset and gives it back with gas limit, premium and fee cap.
// Where executing it fails it is an error with the actor's reason. With a gas limit given, it is not executed, only priced.
func (n *Node) GasEstimateMessageGas(ctx context.Context, message *Message, spec *MessageSendSpec, key TipSetKey) (*Message, error) {
	return call(ctx, n, "GasEstimateMessageGas", answerMessage, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.GasEstimateMessageGas(ctx, message, spec, key)
	}, func(raw json.RawMessage) (*Message, error) {
		out, err := decodeMessage(raw)
		if err == nil && !sameCall(out, message) {
			return nil, errors.New("it is another message than the one that was to be estimated")
		}
		return out, err
	})
}

// sameCall says whether two messages ask the same of the same actor, whatever they pay for it.
func sameCall(a, b *Message) bool {
	value := func(m *Message) abi.TokenAmount {
		if m.Value.Int == nil {
			return abi.NewTokenAmount(0)
		}
		return m.Value
	}
	return a.To == b.To && a.From == b.From && a.Method == b.Method && bytes.Equal(a.Params, b.Params) && value(a).Equals(value(b))
}

// maxPending is how many messages of one sender a pool holds at most (Lotus: MaxActorPendingMessages).
const maxPending = 1000

// MpoolGetNonce is the next free nonce of an address in the node's pool. One that no pool could have come to from onChain, the next nonce that
// the chain takes, is an error: a message that has it would never land, and all before it would have to be filled.
func (n *Node) MpoolGetNonce(ctx context.Context, from address.Address, onChain uint64) (uint64, error) {
	return call(ctx, n, "MpoolGetNonce", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.MpoolGetNonce(ctx, from) },
		func(raw json.RawMessage) (uint64, error) {
			next, err := decodeAs[uint64](raw)
			if err == nil && next > onChain && next-onChain > maxPending {
				err = fmt.Errorf("next nonce %d of %s, of whom the chain takes %d next and pools hold %d messages", next, from, onChain, maxPending)
			}
			return next, err
		})
}

// MpoolPending are the messages that the node's pool holds and the chain that ends in key does not.
func (n *Node) MpoolPending(ctx context.Context, key TipSetKey) ([]*SignedMessage, error) {
	return call(ctx, n, "MpoolPending", answerList, func(ctx context.Context) (json.RawMessage, error) { return n.api.MpoolPending(ctx, key) },
		func(raw json.RawMessage) ([]*SignedMessage, error) { return decodeList(raw, maxList, decodeSigned) })
}

// MpoolPush puts a signed message into the node's pool. The same bytes again are harmless: a node that says that it has them
// already has them, which is what was asked for.
func (n *Node) MpoolPush(ctx context.Context, message *SignedMessage) (cid.Cid, error) {
	own, err := message.Cid()
	if err != nil {
		return cid.Undef, err
	}
	// Sent once, so that it is known of a connection that is refused that nothing was sent before.
	name, err := call(once(ctx), n, "MpoolPush", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.MpoolPush(ctx, message) },
		func(raw json.RawMessage) (cid.Cid, error) {
			name, err := decodeCID(raw)
			if err == nil && name != own {
				return cid.Undef, fmt.Errorf("it calls the message %s, which is %s", name, own)
			}
			return name, err
		})
	if err != nil && strings.Contains(err.Error(), "already in mpool") && !strings.Contains(err.Error(), "increase GasPremium") {
		return own, nil
	}
	return name, err
}

// WalletHas says whether the node's wallet holds the key of an address.
func (n *Node) WalletHas(ctx context.Context, account address.Address) (bool, error) {
	return call(ctx, n, "WalletHas", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.WalletHas(ctx, account) }, decodeAs[bool])
}

// WalletBalance is what an address owns, in attoFIL.
func (n *Node) WalletBalance(ctx context.Context, account address.Address) (abi.TokenAmount, error) {
	return call(ctx, n, "WalletBalance", answerSmall, func(ctx context.Context) (json.RawMessage, error) { return n.api.WalletBalance(ctx, account) }, decodeAmount)
}

// WalletSignMessage signs a message with a key of the node's wallet and does nothing else with it.
func (n *Node) WalletSignMessage(ctx context.Context, account address.Address, message *Message) (*SignedMessage, error) {
	own, err := message.Cid()
	if err != nil {
		return nil, err
	}
	return call(ctx, n, "WalletSignMessage", answerMessage, func(ctx context.Context) (json.RawMessage, error) {
		return n.api.WalletSignMessage(ctx, account, message)
	}, func(raw json.RawMessage) (*SignedMessage, error) {
		signed, err := decodeSigned(raw)
		if err != nil {
			return nil, err
		}
		if name, err := signed.Message.Cid(); err != nil || name != own {
			return nil, errors.New("it is another message than the one that was to be signed")
		}
		return signed, nil
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
