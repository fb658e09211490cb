package workflows

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// prove makes a batch's proof, trying until it has one or the deadline closes (the only error).
func (d *deadline) prove(ctx workflow.Context, b *batch) (post.Proof, error) {
	for {
		b.State, b.resets = post.StateProving, d.resets
		b.Proven, b.Asked = time.Time{}, 0
		if b.Issued.IsZero() {
			b.Issued = workflow.Now(ctx)
		}
		if b.found == nil {
			b.Tries++
		}
		d.changed()
		proof, failed := d.attempt(ctx, b)
		switch {
		case failed == nil:
			b.State, b.Card, b.Phases, b.Reason = post.StateSubmitting, proof.Card, proof.Phases, ""
			b.Stores, b.Avoid = nil, nil // what a job needs concerns nobody any more
			b.Proven = workflow.Now(ctx)
			// Of this proof, not of one before: the chain checks it against the sectors that the message does not skip.
			b.covered(proof)
			d.changed()
			return proof, nil
		case ctx.Err() != nil:
			return post.Proof{}, ctx.Err()
		case b.reset:
			d.runAgain(b)
			continue
		}
		if err := d.afterFailure(ctx, b, failed); err != nil {
			return post.Proof{}, err
		}
	}
}

// runAgain is what a reset does to a job: tries back at 0, any card welcome, nobody's claim holds it up.
func (d *deadline) runAgain(b *batch) {
	b.reset, b.Tries, b.avoid = false, 0, nil
	b.again++
	b.refusals, b.refused = 0, nil
	b.claims.overrule()
	for _, p := range b.parts {
		p.have(p.located) // with what was left out because its store was lost
	}
	b.unite()
}

// failure is why an attempt gave no proof.
type failure struct {
	kind   post.Failure
	card   string
	reason string
}

// closed is the failure of what was under way at Close.
func closed() *failure { return &failure{reason: "the deadline closed"} }

// attempt is one GenerateWindowPoSt activity, with the check of its proof. A proof that comes by signal while it runs, or
// came before, ends it; so do an operator's reset and Close. A card that claims to be making the proof already ends it, too, and
// if its proof does not come after all, there is another activity, for the same try. So there is when the job has to go without a store.
func (d *deadline) attempt(ctx workflow.Context, b *batch) (post.Proof, *failure) {
	routed := routes(ctx)
	d.nextJob(b)
	if b.found != nil && b.found.JobKey != b.key {
		b.found = nil // it came before the challenge changed
		b.Tries++
		b.job.Try = b.Tries
	}
	if len(b.sectors) == 0 {
		return post.Proof{}, d.relocate(ctx, b)
	}
	defer func() { b.Queue, b.Waits, b.lost, b.leave = "", "", nil, false }()
	for {
		running, stop, failed := d.start(ctx, b, routed)
		if failed != nil {
			return post.Proof{}, failed
		}
		ended := false
		err := d.await(ctx, func() bool {
			ended = running != nil && running.IsReady()
			return b.called() || ended || b.leave || routed && b.claimed(ctx)
		})
		stop() // which ends the activity for us, too
		switch {
		case err != nil:
			return post.Proof{}, closed()
		case b.found != nil:
			proof := *b.found // checked when it came
			b.found = nil
			return proof, nil
		case b.reset:
			return post.Proof{}, &failure{reason: "reset by an operator"}
		case ended:
			var proof post.Proof
			if err := running.Get(ctx, &proof); err != nil {
				failed := explain(err)
				if failed.kind == post.FailureMoved && !workflow.Now(ctx).Before(b.until) {
					failed = &failure{kind: post.FailureOutOfTime, reason: outOfTime}
				}
				if failed.kind == post.FailureOutOfTime && b.Waits != "" {
					failed.reason += "; it waited: " + b.Waits
				}
				return post.Proof{}, failed
			}
			return d.check(ctx, b, proof)
		}
		b.Queue, b.Waits = "", "" // claimed, or to go without a store: the activity is cancelled
		if b.leave {
			b.leaveLost()
			d.takeOut(b, "no worker could read any of its stores; the others of its post go without it", func(p *part) bool { return len(p.sectors) == 0 })
			d.nextJob(b)
		}
	}
}

