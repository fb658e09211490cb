package prover

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestProveWithAForeignProgram(t *testing.T) {
	for name, c := range map[string]struct {
		behaviour string
		says      bool // what the verifier says
		err       error
		text      string
		skipped   []abi.SectorNumber
		covered   []abi.SectorNumber
	}{
		"a proof of all":                     {behaviour: "good", says: true, covered: []abi.SectorNumber{1, 2, 3, 4}},
		"garbage around the lines":           {behaviour: "garbage first", says: true, covered: []abi.SectorNumber{1, 2, 3, 4}},
		"bad sectors, asked again without":   {behaviour: "even are bad", says: true, skipped: []abi.SectorNumber{2, 4}, covered: []abi.SectorNumber{1, 3}},
		"all sectors bad":                    {behaviour: "all are bad", err: ErrAllBad, text: "none of the 4 sectors of f01000 can be proven: sector 1:"},
		"an error message":                   {behaviour: "refuses", err: ErrTask, text: "no such proof type"},
		"neither output nor error":           {behaviour: "no output", err: ErrTask},
		"neither proof nor bad sectors":      {behaviour: "empty output", err: ErrTask, text: "0 proofs and 0 bad sectors"},
		"a bad sector that nobody asked for": {behaviour: "strange faults", err: ErrTask, text: "sector 77"},
		"a proof that does not verify":       {behaviour: "good", says: false, err: ErrProofInvalid},
		"death in the middle of the task":    {behaviour: "dies on a task", err: ErrCardCrashed, text: "exit status 9; its last log lines: out of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := &verified{says: c.says}
			pool := startPool(t, PoolOptions{Verify: check.verify}, fake("gpu0", c.behaviour))
			result, err := pool.Prove(t.Context(), fakeTask(4, 2, 3, 1), nil, nil)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				require.ErrorContains(t, err, c.text)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "proof", string(result.Proof))
			require.Equal(t, "gpu0", result.Card)
			require.Equal(t, windowType, result.ProofType)
			require.Equal(t, [][]abi.SectorNumber{c.covered}, check.sets)
			var skipped []abi.SectorNumber
			for _, s := range result.Skipped {
				skipped = append(skipped, s.Sector)
				require.NotEmpty(t, s.Reason)
			}
			require.Equal(t, c.skipped, skipped)
			require.Equal(t, 1, pool.Status()[0].Proofs)
		})
	}
}

// Answers and progress come by two pipes, and a task may be over before the first line of its progress is read.
func TestWhyASectorIsBadIsKnownAfterTheAnswer(t *testing.T) {
	pool := startPool(t, PoolOptions{}, fake("gpu0", "progress is read late"))
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrAllBad)
	require.ErrorContains(t, err, "its disk is on fire")
}

func TestAShellScriptIsACard(t *testing.T) {
	script := inTemp(t, "card.sh")
	require.NoError(t, os.WriteFile(script, []byte(`#!/bin/sh
test "$1" = "first arg" || exit 7
test -d "$TMPDIR" || exit 8
test -z "$HOME" || exit 9
echo "window_post processor ready"
while read -r line; do
  id=${line#*:}; id=${id%%,*}
  echo "{\"id\":$id,\"err_msg\":null,\"output\":{\"proofs\":[\"cHJvb2Y=\"],\"faults\":[]}}"
done
`), 0o755))
	pool := startPool(t, PoolOptions{}, CardConfig{
		Name: "script", Bin: script, Args: []string{"first arg"}, CleanEnv: true,
		Envs: map[string]string{"TMPDIR": inTemp(t, "not/there/yet"), "PATH": os.Getenv("PATH")},
	})
	for range 2 {
		result, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
		require.NoError(t, err)
		require.Equal(t, "proof", string(result.Proof))
	}
}

