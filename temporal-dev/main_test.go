package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary run as temporal-dev itself, so that a test can kill it for real without building
// the program a second time.
const asProgram = "TEMPORAL_DEV_AS_PROGRAM"

// asUI makes the test binary run the Web UI alone, on the port that it names.
const asUI = "TEMPORAL_DEV_AS_UI"

func TestMain(m *testing.M) {
	if port, err := strconv.Atoi(os.Getenv(asUI)); err == nil {
		_ = ownStdout()
		_ = newUI(options{ip: "127.0.0.1", uiIP: "127.0.0.1", namespace: "default"}, ports{ui: port}).Start()
		os.Exit(0)
	}
	if os.Getenv(asProgram) != "" {
		os.Exit(mainCode())
	}
	os.Exit(m.Run())
}

const (
	startTimeout = time.Minute
	stopTimeout  = 15 * time.Second
)

// program is one temporal-dev process.
type program struct {
	t      testing.TB
	cmd    *exec.Cmd
	info   instance
	exited chan struct{}
	stderr *lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// start runs temporal-dev on dbFile with free ports and waits for its line.
func start(t testing.TB, dbFile string, more ...string) *program {
	t.Helper()
	p := &program{t: t, exited: make(chan struct{}), stderr: &lockedBuffer{}}
	p.cmd = command(append([]string{"--db-file", dbFile, "--port", "0", "--ui-port", "0"}, more...)...)
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	select {
	case line := <-lines:
		if err := json.Unmarshal([]byte(line), &p.info); err != nil {
			t.Fatalf("no line of JSON on stdout but %q; stderr:\n%s", line, p.stderr)
		}
	case <-time.After(startTimeout):
		t.Fatalf("not healthy after %s; stderr:\n%s", startTimeout, p.stderr)
	}
	return p
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop asks for a clean stop and returns how long it took.
func (p *program) stop() time.Duration {
	p.t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.t.Fatalf("still running %s after SIGTERM; stderr:\n%s", stopTimeout, p.stderr)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM; stderr:\n%s", code, p.stderr)
	}
	return time.Since(began)
}

// refused runs temporal-dev where it must fail, and returns its one line of complaint.
func refused(t *testing.T, wantCode int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != wantCode {
		t.Fatalf("exit code %d, want %d; stderr:\n%s", code, wantCode, &stderr)
	}
	if stdout.Len() > 0 {
		t.Errorf("stdout must stay empty, has %q", &stdout)
	}
	line := stderr.String()
	if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "temporal-dev: ") {
		t.Errorf("want one line of complaint, got %q", line)
	}
	return line
}

func wantIn(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

func dbPath(t testing.TB) string {
	return filepath.Join(t.TempDir(), "data", "temporal.db")
}
