package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

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
	*headline
	node  *Node
	log   *slog.Logger
	began time.Time // when the follower was made

	mu    sync.Mutex
	epoch time.Duration // 0 until the node has said it
	mode  string        // what was logged last: "", "subscribed", "polling" or "away"
	err   error         // why it is away
}

// NewFollower makes a follower of the node's head; Run starts it.
func NewFollower(node *Node, log *slog.Logger) *Follower {
	return &Follower{headline: newHeadline(), node: node, log: log.With("node", node.Endpoint()), began: time.Now()}
}

// Outlook is how the node is followed: its head, when that came, and whether it answers now.
func (f *Follower) Outlook() post.NodeOutlook {
	head, at, _ := f.now()
	epoch, away := f.state()
	o := post.NodeOutlook{Endpoint: f.node.Endpoint(), Since: f.began, EpochDuration: epoch, Away: away != nil, Refuses: errors.Is(away, ErrToken)}
	if away != nil {
		o.Why = away.Error()
	}
	if head == nil {
		return o
	}
	o.Head, o.At = head.Height, at
	// A test chain that mines faster than its timestamps say is told by the configuration, which overrides the epoch's duration.
	if f.node.options.EpochDuration == 0 {
		o.Timestamp = head.time()
	}
	return o
}

// state is how long an epoch is, as far as the node has said, and why the node is away, if it is.
func (f *Follower) state() (epoch time.Duration, away error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode != "away" {
		return f.epoch, nil
	}
	return f.epoch, f.err
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
				if change == nil || change.Val == nil || change.Type == HeadRevert {
					continue
				}
				if err := f.node.believes.check(change.Val, f.node.options.EpochDuration, time.Now()); err != nil {
					return fmt.Errorf("the subscription of %s: %w", f.node.Endpoint(), err)
				}
				f.found(change.Val, "subscribed")
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
	// A poll between two subscriptions is not worth a line.
	if before := f.mode; before != mode && (before != "subscribed" || mode != "polling") {
		f.log.Info("following the chain's head", "by", mode, "epoch", head.Height, "epoch_duration", f.epoch)
		f.mode = mode
	}
	f.mu.Unlock()
	f.set(head)
}

// away says, once, that the node does not answer.
func (f *Follower) away(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, context.Canceled) {
		return
	}
	f.err = err
	if f.mode != "away" {
		f.mode = "away"
		text := "lost the chain's head; trying on"
		if head, _, _ := f.now(); head == nil {
			text = "the node gives no head; trying on"
		}
		f.log.Warn(text, "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
