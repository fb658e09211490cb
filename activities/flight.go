package activities

import (
	"context"
	"sync"
	"time"

	"posthaste/post"
)

// Proofs are the proofs that a worker has in the making and those that it has made lately, over all groups of its cards. One is
// shared by all Provers of a process.
type Proofs struct {
	mu       sync.Mutex
	flights  map[string]*flight  // by job key, the newest of each
	finished map[string]finished // by job key, in case Temporal lost the answer and asks again
}

// NewProofs makes an empty one.
func NewProofs() *Proofs {
	return &Proofs{flights: map[string]*flight{}, finished: map[string]finished{}}
}

// finished is a proof that was made here, kept while somebody may ask for it again.
type finished struct {
	proof post.Proof
	until time.Time
}

// flight is one proof in the making and the attempts that want it. After an outage of Temporal the next attempt of a job may come
// to the worker that still works on the first: it takes part in that work instead of doing it again.
type flight struct {
	proofs *Proofs
	key    string
	run    string            // run ID of the workflow that asked first: a run made by a reset wants a new proof
	again  int               // the job's, for the same reason
	ctx    context.Context   // of the proving; it hangs on no attempt
	cancel func(cause error) // when the last attempt has left
	done   chan struct{}     // closed when proof or err is set
	proof  post.Proof
	err    error

	// Guarded by the mutex of proofs.
	wanted map[*attempt]standing
	last   post.Progress // with the card's name in the fleet
}

// join gives an attempt the proof that it asks for if it is in the making here, else a new flight, which the caller has to get off
// the ground (first).
//
// A job that avoids the very card that works on the proof was given up on there: it is made anew.
func (s *Proofs) join(ctx context.Context, a *attempt) (f *flight, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := a.job.Key()
	if f := s.flights[key]; f != nil && f.run == a.workflow.RunID && f.again == a.job.Again && f.ctx.Err() == nil && !names(a.job.AvoidCards, f.last.Card) {
		f.wanted[a] = alive // it has just been handed out
		if f.last.Phase != "" {
			a.progress(f.last)
		}
		return f, false
	}
	f = &flight{proofs: s, key: key, run: a.workflow.RunID, again: a.job.Again, done: make(chan struct{}), wanted: map[*attempt]standing{a: alive}}
	proving, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f.ctx, f.cancel = proving, cancel
	s.flights[key] = f
	return f, true
}

// names says whether a list of cards has this very one.
func names(cards []string, card string) bool {
	for _, name := range cards {
		if name == card {
			return true
		}
	}
	return false
}

// tell passes progress on to everybody who waits.
func (f *flight) tell(p post.Progress) {
	f.proofs.mu.Lock()
	defer f.proofs.mu.Unlock()
	f.last = p
	for a := range f.wanted {
		a.progress(p)
	}
}

// land ends the flight. A proof is kept for whoever asks again until then.
func (f *flight) land(proof post.Proof, err error, until time.Time) {
	s := f.proofs
	s.mu.Lock()
	f.proof, f.err = proof, err
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
	if err == nil {
		s.remember(proof, until)
	}
	s.mu.Unlock()
	close(f.done)
	f.cancel(nil)
}

// leave takes an attempt off. The last one stops the proving.
func (f *flight) leave(a *attempt, cause error) (last bool) {
	f.proofs.mu.Lock()
	defer f.proofs.mu.Unlock()
	delete(f.wanted, a)
	if len(f.wanted) > 0 {
		return false
	}
	f.cancel(cause)
	return true
}

// stands notes what Temporal thinks of an attempt, and says whether another one can deliver the proof the usual way.
func (f *flight) stands(a *attempt, s standing) (another bool) {
	f.proofs.mu.Lock()
	defer f.proofs.mu.Unlock()
	if _, aboard := f.wanted[a]; aboard && s != unreachable {
		f.wanted[a] = s
	}
	for other, how := range f.wanted {
		if other != a && how == alive {
			return true
		}
	}
	return false
}

// card is the card that works on it; empty while none does.
func (f *flight) card() string {
	f.proofs.mu.Lock()
	defer f.proofs.mu.Unlock()
	if f.last.Phase == post.PhaseWaiting {
		return ""
	}
	return f.last.Card
}

// remember keeps a proof for as long as somebody may ask for it again: a lost answer costs an attempt, not the proof. The mutex
// is held.
func (s *Proofs) remember(proof post.Proof, until time.Time) {
	now := time.Now()
	for key, old := range s.finished {
		if now.After(old.until) {
			delete(s.finished, key)
		}
	}
	if until.After(now) {
		s.finished[proof.JobKey] = finished{proof: proof, until: until}
	}
}

// recall gives a proof that was made before. A job that was tried again because the proof verified false must be made anew.
func (s *Proofs) recall(job post.Job) (post.Proof, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.finished[job.Key()]
	if known && names(job.AvoidCards, old.proof.Card) {
		delete(s.finished, job.Key())
		return post.Proof{}, false
	}
	return old.proof, known
}
