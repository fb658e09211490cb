package prover

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestHowManySnarksFit(t *testing.T) {
	for name, c := range map[string]struct {
		total, perProof int64
		n               int
	}{
		"four":                  {256 << 30, 64 << 30, 4},
		"not quite four":        {255 << 30, 64 << 30, 3},
		"less than one is one":  {1 << 30, 64 << 30, 1},
		"of this machine's all": {0, 1 << 60, 1},
	} {
		m, err := NewMemory(inTemp(t, "not/there/yet"), c.total, c.perProof)
		require.NoError(t, err, name)
		require.Equal(t, c.n, m.N(), name)
	}
	_, err := NewMemory(t.TempDir(), 1, 0)
	require.ErrorContains(t, err, "both must be positive")
	_, err = NewMemory("/proc/nowhere", 1, 1)
	require.ErrorContains(t, err, "memory lock")
}

// acquired asks for memory in the background.
func acquired(ctx context.Context, m *Memory) <-chan func() {
	got := make(chan func(), 1)
	go func() {
		if release, err := m.Acquire(ctx); err == nil {
			got <- release
		}
	}()
	return got
}

func (m *Memory) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

func TestMemoryGoesToWhoCameFirst(t *testing.T) {
	m, err := NewMemory(t.TempDir(), 2, 1)
	require.NoError(t, err)
	first, err := m.Acquire(t.Context())
	require.NoError(t, err)
	second, err := m.Acquire(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	line := []<-chan func(){}
	for i := range 4 {
		line = append(line, acquired(map[bool]context.Context{true: ctx, false: t.Context()}[i == 1], m))
		require.Eventually(t, func() bool { return m.waiting() == i+1 }, 5*time.Second, time.Millisecond)
	}
	cancel()
	require.Eventually(t, func() bool { return m.waiting() == 3 }, 5*time.Second, time.Millisecond, "who is cancelled leaves the line")
	first()
	first() // gives back once only
	third := <-line[0]
	require.Empty(t, line[2])
	second()
	fourth := <-line[2]
	third()
	fourth()
	(<-line[3])()
	require.Empty(t, line[1])
}

func TestMemoryIsSharedByProcessesAndOutlivesNone(t *testing.T) {
	dir := t.TempDir()
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), childEnv+"=holds memory", "MEMORY="+dir)
	out, err := other.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())
	require.True(t, bufio.NewScanner(out).Scan())

	m, err := NewMemory(dir, 1, 1)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*memoryPoll)
	defer cancel()
	_, err = m.Acquire(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "another process holds it")
	require.NoError(t, other.Process.Kill())
	_ = other.Wait()
	release, err := m.Acquire(t.Context())
	require.NoError(t, err, "the kernel drops a dead process's lock")
	release()
}

// Several SNARKs want memory for one.
func TestSnarksWaitHoldingTheirVanillaProofs(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 2)
	m, err := NewMemory(t.TempDir(), 1, 1)
	require.NoError(t, err)
	hold, err := m.Acquire(t.Context())
	require.NoError(t, err)
	pool := startPool(t, PoolOptions{Verify: Verify, Limits: &Limits{Memory: m}}, ours("gpu0"), ours("gpu1"), ours("gpu2"))
	results := make(chan *Result, 3)
	for range 3 {
		go func() {
			result, err := pool.Prove(t.Context(), task, nil, nil)
			if err != nil {
				t.Error(err)
			}
			results <- result
		}()
	}
	waiting := func() bool {
		return !slices.ContainsFunc(pool.Status(), func(s CardStatus) bool { return s.Phase != post.PhaseMemory })
	}
	require.Eventually(t, waiting, 60*time.Second, 5*time.Millisecond)
	require.Never(t, func() bool { return !waiting() }, 500*time.Millisecond, 20*time.Millisecond, "all of them have read their sectors and wait")
	for _, s := range pool.Status() {
		require.True(t, s.Alive)
	}
	hold()
	for range 3 {
		result := <-results
		require.True(t, verifies(t, task, nil, result.Proof))
		require.Greater(t, result.Phases.Wait, 500*time.Millisecond)
		require.Positive(t, result.Phases.Vanilla)
		require.Positive(t, result.Phases.Snark)
	}
}

// snarks are the lines that gated children have written.
func snarks(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	return strings.Fields(string(text))
}

// gatedPool has three cards and memory for one SNARK.
func gatedPool(t *testing.T, takes string, change func(i int, c *CardConfig)) (*Pool, *Memory, string) {
	t.Helper()
	m, err := NewMemory(t.TempDir(), 1, 1)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "snarks")
	var cards []CardConfig
	for i, name := range []string{"gpu0", "gpu1", "gpu2"} {
		c := fake(name, "gated")
		c.Envs["SNARKS"], c.Envs["SNARK_TAKES"] = file, takes
		if change != nil {
			change(i, &c)
		}
		cards = append(cards, c)
	}
	return startPool(t, PoolOptions{Limits: &Limits{Memory: m}}, cards...), m, file
}

