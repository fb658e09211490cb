package stub

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mode is how a stub treats a task.
type Mode string

// The modes. A task takes as long in each of them.
const (
	OK       Mode = "ok"       // answers with the proof
	False    Mode = "false"    // with one that does not verify
	Crash    Mode = "crash"    // the process ends
	Hang     Mode = "hang"     // never answers, and gives no sign of life any more
	Err      Mode = "err"      // answers with an err_msg
	Faults   Mode = "faults"   // calls the first sector bad, without a proof, as damocles does
	Fallback Mode = "fallback" // says in its log what the library says when it leaves the GPU, and goes on
	Garbage  Mode = "garbage"  // writes what is no answer first, then the proof
)

// Modes are all of them.
var Modes = []Mode{OK, False, Crash, Hang, Err, Faults, Fallback, Garbage}

// FallbackLine is what the library (bellperson) logs when a GPU fails it and it goes on with the CPU.
const FallbackLine = "WARN bellperson::gpu::locks > GPU Multiexp failed! Falling back to CPU... Error: Ocl Error: CL_OUT_OF_RESOURCES"

// Options are what a stub is told. The zero value answers every task at once with an empty proof.
type Options struct {
	Kind       string                   // window_post or winning_post; empty: window_post
	Proof      string                   // file with the proof's bytes, or a folder with one per Key
	Vanilla    time.Duration            // how long the first phase takes
	Sleep      time.Duration            // how long the SNARK takes
	SleepFor   map[uint64]time.Duration // of these miners' tasks
	ReadyDelay time.Duration            // from start to the ready line
	Mode       Mode                     // empty: OK
	ModeFile   string                   // its content goes before Mode and is read again for every task, once at its beginning and once at its end
	Record     string                   // file that events are appended to
	Progress   io.Writer                // where phases and signs of life go, as package prover's own child reports them; nil: nowhere, as foreign programs
	Device     string                   // reported as the GPU that was found, with Progress
	Log        io.Writer                // its log: stderr
	Exit       func(int)                // ends the process; nil: os.Exit
}

// Run speaks the protocol until in ends. Tasks that are in the works then are dropped: nobody is left to want an answer.
func Run(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	s := &server{Options: o, out: out, record: recorder{path: o.Record}}
	if s.Kind == "" {
		s.Kind = "window_post"
	}
	if s.Exit == nil {
		s.Exit = os.Exit
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := sleep(ctx, s.ReadyDelay); err != nil {
		return err
	}
	if s.Progress != nil {
		s.report(map[string]any{"devices": devices(s.Device)})
		go s.tick(ctx)
	}
	if err := s.record.add(Event{Event: EventReady}); err != nil {
		return err
	}
	if err := s.line(s.Kind + " processor ready"); err != nil {
		return fmt.Errorf("announcing the processor: %w", err)
	}
	return s.serve(ctx, in)
}

func devices(device string) []string {
	if device == "" {
		return []string{}
	}
	return []string{device}
}

// server is a running stub.
type server struct {
	Options
	record recorder

	writing sync.Mutex // one line at a time
	out     io.Writer

	mu   sync.Mutex
	busy int
	hung bool // it gives no sign of life any more
}

func (s *server) serve(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var request struct {
			ID   *uint64 `json:"id"`
			Task *task   `json:"task"`
		}
		if err := json.Unmarshal(lines.Bytes(), &request); err != nil || request.ID == nil || request.Task == nil {
			s.log("skipping a line that is not a task: %v", err)
			continue
		}
		go s.run(ctx, *request.ID, *request.Task)
	}
	return lines.Err()
}

// run does one task.
func (s *server) run(ctx context.Context, id uint64, t task) {
	event := Event{Event: EventStart, Task: id, Miner: t.Miner, Sectors: t.sectors(), Job: t.key(), Beside: s.enter(1)}
	s.note(event)
	mode := s.mode()
	s.phase(id, event, "vanilla", len(t.Replicas))
	err := sleep(ctx, s.Vanilla)
	if err == nil && mode == Fallback {
		s.log("%s", FallbackLine)
	}
	if err == nil {
		s.phase(id, event, "snark", len(t.Replicas))
		snark, special := s.SleepFor[t.Miner]
		if !special {
			snark = s.Sleep
		}
		err = sleep(ctx, snark)
	}
	if err != nil {
		return
	}
	if later := s.mode(); s.ModeFile != "" {
		mode = later
	}
	event.Event, event.Outcome, event.Beside = EventEnd, mode, s.enter(-1)
	s.note(event)
	s.finish(id, t, mode)
}

