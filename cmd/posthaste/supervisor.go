package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is a child program of `up` or `demo`.
type program struct {
	name    string // for people, and of its log file
	path    string
	args    []string
	env     []string        // beside the parent's
	ready   readyLine       // the program's first line on stdout is decoded into it; nil: it is ready when it runs
	within  time.Duration   // how long it may take to get ready
	grace   time.Duration   // from SIGTERM to SIGKILL; 0 means defaultGrace
	restart bool            // start it again when it ends by itself
	mayEnd  bool            // unless restart: it is nobody's trouble when it ends well
	again   func() []string // arguments of a restart; nil: as args
}

// readyLine is what a program's first line on stdout is decoded into.
type readyLine interface {
	// lacks names what the line should have said and did not: it is some other line of JSON then.
	lacks() string
}

// Times of the supervisor.
const (
	defaultGrace = 20 * time.Second // a worker needs up to 10 s to hand its jobs over
	firstBackOff = 500 * time.Millisecond
	maxBackOff   = 30 * time.Second
	steadyAfter  = time.Minute // a child that ran so long starts again with the first back-off
	toldLines    = 12          // of a failed program's log
)

// supervisor starts child programs and stops them in the reverse order. Each is in a process group of its own, so that a
// Ctrl-C in the terminal reaches only the parent, which stops them in order; and each is killed by the kernel when the
// parent dies, however it dies.
type supervisor struct {
	ctx  context.Context // of restarts; not ended by a signal, since the programs are then stopped in order
	dir  string          // of the log files
	log  *slog.Logger
	died chan error // told of a child that ended by itself and is not started again

	mu       sync.Mutex
	children []*child
}

func newSupervisor(ctx context.Context, dir string, log *slog.Logger) *supervisor {
	return &supervisor{ctx: context.WithoutCancel(ctx), dir: dir, log: log, died: make(chan error, 16)}
}

// child is one run of a program after another.
type child struct {
	program
	logFile string
	stop    chan struct{} // closed: end it

	mu   sync.Mutex
	run  *process      // the latest
	away time.Duration // until it is started again after a crash that was wanted; 0: as ever
	gone chan struct{} // closed: it ended and is not started again
}

// process is one run of a program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // then: how
	from int64         // where its own part of the log begins
}

// start starts a program and waits until it is ready. If it fails, the error carries the last lines of its log.
func (s *supervisor) start(ctx context.Context, p program) error {
	c := &child{program: p, logFile: filepath.Join(s.dir, p.name+".log"), stop: make(chan struct{}), gone: make(chan struct{})}
	run, err := s.launch(ctx, c, p.args)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.children = append(s.children, c)
	c.is(run)
	go s.keep(c, run)
	return nil
}

// is notes the process that runs.
func (c *child) is(run *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run = run
}

