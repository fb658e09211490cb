package workflows

import (
	"fmt"
	"slices"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// routes says whether this run's jobs are routed over the fleet. Runs from before that have all of them on one queue.
func routes(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "routing", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// unrouted is where a job went before jobs were routed. Priority 3 is fresh work, 2 what was tried before.
func unrouted(queue string, try int) post.Choice {
	if try > 1 {
		return post.Choice{Queue: queue, Priority: 2}
	}
	return post.Choice{Queue: queue, Priority: 3}
}

// route asks where the batch's job should wait for a card, and shows it. A job is not lost when that cannot be found out: it waits
// where nobody polls, and the balancing of the fleet moves it.
func (d *deadline) route(ctx workflow.Context, b *batch) post.Choice {
	choice, needs, err := d.ask(ctx, b)
	if err != nil {
		choice = post.Choice{Queue: post.QueueNobody, Waits: fmt.Sprintf("routing it failed: %v", plain(err))}
	}
	b.Queue, b.Waits, b.Stores, b.Avoid = choice.Queue, choice.Waits, needs.Stores, b.job.AvoidCards
	d.watchLost(ctx, b, choice.Lost)
	d.changed()
	return choice
}

// ask is the question where a job should wait, and nothing else.
func (d *deadline) ask(ctx workflow.Context, b *batch) (choice post.Choice, needs post.Needs, err error) {
	needs, err = b.job.Needs()
	if err != nil {
		return choice, needs, err
	}
	in := RouteInput{Needs: needs, Avoid: b.job.AvoidCards, Try: b.Tries, Left: d.timeToProve(ctx)}
	err = workflow.ExecuteLocalActivity(policyRoute.local(ctx, b.summary()), ActivityRouteJob, in).Get(ctx, &choice)
	d.wake(ctx)
	return choice, needs, err
}

// watchLost takes in which stores keep a job waiting because nobody can read them. When half of the time that was left has gone by and
// they are still lost, the job goes without their sectors: those are faulty then, but the others are not.
func (d *deadline) watchLost(ctx workflow.Context, b *batch, lost []string) {
	b.lost = lost
	if len(lost) == 0 || b.leaving {
		return
	}
	b.leaving = true
	workflow.Go(ctx, func(ctx workflow.Context) {
		defer func() { b.leaving = false }()
		over := func() bool { return len(b.lost) == 0 } // they are back, or the job needs nobody any more
		back, err := awaitFor(ctx, d.timeToProve(ctx)/2, "for a store that nobody can read", over)
		for err == nil && !back {
			// It is asked once more: the word that they are back may have been lost.
			choice, _, unknown := d.ask(ctx, b)
			if back = over(); unknown == nil && !back {
				b.lost = choice.Lost
				b.leave = len(b.lost) > 0
				return
			}
			if !back {
				back, err = awaitFor(ctx, d.settings.EpochDuration, "to ask again for a store that nobody can read", over)
			}
		}
	})
}

// leaveLost takes the sectors of lost stores out of a job.
func (b *batch) leaveLost() {
	for _, p := range b.parts {
		var gone []abi.SectorNumber
		for _, s := range p.sectors {
			if slices.Contains(b.lost, s.Store) {
				gone = append(gone, s.Number)
				p.missing = append(p.missing, post.Skipped{Sector: s.Number, Reason: fmt.Sprintf("no worker could read store %q for half of the time", s.Store)})
			}
		}
		p.sectors, p.skipped = p.sectors.Without(gone), p.missing
	}
	b.unite()
	b.lost, b.leave = nil, false
}

// hearRouted keeps true what is shown of where jobs wait: the balancing of the fleet moves them, with no event in the history.
func (d *deadline) hearRouted(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalRouted)
	for {
		var routed post.Routed
		if !channel.Receive(ctx, &routed) {
			return
		}
		d.wake(ctx)
		for _, b := range d.batches {
			if b.has(routed.Partition) && b.Queue != "" {
				b.Queue, b.Waits = routed.Queue, routed.Waits
				d.watchLost(ctx, b, routed.Lost)
				d.changed()
			}
		}
	}
}
