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

// DeadlineWorkflow sees one deadline through, from its challenge to after its Close:
// load, look up, challenge, then per partition prove, submit and confirm, and at the end ask the chain once more.
//
// It completes with the result when every partition is posted, and fails with the same result as the error's detail when one
// is not: nothing is lost silently.
func DeadlineWorkflow(ctx workflow.Context, in DeadlineInput) (post.Result, error) {
	d := newDeadline(ctx, in)
	if err := d.listen(ctx); err != nil {
		return post.Result{}, err
	}
	open := d.untilClose(ctx)

	if err := d.load(open); err != nil {
		return d.finish(ctx, fmt.Sprintf("the deadline could not be read from the chain before it closed: %v", plain(err)))
	}
	if len(d.partitions) == 0 {
		return d.finish(ctx, "")
	}
	d.challenge(open)

	var running int
	for i, p := range d.partitions {
		// One workflow task may carry 4 MB: at 16 partitions of up to 85 KB each, yield.
		if i > 0 && i%16 == 0 {
			_ = sleep(open, time.Millisecond, "the next 16 partitions")
		}
		running++
		workflow.Go(ctx, func(ctx workflow.Context) {
			d.seeThrough(ctx, p)
			running--
		})
	}
	if err := d.await(ctx, func() bool { return running == 0 }); err != nil {
		return post.Result{}, err
	}
	d.checkAfterClose(ctx)
	return d.finish(ctx, "")
}

// seeThrough takes one partition from its sectors to its place on the chain. What must not go on after Close runs under open;
// a message that landed just before must still be confirmed.
func (d *deadline) seeThrough(ctx workflow.Context, p *partition) {
	open := d.untilClose(ctx)
	if p.State == post.StateLanded {
		if stays, err := d.stays(open, p); err != nil || stays {
			if err != nil {
				p.State = post.StatePosted // the last that was known of it
			}
			return
		}
	}
	if err := d.locate(open, p); err != nil {
		d.miss(ctx, p, "its sectors could not be located before the deadline closed", err)
		return
	}
	for {
		proof, err := d.prove(open, p)
		if err != nil {
			d.miss(ctx, p, "not proven before the deadline closed", err)
			return
		}
		switch verdict, err := d.submit(ctx, open, p, proof); {
		case err != nil:
			d.miss(ctx, p, "proven, but not on the chain before the deadline closed", err)
			return
		case verdict == proveAgain:
			d.rechallenge(open, p)
		default:
			return
		}
	}
}

// load reads the deadline from the chain once its challenge is deep enough. Its partitions do not change from then to Close.
func (d *deadline) load(ctx workflow.Context) error {
	if err := d.awaitEpoch(ctx, d.Challenge+d.settings.ChallengeConfidence); err != nil {
		return err
	}
	loaded, err := d.read(ctx)
	if err != nil {
		return err
	}
	d.sawHead(ctx, loaded.Head)
	d.proofType, d.sender = loaded.ProofType, loaded.Sender
	for _, p := range loaded.Partitions {
		result := post.PartitionResult{Index: p.Index, Sectors: int(p.ToProve), State: post.StateWaiting}
		switch {
		case p.Posted:
			result.State, result.Reason = post.StateLanded, "the chain had this post when the workflow started"
		case p.ToProve == 0:
			result.State = post.StateNothing
		}
		part := &partition{PartitionResult: result}
		d.all = append(d.all, part)
		if result.State != post.StateNothing {
			d.partitions = append(d.partitions, part)
		}
	}
	d.changed()
	return nil
}

// read asks the chain for the deadline.
func (d *deadline) read(ctx workflow.Context) (post.Loaded, error) {
	var loaded post.Loaded
	in := LoadInput{Deadline: d.Deadline, Sender: d.settings.Sender, Fees: d.settings.Fees}
	err := d.run(policyChainRead.apply(ctx, d.timeToRead(ctx), d.String()), ActivityLoadDeadline, &loaded, in)
	return loaded, err
}

