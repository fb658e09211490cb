package prover

import (
	"context"
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
// Cards in avoid, of which "*" means all, are taken only if no other is free. When ctx ends, the process that works on the task is killed,
// unless it works on other tasks too. Errors are *AllBadError, *CardError (see its Kind), ErrNoCard (at once, when every card is
// fenced or dead), ErrProofType, ErrParameters, ErrClosed, or ctx's.
func (p *Pool) Prove(ctx context.Context, task Task, avoid []string, progress func(post.Progress)) (*Result, error) {
	if p.kind != KindWindow {
		return nil, fmt.Errorf("%w: its cards make %s, not window proofs", ErrTask, p.kind)
	}
	if err := task.ProofType.checkWindow(); err != nil {
		return nil, err
	}
	replicas, err := sortedReplicas(task)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTask, err)
	}
	task.Replicas = replicas
	r, err := p.start(ctx, task, avoid, progress)
	if err != nil {
		return nil, err
	}
	if err := r.end(ctx, r.prove(ctx, task)); err != nil {
		return nil, err
	}
	return &r.result, nil
}

// start waits for a place on a card and makes a job's run there.
func (p *Pool) start(ctx context.Context, task Task, avoid []string, progress func(post.Progress)) (*run, error) {
	if progress == nil {
		progress = func(post.Progress) {}
	}
	start := time.Now()
	slot, err := p.acquire(ctx, describe(task), avoid, func() {
		progress(post.Progress{Phase: post.PhaseWaiting, Of: len(task.Replicas), Seconds: time.Since(start).Seconds()})
	})
	if err != nil {
		return nil, err
	}
	p.know(slot, task)
	told := func(state post.Progress) {
		p.note(slot, state.Phase)
		progress(state)
	}
	return &run{pool: p, slot: slot, started: time.Now(), progress: told, result: Result{
		ProofType: abi.RegisteredPoStProof(task.ProofType), Card: slot.card.config.Name, Phases: post.PhaseTimes{Wait: time.Since(start)},
	}}, nil
}

// know notes which task a card works on.
func (p *Pool) know(s *slot, task Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.id = fmt.Sprintf("%s: %s %x", task.Label, post.FormatNumbers(numbersOf(task)), task.Seed)
}

// end gives the card back and counts how the job ended there, and returns why it did: a job that was cancelled is no failure.
func (r *run) end(ctx context.Context, err error) error {
	cancelled := err != nil && ctx.Err() != nil
	switch {
	case r.abandoned: // its place is seen to
	case cancelled:
		r.pool.release(r.slot)
	default:
		r.pool.settle(r.slot, err)
	}
	if cancelled {
		return ctx.Err()
	}
	return err
}

// describe names a task in a card's status and in errors.
func describe(task Task) string {
	if task.Label != "" {
		return task.Label
	}
	text := post.FormatNumbers(numbersOf(task))
	if len(text) > 40 {
		text = text[:40] + "…"
	}
	return fmt.Sprintf("%s: sectors %s (%d)", post.MinerName(abi.ActorID(task.MinerID)), text, len(task.Replicas))
}

// numbersOf are the sectors of a task.
func numbersOf(task Task) []abi.SectorNumber {
	numbers := make([]abi.SectorNumber, len(task.Replicas))
	for i, r := range task.Replicas {
		numbers[i] = abi.SectorNumber(r.SectorID)
	}
	return numbers
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
	return r.checked(task, func(sectors post.Sectors) (bool, error) {
		return r.pool.verify(ctx, abi.ActorID(task.MinerID), r.result.ProofType, task.Seed[:], sectors, r.result.Proof)
	})
}

func (r *run) failed(kind error, detail string) error {
	return &CardError{Card: r.result.Card, Kind: kind, Detail: detail}
}

// ask sends the task to the card's process and returns its proof and the sectors that it found bad.
func (r *run) ask(ctx context.Context, task Task) ([]byte, []post.Skipped, error) {
	answer, reasons, err := r.exchange(ctx, task)
	if err != nil {
		return nil, nil, err
	}
	return r.read(task, answer, reasons)
}

// exchange sends the task to the card's process and returns its answer, and why it found sectors bad.
func (r *run) exchange(ctx context.Context, task Task) (*Output, []post.Skipped, error) {
	a := newAsking(ctx)
	a.small = r.pool.limits.small(task)
	start := time.Now()
	if err := r.admitForeign(ctx, a, len(task.Replicas)); err != nil {
		a.finish()
		return nil, nil, err
	}
	r.result.Phases.Wait += time.Since(start)
	start = time.Now()
	if err := r.slot.child.ask(a, task); err != nil {
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
	r.result.Phases.Wait += line.Wait
	r.result.Phases.Snark += line.Snark
	switch {
	case answer.ErrMsg != nil && line.Kind == kindParameters:
		return nil, nil, r.failed(ErrParameters, *answer.ErrMsg)
	case answer.ErrMsg != nil:
		return nil, nil, r.failed(ErrTask, *answer.ErrMsg)
	case answer.Output == nil:
		return nil, nil, r.failed(ErrTask, "its answer has neither an output nor an err_msg")
	}
	return answer.Output, reasons, nil
}

// admitForeign has a task wait for memory before it is handed to a program that has shown no progress: when such a program begins its
// SNARK nobody knows.
func (r *run) admitForeign(ctx context.Context, a *asking, of int) error {
	child := r.slot.child
	if child.memory == nil || a.small || child.lastTick.Load() != 0 {
		return nil
	}
	got := make(chan error, 1)
	go func() { got <- a.takeMemory(child.memory) }()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		r.progress(post.Progress{Card: r.result.Card, Phase: post.PhaseMemory, Of: of, Seconds: time.Since(r.started).Seconds()})
		select {
		case err := <-got:
			if err != nil && ctx.Err() == nil {
				r.pool.log.Error("the memory of SNARKs cannot be limited; going on without", "card", r.result.Card, "error", err)
			}
			return ctx.Err()
		case <-child.gone:
			return child.goneErr
		case <-child.lost:
			return child.lostErr()
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
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
		case <-child.lost:
			a.drop()
			return response{}, child.lostErr()
		case <-ctx.Done():
			a.drop()
			r.abandoned = true
			r.pool.abandon(r.slot, a)
			return response{}, ctx.Err()
		case <-a.news:
			r.tell(a, of)
		case <-ticker.C:
			if silence := child.silence(); silence > r.pool.hungAfter && !child.dying.Load() {
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
func (r *run) read(task Task, answer *Output, reasons []post.Skipped) ([]byte, []post.Skipped, error) {
	var bad []post.Skipped
	if answer.Faults != nil {
		for _, number := range *answer.Faults {
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
	switch proofs := answer.Proofs; {
	case len(proofs) == 1 && len(proofs[0]) > 0:
		return proofs[0], bad, nil
	case len(proofs) == 0 && len(bad) > 0:
		return nil, bad, nil
	default:
		return nil, nil, r.failed(ErrTask, fmt.Sprintf("it answered with %d proofs and %d bad sectors; there must be one proof, or bad sectors", len(proofs), len(bad)))
	}
}