// enter counts a task in or out, and gives how many others there are.
func (s *server) enter(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy += n
	return s.busy - max(n, 0)
}

// phase tells of a task's phase, where somebody listens, and records it.
func (s *server) phase(id uint64, event Event, phase string, of int) {
	if s.Progress != nil {
		s.report(map[string]any{"id": id, "phase": phase, "of": of})
	}
	event.Event, event.Phase = EventPhase, phase
	s.note(event)
}

// mode is how tasks are to be treated now.
func (s *server) mode() Mode {
	if s.ModeFile != "" {
		if text, err := os.ReadFile(s.ModeFile); err == nil {
			if mode := Mode(bytes.TrimSpace(text)); slices.Contains(Modes, mode) {
				return mode
			}
		}
	}
	if s.Mode == "" {
		return OK
	}
	return s.Mode
}

// finish answers a task as the mode wants it.
func (s *server) finish(id uint64, t task, mode Mode) {
	switch mode {
	case Crash:
		s.log("out of memory, as a test wants it")
		s.Exit(9)
		return
	case Hang:
		s.mu.Lock()
		s.hung = true
		s.mu.Unlock()
		return
	case Err:
		s.answer(id, nil, nil, "no such proof type, says a test")
		return
	case Faults:
		if len(t.Replicas) > 0 {
			s.answer(id, nil, []uint64{t.Replicas[0].Sector}, "")
			return
		}
	case Garbage:
		_ = s.line("nvrtc: compiled in 3 ms")
		_ = s.line(`{"id":987654321,"err_msg":null,"output":{"proofs":["AAAA"],"faults":[]}}`)
		_ = s.line(`{"output":{"proofs":["AAAA"]}}`)
	}
	proof, err := s.proof(t)
	if err != nil {
		s.answer(id, nil, nil, err.Error())
		return
	}
	if mode == False {
		proof = bytes.Clone(proof)
		for i := range proof {
			proof[i] ^= 0x55
		}
		if len(proof) == 0 {
			proof = make([]byte, 192) // as long as a Groth16 proof, and none
		}
	}
	s.answer(id, [][]byte{proof}, []uint64{}, "")
}

// proof is the one that was made for such a task.
func (s *server) proof(t task) ([]byte, error) {
	path := s.Proof
	if path == "" {
		return nil, nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, t.key()+".proof")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("no proof was made for miner %d, sectors %v: %w", t.Miner, t.sectors(), err)
	}
	return data, nil
}

// answer writes a response, and before it that no more progress comes.
func (s *server) answer(id uint64, proofs [][]byte, faults []uint64, problem string) {
	if s.Progress != nil {
		s.report(map[string]any{"id": id, "vanilla_ns": s.Vanilla, "snark_ns": max(s.Sleep, 1)})
		s.report(map[string]any{"id": id, "end": true})
	}
	type output struct {
		Proofs [][]byte `json:"proofs"`
		Faults []uint64 `json:"faults,omitempty"`
	}
	response := struct {
		ID     uint64  `json:"id"`
		ErrMsg *string `json:"err_msg"`
		Output *output `json:"output"`
	}{ID: id}
	if problem != "" {
		response.ErrMsg = &problem
	} else {
		response.Output = &output{Proofs: append([][]byte{}, proofs...), Faults: faults}
	}
	data, err := json.Marshal(response)
	if err == nil {
		err = s.line(string(data))
	}
	if err != nil {
		s.log("answering task %d: %v", id, err)
	}
}

// tick gives signs of life.
func (s *server) tick(ctx context.Context) {
	for sleep(ctx, 500*time.Millisecond) == nil {
		s.mu.Lock()
		hung := s.hung
		s.mu.Unlock()
		if !hung {
			s.report(map[string]any{})
		}
	}
}

// report writes a progress line.
func (s *server) report(line map[string]any) {
	data, err := json.Marshal(line)
	if err != nil {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _ = s.Progress.Write(append(data, '\n'))
}

// line writes one line of the protocol.
func (s *server) line(text string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := io.WriteString(s.out, text+"\n")
	return err
}

func (s *server) note(e Event) {
	if err := s.record.add(e); err != nil {
		s.log("writing down a task: %v", err)
	}
}

func (s *server) log(format string, args ...any) {
	if s.Log == nil {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	fmt.Fprintf(s.Log, strings.TrimSuffix(format, "\n")+"\n", args...)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.New("the processor ends")
	}
}
