package stub

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// What an Event says.
const (
	EventReady = "ready" // the process has printed its ready line
	EventStart = "start" // it was given a task
	EventPhase = "phase" // the task is in another phase
	EventEnd   = "end"   // the task was answered, or the process dies of it; see Outcome
)

// Event is one line of a record: what happened in a process of a card, and in which surroundings.
type Event struct {
	At     time.Time `json:"at"`
	Event  string    `json:"event"`
	PID    int       `json:"pid"`
	Parent int       `json:"parent"` // the worker's process

	CUDA    string `json:"cuda,omitempty"`        // CUDA_VISIBLE_DEVICES
	Bellman string `json:"gpu_indexes,omitempty"` // BELLMAN_GPU_INDEXS
	TempDir string `json:"tmpdir,omitempty"`      // TMPDIR
	CPUs    string `json:"cpus,omitempty"`        // that it may run on, as the kernel lists them

	Task    uint64   `json:"task,omitempty"` // the request's ID
	Miner   uint64   `json:"miner,omitempty"`
	Sectors []uint64 `json:"sectors,omitempty"`
	Job     string   `json:"job,omitempty"`     // the Key of its miner, seed and sectors
	Beside  int      `json:"beside,omitempty"`  // other tasks that the process had at this moment
	Phase   string   `json:"phase,omitempty"`   // of an EventPhase
	Outcome Mode     `json:"outcome,omitempty"` // of an EventEnd
}

// recorder appends events to a file that several processes share.
type recorder struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// add writes one event in a single call, so that the lines of several processes stay whole. Without a path it does nothing.
func (r *recorder) add(e Event) error {
	if r.path == "" {
		return nil
	}
	e.At, e.PID, e.Parent = time.Now(), os.Getpid(), os.Getppid()
	e.CUDA, e.Bellman, e.TempDir = os.Getenv("CUDA_VISIBLE_DEVICES"), os.Getenv("BELLMAN_GPU_INDEXS"), os.Getenv("TMPDIR")
	e.CPUs = allowedCPUs()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		if r.file, err = os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return fmt.Errorf("opening the record: %w", err)
		}
	}
	_, err = r.file.Write(append(line, '\n'))
	return err
}

// allowedCPUs is the list of CPUs that this process may run on, such as 0-3,8 (proc(5)).
func allowedCPUs() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(status) {
		if list, found := bytes.CutPrefix(line, []byte("Cpus_allowed_list:")); found {
			return string(bytes.TrimSpace(list))
		}
	}
	return ""
}

// Events reads a record, in the order in which things happened. One that nobody has written to yet is empty.
func Events(path string) ([]Event, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Event
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var e Event
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("record %s: %q: %w", path, scanner.Bytes(), err)
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b Event) int { return a.At.Compare(b.At) })
	return all, scanner.Err()
}
