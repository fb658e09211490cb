package chain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/filecoin-project/go-state-types/network"
	"github.com/ipfs/go-cid"
)

// The methods of Node, on several endpoints. What Node's comments say holds here too.

// ChainHead is the head of the node that is used.
func (s *Nodes) ChainHead(ctx context.Context) (*TipSet, error) {
	return s.tipset(ctx, "ChainHead", nil, func(ctx context.Context, n *Node) (*TipSet, error) { return n.ChainHead(ctx) })
}

// tipset asks for a tipset, and remembers who has it: calls about it will follow.
func (s *Nodes) tipset(ctx context.Context, method string, key TipSetKey, do func(context.Context, *Node) (*TipSet, error)) (*TipSet, error) {
	return ask(ctx, s, method, key, func(ctx context.Context, n *Node) (*TipSet, error) {
		t, err := do(ctx, n)
		if err == nil {
			for _, m := range s.members {
				if m.Node == n {
					s.learn(m, t.Key())
				}
			}
		}
		return t, err
	})
}

// ChainGetTipSet is the tipset of that name.
func (s *Nodes) ChainGetTipSet(ctx context.Context, key TipSetKey) (*TipSet, error) {
	return s.tipset(ctx, "ChainGetTipSet", key, func(ctx context.Context, n *Node) (*TipSet, error) { return n.ChainGetTipSet(ctx, key) })
}

