package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/prover"
)

// errRefused sends a job to another worker of its queue.
var errRefused = errors.New("all cards here have failed this job, and another worker has some that have not")

// noStore is a failure that says that this worker cannot read what the job needs. It costs no try, and all of the worker's cards
// are to be avoided.
func noStore(worker string, err error) error {
	return typed(post.FailureNoStore, post.AllCards(worker), fmt.Errorf("worker %s: %w", worker, err))
}

// reachable refuses a job whose stores cannot all be read here, before a card is taken for it.
func (p *Prover) reachable(ctx context.Context, job post.Job) error {
	if p.Watch == nil {
		return nil
	}
	return p.ask(ctx, p.Watch.Reachable, storesOf(job.Sectors))
}

// trustSkipped has a second look at the stores of sectors that were found bad. To leave a sector out is to declare it faulty, and
// one whose whole store is gone is not: another worker, or this one later, may prove it. Unless there is no time for that: a post
// that lacks some sectors is worth more than none.
func (p *Prover) trustSkipped(ctx context.Context, job post.Job, skipped []post.Skipped, again bool) error {
	if p.Watch == nil || len(skipped) == 0 || !again {
		return nil
	}
	var bad post.Sectors
	for _, sector := range job.Sectors {
		if slices.ContainsFunc(skipped, func(s post.Skipped) bool { return s.Sector == sector.Number }) {
			bad = append(bad, sector)
		}
	}
	return p.ask(ctx, p.Watch.Look, storesOf(bad))
}

// trustAllBad is trustSkipped for a job of which nothing could be read; nil: the error stands.
func (p *Prover) trustAllBad(ctx context.Context, job post.Job, err error) error {
	if p.Watch == nil || !errors.Is(err, prover.ErrAllBad) {
		return nil
	}
	return p.ask(ctx, p.Watch.Look, storesOf(job.Sectors))
}

// ask asks about stores side by side and names those that cannot be read.
func (p *Prover) ask(ctx context.Context, about func(context.Context, string) error, stores []string) error {
	errs := make([]error, len(stores))
	var group sync.WaitGroup
	for i, store := range stores {
		group.Go(func() { errs[i] = about(ctx, store) })
	}
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var said []string
	for i, err := range errs {
		if err != nil {
			said = append(said, fmt.Sprintf("store %q cannot be read: %v", stores[i], err))
		}
	}
	if len(said) == 0 {
		return nil
	}
	return noStore(p.Worker, errors.New(strings.Join(said, "; ")))
}

// storesOf are the stores of sectors, ascending.
func storesOf(sectors post.Sectors) []string {
	var stores []string
	for _, s := range sectors {
		if !slices.Contains(stores, s.Store) {
			stores = append(stores, s.Store)
		}
	}
	slices.Sort(stores)
	return stores
}

// failure gives an error the type that the workflow decides by, and names the card.
func failure(worker string, err error) error {
	var done *temporal.ApplicationError
	if errors.As(err, &done) {
		return err
	}
	card, all := "", post.AllCards(worker)
	var ofCard *prover.CardError
	if errors.As(err, &ofCard) {
		card = cardName(worker, ofCard.Card)
	}
	switch {
	case errors.Is(err, errHandOver), errors.Is(err, errRefused), errors.Is(err, prover.ErrClosed), errors.Is(err, errNotWanted), errors.Is(err, errShared):
		// Temporal's own retry hands it to another worker at once; a cancelled or superseded attempt is not retried, and a
		// paused one later.
		return handedOver(worker, err)
	case errors.Is(err, prover.ErrNoCard):
		return typed(post.FailureNoCard, all, fmt.Errorf("worker %s: %w", worker, err))
	case errors.Is(err, prover.ErrAllBad):
		return typed(post.FailureAllBad, card, err)
	case errors.Is(err, prover.ErrProofInvalid):
		return typed(post.FailureFalseProof, card, err)
	case errors.Is(err, prover.ErrParameters):
		return typed(post.FailureSetup, all, err) // they are the machine's, not the card's
	case errors.Is(err, prover.ErrCardCrashed), errors.Is(err, prover.ErrHung), errors.Is(err, prover.ErrNotReady), errors.Is(err, prover.ErrFellBack):
		return typed(post.FailureCard, card, err)
	default:
		return typed(post.FailureProve, card, err)
	}
}

// handedOver sends an activity to another worker, or to the next process of this one. It is in order, so the SDK does not log it as an error.
func handedOver(worker string, why error) error {
	return temporal.NewApplicationErrorWithOptions(fmt.Sprintf("worker %s: %v", worker, why), string(post.FailureHandOver),
		temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign})
}

// typed is an error that Temporal does not retry: the workflow decides, and counts.
func typed(kind post.Failure, card string, err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), string(kind), nil, card)
}

// failureOf is the type of an error that failure made.
func failureOf(err error) post.Failure {
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		return post.Failure(application.Type())
	}
	return post.FailureProve
}
