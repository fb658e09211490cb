package prover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"posthaste/post"
)

// ProgressEnv names, in a child's environment, the descriptor that its progress goes to. Only a parent of ours sets it; any other
// parent sees damocles's protocol and nothing else.
const ProgressEnv = "POSTHASTE_PROGRESS_FD"

const (
	tickEvery     = 500 * time.Millisecond // the parent takes seconds without a line for a child that is stuck
	progressEvery = 100 * time.Millisecond // at most so often "so many sectors read"
)

// progressLine is one line on the progress pipe. A line with nothing in it is a sign of life.
type progressLine struct {
	ID      uint64        `json:"id,omitempty"`
	Phase   post.Phase    `json:"phase,omitempty"`
	Done    int           `json:"done,omitempty"`
	Of      int           `json:"of,omitempty"`
	Bad     *post.Skipped `json:"bad,omitempty"`
	Vanilla time.Duration `json:"vanilla_ns,omitempty"` // how long the phases took
	Wait    time.Duration `json:"wait_ns,omitempty"`    // for memory
	Snark   time.Duration `json:"snark_ns,omitempty"`
	End     bool          `json:"end,omitempty"`     // nothing more comes for this ID
	Kind    string        `json:"kind,omitempty"`    // of an error: what err_msg cannot say
	Devices *[]string     `json:"devices,omitempty"` // names of the GPUs found; once, before the ready line
}

// kindParameters is progressLine.Kind of an ErrParameters.
const kindParameters = "parameters"

// progressWriter writes progress lines. A nil one does nothing, so that nobody has to ask.
type progressWriter struct {
	mu   sync.Mutex
	out  io.Writer
	last map[uint64]time.Time // when the last count went out, per task
}

func newProgressWriter(out io.Writer) *progressWriter {
	if out == nil {
		return nil
	}
	return &progressWriter{out: out, last: map[uint64]time.Time{}}
}

// inheritedPipe opens the pipe whose descriptor the parent gave by a variable, nil if it gave none.
func inheritedPipe(variable, name string) (*os.File, error) {
	text := os.Getenv(variable)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s is %q; it must be the number of an open descriptor above 2, or not be set", variable, text)
	}
	// A program between our parent and us may hand the variable on and not the pipe; the number may then be anything's.
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil, nil
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name), nil
}

func (w *progressWriter) write(line progressLine) {
	data, err := json.Marshal(line)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// Without a reader there is nobody to tell: the parent's end on stdin ends this process anyway.
	_, _ = w.out.Write(append(data, '\n'))
}

// tick writes signs of life until ctx ends.
func (w *progressWriter) tick(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		w.write(progressLine{})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *progressWriter) phase(id uint64, phase post.Phase, of int) {
	if w != nil {
		w.write(progressLine{ID: id, Phase: phase, Of: of})
	}
}

// sector tells of a sector that was read. Bad ones always go out; counts only so often, and the last.
func (w *progressWriter) sector(id uint64, done, of int, bad *post.Skipped) {
	if w == nil {
		return
	}
	w.mu.Lock()
	now := time.Now()
	due := now.Sub(w.last[id]) >= progressEvery || done == of
	if due {
		w.last[id] = now
	}
	w.mu.Unlock()
	if due || bad != nil {
		w.write(progressLine{ID: id, Phase: post.PhaseVanilla, Done: done, Of: of, Bad: bad})
	}
}

// found tells of bad sectors that were not named while reading.
func (w *progressWriter) found(id uint64, skipped, known []post.Skipped) {
	if w == nil {
		return
	}
	for _, s := range skipped {
		if !slices.Contains(known, s) {
			w.write(progressLine{ID: id, Bad: &s})
		}
	}
}

// devices tells the names of the GPUs, also that there are none.
func (w *progressWriter) devices(names []string) {
	names = append([]string{}, names...)
	w.write(progressLine{Devices: &names})
}

func (w *progressWriter) times(id uint64, vanilla, wait, snark time.Duration) {
	if w != nil {
		w.write(progressLine{ID: id, Vanilla: vanilla, Wait: wait, Snark: snark})
	}
}

// end closes a task's progress. It goes out before the answer does.
func (w *progressWriter) end(id uint64, err error) {
	if w == nil {
		return
	}
	line := progressLine{ID: id, End: true}
	if errors.Is(err, ErrParameters) {
		line.Kind = kindParameters
	}
	w.mu.Lock()
	delete(w.last, id)
	w.mu.Unlock()
	w.write(line)
}
