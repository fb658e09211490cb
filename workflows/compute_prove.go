package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// prove takes a partition from its sectors to its verified proof.
func (t *trial) prove(ctx workflow.Context, p *tested) *failure {
	if failed := t.locate(ctx, p); failed != nil {
		return failed
	}
	if t.DryRun {
		return t.look(ctx, p)
	}
	p.State, p.Tries, p.Issued, p.key = post.StateProving, 1, workflow.Now(ctx), p.job.Key()
	proof, failed := t.make(ctx, p)
	if failed != nil {
		return failed
	}
	p.Leave(slices.Concat(p.Skipped, proof.Skipped))
	p.Sectors = len(p.job.Sectors) - len(proof.Skipped)
	p.State, p.Verified, p.Proof, p.Card, p.Phases, p.Proven = post.StateProven, true, proof.Bytes, proof.Card, proof.Phases, workflow.Now(ctx)
	return nil
}

// locate reads a partition's sectors and where they are, and makes its job.
func (t *trial) locate(ctx workflow.Context, p *tested) *failure {
	in := PartitionInput{Deadline: t.Deadline, Partition: p.Index}
	if err := run(policyChainRead.apply(ctx, readPatience, p.summary()), ActivityLoadPartition, &in.Sectors, in); err != nil {
		return &failure{reason: fmt.Sprintf("its sectors could not be read from the chain: %v", plain(err))}
	}
	var located post.Located
	if err := run(policyLookup.apply(ctx, readPatience, p.summary()), ActivityLookupSectors, &located, in); err != nil {
		return &failure{reason: fmt.Sprintf("its sectors could not be looked up: %v", plain(err))}
	}
	p.Leave(located.Missing)
	p.Undecided = located.Undecided
	p.job = post.Job{Deadline: t.Deadline, Partitions: []uint64{p.Index}, ProofType: t.ProofType, Randomness: t.randomness, Sectors: located.Sectors,
		Try: 1, Pool: t.Pool, Trial: t.id}
	if len(located.Sectors) == 0 {
		p.Sectors = 0
		return &failure{kind: post.FailureAllBad, reason: "no store has any of its sectors"}
	}
	return nil
}

// look is the dry run of a partition: whether its files are there, and where its job would wait.
func (t *trial) look(ctx workflow.Context, p *tested) *failure {
	var checked CheckedSectors
	in := CheckSectorsInput{Miner: t.Deadline.Miner, Deadline: t.Deadline.Index, Partition: p.Index, ProofType: t.ProofType, Sectors: p.job.Sectors}
	if err := run(checkOptions(ctx, "", p.summary()), ActivityCheckSectors, &checked, in); err != nil {
		return &failure{reason: fmt.Sprintf("its sectors' files could not be looked at: %v", plain(err))}
	}
	skipped := p.Skipped
	for _, bad := range checked.Bad {
		skipped = append(skipped, bad.Skipped)
	}
	p.Leave(skipped)
	if p.Sectors = len(p.job.Sectors) - len(checked.Bad); p.Sectors == 0 {
		return &failure{kind: post.FailureAllBad, reason: "none of its sectors can be proven"}
	}
	return t.route(ctx, p, true)
}

// route asks where the job should wait.
func (t *trial) route(ctx workflow.Context, p *tested, look bool) *failure {
	needs, err := p.job.Needs()
	if err != nil {
		return &failure{reason: err.Error()}
	}
	var choice post.Choice
	in := RouteInput{Needs: needs, Try: 1, Left: t.in.Limit, Look: look}
	if err := workflow.ExecuteLocalActivity(policyRoute.local(ctx, p.summary()), ActivityRouteJob, in).Get(ctx, &choice); err != nil {
		return &failure{reason: fmt.Sprintf("routing it failed: %v", plain(err))}
	}
	p.Queue, p.Waits, p.Stores = choice.Queue, choice.Waits, needs.Stores
	t.dirty = true
	return nil
}

