package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What `demo --break` breaks is mended by the commands that it prints, typed as they stand there. Each demo exits 0 only if the chain has
// every partition, once.
func TestBreakAndMend(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hits int // jobs that are out of tries before a person comes
		said string
	}{
		"sector":   {1, "AllSectorsBad"},
		"card":     {1, "CardDied"},
		"node":     {0, ""},
		"temporal": {0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t, 4*time.Minute)
			d := startDemo(ctx, t, name)
			told := d.says(ctx, t, "The runbook is docs/operations.md.")
			look, mend := commands(told, "Look, in another terminal:"), commands(told, "Mend:")
			require.NotEmpty(t, look)
			require.NotEmpty(t, mend)
			job := ""
			if c.hits > 0 {
				job = regexp.MustCompile(`HIT: job (\S+) is Failed`).FindStringSubmatch(d.says(ctx, t, "to run it again when the cause is gone"))[1]
				assert.Contains(t, d.said(), c.said)
				listed := run(ctx, t, look[0], job, "wdpost list")
				assert.Contains(t, listed, job)
				assert.Contains(t, listed, "Failed")
				for _, command := range look[1:] {
					t.Logf("%s\n%s", command, run(ctx, t, look[0], job, command))
				}
			}
			for _, command := range mend {
				run(ctx, t, look[0], job, command)
			}
			result := d.ended(ctx, t)
			assert.Equal(t, name, result.Broken)
			assert.Len(t, result.Hit, c.hits)
			for id, became := range result.Hit {
				assert.Equal(t, job, id)
				assert.Equal(t, "posted", became)
			}
			assert.Zero(t, result.Missed+result.SentTwice)
		})
	}
}

// runningDemo is a demo with a fault, as a process.
type runningDemo struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	done   chan error

	mu     sync.Mutex
	stderr bytes.Buffer
}

// Write takes what the demo tells.
func (d *runningDemo) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stderr.Write(p)
}

// said is what it has told.
func (d *runningDemo) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stderr.String()
}

// demoOutcome is what these tests want of a demo's result.
type demoOutcome struct {
	Missed    int               `json:"missed"`
	SentTwice int               `json:"sent_twice"`
	Broken    string            `json:"broken"`
	Hit       map[string]string `json:"hit"`
}

// startDemo runs a demo of one deadline, on a chain that is as quick as a busy machine allows.
func startDemo(ctx context.Context, t *testing.T, breaks string) *runningDemo {
	t.Helper()
	program, err := filepath.Abs("../../bin/posthaste")
	require.NoError(t, err)
	args := []string{"demo", "--json", "--break", breaks, "--dir", t.TempDir(), "--deadlines", "1"}
	for _, arg := range []string{"--miners=1", "--epoch=500ms", "--window=90", "--deadlines=2"} {
		args = append(args, "--chain-arg", arg)
	}
	d := &runningDemo{cmd: exec.CommandContext(ctx, program, args...), done: make(chan error, 1)}
	d.cmd.Stdout, d.cmd.Stderr = &d.stdout, d
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) } // it ends what it has started
	d.cmd.WaitDelay = 30 * time.Second
	require.NoError(t, d.cmd.Start())
	go func() { d.done <- d.cmd.Wait() }()
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.done:
		case <-time.After(time.Minute):
			t.Log("the demo did not end")
		}
	})
	return d
}

// says waits until the demo has told something, and gives all that it told.
func (d *runningDemo) says(ctx context.Context, t *testing.T, text string) string {
	t.Helper()
	for !strings.Contains(d.said(), text) {
		select {
		case err := <-d.done:
			d.done <- err
			require.FailNow(t, "the demo ended", "%v\n%s", err, d.said())
		case <-ctx.Done():
			require.FailNow(t, "the demo never said "+text, d.said())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return d.said()
}

// ended waits for the demo's good end.
func (d *runningDemo) ended(ctx context.Context, t *testing.T) (result demoOutcome) {
	t.Helper()
	select {
	case err := <-d.done:
		d.done <- err
		require.NoError(t, err, d.said())
	case <-ctx.Done():
		require.FailNow(t, "the demo did not end", d.said())
	}
	require.NoError(t, json.Unmarshal(d.stdout.Bytes(), &result), d.stdout.String())
	return result
}

// commands are the lines behind a heading, up to the next empty one.
func commands(told, heading string) (lines []string) {
	_, rest, _ := strings.Cut(told, heading+"\n")
	block, _, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(block) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// run types a command into a shell, after the first line that the demo gave. A posthaste command may be given without the program.
func run(ctx context.Context, t *testing.T, first, job, command string) string {
	t.Helper()
	program, err := filepath.Abs("../../bin/posthaste")
	require.NoError(t, err)
	if strings.HasPrefix(command, "wdpost") {
		command = program + " " + command
	}
	// A person's job ID in place of JOB.
	script := first + "\n" + strings.Replace(command, " JOB ", " "+job+" ", 1)
	out, err := exec.CommandContext(ctx, "sh", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s\n%s", script, out)
	return string(out)
}
