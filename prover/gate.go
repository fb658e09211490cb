package prover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
)

// GateEnv names, in a child's environment, the descriptor from which it reads which of its tasks may begin their SNARK. Only a parent of ours
// sets it; without it a child goes on at once.
const GateEnv = "POSTHASTE_GATE_FD"

// gateLine is one line from the parent: the task may go on, or nobody wants it any more.
type gateLine struct {
	ID   uint64 `json:"id"`
	Stop bool   `json:"stop,omitempty"`
}

// errUnwanted ends a task that was cancelled while it waited for memory.
var errUnwanted = errors.New("it was cancelled while it waited for memory")

// gate is the child's end. A nil one is open.
type gate struct {
	mu    sync.Mutex
	told  map[uint64]chan gateLine // of tasks that wait
	ended chan struct{}            // the parent has closed its end
}

// inheritedGate opens the gate that the parent gave, nil if none.
func inheritedGate() (*gate, error) {
	pipe, err := inheritedPipe(GateEnv, "gate")
	if pipe == nil {
		return nil, err
	}
	return newGate(pipe), nil
}

// newGate reads from a pipe until it ends.
func newGate(pipe io.Reader) *gate {
	g := &gate{told: map[uint64]chan gateLine{}, ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		scanner := bufio.NewScanner(pipe)
		for scanner.Scan() {
			var line gateLine
			if json.Unmarshal(scanner.Bytes(), &line) != nil {
				continue
			}
			g.mu.Lock()
			told := g.told[line.ID]
			delete(g.told, line.ID)
			g.mu.Unlock()
			if told != nil {
				told <- line
			}
		}
	}()
	return g
}

// wait asks, by ask, for a task's memory and returns when it has it.
func (g *gate) wait(ctx context.Context, id uint64, ask func()) error {
	if g == nil {
		return nil
	}
	told := make(chan gateLine, 1)
	g.mu.Lock()
	g.told[id] = told
	g.mu.Unlock()
	ask()
	select {
	case line := <-told:
		if line.Stop {
			return errUnwanted
		}
		return nil
	case <-g.ended:
		return os.ErrClosed // there is no parent, and nobody for the answer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// admit is the parent's end: a child's task has its vanilla proofs and waits for memory. It returns when the task may go on, or is over.
func (c *child) admit(a *asking) {
	err := a.takeMemory(c.memory)
	switch {
	case err == nil:
	case a.life.Err() == nil:
		c.log.Error("the memory of SNARKs cannot be limited; going on without", "card", c.card, "error", err)
	case a.isOver():
		return
	}
	line, err := json.Marshal(gateLine{ID: a.id, Stop: a.life.Err() != nil})
	if err != nil {
		return
	}
	c.gating.Lock()
	defer c.gating.Unlock()
	// A child that is gone needs no leave.
	_, _ = c.gate.Write(append(line, '\n'))
}

// takeMemory waits for memory, which the task then holds until it is over.
func (a *asking) takeMemory(memory *Memory) error {
	a.mu.Lock()
	has := a.giveBack != nil
	a.mu.Unlock()
	if memory == nil || has || a.small {
		return a.life.Err()
	}
	giveBack, err := memory.Acquire(a.life)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		giveBack()
		return context.Canceled
	}
	a.giveBack = giveBack
	return nil
}

// finish is called when nothing of a task is left in its process: its answer has come, or the process has ended.
func (a *asking) finish() {
	a.drop()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.giveBack != nil {
		a.giveBack()
	}
}

func (a *asking) isOver() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.over
}
