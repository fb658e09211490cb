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

// route asks where the partition's job should wait for a card, and shows it. A job is not lost when that cannot be found out: it waits
// where nobody polls, and the balancing of the fleet moves it.
func (d *deadline) route(ctx workflow.Context, p *partition) post.Choice {
	choice, needs, err := d.ask(ctx, p)
	if err != nil {
		choice = post.Choice{Queue: post.QueueNobody, Waits: fmt.Sprintf("routing it failed: %v", plain(err))}
	}
	p.Queue, p.Waits, p.Stores, p.Avoid = choice.Queue, choice.Waits, needs.Stores, p.job.AvoidCards
	d.watchLost(ctx, p, choice.Lost)
	d.changed()
	return choice
}

// ask is the question where a job should wait, and nothing else.
func (d *deadline) ask(ctx workflow.Context, p *partition) (choice post.Choice, needs post.Needs, err error) {
	needs, err = p.job.Needs()
	if err != nil {
		return choice, needs, err
	}
	in := RouteInput{Needs: needs, Avoid: p.job.AvoidCards, Try: p.Tries, Left: d.timeToProve(ctx)}
	err = workflow.ExecuteLocalActivity(policyRoute.local(ctx, p.summary()), ActivityRouteJob, in).Get(ctx, &choice)
	d.wake(ctx)
	return choice, needs, err
}

// watchLost takes in which stores keep a job waiting because nobody can read them. When half of the time that was left has gone by and
// they are still lost, the job goes without their sectors: those are faulty then, but the others are not.
func (d *deadline) watchLost(ctx workflow.Context, p *partition, lost []string) {
	p.lost = lost
	if len(lost) == 0 || p.leaving {
		return
	}
	p.leaving = true
	workflow.Go(ctx, func(ctx workflow.Context) {
		defer func() { p.leaving = false }()
		over := func() bool { return len(p.lost) == 0 } // they are back, or the job needs nobody any more
		back, err := awaitFor(ctx, d.timeToProve(ctx)/2, "for a store that nobody can read", over)
		for err == nil && !back {
			// It is asked once more: the word that they are back may have been lost.
			choice, _, unknown := d.ask(ctx, p)
			if back = over(); unknown == nil && !back {
				p.lost = choice.Lost
				p.leave = len(p.lost) > 0
				return
			}
			if !back {
				back, err = awaitFor(ctx, d.settings.EpochDuration, "to ask again for a store that nobody can read", over)
			}
		}
	})
}

// leaveLost takes the sectors of lost stores out of a job.
func (p *partition) leaveLost() {
	var gone []abi.SectorNumber
	for _, s := range p.sectors {
		if slices.Contains(p.lost, s.Store) {
			gone = append(gone, s.Number)
			p.missing = append(p.missing, post.Skipped{Sector: s.Number, Reason: fmt.Sprintf("no worker could read store %q for half of the time", s.Store)})
		}
	}
	p.sectors, p.Skipped = p.sectors.Without(gone), p.missing
	p.lost, p.leave = nil, false
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
		for _, p := range d.partitions {
			if p.Index == routed.Partition && p.Queue != "" {
				p.Queue, p.Waits = routed.Queue, routed.Waits
				d.watchLost(ctx, p, routed.Lost)
				d.changed()
			}
		}
	}
}
