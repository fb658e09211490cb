package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

const (
	// minPoll and maxPoll bound how often a node without subscriptions is asked for its head; between them a quarter of
	// an epoch, so that a new head is seen with little delay for its worth.
	minPoll = 50 * time.Millisecond
	maxPoll = 5 * time.Second
	// resubscribe is how long a node that refused a subscription is polled before it is asked for one again.
	resubscribe = time.Minute
	// quietEpochs is after how many epochs without a word a subscription is doubted and the head is asked for: null rounds
	// are quiet too, so this is a check and not yet an error.
	quietEpochs = 3
)

// Follower is a process's one view of a node's head: by subscription over a websocket where the node offers one, by
// polling where not. It outlives the node's absence, with one log line when it goes and one when it comes back.
type Follower struct {
	node  *Node
	epoch time.Duration
	log   *slog.Logger

	mu      sync.Mutex
	head    *TipSet       // nil until the node first answered
	headAt  time.Time     // when that was first seen
	began   time.Time     // when the follower was made
	changed chan struct{} // closed, and replaced, at every new head
	mode    string        // what was logged last: "", "subscribed", "polling" or "away"
}

// NewFollower makes a follower of the node's head; Run starts it.
func NewFollower(node *Node, log *slog.Logger) *Follower {
	return &Follower{node: node, log: log.With("node", node.Endpoint()), changed: make(chan struct{}), began: time.Now()}
}

// Head is the last head seen; nil before the first.
func (f *Follower) Head() *TipSet {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// Epoch is the last head's height; ok is false before the first.
func (f *Follower) Epoch() (epoch abi.ChainEpoch, ok bool) {
	if head := f.Head(); head != nil {
		return head.Height, true
	}
	return 0, false
}

// Outlook is how the node is followed: its head, when that came, and whether it answers now.
func (f *Follower) Outlook() post.NodeOutlook {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := post.NodeOutlook{Endpoint: f.node.Endpoint(), Since: f.began, EpochDuration: f.epoch, Away: f.mode == "away"}
	if f.head == nil {
		return o
	}
	o.Head, o.At = f.head.Height, f.headAt
	// A test chain that mines faster than its timestamps say is told by the configuration, which overrides the epoch's duration.
	if f.node.options.EpochDuration == 0 {
		o.Timestamp = f.head.time()
	}
	return o
}

// WaitEpoch waits until the head is at epoch or past it and gives that head. It ends early only with the context.
func (f *Follower) WaitEpoch(ctx context.Context, epoch abi.ChainEpoch) (*TipSet, error) {
	for {
		f.mu.Lock()
		head, changed := f.head, f.changed
		f.mu.Unlock()
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
func (f *Follower) Heads(ctx context.Context) <-chan *TipSet {
	out := make(chan *TipSet)
	go func() {
		defer close(out)
		var sent *TipSet
		for {
			f.mu.Lock()
			head, changed := f.head, f.changed
			f.mu.Unlock()
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

// Run follows the head until the context ends. It returns only then.
func (f *Follower) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if f.epoch == 0 && !f.learnEpoch(ctx) {
			continue
		}
		switch err := f.subscription(ctx); {
		case errors.Is(err, errNoSubscription):
			f.poll(ctx, resubscribe)
		case err != nil:
			// Poll once, so that the node's absence is noticed and said before the next try.
			f.poll(ctx, 0)
			sleep(ctx, pollInterval(f.epoch))
		}
	}
	return ctx.Err()
}

// learnEpoch asks the node how long an epoch is: the first thing asked of it.
func (f *Follower) learnEpoch(ctx context.Context) bool {
	duration, err := f.node.EpochDuration(ctx)
	if err != nil {
		f.away(err)
		sleep(ctx, time.Second)
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch = duration
	return true
}

// pollInterval is a quarter of an epoch, within bounds.
func pollInterval(epoch time.Duration) time.Duration { return min(max(epoch/4, minPoll), maxPoll) }

// poll asks for the head, again and again for at least the time given, and on while the node is away.
func (f *Follower) poll(ctx context.Context, atLeast time.Duration) {
	until := time.Now().Add(atLeast)
	for ctx.Err() == nil {
		head, err := f.node.ChainHead(ctx)
		switch {
		case err != nil:
			f.away(err)
		default:
			f.found(head, "polling")
			if time.Now().After(until) {
				return
			}
		}
		sleep(ctx, pollInterval(f.epoch))
	}
}

var errNoSubscription = errors.New("no subscription")

// subscription follows the head over one websocket until that ends. errNoSubscription: it could not be had at all.
func (f *Follower) subscription(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := f.node.notify(ctx)
	if err != nil {
		if errors.Is(err, ErrUnreachable) {
			return err
		}
		return fmt.Errorf("%w: %w", errNoSubscription, err)
	}
	quiet := max(quietEpochs*f.epoch, time.Second)
	doubt := time.NewTimer(quiet)
	defer doubt.Stop()
	for {
		select {
		case step, open := <-changes:
			if !open {
				return errors.New("the node closed the subscription")
			}
			for _, change := range step {
				if change != nil && change.Val != nil && change.Type != HeadRevert {
					f.found(change.Val, "subscribed")
				}
			}
		case <-doubt.C:
			head, err := f.node.ChainHead(ctx)
			if err != nil {
				return err
			}
			if known := f.Head(); known == nil || !known.Cids.Equal(head.Cids) {
				f.found(head, "polling")
				return errors.New("the subscription lags behind the head")
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		doubt.Reset(quiet)
	}
}

// found takes a new head and says, once, how the node is followed now.
func (f *Follower) found(head *TipSet, mode string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// A poll between two subscriptions is not worth a line.
	if before := f.mode; before != mode && (before != "subscribed" || mode != "polling") {
		f.log.Info("following the chain's head", "by", mode, "epoch", head.Height, "epoch_duration", f.epoch)
		f.mode = mode
	}
	if f.head != nil && f.head.Cids.Equal(head.Cids) {
		return
	}
	f.head, f.headAt = head, time.Now()
	close(f.changed)
	f.changed = make(chan struct{})
}

// away says, once, that the node does not answer.
func (f *Follower) away(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode != "away" && !errors.Is(err, context.Canceled) {
		f.mode = "away"
		f.log.Warn("lost the chain's head; trying on", "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
