package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one of the rig's programs. It can run, end and run again; its log file goes on.
type Process struct {
	Name string
	Log  string // file of its stderr

	command func() (path string, args, env []string, err error) // of the next run
	ready   func(line []byte) error                             // nil: it prints no ready line
	within  time.Duration                                       // until the ready line
	as      *syscall.Credential                                 // nil: as we are

	mu  sync.Mutex
	cmd *exec.Cmd
	end chan struct{} // closed when the run has ended
	err error         // then: how

	asked bool // the run was killed or stopped by us
}

const (
	grace     = 15 * time.Second // from SIGTERM to SIGKILL; a worker takes up to 10 s to hand its jobs over
	toldLines = 15               // of a log, when something failed
	lastWords = 2 * time.Second  // for what a program says when it ends
)

// Start starts the program and returns when it says that it is ready; one that says nothing is ready when it runs.
func (p *Process) Start(ctx context.Context) error {
	if p.Running() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	path, args, env, err := p.command()
	if err != nil {
		return err
	}
	lines, err := p.launch(path, args, env)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	if p.ready == nil {
		return nil
	}
	select {
	case line, ok := <-lines:
		if !ok {
			_, end := p.run()
			select { // what it says last may come after it has closed its stdout
			case <-end:
			case <-time.After(lastWords):
			}
			return fmt.Errorf("%s ended before it was ready; the end of its log:\n%s", p.Name, p.Tail())
		}
		if err := p.ready(line); err != nil {
			return fmt.Errorf("%s said %q instead of its ready line: %w", p.Name, line, err)
		}
		return nil
	case <-time.After(p.within):
		p.Kill()
		return fmt.Errorf("%s was not ready within %v; the end of its log:\n%s", p.Name, p.within, p.Tail())
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("starting %s: %w", p.Name, ctx.Err())
	}
}

// launch starts a run and gives the first line of its stdout. The goroutine that starts it stays locked to its thread until
// it has ended: the kernel sends the death signal when that thread ends.
func (p *Process) launch(path string, args, env []string) (<-chan []byte, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = filepath.Dir(p.Log)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: p.as}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		_ = log.Close()
		return nil, err
	}
	started, end := make(chan error, 1), make(chan struct{})
	lines := make(chan []byte, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		firstLine(stdout, lines)
		err = cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(end)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.cmd, p.end, p.err, p.asked = cmd, end, nil, false
	p.mu.Unlock()
	return lines, nil
}

// firstLine sends the first line and drops the others, until the program closes its stdout.
func firstLine(stdout io.Reader, lines chan<- []byte) {
	reader := bufio.NewReader(stdout)
	if line, err := reader.ReadBytes('\n'); err == nil {
		lines <- line
	} else {
		close(lines)
	}
	_, _ = io.Copy(io.Discard, reader)
}

// run is the present or last run.
func (p *Process) run() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.end
}

// Running says whether the program runs.
func (p *Process) Running() bool {
	_, end := p.run()
	if end == nil {
		return false
	}
	select {
	case <-end:
		return false
	default:
		return true
	}
}

// ExpectEnd says that the present run is going to end by itself, and that nobody needs to worry.
func (p *Process) ExpectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
}

// Died is an error if the program has ended and nobody of this rig asked it to.
func (p *Process) Died() error {
	if p.Pid() == 0 || p.Running() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked {
		return nil
	}
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s ended by itself: %s; the end of its log:\n%s", p.Name, how, p.Tail())
}

// Pid of the present or last run; 0 before the first.
func (p *Process) Pid() int {
	cmd, _ := p.run()
	if cmd == nil {
		return 0
	}
	return cmd.Process.Pid
}

// Kill ends the program with SIGKILL, and it alone: what it started has to notice by itself.
func (p *Process) Kill() { p.signal(syscall.SIGKILL, 0) }

// Stop asks the program to end, and kills it if it does not.
func (p *Process) Stop() { p.signal(syscall.SIGTERM, grace) }

func (p *Process) signal(signal syscall.Signal, patience time.Duration) {
	cmd, end := p.run()
	if cmd == nil || !p.Running() {
		return
	}
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	_ = cmd.Process.Signal(signal)
	if patience > 0 {
		select {
		case <-end:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
		}
	}
	<-end
}

// Restart kills the program if it runs and starts it again, at the same ports.
func (p *Process) Restart(ctx context.Context) error {
	p.Kill()
	return p.Start(ctx)
}

// Wait returns when the program has ended by itself, with its exit code.
func (p *Process) Wait(ctx context.Context) (int, error) {
	cmd, end := p.run()
	if cmd == nil {
		return 0, fmt.Errorf("%s was never started", p.Name)
	}
	select {
	case <-end:
		return cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for %s to end: %w", p.Name, ctx.Err())
	}
}

// ReadLog is all that the program's runs have logged.
func (p *Process) ReadLog() string {
	data, err := os.ReadFile(p.Log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(data)
}

// Tail is the end of the log.
func (p *Process) Tail() string {
	lines := strings.Split(strings.TrimSpace(p.ReadLog()), "\n")
	return "\t" + strings.Join(lines[max(0, len(lines)-toldLines):], "\n\t")
}

// into decodes a ready line.
func into(ready any) func([]byte) error {
	return func(line []byte) error { return json.Unmarshal(line, ready) }
}
