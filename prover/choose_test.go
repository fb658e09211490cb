package prover

import (
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unmanned is a pool without processes: the test says when they start, get ready and end.
func unmanned(t *testing.T, opts PoolOptions, configs ...CardConfig) *Pool {
	t.Helper()
	opts.Log = slog.New(slog.DiscardHandler)
	p, err := NewPool(configs, opts)
	require.NoError(t, err)
	return p
}

// standIn is a process that is not there; it cannot be signalled.
func standIn(card string) *child {
	return &child{doomed: make(chan struct{}), card: card, kind: KindWindow, log: slog.New(slog.DiscardHandler), cmd: &exec.Cmd{Process: &os.Process{}}, ended: true,
		ready: make(chan struct{}), gone: make(chan struct{}), asked: map[uint64]*asking{}}
}

// up has the processes of all cards ready.
func (p *Pool) up() *Pool {
	for _, c := range p.cards {
		p.launched(c)
		p.gotReady(c)
	}
	return p
}

func (p *Pool) launched(c *card) { p.starting(c, standIn(c.config.Name)) }

func (p *Pool) gotReady(c *card) {
	close(c.process.ready)
	p.ready(c, c.process)
}

// dies ends a card's process as its waiter would.
func (p *Pool) dies(c *card, kind error) {
	ch := c.process
	ch.dying.Store(true)
	if as := ch.killedAs.Load(); as != nil {
		kind = *as
	}
	ch.goneErr = &CardError{Card: c.config.Name, Kind: kind, Detail: "in a test"}
	close(ch.gone)
	p.ended(c, ch, ch.goneErr, 0)
}

// given is what a waiter got, false if it still waits.
func (w *waiter) given() (grant, bool) {
	select {
	case g := <-w.got:
		return g, true
	default:
		return grant{}, false
	}
}

// turnsOf counts who gets so many jobs, of which up to atOnce are in the works at the same time and end in any order.
func turnsOf(t *testing.T, p *Pool, jobs, atOnce int, avoid ...string) map[string]int {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	turns := map[string]int{}
	var busy []*slot
	for range jobs {
		if len(busy) == atOnce {
			i := random.IntN(len(busy))
			p.settle(busy[i], nil)
			busy = append(busy[:i], busy[i+1:]...)
		}
		g, ok := p.enqueue("job", avoid).given()
		require.True(t, ok, "there was a free place")
		require.NoError(t, g.err)
		turns[g.slot.card.config.Name]++
		busy = append(busy, g.slot)
	}
	for _, s := range busy {
		p.settle(s, nil)
	}
	return turns
}

func cardsOf(names ...string) []CardConfig {
	configs := make([]CardConfig, len(names))
	for i, name := range names {
		configs[i] = CardConfig{Name: name}
	}
	return configs
}

func weighted(configs []CardConfig, weights ...int) []CardConfig {
	for i := range configs {
		configs[i].Weight = weights[i]
	}
	return configs
}

func placed(configs []CardConfig, places ...int) []CardConfig {
	for i := range configs {
		configs[i].Concurrent = places[i]
	}
	return configs
}

func TestTurns(t *testing.T) {
	for name, c := range map[string]struct {
		cards  []CardConfig
		jobs   int
		atOnce int
		avoid  []string
		want   map[string]int
		off    float64 // by how much at most a share may differ
	}{
		"equal cards, one job at a time: equal shares, the last as often as the others": {
			cardsOf("a", "b", "c", "d"), 400, 1, nil, map[string]int{"a": 100, "b": 100, "c": 100, "d": 100}, 0},
		"equal cards, half of them busy": {
			cardsOf("a", "b", "c", "d"), 4000, 2, nil, map[string]int{"a": 1000, "b": 1000, "c": 1000, "d": 1000}, 0.03},
		"weights, one job at a time": {
			weighted(cardsOf("a", "b", "c"), 1, 2, 3), 600, 1, nil, map[string]int{"a": 100, "b": 200, "c": 300}, 0.01},
		"weights, heaviest first in the list": {
			weighted(cardsOf("a", "b", "c"), 3, 2, 1), 600, 1, nil, map[string]int{"a": 300, "b": 200, "c": 100}, 0.01},
		"a weight that is not set is 1": {
			weighted(cardsOf("a", "b"), 0, 3), 400, 1, nil, map[string]int{"a": 100, "b": 300}, 0.01},
		"all of one place busy: who is free gets it, so equal cards share equally": {
			cardsOf("a", "b", "c"), 3000, 3, nil, map[string]int{"a": 1000, "b": 1000, "c": 1000}, 0.05},
		"avoided while another is free": {
			cardsOf("a", "b", "c"), 200, 1, []string{"b"}, map[string]int{"a": 100, "c": 100}, 0},
		"avoided, and nothing else is free": {
			cardsOf("a", "b"), 200, 2, []string{"b"}, map[string]int{"a": 100, "b": 100}, 0.15},
		"all avoided by one word": {
			cardsOf("a", "b"), 200, 1, []string{"*"}, map[string]int{"a": 100, "b": 100}, 0},
		"all avoided one by one": {
			cardsOf("a", "b"), 200, 1, []string{"a", "b"}, map[string]int{"a": 100, "b": 100}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := turnsOf(t, unmanned(t, PoolOptions{}, c.cards...).up(), c.jobs, c.atOnce, c.avoid...)
			require.Len(t, got, len(c.want), "%v", got)
			for card, want := range c.want {
				assert.InDelta(t, want, got[card], float64(want)*c.off, "%s of %v", card, got)
			}
		})
	}
}

// A card with more places has more room, whatever its turn is.
func TestTheMostRoomComesFirst(t *testing.T) {
	p := unmanned(t, PoolOptions{}, placed(cardsOf("small", "large"), 1, 4)...).up()
	var order []string
	for range 5 {
		g, ok := p.enqueue("job", nil).given()
		require.True(t, ok)
		order = append(order, g.slot.card.config.Name)
	}
	require.Equal(t, []string{"small", "large", "large", "large", "large"}, order)
	_, ok := p.enqueue("job", nil).given()
	require.False(t, ok, "all places are taken")
}

// A card that could not be used for a while does not get every job afterwards.
func TestACardThatComesBackIsOneOfMany(t *testing.T) {
	p := unmanned(t, PoolOptions{}, cardsOf("a", "b")...).up()
	require.NoError(t, p.Fence("b", "by hand"))
	p.dies(p.cards[1], nil)
	require.Equal(t, map[string]int{"a": 100}, turnsOf(t, p, 100, 1))
	require.NoError(t, p.Unfence("b"))
	p.launched(p.cards[1])
	p.gotReady(p.cards[1])
	require.InDelta(t, 10, turnsOf(t, p, 20, 1)["b"], 1)
}

// A card that is faster has more turns while all are busy; that is not held against it when they are not.
func TestTurnsOfBusyTimesAreForgotten(t *testing.T) {
	p := unmanned(t, PoolOptions{}, cardsOf("fast", "slow")...).up()
	slow, _ := p.enqueue("long job", []string{"fast"}).given()
	require.Equal(t, "slow", slow.slot.card.config.Name)
	require.Equal(t, map[string]int{"fast": 100}, turnsOf(t, p, 100, 1))
	p.settle(slow.slot, nil)
	require.InDelta(t, 10, turnsOf(t, p, 20, 1)["slow"], 1)
}
