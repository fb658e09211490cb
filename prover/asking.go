package prover

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"posthaste/post"
)

// asking is one request that a child is working on.
type asking struct {
	id     uint64
	answer chan response // buffered; one at most
	news   chan struct{} // buffered: something below has changed
	end    chan struct{} // closed when the child says that no more progress comes

	life context.Context // ends when nobody waits for the answer any more
	drop context.CancelFunc

	answered, ended bool // guarded by the child's mu: when both are true nothing more comes

	mu       sync.Mutex
	over     bool   // nothing of it is left in the process
	giveBack func() // the memory that it holds, nil if none
	small    bool   // it takes so little memory that it need not wait for it; does not change

	state post.Progress
	line  progressLine // phase times and kind of error, collected
	bad   []post.Skipped
}

// newAsking is a request that is not sent yet. Its life ends with ctx. Who makes it must see to it that it is asked, or finished.
func newAsking(ctx context.Context) *asking {
	a := &asking{answer: make(chan response, 1), news: make(chan struct{}, 1), end: make(chan struct{})}
	a.life, a.drop = context.WithCancel(ctx)
	return a
}

// ask sends a task. The answer, or the child's end, comes on the channels of what was prepared for it.
func (c *child) ask(a *asking, task Task) error {
	c.mu.Lock()
	c.nextID++
	a.id = c.nextID
	if !c.ended {
		c.asked[a.id] = a
	}
	ended := c.ended
	c.mu.Unlock()
	if ended {
		a.finish() // its end is known by the channel gone
		return nil
	}
	line, err := json.Marshal(struct {
		ID       uint64  `json:"id"`
		Task     Task    `json:"task"`
		Patience float64 `json:"patience,omitempty"`
	}{a.id, task, c.patience(task)})
	if err != nil {
		c.forget(a)
		a.finish()
		return err
	}
	// Not here: a child that does not read would hold the caller. If the write fails, the child is about to end.
	go func() {
		c.writing.Lock()
		defer c.writing.Unlock()
		if err := c.config.makeTemp(); err != nil {
			c.log.Warn("a task's card may not find its TMPDIR", "card", c.card, "error", err)
		}
		if _, err := c.stdin.Write(append(line, '\n')); err != nil && !errors.Is(err, os.ErrClosed) {
			c.log.Warn("a task could not be handed to the card's process", "card", c.card, "error", err)
		}
	}()
	return nil
}

// take gives the asking that an answer is for, once. It stays known until its progress has ended, whose lines may be read
// later.
func (c *child) take(id uint64) *asking {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.asked[id]
	if a == nil || a.answered {
		return nil
	}
	a.answered = true
	if a.ended {
		delete(c.asked, id)
	}
	return a
}

// forget drops an asking of which nothing more is wanted.
func (c *child) forget(a *asking) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, a.id)
}

// tell takes in a progress line.
func (a *asking) tell(line progressLine) {
	a.mu.Lock()
	if line.Phase != "" {
		a.state.Phase, a.state.Done, a.state.Of = line.Phase, line.Done, line.Of
	}
	if line.Bad != nil {
		a.bad = append(a.bad, *line.Bad)
	}
	a.line.Vanilla += line.Vanilla
	a.line.Wait += line.Wait
	a.line.Snark += line.Snark
	if line.Kind != "" {
		a.line.Kind = line.Kind
	}
	a.mu.Unlock()
	select {
	case a.news <- struct{}{}:
	default:
	}
	if line.End {
		close(a.end)
	}
}

// patience is what a child of ours is told of a task's time, in seconds. Another program is told what damocles tells it and no more: 0.
func (c *child) patience(task Task) float64 {
	if task.Until.IsZero() || c.lastTick.Load() == 0 {
		return 0
	}
	return patienceFor(time.Until(task.Until)).Seconds()
}
