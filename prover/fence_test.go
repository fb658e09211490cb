package prover

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// mood is a verifier that says what it is told to.
type mood struct{ bad atomic.Bool }

func (m *mood) verify(context.Context, abi.ActorID, abi.RegisteredPoStProof, []byte, post.Sectors, []byte) (bool, error) {
	return !m.bad.Load(), nil
}

var tasks atomic.Int64

// anotherTask is a job that there was not before.
func anotherTask() Task {
	task := fakeTask(1)
	task.Label = fmt.Sprint("job ", tasks.Add(1))
	return task
}

// A job that kills whoever takes it must not take the whole fleet along.
func TestOneJobAloneFencesNoCard(t *testing.T) {
	check := &mood{}
	check.bad.Store(true)
	pool := startPool(t, PoolOptions{Verify: check.verify}, fake("gpu0", "good"))
	poison := anotherTask()
	for range 2 * maxStrikes {
		_, err := pool.Prove(t.Context(), poison, nil, nil)
		require.ErrorIs(t, err, ErrProofInvalid)
	}
	require.Equal(t, 1, pool.Usable())
	_, err := pool.Prove(t.Context(), anotherTask(), nil, nil)
	require.ErrorIs(t, err, ErrProofInvalid)
	require.Zero(t, pool.Usable(), "it is the card, after all")
}

func TestFalseProofsFenceACard(t *testing.T) {
	check := &mood{}
	fences := make(chan string, 10)
	pool := startPool(t, PoolOptions{Verify: check.verify, OnFence: func(card, reason string) { fences <- card + ": " + reason }}, fake("gpu0", "good"))
	prove := func() error {
		_, err := pool.Prove(t.Context(), anotherTask(), nil, nil)
		return err
	}
	check.bad.Store(true)
	for range maxStrikes - 1 {
		require.ErrorIs(t, prove(), ErrProofInvalid)
	}
	check.bad.Store(false)
	require.NoError(t, prove(), "a proof wipes the slate")
	check.bad.Store(true)
	for range maxStrikes {
		require.Empty(t, fences)
		require.ErrorIs(t, prove(), ErrProofInvalid)
	}
	require.Contains(t, <-fences, "gpu0: failed 3 jobs in a row, the last with: card gpu0: the proof does not verify")
	err := prove()
	require.ErrorIs(t, err, ErrNoCard)
	require.ErrorContains(t, err, "gpu0 is fenced: failed 3 jobs in a row")
	require.Zero(t, pool.Usable())
	status := eventually(t, pool, "process gone", func(s CardStatus) bool { return s.PID == 0 })
	require.Equal(t, StateFenced, status.State)
	require.Contains(t, status.Error, "failed 3 jobs in a row")
	require.Equal(t, 2*maxStrikes-1, status.Failures, "that its process was stopped is no failure")

	check.bad.Store(false)
	require.NoError(t, pool.Unfence("gpu0"))
	require.NoError(t, prove())
	require.Equal(t, 1, pool.Usable())
	check.bad.Store(true)
	require.ErrorIs(t, prove(), ErrProofInvalid)
	require.NotEqual(t, StateFenced, pool.Status()[0].State, "it started with no strikes")
	require.Empty(t, fences)
}

func TestCrashesFenceACardAndItsWorkGoesElsewhere(t *testing.T) {
	fences := make(chan string, 10)
	pool := startPool(t, PoolOptions{OnFence: func(card, _ string) { fences <- card }}, fake("bad", "dies on a task"), fake("good", "good"))
	for crashes := 0; crashes < maxStrikes; {
		eventually(t, pool, "the bad one is ready", func(s CardStatus) bool { return s.Name == "bad" && s.State == StateIdle })
		result, err := pool.Prove(t.Context(), anotherTask(), []string{"good"}, nil)
		if err != nil {
			require.ErrorIs(t, err, ErrCardCrashed)
			crashes++
			continue
		}
		require.Equal(t, "good", result.Card)
	}
	require.Equal(t, "bad", <-fences)
	for range 3 {
		result, err := pool.Prove(t.Context(), anotherTask(), []string{"good"}, nil)
		require.NoError(t, err)
		require.Equal(t, "good", result.Card)
	}
	require.Equal(t, 1, pool.Usable())
}

