package prover

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"posthaste/post"
)

const (
	drainGrace = 500 * time.Millisecond // for reading what a child wrote before it died, when a grandchild holds its pipes
	tailLines  = 5                      // of a dead child's log that go into the error
)

// child is one running processor of a card, seen from the parent.
type child struct {
	card    string
	kind    string
	log     *slog.Logger
	cmd     *exec.Cmd
	pipes   []*os.File // our ends of stdout, stderr and progress
	stdin   *os.File
	writing sync.Mutex // one request at a time on stdin
	readers sync.WaitGroup
	ready   chan struct{} // closed at the ready line
	gone    chan struct{} // closed when the process has ended and its pipes are read
	goneErr error         // set before gone is closed

	lastTick atomic.Int64 // UnixNano of the last progress line; 0: none yet, so maybe a foreign program
	killedAs atomic.Pointer[error]
	dying    atomic.Bool // killed, or seen to have ended: not to be given jobs

	mu     sync.Mutex
	ended  bool // reaped: its process group must not be signalled any more
	nextID uint64
	asked  map[uint64]*asking
	tail   []string
}

// asking is one request that a child is working on.
type asking struct {
	id     uint64
	answer chan response // buffered; one at most
	news   chan struct{} // buffered: something below has changed
	end    chan struct{} // closed when the child says that no more progress comes

	answered, ended bool // guarded by the child's mu: when both are true nothing more comes

	mu    sync.Mutex
	state post.Progress
	line  progressLine // phase times and kind of error, collected
	bad   []post.Skipped
}

// launch starts the process of a card. It must be waited for by the same goroutine, locked to its thread until then: the
// kernel sends the child its death signal when the *thread* that started it ends.
func launch(config CardConfig, kind string, log *slog.Logger) (*child, error) {
	cmd, err := config.command(kind)
	if err != nil {
		return nil, err
	}
	c := &child{
		card: config.Name, kind: kind, log: log, cmd: cmd,
		ready: make(chan struct{}), gone: make(chan struct{}), asked: map[uint64]*asking{},
	}
	var theirs []*os.File
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	stdinR, stdinW := pipe()
	stdoutR, stdoutW := pipe()
	stderrR, stderrW := pipe()
	progressR, progressW := pipe()
	theirs = []*os.File{stdinR, stdoutW, stderrW, progressW}
	c.stdin, c.pipes = stdinW, []*os.File{stdoutR, stderrR, progressR}
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = stdinR, stdoutW, stderrW, []*os.File{progressW}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		err = cmd.Start()
	}
	for _, file := range theirs {
		_ = file.Close()
	}
	if err != nil {
		c.closePipes()
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	c.readers.Go(func() { c.readAnswers(stdoutR) })
	c.readers.Go(func() { c.readLog(stderrR) })
	c.readers.Go(func() { c.readProgress(progressR) })
	return c, nil
}

// wait returns when the process has ended, whoever ended it, and everything that waits for it has been told.
func (c *child) wait() {
	err := c.cmd.Wait()
	c.dying.Store(true)
	// What the process has left behind would hold its pipes and its GPU.
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	read := make(chan struct{})
	go func() { c.readers.Wait(); close(read) }()
	select {
	case <-read:
	case <-time.After(drainGrace):
	}
	c.closePipes()
	<-read
	c.goneErr = c.deathReason(err)
	close(c.gone)
}

