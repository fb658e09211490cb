package activities_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
)

// storeWatch has some stores that cannot be read: those of the last look, and others that a fresh look finds out.
type storeWatch struct {
	mu     sync.Mutex
	known  map[string]error
	really map[string]error
	looked []string
}

func (w *storeWatch) Reachable(_ context.Context, store string) error { return w.known[store] }

func (w *storeWatch) Look(_ context.Context, store string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looked = append(w.looked, store)
	return w.really[store]
}

var errUnmounted = errors.New("there is no /mnt/b; is it mounted?")

func TestStoresThatCannotBeRead(t *testing.T) {
	allBad := &prover.AllBadError{Miner: 1000, Skipped: []post.Skipped{{Sector: 3}, {Sector: 5}}}
	lost := map[string]error{"b": errUnmounted}
	for name, c := range map[string]struct {
		known  map[string]error // not readable at the last look
		really map[string]error // not readable now
		result *prover.Result
		err    error
		asked  bool
		kind   post.Failure // none: a proof
		looked []string
	}{
		"known before: no card is asked":         {known: lost, kind: post.FailureNoStore},
		"all is well":                            {result: &prover.Result{Card: "c0"}, asked: true},
		"a sector is bad, its store is there":    {result: aProof(), asked: true, looked: []string{"b"}},
		"a sector is bad because its store went": {really: lost, result: aProof(), asked: true, kind: post.FailureNoStore, looked: []string{"b"}},
		"a sector is bad, another's store went": {really: lost, asked: true, looked: []string{"a"},
			result: &prover.Result{Card: "c0", Skipped: []post.Skipped{{Sector: 3}}}},
		"all are bad":                      {err: allBad, asked: true, kind: post.FailureAllBad, looked: []string{"a", "b"}},
		"all are bad because a store went": {really: lost, err: allBad, asked: true, kind: post.FailureNoStore, looked: []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := false
			p := newProver(&attempts{}, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
				asked = true
				return c.result, c.err
			})
			watch := &storeWatch{known: c.known, really: c.really}
			p.Stores, p.Watch = stores{"a", "b"}, watch
			job := theJob()
			job.Sectors[1].Store = "b"
			_, err := prove(t, p, job, nil)
			assert.Equal(t, c.asked, asked)
			assert.ElementsMatch(t, c.looked, watch.looked)
			if c.kind == "" {
				require.NoError(t, err)
				return
			}
			application := failed(t, err, c.kind, false)
			if c.kind == post.FailureNoStore {
				assert.Equal(t, `worker w: store "b" cannot be read: there is no /mnt/b; is it mounted?`, application.Message())
				var card string
				require.NoError(t, application.Details(&card))
				assert.Equal(t, "w/*", card)
			}
		})
	}
}

// A post that lacks some sectors is worth more than none.
func TestTimeToMakeAProofOnceMore(t *testing.T) {
	now := time.Now()
	assert.True(t, activities.MayRepeat(time.Time{}, time.Hour), "no deadline")
	assert.True(t, activities.MayRepeat(now.Add(30*time.Minute), 10*time.Minute))
	assert.False(t, activities.MayRepeat(now.Add(15*time.Minute), 10*time.Minute), "it may have to wait for a card, too")
	assert.False(t, activities.MayRepeat(now.Add(-time.Minute), time.Second))
}

func TestCardsThatHaveAllFailedTheJob(t *testing.T) {
	idle := func(name string) prover.CardStatus { return prover.CardStatus{Name: name, State: prover.StateIdle} }
	fenced := prover.CardStatus{Name: "c1", State: prover.StateFenced}
	dead := prover.CardStatus{Name: "c2", State: prover.StateDead}
	for name, c := range map[string]struct {
		cards []prover.CardStatus
		avoid []string
		want  bool
	}{
		"nothing to avoid":                  {[]prover.CardStatus{idle("c0")}, nil, false},
		"the only card":                     {[]prover.CardStatus{idle("c0")}, []string{"c0"}, true},
		"one of two":                        {[]prover.CardStatus{idle("c0"), idle("c1")}, []string{"c0"}, false},
		"both":                              {[]prover.CardStatus{idle("c0"), idle("c1")}, []string{"c1", "c0"}, true},
		"the only one that is of use":       {[]prover.CardStatus{idle("c0"), fenced, dead}, []string{"c0"}, true},
		"the whole worker":                  {[]prover.CardStatus{idle("c0"), idle("c1")}, []string{"*"}, true},
		"one that is restarting will do it": {[]prover.CardStatus{idle("c0"), {Name: "c1", State: prover.StateRestarting}}, []string{"c0"}, false},
	} {
		assert.Equal(t, c.want, activities.AllAvoided(c.cards, c.avoid), name)
	}
}

func TestAJobThatOthersHaveNotFailed(t *testing.T) {
	asked := 0
	p := newProver(&attempts{}, func(_ context.Context, _ prover.Task, avoid []string, _ func(post.Progress)) (*prover.Result, error) {
		asked++
		return aProof(), nil
	})
	job := theJob()
	job.AvoidCards, job.Elsewhere = []string{"w/c0"}, true
	_, err := prove(t, p, job, nil)
	assert.Contains(t, failed(t, err, post.FailureHandOver, true).Message(), "worker w: all cards here have failed this job")
	assert.Zero(t, asked)
	job.Elsewhere = false
	_, err = prove(t, p, job, nil)
	require.NoError(t, err, "a card that failed is better than none")
	assert.Equal(t, 1, asked)
}

func TestWhatIsObserved(t *testing.T) {
	var seen []activities.Observation
	var result *prover.Result
	p := newProver(&attempts{}, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
		if result == nil {
			return nil, &prover.CardError{Card: "c0", Kind: prover.ErrHung}
		}
		return result, nil
	})
	p.Observe = func(o activities.Observation) { seen = append(seen, o) }
	_, err := prove(t, p, theJob(), nil)
	require.Error(t, err)
	result = aProof()
	_, err = prove(t, p, theJob(), nil)
	require.NoError(t, err)
	require.Len(t, seen, 4)
	for i := range seen {
		assert.EqualValues(t, 2048, seen[i].Size)
		assert.Equal(t, post.KindWindow, seen[i].Proof)
		seen[i].Waited = 0
	}
	assert.Equal(t, activities.Observation{Kind: activities.ObservedStart, Proof: post.KindWindow, Size: 2048, Attempt: 1}, seen[0])
	assert.Equal(t, activities.Observation{Kind: activities.ObservedFailure, Proof: post.KindWindow, Size: 2048, Attempt: 1, Failure: post.FailureCard}, seen[1])
	assert.Equal(t, activities.Observation{Kind: activities.ObservedProof, Proof: post.KindWindow, Size: 2048, Card: "w/c0", Skipped: 1,
		Phases: post.PhaseTimes{Snark: time.Second}}, seen[3])
}