// Two jobs on one process that dies are one failure of the card.
func TestStrikes(t *testing.T) {
	for name, c := range map[string]struct {
		story  func(p *Pool, c *card)
		fenced bool
	}{
		"three crashes with a job":  {func(p *Pool, c *card) { crash(p, c, 1); crash(p, c, 1); crash(p, c, 1) }, true},
		"two crashes with two jobs": {func(p *Pool, c *card) { crash(p, c, 2); crash(p, c, 2) }, false},
		"crashes without a job":     {func(p *Pool, c *card) { crash(p, c, 0); crash(p, c, 0); crash(p, c, 0); crash(p, c, 0) }, false},
		"crash, hang, false proof": {func(p *Pool, c *card) {
			crash(p, c, 1)
			p.enqueue("job", nil)
			p.dies(c, ErrHung)
			ready(p, c)
			settle(p, &CardError{Kind: ErrProofInvalid})
		}, true},
		"a proof in between": {func(p *Pool, c *card) { crash(p, c, 1); crash(p, c, 1); settle(p, nil); crash(p, c, 1); crash(p, c, 1) }, false},
		"bad sectors in between wipe nothing": {func(p *Pool, c *card) {
			crash(p, c, 1)
			crash(p, c, 1)
			settle(p, &AllBadError{})
			crash(p, c, 1)
		}, true},
		"refused tasks and missing parameters": {func(p *Pool, c *card) {
			for range 5 {
				settle(p, &CardError{Kind: ErrTask})
				settle(p, &CardError{Kind: ErrParameters})
			}
		}, false},
		"a process that dies after its answer": {func(p *Pool, c *card) {
			for range 3 {
				g, _ := p.enqueue("job", nil).given()
				p.note(g.slot, post.PhaseVerify)
				p.dies(c, ErrCardCrashed)
				ready(p, c)
			}
		}, false},
		"a process that dies of a cancelled job": {func(p *Pool, c *card) {
			for range 3 {
				g, _ := p.enqueue("job", nil).given()
				p.abandon(g.slot, &asking{answer: make(chan response)})
				p.dies(c, ErrCardCrashed)
				ready(p, c)
			}
		}, false},
		"the GPU failed, once":                        {func(p *Pool, c *card) { settle(p, &CardError{Kind: ErrFellBack}) }, true},
		"the GPU failed, and its process was killed":  {func(p *Pool, c *card) { p.enqueue("job", nil); p.dies(c, ErrFellBack) }, true},
		"the GPU failed while the process had no job": {func(p *Pool, c *card) { p.dies(c, ErrFellBack) }, true},
		"a process that does not get ready, many times": {func(p *Pool, c *card) {
			p.dies(c, ErrCardCrashed)
			for range 10 {
				p.launched(c)
				p.dies(c, ErrNotReady)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := unmanned(t, PoolOptions{}, placed(cardsOf("a"), 2)...).up()
			c.story(p, p.cards[0])
			require.Equal(t, c.fenced, p.Status()[0].State == StateFenced, p.Status()[0].Error)
		})
	}
}

func ready(p *Pool, c *card) {
	if c.fenced == "" {
		p.launched(c)
		p.gotReady(c)
	}
}

func crash(p *Pool, c *card, jobs int) {
	for range jobs {
		p.enqueue("job", nil)
	}
	p.dies(c, ErrCardCrashed)
	ready(p, c)
}

func settle(p *Pool, err error) {
	if g, ok := p.enqueue("job", nil).given(); ok && g.err == nil {
		p.settle(g.slot, err)
	}
}

func TestAFencedCardIsNotEvenStarted(t *testing.T) {
	mark := inTemp(t, "mark")
	card := fake("gpu0", "dies once") // leaves the mark when it starts
	card.Envs["MARK"] = mark
	card.Fenced = "by hand, yesterday"
	pool := startPool(t, PoolOptions{OnFence: func(string, string) { panic("it is known") }}, card, fake("gpu1", "good"))
	require.Equal(t, 1, pool.Usable())
	result, err := pool.Prove(t.Context(), anotherTask(), []string{"gpu1"}, nil)
	require.NoError(t, err)
	require.Equal(t, "gpu1", result.Card)
	require.Equal(t, StateFenced, pool.Status()[0].State)
	require.Equal(t, "by hand, yesterday", pool.Status()[0].Error)
	_, err = os.Stat(mark)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, pool.Unfence(""))
	eventually(t, pool, "started", func(s CardStatus) bool { return s.Name == "gpu0" && s.State == StateIdle })
}

