package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// taxShape has a deadline at every pace, and three paces for each.
func taxShape(pace time.Duration) shape {
	s := shape{miners: 3, window: 36}
	s.epoch = time.Duration(s.miners) * pace / time.Duration(s.window-lookback-lead)
	return s
}

const (
	warmUps     = 3                      // first proofs, not counted: both children read their parameters then
	fewestPairs = 10                     // without so many the library's time is not known
	settle      = 150 * time.Millisecond // for the message to be on its way before the library is asked
)

// sample is one proof.
type sample struct {
	span    time.Duration // randomness known → proof ready to submit
	lookup  time.Duration // of it: until the proof's activity was scheduled
	pickUp  time.Duration // of it: until a worker had it
	around  time.Duration // of it: the activity, without the card's vanilla proofs and SNARK
	check   time.Duration // of it: from there to ready
	card    time.Duration // vanilla proofs and SNARK
	library time.Duration // the same proof by one call of the library; 0: there was no time for that
}

// tax is all of it that is not the card's.
func (s sample) tax() time.Duration { return s.span - s.card }

// measureTax takes proofs, one at a time on one card, and the memory that the programs need for it.
func measureTax(ctx context.Context, dir string, proofs int, pace time.Duration) (figures []figure, err error) {
	shape := taxShape(pace)
	r, err := open(ctx, dir, rig.Options{Cards: 1, Chain: shape.flags(), Idle: true})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	memory := memoryOf(r)
	if err := memory.idle(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(r.Daemon.Start(ctx), r.Worker.Start(ctx)); err != nil {
		return nil, err
	}
	l, err := startLibrary(ctx, r)
	if err != nil {
		return nil, err
	}
	defer l.stop()
	samples, err := takeSamples(ctx, r, l, proofs, shape.apart())
	if len(samples) == 0 {
		return nil, err
	}
	figures, errFigures := taxFigures(samples) // of those that there are, if it had to give up
	errMemory := memory.afterwards(ctx)
	return append(figures, memory.figures...), errors.Join(err, errFigures, errMemory)
}

// takeSamples follows one deadline after another. With an error it gives what it has.
func takeSamples(ctx context.Context, r *rig.Rig, l *library, proofs int, apart time.Duration) ([]sample, error) {
	queue, err := newQueue(ctx, r)
	if err != nil {
		return nil, err
	}
	var samples []sample
	var last time.Duration // the library's
	var busy time.Time     // until then something was proven
	for i, left := 0, proofs/4+warmUps; len(samples) < proofs; i++ {
		d, err := queue.next(ctx)
		if err != nil {
			return samples, err
		}
		s, told, err := takeSample(ctx, r, d)
		if err == nil && told.known.Before(busy) {
			err = fmt.Errorf("the proof before it was not over: %w", errUnfit)
		}
		if told != nil && told.proven() != nil {
			busy = told.proven().ended
		}
		if errors.Is(err, errUnfit) && left > 0 {
			left--
			say("deadline %s gives no sample: %v", d, err)
			continue
		}
		if err != nil {
			return samples, err
		}
		if err := pause(ctx, settle); err != nil {
			return samples, err
		}
		if time.Until(told.known.Add(apart)) > max(last, s.card)*11/10 || i < warmUps {
			if s.library, err = l.prove(told.proven().job); err != nil {
				return samples, err
			}
			last, busy = s.library, time.Now()
		} else {
			last = last * 9 / 10 // it may have been slow by chance, at a warm-up say: then it would never be asked again
		}
		if i < warmUps {
			continue
		}
		if samples = append(samples, s); len(samples)%10 == 0 {
			say("%d of %d proofs: tax p50 %s, card p50 %s", len(samples), proofs, median(each(samples, sample.tax)), median(each(samples, func(s sample) time.Duration { return s.card })))
		}
	}
	return samples, nil
}

// takeSample follows a deadline until its proof is ready to submit.
func takeSample(ctx context.Context, r *rig.Rig, d post.Deadline) (sample, *story, error) {
	var told *story
	err := follow(ctx, r.Client(), d, func(s *story) (bool, error) {
		told = s
		return !s.ready.IsZero(), nil
	})
	if err != nil {
		return sample{}, told, err
	}
	a := told.proven()
	if a == nil || len(told.attempts) != 1 || told.known.IsZero() {
		return sample{}, told, fmt.Errorf("deadline %s was ready after %d attempts, not at the first: %w", d, len(told.attempts), errUnfit)
	}
	card := a.proof.Phases.Vanilla + a.proof.Phases.Snark
	return sample{
		span: told.ready.Sub(told.known), lookup: a.scheduled.Sub(told.known), pickUp: a.started.Sub(a.scheduled),
		around: a.ended.Sub(a.started) - card, check: told.ready.Sub(a.ended), card: card,
	}, told, nil
}

// each is one thing of every sample.
func each(samples []sample, of func(sample) time.Duration) []time.Duration {
	values := make([]time.Duration, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return values
}

// taxFigures makes the table's lines. The card's own time is taken off each proof, since it varies far more from proof to
// proof than the tax is; that the card may need longer than the library's one call is found from pairs, one of each on the
// same sectors and randomness right after another, and counted as tax. If it needs less, that is not credited.
func taxFigures(samples []sample) ([]figure, error) {
	var pairs []sample
	for _, s := range samples {
		if s.library > 0 {
			pairs = append(pairs, s)
		}
	}
	if len(pairs) < fewestPairs {
		return nil, fmt.Errorf("there was time for %d calls of the library beside %d proofs; this machine is too busy or too slow", len(pairs), len(samples))
	}
	slower := median(each(pairs, func(s sample) time.Duration { return s.card - s.library }))
	taxes := each(samples, func(s sample) time.Duration { return s.tax() + max(slower, 0) })
	pickUps := each(samples, func(s sample) time.Duration { return s.pickUp })
	p50 := func(name string, of func(sample) time.Duration) figure {
		return milliseconds(name, median(each(samples, of)), 0)
	}
	return []figure{
		{name: "proofs, one at a time", value: float64(len(samples)), unit: "proofs"},
		milliseconds("orchestration tax p50", percentile(taxes, 50), 100),
		milliseconds("orchestration tax p99", percentile(taxes, 99), 250),
		p50("tax, of it: lookup until scheduled p50", func(s sample) time.Duration { return s.lookup }),
		p50("tax, of it: pick-up p50", func(s sample) time.Duration { return s.pickUp }),
		p50("tax, of it: worker around the card p50", func(s sample) time.Duration { return s.around }),
		p50("tax, of it: second check until ready p50", func(s sample) time.Duration { return s.check }),
		milliseconds("tax, of it: card less library, p50 of pairs", slower, 0),
		p50("randomness known until ready p50", func(s sample) time.Duration { return s.span }),
		p50("card: vanilla proofs and SNARK p50", func(s sample) time.Duration { return s.card }),
		milliseconds("library: GenerateWindowPoSt p50", median(each(pairs, func(s sample) time.Duration { return s.library })), 0),
		{name: "library, calls beside proofs", value: float64(len(pairs)), unit: "pairs"},
		milliseconds("known until ready less library, p50 of pairs", median(each(pairs, func(s sample) time.Duration { return s.span - s.library })), 0),
		milliseconds("pick-up p50", percentile(pickUps, 50), 10),
		milliseconds("pick-up p99", percentile(pickUps, 99), 60),
	}, nil
}