// nextJob makes the job of the next attempt. Claims for another one than before are void.
func (d *deadline) nextJob(b *batch) {
	b.job = post.Job{
		Deadline: d.Deadline, Partitions: b.indexes(), ProofType: d.proofType, Randomness: d.randomness,
		Sectors: b.sectors, Try: b.Tries, AvoidCards: slices.Concat(b.avoid, b.refused), Pool: d.settings.Pool, Again: b.again,
	}
	if key := b.job.Key(); key != b.key {
		b.key, b.claims = key, nil
	}
}

// start issues the GenerateWindowPoSt activity of a job. There is none (nil) if a proof or an operator's reset comes first.
func (d *deadline) start(ctx workflow.Context, b *batch, routed bool) (running workflow.Future, stop func(), failed *failure) {
	nothing := func() {}
	choice, id := unrouted(d.settings.ProveQueue, b.job.Try), ""
	if routed {
		if choice, failed = d.choose(ctx, b); failed != nil {
			return nil, nothing, failed
		}
	}
	if b.called() {
		return nil, nothing, nil
	}
	within := min(d.timeToProve(ctx), d.settings.JobLifetime)
	if within <= 0 {
		return nil, nothing, &failure{kind: post.FailureOutOfTime, reason: "no time is left to prove and submit"}
	}
	if routed {
		b.job.Elsewhere = choice.Elsewhere
		b.issued++
		id = fmt.Sprintf("prove-%d-%d", b.first(), b.issued)
	}
	b.until = workflow.Now(ctx).Add(within)
	attempt, cancel := workflow.WithCancel(ctx)
	summary := fmt.Sprintf("%s %s, %s, try %d", d.Deadline, b.summary(), post.Count(len(b.sectors), "sector"), b.Tries)
	return workflow.ExecuteActivity(proveOptions(attempt, choice, id, within, summary), ActivityGenerateWindowPoSt, b.job), cancel, nil
}

// choose routes a job as soon as nobody claims to be making its proof already. Its only failure is Close.
func (d *deadline) choose(ctx workflow.Context, b *batch) (choice post.Choice, failed *failure) {
	for {
		if d.awaitClaims(ctx, b) != nil {
			return choice, closed()
		}
		if b.called() {
			return choice, nil
		}
		choice = d.route(ctx, b)
		switch {
		case ctx.Err() != nil:
			return choice, closed()
		case !b.claimed(ctx):
			return choice, nil
		}
	}
}

// check has the daemons verify a proof once more before anything is signed: a worker may be anybody's machine.
func (d *deadline) check(ctx workflow.Context, b *batch, proof post.Proof) (post.Proof, *failure) {
	var good bool
	if err := d.run(policyLookup.apply(ctx, d.timeToRead(ctx), b.summary()), ActivityVerifyProof, &good, VerifyInput{Job: b.job, Proof: proof}); err != nil {
		return post.Proof{}, &failure{kind: post.FailureOutOfTime, reason: fmt.Sprintf("it was proven, but no daemon could check the proof: %v", plain(err))}
	}
	if !good {
		return post.Proof{}, &failure{kind: post.FailureFalseProof, card: proof.Card, reason: "the proof does not verify (card " + proof.Card + ")"}
	}
	return proof, nil
}

// relocate looks a partition's sectors up once more when no store had any: a mount may have come back. Finding none is a
// failure of the job like another; finding some is, too, but the next attempt has them. Of several partitions at most one is without sectors
// here: it is alone, see takeOut.
func (d *deadline) relocate(ctx workflow.Context, b *batch) *failure {
	var located post.Located
	p := b.parts[0]
	in := PartitionInput{Deadline: d.Deadline, Partition: p.index, Sectors: p.wanted}
	if err := d.run(policyLookup.apply(ctx, 0, b.summary()), ActivityLookupSectors, &located, in); err != nil {
		return explain(err)
	}
	p.have(located)
	b.unite()
	if len(b.sectors) > 0 {
		return &failure{kind: post.FailureNoStore, reason: "its sectors were not found at first"}
	}
	if len(p.wanted) == 0 {
		return &failure{kind: post.FailureAllBad, reason: "the chain had nothing to prove in it any more when its sectors were read, as after Close"}
	}
	reason := "no store has any of its sectors; the chain refuses a post without a good one"
	if len(located.Missing) > 0 {
		reason += ": sector " + fmt.Sprint(located.Missing[0].Sector) + ": " + located.Missing[0].Reason
	}
	return &failure{kind: post.FailureAllBad, reason: reason}
}