// What a program writes may fill neither the memory nor the reason for which it is killed with untruths.
func TestWhatHasNoEnd(t *testing.T) {
	pool := startPool(t, PoolOptions{}, fake("gpu0", "line without end"))
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrCardCrashed)
	require.ErrorContains(t, err, "it has written a line of more than 64 MiB")
	require.NotContains(t, err.Error(), "not by posthaste")

	pool = startPool(t, PoolOptions{}, fake("gpu0", "bar of progress"))
	_, err = pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.NoError(t, err, "its log is its own affair")
}

func TestLinesOfALog(t *testing.T) {
	scanner := bufio.NewScanner(strings.NewReader("one\ntwo\r\n 50 %\r100 %\r" + strings.Repeat("x", maxLogLine) + "end"))
	scanner.Buffer(nil, 2*maxLogLine)
	scanner.Split(logLine)
	var lines []string
	for scanner.Scan() {
		if text := strings.TrimSpace(scanner.Text()); text != "" {
			lines = append(lines, clip([]byte(text)))
		}
	}
	require.NoError(t, scanner.Err())
	require.Equal(t, []string{"one", "two", "50 %", "100 %"}, lines[:4])
	require.LessOrEqual(t, len(lines), 6)
}

func TestACrashedCardIsStartedAgainAtOnce(t *testing.T) {
	pool := startPool(t, PoolOptions{}, fake("gpu0", "dies on a task"))
	before := eventually(t, pool, "ready", func(s CardStatus) bool { return s.State == StateIdle })
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrCardCrashed)
	failed := time.Now()
	after := eventually(t, pool, "ready again", func(s CardStatus) bool { return s.State == StateIdle && s.PID != before.PID })
	require.Less(t, time.Since(failed), time.Second)
	require.Equal(t, 1, after.Restarts)
	require.Equal(t, 1, after.Failures)
	require.Contains(t, after.Error, "out of memory")
}

func TestAKilledChildFailsItsJobAtOnce(t *testing.T) {
	pool := startPool(t, PoolOptions{}, fake("gpu0", "says nothing"))
	got := make(chan error, 1)
	go func() {
		_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
		got <- err
	}()
	busy := eventually(t, pool, "proving", func(s CardStatus) bool { return s.State == StateProving })
	require.Equal(t, []string{"f01000: sectors 1 (1)"}, busy.Jobs)
	require.True(t, busy.Alive)
	killed := time.Now()
	require.NoError(t, syscall.Kill(busy.PID, syscall.SIGKILL))
	require.ErrorIs(t, <-got, ErrCardCrashed)
	require.Less(t, time.Since(killed), time.Second)
}

func TestCancelKillsTheChildAndItsChildren(t *testing.T) {
	script, pidFile := inTemp(t, "card.sh"), inTemp(t, "pid")
	require.NoError(t, os.WriteFile(script, []byte(fmt.Sprintf(`#!/bin/sh
echo "window_post processor ready"
read -r line
sleep 1000 & echo $! > %s.tmp; mv %s.tmp %s
wait
`, pidFile, pidFile, pidFile)), 0o755))
	pool := startPool(t, PoolOptions{}, CardConfig{Name: "gpu0", Bin: script})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := pool.Prove(ctx, fakeTask(1), nil, nil)
		got <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(pidFile); return err == nil }, 10*time.Second, 5*time.Millisecond)
	before := pool.Status()[0].PID
	cancel()
	require.ErrorIs(t, <-got, context.Canceled)
	after := eventually(t, pool, "ready again", func(s CardStatus) bool { return s.State == StateIdle && s.PID != before })
	require.Zero(t, after.Failures, "a cancelled job is nobody's failure")
	text, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	grandchild, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !running(grandchild) }, 5*time.Second, 5*time.Millisecond, "what the child started is gone too")
}

// running says whether a process is there and not just waiting to be reaped.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// A worker that is killed leaves no process behind, not even one that never looks at stdin.
func TestTheChildDiesWithItsParent(t *testing.T) {
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), childEnv+"=parent")
	stdout, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var child int
	_, err = fmt.Fscan(stdout, &child)
	require.NoError(t, err)
	require.True(t, running(child))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return !running(child) }, 5*time.Second, 5*time.Millisecond)
}

