package workflows

import (
	"cmp"
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
	if len(d.batches) == 0 {
		return d.finish(ctx, "")
	}
	d.challenge(open)

	var begun int
	for _, b := range slices.Clone(d.batches) {
		// One workflow task may carry 4 MB: at 16 partitions of up to 85 KB each, yield.
		if begun > 0 && begun+len(b.parts) > 16 {
			_ = sleep(open, time.Millisecond, "the next 16 partitions")
			begun = 0
		}
		begun += len(b.parts)
		d.begin(b)
	}
	if err := d.await(ctx, func() bool { return d.running == 0 }); err != nil {
		return post.Result{}, err
	}
	d.checkAfterClose(ctx)
	return d.finish(ctx, "")
}

// seeThrough takes a batch from its sectors to its place on the chain. What must not go on after Close runs under open;
// a message that landed just before must still be confirmed.
func (d *deadline) seeThrough(ctx workflow.Context, b *batch) {
	open := d.untilClose(ctx)
	if b.State == post.StateLanded {
		if stays, err := d.stays(open, b); err != nil || stays {
			if err != nil {
				b.State = post.StatePosted // the last that was known of it
			}
			return
		}
	}
	for {
		if !b.located {
			if err := d.locate(ctx, open, b); err != nil {
				d.miss(ctx, b, "its sectors could not be located before the deadline closed", err)
				return
			}
			if len(b.parts) == 0 {
				return // the chain wants nothing proven any more
			}
		}
		proof, err := d.prove(open, b)
		if err != nil {
			d.miss(ctx, b, "not proven before the deadline closed", err)
			return
		}
		d.takeOut(b, "none of its sectors could be proven with those of the other partitions", (*part).allBad)
		switch verdict, err := d.submit(ctx, open, b, proof); {
		case err != nil:
			d.miss(ctx, b, "proven, but not on the chain before the deadline closed", err)
			return
		case verdict == proveAgain:
			d.rechallenge(open, b)
		case verdict == readAgain:
			b.located, b.State = false, post.StateWaiting
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
	parts := make([]*part, len(loaded.Partitions))
	for i, p := range loaded.Partitions {
		parts[i] = &part{index: p.Index, count: int(p.ToProve)}
		b := newBatch(parts[i])
		switch {
		case p.Posted:
			b.State, b.Reason = post.StateLanded, "the chain had this post when the workflow started"
			d.batches = append(d.batches, b)
		case p.ToProve == 0:
			b.State = post.StateNothing
		}
	}
	d.all = parts
	for _, group := range post.GroupPartitions(loaded.Partitions, d.settings.PartitionsPerPost, d.settings.RecoverAlone) {
		var of []*part
		for _, p := range parts {
			if slices.Contains(group, p.index) {
				of = append(of, p)
			}
		}
		d.batches = append(d.batches, newBatch(of...))
	}
	slices.SortStableFunc(d.batches, func(a, b *batch) int { return cmp.Compare(a.first(), b.first()) })
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
func (d *deadline) stays(ctx workflow.Context, b *batch) (bool, error) {
	if err := d.awaitEpoch(ctx, min(d.head+d.settings.Confidence, d.Close-lastStay)); err != nil {
		return false, err
	}
	loaded, err := d.read(ctx)
	if err != nil {
		return false, err
	}
	for _, now := range loaded.Partitions {
		if b.has(now.Index) && now.Posted {
			b.State = post.StatePosted
			d.changed()
			return true, nil
		}
	}
	b.State, b.Reason = post.StateWaiting, "the post that the chain had was dropped by a reorg"
	d.changed()
	return false, nil
}

// locate reads the sectors of a batch's partitions and where each is stored. Sectors that nobody has are skipped and reported: they never
// fail the others. A partition of several of which no store has anything goes on alone, because its stores may come back.
func (d *deadline) locate(ctx, open workflow.Context, b *batch) error {
	if err := d.find(open, b); err != nil {
		return err
	}
	b.located = true
	if d.dropEmpty(ctx, b); len(b.parts) == 0 {
		return nil
	}
	b.Reason = ""
	b.unite()
	d.takeOut(b, "no store had any of its sectors; the others of its post go without it", func(p *part) bool { return len(p.sectors) == 0 })
	d.changed()
	if err := d.await(open, func() bool { return len(d.randomness) > 0 || d.unread != nil }); err != nil {
		return err
	}
	return d.unread
}

// find reads and looks up the sectors of all partitions of a batch, side by side if there are several.
func (d *deadline) find(ctx workflow.Context, b *batch) error {
	if len(b.parts) == 1 {
		return d.findPart(ctx, b, b.parts[0])
	}
	left, failed := len(b.parts), error(nil)
	for _, p := range b.parts {
		workflow.Go(ctx, func(ctx workflow.Context) {
			if err := d.findPart(ctx, b, p); err != nil {
				failed = err
			}
			left--
		})
	}
	if err := d.await(ctx, func() bool { return left == 0 }); err != nil {
		return err
	}
	return failed
}

// findPart reads a partition's sectors and where each is stored.
func (d *deadline) findPart(ctx workflow.Context, b *batch, p *part) error {
	what := post.PartitionNames([]uint64{p.index})
	in := PartitionInput{Deadline: d.Deadline, Partition: p.index}
	if err := d.run(policyChainRead.apply(ctx, d.timeToRead(ctx), what), ActivityLoadPartition, &in.Sectors, in); err != nil {
		return err
	}
	var located post.Located
	if err := d.run(policyLookup.apply(ctx, d.timeToRead(ctx), what), ActivityLookupSectors, &located, in); err != nil {
		return err
	}
	// A store that a daemon has never been able to read may hold what is missing, and workers may reach it: to skip its sectors
	// is to declare them faulty. So look again, until the deadline opens.
	for located.Undecided != "" && d.epoch(ctx) < d.Open {
		b.Reason = located.Undecided
		d.changed()
		if err := sleep(ctx, d.settings.EpochDuration, "an epoch, then look for the missing sectors again"); err != nil {
			return err
		}
		located = post.Located{}
		if err := d.run(policyLookup.apply(ctx, d.timeToRead(ctx), what), ActivityLookupSectors, &located, in); err != nil {
			return err
		}
	}
	p.wanted, p.count = in.Sectors, len(in.Sectors)
	p.have(located)
	return nil
}

// dropEmpty ends those partitions of which the chain wants nothing proven any more.
func (d *deadline) dropEmpty(ctx workflow.Context, b *batch) {
	empty := func(p *part) bool { return len(p.wanted) == 0 }
	// After Close that only says that they were missed.
	if !slices.ContainsFunc(b.parts, empty) || d.epoch(ctx) >= d.Close || !seesNothingLeft(ctx) {
		return
	}
	left := make([]*part, 0, len(b.parts))
	for _, p := range b.parts {
		if empty(p) {
			d.nothingLeft(p)
		} else {
			left = append(left, p)
		}
	}
	b.parts = left
}

// seesNothingLeft is whether a partition of which the chain wants nothing proven, when its sectors are read, is done with. Deadlines from before
// that try to prove it until Close.
func seesNothingLeft(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "nothing left", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// challenge reads the beacon value that the proofs answer, beside the lookups.
func (d *deadline) challenge(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		d.unread = d.run(policyChainRead.apply(ctx, d.timeToRead(ctx), d.String()), ActivityChallengeRandomness, &d.randomness, d.Deadline)
	})
}

// rechallenge reads the challenge once more, after the chain said that it changed. Everybody's next proof answers it.
func (d *deadline) rechallenge(ctx workflow.Context, b *batch) {
	b.Reason = "the chain's challenge changed; proving anew"
	var randomness []byte
	if err := d.run(policyChainRead.apply(ctx, 0, b.summary()), ActivityChallengeRandomness, &randomness, d.Deadline); err == nil {
		d.randomness = randomness
	}
	d.changed()
}

// checkAfterClose asks the chain, once the deadline is over, whether it holds any sector faulty that we believe proven.
// Only then is the result the chain's word and not ours.
func (d *deadline) checkAfterClose(ctx workflow.Context) {
	if err := d.awaitEpoch(ctx, d.Close+d.depthAfterClose(ctx)); err != nil {
		return
	}
	var checked Checked
	within := post.Until(d.Close, d.Close+d.settings.Confidence+20, d.settings.EpochDuration) + time.Minute
	if err := d.run(policyChainRead.apply(ctx, within, "after Close"), ActivityCheckDeadline, &checked, d.Deadline); err != nil {
		d.reason = fmt.Sprintf("the faulty sectors could not be read after Close: %v", plain(err))
		return
	}
	for _, p := range d.all {
		b := p.batch
		if b.State == post.StateMissed && slices.Contains(checked.Posted, p.index) {
			// A run that was reset to before its proof, when the deadline was over, or that never heard of its message's fate.
			b = d.apart(p)
			b.State, b.Reason = post.StatePosted, "the chain has a post of it, though not by this run's account: "+b.Reason
		}
		if b.State != post.StatePosted {
			continue
		}
		if bad := p.sectors.Without(p.skippedNumbers()).Among(checked.Faulty[p.index]); len(bad) > 0 {
			b = d.apart(p)
			b.State = post.StateMissed
			b.Reason = fmt.Sprintf("posted, but the chain holds sectors %s of it faulty after Close", post.FormatNumbers(bad))
		}
	}
	d.changed()
}

// depthAfterClose is how many epochs after Close the chain is asked: as many as a post is to be deep before it counts, since what one tipset
// says may be gone with the next. Deadlines from before that ask in the first epoch.
func (d *deadline) depthAfterClose(ctx workflow.Context) abi.ChainEpoch {
	if workflow.GetVersion(ctx, "deep after Close", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return 1
	}
	return max(d.settings.Confidence, 1)
}

// apart gives a partition a state of its own, when all is over.
func (d *deadline) apart(p *part) *batch {
	if len(p.batch.parts) == 1 {
		return p.batch
	}
	of := p.batch
	of.parts = slices.DeleteFunc(slices.Clone(of.parts), func(other *part) bool { return other == p })
	single := newBatch(p)
	single.PartitionResult = of.PartitionResult
	return single
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

// miss ends a batch that is not on the chain, with the last reason there was.
func (d *deadline) miss(ctx workflow.Context, b *batch, what string, err error) {
	b.State = post.StateMissed
	switch {
	case b.Reason != "":
		b.Reason = what + "; last: " + b.Reason
	case !temporal.IsCanceledError(err):
		b.Reason = fmt.Sprintf("%s: %v", what, plain(err))
	default:
		b.Reason = what
	}
	d.changed()
	workflow.GetLogger(ctx).Error("partition missed", "deadline", d.String(), "partitions", b.indexes(), "reason", b.Reason)
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