func TestNeverTwoSnarksAtOnce(t *testing.T) {
	pool, _, file := gatedPool(t, "20ms", nil)
	var wg sync.WaitGroup
	for range 9 {
		wg.Go(func() {
			_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, slices.Repeat([]string{"begin", "end"}, 9), snarks(t, file))
}

func TestAKilledSnarkGivesItsMemoryToTheNext(t *testing.T) {
	pool, m, file := gatedPool(t, "1h", nil)
	errs := make(chan error, 2)
	for range 2 {
		go func() { _, err := pool.Prove(t.Context(), fakeTask(1), nil, nil); errs <- err }()
	}
	for i := range 2 {
		busy := eventually(t, pool, "computing", func(s CardStatus) bool { return s.Phase == post.PhaseSnark })
		require.Eventually(t, func() bool { return m.waiting() == 1-i }, 10*time.Second, time.Millisecond)
		require.NoError(t, syscall.Kill(busy.PID, syscall.SIGKILL))
		require.ErrorIs(t, <-errs, ErrCardCrashed)
	}
	require.Equal(t, []string{"begin", "begin"}, snarks(t, file))
}

func TestACancelledSnarkGivesItsMemoryBack(t *testing.T) {
	pool, m, _ := gatedPool(t, "1h", nil)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { _, err := pool.Prove(ctx, fakeTask(1), nil, nil); got <- err }()
	eventually(t, pool, "computing", func(s CardStatus) bool { return s.Phase == post.PhaseSnark })
	cancel()
	require.ErrorIs(t, <-got, context.Canceled)
	release, err := m.Acquire(t.Context())
	require.NoError(t, err)
	release()
}

// A process that works for others too is not killed; it is told not to begin.
func TestATaskCancelledWhileItWaitsIsNotComputed(t *testing.T) {
	pool, m, file := gatedPool(t, "500ms", func(i int, c *CardConfig) {
		c.Concurrent = 2
		c.Fenced = map[bool]string{true: "not in this test"}[i > 0]
	})
	done := make(chan error, 2)
	go func() { _, err := pool.Prove(t.Context(), fakeTask(1), nil, nil); done <- err }()
	eventually(t, pool, "computing", func(s CardStatus) bool { return s.Phase == post.PhaseSnark })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, err := pool.Prove(ctx, fakeTask(2), nil, nil); done <- err }()
	require.Eventually(t, func() bool { return m.waiting() == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, <-done)
	require.Equal(t, []string{"begin", "stopped", "end"}, snarks(t, file))
	eventually(t, pool, "all places free", func(s CardStatus) bool { return s.State == StateIdle })
}

func TestAForeignProgramWaitsBeforeItGetsItsTask(t *testing.T) {
	m, err := NewMemory(t.TempDir(), 1, 1)
	require.NoError(t, err)
	hold, err := m.Acquire(t.Context())
	require.NoError(t, err)
	pool := startPool(t, PoolOptions{Limits: &Limits{Memory: m}}, fake("gpu0", "good"))
	got := make(chan *Result, 1)
	go func() {
		result, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
		if err != nil {
			t.Error(err)
		}
		got <- result
	}()
	eventually(t, pool, "waiting", func(s CardStatus) bool { return s.Phase == post.PhaseMemory })
	time.Sleep(50 * time.Millisecond) // it would have answered by now
	require.Empty(t, got)
	hold()
	result := <-got
	require.GreaterOrEqual(t, result.Phases.Wait, 50*time.Millisecond)

	again, err := m.Acquire(t.Context())
	require.NoError(t, err, "given back with the answer")
	defer again()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := pool.Prove(ctx, fakeTask(1), nil, nil); failed <- err }()
	busy := eventually(t, pool, "waiting", func(s CardStatus) bool { return s.Phase == post.PhaseMemory })
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.Equal(t, busy.PID, eventually(t, pool, "free", func(s CardStatus) bool { return s.State == StateIdle }).PID,
		"a process that was not given its task yet lives on")
}

func TestWithoutMemoryToShareNobodyWaits(t *testing.T) {
	file := inTemp(t, "snarks")
	c := fake("gpu0", "gated")
	c.Envs["SNARKS"] = file
	pool := startPool(t, PoolOptions{}, c)
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"begin", "end"}, snarks(t, file))
}

func TestALockFolderThatIsGoneStopsNoProof(t *testing.T) {
	dir := inTemp(t, "locks")
	m, err := NewMemory(dir, 1, 1)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	for _, behaviour := range []string{"good", "gated"} {
		c := fake("gpu0", behaviour)
		c.Envs["SNARKS"] = inTemp(t, "snarks")
		pool := startPool(t, PoolOptions{Limits: &Limits{Memory: m}}, c)
		_, err = pool.Prove(t.Context(), fakeTask(1), nil, nil)
		require.NoError(t, err)
	}
}

// What cleans up /tmp goes by the age of files.
func TestMemoryOutlivesACleanUpOfItsFolder(t *testing.T) {
	dir := inTemp(t, "memory")
	m, err := NewMemory(dir, 1, 1)
	require.NoError(t, err)
	lock, old := filepath.Join(dir, "snark-0.lock"), time.Now().Add(-30*24*time.Hour)
	require.NoError(t, os.Chtimes(lock, old, old))
	release, err := m.Acquire(t.Context())
	require.NoError(t, err)
	info, err := os.Stat(lock)
	require.NoError(t, err)
	require.True(t, info.ModTime().After(old.Add(24*time.Hour)), "one that is held is not old")
	release()
	require.NoError(t, os.RemoveAll(dir))
	release, err = m.Acquire(t.Context())
	require.NoError(t, err)
	release()
}
