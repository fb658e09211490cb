package prover

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Kinds of processor.
const (
	KindWindow  = "window_post"
	KindWinning = "winning_post"
)

// maxLine bounds a line of the protocol; a window task of a full partition is about 0.6 MB.
const maxLine = 64 << 20

// ProcessorOptions are the settings of a processor. The zero value is right for production.
type ProcessorOptions struct {
	Reading  Reading      // OnSector is the processor's own
	Log      *slog.Logger // nil: slog.Default()
	Progress io.Writer    // where progress lines go; nil: the descriptor that POSTHASTE_PROGRESS_FD names, if set
}

// RunProcessor is the child's side of damocles's line protocol: it announces itself on out, then answers every task that it
// reads from in, many at a time and as they get ready. It returns when in ends: nobody is left to want an answer, so tasks
// in the works are not waited for.
//
// If out is os.Stdout, the descriptor itself is taken away from everybody else in the process: what C or Rust prints to it goes to
// stderr from then on.
func RunProcessor(ctx context.Context, kind string, in io.Reader, out io.Writer, opts ProcessorOptions) error {
	if kind != KindWindow && kind != KindWinning {
		return fmt.Errorf("processor %q is not known; there are %s and %s", kind, KindWindow, KindWinning)
	}
	if out == io.Writer(os.Stdout) {
		protocol, err := takeStdout()
		if err != nil {
			return fmt.Errorf("taking stdout for the protocol: %w", err)
		}
		defer func() { _ = protocol.Close() }()
		out = protocol
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Progress == nil {
		pipe, err := inheritedPipe(ProgressEnv, "progress")
		if err != nil {
			return err
		}
		if pipe != nil {
			opts.Progress = pipe
		}
	}
	var gate *gate
	if opts.Progress != nil { // by which it asks for leave
		var err error
		if gate, err = inheritedGate(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &processor{kind: kind, out: out, opts: opts, progress: newProgressWriter(opts.Progress), gate: gate}
	if p.progress != nil {
		go p.progress.tick(ctx)
		p.announceDevices()
	}
	if err := p.line([]byte(kind + " processor ready")); err != nil {
		return fmt.Errorf("announcing the processor: %w", err)
	}
	return p.serve(ctx, in)
}

// takeStdout returns a private copy of descriptor 1 and points 1 itself to stderr.
func takeStdout() (*os.File, error) {
	fd, err := syscall.Dup(1)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	if err := syscall.Dup3(2, 1, 0); err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "protocol"), nil
}

// processor is a running one.
type processor struct {
	kind     string
	opts     ProcessorOptions
	progress *progressWriter // nil without a parent of ours
	gate     *gate           // likewise

	mu  sync.Mutex // one line at a time
	out io.Writer
}

// announceDevices tells the parent what GPUs there are.
func (p *processor) announceDevices() {
	names, err := Devices()
	if err != nil {
		p.opts.Log.Error("the GPUs are not known", "error", err)
	}
	p.progress.devices(names)
}

// serve reads tasks until in ends.
func (p *processor) serve(ctx context.Context, in io.Reader) error {
	lines, failed := make(chan []byte), make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(make([]byte, 64<<10), maxLine)
		for scanner.Scan() {
			select {
			case lines <- append([]byte(nil), scanner.Bytes()...):
			case <-ctx.Done():
				return
			}
		}
		failed <- scanner.Err()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if err != nil {
				return fmt.Errorf("reading tasks: %w", err)
			}
			return nil
		case line := <-lines:
			p.accept(ctx, line)
		}
	}
}

// accept starts the task on a line. What is not a task is reported and skipped, or answered if it has at least an ID.
func (p *processor) accept(ctx context.Context, line []byte) {
	var req request
	if err := json.Unmarshal(line, &req); err != nil || req.ID == nil {
		p.opts.Log.Warn("skipping a line on stdin that is not a task", "line", clip(line), "error", err)
		return
	}
	var task Task
	if req.Task == nil {
		p.answer(*req.ID, nil, errors.New("the request has no task"))
		return
	}
	if err := json.Unmarshal(*req.Task, &task); err != nil {
		p.answer(*req.ID, nil, fmt.Errorf("reading the task: %w", err))
		return
	}
	go func() {
		output, err := p.run(ctx, *req.ID, task, time.Duration(req.Patience*float64(time.Second)))
		if ctx.Err() != nil {
			return
		}
		p.progress.end(*req.ID, err)
		p.answer(*req.ID, output, err)
	}()
}

// run does a task of either kind. patience is how long sectors may be read again; 0: not said.
func (p *processor) run(ctx context.Context, id uint64, task Task, patience time.Duration) (*Output, error) {
	if p.kind == KindWinning {
		return p.winning(ctx, task)
	}
	return p.window(ctx, id, task, patience)
}

