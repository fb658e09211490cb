package activities

import (
	"errors"
	"sync"
)

// atOnce bounds the calls to Temporal that are made side by side.
const atOnce = 8

// SideBySide calls f for 0 to n-1, a few at once, and waits for all of them. Its error joins theirs: one that fails keeps no other from
// being called. It is for calls to Temporal, of which a reading makes one a workflow or more.
func SideBySide(n int, f func(i int) error) error {
	errs := make([]error, n)
	places := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			errs[i] = f(i)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
