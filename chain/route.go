package chain

import (
	"cmp"
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
	for _, text := range append([]string{"loading tipset", "load tipset", "tipset not found", "could not find", "block not found"}, noMessage...) {
		if strings.Contains(answer.Err.Error(), text) {
			return true
		}
	}
	return false
}

// UnknownMessage says whether a node that has the tipset which a search began at has never seen the message: then it is not on that chain, whatever
// became of the other nodes that were asked.
func UnknownMessage(err error) bool {
	var all *noneError
	if errors.As(err, &all) {
		return slices.ContainsFunc(all.errs, UnknownMessage)
	}
	return lacks(err) && slices.ContainsFunc(noMessage, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// noMessage is how nodes begin to say that they have never seen a message: Lotus, and Venus, which then looks no further either.
var noMessage = []string{"failed to load message", "failed to get bls message"}

func elsewhere(err error) bool { return unanswered(err) || lacks(err) }

// order is the endpoints in the order in which they are asked: those that have the tipset that a call is about before others; among
// these the one that is used, then the better ones, then the preferred ones.
func (s *Nodes) order(key TipSetKey) []*member {
	if len(s.members) == 1 {
		return s.members
	}
	ours := s.ours()
	s.mu.Lock()
	have, used := s.has[key.String()], s.used
	s.mu.Unlock()
	type ranked struct {
		*member
		rank int
	}
	var all []ranked
	for i, m := range s.members {
		if !slices.Contains(ours, m) {
			continue
		}
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
		all = append(all, ranked{m, rank})
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
	if len(key) == 0 {
		order := s.order(nil)
		return askIn(ctx, s, method, order, besides(order), elsewhere, do)
	}
	order := s.order(key)
	out, err := askIn(ctx, s, method, order, len(order), elsewhere, do)
	if err == nil || len(order) == 1 || !lackedBySome(err) || ctx.Err() != nil {
		return out, err
	}
	sleep(ctx, min(unknownPause, s.epoch()))
	order = s.order(key)
	return askIn(ctx, s, method, order, len(order), elsewhere, do)
}

// besides is how many of the endpoints, the first of their order, may be asked about the head beside one that takes its time. One that is behind
// or on a fork answers such a call of another moment, often quickly: only when all better ones have failed is that better than nothing.
func besides(order []*member) int {
	worst := max(Slow, order[0].verdict())
	for i, m := range order {
		if m.verdict() > worst {
			return i
		}
	}
	return len(order)
}

// lackedBySome says whether any endpoint lacked what a call was about.
func lackedBySome(err error) bool {
	var all *noneError
	return errors.As(err, &all) && slices.ContainsFunc(all.errs, lacks)
}

// askIn asks members one after the other until one answers, that is, until an error is none that another may do better with. The first of
// them, besides many, are asked as well when the one before takes longer than patience; the rest only when it has failed.
func askIn[T any](ctx context.Context, s *Nodes, method string, order []*member, besides int, elsewhere func(error) bool, do func(context.Context, *Node) (T, error)) (T, error) {
	type outcome struct {
		v   T
		err error
		at  int // in order
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
	began := make([]time.Time, 0, len(order)) // of those that have been asked
	running := map[int]bool{}
	begin := func() {
		at := len(began)
		began = append(began, time.Now())
		running[at] = true
		go func() {
			v, err := do(asking, order[at].Node)
			order[at].note(err)
			results <- outcome{v, err, at}
		}()
	}
	begin()
	timer := time.NewTimer(s.options.Patience)
	defer timer.Stop()
	var errs []error
	var refused *outcome // what one said that was asked as well, while a better one is still at it
	for {
		select {
		case r := <-results:
			delete(running, r.at)
			if ctx.Err() != nil {
				return r.v, r.err
			}
			if r.err == nil {
				s.outpaced(method, order, began, running, r.at)
				return r.v, nil
			}
			if !elsewhere(r.err) {
				if before(running, r.at) {
					refused = cmp.Or(refused, &r)
					timer.Reset(s.options.Patience)
					continue
				}
				return r.v, r.err
			}
			if errs = append(errs, r.err); unanswered(r.err) {
				s.settle()
			}
			switch {
			case refused != nil && !before(running, refused.at):
				return refused.v, refused.err
			case len(began) < besides, len(began) < len(order) && len(running) == 0:
				begin()
				timer.Reset(s.options.Patience)
			case len(running) == 0:
				return zero, none(method, errs)
			}
		case <-timer.C:
			if refused != nil {
				s.outpaced(method, order, began, running, refused.at)
				return refused.v, refused.err
			}
			if len(began) < besides {
				begin()
				timer.Reset(s.options.Patience)
			}
		case <-ctx.Done():
			return zero, fmt.Errorf("%s: %w", method, ctx.Err())
		}
	}
}

// before says whether any is running that was asked before the one at a place.
func before(running map[int]bool, at int) bool {
	for i := range running {
		if i < at {
			return true
		}
	}
	return false
}

// outpaced notes of those that were asked before the one that answered, and are still at it, that they are slow: another that is up was
// quicker although it was asked later.
func (s *Nodes) outpaced(method string, order []*member, began []time.Time, running map[int]bool, answered int) {
	left := false
	for i := range running {
		if i < answered {
			order[i].took(method, time.Since(began[i]))
			left = true
		}
	}
	if left {
		s.settle()
	}
}

// said is one endpoint's word.
type said[T any] struct {
	v   T
	err error
	m   *member
}

// askAll asks several endpoints at once and gives what they said. Once enough of them have answered, the others have patience left to do so; with
// an answer that is final nobody waits for theirs.
func askAll[T any](ctx context.Context, s *Nodes, members []*member, enough, final func(T, error) bool, do func(context.Context, *Node) (T, error)) []said[T] {
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
			if final != nil && final(r.v, r.err) {
				return all
			}
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
		return s.ours()
	}
	return up
}

// ours are the endpoints that are not known to be of another network, as they stand in the list; the first is the one that says which network
// is meant.
func (s *Nodes) ours() []*member {
	var ours []*member
	for _, m := range s.members {
		m.mu.Lock()
		if m.foreign == "" {
			ours = append(ours, m)
		}
		m.mu.Unlock()
	}
	return ours
}