// afterFailure records what went wrong, says so, and waits as long as post.AfterFailure decides, or until a proof comes by
// signal or an operator resets the job. Its only error is Close.
func (d *deadline) afterFailure(ctx workflow.Context, b *batch, f *failure) error {
	if !f.kind.Counted() && f.kind != post.FailureOutOfTime && b.Tries > 0 {
		b.Tries-- // it was asked in the wrong place; what ran out of time was tried
	}
	refusals := b.remember(f)
	if !routes(ctx) {
		refusals = math.MaxInt // every refusal was followed by a pause then
	}
	next := post.AfterFailure(f.kind, b.Tries, refusals, d.settings.MaxTry, d.settings.RetryUntilClose)
	what := fmt.Sprintf("%s: %s", f.kind, f.reason)
	if f.kind == post.FailureOutOfTime && b.Reason != "" {
		what += "; before that " + b.Reason // what used the time up is what people have to know
	}
	b.Reason = what
	if next.Alert {
		b.State = post.StateFailed
		workflow.GetLogger(ctx).Error("job out of tries", "deadline", d.String(), "partitions", b.indexes(), "tries", b.Tries, "reason", b.Reason)
	}
	d.changed()
	d.wake(ctx)
	if b.resets != d.resets {
		b.reset = true // since the attempt began, maybe in this very task, which a reset executes again
	}
	var err error
	switch {
	case !next.Again:
		err = workflow.Await(ctx, b.called)
	case next.Pause > 0:
		_, err = awaitFor(ctx, post.Until(0, next.Pause, d.settings.EpochDuration), "before the next try", b.called)
	}
	d.wake(ctx)
	if b.reset {
		d.runAgain(b)
	}
	return err
}

// remember keeps which cards failed the job, to have others try it, and gives the number of refusals in a row. Whoever refused it is
// avoided only until something else happens to it: a store comes back.
func (b *batch) remember(f *failure) (refusals int) {
	list := &b.avoid
	if f.kind.Refusal() {
		b.refusals++
		list = &b.refused
	} else {
		b.refusals, b.refused = 0, nil
	}
	if f.card != "" && !slices.Contains(*list, f.card) {
		*list = append(*list, f.card)
	}
	return b.refusals
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
		return &failure{kind: post.FailureOutOfTime, reason: outOfTime + since(timeout)}
	case errors.As(err, &timeout) && timeout.TimeoutType() == enums.TIMEOUT_TYPE_SCHEDULE_TO_START:
		// None is asked for, and the server then takes the time until Close, of which attempt knows when it is over. But when an attempt that follows a lost worker is moved to
		// another queue, the server (1.32.1) counts from 1970: it reckons from when the last attempt failed, and notes that of attempts only
		// that fail by themselves.
		return &failure{kind: post.FailureMoved, reason: "its worker was lost, and the job was moved to another queue"}
	default:
		return &failure{kind: post.FailureLostWorkers, reason: plain(err).Error()}
	}
}

// outOfTime is why a job ends when nobody has proven it.
const outOfTime = "no proof in the time until Close less the reserve for submitting"

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
		for _, b := range d.batches {
			if b.found != nil || !b.waitsFor(proof.JobKey) {
				continue
			}
			if _, failed := d.check(ctx, b, proof); failed == nil {
				b.found = &proof
			} else {
				workflow.GetLogger(ctx).Warn("a proof that came by signal is not used", "deadline", d.String(), "partitions", b.indexes(), "reason", failed.reason)
			}
			b.claims.end(proof.Card)
		}
	}
}

// waitsFor says whether the batch still needs the proof of the job with this key.
func (b *batch) waitsFor(key string) bool {
	return b.key == key && (b.State == post.StateProving || b.State == post.StateFailed && b.Proven.IsZero())
}
