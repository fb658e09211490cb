package sectors

import (
	"errors"
	"sync/atomic"
	"time"
)

// mount is a store and what is known about its disk: how many calls have been given up on and still hang.
type mount struct {
	Store
	hanging atomic.Int32
}

// errStopped says that nobody waits for the answer any more.
var errStopped = errors.New("stopped while waiting for a store's disk")

// within runs f, which touches the store's disk, and gives up after limit. A call into a dead network mount cannot be
// interrupted, so it is left behind, and while one is, further calls fail at once instead of piling up. Closing stop (nil:
// never closed) ends the waiting early.
func within[T any](m *mount, limit time.Duration, stop <-chan struct{}, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if m.hanging.Load() > 0 {
		return none, ErrStoreHangs{Store: m.Name, Path: m.Path, Limit: limit}
	}
	done := make(chan answer, 1)
	go func() {
		value, err := f()
		done <- answer{value, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.value, a.err
	case <-stop:
		return none, errStopped
	case <-timer.C:
		m.hanging.Add(1)
		go func() {
			<-done
			m.hanging.Add(-1)
		}()
		return none, ErrStoreHangs{Store: m.Name, Path: m.Path, Limit: limit}
	}
}