// deathReason is the error of the jobs that a dead child leaves.
func (c *child) deathReason(err error) error {
	kind := ErrCardCrashed
	if as := c.killedAs.Load(); as != nil {
		kind = *as
	}
	detail := "exit status 0"
	if err != nil {
		detail = err.Error()
	}
	if kind == ErrCardCrashed && detail == "signal: killed" {
		detail += " (not by posthaste; if by nobody else, the machine was out of memory: see dmesg)"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, line := range c.tail {
		detail += map[bool]string{true: "; its last log lines: ", false: " | "}[i == 0] + line
	}
	return &CardError{Card: c.card, Kind: kind, Detail: detail}
}

// kill ends the child and whatever it has started. The reason becomes the error of its jobs.
func (c *child) kill(reason error) {
	c.dying.Store(true)
	c.killedAs.CompareAndSwap(nil, &reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
}

func (c *child) closePipes() {
	for _, file := range append([]*os.File{c.stdin}, c.pipes...) {
		if file != nil {
			_ = file.Close()
		}
	}
}

// silence is how long ago the child last gave a sign of life, 0 for programs that give none.
func (c *child) silence() time.Duration {
	last := c.lastTick.Load()
	if last == 0 {
		return 0
	}
	return time.Since(time.Unix(0, last))
}

// ask sends a task. The answer, or the child's end, comes on the channels.
func (c *child) ask(task Task) (*asking, error) {
	a := &asking{answer: make(chan response, 1), news: make(chan struct{}, 1), end: make(chan struct{})}
	c.mu.Lock()
	c.nextID++
	id := c.nextID
	a.id = id
	c.asked[id] = a
	c.mu.Unlock()
	line, err := json.Marshal(struct {
		ID   uint64 `json:"id"`
		Task Task   `json:"task"`
	}{id, task})
	if err != nil {
		return nil, err
	}
	// Not here: a child that does not read would hold the caller. If the write fails, the child is about to end.
	go func() {
		c.writing.Lock()
		defer c.writing.Unlock()
		if _, err := c.stdin.Write(append(line, '\n')); err != nil && !errors.Is(err, os.ErrClosed) {
			c.log.Warn("a task could not be handed to the card's process", "card", c.card, "error", err)
		}
	}()
	return a, nil
}

// lines calls f for every line until the pipe ends.
func (c *child) lines(from io.Reader, f func(line []byte)) {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	for scanner.Scan() {
		f(scanner.Bytes())
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		c.log.Error("the card's process writes a line without end; killing it", "card", c.card)
		c.kill(ErrCardCrashed)
	}
}

func (c *child) readAnswers(stdout io.Reader) {
	announced := false
	want := c.kind + " processor ready"
	c.lines(stdout, func(line []byte) {
		if !announced {
			if string(line) == want {
				announced = true
				close(c.ready)
				return
			}
			c.log.Warn("skipping output of a card's process before its ready line", "card", c.card, "line", clip(line), "expected", want)
			return
		}
		var r response
		if err := json.Unmarshal(line, &r); err != nil || r.ID == nil {
			c.log.Warn("skipping output of a card's process that is not an answer", "card", c.card, "line", clip(line), "error", err)
			return
		}
		a := c.take(*r.ID)
		if a == nil {
			c.log.Warn("skipping an answer that nobody waits for", "card", c.card, "id", *r.ID)
			return
		}
		a.answer <- r
	})
}

func (c *child) readLog(stderr io.Reader) {
	c.lines(stderr, func(line []byte) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return
		}
		c.log.Debug(clip(line), "card", c.card, "pid", c.cmd.Process.Pid)
		c.mu.Lock()
		c.tail = append(c.tail, clip(line))
		c.tail = c.tail[max(0, len(c.tail)-tailLines):]
		c.mu.Unlock()
	})
}

// take gives the asking that an answer is for, once. It stays known until its progress has ended, whose lines may be read
// later.
func (c *child) take(id uint64) *asking {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.asked[id]
	if a == nil || a.answered {
		return nil
	}
	a.answered = true
	if a.ended {
		delete(c.asked, id)
	}
	return a
}

// forget drops an asking of which nothing more is wanted.
func (c *child) forget(a *asking) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, a.id)
}

func (c *child) readProgress(pipe io.Reader) {
	c.lines(pipe, func(raw []byte) {
		var line progressLine
		if json.Unmarshal(raw, &line) != nil {
			return
		}
		c.lastTick.Store(time.Now().UnixNano())
		c.mu.Lock()
		a := c.asked[line.ID] // there is no ID 0, as signs of life have
		if a != nil && a.ended {
			a = nil
		}
		if a != nil && line.End {
			a.ended = true
			if a.answered {
				delete(c.asked, line.ID)
			}
		}
		c.mu.Unlock()
		if a != nil {
			a.tell(line)
		}
	})
}

// tell takes in a progress line.
func (a *asking) tell(line progressLine) {
	a.mu.Lock()
	if line.Phase != "" {
		a.state.Phase, a.state.Done, a.state.Of = line.Phase, line.Done, line.Of
	}
	if line.Bad != nil {
		a.bad = append(a.bad, *line.Bad)
	}
	a.line.Vanilla += line.Vanilla
	a.line.Snark += line.Snark
	if line.Kind != "" {
		a.line.Kind = line.Kind
	}
	a.mu.Unlock()
	select {
	case a.news <- struct{}{}:
	default:
	}
	if line.End {
		close(a.end)
	}
}
