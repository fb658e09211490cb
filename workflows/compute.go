package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// ComputeInput starts a ComputeWorkflow.
type ComputeInput struct {
	Miner      abi.ActorID   `json:"miner"`
	Index      uint64        `json:"index"`                // of the deadline
	Partitions []uint64      `json:"partitions,omitempty"` // none: all
	Pool       string        `json:"pool,omitempty"`       // the GPU tag; empty: any
	DryRun     bool          `json:"dry_run,omitempty"`    // everything but the proof
	Patience   time.Duration `json:"patience"`             // for somebody who can take a job
	Limit      time.Duration `json:"limit"`                // for a proof, with its waiting for a card
}

// FindInput names a deadline by its index.
type FindInput struct {
	Miner abi.ActorID `json:"miner"`
	Index uint64      `json:"index"`
}

// Found is a deadline as the chain has it now.
type Found struct {
	Deadline      post.Deadline  `json:"deadline"` // in the last period in which its challenge is known
	Known         bool           `json:"known"`    // its challenge is; else the chain is too young for it
	Head          abi.ChainEpoch `json:"head"`
	Deadlines     uint64         `json:"deadlines"` // of a proving period
	EpochDuration time.Duration  `json:"epoch_duration"`
}

// trial is the state of a ComputeWorkflow.
type trial struct {
	in         ComputeInput
	id         string
	post.Trial // without its partitions
	partitions []*tested
	randomness []byte
	dirty      bool
}

// tested is one partition of a trial.
type tested struct {
	post.TrialPartition
	job   post.Job
	key   string // of the job, as soon as its proof may come
	found *post.Proof
}

func (p *tested) summary() string { return fmt.Sprintf("partition %d", p.Index) }

// ComputeWorkflow proves a deadline's partitions as they are now, by the ways of a DeadlineWorkflow, and sends nothing: whoever sets a fleet up
// sees whether it can. Its jobs come after those of deadlines, each has one try, and its result tells what came of them; what could not
// be proven is no failure of the workflow. Cancelling it frees the cards.
func ComputeWorkflow(ctx workflow.Context, in ComputeInput) (post.Trial, error) {
	t := &trial{in: in, id: workflow.GetInfo(ctx).WorkflowExecution.ID}
	t.Pool, t.DryRun = in.Pool, in.DryRun
	t.Deadline = post.Deadline{Miner: in.Miner, Index: in.Index}
	t.show(ctx) // a daemon has taken it
	workflow.Go(ctx, t.hearProofs)
	workflow.Go(ctx, t.hearRouted)
	workflow.Go(ctx, t.ignoreClaims)
	if err := t.load(ctx); err != nil {
		return post.Trial{}, err
	}
	workflow.Go(ctx, t.paint)
	running := 0
	for i, p := range t.partitions {
		// One workflow task may carry 4 MB, as for deadlines.
		if i > 0 && i%16 == 0 {
			_ = sleep(ctx, time.Millisecond, "the next 16 partitions")
		}
		running++
		workflow.Go(ctx, func(ctx workflow.Context) {
			t.try(ctx, p)
			t.dirty = true
			running--
		})
	}
	// Cancelled, it stays until its jobs have ended: then the cards are free.
	if err := workflow.Await(disconnected(ctx), func() bool { return running == 0 }); err != nil {
		return post.Trial{}, err
	}
	if ctx.Err() != nil {
		return post.Trial{}, ctx.Err()
	}
	t.show(ctx)
	return t.result(), nil
}

// disconnected is a context that a cancelled workflow can still wait with.
func disconnected(ctx workflow.Context) workflow.Context {
	lasting, _ := workflow.NewDisconnectedContext(ctx)
	return lasting
}

// load finds the deadline on the chain, with its partitions and its challenge.
func (t *trial) load(ctx workflow.Context) error {
	within := policyChainRead.apply(ctx, readPatience, "the deadline")
	var found Found
	if err := run(within, ActivityFindDeadline, &found, FindInput{Miner: t.in.Miner, Index: t.in.Index}); err != nil {
		return unread(err)
	}
	var loaded post.Loaded
	if err := run(within, ActivityLoadDeadline, &loaded, LoadInput{Deadline: found.Deadline}); err != nil {
		return unread(err)
	}
	t.Deadline, t.Head, t.Answered = found.Deadline, loaded.Head, found.Deadline.Challenge
	if !found.Known {
		t.Answered = found.Head
	}
	usual := post.DefaultSettings()
	t.Window = post.Until(t.Deadline.Challenge+usual.ChallengeConfidence, t.Deadline.Close-usual.SubmitReserve, found.EpochDuration)
	t.ProofType = loaded.ProofType
	size, err := loaded.ProofType.SectorSize()
	if err != nil {
		return notThere("the miner's proof type is %d, which this version does not know: %v", loaded.ProofType, err)
	}
	t.Size = size
	if err := t.choose(loaded.Partitions); err != nil {
		return err
	}
	if t.DryRun {
		return nil
	}
	challenge := t.Deadline
	challenge.Challenge = t.Answered
	return unread(run(policyChainRead.apply(ctx, readPatience, "the challenge"), ActivityChallengeRandomness, &t.randomness, challenge))
}