// crash kills a child that is started again when it ends, and has that wait for so long.
func (s *supervisor) crash(name string, away time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.children {
		if c.name != name || !c.restart {
			continue
		}
		c.mu.Lock()
		c.away = away
		pid := c.run.cmd.Process.Pid
		c.mu.Unlock()
		if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("killing %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("no program %s that would be started again", name)
}

// takeAway is how long the child is to be away, asked once.
func (c *child) takeAway() (away time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	away, c.away = c.away, 0
	return away
}

// launch runs the program once and returns when it is ready.
func (s *supervisor) launch(ctx context.Context, c *child, args []string) (*process, error) {
	logFile, err := os.OpenFile(c.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	defer logFile.Close()
	from, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	run := &process{cmd: exec.Command(c.path, args...), done: make(chan struct{}), from: from}
	run.cmd.Stdout, run.cmd.Stderr = write, logFile
	run.cmd.Env = append(os.Environ(), c.env...)
	run.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = run.start()
	_ = write.Close()
	if err != nil {
		_ = read.Close()
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	line := make(chan []byte, 1)
	go firstLine(read, line, c.logFile)
	if err := c.awaitReady(ctx, run, line); err != nil {
		run.end(c.graceTime())
		return nil, err
	}
	return run, nil
}

// start starts the process and waits for its end beside. The goroutine that does both keeps its thread for itself meanwhile: the
// kernel sends the death signal when the thread ends that started the process, and Go ends threads as it likes.
func (p *process) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return <-started
}

// firstLine sends the first line and copies all others into the log file, until the program closes its stdout.
func firstLine(stdout io.ReadCloser, line chan<- []byte, logFile string) {
	defer stdout.Close()
	lines := bufio.NewReader(stdout)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		close(line)
		return
	}
	line <- first
	if log, err := os.OpenFile(logFile, os.O_WRONLY|os.O_APPEND, 0); err == nil {
		defer log.Close()
		_, _ = io.Copy(log, lines)
	}
	_, _ = io.Copy(io.Discard, lines)
}

func (c *child) awaitReady(ctx context.Context, run *process, line <-chan []byte) error {
	if c.ready == nil {
		return nil
	}
	timer := time.NewTimer(c.within)
	defer timer.Stop()
	select {
	case text, ok := <-line:
		if !ok {
			<-run.done
			return fmt.Errorf("%s ended before it was ready: %w%s", c.name, cause(run.err), c.tail(run.from))
		}
		if err := json.Unmarshal(text, c.ready); err != nil {
			return fmt.Errorf("%s said %q instead of its ready line: %w", c.name, strings.TrimSpace(string(text)), err)
		}
		if missing := c.ready.lacks(); missing != "" {
			// Without the line: a chain's holds a token.
			return fmt.Errorf("%s printed something instead of its ready line that has no %s%s", c.name, missing, c.tail(run.from))
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%s was not ready within %s%s", c.name, c.within, c.tail(run.from))
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", c.name, ctx.Err())
	}
}

// cause of a program's end; a clean exit is one too when it should be running.
func cause(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// tail is the last lines of the log since from, to be hung behind an error.
func (c *child) tail(from int64) string {
	data, err := os.ReadFile(c.logFile)
	if err != nil || int64(len(data)) <= from {
		return "; it logged nothing"
	}
	lines := strings.Split(strings.TrimSpace(string(data[from:])), "\n")
	return fmt.Sprintf("; the end of %s:\n\t%s", c.logFile, strings.Join(lines[max(0, len(lines)-toldLines):], "\n\t"))
}

func (c *child) graceTime() time.Duration {
	if c.grace > 0 {
		return c.grace
	}
	return defaultGrace
}

// keep watches a child and starts it again, with growing pauses, if it is to be.
func (s *supervisor) keep(c *child, run *process) {
	defer close(c.gone)
	pause := firstBackOff
	for {
		began := time.Now()
		select {
		case <-c.stop:
			run.end(c.graceTime())
			return
		case <-run.done:
		}
		if !c.restart && c.mayEnd && run.err == nil {
			s.log.Info("a program has ended", "program", c.name)
			return
		}
		if !c.restart {
			s.died <- fmt.Errorf("%s ended: %w%s", c.name, cause(run.err), c.tail(run.from))
			return
		}
		if time.Since(began) > steadyAfter {
			pause = firstBackOff
		}
		if run = s.again(c, run.err, &pause); run == nil {
			return
		}
	}
}

// again starts a child anew, which has ended with err, until it is ready, or nil when it is to stop.
func (s *supervisor) again(c *child, err error, pause *time.Duration) *process {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() {
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	args := c.args
	if c.again != nil {
		args = c.again()
	}
	for {
		level := slog.LevelError
		if err == nil {
			level = slog.LevelInfo // a drained worker, say
		}
		wait := *pause
		if away := c.takeAway(); away > 0 {
			wait, level = away, slog.LevelInfo
		}
		s.log.Log(ctx, level, "a program ended; it is started again", "program", c.name, "in", wait, "err", cause(err), "log", c.logFile)
		select {
		case <-c.stop:
			return nil
		case <-time.After(wait):
		}
		*pause = min(2**pause, maxBackOff)
		var run *process
		if run, err = s.launch(ctx, c, args); err == nil {
			c.is(run)
			s.log.Info("a program runs again", "program", c.name, "pid", run.cmd.Process.Pid)
			return run
		}
	}
}

// end asks a process to stop and, after grace, kills it with all that it started.
func (p *process) end(grace time.Duration) {
	pid := p.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-p.done
}

// stop ends all children, the last started first, each before the next.
func (s *supervisor) stop() {
	s.mu.Lock()
	children := s.children
	s.children = nil
	s.mu.Unlock()
	for i := len(children) - 1; i >= 0; i-- {
		c := children[i]
		began := time.Now()
		close(c.stop)
		<-c.gone
		s.log.Debug("stopped a program", "program", c.name, "took", time.Since(began).Round(time.Millisecond))
	}
}

// sibling finds a program of posthaste: beside this binary, else on the PATH.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", name, err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if found, err := exec.LookPath(name); err == nil {
		return found, nil
	}
	return "", fmt.Errorf("there is no %s beside %s nor on the PATH; build it with: make build", name, self)
}