// ChainGetTipSetAfterHeight is the tipset at epoch, or the next one after it, on the chain that ends in key.
func (s *Nodes) ChainGetTipSetAfterHeight(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (*TipSet, error) {
	return s.tipset(ctx, "ChainGetTipSetAfterHeight", key, func(ctx context.Context, n *Node) (*TipSet, error) {
		return n.ChainGetTipSetAfterHeight(ctx, epoch, key)
	})
}

// StateNetworkVersion is the network's version at a tipset.
func (s *Nodes) StateNetworkVersion(ctx context.Context, key TipSetKey) (network.Version, error) {
	return ask(ctx, s, "StateNetworkVersion", key, func(ctx context.Context, n *Node) (network.Version, error) { return n.StateNetworkVersion(ctx, key) })
}

// StateGetNetworkParams is the network's name and timing.
func (s *Nodes) StateGetNetworkParams(ctx context.Context) (*NetworkParams, error) {
	return ask(ctx, s, "StateGetNetworkParams", nil, func(ctx context.Context, n *Node) (*NetworkParams, error) { return n.StateGetNetworkParams(ctx) })
}

// EpochDuration is the wall-clock length of an epoch.
func (s *Nodes) EpochDuration(ctx context.Context) (time.Duration, error) {
	return ask(ctx, s, "StateGetNetworkParams", nil, func(ctx context.Context, n *Node) (time.Duration, error) { return n.EpochDuration(ctx) })
}

// StateMinerProvingDeadline is the miner's current deadline.
func (s *Nodes) StateMinerProvingDeadline(ctx context.Context, miner address.Address, key TipSetKey) (*dline.Info, error) {
	return ask(ctx, s, "StateMinerProvingDeadline", key, func(ctx context.Context, n *Node) (*dline.Info, error) {
		return n.StateMinerProvingDeadline(ctx, miner, key)
	})
}

// StateMinerDeadlines are all deadlines of a miner, by index.
func (s *Nodes) StateMinerDeadlines(ctx context.Context, miner address.Address, key TipSetKey) ([]Deadline, error) {
	return ask(ctx, s, "StateMinerDeadlines", key, func(ctx context.Context, n *Node) ([]Deadline, error) { return n.StateMinerDeadlines(ctx, miner, key) })
}

// StateMinerPartitions are the partitions of one deadline, by index.
func (s *Nodes) StateMinerPartitions(ctx context.Context, miner address.Address, deadline uint64, key TipSetKey) ([]Partition, error) {
	return ask(ctx, s, "StateMinerPartitions", key, func(ctx context.Context, n *Node) ([]Partition, error) {
		return n.StateMinerPartitions(ctx, miner, deadline, key)
	})
}

// StateMinerSectors are the sectors of a set; all of the miner's if sectors is nil.
func (s *Nodes) StateMinerSectors(ctx context.Context, miner address.Address, sectors *bitfield.BitField, key TipSetKey) ([]*SectorOnChainInfo, error) {
	return ask(ctx, s, "StateMinerSectors", key, func(ctx context.Context, n *Node) ([]*SectorOnChainInfo, error) {
		return n.StateMinerSectors(ctx, miner, sectors, key)
	})
}

// StateMinerInfo is the miner's proof type and addresses.
func (s *Nodes) StateMinerInfo(ctx context.Context, miner address.Address, key TipSetKey) (MinerInfo, error) {
	return ask(ctx, s, "StateMinerInfo", key, func(ctx context.Context, n *Node) (MinerInfo, error) { return n.StateMinerInfo(ctx, miner, key) })
}

// StateMinerFaults are the miner's faulty sectors.
func (s *Nodes) StateMinerFaults(ctx context.Context, miner address.Address, key TipSetKey) (bitfield.BitField, error) {
	return ask(ctx, s, "StateMinerFaults", key, func(ctx context.Context, n *Node) (bitfield.BitField, error) {
		return n.StateMinerFaults(ctx, miner, key)
	})
}

// StateMinerFunds is what a miner actor has and owes.
func (s *Nodes) StateMinerFunds(ctx context.Context, miner address.Address, key TipSetKey) (MinerFunds, error) {
	return ask(ctx, s, "StateReadState", key, func(ctx context.Context, n *Node) (MinerFunds, error) { return n.StateMinerFunds(ctx, miner, key) })
}

// ChallengeRandomness is the 32 bytes that a miner's window proof for that challenge epoch answers.
func (s *Nodes) ChallengeRandomness(ctx context.Context, miner address.Address, challenge abi.ChainEpoch, key TipSetKey) (abi.Randomness, error) {
	return ask(ctx, s, "StateGetRandomnessFromBeacon", key, func(ctx context.Context, n *Node) (abi.Randomness, error) {
		return n.ChallengeRandomness(ctx, miner, challenge, key)
	})
}

// CommitRandomness is the 32 bytes by which a post says on which chain it was made.
func (s *Nodes) CommitRandomness(ctx context.Context, epoch abi.ChainEpoch, key TipSetKey) (abi.Randomness, error) {
	return ask(ctx, s, "StateGetRandomnessFromTickets", key, func(ctx context.Context, n *Node) (abi.Randomness, error) {
		return n.CommitRandomness(ctx, epoch, key)
	})
}

// StateGetActor is an actor's balance and nonce.
func (s *Nodes) StateGetActor(ctx context.Context, actor address.Address, key TipSetKey) (*Actor, error) {
	return ask(ctx, s, "StateGetActor", key, func(ctx context.Context, n *Node) (*Actor, error) { return n.StateGetActor(ctx, actor, key) })
}

// StateAccountKey is the key address (f1, f3) of an account.
func (s *Nodes) StateAccountKey(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error) {
	return ask(ctx, s, "StateAccountKey", key, func(ctx context.Context, n *Node) (address.Address, error) {
		return n.StateAccountKey(ctx, account, key)
	})
}

// StateLookupID is the ID address (f0) of an account.
func (s *Nodes) StateLookupID(ctx context.Context, account address.Address, key TipSetKey) (address.Address, error) {
	return ask(ctx, s, "StateLookupID", key, func(ctx context.Context, n *Node) (address.Address, error) { return n.StateLookupID(ctx, account, key) })
}

// StateSearchMsg looks for a message's receipt on the chain that ends in from. A node that has never heard of the message is no reason
// to think that there is none: another is asked.
func (s *Nodes) StateSearchMsg(ctx context.Context, from TipSetKey, message cid.Cid, limit abi.ChainEpoch, allowReplaced bool) (*MsgLookup, error) {
	return ask(ctx, s, "StateSearchMsg", from, func(ctx context.Context, n *Node) (*MsgLookup, error) {
		return n.StateSearchMsg(ctx, from, message, limit, allowReplaced)
	})
}

// GasEstimateGasLimit executes the message and gives the gas that it took. What one node refuses is not asked of another, which may be behind.
func (s *Nodes) GasEstimateGasLimit(ctx context.Context, message *Message, key TipSetKey) (int64, error) {
	return ask(ctx, s, "GasEstimateGasLimit", key, func(ctx context.Context, n *Node) (int64, error) { return n.GasEstimateGasLimit(ctx, message, key) })
}

// GasEstimateMessageGas executes the message and gives it back with its gas. What one node refuses is not asked of another, which may be behind.
func (s *Nodes) GasEstimateMessageGas(ctx context.Context, message *Message, spec *MessageSendSpec, key TipSetKey) (*Message, error) {
	return ask(ctx, s, "GasEstimateMessageGas", key, func(ctx context.Context, n *Node) (*Message, error) {
		return n.GasEstimateMessageGas(ctx, message, spec, key)
	})
}

// WalletBalance is what an address owns, in attoFIL.
func (s *Nodes) WalletBalance(ctx context.Context, account address.Address) (abi.TokenAmount, error) {
	return ask(ctx, s, "WalletBalance", nil, func(ctx context.Context, n *Node) (abi.TokenAmount, error) { return n.WalletBalance(ctx, account) })
}

// MpoolPending are the messages that the pool of any endpoint holds which is not down, each once.
func (s *Nodes) MpoolPending(ctx context.Context, key TipSetKey) ([]*SignedMessage, error) {
	if len(s.members) == 1 {
		return s.members[0].MpoolPending(ctx, key)
	}
	// A pool as of a tipset is only what an endpoint can tell that has it; another's own head is as good.
	all := askAll(ctx, s, s.up(), func(_ []*SignedMessage, err error) bool { return err == nil }, nil, func(ctx context.Context, n *Node) ([]*SignedMessage, error) {
		pending, err := n.MpoolPending(ctx, key)
		if err != nil && lacks(err) {
			return n.MpoolPending(ctx, nil)
		}
		return pending, err
	})
	var pending []*SignedMessage
	var errs []error
	seen := map[cid.Cid]bool{}
	for _, a := range all {
		if a.err != nil {
			errs = append(errs, a.err)
		}
		for _, m := range a.v {
			if name, err := m.Cid(); err == nil && !seen[name] {
				seen[name] = true
				pending = append(pending, m)
			}
		}
	}
	if len(errs) == len(all) {
		return nil, failedAll(ctx, "MpoolPending", errs)
	}
	return pending, nil
}

// MpoolGetNonce is the highest next free nonce that any endpoint gives which is not down: a pool that has not heard of a message of the
// address yet gives that message's own. It is above every message that reached a pool which answers, whoever sent it.
func (s *Nodes) MpoolGetNonce(ctx context.Context, from address.Address, onChain uint64) (uint64, error) {
	if len(s.members) == 1 {
		return s.members[0].MpoolGetNonce(ctx, from, onChain)
	}
	all := askAll(ctx, s, s.up(), func(_ uint64, err error) bool { return err == nil }, nil,
		func(ctx context.Context, n *Node) (uint64, error) { return n.MpoolGetNonce(ctx, from, onChain) })
	var nonce uint64
	var errs []error
	for _, a := range all {
		if a.err != nil {
			errs = append(errs, a.err)
			s.log.Warn("a node's next nonce is not used", "from", from, "node", a.m.Endpoint(), "error", a.err)
		}
		nonce = max(nonce, a.v)
	}
	if len(errs) == len(all) {
		return 0, failedAll(ctx, "MpoolGetNonce", errs)
	}
	return nonce, nil
}

// failedAll is the error when no endpoint did what it was asked for.
func failedAll(ctx context.Context, method string, errs []error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
	return none(method, errs)
}

// MpoolPush puts a signed message into the pool of every endpoint whose token may: the same bytes are one message. It is done when one of them has it. An
// error that is a node's answer, and no ErrUnreachable, means that no endpoint has taken it; of one that broke off in the middle, or
// is late, that is not known.
func (s *Nodes) MpoolPush(ctx context.Context, message *SignedMessage) (cid.Cid, error) {
	if len(s.members) == 1 {
		return s.members[0].MpoolPush(ctx, message)
	}
	pools := s.allowed("write")
	var down []*member
	for _, m := range pools {
		if m.verdict() == Down {
			down = append(down, m)
		}
	}
	answered := func(_ cid.Cid, err error) bool { return err == nil || !unanswered(err) }
	all := askAll(ctx, s, pools, answered, nil, func(ctx context.Context, n *Node) (cid.Cid, error) { return n.MpoolPush(ctx, message) })
	var refused, away, unknown []error
	for _, a := range all {
		switch {
		case a.err == nil:
			return a.v, nil
		case !unanswered(a.err) || errors.Is(a.err, ErrToken):
			refused = append(refused, a.err)
		case slices.Contains(down, a.m) || neverSent(a.err):
			away = append(away, a.err)
		default:
			unknown = append(unknown, a.err)
		}
	}
	for _, m := range pools {
		late := !slices.ContainsFunc(all, func(a said[cid.Cid]) bool { return a.m == m })
		if late && !slices.Contains(down, m) {
			unknown = append(unknown, m.failed("MpoolPush", ErrUnreachable, errors.New("it is late with its answer")))
		}
	}
	if len(refused) > 0 && len(unknown) == 0 {
		return cid.Undef, failedAll(ctx, "MpoolPush", refused)
	}
	return cid.Undef, failedAll(ctx, "MpoolPush", slices.Concat(unknown, away, refused))
}

// neverSent says whether a call failed before anything of it was sent.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// WalletHas says whether any endpoint that answers, and whose token may sign, holds the key of an address: then messages of it can be signed
// now. It is an error only if none answers. Nobody waits for one that is down, nor longer than patience for one that is silent.
func (s *Nodes) WalletHas(ctx context.Context, account address.Address) (bool, error) {
	if len(s.members) == 1 {
		return s.members[0].WalletHas(ctx, account)
	}
	signers := slices.DeleteFunc(s.allowed("sign"), func(m *member) bool { return m.verdict() == Down })
	if len(signers) == 0 {
		signers = s.allowed("sign")
	}
	all := askAll(ctx, s, signers, func(_ bool, err error) bool { return err == nil }, func(has bool, _ error) bool { return has },
		func(ctx context.Context, n *Node) (bool, error) { return n.WalletHas(ctx, account) })
	var errs []error
	for _, a := range all {
		switch {
		case a.err != nil:
			errs = append(errs, a.err)
		case a.v:
			return true, nil
		}
	}
	if len(errs) == len(all) {
		return false, failedAll(ctx, "WalletHas", errs)
	}
	return false, nil
}

// WalletSignMessage signs a message on an endpoint that holds the key and whose token may sign; whether it is behind does not matter.
func (s *Nodes) WalletSignMessage(ctx context.Context, account address.Address, message *Message) (*SignedMessage, error) {
	signers := s.allowed("sign")
	return askIn(ctx, s, "WalletSignMessage", signers, len(signers), func(error) bool { return true }, func(ctx context.Context, n *Node) (*SignedMessage, error) {
		return n.WalletSignMessage(ctx, account, message)
	})
}

// allowed are the endpoints whose tokens are not known to lack a permission, in their order; all of them if all do, for the error.
func (s *Nodes) allowed(permission string) []*member {
	order := s.order(nil)
	var allowed []*member
	for _, m := range order {
		m.mu.Lock()
		if m.perms == nil || slices.Contains(m.perms, permission) {
			allowed = append(allowed, m)
		}
		m.mu.Unlock()
	}
	if len(allowed) == 0 {
		return order
	}
	return allowed
}

// Permissions asks what an endpoint's token may do, and remembers it; nil is not known. Without a token Lotus lets one read, and others, or what
// stands before them, let one do anything: it is found out by a question for which Lotus wants more.
func (s *Nodes) Permissions(ctx context.Context, n *Node) (perms []string, err error) {
	if n.info.token == "" {
		_, err = n.WalletHas(ctx, anyAccount)
		switch {
		case forbidden(err):
			perms = []string{"read"}
		case errors.Is(err, ErrUnreachable) || errors.Is(err, ErrToken):
			return nil, err
		default:
			return nil, nil
		}
	} else if perms, err = n.Permissions(ctx); err != nil {
		return nil, err
	}
	for _, m := range s.members {
		if m.Node == n {
			m.mu.Lock()
			m.perms = perms
			m.mu.Unlock()
		}
	}
	return perms, nil
}

// anyAccount is an account whose key nobody has.
var anyAccount = builtin.BurntFundsActorAddr
