package chain

import (
	"fmt"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

const (
	// leapEpochs is how much further a head may be than the clock says that it can have come since the one before: test chains stall and catch up.
	leapEpochs = 100
	// offEpochs is by how much a head's epoch and its timestamp may contradict each other: on a real chain not at all.
	offEpochs = 10
	// aheadOfClock is how far in the future a head may be by this machine's clock, which may be minutes slow: nodes take no block of the future.
	aheadOfClock = 5 * time.Minute
	// insistEpochs is after how long a node is believed that insists on a leap, since then something else is wrong with what is known here.
	insistEpochs = 10
)

// credibility is what heads of a node are compared with. A head that is far above the chain's would end deadlines that are open, and messages
// that are on their way, and make all other nodes look behind.
type credibility struct {
	mu     sync.Mutex
	params *NetworkParams // nil: not known
	last   abi.ChainEpoch
	lastAt time.Time // when the node first gave that head; zero: it has given none
	agreed bool      // a head's epoch and timestamp have agreed: before, the node may be one that tells of another genesis
	doubt  time.Time // since when its heads leap; zero: they do not
}

// learn remembers the network's timing.
func (c *credibility) learn(params *NetworkParams) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.params = params
}

// check says why a head cannot be: its epoch is not that of its timestamp, or it is in the future and further from the one before than time has
// passed. The epoch is the configured one; zero: it is the network's, and timestamps are real.
func (c *credibility) check(head *TipSet, epoch time.Duration, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.contradicts(head); err != nil {
		return err
	}
	if err := c.leaps(head, epoch, now); err != nil {
		if c.doubt.IsZero() {
			c.doubt = now
		}
		if now.Sub(c.doubt) < insistEpochs*c.epoch(epoch) {
			return err
		}
	}
	if c.doubt = (time.Time{}); head.Height != c.last || c.lastAt.IsZero() {
		c.last, c.lastAt = head.Height, now
	}
	return nil
}

// epoch is how long one takes by the wall clock.
func (c *credibility) epoch(configured time.Duration) time.Duration {
	switch {
	case configured > 0:
		return configured
	case c.params != nil && c.params.BlockDelaySecs > 0:
		return c.params.EpochDuration()
	}
	return 30 * time.Second
}

// contradicts says whether a head is of another epoch than its timestamp.
func (c *credibility) contradicts(head *TipSet) error {
	p, at := c.params, head.time()
	if p == nil || p.GenesisTimestamp == 0 || p.BlockDelaySecs == 0 || at.IsZero() {
		return nil
	}
	byTime := abi.ChainEpoch((at.Unix() - int64(p.GenesisTimestamp)) / int64(p.BlockDelaySecs))
	off := head.Height - byTime
	if off <= offEpochs && off >= -offEpochs {
		c.agreed = true
		return nil
	}
	if !c.agreed {
		return nil
	}
	return fmt.Errorf("its head is epoch %d, and by that head's timestamp it is epoch %d", head.Height, byTime)
}

// leaps says whether a head is in the future, and further from the one before than time has passed.
func (c *credibility) leaps(head *TipSet, configured time.Duration, now time.Time) error {
	at := head.time()
	future := configured > 0 || at.IsZero() || at.Sub(now) > aheadOfClock
	if c.lastAt.IsZero() || !future {
		return nil
	}
	passed := abi.ChainEpoch(now.Sub(c.lastAt) / c.epoch(configured))
	if leap := head.Height - c.last; leap > passed+leapEpochs {
		return fmt.Errorf("its head is epoch %d, and was epoch %d when %d epochs less had passed", head.Height, c.last, leap-passed)
	}
	return nil
}
