package prover

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"posthaste/post"
)

const (
	drainGrace = 500 * time.Millisecond // for reading what a child wrote before it died, when a grandchild holds its pipes
	tailLines  = 5                      // of a dead child's log that go into the error
)

// child is one running processor of a card, seen from the parent.
type child struct {
	config  CardConfig
	card    string
	kind    string
	log     *slog.Logger
	memory  *Memory // that its SNARKs wait for, nil if none
	cmd     *exec.Cmd
	pipes   []*os.File // our ends of stdout, stderr and progress
	stdin   *os.File
	writing sync.Mutex // one request at a time on stdin
	gate    *os.File
	gating  sync.Mutex // one line at a time on gate
	readers sync.WaitGroup
	ready   chan struct{} // closed at the ready line
	doomed  chan struct{} // closed when it is killed
	lost    chan struct{} // closed when it has been killed and does not end: nobody should wait for it any more
	gone    chan struct{} // closed when the process has ended and its pipes are read
	goneErr error         // set before gone is closed

	announced chan struct{} // closed when it has told its devices, or never will

	lastTick atomic.Int64 // UnixNano of the last progress line; 0: none yet, so maybe a foreign program
	killedAs atomic.Pointer[error]
	dying    atomic.Bool // killed, or seen to have ended: not to be given jobs

	mu     sync.Mutex
	ended  bool // reaped: its process group must not be signalled any more
	nextID uint64
	asked  map[uint64]*asking
	tail   []string
	device string // the GPUs that it has announced
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
	c.mu.Lock()
	left := slices.Collect(maps.Values(c.asked))
	c.mu.Unlock()
	for _, a := range left {
		a.finish()
	}
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
		detail += map[bool]string{true: "; its last log lines: ", false: " | "}[i == 0] + printable(line)
	}
	return &CardError{Card: c.card, Kind: kind, Detail: detail}
}

// escapes are what a program colours its log with, or moves a terminal's cursor.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// printable is a line of any program's log without what does things to terminals: it becomes an error that lists and chats show.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, escapes.ReplaceAllString(line, ""))
}

// kill ends the child and whatever it has started. The reason becomes the error of its jobs.
func (c *child) kill(reason error) {
	c.dying.Store(true)
	if c.killedAs.CompareAndSwap(nil, &reason) {
		close(c.doomed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// killIfThere is kill for a process that should have ended of itself.
func (c *child) killIfThere(reason error) {
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if !ended {
		c.kill(reason)
	}
}

func (c *child) closePipes() {
	for _, file := range append([]*os.File{c.stdin, c.gate}, c.pipes...) {
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

// errEndless is why a child is killed that writes no answer but a line that would fill the memory.
var errEndless = fmt.Errorf("%w: it has written a line of more than %d MiB", ErrCardCrashed, maxLine>>20)

// lines calls f for every line until the pipe ends.
func (c *child) lines(from io.Reader, f func(line []byte)) {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	for scanner.Scan() {
		f(scanner.Bytes())
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		c.log.Error("the card's process writes a line without end; killing it", "card", c.card)
		c.kill(errEndless)
	}
}

// maxLogLine is where a line of a log is cut. A bar of progress, which a program draws over and over again, has no end.
const maxLogLine = 64 << 10

// logLine is a bufio.SplitFunc: a log's lines end at \n, at \r, or where they are cut.
func logLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		return i + 1, data[:i], nil
	}
	if len(data) >= maxLogLine || atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

func (c *child) readAnswers(stdout io.Reader) {
	announced := false
	want := c.kind + " processor ready"
	skipped := grumbler{log: c.log.With("card", c.card)}
	defer skipped.flush()
	c.lines(stdout, func(line []byte) {
		if !announced {
			if string(line) == want {
				announced = true
				if c.awaitDevices(); !c.dying.Load() {
					close(c.ready)
				}
				return
			}
			skipped.line("skipping output of a card's process before its ready line", "line", clip(line), "expected", want)
			return
		}
		var r response
		if err := json.Unmarshal(line, &r); err != nil || r.ID == nil {
			skipped.line("skipping output of a card's process that is not an answer", "line", clip(line), "error", err)
			return
		}
		a := c.take(*r.ID)
		if a == nil {
			skipped.line("skipping an answer that nobody waits for", "id", *r.ID)
			return
		}
		a.finish()
		a.answer <- r
	})
	// Without its stdout it is of no use, even if it lives on. If it is just ending, how it ends is worth knowing.
	time.AfterFunc(drainGrace, func() { c.killIfThere(errMute) })
}

// errMute is why a child is killed whose answers nobody can hear.
var errMute = fmt.Errorf("%w: it has closed its stdout", ErrCardCrashed)

// awaitDevices returns when our own processor's devices are known, which it announces on another pipe before it is ready.
func (c *child) awaitDevices() {
	if c.config.Bin != "" {
		return // a foreign program announces none
	}
	select {
	case <-c.announced:
	case <-time.After(progressGrace):
	}
}

func (c *child) readLog(stderr io.Reader) {
	scanner := bufio.NewScanner(stderr)
	scanner.Buffer(make([]byte, 64<<10), 2*maxLogLine)
	scanner.Split(logLine)
	for scanner.Scan() {
		line := bytes.TrimSpace(scanner.Bytes())
		if len(line) == 0 {
			continue
		}
		c.log.Debug(clip(line), "card", c.card, "pid", c.cmd.Process.Pid)
		c.mu.Lock()
		c.tail = append(c.tail, clip(line))
		c.tail = c.tail[max(0, len(c.tail)-tailLines):]
		c.mu.Unlock()
		if c.config.GPU && isFallback(line) {
			c.log.Error("the proofs library goes on on the CPU; killing the card's process", "card", c.card, "line", clip(line))
			c.kill(ErrFellBack)
		}
	}
}

func (c *child) readProgress(pipe io.Reader) {
	announce := sync.OnceFunc(func() { close(c.announced) })
	defer announce()
	c.lines(pipe, func(raw []byte) {
		var line progressLine
		if json.Unmarshal(raw, &line) != nil {
			return
		}
		c.lastTick.Store(time.Now().UnixNano())
		if line.Devices != nil {
			c.found(*line.Devices)
			announce()
		}
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
		if a == nil {
			return
		}
		a.tell(line)
		if line.Phase == post.PhaseMemory {
			go c.admit(a)
		}
	})
}

// found takes note of the GPUs that the process has announced.
func (c *child) found(devices []string) {
	c.mu.Lock()
	c.device = strings.Join(devices, ", ")
	c.mu.Unlock()
	if c.config.GPU && len(devices) == 0 {
		c.kill(noDevice(c.config))
	}
}

// devices are the names of the GPUs that the process has announced.
func (c *child) devices() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.device
}

// peakBytes is the most memory that the process has had resident, parameters that it shares with others included; 0 if it is not known.
func (c *child) peakBytes() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	peak, _ := kibibytes(string(text), "VmHWM:")
	return peak
}
