package chain

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// headline is the newest head, for all in the process who wait for one.
type headline struct {
	mu      sync.Mutex
	head    *TipSet       // nil until one was seen
	headAt  time.Time     // when that was first seen
	changed chan struct{} // closed, and replaced, at every new head
}

func newHeadline() *headline { return &headline{changed: make(chan struct{})} }

// now is the head, when it came, and what is closed when there is another.
func (h *headline) now() (head *TipSet, at time.Time, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head, h.headAt, h.changed
}

// set takes a new head.
func (h *headline) set(head *TipSet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.head != nil && h.head.Cids.Equal(head.Cids) {
		return
	}
	h.head, h.headAt = head, time.Now()
	close(h.changed)
	h.changed = make(chan struct{})
}

// Head is the last head seen; nil before the first.
func (h *headline) Head() *TipSet {
	head, _, _ := h.now()
	return head
}

// Epoch is the last head's height; ok is false before the first.
func (h *headline) Epoch() (epoch abi.ChainEpoch, ok bool) {
	if head := h.Head(); head != nil {
		return head.Height, true
	}
	return 0, false
}

// WaitEpoch waits until the head is at epoch or past it and gives that head. It ends early only with the context.
func (h *headline) WaitEpoch(ctx context.Context, epoch abi.ChainEpoch) (*TipSet, error) {
	for {
		head, _, changed := h.now()
		if head != nil && head.Height >= epoch {
			return head, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for epoch %d: %w", epoch, ctx.Err())
		}
	}
}

// Heads gives the current head, if there is one, and then every new one, until the context ends; then it closes. A slow
// reader gets the newest only, never a queue of old ones.
func (h *headline) Heads(ctx context.Context) <-chan *TipSet {
	out := make(chan *TipSet)
	go func() {
		defer close(out)
		var sent *TipSet
		for {
			head, _, changed := h.now()
			give := out
			if head == sent {
				give = nil
			}
			select {
			case give <- head:
				sent = head
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
