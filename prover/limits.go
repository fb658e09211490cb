package prover

import (
	"sync"

	"github.com/filecoin-project/go-state-types/abi"
)

// Limits are what several pools of one worker share.
type Limits struct {
	Tasks  int     // tasks at once in all pools that share these limits; 0 means no limit
	Memory *Memory // SNARKs at once on this host; nil means no limit
	// MemoryFrom is the sector size, in bytes, from which on tasks wait for Memory. What smaller ones take is not worth counting. 0: all do.
	MemoryFrom abi.SectorSize

	mu       sync.Mutex
	arrivals uint64           // jobs that have come, of all pools
	taken    int              // of Tasks
	wanting  map[*Pool]uint64 // pools with a card free for their first job, which waits for one of Tasks; and when that job came
}

// arrive numbers a job that comes.
func (l *Limits) arrive() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivals++
	return l.arrivals
}

// take is asked for a task by a pool whose first job came as the number says and has a card. If there is none, or a job of another
// pool comes first, the pool is asked to dispatch when it is its turn: next names it then.
func (l *Limits) take(p *Pool, arrival uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Tasks > 0 {
		for other, number := range l.wanting {
			if other != p && number < arrival {
				l.want(p, arrival)
				return false
			}
		}
		if l.taken >= l.Tasks {
			l.want(p, arrival)
			return false
		}
	}
	delete(l.wanting, p)
	l.taken++
	return true
}

func (l *Limits) want(p *Pool, arrival uint64) {
	if l.wanting == nil {
		l.wanting = map[*Pool]uint64{}
	}
	l.wanting[p] = arrival
}

// give returns tasks.
func (l *Limits) give(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken -= n
}

// leave is for a pool without a job that only waits for a task.
func (l *Limits) leave(p *Pool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.wanting, p)
}

// next is the pool whose turn it is, nil if nobody waits or no task is free.
func (l *Limits) next() *Pool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken >= l.Tasks {
		return nil
	}
	var first *Pool
	for p, number := range l.wanting {
		if first == nil || number < l.wanting[first] {
			first = p
		}
	}
	return first
}

// small says that a task takes so little memory that it need not wait for it.
func (l *Limits) small(task Task) bool {
	size, err := abi.RegisteredPoStProof(task.ProofType).SectorSize()
	return err == nil && size < l.MemoryFrom
}