// reading is how a task's sectors are read.
func (p *processor) reading(patience time.Duration) Reading {
	reading := p.opts.Reading
	reading.Patience = cmp.Or(patience, reading.Patience)
	reading.OnAgain = func(sector abi.SectorNumber, why error) {
		p.opts.Log.Warn("a sector is read again", "sector", sector, "why", why)
	}
	return reading
}

// window proves a window task. Bad sectors are an answer, not an error.
func (p *processor) window(ctx context.Context, id uint64, task Task, patience time.Duration) (*Output, error) {
	reading := p.reading(patience)
	reading.OnSector = func(done, of int, bad *post.Skipped) { p.progress.sector(id, done, of, bad) }
	p.progress.phase(id, post.PhaseVanilla, len(task.Replicas))
	start := time.Now()
	vanillas, err := Vanilla(ctx, task, reading)
	var skipped, known []post.Skipped
	var proof []byte
	if err == nil {
		known, skipped = vanillas.Skipped, vanillas.Skipped
		// A parent of damocles takes no proof beside faults, so it is not worth the card's time.
		if len(known) == 0 || p.progress != nil {
			waitStart := time.Now()
			if err := p.gate.wait(ctx, id, func() { p.progress.phase(id, post.PhaseMemory, len(vanillas.Good)) }); err != nil {
				return nil, err
			}
			p.progress.phase(id, post.PhaseSnark, len(vanillas.Good))
			snarkStart := time.Now()
			proof, skipped, err = Snark(ctx, vanillas)
			p.progress.times(id, waitStart.Sub(start), snarkStart.Sub(waitStart), time.Since(snarkStart))
			p.progress.found(id, skipped, known)
		}
	}
	var allBad *AllBadError
	if errors.As(err, &allBad) {
		p.progress.found(id, allBad.Skipped, known)
		skipped, err = allBad.Skipped, nil
	}
	if err != nil {
		return nil, err
	}
	faults := make([]uint64, len(skipped))
	for i, s := range skipped {
		faults[i] = uint64(s.Sector)
	}
	output := &Output{Proofs: [][]byte{}, Faults: &faults}
	if proof != nil && (len(faults) == 0 || p.progress != nil) {
		output.Proofs = append(output.Proofs, proof)
	}
	return output, nil
}

// winningPatience is how long the sector of a block may be read again.
const winningPatience = time.Second

// winning proves a winning task: one sector, already chosen by the caller.
func (p *processor) winning(ctx context.Context, task Task) (*Output, error) {
	proofType := abi.RegisteredPoStProof(task.ProofType)
	if !isWinning(proofType) {
		return nil, fmt.Errorf("%w: %s is not a winning PoSt type", ErrProofType, task.ProofType)
	}
	if len(task.Replicas) != 1 {
		return nil, fmt.Errorf("a winning PoSt is of one sector, and the task for f0%d has %d", task.MinerID, len(task.Replicas))
	}
	// A block is due in seconds: what fails is read again, but not waited for.
	vanillas, err := vanilla(ctx, task, p.reading(winningPatience))
	if err != nil {
		return nil, err
	}
	if err := CheckParameters(proofType, true); err != nil {
		return nil, err
	}
	proofs, err := ffi.GenerateWinningPoStWithVanilla(proofType, vanillas.Miner, vanillas.Seed[:], rawProofs(vanillas.Good))
	if err != nil {
		return nil, fmt.Errorf("proving sector %d of f0%d: %w", task.Replicas[0].SectorID, task.MinerID, libraryError(proofType, err))
	}
	output := &Output{Proofs: [][]byte{}}
	for _, proof := range proofs {
		output.Proofs = append(output.Proofs, proof.ProofBytes)
	}
	return output, nil
}

// answer writes the response to a request.
func (p *processor) answer(id uint64, output *Output, err error) {
	r := response{ID: &id, Output: output}
	if err != nil {
		text := err.Error()
		r.ErrMsg, r.Output = &text, nil
	}
	line, err := json.Marshal(r)
	if err == nil {
		err = p.line(line)
	}
	if err != nil {
		p.opts.Log.Error("an answer could not be written", "id", id, "error", err)
	}
}

// line writes one line in a single call, so that lines of tasks that end together stay whole.
func (p *processor) line(text []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.out.Write(append(text, '\n'))
	return err
}

// clip is the start of a line, for a log.
func clip(line []byte) string {
	const shown = 200
	if len(line) > shown {
		return string(line[:shown]) + "…"
	}
	return string(line)
}
