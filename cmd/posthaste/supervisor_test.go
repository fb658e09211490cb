package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testSupervisor(t *testing.T) *supervisor {
	t.Helper()
	s := newSupervisor(t.Context(), t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(s.stop)
	return s
}

// shell is a program made of a shell script.
func shell(name, script string) program {
	return program{name: name, path: "/bin/sh", args: []string{"-c", script}, within: 10 * time.Second, grace: 2 * time.Second}
}

type shellReady struct {
	PID   int `json:"pid"`
	Child int `json:"child"`
}

func (r *shellReady) lacks() string {
	if r.PID == 0 {
		return "pid"
	}
	return ""
}

const sayReady = `echo '{"pid":'$$'}';`

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStartDecodesTheReadyLine(t *testing.T) {
	s := testSupervisor(t)
	var ready shellReady
	p := shell("p", sayReady+` echo more; echo oops >&2; sleep 60`)
	p.ready = &ready
	require.NoError(t, s.start(t.Context(), p))
	require.True(t, alive(ready.PID))
	group, err := syscall.Getpgid(ready.PID)
	require.NoError(t, err)
	require.Equal(t, ready.PID, group, "a process group of its own: a Ctrl-C in the terminal must not reach it")
	require.Eventually(t, func() bool {
		log, _ := os.ReadFile(filepath.Join(s.dir, "p.log"))
		return strings.Contains(string(log), "oops") && strings.Contains(string(log), "more")
	}, 5*time.Second, 10*time.Millisecond)
	s.stop()
	require.False(t, alive(ready.PID))
}

func TestStartFails(t *testing.T) {
	for situation, c := range map[string]struct {
		script string
		want   []string
	}{
		"it ends before it is ready": {`echo 'port 7233 is taken' >&2; exit 3`, []string{"p ended before it was ready: exit status 3", "port 7233 is taken"}},
		"it ends well, too soon":     {`exit 0`, []string{"p ended before it was ready: exit status 0; it logged nothing"}},
		"it prints garbage":          {`echo hello; sleep 60`, []string{`p said "hello" instead of its ready line`}},
		"it says something else":     {`echo 'oh dear' >&2; echo '{"level":"FATAL"}'; sleep 60`, []string{`p printed something instead of its ready line that has no pid`, "oh dear"}},
		"it never gets ready":        {`echo 'still at it' >&2; sleep 60`, []string{"p was not ready within 300ms", "still at it"}},
	} {
		t.Run(situation, func(t *testing.T) {
			s := testSupervisor(t)
			p := shell("p", c.script)
			p.ready, p.within = &shellReady{}, 300*time.Millisecond
			err := s.start(t.Context(), p)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
	s := testSupervisor(t)
	require.ErrorContains(t, s.start(t.Context(), program{name: "p", path: "/none/p"}), "starting p: fork/exec /none/p: no such file")
}

func TestStopEndsTheLastStartedFirst(t *testing.T) {
	s := testSupervisor(t)
	order := filepath.Join(t.TempDir(), "order")
	for _, name := range []string{"temporal", "daemon", "worker"} {
		p := shell(name, `trap 'echo `+name+` >> `+order+`; exit 0' TERM; `+sayReady+` while :; do sleep 0.02; done`)
		p.ready = &shellReady{}
		require.NoError(t, s.start(t.Context(), p))
	}
	s.stop()
	data, err := os.ReadFile(order)
	require.NoError(t, err)
	require.Equal(t, "worker\ndaemon\ntemporal\n", string(data))
}

func TestStopKillsWhatDoesNotListenAndItsChildren(t *testing.T) {
	s := testSupervisor(t)
	var ready shellReady
	p := shell("deaf", `trap '' TERM; sleep 600 & echo '{"pid":'$$',"child":'$!'}'; wait; wait`)
	p.ready, p.grace = &ready, 200*time.Millisecond
	require.NoError(t, s.start(t.Context(), p))
	s.stop()
	require.False(t, alive(ready.PID))
	require.Eventually(t, func() bool { return !running(ready.Child) }, 5*time.Second, 10*time.Millisecond)
}

// running is alive, but for a zombie that nobody has waited for yet.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestAChildThatEndsIsTold(t *testing.T) {
	s := testSupervisor(t)
	p := shell("daemon", sayReady+` echo 'panic: what now' >&2; exit 2`)
	p.ready = &shellReady{}
	require.NoError(t, s.start(t.Context(), p))
	select {
	case err := <-s.died:
		require.ErrorContains(t, err, "daemon ended: exit status 2")
		require.ErrorContains(t, err, "panic: what now")
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
	}
}

func TestAChildThatMayEnd(t *testing.T) {
	s := testSupervisor(t)
	drained := shell("worker-1", sayReady+` exit 0`)
	drained.ready, drained.mayEnd = &shellReady{}, true
	require.NoError(t, s.start(t.Context(), drained))
	crashed := shell("worker-2", sayReady+` sleep 0.3; exit 2`)
	crashed.ready, crashed.mayEnd = &shellReady{}, true
	require.NoError(t, s.start(t.Context(), crashed))
	select {
	case err := <-s.died:
		require.ErrorContains(t, err, "worker-2 ended: exit status 2", "and not of the one that was drained")
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
	}
	require.Empty(t, s.died)
}

func TestAChildThatEndsIsStartedAgain(t *testing.T) {
	s := testSupervisor(t)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	runs := filepath.Join(t.TempDir(), "runs")
	p := shell("worker", `echo x >> `+runs+`; `+sayReady+` sleep 0.1; exit 1`)
	p.ready, p.restart = &shellReady{}, true
	p.again = func() []string { return []string{"-c", `echo again >> ` + runs + `; ` + sayReady + ` sleep 60`} }
	require.NoError(t, s.start(t.Context(), p))
	require.Eventually(t, func() bool {
		data, _ := os.ReadFile(runs)
		return string(data) == "x\nagain\n"
	}, 10*time.Second, 20*time.Millisecond)
	began := time.Now()
	s.stop()
	require.Less(t, time.Since(began), 5*time.Second, "a stop does not wait for the next start")
	require.Contains(t, log.String(), "level=ERROR msg=\"a program ended; it is started again\"")
	require.Empty(t, s.died)
}

func TestADrainedWorkerThatIsStartedAgainIsNoError(t *testing.T) {
	s := testSupervisor(t)
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	p := shell("worker", sayReady+` exit 0`)
	p.ready, p.restart = &shellReady{}, true
	mark := filepath.Join(t.TempDir(), "again")
	p.again = func() []string { return []string{"-c", `touch ` + mark + `; ` + sayReady + ` sleep 60`} }
	require.NoError(t, s.start(t.Context(), p))
	require.Eventually(t, func() bool { _, err := os.Stat(mark); return err == nil }, 10*time.Second, 20*time.Millisecond)
	s.stop()
	require.NotContains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "it is started again")
}

// TestNoChildOutlivesItsParent runs this test binary as a parent that is killed.
func TestNoChildOutlivesItsParent(t *testing.T) {
	if file := os.Getenv("POSTHASTE_TEST_PARENT"); file != "" {
		s := newSupervisor(context.WithoutCancel(t.Context()), filepath.Dir(file), slog.New(slog.DiscardHandler))
		var ready shellReady
		p := shell("orphan", `trap '' TERM; `+sayReady+` while :; do sleep 1; done`)
		p.ready = &ready
		require.NoError(t, s.start(t.Context(), p))
		require.NoError(t, os.WriteFile(file, []byte(strconv.Itoa(ready.PID)), 0o600))
		select {}
	}
	file := filepath.Join(t.TempDir(), "pid")
	parent := exec.Command(os.Args[0], "-test.run", "^TestNoChildOutlivesItsParent$")
	parent.Env = append(os.Environ(), "POSTHASTE_TEST_PARENT="+file)
	require.NoError(t, parent.Start())
	var pid int
	require.Eventually(t, func() bool {
		data, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(string(data))
		return pid > 0
	}, 20*time.Second, 20*time.Millisecond)
	require.True(t, running(pid))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return !running(pid) }, 5*time.Second, 20*time.Millisecond)
}

func TestACrashedProgramComesBackWhenItIsTold(t *testing.T) {
	s := testSupervisor(t)
	var ready shellReady
	p := shell("p", sayReady+` sleep 60`)
	p.ready, p.restart = &ready, true
	require.NoError(t, s.start(t.Context(), p))
	before := ready.PID
	began := time.Now()
	const away = time.Second
	require.NoError(t, s.crash("p", away))
	require.Eventually(t, func() bool { return !alive(before) }, 5*time.Second, 5*time.Millisecond)
	runs := func() int {
		s.children[0].mu.Lock()
		defer s.children[0].mu.Unlock()
		return s.children[0].run.cmd.Process.Pid
	}
	require.Eventually(t, func() bool { return runs() != before && alive(runs()) }, 10*time.Second, 5*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), away)
	require.Error(t, s.crash("nobody", 0))
}
