package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// firstEpoch is where the chain is when a load starts.
const firstEpoch abi.ChainEpoch = 1000

// chain answers what daemons ask the chain, the index and the wallet, from memory. What is sent to it is there at once.
type chain struct {
	began time.Time
	epoch time.Duration
	trust bool // no proof is checked here

	mu        sync.Mutex
	deadlines map[post.Deadline][]post.Sectors
	proven    []Proven
	posted    int
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
	return map[string]any{
			workflows.ActivityWatchDeadlines:      c.watchDeadlines,
			workflows.ActivityAwaitEpoch:          c.awaitEpoch,
			workflows.ActivityLoadDeadline:        c.loadDeadline,
			workflows.ActivityLoadPartition:       c.loadPartition,
			workflows.ActivityChallengeRandomness: func(context.Context, post.Deadline) ([]byte, error) { return randomness, nil },
			workflows.ActivityBuildPost:           c.buildPost,
			workflows.ActivityCheckDeadline: func(context.Context, post.Deadline) (workflows.Checked, error) {
				return workflows.Checked{}, nil
			},
		}, map[string]any{
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
	loaded := post.Loaded{Head: c.head(), ProofType: proofType, Sender: "f3load"}
	for i, set := range sets {
		loaded.Partitions = append(loaded.Partitions, post.Partition{Index: uint64(i), ToProve: uint64(len(set))})
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

// buildPost says that the chain has the post already: to send messages is not what is loaded here.
func (c *chain) buildPost(_ context.Context, in workflows.BuildInput) (workflows.BuiltPost, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posted += len(in.Partitions)
	return workflows.BuiltPost{Posted: true}, nil
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
