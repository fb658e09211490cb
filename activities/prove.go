package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/prover"
)

// Cards proves on whichever card is free.
type Cards interface {
	Prove(ctx context.Context, task prover.Task, avoid []string, progress func(post.Progress)) (*prover.Result, error)
}

// Stores knows where the files of a sector are on this machine.
type Stores interface {
	Paths(store string, miner abi.ActorID, sector post.Sector) (sealedFile, cacheDir string, err error)
}

// Prover makes proofs on this worker's cards.
type Prover struct {
	Worker   string // its name, for people
	Cards    Cards
	Stores   Stores
	Temporal Attempts
	Log      *slog.Logger

	every time.Duration // between heartbeats; 0 means beatEvery

	mu       sync.Mutex
	finished map[string]finished // proofs by job key, in case Temporal lost the answer and asks again
}

// finished is a proof that was made here, kept while somebody may ask for it again.
type finished struct {
	proof post.Proof
	until time.Time
}

// GenerateWindowPoSt makes one proof. It outlives a Temporal that goes away: the proving does not hang on the activity's
// context, and nothing is returned before Temporal can hear it (see attempt).
func (p *Prover) GenerateWindowPoSt(ctx context.Context, job post.Job) (post.Proof, error) {
	log := p.Log.With("deadline", job.Deadline.String(), "partitions", job.Partitions, "try", job.Try)
	if proof, known := p.recall(job); known {
		log.Info("this proof was made before and is given again", "job", job.Key())
		return proof, nil
	}
	task, err := p.task(job)
	if err != nil {
		return post.Proof{}, err
	}
	proving, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	attempt := newAttempt(ctx, p.Temporal, job, log, stop, cmp.Or(p.every, beatEvery))
	finish := attempt.watch(activity.GetWorkerStopChannel(ctx))

	log.Info("proving", "sectors", len(job.Sectors), "job", job.Key())
	result, err := p.Cards.Prove(proving, task, p.avoid(job), func(progress post.Progress) {
		progress.Card = p.cardName(progress.Card)
		attempt.progress(progress)
	})
	if err != nil {
		if cause := context.Cause(proving); cause != nil {
			err = cause
		}
		finish(nil)
		log.Warn("no proof", "error", err)
		return post.Proof{}, p.failure(err)
	}
	proof := post.Proof{
		JobKey: job.Key(), ProofType: result.ProofType, Bytes: result.Proof, Skipped: post.Brief(result.Skipped),
		Card: p.cardName(result.Card), Phases: result.Phases,
	}
	log.Info("proven", "card", proof.Card, "vanilla", result.Phases.Vanilla, "snark", result.Phases.Snark, "skipped", len(result.Skipped))
	p.remember(ctx, proof)
	finish(&proof)
	return proof, nil
}

// cardName is how the fleet knows a card: worker/card.
func (p *Prover) cardName(card string) string {
	if card == "" {
		return p.Worker
	}
	return p.Worker + "/" + card
}

// avoid are the cards of this worker among those that a job should avoid, by the names that the cards have here.
func (p *Prover) avoid(job post.Job) []string {
	var here []string
	for _, name := range job.AvoidCards {
		if card, ok := strings.CutPrefix(name, p.Worker+"/"); ok {
			here = append(here, card)
		}
	}
	return here
}

// task finds the files of a job's sectors. A store that is not attached here concerns the place, not the job: it costs no
// try.
func (p *Prover) task(job post.Job) (prover.Task, error) {
	if len(job.Randomness) != 32 {
		return prover.Task{}, typed(post.FailureProve, "", fmt.Errorf("the challenge of deadline %s has %d bytes instead of 32", job.Deadline, len(job.Randomness)))
	}
	task := prover.Task{
		MinerID: uint64(job.Deadline.Miner), ProofType: prover.ProofType(job.ProofType), Seed: prover.Bytes32(job.Randomness),
		Replicas: make([]prover.Replica, len(job.Sectors)),
	}
	for i, sector := range job.Sectors {
		sealed, cache, err := p.Stores.Paths(sector.Store, job.Deadline.Miner, sector)
		if err != nil {
			return prover.Task{}, typed(post.FailureNoStore, "", fmt.Errorf("worker %s, sector %d of %s: %w", p.Worker, sector.Number, post.MinerName(job.Deadline.Miner), err))
		}
		task.Replicas[i] = prover.Replica{SectorID: uint64(sector.Number), CommR: sector.CommR, SealedFile: sealed, CacheDir: cache}
	}
	return task, nil
}

// failure gives an error of a card the type that the workflow decides by, and names the card.
func (p *Prover) failure(err error) error {
	card := ""
	var ofCard *prover.CardError
	if errors.As(err, &ofCard) {
		card = p.cardName(ofCard.Card)
	}
	switch {
	case errors.Is(err, errHandOver), errors.Is(err, prover.ErrClosed), errors.Is(err, errNotWanted):
		// Temporal's own retry hands it to another worker at once; a cancelled or superseded attempt is not retried, and a
		// paused one later.
		return temporal.NewApplicationError(fmt.Sprintf("worker %s: %v", p.Worker, err), string(post.FailureHandOver))
	case errors.Is(err, prover.ErrAllBad):
		return typed(post.FailureAllBad, card, err)
	case errors.Is(err, prover.ErrProofInvalid):
		return typed(post.FailureFalseProof, card, err)
	case errors.Is(err, prover.ErrParameters):
		return typed(post.FailureSetup, card, err)
	case errors.Is(err, prover.ErrCardCrashed), errors.Is(err, prover.ErrHung), errors.Is(err, prover.ErrNotReady):
		return typed(post.FailureCard, card, err)
	default:
		return typed(post.FailureProve, card, err)
	}
}

// typed is an error that Temporal does not retry: the workflow decides, and counts.
func typed(kind post.Failure, card string, err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), string(kind), nil, card)
}

// remember keeps a proof for as long as somebody may ask for it again: a lost answer costs an attempt, not the proof.
func (p *Prover) remember(ctx context.Context, proof post.Proof) {
	until, limited := ctx.Deadline()
	if !limited {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished == nil {
		p.finished = map[string]finished{}
	}
	now := time.Now()
	for key, old := range p.finished {
		if now.After(old.until) {
			delete(p.finished, key)
		}
	}
	p.finished[proof.JobKey] = finished{proof: proof, until: until}
}

// recall gives a proof that was made before. A job that was tried again because the proof verified false must be made anew.
func (p *Prover) recall(job post.Job) (post.Proof, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.finished[job.Key()]
	for _, card := range job.AvoidCards {
		if known && card == old.proof.Card {
			delete(p.finished, job.Key())
			return post.Proof{}, false
		}
	}
	return old.proof, known
}