func TestFencingByHand(t *testing.T) {
	card := fake("gpu0", "slow")
	card.Concurrent = 2
	pool := startPool(t, PoolOptions{OnFence: func(string, string) { panic("who fences knows it") }}, card)
	require.ErrorContains(t, pool.Fence("gpu7", ""), `there is no card "gpu7"; there are gpu0`)
	require.ErrorContains(t, pool.Unfence("gpu7"), `no card "gpu7"`)
	got := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := pool.Prove(t.Context(), anotherTask(), nil, nil)
			got <- err
		}()
	}
	pid := eventually(t, pool, "two jobs", func(s CardStatus) bool { return len(s.Jobs) == 2 }).PID
	waits := make(chan error, 1)
	go func() {
		_, err := pool.Prove(t.Context(), anotherTask(), nil, nil)
		waits <- err
	}()
	require.NoError(t, pool.Fence("gpu0", "its fan is loud"))
	require.ErrorIs(t, <-waits, ErrNoCard, "nobody waits for it, not even who waited already")
	require.NoError(t, <-got, "what it has it finishes")
	require.NoError(t, <-got)
	require.Eventually(t, func() bool { return !running(pid) }, 5*time.Second, 5*time.Millisecond)
	status := pool.Status()[0]
	require.Equal(t, StateFenced, status.State)
	require.Equal(t, "its fan is loud", status.Error)
	require.Equal(t, 2, status.Proofs)
	require.Zero(t, status.Failures)

	require.NoError(t, pool.Unfence("gpu0"))
	require.NoError(t, pool.Unfence("gpu0"), "twice is not wrong")
	_, err := pool.Prove(t.Context(), anotherTask(), nil, nil)
	require.NoError(t, err)
}

// A fence that is lifted before its process is stopped leaves the process as it is.
func TestUnfencedWhileAtWork(t *testing.T) {
	p := unmanned(t, PoolOptions{}, cardsOf("a")...).up()
	g, _ := p.enqueue("job", nil).given()
	require.NoError(t, p.Fence("a", "x"))
	require.False(t, p.cards[0].process.dying.Load())
	require.NoError(t, p.Unfence("a"))
	p.settle(g.slot, nil)
	require.False(t, p.cards[0].process.dying.Load())
	_, ok := p.enqueue("job", nil).given()
	require.True(t, ok)
}

func TestFencedWhileStarting(t *testing.T) {
	p := unmanned(t, PoolOptions{}, cardsOf("a")...)
	p.launched(p.cards[0])
	require.NoError(t, p.Fence("a", "x"))
	require.True(t, p.cards[0].process.dying.Load())
	p.gotReady(p.cards[0])
	require.Nil(t, p.cards[0].child, "ready too late")
	p.dies(p.cards[0], nil)
	require.Zero(t, p.Status()[0].Failures)
}

// A dead card, NoRestart or not, is started again when an operator wants it.
func TestUnfenceStartsADeadCard(t *testing.T) {
	card := fake("gpu0", "dies once")
	card.Envs["MARK"] = inTemp(t, "mark")
	card.NoRestart = true
	pool := startPool(t, PoolOptions{}, card)
	eventually(t, pool, "dead", func(s CardStatus) bool { return s.State == StateDead })
	require.Zero(t, pool.Usable())
	require.NoError(t, pool.Unfence("gpu0"))
	_, err := pool.Prove(t.Context(), anotherTask(), nil, nil)
	require.NoError(t, err)
}

// That a job was cancelled is no reason to leave a card dead that is not to be restarted when it ends by itself.
func TestNoRestartDoesNotCountCancelledJobs(t *testing.T) {
	p := unmanned(t, PoolOptions{}, CardConfig{Name: "a", NoRestart: true}).up()
	g, _ := p.enqueue("job", nil).given()
	p.abandon(g.slot, nil)
	p.dies(p.cards[0], nil)
	require.Equal(t, StateRestarting, p.Status()[0].State)
	require.False(t, p.cards[0].stays)
}

