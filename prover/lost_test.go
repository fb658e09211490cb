package prover

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// undying makes a card's process one that nobody can kill, as one is that waits for a driver. The function that it returns kills it.
func undying(t *testing.T, pool *Pool) (*child, func()) {
	t.Helper()
	pool.mu.Lock()
	process := pool.cards[0].process
	pool.mu.Unlock()
	set := func(ended bool) {
		process.mu.Lock()
		process.ended = ended
		process.mu.Unlock()
	}
	set(true)
	die := func() { set(false); _ = syscall.Kill(-process.cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(die)
	return process, die
}

// losing runs a pool that does not wait for long.
func losing(t *testing.T, cards ...CardConfig) *Pool {
	t.Helper()
	pool, err := NewPool(cards, PoolOptions{Verify: (&verified{says: true}).verify})
	require.NoError(t, err)
	pool.endsWithin = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = pool.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return pool
}

func TestNobodyWaitsForAProcessThatCannotBeKilled(t *testing.T) {
	pool := losing(t, fake("gpu0", "says nothing"))
	eventually(t, pool, "ready", func(s CardStatus) bool { return s.State == StateIdle })
	_, die := undying(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := pool.Prove(ctx, fakeTask(1), nil, func(p post.Progress) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	status := eventually(t, pool, "dead", func(s CardStatus) bool { return s.State == StateDead })
	require.Contains(t, status.Error, "and does not end")
	require.Zero(t, pool.Usable())
	_, err = pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrNoCard)

	require.NoError(t, pool.Fence("gpu0", "by hand"))
	require.NoError(t, pool.Unfence("gpu0"))
	_, err = pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrNoCard, "it is still there")

	die()
	eventually(t, pool, "ready again", func(s CardStatus) bool { return s.State == StateIdle })
	require.Equal(t, 1, pool.Usable())
}

func TestAJobDoesNotStayWithAProcessThatCannotBeKilled(t *testing.T) {
	pool := losing(t, fake("gpu0", "says nothing"))
	eventually(t, pool, "ready", func(s CardStatus) bool { return s.State == StateIdle })
	process, _ := undying(t, pool)
	killed := false
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, func(p post.Progress) {
		if p.Phase == post.PhaseVanilla && !killed {
			killed = true
			process.kill(ErrHung)
		}
	})
	require.ErrorIs(t, err, ErrHung)
	require.ErrorContains(t, err, "does not end")
	require.Empty(t, pool.Status()[0].Jobs)
}

// A card that was dead, and works again, is not dead while its process is stopped because of a fence.
func TestUnfencedWhileItsProcessEnds(t *testing.T) {
	p := unmanned(t, PoolOptions{}, cardsOf("a")...)
	a := p.cards[0]
	for range 2 {
		p.launched(a)
		p.dies(a, ErrNotReady)
	}
	require.Equal(t, StateDead, p.Status()[0].State)
	p.launched(a)
	p.gotReady(a)
	require.NoError(t, p.Fence("a", "by hand"))
	require.NoError(t, p.Unfence("a"))
	require.Equal(t, StateRestarting, p.Status()[0].State)
	_, ok := p.enqueue("job", nil).given()
	require.False(t, ok, "it waits for the next process")
}
