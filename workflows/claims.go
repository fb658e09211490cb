package workflows

import (
	"cmp"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// claimHolds is how long a claim counts after it was made: workers make theirs again every 6 s, so two may be lost.
const claimHolds = 20 * time.Second

// claim is a card's word that it is making a job's proof although its activity's attempt is gone (see post.Claim).
type claim struct {
	card      string
	until     time.Time // it is over then unless it is made again
	overruled bool      // an operator reset the job since it was made first: it counts no more, only its proof does
}

// claims are those for one job. Cards of several workers may claim the same, after several outages.
type claims []claim

// made takes in that a card claims the job now.
func (c *claims) made(card string, now time.Time) {
	for i := range *c {
		if (*c)[i].card == card {
			(*c)[i].until = now.Add(claimHolds)
			return
		}
	}
	*c = append(*c, claim{card: card, until: now.Add(claimHolds)})
}

// end ends a card's claim: its proof has come, good or bad, or never will.
func (c claims) end(card string) {
	for i := range c {
		if c[i].card == card {
			c[i].until = time.Time{}
		}
	}
}

// overrule makes the claims so far count no more: an operator wants the job run again now, perhaps just because a card holds it.
func (c claims) overrule() {
	for i := range c {
		c[i].overruled = true
	}
}

// last is the claim that counts for longest, if one counts now.
func (c claims) last(now time.Time) (last claim, held bool) {
	for _, one := range c {
		if !one.overruled && now.Before(one.until) && one.until.After(last.until) {
			last, held = one, true
		}
	}
	return last, held
}

// claimed says whether a card is making the batch's proof without an activity now.
func (b *batch) claimed(ctx workflow.Context) bool {
	_, held := b.claims.last(workflow.Now(ctx))
	return held
}

// called says that a proof came by signal or that an operator wants the job run again: what is under way for it is needless.
func (b *batch) called() bool { return b.found != nil || b.reset }

// awaitClaims waits while a card claims to be making the job's proof, for that proof or for an operator's reset. Its only error is Close.
func (d *deadline) awaitClaims(ctx workflow.Context, b *batch) error {
	for !b.called() {
		last, held := b.claims.last(workflow.Now(ctx))
		if !held {
			return nil
		}
		if reason := fmt.Sprintf("%s goes on with the proof, whose attempt was given up when the connection was lost", cmp.Or(last.card, "a worker")); b.Reason != reason {
			b.Reason = reason
			d.changed()
		}
		// When the time is over it is seen whether the claim was made again. A new timer each time would fill the history.
		left := last.until.Sub(workflow.Now(ctx))
		_, err := awaitFor(ctx, left, "for a proof that is claimed", func() bool { return b.called() || !b.claimed(ctx) })
		d.wake(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// hearClaims takes the claims. One for another job than the current one is old.
func (d *deadline) hearClaims(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalProofClaimed)
	for {
		var claim post.Claim
		if !channel.Receive(ctx, &claim) {
			return
		}
		d.wake(ctx)
		for _, b := range d.batches {
			switch {
			case !b.waitsFor(claim.JobKey):
			case claim.Over:
				b.claims.end(claim.Card)
			default:
				b.claims.made(claim.Card, workflow.Now(ctx))
			}
		}
	}
}
