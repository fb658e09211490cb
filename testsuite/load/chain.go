package load

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// Sender is the address that posts are sent from.
const Sender = "f3load"

// firstEpoch is where the chain is when a load starts.
const firstEpoch abi.ChainEpoch = 1000

// chain answers what daemons ask the chain, the index and the wallet, from memory. What is sent to it is there at once.
type chain struct {
	began time.Time
	epoch time.Duration
	trust bool  // no proof is checked here
	pool  *pool // nil: every post is on the chain as soon as it is built

	mu        sync.Mutex
	deadlines map[post.Deadline][]post.Sectors
	watched   map[abi.ActorID]post.Deadline // by miner: the deadline that WatchDeadlines finds
	proven    []Proven
	posts     map[post.Deadline][]uint64 // by partition; without a pool
}

// Proven is a proof that has reached its workflow and verified.
type Proven struct {
	At        time.Time
	Deadline  post.Deadline
	Partition uint64
	Try       int
	Key       string
	Card      string // worker/card
}

func (c *chain) head() abi.ChainEpoch {
	return firstEpoch + abi.ChainEpoch(time.Since(c.began)/c.epoch)
}

// activities by name, of the chain's queue and of the lookups'.
func (c *chain) activities() (main, lookups map[string]any) {
	main = map[string]any{
		workflows.ActivityAwaitEpoch:          c.awaitEpoch,
		workflows.ActivityLoadDeadline:        c.loadDeadline,
		workflows.ActivityLoadPartition:       c.loadPartition,
		workflows.ActivityChallengeRandomness: func(context.Context, post.Deadline) ([]byte, error) { return randomness, nil },
		workflows.ActivityBuildPost:           c.buildPost,
		workflows.ActivityCheckDeadline:       c.checkDeadline,
	}
	if c.pool != nil {
		maps.Copy(main, c.pool.activities())
	}
	return main, map[string]any{
		workflows.ActivityLookupSectors: func(_ context.Context, in workflows.PartitionInput) (post.Located, error) {
			return post.Located{Sectors: in.Sectors}, nil
		},
		workflows.ActivityVerifyProof: c.verifyProof,
	}
}

func (c *chain) awaitEpoch(ctx context.Context, in workflows.AwaitInput) (abi.ChainEpoch, error) {
	select {
	case <-time.After(post.Until(c.head(), in.Target, c.epoch)):
		return max(c.head(), in.Target), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// sets are a deadline's partitions.
func (c *chain) sets(d post.Deadline) ([]post.Sectors, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sets, known := c.deadlines[d]
	if !known {
		return nil, fmt.Errorf("nobody issued deadline %s", d)
	}
	return sets, nil
}

func (c *chain) loadDeadline(_ context.Context, in workflows.LoadInput) (post.Loaded, error) {
	sets, err := c.sets(in.Deadline)
	loaded := post.Loaded{Head: c.head(), ProofType: proofType, Sender: Sender}
	for i, set := range sets {
		loaded.Partitions = append(loaded.Partitions, post.Partition{Index: uint64(i), ToProve: uint64(len(set)), Posted: c.posted(in.Deadline, uint64(i))})
	}
	return loaded, err
}

func (c *chain) loadPartition(_ context.Context, in workflows.PartitionInput) (post.Sectors, error) {
	sets, err := c.sets(in.Deadline)
	if err != nil || int(in.Partition) >= len(sets) {
		return nil, fmt.Errorf("deadline %s has no partition %d: %w", in.Deadline, in.Partition, err)
	}
	return sets[in.Partition], nil
}

// posted says whether the chain has a post of a partition.
func (c *chain) posted(d post.Deadline, partition uint64) bool {
	if c.pool != nil {
		return c.pool.posted(d, partition)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.posts[d], partition)
}

// buildPost says that the chain has the post already, unless messages are played, too.
func (c *chain) buildPost(_ context.Context, in workflows.BuildInput) (workflows.BuiltPost, error) {
	if c.pool != nil {
		return c.pool.build(in)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.posts == nil {
		c.posts = map[post.Deadline][]uint64{}
	}
	c.posts[in.Deadline] = append(c.posts[in.Deadline], in.Partitions...)
	return workflows.BuiltPost{Posted: true}, nil
}

func (c *chain) checkDeadline(_ context.Context, d post.Deadline) (workflows.Checked, error) {
	sets, err := c.sets(d)
	var checked workflows.Checked
	for i := range uint64(len(sets)) {
		if c.posted(d, i) {
			checked.Posted = append(checked.Posted, i)
		}
	}
	return checked, err
}

func (c *chain) verifyProof(ctx context.Context, in workflows.VerifyInput) (bool, error) {
	if !c.trust {
		skipped := make([]abi.SectorNumber, len(in.Proof.Skipped))
		for i, s := range in.Proof.Skipped {
			skipped[i] = s.Sector
		}
		good, err := prover.Verify(ctx, in.Job.Deadline.Miner, in.Job.ProofType, in.Job.Randomness, in.Job.Sectors.Without(skipped), in.Proof.Bytes)
		if err != nil || !good {
			return good, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, partition := range in.Job.Partitions {
		c.proven = append(c.proven, Proven{At: time.Now(), Deadline: in.Job.Deadline, Partition: partition, Try: in.Job.Try, Key: in.Job.Key(), Card: in.Proof.Card})
	}
	return true, nil
}