// choose takes the partitions that were asked for.
func (t *trial) choose(partitions []post.Partition) error {
	toProve := 0
	for _, p := range partitions {
		if p.ToProve > 0 {
			t.Of++
		}
		if len(t.in.Partitions) > 0 && !slices.Contains(t.in.Partitions, p.Index) {
			continue
		}
		result := post.PartitionResult{Index: p.Index, Sectors: int(p.ToProve), State: post.StateWaiting}
		if p.ToProve == 0 {
			result.State, result.Reason = post.StateNothing, "it has no sectors to prove"
		} else {
			toProve++
		}
		t.partitions = append(t.partitions, &tested{TrialPartition: post.TrialPartition{
			PartitionResult: result, Live: int(p.Live), Faulty: int(p.Faulty - min(p.Recovering, p.Faulty))}})
	}
	for _, index := range t.in.Partitions {
		if index >= uint64(len(partitions)) {
			return notThere("deadline %s has no partition %d; it has %s", t.Deadline, index, numbered(len(partitions), "partition"))
		}
	}
	if toProve == 0 {
		return notThere("there is nothing to prove in deadline %s; `posthaste deadline list --miner %s` shows where sectors are", t.Deadline, post.MinerName(t.in.Miner))
	}
	return nil
}

// numbered says how many things there are, and that they count from 0.
func numbered(n int, thing string) string {
	switch n {
	case 0:
		return "no " + thing + "s"
	case 1:
		return "1 " + thing + ", 0"
	}
	return fmt.Sprintf("%d %ss, 0 to %d", n, thing, n-1)
}

func notThere(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), ErrorNotThere, nil)
}

// try proves one partition, or says why it was not proven.
func (t *trial) try(ctx workflow.Context, p *tested) {
	if p.State == post.StateNothing {
		return
	}
	failed := t.prove(ctx, p)
	if failed != nil {
		p.State, p.Card = post.StateFailed, failed.card
		p.Reason = failed.reason
		if failed.kind != "" {
			p.Reason = fmt.Sprintf("%s: %s", failed.kind, failed.reason)
		}
	}
	if !t.DryRun {
		p.Waits = ""
	}
	p.key = ""
}

// hearProofs takes proofs whose activity attempt is gone.
func (t *trial) hearProofs(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalProofFound)
	for {
		var proof post.Proof
		if !channel.Receive(ctx, &proof) {
			return
		}
		for _, p := range t.partitions {
			if p.key == proof.JobKey && p.found == nil && t.check(ctx, p, proof) == nil {
				p.found = &proof
			}
		}
	}
}

// hearRouted keeps true where jobs wait.
func (t *trial) hearRouted(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalRouted)
	for {
		var routed post.Routed
		if !channel.Receive(ctx, &routed) {
			return
		}
		for _, p := range t.partitions {
			if p.Index == routed.Partition && p.State == post.StateProving {
				p.Queue, p.Waits, t.dirty = routed.Queue, routed.Waits, true
			}
		}
	}
}

// ignoreClaims takes the claims of cards whose attempt is gone. A deadline does not start again what a card claims to be making; a trial
// that is made twice for some seconds costs nobody anything.
func (t *trial) ignoreClaims(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalProofClaimed)
	for channel.Receive(ctx, nil) {
		continue
	}
}

// paint shows changes, several of one workflow task at once.
func (t *trial) paint(ctx workflow.Context) {
	for t.dirty = true; workflow.Await(ctx, func() bool { return t.dirty }) == nil; {
		t.show(ctx)
	}
}

// result is the trial as it stands.
func (t *trial) result() post.Trial {
	r := t.Trial
	r.Partitions = make([]post.TrialPartition, len(t.partitions))
	for i, p := range t.partitions {
		r.Partitions[i] = p.TrialPartition
	}
	return r
}

// show puts the trial where the command and the balancing of the fleet look.
func (t *trial) show(ctx workflow.Context) {
	t.dirty = false
	now := t.result()
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoBoard: now.Board()}); err != nil {
		workflow.GetLogger(ctx).Error("setting the memo", "trial", t.id, "error", err)
	}
	workflow.SetCurrentDetails(ctx, now.Markdown())
}

// run executes an activity and decodes its result.
func run(ctx workflow.Context, name string, result any, input any) error {
	return workflow.ExecuteActivity(ctx, name, input).Get(ctx, result)
}

// unread is the error of a workflow that could not read what it was started for, without the SDK's frame; nil stays nil.
func unread(err error) error {
	if err == nil || temporal.IsCanceledError(err) {
		return err
	}
	err = plain(err)
	var known *temporal.ApplicationError
	if errors.As(err, &known) {
		return temporal.NewNonRetryableApplicationError(known.Message(), known.Type(), nil)
	}
	return temporal.NewNonRetryableApplicationError(err.Error(), ErrorUnread, nil)
}
