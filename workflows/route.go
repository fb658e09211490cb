package workflows

import (
	"fmt"

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
	var choice post.Choice
	needs, err := p.job.Needs()
	if err == nil {
		in := RouteInput{Needs: needs, Avoid: p.job.AvoidCards, Try: p.Tries, Left: d.timeToProve(ctx)}
		err = workflow.ExecuteLocalActivity(policyRoute.local(ctx, p.summary()), ActivityRouteJob, in).Get(ctx, &choice)
		d.wake(ctx)
	}
	if err != nil {
		choice = post.Choice{Queue: post.QueueNobody, Waits: fmt.Sprintf("routing it failed: %v", plain(err))}
	}
	p.Queue, p.Waits, p.Stores, p.Avoid = choice.Queue, choice.Waits, needs.Stores, p.job.AvoidCards
	d.changed()
	return choice
}

// hearRouted keeps true what is shown of where jobs wait: the balancing of the fleet moves them, with no event in the history.
func (d *deadline) hearRouted(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalRouted)
	for {
		var routed post.Routed
		if !channel.Receive(ctx, &routed) {
			return
		}
		for _, p := range d.partitions {
			if p.Index == routed.Partition && p.Queue != "" {
				p.Queue, p.Waits = routed.Queue, routed.Waits
				d.changed()
			}
		}
	}
}
