package prover

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestSharedLimits(t *testing.T) {
	limits := &Limits{Tasks: 2}
	window := unmanned(t, PoolOptions{Limits: limits}, cardsOf("a", "b", "c")...).up()
	other := unmanned(t, PoolOptions{Limits: limits}, cardsOf("d")...).up()
	give := func(w *waiter) *slot {
		t.Helper()
		g, ok := w.given()
		require.True(t, ok, "it has a place")
		require.NoError(t, g.err)
		return g.slot
	}
	waits := func(w *waiter) {
		t.Helper()
		_, ok := w.given()
		require.False(t, ok, "it waits")
	}
	first, second := give(window.enqueue("1", nil)), give(window.enqueue("2", nil))
	third, fourth, fifth := other.enqueue("3", nil), window.enqueue("4", nil), other.enqueue("5", nil)
	waits(third)
	waits(fourth)
	require.Empty(t, other.cards[0].slots, "who waits for the limit holds no card")

	window.settle(first, nil)
	slot3 := give(third) // it came first, although a card of the other pool was freed
	waits(fourth)
	other.settle(slot3, nil)
	slot4 := give(fourth)
	waits(fifth)

	// One that gives up does not hold up those behind it.
	sixth := window.enqueue("6", nil)
	other.withdraw(fifth)
	window.settle(second, nil)
	give(sixth)

	// Nor one whose card is gone.
	seventh, eighth := other.enqueue("7", nil), window.enqueue("8", nil)
	require.NoError(t, other.Fence("d", "by hand"))
	g, ok := seventh.given()
	require.True(t, ok)
	require.ErrorIs(t, g.err, ErrNoCard)
	window.dies(slot4.card, ErrCardCrashed)
	give(eighth)
}

// One pool's card is busy; its waiting job must not keep the other pool's from the task that is free.
func TestAJobWithoutACardKeepsNoTask(t *testing.T) {
	limits := &Limits{Tasks: 2}
	window := unmanned(t, PoolOptions{Limits: limits}, cardsOf("a")...).up()
	other := unmanned(t, PoolOptions{Limits: limits}, cardsOf("b")...).up()
	_, ok := window.enqueue("1", nil).given()
	require.True(t, ok)
	_, ok = window.enqueue("2", nil).given()
	require.False(t, ok)
	_, ok = other.enqueue("3", nil).given()
	require.True(t, ok)
}

func TestWaitingForATaskIsTold(t *testing.T) {
	limits := &Limits{Tasks: 1}
	busy := startPool(t, PoolOptions{Limits: limits}, fake("gpu0", "says nothing"))
	free := startPool(t, PoolOptions{Limits: limits}, fake("gpu1", "good"))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = busy.Prove(ctx, fakeTask(1), nil, nil) }()
	eventually(t, busy, "busy", func(s CardStatus) bool { return s.State == StateProving })
	eventually(t, free, "ready", func(s CardStatus) bool { return s.State == StateIdle })
	told := make(chan post.Progress, 100)
	got := make(chan error, 1)
	go func() {
		_, err := free.Prove(t.Context(), fakeTask(2), nil, func(p post.Progress) { told <- p })
		got <- err
	}()
	require.Equal(t, post.PhaseWaiting, (<-told).Phase)
	require.Equal(t, StateIdle, free.Status()[0].State)
	cancel()
	select {
	case err := <-got:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the task that a cancelled job gave back is not used")
	}
}
