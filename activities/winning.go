package activities

import (
	"context"
	"fmt"
	"log/slog"

	"go.temporal.io/sdk/activity"

	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// WinningCards proves for blocks on whichever card is free.
type WinningCards interface {
	ProveWinning(ctx context.Context, task prover.Task, progress func(post.Progress)) (*prover.WinningResult, error)
}

// WinningProver makes winning proofs on cards that are set aside for them.
type WinningProver struct {
	Worker   string // its name, for people
	Cards    WinningCards
	Stores   Stores
	Log      *slog.Logger
	Stopping <-chan struct{}   // closed when running proofs have to be handed over; nil: never
	Observe  func(Observation) // for metrics; nil: nobody watches
}

// GenerateWinningPoSt makes the proof of a block. It is worthless seconds later, so it does not outlive anything: when Temporal or
// whoever asked is gone, it ends.
func (p *WinningProver) GenerateWinningPoSt(ctx context.Context, job workflows.WinningJob) (workflows.WinningProof, error) {
	info := activity.GetInfo(ctx)
	size, _ := job.ProofType.SectorSize()
	see := func(o Observation) {
		if p.Observe != nil {
			o.Proof, o.Size, o.Attempt = post.KindWinning, size, int(info.Attempt)
			p.Observe(o)
		}
	}
	see(Observation{Kind: ObservedStart, Waited: waited(info)})
	proof, err := p.prove(ctx, job)
	if err != nil {
		err = failure(p.Worker, err)
		see(Observation{Kind: ObservedFailure, Failure: failureOf(err)})
		p.Log.Warn("no winning proof", "miner", post.MinerName(job.Miner), "error", err)
		return workflows.WinningProof{}, err
	}
	see(Observation{Kind: ObservedProof, Card: proof.Card, Phases: proof.Phases})
	return proof, nil
}

func (p *WinningProver) prove(ctx context.Context, job workflows.WinningJob) (workflows.WinningProof, error) {
	if len(job.Randomness) != 32 {
		return workflows.WinningProof{}, fmt.Errorf("the challenge for a block of %s has %d bytes instead of 32", post.MinerName(job.Miner), len(job.Randomness))
	}
	found, err := replicas(p.Worker, p.Stores, job.Miner, job.Sectors)
	if err != nil {
		return workflows.WinningProof{}, err
	}
	proving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-p.Stopping:
			stop(errHandOver)
		case <-proving.Done():
		}
	}()
	result, err := p.Cards.ProveWinning(proving, prover.Task{
		MinerID: uint64(job.Miner), ProofType: prover.ProofType(job.ProofType), Seed: prover.Bytes32(job.Randomness), Replicas: found,
		Label: post.MinerName(job.Miner) + " block",
	}, func(progress post.Progress) {
		progress.Card = cardName(p.Worker, progress.Card)
		activity.RecordHeartbeat(ctx, progress)
	})
	if err != nil {
		if cause := context.Cause(proving); cause != nil {
			err = cause
		}
		return workflows.WinningProof{}, err
	}
	return workflows.WinningProof{
		ProofType: result.ProofType, Proofs: result.Proofs, Card: cardName(p.Worker, result.Card), Phases: result.Phases,
	}, nil
}
