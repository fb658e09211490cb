package prover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Result is a proof that verifies, and what it does not cover.
type Result struct {
	Proof     []byte
	ProofType abi.RegisteredPoStProof
	Skipped   []post.Skipped // ascending
	Card      string
	Phases    post.PhaseTimes
}

// progressGrace is how long an answer waits for the last progress lines, which come by another pipe.
const progressGrace = time.Second

// Prove has a task proven by a free card, waiting for one if need be, and verifies the proof. Bad sectors are left out and
// named in the result. progress (may be nil) is called at each step and at least every second while the card is alive and working: who
// sends heartbeats sends them from there. It is called by one goroutine at a time.
//
// Cards in avoid are taken only if no other is free. When ctx ends, the process that works on the task is killed. Errors are
// *AllBadError, *CardError (see its Kind), ErrProofType, ErrParameters, ErrClosed, or ctx's.
func (p *Pool) Prove(ctx context.Context, task Task, avoid []string, progress func(post.Progress)) (*Result, error) {
	if err := task.ProofType.checkWindow(); err != nil {
		return nil, err
	}
	replicas, err := sortedReplicas(task)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTask, err)
	}
	task.Replicas = replicas
	if progress == nil {
		progress = func(post.Progress) {}
	}
	start := time.Now()
	slot, err := p.acquire(ctx, describe(task), avoid, func() {
		progress(post.Progress{Phase: post.PhaseWaiting, Of: len(replicas), Seconds: time.Since(start).Seconds()})
	})
	if err != nil {
		return nil, err
	}
	r := &run{pool: p, slot: slot, started: time.Now(), progress: progress}
	r.result = Result{ProofType: abi.RegisteredPoStProof(task.ProofType), Card: slot.card.config.Name,
		Phases: post.PhaseTimes{Wait: time.Since(start)}}
	err = r.prove(ctx, task)
	if !r.abandoned {
		p.release(slot)
	}
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	var allBad *AllBadError
	if !errors.As(err, &allBad) {
		p.scored(slot.card, err)
	}
	if err != nil {
		return nil, err
	}
	return &r.result, nil
}

// describe names a task in a card's status.
func describe(task Task) string {
	numbers := make([]abi.SectorNumber, len(task.Replicas))
	for i, r := range task.Replicas {
		numbers[i] = abi.SectorNumber(r.SectorID)
	}
	text := post.FormatNumbers(numbers)
	if len(text) > 40 {
		text = text[:40] + "…"
	}
	return fmt.Sprintf("%s: sectors %s (%d)", post.MinerName(abi.ActorID(task.MinerID)), text, len(numbers))
}

// run is one job on its card.
type run struct {
	pool      *Pool
	slot      *slot
	started   time.Time
	progress  func(post.Progress)
	result    Result
	abandoned bool // the slot is not ours any more
}

// prove asks until there is a proof of what is left, and checks it.
func (r *run) prove(ctx context.Context, task Task) error {
	for {
		proof, bad, err := r.ask(ctx, task)
		if err != nil {
			return err
		}
		r.result.Skipped = ascending(append(r.result.Skipped, bad...))
		task.Replicas = slices.DeleteFunc(task.Replicas, func(replica Replica) bool {
			return slices.ContainsFunc(bad, func(s post.Skipped) bool { return uint64(s.Sector) == replica.SectorID })
		})
		if len(task.Replicas) == 0 {
			return &AllBadError{Miner: task.MinerID, Skipped: r.result.Skipped}
		}
		if proof == nil {
			continue // a program that makes no proof when it finds bad sectors: once more without them
		}
		r.result.Proof = proof
		return r.check(ctx, task)
	}
}

// check verifies the proof for the sectors of the task.
func (r *run) check(ctx context.Context, task Task) error {
	r.progress(post.Progress{Card: r.result.Card, Phase: post.PhaseVerify, Of: len(task.Replicas), Seconds: time.Since(r.started).Seconds()})
	start := time.Now()
	sectors := make(post.Sectors, len(task.Replicas))
	for i, replica := range task.Replicas {
		sectors[i] = post.Sector{Number: abi.SectorNumber(replica.SectorID), CommR: replica.CommR}
	}
	ok, err := r.pool.verify(ctx, abi.ActorID(task.MinerID), r.result.ProofType, task.Seed[:], sectors, r.result.Proof)
	if err != nil {
		return err
	}
	if !ok {
		return r.failed(ErrProofInvalid, "of "+describe(task)+"; its card, its parameters or its sectors' data are wrong")
	}
	r.result.Phases.Verify = time.Since(start)
	return nil
}

