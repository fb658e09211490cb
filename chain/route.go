package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// patience is how long a node may take before the next one is asked as well: most calls take milliseconds, and estimating the gas of a
	// post some seconds.
	patience = 5 * time.Second
	// unknownPause is how long a tipset that no node knows is waited for: it reaches all of them within seconds.
	unknownPause = 2 * time.Second
)

// noneError is what is said when no endpoint could answer.
type noneError struct {
	method string
	errs   []error
}

// Error is one line with every endpoint's reason.
func (e *noneError) Error() string {
	reasons := make([]string, len(e.errs))
	for i, err := range e.errs {
		reasons[i] = err.Error()
	}
	return fmt.Sprintf("%s: none of %d nodes could answer: %s", e.method, len(e.errs), strings.Join(reasons, "; "))
}

// Unwrap gives the endpoints' errors.
func (e *noneError) Unwrap() []error { return e.errs }

// none is the error of a call that no endpoint answered. Of one it is that one's own.
func none(method string, errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &noneError{method, errs}
}

// lacks says whether an endpoint answered that it does not have what a call is about: a tipset, a state or a message that another may have.
func lacks(err error) bool {
	var answer *CallError
	if !errors.As(err, &answer) || answer.kind != nil {
		return false
	}
	for _, text := range []string{"loading tipset", "load tipset", "tipset not found", "could not find", "block not found", "failed to load message"} {
		if strings.Contains(answer.Err.Error(), text) {
			return true
		}
	}
	return false
}

func elsewhere(err error) bool { return unanswered(err) || lacks(err) }

// order is the endpoints in the order in which they are asked: those that have the tipset that a call is about before others; among
// these the one that is used, then the better ones, then the preferred ones.
func (s *Nodes) order(key TipSetKey) []*member {
	if len(s.members) == 1 {
		return s.members
	}
	s.mu.Lock()
	have, used := s.has[key.String()], s.used
	s.mu.Unlock()
	type ranked struct {
		*member
		rank int
	}
	all := make([]ranked, len(s.members))
	for i, m := range s.members {
		verdict := m.verdict()
		rank := int(verdict)
		switch {
		case i == used:
			rank = -1
		case verdict == Down:
			rank += 200
		}
		if have != 0 && have&(1<<i) == 0 {
			rank += 100
		}
		all[i] = ranked{m, rank}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return a.rank - b.rank })
	out := make([]*member, len(all))
	for i, r := range all {
		out[i] = r.member
	}
	return out
}

// ask makes a call that is about a tipset, or about the head if key is empty: on the endpoints in their order, each when the one before has not
// answered, or not within patience. What a node answers is the answer, unless it lacks what the call is about.
func ask[T any](ctx context.Context, s *Nodes, method string, key TipSetKey, do func(context.Context, *Node) (T, error)) (T, error) {
	out, err := askIn(ctx, s, method, s.order(key), elsewhere, do)
	if err == nil || len(s.members) == 1 || len(key) == 0 || !lackedBySome(err) || ctx.Err() != nil {
		return out, err
	}
	sleep(ctx, min(unknownPause, s.epoch()))
	return askIn(ctx, s, method, s.order(key), elsewhere, do)
}

// lackedBySome says whether any endpoint lacked what a call was about.
func lackedBySome(err error) bool {
	var all *noneError
	return errors.As(err, &all) && slices.ContainsFunc(all.errs, lacks)
}

// askIn asks members one after the other until one answers, that is, until an error is none that another may do better with.
func askIn[T any](ctx context.Context, s *Nodes, method string, order []*member, elsewhere func(error) bool, do func(context.Context, *Node) (T, error)) (T, error) {
	type outcome struct {
		v   T
		err error
	}
	var zero T
	if len(order) == 1 {
		v, err := do(ctx, order[0].Node)
		order[0].note(err)
		return v, err
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan outcome, len(order))
	next, running := 0, 0
	begin := func() {
		m := order[next]
		next++
		running++
		go func() {
			v, err := do(asking, m.Node)
			m.note(err)
			results <- outcome{v, err}
		}()
	}
	begin()
	timer := time.NewTimer(s.options.Patience)
	defer timer.Stop()
	var errs []error
	for {
		select {
		case r := <-results:
			running--
			if r.err == nil || ctx.Err() != nil || !elsewhere(r.err) {
				return r.v, r.err
			}
			if errs = append(errs, r.err); unanswered(r.err) {
				s.settle()
			}
			if next < len(order) {
				begin()
				timer.Reset(s.options.Patience)
			} else if running == 0 {
				return zero, none(method, errs)
			}
		case <-timer.C:
			if next < len(order) {
				begin()
				timer.Reset(s.options.Patience)
			}
		case <-ctx.Done():
			return zero, fmt.Errorf("%s: %w", method, ctx.Err())
		}
	}
}

// said is one endpoint's word.
type said[T any] struct {
	v   T
	err error
	m   *member
}

// askAll asks several endpoints at once and gives what they said. Once enough of them have answered, the others have patience left to do so.
func askAll[T any](ctx context.Context, s *Nodes, members []*member, enough func(T, error) bool, do func(context.Context, *Node) (T, error)) []said[T] {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan said[T], len(members))
	for _, m := range members {
		go func() {
			v, err := do(asking, m.Node)
			m.note(err)
			results <- said[T]{v, err, m}
		}()
	}
	var all []said[T]
	var over <-chan time.Time
	for len(all) < len(members) {
		select {
		case r := <-results:
			all = append(all, r)
			if over == nil && enough(r.v, r.err) {
				over = time.After(s.options.Patience)
			}
		case <-over:
			return all
		case <-ctx.Done():
			return all
		}
	}
	return all
}

// up are the endpoints that are not down; all of them if none is up.
func (s *Nodes) up() []*member {
	var up []*member
	for _, m := range s.order(nil) {
		if m.verdict() != Down {
			up = append(up, m)
		}
	}
	if len(up) == 0 {
		return s.members
	}
	return up
}
