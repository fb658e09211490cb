package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/ipfs/go-cid"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// ChainReader is what reading a deadline takes from a node.
type ChainReader interface {
	ChainHead(context.Context) (*chain.TipSet, error)
	ChainGetTipSet(context.Context, chain.TipSetKey) (*chain.TipSet, error)
	ChainGetTipSetAfterHeight(context.Context, abi.ChainEpoch, chain.TipSetKey) (*chain.TipSet, error)
	StateMinerInfo(context.Context, address.Address, chain.TipSetKey) (chain.MinerInfo, error)
	StateMinerDeadlines(context.Context, address.Address, chain.TipSetKey) ([]chain.Deadline, error)
	StateMinerPartitions(context.Context, address.Address, uint64, chain.TipSetKey) ([]chain.Partition, error)
	StateMinerSectors(context.Context, address.Address, *bitfield.BitField, chain.TipSetKey) ([]*chain.SectorOnChainInfo, error)
	StateMinerProvingDeadline(context.Context, address.Address, chain.TipSetKey) (*dline.Info, error)
	StateAccountKey(context.Context, address.Address, chain.TipSetKey) (address.Address, error)
	StateGetActor(context.Context, address.Address, chain.TipSetKey) (*chain.Actor, error)
	WalletHas(context.Context, address.Address) (bool, error)
	MpoolPending(context.Context, chain.TipSetKey) ([]*chain.SignedMessage, error)
	StateSearchMsg(context.Context, chain.TipSetKey, cid.Cid, abi.ChainEpoch, bool) (*chain.MsgLookup, error)
	EpochDuration(context.Context) (time.Duration, error)
	ChallengeRandomness(context.Context, address.Address, abi.ChainEpoch, chain.TipSetKey) (abi.Randomness, error)
	CommitRandomness(context.Context, abi.ChainEpoch, chain.TipSetKey) (abi.Randomness, error)
}

// Heads is a process's shared view of the head.
type Heads interface {
	WaitEpoch(context.Context, abi.ChainEpoch) (*chain.TipSet, error)
	Epoch() (abi.ChainEpoch, bool)
}

// Chain reads deadlines from a node and builds the messages for it.
type Chain struct {
	Node  ChainReader
	Heads Heads
}

// awaitWithin is how many epochs AwaitEpoch waits inside before it answers with where the chain is: a workflow's timer
// brings it this close.
const awaitWithin = 3

// AwaitEpoch waits for an epoch that is near and gives the head's epoch, reached or not.
func (c *Chain) AwaitEpoch(ctx context.Context, in workflows.AwaitInput) (abi.ChainEpoch, error) {
	return awaitEpoch(ctx, c.Heads, c.Node, in.Target, in.EpochDuration)
}

