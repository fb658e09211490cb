// Package schedule says when epochs come and which of them get no block.
package schedule

import (
	"slices"
	"time"
)

// slack is how far behind its time an epoch may be, in epochs, and still leave the later ones where they were. What is lost
// beyond that is not made up: a burst of epochs would be no fair trial for whoever has to prove in them.
const slack = 4

// Next says when the epoch after the one that was due is due itself, given that it is now.
func Next(due, now time.Time, epoch time.Duration) time.Time {
	next := due.Add(epoch)
	if earliest := now.Add(-slack * epoch); next.Before(earliest) {
		return earliest
	}
	return next
}

// Nulls is the set of epochs that are to have no block. The zero value is empty.
type Nulls struct{ epochs map[int64]bool }

// Add plans null rounds at these epochs.
func (n *Nulls) Add(epochs ...int64) {
	if n.epochs == nil {
		n.epochs = map[int64]bool{}
	}
	for _, e := range epochs {
		n.epochs[e] = true
	}
}

// Has tells whether the epoch is to have no block.
func (n *Nulls) Has(epoch int64) bool { return n.epochs[epoch] }

// After lists the planned null rounds after an epoch, in order.
func (n *Nulls) After(epoch int64) []int64 {
	list := []int64{}
	for e := range n.epochs {
		if e > epoch {
			list = append(list, e)
		}
	}
	slices.Sort(list)
	return list
}
