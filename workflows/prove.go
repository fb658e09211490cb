package workflows

import (
	"errors"
	"fmt"
	"slices"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// prove makes a partition's proof, trying until it has one or the deadline closes (the only error).
func (d *deadline) prove(ctx workflow.Context, p *partition) (post.Proof, error) {
	for {
		p.State, p.resets = post.StateProving, d.resets
		if p.found == nil {
			p.Tries++
		}
		d.changed()
		proof, failed := d.attempt(ctx, p)
		switch {
		case failed == nil:
			p.State, p.Card, p.Phases, p.Reason = post.StateSubmitting, proof.Card, proof.Phases, ""
			// Of this proof, not of one before: the chain checks it against the sectors that the message does not skip.
			p.Skipped = slices.Concat(p.missing, proof.Skipped)
			d.changed()
			return proof, nil
		case ctx.Err() != nil:
			return post.Proof{}, ctx.Err()
		case p.reset:
			d.runAgain(p)
			continue
		}
		if err := d.afterFailure(ctx, p, failed); err != nil {
			return post.Proof{}, err
		}
	}
}

// runAgain is what a reset does to a job: tries back at 0, any card welcome.
func (d *deadline) runAgain(p *partition) {
	p.reset, p.Tries, p.avoid = false, 0, nil
}

// failure is why an attempt gave no proof.
type failure struct {
	kind   post.Failure
	card   string
	reason string
}

// attempt is one GenerateWindowPoSt activity, with the check of its proof. A proof that comes by signal while it runs, or
// came before, ends it; so do an operator's reset and Close.
func (d *deadline) attempt(ctx workflow.Context, p *partition) (post.Proof, *failure) {
	p.job = post.Job{
		Deadline: d.Deadline, Partitions: []uint64{p.Index}, ProofType: d.proofType, Randomness: d.randomness,
		Sectors: p.sectors, Try: p.Tries, AvoidCards: p.avoid,
	}
	if p.found != nil && p.found.JobKey != p.job.Key() {
		p.found = nil // it came before the challenge changed
		p.Tries++
		p.job.Try = p.Tries
	}
	if len(p.sectors) == 0 {
		return post.Proof{}, d.relocate(ctx, p)
	}
	within := min(d.timeToProve(ctx), d.settings.JobLifetime)
	if within <= 0 && p.found == nil {
		return post.Proof{}, &failure{kind: post.FailureOutOfTime, reason: "no time is left to prove and submit"}
	}
	attempt, stop := workflow.WithCancel(ctx)
	defer stop()
	var running workflow.Future
	if p.found == nil {
		summary := fmt.Sprintf("%s partition %d, %s, try %d", d.Deadline, p.Index, post.Count(len(p.sectors), "sector"), p.Tries)
		running = workflow.ExecuteActivity(proveOptions(attempt, d.settings.ProveQueue, within, p.job, summary), ActivityGenerateWindowPoSt, p.job)
	}
	if err := d.await(ctx, func() bool { return p.found != nil || p.reset || running.IsReady() }); err != nil {
		return post.Proof{}, &failure{reason: "the deadline closed"}
	}
	var proof post.Proof
	switch {
	case p.found != nil:
		proof, p.found = *p.found, nil
		return proof, nil // checked when it came
	case p.reset:
		return post.Proof{}, &failure{reason: "reset by an operator"}
	}
	if err := running.Get(ctx, &proof); err != nil {
		return post.Proof{}, explain(err)
	}
	return d.check(ctx, p, proof)
}

// check has the daemons verify a proof once more before anything is signed: a worker may be anybody's machine.
func (d *deadline) check(ctx workflow.Context, p *partition, proof post.Proof) (post.Proof, *failure) {
	var good bool
	if err := d.run(policyLookup.apply(ctx, d.timeToRead(ctx), p.summary()), ActivityVerifyProof, &good, VerifyInput{Job: p.job, Proof: proof}); err != nil {
		return post.Proof{}, &failure{kind: post.FailureOutOfTime, reason: fmt.Sprintf("it was proven, but no daemon could check the proof: %v", plain(err))}
	}
	if !good {
		return post.Proof{}, &failure{kind: post.FailureFalseProof, card: proof.Card, reason: "the proof does not verify (card " + proof.Card + ")"}
	}
	return proof, nil
}

// relocate looks a partition's sectors up once more when no store had any: a mount may have come back. Finding none is a
// failure of the job like another; finding some is, too, but the next attempt has them.
func (d *deadline) relocate(ctx workflow.Context, p *partition) *failure {
	var located post.Located
	in := PartitionInput{Deadline: d.Deadline, Partition: p.Index, Sectors: p.wanted}
	if err := d.run(policyLookup.apply(ctx, 0, p.summary()), ActivityLookupSectors, &located, in); err != nil {
		return explain(err)
	}
	p.have(located)
	if len(p.sectors) > 0 {
		return &failure{kind: post.FailureNoStore, reason: "its sectors were not found at first"}
	}
	reason := "no store has any of its sectors; the chain refuses a post without a good one"
	if len(located.Missing) > 0 {
		reason += ": sector " + fmt.Sprint(located.Missing[0].Sector) + ": " + located.Missing[0].Reason
	}
	return &failure{kind: post.FailureAllBad, reason: reason}
}

// afterFailure records what went wrong, says so, and waits as long as post.AfterFailure decides, or until a proof comes by
// signal or an operator resets the job. Its only error is Close.
func (d *deadline) afterFailure(ctx workflow.Context, p *partition, f *failure) error {
	if !f.kind.Counted() && f.kind != post.FailureOutOfTime && p.Tries > 0 {
		p.Tries-- // it was asked in the wrong place; what ran out of time was tried
	}
	next := post.AfterFailure(f.kind, p.Tries, d.settings.MaxTry, d.settings.RetryUntilClose)
	what := fmt.Sprintf("%s: %s", f.kind, f.reason)
	if f.kind == post.FailureOutOfTime && p.Reason != "" {
		what += "; before that " + p.Reason // what used the time up is what people have to know
	}
	p.Reason = what
	if f.card != "" {
		p.avoid = append(p.avoid, f.card)
	}
	if next.Alert {
		p.State = post.StateFailed
		workflow.GetLogger(ctx).Error("job out of tries", "deadline", d.String(), "partition", p.Index, "tries", p.Tries, "reason", p.Reason)
	}
	d.changed()
	d.wake(ctx)
	if p.resets != d.resets {
		p.reset = true // since the attempt began, maybe in this very task, which a reset executes again
	}
	called := func() bool { return p.found != nil || p.reset }
	var err error
	switch {
	case !next.Again:
		err = workflow.Await(ctx, called)
	case next.Pause > 0:
		_, err = awaitFor(ctx, post.Until(0, next.Pause, d.settings.EpochDuration), "before the next try", called)
	}
	d.wake(ctx)
	if p.reset {
		d.runAgain(p)
	}
	return err
}

// explain reads what kind of failure an activity's error is.
func explain(err error) *failure {
	var application *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch {
	case errors.As(err, &application):
		f := &failure{kind: post.Failure(application.Type()), reason: application.Message()}
		_ = application.Details(&f.card) // not every failure has a card
		return f
	case errors.As(err, &timeout) && timeout.TimeoutType() == enums.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE:
		return &failure{kind: post.FailureOutOfTime, reason: "no proof in the time until Close less the reserve for submitting" + since(timeout)}
	default:
		return &failure{kind: post.FailureLostWorkers, reason: plain(err).Error()}
	}
}

// since adds what the last attempt of a timed-out activity said.
func since(timeout *temporal.TimeoutError) string {
	if cause := timeout.Unwrap(); cause != nil {
		return "; last: " + cause.Error()
	}
	return ""
}

// hearProofs takes proofs whose activity attempt is gone. The first valid one wins; one of another job is dropped.
func (d *deadline) hearProofs(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalProofFound)
	for {
		var proof post.Proof
		if !channel.Receive(ctx, &proof) {
			return
		}
		d.wake(ctx)
		for _, p := range d.partitions {
			if p.job.Key() != proof.JobKey || p.found != nil || p.State != post.StateProving && p.State != post.StateFailed {
				continue
			}
			if _, failed := d.check(ctx, p, proof); failed == nil {
				p.found = &proof
			} else {
				workflow.GetLogger(ctx).Warn("a proof that came by signal is not used", "deadline", d.String(), "partition", p.Index, "reason", failed.reason)
			}
		}
	}
}