func (r *run) failed(kind error, detail string) error {
	return &CardError{Card: r.result.Card, Kind: kind, Detail: detail}
}

// ask sends the task to the card's process and returns its proof and the sectors that it found bad.
func (r *run) ask(ctx context.Context, task Task) ([]byte, []post.Skipped, error) {
	start := time.Now()
	a, err := r.slot.child.ask(task)
	if err != nil {
		return nil, nil, r.failed(ErrTask, err.Error())
	}
	answer, err := r.follow(ctx, a, len(task.Replicas))
	if err != nil {
		return nil, nil, err
	}
	if r.slot.child.lastTick.Load() != 0 {
		select {
		case <-a.end:
		case <-r.slot.child.gone:
		case <-time.After(progressGrace):
		}
	}
	r.slot.child.forget(a)
	a.mu.Lock()
	line, reasons := a.line, a.bad
	a.mu.Unlock()
	if line.Snark == 0 {
		line.Snark = time.Since(start) // a foreign program: its phases are not known
	}
	r.result.Phases.Vanilla += line.Vanilla
	r.result.Phases.Snark += line.Snark
	return r.read(task, answer, reasons, line.Kind)
}

// follow waits for the answer and tells of progress in the meantime.
func (r *run) follow(ctx context.Context, a *asking, of int) (response, error) {
	child := r.slot.child
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case answer := <-a.answer:
			return answer, nil
		case <-child.gone:
			select {
			case answer := <-a.answer: // it died after its answer
				return answer, nil
			default:
			}
			return response{}, child.goneErr
		case <-ctx.Done():
			r.abandoned = true
			r.pool.abandon(r.slot, a)
			return response{}, ctx.Err()
		case <-a.news:
			r.tell(a, of)
		case <-ticker.C:
			if silence := child.silence(); silence > r.pool.hungAfter {
				r.pool.log.Error("a card's process has hung; killing it", "card", r.result.Card, "silence", silence)
				child.kill(ErrHung)
				continue
			}
			r.tell(a, of)
		}
	}
}

// tell passes the state of a task on.
func (r *run) tell(a *asking, of int) {
	a.mu.Lock()
	state := a.state
	a.mu.Unlock()
	if state.Phase == "" { // a foreign program, or nothing heard yet
		state.Phase, state.Of = post.PhaseVanilla, of
	}
	state.Card, state.Seconds = r.result.Card, time.Since(r.started).Seconds()
	r.progress(state)
}

// read makes sense of an answer.
func (r *run) read(task Task, answer response, reasons []post.Skipped, kind string) ([]byte, []post.Skipped, error) {
	if answer.ErrMsg != nil {
		if kind == kindParameters {
			return nil, nil, r.failed(ErrParameters, *answer.ErrMsg)
		}
		return nil, nil, r.failed(ErrTask, *answer.ErrMsg)
	}
	if answer.Output == nil {
		return nil, nil, r.failed(ErrTask, "its answer has neither an output nor an err_msg")
	}
	var bad []post.Skipped
	if answer.Output.Faults != nil {
		for _, number := range *answer.Output.Faults {
			if !slices.ContainsFunc(task.Replicas, func(replica Replica) bool { return replica.SectorID == number }) {
				return nil, nil, r.failed(ErrTask, fmt.Sprintf("it calls sector %d bad, which is not in the task", number))
			}
			sector := post.Skipped{Sector: abi.SectorNumber(number), Reason: "found bad by card " + r.result.Card}
			for _, known := range reasons {
				if known.Sector == sector.Sector {
					sector.Reason = known.Reason
				}
			}
			if !slices.ContainsFunc(bad, func(s post.Skipped) bool { return s.Sector == sector.Sector }) {
				bad = append(bad, sector)
			}
		}
	}
	switch proofs := answer.Output.Proofs; {
	case len(proofs) == 1 && len(proofs[0]) > 0:
		return proofs[0], bad, nil
	case len(proofs) == 0 && len(bad) > 0:
		return nil, bad, nil
	default:
		return nil, nil, r.failed(ErrTask, fmt.Sprintf("it answered with %d proofs and %d bad sectors; there must be one proof, or bad sectors", len(proofs), len(bad)))
	}
}