// awaitEpoch waits for an epoch for a while and gives the head's epoch, reached or not.
func awaitEpoch(ctx context.Context, heads Heads, node interface {
	ChainHead(context.Context) (*chain.TipSet, error)
}, target abi.ChainEpoch, duration time.Duration,
) (abi.ChainEpoch, error) {
	limited, cancel := context.WithTimeout(ctx, min(max(awaitWithin*duration, time.Second), 2*time.Minute))
	defer cancel()
	if head, err := heads.WaitEpoch(limited, target); err == nil {
		return head.Height, nil
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	epoch, known := heads.Epoch()
	if !known {
		// Say why there is no head: the follower logs a node's absence, an operator may only see the activity.
		if _, err := node.ChainHead(ctx); err != nil {
			return 0, fmt.Errorf("waiting for epoch %d: %w", target, err)
		}
		return 0, fmt.Errorf("waiting for epoch %d: no head of the chain has been seen yet", target)
	}
	return epoch, nil
}

// LoadDeadline reads a deadline's partitions, the miner's proof type and who sends its posts. Of one that is closed (an operator reset
// its workflow to the beginning) it reads what was true before Close: the chain keeps no posts beyond that.
func (c *Chain) LoadDeadline(ctx context.Context, in workflows.LoadInput) (post.Loaded, error) {
	d := in.Deadline
	fail := func(err error) (post.Loaded, error) {
		return post.Loaded{}, fmt.Errorf("loading deadline %s: %w", d, err)
	}
	head, err := c.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	miner, err := chain.MinerAddress(d.Miner)
	if err != nil {
		return fail(err)
	}
	info, err := c.Node.StateMinerInfo(ctx, miner, head.Key())
	if err != nil {
		return fail(err)
	}
	sender, err := c.senderOf(ctx, in, miner, info, head)
	if err != nil {
		return fail(err)
	}
	at, err := c.beforeClose(ctx, d, head)
	if err != nil {
		return fail(err)
	}
	partitions, err := c.Node.StateMinerPartitions(ctx, miner, d.Index, at[0].Key())
	if err != nil {
		return fail(err)
	}
	posted, err := c.postedAt(ctx, miner, d.Index, at)
	if err != nil {
		return fail(err)
	}
	loaded := post.Loaded{Head: head.Height, ProofType: info.WindowPoStProofType, Sender: sender.String()}
	for i, p := range partitions {
		counted, err := countPartition(uint64(i), p, posted)
		if err != nil {
			return fail(fmt.Errorf("partition %d: %w", i, err))
		}
		loaded.Partitions = append(loaded.Partitions, counted)
	}
	return loaded, nil
}

// beforeClose are the tipsets whose states tell of a deadline, the first of its partitions and all of its posts: the head, or where that is
// past the deadline's last epoch, in which the chain clears the posts, the last two before Close. Whether the last one's state has the posts or
// has lost them already depends on the node: Lotus gives the state before a tipset's messages, others the one after.
func (c *Chain) beforeClose(ctx context.Context, d post.Deadline, head *chain.TipSet) ([]*chain.TipSet, error) {
	if head.Height < d.Close-1 || d.Close <= 0 { // its last window was before the chain began: the head's state says the same
		return []*chain.TipSet{head}, nil
	}
	var at []*chain.TipSet
	for epoch := d.Close - 1; epoch >= max(d.Open, 0) && len(at) < 2; epoch-- {
		tipset, err := c.Node.ChainGetTipSetAfterHeight(ctx, epoch, head.Key())
		if err != nil {
			return nil, err
		}
		if tipset.Height == epoch { // not a null round
			at = append([]*chain.TipSet{tipset}, at...)
		}
	}
	if len(at) == 0 {
		return []*chain.TipSet{head}, nil
	}
	if last := at[len(at)-1].Height; last < d.Close-1 {
		// The last epoch had no tipset, so the deadline ended with the one after it: that one's state has, on Lotus, what the last tipset did.
		next, err := c.Node.ChainGetTipSetAfterHeight(ctx, d.Close-1, head.Key())
		if err != nil {
			return nil, err
		}
		at = append(at, next)
	}
	return at, nil
}

// posted reads which partitions of a deadline have a post in its current window. The chain clears them in its last epoch.
func (c *Chain) posted(ctx context.Context, miner address.Address, index uint64, head chain.TipSetKey) (bitfield.BitField, error) {
	deadlines, err := c.Node.StateMinerDeadlines(ctx, miner, head)
	if err != nil {
		return bitfield.BitField{}, err
	}
	if index >= uint64(len(deadlines)) {
		return bitfield.BitField{}, fmt.Errorf("the miner has %d deadlines", len(deadlines))
	}
	return deadlines[index].PostSubmissions, nil
}

// postedAt is what was posted in any of the tipsets' states.
func (c *Chain) postedAt(ctx context.Context, miner address.Address, index uint64, at []*chain.TipSet) (bitfield.BitField, error) {
	all := bitfield.New()
	for _, tipset := range at {
		posted, err := c.posted(ctx, miner, index, tipset.Key())
		if err != nil {
			return all, err
		}
		if all, err = bitfield.MergeBitFields(all, posted); err != nil {
			return all, err
		}
	}
	return all, nil
}

// postedInTime is what of a closed deadline was posted before Close.
func (c *Chain) postedInTime(ctx context.Context, miner address.Address, d post.Deadline) (bitfield.BitField, error) {
	head, err := c.Node.ChainHead(ctx)
	if err != nil {
		return bitfield.BitField{}, err
	}
	at, err := c.beforeClose(ctx, d, head)
	if err != nil {
		return bitfield.BitField{}, err
	}
	return c.postedAt(ctx, miner, d.Index, at)
}

func countPartition(index uint64, p chain.Partition, posted bitfield.BitField) (post.Partition, error) {
	toProve, err := post.ToProve(p.LiveSectors, p.FaultySectors, p.RecoveringSectors)
	if err != nil {
		return post.Partition{}, err
	}
	out := post.Partition{Index: index}
	for _, count := range []struct {
		into *uint64
		of   bitfield.BitField
	}{{&out.Live, p.LiveSectors}, {&out.Faulty, p.FaultySectors}, {&out.Recovering, p.RecoveringSectors}, {&out.ToProve, toProve}} {
		if *count.into, err = count.of.Count(); err != nil {
			return post.Partition{}, err
		}
	}
	out.Posted, err = posted.IsSet(index)
	return out, err
}

// LoadPartition reads the sectors that a partition's post must cover.
func (c *Chain) LoadPartition(ctx context.Context, in workflows.PartitionInput) (post.Sectors, error) {
	var sectors post.Sectors
	err := c.partition(ctx, in, func(p chain.Partition, read sectorReader) error {
		toProve, err := post.ToProve(p.LiveSectors, p.FaultySectors, p.RecoveringSectors)
		if err != nil {
			return err
		}
		sectors, err = read(toProve)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("loading the sectors of partition %d of deadline %s: %w", in.Partition, in.Deadline, err)
	}
	return sectors, nil
}

// sectorReader reads all sectors of a set, at the head at which their partition was read.
type sectorReader func(bitfield.BitField) (post.Sectors, error)

// partition reads a partition at the head, and has more read at the same head.
func (c *Chain) partition(ctx context.Context, in workflows.PartitionInput, more func(chain.Partition, sectorReader) error) error {
	head, err := c.Node.ChainHead(ctx)
	if err != nil {
		return err
	}
	miner, err := chain.MinerAddress(in.Deadline.Miner)
	if err != nil {
		return err
	}
	partitions, err := c.Node.StateMinerPartitions(ctx, miner, in.Deadline.Index, head.Key())
	if err != nil {
		return err
	}
	if in.Partition >= uint64(len(partitions)) {
		return fmt.Errorf("the deadline has %d partitions", len(partitions))
	}
	return more(partitions[in.Partition], func(of bitfield.BitField) (post.Sectors, error) { return c.sectors(ctx, miner, of, head.Key()) })
}

// sectors reads sectors of a miner, all of the set.
func (c *Chain) sectors(ctx context.Context, miner address.Address, of bitfield.BitField, head chain.TipSetKey) (post.Sectors, error) {
	infos, err := c.Node.StateMinerSectors(ctx, miner, &of, head)
	if err != nil {
		return nil, err
	}
	wanted, err := of.Count()
	if err != nil {
		return nil, err
	}
	if uint64(len(infos)) != wanted {
		return nil, fmt.Errorf("the node gave %d sectors instead of %d", len(infos), wanted)
	}
	out := make(post.Sectors, len(infos))
	for i, info := range infos {
		commR, err := commcid.CIDToReplicaCommitmentV1(info.SealedCID)
		if err != nil {
			return nil, fmt.Errorf("sealed CID of sector %d: %w", info.SectorNumber, err)
		}
		out[i] = post.Sector{Number: info.SectorNumber, CommR: [32]byte(commR), Upgraded: info.SectorKeyCID != nil}
	}
	return out.Sort(), nil
}

// ChallengeRandomness reads the 32 bytes that the deadline's proofs answer.
func (c *Chain) ChallengeRandomness(ctx context.Context, d post.Deadline) ([]byte, error) {
	miner, err := chain.MinerAddress(d.Miner)
	if err != nil {
		return nil, err
	}
	randomness, err := c.Node.ChallengeRandomness(ctx, miner, d.Challenge, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the challenge of deadline %s at epoch %d: %w", d, d.Challenge, err)
	}
	if len(randomness) != 32 {
		return nil, fmt.Errorf("reading the challenge of deadline %s at epoch %d: the node gave %d bytes instead of 32", d, d.Challenge, len(randomness))
	}
	return randomness, nil
}

// ConfirmMessage says whether the canonical chain, as of now, has a message, where, and how it went.
func (c *Chain) ConfirmMessage(ctx context.Context, in workflows.ConfirmInput) (workflows.Receipt, error) {
	message, err := cid.Decode(in.Message)
	if err != nil {
		return workflows.Receipt{}, fmt.Errorf("confirming message %q: %w", in.Message, err)
	}
	head, err := c.Node.ChainHead(ctx)
	if err != nil {
		return workflows.Receipt{}, fmt.Errorf("confirming message %s: %w", in.Message, err)
	}
	look, err := search(ctx, c.Node, head, message)
	if err != nil {
		return workflows.Receipt{}, err
	}
	return workflows.Receipt{Found: look.Found, Message: in.Message, Epoch: look.Epoch, ExitCode: look.ExitCode}, nil
}

// CheckDeadline reads, after Close, which sectors of each partition the chain holds faulty, and which partitions it had a post of.
func (c *Chain) CheckDeadline(ctx context.Context, d post.Deadline) (workflows.Checked, error) {
	fail := func(err error) (workflows.Checked, error) {
		return workflows.Checked{}, fmt.Errorf("checking deadline %s after Close: %w", d, err)
	}
	miner, err := chain.MinerAddress(d.Miner)
	if err != nil {
		return fail(err)
	}
	partitions, err := c.Node.StateMinerPartitions(ctx, miner, d.Index, nil)
	if err != nil {
		return fail(err)
	}
	checked := workflows.Checked{Faulty: map[uint64][]abi.SectorNumber{}}
	for i, p := range partitions {
		numbers, err := p.FaultySectors.All(abi.MaxSectorNumber)
		if err != nil {
			return fail(err)
		}
		for _, n := range numbers {
			checked.Faulty[uint64(i)] = append(checked.Faulty[uint64(i)], abi.SectorNumber(n))
		}
	}
	posted, err := c.postedInTime(ctx, miner, d)
	if err != nil && answered(err) {
		return checked, nil // the node has dropped the state of then
	}
	if err != nil {
		return fail(err)
	}
	if checked.Posted, err = posted.All(uint64(len(partitions))); err != nil {
		return fail(err)
	}
	return checked, nil
}