// stays says whether a post that the chain had when the workflow started is still there when it is deep enough, or as late as the chain
// keeps it: a reorg may have dropped it, and nobody else would notice.
func (d *deadline) stays(ctx workflow.Context, p *partition) (bool, error) {
	if err := d.awaitEpoch(ctx, min(d.head+d.settings.Confidence, d.Close-3)); err != nil {
		return false, err
	}
	loaded, err := d.read(ctx)
	if err != nil {
		return false, err
	}
	for _, now := range loaded.Partitions {
		if now.Index == p.Index && now.Posted {
			p.State = post.StatePosted
			d.changed()
			return true, nil
		}
	}
	p.State, p.Reason = post.StateWaiting, "the post that the chain had was dropped by a reorg"
	d.changed()
	return false, nil
}

// locate reads a partition's sectors and where each is stored. Sectors that nobody has are skipped and reported: they never
// fail the others.
func (d *deadline) locate(ctx workflow.Context, p *partition) error {
	in := PartitionInput{Deadline: d.Deadline, Partition: p.Index}
	if err := d.run(policyChainRead.apply(ctx, d.timeToRead(ctx), p.summary()), ActivityLoadPartition, &in.Sectors, in); err != nil {
		return err
	}
	var located post.Located
	if err := d.run(policyLookup.apply(ctx, d.timeToRead(ctx), p.summary()), ActivityLookupSectors, &located, in); err != nil {
		return err
	}
	// A store that a daemon has never been able to read may hold what is missing, and workers may reach it: to skip its sectors
	// is to declare them faulty. So look again, until the deadline opens.
	for located.Undecided != "" && d.epoch(ctx) < d.Open {
		p.Reason = located.Undecided
		d.changed()
		if err := sleep(ctx, d.settings.EpochDuration, "an epoch, then look for the missing sectors again"); err != nil {
			return err
		}
		located = post.Located{}
		if err := d.run(policyLookup.apply(ctx, d.timeToRead(ctx), p.summary()), ActivityLookupSectors, &located, in); err != nil {
			return err
		}
	}
	p.wanted, p.Reason = in.Sectors, ""
	p.have(located)
	d.changed()
	if err := d.await(ctx, func() bool { return len(d.randomness) > 0 || d.unread != nil }); err != nil {
		return err
	}
	return d.unread
}

// challenge reads the beacon value that the proofs answer, beside the lookups.
func (d *deadline) challenge(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		d.unread = d.run(policyChainRead.apply(ctx, d.timeToRead(ctx), d.String()), ActivityChallengeRandomness, &d.randomness, d.Deadline)
	})
}

// rechallenge reads the challenge once more, after the chain said that it changed. Everybody's next proof answers it.
func (d *deadline) rechallenge(ctx workflow.Context, p *partition) {
	p.Reason = "the chain's challenge changed; proving anew"
	var randomness []byte
	if err := d.run(policyChainRead.apply(ctx, 0, p.summary()), ActivityChallengeRandomness, &randomness, d.Deadline); err == nil {
		d.randomness = randomness
	}
	d.changed()
}

// checkAfterClose asks the chain, once the deadline is over, whether it holds any sector faulty that we believe proven.
// Only then is the result the chain's word and not ours.
func (d *deadline) checkAfterClose(ctx workflow.Context) {
	if err := d.awaitEpoch(ctx, d.Close+1); err != nil {
		return
	}
	var checked Checked
	within := post.Until(d.Close, d.Close+d.settings.Confidence+20, d.settings.EpochDuration) + time.Minute
	if err := d.run(policyChainRead.apply(ctx, within, "after Close"), ActivityCheckDeadline, &checked, d.Deadline); err != nil {
		d.reason = fmt.Sprintf("the faulty sectors could not be read after Close: %v", plain(err))
		return
	}
	for _, p := range d.partitions {
		if p.State == post.StateMissed && slices.Contains(checked.Posted, p.Index) {
			// A run that was reset to before its proof, when the deadline was over, or that never heard of its message's fate.
			p.State, p.Reason = post.StatePosted, "the chain has a post of it, though not by this run's account: "+p.Reason
		}
		if p.State != post.StatePosted {
			continue
		}
		if bad := p.sectors.Without(p.skippedNumbers()).Among(checked.Faulty[p.Index]); len(bad) > 0 {
			p.State = post.StateMissed
			p.Reason = fmt.Sprintf("posted, but the chain holds sectors %s of it faulty after Close", post.FormatNumbers(bad))
		}
	}
	d.changed()
}