func TestUsable(t *testing.T) {
	p := unmanned(t, PoolOptions{}, placed(cardsOf("a", "b"), 1, 3)...)
	a, b := p.cards[0], p.cards[1]
	is := func(want int, when string) {
		t.Helper()
		assert.Equal(t, want, p.Usable(), when)
	}
	is(4, "all are starting for the first time")
	p.launched(a)
	p.gotReady(a)
	p.launched(b)
	p.dies(b, ErrNotReady)
	is(1, "a first start failed")
	_, ok := p.enqueue("job", []string{"a"}).given()
	require.True(t, ok)
	waiting := p.enqueue("job", nil)
	_, ok = waiting.given()
	require.False(t, ok, "one bad start may be chance")
	p.launched(b)
	p.gotReady(b)
	is(4, "the second succeeded")
	p.dies(a, ErrCardCrashed)
	is(4, "a process that worked is started again")
	p.launched(a)
	p.dies(a, ErrNotReady)
	is(3, "and does not start")
	p.launched(a)
	p.dies(a, ErrNotReady)
	is(3, "and is dead")
	require.NoError(t, p.Fence("b", "x"))
	is(0, "and the other is fenced")
	g, ok := p.enqueue("job", nil).given()
	require.True(t, ok)
	require.ErrorIs(t, g.err, ErrNoCard)
	require.ErrorContains(t, g.err, "2 cards: card a: its process does not get ready: in a test; b is fenced: x")
}

// A process that gets ready and dies again and again, without ever having had a job, is not fenced; but nobody waits through
// its pauses.
func TestNobodyWaitsForAProcessThatKeepsDying(t *testing.T) {
	p := unmanned(t, PoolOptions{}, cardsOf("a")...).up()
	c := p.cards[0]
	for c.state != StateDead {
		require.Equal(t, 1, p.Usable())
		require.Less(t, pause(c.streak), longPause)
		p.dies(c, ErrCardCrashed)
		p.launched(c)
		if c.state != StateDead {
			p.gotReady(c)
		}
	}
	require.Zero(t, p.Usable())
	p.gotReady(c)
	require.Equal(t, 1, p.Usable(), "it may have recovered")
	settle(p, nil)
	p.dies(c, ErrCardCrashed)
	require.Equal(t, 1, p.Usable(), "a proof wipes the slate")
}

func TestChangesAreTold(t *testing.T) {
	var mu sync.Mutex
	var pool *Pool
	seen := map[string]bool{}
	started := make(chan struct{})
	onChange := func() {
		<-started
		s := pool.Status()[0] // which locks
		mu.Lock()
		defer mu.Unlock()
		seen[fmt.Sprintf("%s %d", s.State, pool.Usable())] = true
	}
	told := func(what string) {
		t.Helper()
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return seen[what] }, 10*time.Second, 5*time.Millisecond, what)
	}
	pool = startPool(t, PoolOptions{OnChange: onChange}, fake("gpu0", "slow"))
	close(started)
	told("idle 1")
	go func() { _, _ = pool.Prove(t.Context(), anotherTask(), nil, nil) }()
	told("proving 1")
	eventually(t, pool, "proven", func(s CardStatus) bool { return s.Proofs == 1 })
	require.NoError(t, pool.Fence("gpu0", "x"))
	told("fenced 0")
}

func TestTheStatusOfAJob(t *testing.T) {
	card := fake("gpu0", "says nothing")
	card.Weight, card.Concurrent = 3, 2
	pool := startPool(t, PoolOptions{}, card)
	task := anotherTask()
	task.Label = "f01000/7 partition 0"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = pool.Prove(ctx, task, nil, nil) }()
	s := eventually(t, pool, "phase", func(s CardStatus) bool { return s.Phase != "" })
	require.Equal(t, []string{"f01000/7 partition 0"}, s.Jobs)
	require.Equal(t, post.PhaseVanilla, s.Phase)
	require.Positive(t, s.Seconds)
	require.Equal(t, 3, s.Weight)
	require.Equal(t, 2, s.Places)
}
