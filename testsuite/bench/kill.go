package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// killShape leaves time for a proof, half a proof before it, and a machine that is busy.
var killShape = shape{miners: 1, window: 24, epoch: 250 * time.Millisecond}

// midProof is when after its scheduling a card's child is killed: a third into a proof of 2 KiB sectors.
const midProof = 400 * time.Millisecond

// measureKills kills the only card's child in the middle of proofs, so that the card has to come back before anything can go
// on: a second card would only be faster.
func measureKills(ctx context.Context, dir string, kills int) ([]figure, error) {
	r, err := open(ctx, dir, rig.Options{Cards: 1, Chain: killShape.flags()})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	queue, err := newQueue(ctx, r)
	if err != nil {
		return nil, err
	}
	var scheduled, running []time.Duration
	for tries := 0; len(running) < kills; tries++ {
		if tries == 2*kills+2 {
			return nil, fmt.Errorf("only %d of %d proofs could be followed past the kill of their card", len(running), tries)
		}
		d, err := queue.next(ctx)
		if err != nil {
			return nil, err
		}
		toScheduled, toRunning, err := kill(ctx, r, d)
		switch {
		case errors.Is(err, errUnfit):
			say("no sample of deadline %s: %v", d, err)
			continue
		case err != nil:
			return nil, err
		case tries == 0:
			continue // the library read its parameters
		}
		say("deadline %s: the next attempt ran %s after the kill", d, toRunning)
		scheduled, running = append(scheduled, toScheduled), append(running, toRunning)
	}
	return []figure{
		{name: "cards' children killed mid-proof", value: float64(kills), unit: "kills"},
		milliseconds("killed until the next attempt runs, median", median(running), 1000),
		milliseconds("killed until the next attempt runs, max", percentile(running, 100), 1000),
		milliseconds("killed until the next attempt is scheduled, median", median(scheduled), 0),
	}, nil
}

// kill kills the card's child in a deadline's first attempt, and says how long after that the second was scheduled, and how long
// after that it was being proven: started by the worker, and with its card.
func kill(ctx context.Context, r *rig.Rig, d post.Deadline) (toScheduled, toRunning time.Duration, err error) {
	var told *story
	var killed time.Time
	err = follow(ctx, r.Client(), d, func(s *story) (bool, error) {
		told = s
		if len(s.attempts) == 1 && killed.IsZero() {
			if err := pause(ctx, midProof-time.Since(s.attempts[0].scheduled)); err != nil {
				return true, err
			}
			children := r.CardChildren()
			if len(children) != 1 {
				return true, fmt.Errorf("the worker has %d children instead of its one card's: %w", len(children), errUnfit)
			}
			killed = time.Now()
			if err := syscall.Kill(children[0], syscall.SIGKILL); err != nil {
				return true, fmt.Errorf("killing the card's child: %w", err)
			}
		}
		return s.proven() != nil, nil
	})
	if err != nil {
		return 0, 0, err
	}
	if len(told.attempts) != 2 {
		return 0, 0, fmt.Errorf("it took %d attempts, and not 2: %w", len(told.attempts), errUnfit)
	}
	second := told.attempts[1]
	return second.scheduled.Sub(killed), second.started.Add(second.proof.Phases.Wait).Sub(killed), nil
}
