package workflows

import (
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// CheckInput starts a CheckWorkflow. Done is what runs before this one have found.
type CheckInput struct {
	Miner     abi.ActorID  `json:"miner"`
	Deadline  *uint64      `json:"deadline,omitempty"`  // nil: all
	Partition *uint64      `json:"partition,omitempty"` // of that deadline; nil: all
	Strict    bool         `json:"strict,omitempty"`    // with a vanilla proof of every sector
	Worker    string       `json:"worker,omitempty"`    // that looks; empty: a daemon does
	Done      post.Checkup `json:"done,omitzero"`
	Next      uint64       `json:"next,omitempty"` // the deadline to go on with, when all are asked for
}

// CheckSectorsInput asks for a look at the sectors of a partition, whose stores are known.
type CheckSectorsInput struct {
	Miner     abi.ActorID             `json:"miner"`
	Deadline  uint64                  `json:"deadline"`
	Partition uint64                  `json:"partition"`
	ProofType abi.RegisteredPoStProof `json:"proof_type"`
	Sectors   post.Sectors            `json:"sectors"`
	Strict    bool                    `json:"strict,omitempty"`
}

// CheckedSectors are those of them that cannot be proven.
type CheckedSectors struct {
	Bad []post.BadSector `json:"bad,omitempty"`
}

// check is the state of a run of a CheckWorkflow.
type check struct {
	in CheckInput
	post.Checkup
}

// CheckWorkflow looks, one partition after the other, whether the sectors that the chain has in it can be proven: by a daemon's stores, or by
// those of the worker that would read them. A partition that cannot be looked at does not keep it from the others.
func CheckWorkflow(ctx workflow.Context, in CheckInput) (post.Checkup, error) {
	c := &check{in: in, Checkup: in.Done}
	c.Miner, c.Strict, c.Worker = in.Miner, in.Strict, in.Worker
	c.show(ctx)
	if in.Deadline != nil {
		if _, err := c.deadline(ctx, *in.Deadline); err != nil {
			return post.Checkup{}, err
		}
		return c.Checkup, nil
	}
	for {
		deadlines, err := c.deadline(ctx, c.in.Next)
		if err != nil {
			return post.Checkup{}, err
		}
		if c.in.Next++; c.in.Next >= deadlines {
			return c.Checkup, nil
		}
		if full(ctx) {
			c.in.Done = c.Checkup
			return post.Checkup{}, workflow.NewContinueAsNewError(ctx, CheckWorkflow, c.in)
		}
	}
}

// deadline looks at the partitions of one deadline, and says how many deadlines the miner has.
func (c *check) deadline(ctx workflow.Context, index uint64) (deadlines uint64, err error) {
	what := fmt.Sprintf("deadline %d", index)
	var found Found
	if err := run(policyChainRead.apply(ctx, readPatience, what), ActivityFindDeadline, &found, FindInput{Miner: c.in.Miner, Index: index}); err != nil {
		return 0, unread(err)
	}
	var loaded post.Loaded
	if err := run(policyChainRead.apply(ctx, readPatience, what), ActivityLoadDeadline, &loaded, LoadInput{Deadline: found.Deadline}); err != nil {
		return 0, unread(err)
	}
	c.Head = loaded.Head
	if c.in.Partition != nil && *c.in.Partition >= uint64(len(loaded.Partitions)) {
		return 0, notThere("deadline %s has no partition %d; it has %s", found.Deadline, *c.in.Partition, numbered(len(loaded.Partitions), "partition"))
	}
	for _, p := range loaded.Partitions {
		if p.Live > 0 && (c.in.Partition == nil || *c.in.Partition == p.Index) {
			c.Of++
		}
	}
	for _, p := range loaded.Partitions {
		if p.Live == 0 || c.in.Partition != nil && *c.in.Partition != p.Index {
			continue
		}
		checked, err := c.partition(ctx, found.Deadline, loaded.ProofType, p.Index)
		var nobody *temporal.ApplicationError
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case errors.As(err, &nobody) && nobody.Type() == ErrorNotTaken:
			return 0, err // nor would anybody look at the next one
		case err != nil:
			checked = post.CheckedPartition{Deadline: index, Partition: p.Index, Sectors: int(p.Live), Unchecked: plain(err).Error()}
		}
		c.Add(checked)
		c.show(ctx)
	}
	return found.Deadlines, nil
}

// partition looks at the sectors of one.
func (c *check) partition(ctx workflow.Context, d post.Deadline, proofType abi.RegisteredPoStProof, index uint64) (post.CheckedPartition, error) {
	summary := fmt.Sprintf("%s partition %d", d, index)
	in := PartitionInput{Deadline: d, Partition: index}
	var live post.Live
	if err := run(policyChainRead.apply(ctx, readPatience, summary), ActivityReadPartition, &live, in); err != nil {
		return post.CheckedPartition{}, err
	}
	in.Sectors = live.Sectors
	var located post.Located
	if err := run(policyLookup.apply(ctx, readPatience, summary), ActivityLookupSectors, &located, in); err != nil {
		return post.CheckedPartition{}, err
	}
	var checked CheckedSectors
	if len(located.Sectors) > 0 {
		look := CheckSectorsInput{Miner: c.in.Miner, Deadline: d.Index, Partition: index, ProofType: proofType, Sectors: located.Sectors, Strict: c.in.Strict}
		if err := run(checkOptions(ctx, c.in.Worker, summary), ActivityCheckSectors, &checked, look); err != nil {
			return post.CheckedPartition{}, c.nobody(err)
		}
	}
	bad := checked.Bad
	for _, missing := range located.Missing {
		bad = append(bad, post.BadSector{Skipped: missing})
	}
	sum := live.Sum(d.Index, index, bad)
	sum.Undecided = located.Undecided
	return sum, nil
}

// takenWithin is how long a worker, or a daemon, has to begin with a partition: both take more than one at once, so one that does not is gone.
const takenWithin = time.Minute

// nobody says whom it waited for in vain, if it did.
func (c *check) nobody(err error) error {
	var timeout *temporal.TimeoutError
	if !errors.As(err, &timeout) || timeout.TimeoutType() != enums.TIMEOUT_TYPE_SCHEDULE_TO_START {
		return err
	}
	who := "no daemon has"
	if c.in.Worker != "" {
		who = "worker " + c.in.Worker + " has not"
	}
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf("%s begun with it within %v; is it running?", who, takenWithin), ErrorNotTaken, nil)
}

// checkOptions are those of a CheckSectors activity, on a daemon or on a worker. It has ended before it has stopped reading.
func checkOptions(ctx workflow.Context, worker, summary string) workflow.Context {
	p := policyCheck
	if worker != "" {
		p, summary = p.on(WorkerQueue(worker)), summary+" on "+worker
	}
	ctx = p.apply(ctx, 0, summary)
	ctx = workflow.WithScheduleToStartTimeout(ctx, takenWithin)
	return workflow.WithWaitForCancellation(ctx, true)
}

// show puts what was found so far where the command looks.
func (c *check) show(ctx workflow.Context) {
	short := c.Short()
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoCheck: short}); err != nil {
		workflow.GetLogger(ctx).Error("setting the memo", "check", post.MinerName(c.in.Miner), "error", err)
	}
	bad := 0
	for _, p := range c.Partitions {
		bad += p.Bad
	}
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("%s of %d looked at, %s cannot be proven", post.Count(len(c.Partitions), "partition"), c.Of, post.Count(bad, "sector")))
}
