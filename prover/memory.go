package prover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// memoryPoll is how often the first in line looks for memory that another process has given back.
const memoryPoll = 100 * time.Millisecond

// Memory limits how many SNARKs are computed at once on this host, by all processes that name the same folder: it holds a
// file for each, and who computes holds a lock on one. The kernel drops the lock of a process that dies.
type Memory struct {
	dir string
	n   int

	mu    sync.Mutex
	queue []*memoryWaiter // of this process, first come first served
}

// memoryWaiter is one Acquire.
type memoryWaiter struct {
	turn chan struct{} // buffered: it is first now, or a lock was given back
}

// NewMemory limits to as many SNARKs as fit into total bytes at perProof bytes each, but at least one. A total of 0 means what this
// machine has. The folder is made if it is missing. All processes that share it must be given the same figures.
func NewMemory(dir string, total, perProof int64) (*Memory, error) {
	if perProof <= 0 || total < 0 {
		return nil, fmt.Errorf("%d bytes of memory per proof of %d in all; both must be positive", perProof, total)
	}
	if total == 0 {
		var err error
		if total, err = machineMemory(); err != nil {
			return nil, err
		}
		total += perProof / kernelShare
	}
	m := &Memory{dir: dir, n: int(max(1, total/perProof))}
	for i := range m.n {
		file, err := m.open(i)
		if err != nil {
			return nil, fmt.Errorf("opening a memory lock: %w", err)
		}
		_ = file.Chmod(0o666)
		_ = file.Close()
	}
	return m, nil
}

// kernelShare of a proof's memory may lack in what the kernel says that there is: it keeps some 2 % for itself, and a machine of 128 GiB
// would not have room for two proofs of 64.
const kernelShare = 16

// machineMemory is how many bytes of memory this machine has.
func machineMemory() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("reading how much memory this machine has: %w", err)
	}
	return kibibytes(string(text), "MemTotal:")
}

// kibibytes finds a line such as "MemTotal:  1024 kB" and gives its bytes.
func kibibytes(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				kib, err := strconv.ParseInt(fields[0], 10, 64)
				return kib << 10, err
			}
		}
	}
	return 0, fmt.Errorf("there is no line %q", name)
}

// N is how many SNARKs may be computed at once.
func (m *Memory) N() int { return m.n }

// Acquire waits for memory for a SNARK. Within a process, who came first gets it first. release gives it back; it may be
// called more than once. The error is ctx's, or that of a folder that cannot be used.
func (m *Memory) Acquire(ctx context.Context) (release func(), err error) {
	w := &memoryWaiter{turn: make(chan struct{}, 1)}
	m.mu.Lock()
	m.queue = append(m.queue, w)
	m.mu.Unlock()
	defer m.leave(w)
	ticker := time.NewTicker(memoryPoll)
	defer ticker.Stop()
	for {
		if m.first(w) {
			file, err := m.try()
			if err != nil {
				return nil, fmt.Errorf("taking a memory lock: %w", err)
			}
			if file != nil {
				return sync.OnceFunc(func() { m.giveBack(file) }), nil
			}
		}
		select {
		case <-w.turn:
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *Memory) first(w *memoryWaiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queue[0] == w
}

// leave takes a waiter out of the queue and lets the next one look at once.
func (m *Memory) leave(w *memoryWaiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = slices.DeleteFunc(m.queue, func(other *memoryWaiter) bool { return other == w })
	m.wake()
}

// wake tells the first in line to look. The mutex is held.
func (m *Memory) wake() {
	if len(m.queue) > 0 {
		select {
		case m.queue[0].turn <- struct{}{}:
		default:
		}
	}
}

// try takes a lock that nobody holds, nil if there is none.
func (m *Memory) try() (*os.File, error) {
	for i := range m.n {
		file, err := m.open(i)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			// For people: who had it last. And a file that is written to is not old, so nobody cleans it away while it is held.
			_ = file.Truncate(0)
			_, _ = file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
			return file, nil
		}
		_ = file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("locking %s: %w", file.Name(), err)
		}
	}
	return nil, nil
}

// open opens a lock's file. The folder is made if it is missing, also later: what cleans up /tmp may have taken it away.
func (m *Memory) open(i int) (*os.File, error) {
	path := filepath.Join(m.dir, fmt.Sprintf("snark-%d.lock", i))
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
	if !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of memory locks: %w", err)
	}
	// Workers of several users may share the machine, and so the folder; umask would keep the others out.
	_ = os.Chmod(m.dir, 0o777)
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
}

// giveBack unlocks by name, not only by closing: a child that is just being started may hold the descriptor for a moment.
func (m *Memory) giveBack(file *os.File) {
	_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
	_ = file.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake()
}

// snarkMemory is what the SNARKs of a pool wait for, nil for nothing. Winning proofs are small, and late within seconds.
func (p *Pool) snarkMemory() *Memory {
	if p.kind != KindWindow {
		return nil
	}
	return p.limits.Memory
}
