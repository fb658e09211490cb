package prover

import (
	"context"
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// VerifyWinningFunc is VerifyWinning, or a stand-in for it.
type VerifyWinningFunc func(ctx context.Context, miner abi.ActorID, proofType abi.RegisteredPoStProof, randomness []byte, sectors post.Sectors, proofs [][]byte) (bool, error)

// WinningResult is a winning proof that verifies.
type WinningResult struct {
	Proofs    [][]byte // as the block header has them
	ProofType abi.RegisteredPoStProof
	Card      string
	Phases    post.PhaseTimes // reading is not told apart from the proof: Snark is both
}

// ProveWinning is Prove for a pool of KindWinning. The task's replicas are the sectors that the caller has drawn for the block, in the
// order in which it drew them; there are no bad sectors in this: a block needs them all. Errors are Prove's, without
// *AllBadError.
func (p *Pool) ProveWinning(ctx context.Context, task Task, progress func(post.Progress)) (*WinningResult, error) {
	if p.kind != KindWinning {
		return nil, fmt.Errorf("%w: its cards make %s, not winning proofs", ErrTask, p.kind)
	}
	if err := task.ProofType.checkWinning(); err != nil {
		return nil, err
	}
	if len(task.Replicas) == 0 {
		return nil, fmt.Errorf("%w: the task for %s has no sectors", ErrTask, post.MinerName(abi.ActorID(task.MinerID)))
	}
	r, err := p.start(ctx, task, nil, progress)
	if err != nil {
		return nil, err
	}
	proofs, err := r.proveWinning(ctx, task)
	if err := r.end(ctx, err); err != nil {
		return nil, err
	}
	return &WinningResult{Proofs: proofs, ProofType: r.result.ProofType, Card: r.result.Card, Phases: r.result.Phases}, nil
}

// proveWinning asks for the proofs and checks them.
func (r *run) proveWinning(ctx context.Context, task Task) ([][]byte, error) {
	answer, _, err := r.exchange(ctx, task)
	if err != nil {
		return nil, err
	}
	if len(answer.Proofs) == 0 || len(answer.Proofs[0]) == 0 {
		return nil, r.failed(ErrTask, "it answered with no proof")
	}
	err = r.checked(task, func(sectors post.Sectors) (bool, error) {
		return r.pool.verifyWinning(ctx, abi.ActorID(task.MinerID), r.result.ProofType, task.Seed[:], sectors, answer.Proofs)
	})
	return answer.Proofs, err
}

// checked has a proof verified for the sectors of the task.
func (r *run) checked(task Task, verify func(sectors post.Sectors) (bool, error)) error {
	r.progress(post.Progress{Card: r.result.Card, Phase: post.PhaseVerify, Of: len(task.Replicas), Seconds: time.Since(r.started).Seconds()})
	start := time.Now()
	sectors := make(post.Sectors, len(task.Replicas))
	for i, replica := range task.Replicas {
		sectors[i] = post.Sector{Number: abi.SectorNumber(replica.SectorID), CommR: replica.CommR}
	}
	ok, err := verify(sectors)
	if err != nil {
		return err
	}
	if !ok {
		return r.failed(ErrProofInvalid, "of "+describe(task)+"; its card, its parameters or its sectors' data are wrong")
	}
	r.result.Phases.Verify = time.Since(start)
	return nil
}
