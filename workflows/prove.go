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

// prove makes a partition's proof, trying until it has one or the deadline closes (the only error).
func (d *deadline) prove(ctx workflow.Context, p *partition) (post.Proof, error) {
	for {
		p.State, p.resets = post.StateProving, d.resets
		p.Proven, p.Asked = time.Time{}, 0
		if p.Issued.IsZero() {
			p.Issued = workflow.Now(ctx)
		}
		if p.found == nil {
			p.Tries++
		}
		d.changed()
		proof, failed := d.attempt(ctx, p)
		switch {
		case failed == nil:
			p.State, p.Card, p.Phases, p.Reason = post.StateSubmitting, proof.Card, proof.Phases, ""
			p.Stores, p.Avoid = nil, nil // what a job needs concerns nobody any more
			p.Proven = workflow.Now(ctx)
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

// runAgain is what a reset does to a job: tries back at 0, any card welcome, nobody's claim holds it up.
func (d *deadline) runAgain(p *partition) {
	p.reset, p.Tries, p.avoid = false, 0, nil
	p.again++
	p.refusals, p.refused = 0, nil
	p.claims.overrule()
	p.have(p.located) // with what was left out because its store was lost
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
func (d *deadline) attempt(ctx workflow.Context, p *partition) (post.Proof, *failure) {
	routed := routes(ctx)
	d.nextJob(p)
	if p.found != nil && p.found.JobKey != p.key {
		p.found = nil // it came before the challenge changed
		p.Tries++
		p.job.Try = p.Tries
	}
	if len(p.sectors) == 0 {
		return post.Proof{}, d.relocate(ctx, p)
	}
	defer func() { p.Queue, p.Waits, p.lost, p.leave = "", "", nil, false }()
	for {
		running, stop, failed := d.start(ctx, p, routed)
		if failed != nil {
			return post.Proof{}, failed
		}
		ended := false
		err := d.await(ctx, func() bool {
			ended = running != nil && running.IsReady()
			return p.called() || ended || p.leave || routed && p.claimed(ctx)
		})
		stop() // which ends the activity for us, too
		switch {
		case err != nil:
			return post.Proof{}, closed()
		case p.found != nil:
			proof := *p.found // checked when it came
			p.found = nil
			return proof, nil
		case p.reset:
			return post.Proof{}, &failure{reason: "reset by an operator"}
		case ended:
			var proof post.Proof
			if err := running.Get(ctx, &proof); err != nil {
				failed := explain(err)
				if failed.kind == post.FailureMoved && !workflow.Now(ctx).Before(p.until) {
					failed = &failure{kind: post.FailureOutOfTime, reason: outOfTime}
				}
				if failed.kind == post.FailureOutOfTime && p.Waits != "" {
					failed.reason += "; it waited: " + p.Waits
				}
				return post.Proof{}, failed
			}
			return d.check(ctx, p, proof)
		}
		p.Queue, p.Waits = "", "" // claimed, or to go without a store: the activity is cancelled
		if p.leave {
			p.leaveLost()
			d.nextJob(p)
		}
	}
}

// nextJob makes the job of the next attempt. Claims for another one than before are void.
func (d *deadline) nextJob(p *partition) {
	p.job = post.Job{
		Deadline: d.Deadline, Partitions: []uint64{p.Index}, ProofType: d.proofType, Randomness: d.randomness,
		Sectors: p.sectors, Try: p.Tries, AvoidCards: slices.Concat(p.avoid, p.refused), Pool: d.settings.Pool, Again: p.again,
	}
	if key := p.job.Key(); key != p.key {
		p.key, p.claims = key, nil
	}
}

// start issues the GenerateWindowPoSt activity of a job. There is none (nil) if a proof or an operator's reset comes first.
func (d *deadline) start(ctx workflow.Context, p *partition, routed bool) (running workflow.Future, stop func(), failed *failure) {
	nothing := func() {}
	choice, id := unrouted(d.settings.ProveQueue, p.job.Try), ""
	if routed {
		if choice, failed = d.choose(ctx, p); failed != nil {
			return nil, nothing, failed
		}
	}
	if p.called() {
		return nil, nothing, nil
	}
	within := min(d.timeToProve(ctx), d.settings.JobLifetime)
	if within <= 0 {
		return nil, nothing, &failure{kind: post.FailureOutOfTime, reason: "no time is left to prove and submit"}
	}
	if routed {
		p.job.Elsewhere = choice.Elsewhere
		p.issued++
		id = fmt.Sprintf("prove-%d-%d", p.Index, p.issued)
	}
	p.until = workflow.Now(ctx).Add(within)
	attempt, cancel := workflow.WithCancel(ctx)
	summary := fmt.Sprintf("%s partition %d, %s, try %d", d.Deadline, p.Index, post.Count(len(p.sectors), "sector"), p.Tries)
	return workflow.ExecuteActivity(proveOptions(attempt, choice, id, within, summary), ActivityGenerateWindowPoSt, p.job), cancel, nil
}

// choose routes a job as soon as nobody claims to be making its proof already. Its only failure is Close.
func (d *deadline) choose(ctx workflow.Context, p *partition) (choice post.Choice, failed *failure) {
	for {
		if d.awaitClaims(ctx, p) != nil {
			return choice, closed()
		}
		if p.called() {
			return choice, nil
		}
		choice = d.route(ctx, p)
		switch {
		case ctx.Err() != nil:
			return choice, closed()
		case !p.claimed(ctx):
			return choice, nil
		}
	}
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
func (d *deadline) afterFailure(ctx workflow.Context, p *partition, f *failure) error {
	if !f.kind.Counted() && f.kind != post.FailureOutOfTime && p.Tries > 0 {
		p.Tries-- // it was asked in the wrong place; what ran out of time was tried
	}
	refusals := p.remember(f)
	if !routes(ctx) {
		refusals = math.MaxInt // every refusal was followed by a pause then
	}
	next := post.AfterFailure(f.kind, p.Tries, refusals, d.settings.MaxTry, d.settings.RetryUntilClose)
	what := fmt.Sprintf("%s: %s", f.kind, f.reason)
	if f.kind == post.FailureOutOfTime && p.Reason != "" {
		what += "; before that " + p.Reason // what used the time up is what people have to know
	}
	p.Reason = what
	if next.Alert {
		p.State = post.StateFailed
		workflow.GetLogger(ctx).Error("job out of tries", "deadline", d.String(), "partition", p.Index, "tries", p.Tries, "reason", p.Reason)
	}
	d.changed()
	d.wake(ctx)
	if p.resets != d.resets {
		p.reset = true // since the attempt began, maybe in this very task, which a reset executes again
	}
	var err error
	switch {
	case !next.Again:
		err = workflow.Await(ctx, p.called)
	case next.Pause > 0:
		_, err = awaitFor(ctx, post.Until(0, next.Pause, d.settings.EpochDuration), "before the next try", p.called)
	}
	d.wake(ctx)
	if p.reset {
		d.runAgain(p)
	}
	return err
}

// remember keeps which cards failed the job, to have others try it, and gives the number of refusals in a row. Whoever refused it is
// avoided only until something else happens to it: a store comes back.
func (p *partition) remember(f *failure) (refusals int) {
	list := &p.avoid
	if f.kind.Refusal() {
		p.refusals++
		list = &p.refused
	} else {
		p.refusals, p.refused = 0, nil
	}
	if f.card != "" && !slices.Contains(*list, f.card) {
		*list = append(*list, f.card)
	}
	return p.refusals
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
		for _, p := range d.partitions {
			if p.found != nil || !p.waitsFor(proof.JobKey) {
				continue
			}
			if _, failed := d.check(ctx, p, proof); failed == nil {
				p.found = &proof
			} else {
				workflow.GetLogger(ctx).Warn("a proof that came by signal is not used", "deadline", d.String(), "partition", p.Index, "reason", failed.reason)
			}
			p.claims.end(proof.Card)
		}
	}
}

// waitsFor says whether the partition still needs the proof of the job with this key.
func (p *partition) waitsFor(key string) bool {
	return p.key == key && (p.State == post.StateProving || p.State == post.StateFailed)
}