func TestCancellingOneOfTwoJobsLeavesTheOther(t *testing.T) {
	card := fake("gpu0", "slow")
	card.Concurrent = 2
	pool := startPool(t, PoolOptions{}, card)
	require.Equal(t, 2, pool.Size())
	eventually(t, pool, "ready", func(s CardStatus) bool { return s.State == StateIdle })
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
		got <- err
	}()
	gone := make(chan error, 1)
	go func() {
		_, err := pool.Prove(ctx, fakeTask(2), nil, nil)
		gone <- err
	}()
	before := eventually(t, pool, "two jobs", func(s CardStatus) bool { return len(s.Jobs) == 2 })
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	require.NoError(t, <-got)
	after := eventually(t, pool, "idle", func(s CardStatus) bool { return s.State == StateIdle })
	// The place of the cancelled job may have outlived the other's, in which case the process went with it.
	if after.Restarts == 0 {
		require.Equal(t, before.PID, after.PID)
	}
}

func TestAHungChildIsKilled(t *testing.T) {
	pool := startPool(t, PoolOptions{HungAfter: 200 * time.Millisecond}, fake("gpu0", "stops ticking"))
	_, err := pool.Prove(t.Context(), fakeTask(1, 2), nil, nil)
	require.ErrorIs(t, err, ErrHung)
}

func TestCardsThatDoNotStart(t *testing.T) {
	for name, c := range map[string]struct {
		card CardConfig
		text string
	}{
		"dies at start":       {fake("gpu0", "dies at start"), "exit status 3; its last log lines: no GPU here"},
		"never gets ready":    {fake("gpu0", "never ready"), `it did not print "window_post processor ready" within 300ms`},
		"no such program":     {CardConfig{Name: "gpu0", Bin: "/no/such/program"}, "/no/such/program"},
		"TMPDIR not a folder": {CardConfig{Name: "gpu0", Bin: os.Args[0], Envs: map[string]string{"TMPDIR": "/dev/null/tmp"}}, "making TMPDIR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.card.ReadyTimeout = 300 * time.Millisecond
			pool := startPool(t, PoolOptions{}, c.card)
			_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
			require.ErrorIs(t, err, ErrNoCard)
			require.ErrorContains(t, err, c.text)
			status := pool.Status()[0]
			require.Equal(t, StateDead, status.State)
			require.Contains(t, status.Error, c.text)
			require.False(t, status.Alive)
			time.Sleep(time.Second)
			require.Less(t, pool.Status()[0].Restarts, 8, "pauses grow; no busy loop")
		})
	}
}

func TestACardThatStartsAtItsSecondTryIsUsed(t *testing.T) {
	card := fake("gpu0", "dies once")
	card.Envs["MARK"] = inTemp(t, "mark")
	pool := startPool(t, PoolOptions{}, card)
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.NoError(t, err)
}

func TestNoRestart(t *testing.T) {
	card := fake("gpu0", "dies on a task")
	card.NoRestart = true
	pool := startPool(t, PoolOptions{}, card)
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrCardCrashed)
	_, err = pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrNoCard)
}

func TestPause(t *testing.T) {
	for streak, want := range map[int]time.Duration{
		0: 0, 1: 0, 2: 100 * time.Millisecond, 3: 200 * time.Millisecond, 10: 25600 * time.Millisecond, 11: maxPause, 12: maxPause, 1000: maxPause,
	} {
		assert.Equal(t, want, pause(streak), "streak %d", streak)
	}
}