// make has a card make the proof, and the daemons check it.
func (t *trial) make(ctx workflow.Context, p *tested) (post.Proof, *failure) {
	until := workflow.Now(ctx).Add(t.in.Limit)
	for issued := 1; ; issued++ {
		if failed := t.route(ctx, p, false); failed != nil {
			return post.Proof{}, failed
		}
		within := until.Sub(workflow.Now(ctx))
		if within <= 0 {
			return post.Proof{}, t.outOfTime(p)
		}
		proof, failed := t.issue(ctx, p, fmt.Sprintf("prove-%d-%d", p.Index, issued), within)
		switch {
		case failed != nil && failed.kind == post.FailureMoved:
			continue // see explain
		case failed != nil && failed.kind == post.FailureOutOfTime:
			return proof, t.outOfTime(p)
		case failed != nil || p.found != nil:
			return proof, failed // one that came by signal was checked when it came
		}
		return proof, t.check(ctx, p, proof)
	}
}

// issue runs one GenerateWindowPoSt activity, and ends it when nobody can take it, or when the proof has come by signal: its attempt was
// lost, but not the worker. It returns when the activity has ended: its card is free then.
func (t *trial) issue(ctx workflow.Context, p *tested, id string, within time.Duration) (proof post.Proof, failed *failure) {
	attempt, stop := workflow.WithCancel(ctx)
	summary := fmt.Sprintf("%s partition %d, %s, a trial", t.Deadline, p.Index, post.Count(len(p.job.Sectors), "sector"))
	running := workflow.ExecuteActivity(trialOptions(attempt, p.Queue, id, within, summary), ActivityGenerateWindowPoSt, p.job)
	given := t.waitPatiently(ctx, p, func() bool { return running.IsReady() || p.found != nil })
	stop()
	err := running.Get(ctx, &proof)
	switch {
	case p.found != nil:
		return *p.found, nil
	case err == nil:
		return proof, nil
	case given != nil:
		return proof, given
	}
	return proof, explain(err)
}

// waitPatiently waits for the end of a job. Its failure is that nobody can take the job, and that this has been so for too long.
func (t *trial) waitPatiently(ctx workflow.Context, p *tested, ended func() bool) *failure {
	for {
		if err := workflow.Await(ctx, func() bool { return ended() || p.Waits != "" }); err != nil || ended() {
			return nil
		}
		free, err := awaitFor(ctx, t.in.Patience, "for somebody who can take "+p.summary(), func() bool { return ended() || p.Waits == "" })
		if err != nil || ended() {
			return nil
		}
		if free {
			continue
		}
		// Asked once more: a card may have taken it before anybody said that one can.
		if failed := t.route(ctx, p, true); failed != nil || p.Waits != "" {
			return &failure{kind: post.FailureNoCard, reason: fmt.Sprintf("nobody could take it for %v: %s", t.in.Patience, p.Waits)}
		}
	}
}

// outOfTime says what a job did all the time that it had.
func (t *trial) outOfTime(p *tested) *failure {
	reason := fmt.Sprintf("no proof within %v", t.in.Limit)
	if p.Waits != "" {
		reason += "; it waited: " + p.Waits
	}
	return &failure{kind: post.FailureOutOfTime, reason: reason}
}

// check has a daemon verify the proof, as one does before a message is signed.
func (t *trial) check(ctx workflow.Context, p *tested, proof post.Proof) *failure {
	var good bool
	err := run(policyLookup.apply(ctx, readPatience, p.summary()), ActivityVerifyProof, &good, VerifyInput{Job: p.job, Proof: proof})
	switch {
	case err != nil:
		return &failure{card: proof.Card, reason: fmt.Sprintf("it was proven by card %s, but no daemon could check the proof: %v", proof.Card, plain(err))}
	case !good:
		return &failure{kind: post.FailureFalseProof, card: proof.Card, reason: "the proof does not verify (card " + proof.Card + ")"}
	}
	return nil
}
