package workers

import (
	"context"
	"sync"

	"go.temporal.io/sdk/worker"
)

// slots are the places of a group of cards, as the SDK takes them: one before it polls, given back when the poll brings nothing or
// when the job is done. Their number changes with the cards that are usable, and the SDK workers that poll for the group one after
// another share them, so that what still runs for an old one counts.
type slots struct {
	most int // that there will ever be

	mu       sync.Mutex
	capacity int
	taken    int // of polls and of jobs
	used     int // of these, the ones of jobs
	changed  chan struct{}
}

func newSlots(most int) *slots { return &slots{most: most, changed: make(chan struct{})} }

// resize changes how many places there are. Fewer than are taken: nobody is thrown out, and nobody gets one until there is room.
func (s *slots) resize(capacity int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.capacity != capacity {
		s.capacity = capacity
		s.tell()
	}
}

// tell wakes everybody who waits for a change. The mutex is held.
func (s *slots) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// excess is how many polls are out for which there is no place any more: what they bring would wait here, while another worker may
// be free.
func (s *slots) excess() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, min(s.taken-s.used, s.taken-s.capacity))
}

// places is how many there are now.
func (s *slots) places() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capacity
}

// busy is how many jobs run.
func (s *slots) busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// idle returns when no job runs and no poll is out that could bring one, or when ctx ends. Nothing may be polled any more.
func (s *slots) idle(ctx context.Context) error {
	for {
		s.mu.Lock()
		taken, changed := s.taken, s.changed
		s.mu.Unlock()
		if taken == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ReserveSlot waits for a place.
func (s *slots) ReserveSlot(ctx context.Context, _ worker.SlotReservationInfo) (*worker.SlotPermit, error) {
	for {
		permit, changed := s.take()
		if permit != nil {
			return permit, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take is a place, or a channel that is closed when it is worth trying again.
func (s *slots) take() (*worker.SlotPermit, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.capacity {
		return nil, s.changed
	}
	s.taken++
	return &worker.SlotPermit{UserData: new(bool)}, nil
}

// TryReserveSlot is for eager activities, which would go round the queue and its order: none.
func (s *slots) TryReserveSlot(worker.SlotReservationInfo) *worker.SlotPermit { return nil }

// MarkSlotUsed notes that a poll has brought a job.
func (s *slots) MarkSlotUsed(info worker.SlotMarkUsedInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isJob, ours := info.Permit().UserData.(*bool); ours && !*isJob {
		*isJob = true
		s.used++
		s.tell()
	}
}

// ReleaseSlot gives a place back.
func (s *slots) ReleaseSlot(info worker.SlotReleaseInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isJob, ours := info.Permit().UserData.(*bool); ours && *isJob {
		s.used--
	}
	s.taken--
	s.tell()
}

// MaxSlots is how many places there will ever be, for the SDK's metrics.
func (s *slots) MaxSlots() int { return s.most }