func TestWhichCardIsTaken(t *testing.T) {
	pool := startPool(t, PoolOptions{}, fake("a", "good"), fake("b", "good"), fake("c", "good"))
	require.Eventually(t, func() bool {
		for _, s := range pool.Status() {
			if s.State != StateIdle {
				return false
			}
		}
		return true
	}, 10*time.Second, 5*time.Millisecond)
	prove := func(avoid ...string) string {
		result, err := pool.Prove(t.Context(), fakeTask(1), avoid, nil)
		require.NoError(t, err)
		return result.Card
	}
	require.Equal(t, []string{"a", "b", "c", "a"}, []string{prove(), prove(), prove(), prove()}, "least recently used first")
	require.Equal(t, "c", prove("b"))
	require.Equal(t, "b", prove("b", "c", "a"), "one to avoid if there is no other")
}

func TestWaitingForACard(t *testing.T) {
	pool := startPool(t, PoolOptions{}, fake("gpu0", "slow"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	waited, done := 0, 0
	for range 3 {
		wg.Go(func() {
			var phases []post.Phase
			result, err := pool.Prove(t.Context(), fakeTask(1), nil, func(p post.Progress) { phases = append(phases, p.Phase) })
			if !assert.NoError(t, err) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			if phases[0] == post.PhaseWaiting && result.Phases.Wait > 200*time.Millisecond {
				waited++
			}
			assert.Equal(t, post.PhaseVerify, phases[len(phases)-1])
		})
	}
	wg.Wait()
	require.Equal(t, 3, done)
	require.GreaterOrEqual(t, waited, 2)

	t.Run("cancelled while waiting", func(t *testing.T) {
		go func() { _, _ = pool.Prove(t.Context(), fakeTask(1), nil, nil) }()
		eventually(t, pool, "busy", func(s CardStatus) bool { return s.State == StateProving })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := pool.Prove(ctx, fakeTask(2), nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestClosingThePool(t *testing.T) {
	pool, err := NewPool([]CardConfig{fake("gpu0", "says nothing")}, PoolOptions{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = pool.Run(ctx) }()
	got := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
			got <- err
		}()
	}
	pid := eventually(t, pool, "busy", func(s CardStatus) bool { return s.State == StateProving }).PID
	cancel()
	<-done
	require.ErrorIs(t, <-got, ErrClosed)
	require.ErrorIs(t, <-got, ErrClosed)
	require.False(t, running(pid))
	_, err = pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrClosed)
}

func TestBadPoolsAndTasks(t *testing.T) {
	for name, c := range map[string]struct {
		cards []CardConfig
		text  string
	}{
		"no cards":          {nil, "there are no cards"},
		"a card of no name": {[]CardConfig{{}}, "card 0 has no name"},
		"one name twice":    {[]CardConfig{{Name: "a"}, {Name: "a"}}, `two cards are named "a"`},
		"negative":          {[]CardConfig{{Name: "a", Concurrent: -1}}, "concurrent is -1"},
		"negative time":     {[]CardConfig{{Name: "a", ReadyTimeout: -1}}, "ready timeout"},
	} {
		_, err := NewPool(c.cards, PoolOptions{})
		assert.ErrorContains(t, err, c.text, name)
	}
	pool := startPool(t, PoolOptions{}, fake("gpu0", "good"))
	_, err := pool.Prove(t.Context(), fakeTask(), nil, nil)
	require.ErrorContains(t, err, "no sectors")
	_, err = pool.Prove(t.Context(), fakeTask(1, 1), nil, nil)
	require.ErrorContains(t, err, "sector 1 of f01000 is in the task twice")
	old := fakeTask(1)
	old.ProofType = ProofType(abi.RegisteredPoStProof_StackedDrgWindow32GiBV1)
	_, err = pool.Prove(t.Context(), old, nil, nil)
	require.ErrorIs(t, err, ErrProofType)
}

func TestTMPDIRIsThereForEveryTask(t *testing.T) {
	config := fake("gpu0", "needs TMPDIR")
	config.Envs["TMPDIR"] = inTemp(t, "tmp")
	pool := startPool(t, PoolOptions{}, config)
	for range 2 {
		_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(config.Envs["TMPDIR"])) // as what cleans up /tmp does after some days
	}
}
