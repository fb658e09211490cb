package activities

import (
	"bytes"
	"context"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/temporal"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// BuildPost makes the parameters of the message that carries a proof, with the chain's commit randomness of now. It first
// looks whether the chain has the post already, and whether the challenge is still the one that the proof answers.
func (c *Chain) BuildPost(ctx context.Context, in workflows.BuildInput) (workflows.BuiltPost, error) {
	d := in.Deadline
	fail := func(err error) (workflows.BuiltPost, error) {
		return workflows.BuiltPost{}, fmt.Errorf("building the post of partitions %v of deadline %s: %w", in.Partitions, d, err)
	}
	head, err := c.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	miner, err := chain.MinerAddress(d.Miner)
	if err != nil {
		return fail(err)
	}
	posted, err := c.postedOf(ctx, miner, in, head)
	switch {
	case err != nil:
		return workflows.BuiltPost{}, err
	case len(posted) == len(in.Partitions):
		return workflows.BuiltPost{Posted: true, Head: head.Height}, nil
	case len(posted) > 0:
		return workflows.BuiltPost{PostedOf: posted, Head: head.Height}, nil
	}
	if head.Height >= d.Close-1 {
		// The next tipset is the first that can include the message, and at Close the actor does not take it any more.
		return workflows.BuiltPost{}, temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("the head is at epoch %d, too late for a message before Close at %d", head.Height, d.Close), workflows.ErrorRefused, nil)
	}
	challenge, err := c.Node.ChallengeRandomness(ctx, miner, d.Challenge, head.Key())
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(challenge, in.Randomness) {
		return workflows.BuiltPost{}, temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("the challenge of deadline %s is no longer the one that was proven", d), workflows.ErrorRandomnessChanged, nil)
	}
	if err := c.coversAll(ctx, miner, in, head); err != nil {
		return workflows.BuiltPost{}, err
	}
	commit, err := c.Node.CommitRandomness(ctx, d.Challenge, head.Key())
	if err != nil {
		return fail(err)
	}
	params, err := chain.PostParams(assemble(in, commit))
	if err != nil {
		return fail(err)
	}
	return workflows.BuiltPost{Method: uint64(chain.MethodSubmitWindowedPoSt), To: miner.String(), Params: params, Head: head.Height}, nil
}

// postedOf says of which of the partitions the chain has a post. Nothing can be posted before Open.
func (c *Chain) postedOf(ctx context.Context, miner address.Address, in workflows.BuildInput, head *chain.TipSet) ([]uint64, error) {
	if head.Height < in.Deadline.Open {
		return nil, nil
	}
	fail := func(err error) ([]uint64, error) {
		return nil, fmt.Errorf("looking for the posts of deadline %s: %w", in.Deadline, err)
	}
	posted, err := c.posted(ctx, miner, in.Deadline.Index, head.Key())
	if err != nil {
		return fail(err)
	}
	var of []uint64
	for _, p := range in.Partitions {
		set, err := posted.IsSet(p)
		if err != nil {
			return fail(err)
		}
		if set {
			of = append(of, p)
		}
	}
	return of, nil
}

// coversAll says whether the chain still wants the sectors proven that were read when the proof was asked for. The set is frozen long before
// the challenge; but a node that was behind, or on a fork, may have given another, and the chain would take the post and have it disputed.
func (c *Chain) coversAll(ctx context.Context, miner address.Address, in workflows.BuildInput, head *chain.TipSet) error {
	if len(in.Sets) != len(in.Partitions) {
		return nil // asked for before sets were told
	}
	fail := func(err error) error {
		return fmt.Errorf("comparing the sectors of partitions %v of deadline %s with those proven: %w", in.Partitions, in.Deadline, err)
	}
	partitions, err := c.Node.StateMinerPartitions(ctx, miner, in.Deadline.Index, head.Key())
	if err != nil {
		return fail(err)
	}
	changed := func(index uint64, what string) error {
		return temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("partition %d of deadline %s %s", index, in.Deadline, what), workflows.ErrorSectorsChanged, nil)
	}
	for i, index := range in.Partitions {
		if index >= uint64(len(partitions)) {
			return changed(index, fmt.Sprintf("is not there; the deadline has %d partitions", len(partitions)))
		}
		p := partitions[index]
		toProve, err := post.ToProve(p.LiveSectors, p.FaultySectors, p.RecoveringSectors)
		if err != nil {
			return fail(err)
		}
		numbers, err := toProve.All(abi.MaxSectorNumber)
		if err != nil {
			return fail(err)
		}
		sectors := make([]abi.SectorNumber, len(numbers))
		for j, n := range numbers {
			sectors[j] = abi.SectorNumber(n)
		}
		if post.SetDigest(sectors) != in.Sets[i] {
			return changed(index, "has other sectors to prove than when they were read")
		}
	}
	return nil
}

// assemble puts each skipped sector to the partition that holds it.
func assemble(in workflows.BuildInput, commit []byte) chain.Post {
	p := chain.Post{
		Deadline: in.Deadline.Index, ProofType: in.Proof.ProofType, Proof: in.Proof.Bytes,
		CommitEpoch: in.Deadline.Challenge, CommitRandomness: commit,
	}
	for i, index := range in.Partitions {
		partition := chain.PostPartition{Index: index}
		if i < len(in.SkippedOf) {
			partition.Skipped = in.SkippedOf[i]
		}
		if len(in.Partitions) == 1 {
			for _, s := range in.Skipped {
				partition.Skipped = append(partition.Skipped, s.Sector)
			}
		}
		p.Partitions = append(p.Partitions, partition)
	}
	return p
}