// finish ends the workflow with its result, as a failure when anything was missed.
func (d *deadline) finish(ctx workflow.Context, reason string) (post.Result, error) {
	if err := ctx.Err(); err != nil {
		return post.Result{}, err // cancelled by an operator: not missed yet, and issued again
	}
	if reason != "" {
		d.reason = reason
	}
	result := d.result(ctx)
	if reason != "" {
		result.State = post.StateMissed
	}
	d.over = true
	d.show(ctx, result)
	if result.State == post.StateMissed {
		workflow.GetLogger(ctx).Error("deadline missed", "deadline", d.String(), "reason", result.Reasons())
		return post.Result{}, temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("deadline %s missed: %s", d.Deadline, result.Reasons()), ErrorDeadlineMissed, nil, result)
	}
	return result, nil
}

// miss ends a partition that is not on the chain, with the last reason there was.
func (d *deadline) miss(ctx workflow.Context, p *partition, what string, err error) {
	p.State = post.StateMissed
	switch {
	case p.Reason != "":
		p.Reason = what + "; last: " + p.Reason
	case !temporal.IsCanceledError(err):
		p.Reason = fmt.Sprintf("%s: %v", what, plain(err))
	default:
		p.Reason = what
	}
	d.changed()
	workflow.GetLogger(ctx).Error("partition missed", "deadline", d.String(), "partition", p.Index, "reason", p.Reason)
}

// plain is an error without the SDK's frame around it ("activity error (type: …, scheduledEventID: …").
func plain(err error) error {
	var activity *temporal.ActivityError
	if errors.As(err, &activity) && activity.Unwrap() != nil {
		err = activity.Unwrap()
	}
	// What the attempts failed with says more than that their time is over.
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) && timeout.Unwrap() != nil {
		err = timeout.Unwrap()
	}
	return err
}

// sleep is a timer that says in the Web UI what it is for.
func sleep(ctx workflow.Context, d time.Duration, summary string) error {
	return workflow.NewTimerWithOptions(ctx, d, workflow.TimerOptions{Summary: summary}).Get(ctx, nil)
}

// awaitFor waits for a condition, but not longer than d. The SDK's own leaves its timer behind, which reads as if something were
// still waited for.
func awaitFor(ctx workflow.Context, d time.Duration, summary string, condition func() bool) (met bool, err error) {
	timed, cancel := workflow.WithCancel(ctx)
	defer cancel()
	timer := workflow.NewTimerWithOptions(timed, d, workflow.TimerOptions{Summary: summary})
	err = workflow.Await(ctx, func() bool { return condition() || timer.IsReady() })
	return err == nil && condition(), err
}

// awaitEpoch returns when the chain's head is at target or later. It sleeps for most of the way and asks the chain for the
// rest, because a wall clock does not know how fast a chain is.
func (d *deadline) awaitEpoch(ctx workflow.Context, target abi.ChainEpoch) error {
	for d.head < target {
		if away := post.Until(d.epoch(ctx), target-1, d.settings.EpochDuration); away > 0 {
			if err := sleep(ctx, away, fmt.Sprintf("until epoch %d", target-1)); err != nil {
				return err
			}
		}
		var head abi.ChainEpoch
		in := AwaitInput{Target: target, EpochDuration: d.settings.EpochDuration}
		if err := d.run(policyAwaitEpoch.apply(ctx, 0, fmt.Sprintf("epoch %d", target)), ActivityAwaitEpoch, &head, in); err != nil {
			return err
		}
		d.sawHead(ctx, head)
	}
	return nil
}
