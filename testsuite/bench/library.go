package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/proof"

	"posthaste/post"
	"posthaste/sectors"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
)

// libraryArg makes the benchmark's program the child that does nothing but call the library.
const libraryArg = "library"

// call is one call of the library's GenerateWindowPoSt, as the child gets it.
type call struct {
	Miner      abi.ActorID             `json:"miner"`
	ProofType  abi.RegisteredPoStProof `json:"proof_type"`
	Randomness []byte                  `json:"randomness"`
	Sectors    []callSector            `json:"sectors"`
}

type callSector struct {
	Number abi.SectorNumber `json:"number"`
	CommR  []byte           `json:"comm_r"`
	Sealed string           `json:"sealed"`
	Cache  string           `json:"cache"`
}

// answer is how long the call took.
type answer struct {
	Took  time.Duration `json:"took"`
	Error string        `json:"error,omitempty"`
}

// serveLibrary is the child: a call a line in, an answer a line out. It is a process like a card's, with the same environment
// and CPUs, so that what a proof takes here and there can be compared.
func serveLibrary(in io.Reader, out io.Writer) error {
	calls, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var c call
		if err := calls.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a call: %w", err)
		}
		var a answer
		took, err := c.make()
		if err != nil {
			a.Error = err.Error()
		}
		a.Took = took
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("answering a call: %w", err)
		}
	}
}

// make calls the library and takes the time of that alone.
func (c call) make() (time.Duration, error) {
	infos := make([]ffi.PrivateSectorInfo, len(c.Sectors))
	for i, s := range c.Sectors {
		sealed, err := commcid.ReplicaCommitmentV1ToCID(s.CommR)
		if err != nil {
			return 0, fmt.Errorf("sector %d: %w", s.Number, err)
		}
		infos[i] = ffi.PrivateSectorInfo{
			SectorInfo:   proof.SectorInfo{SealProof: sealing.SealProof, SectorNumber: s.Number, SealedCID: sealed},
			CacheDirPath: s.Cache, PoStProofType: c.ProofType, SealedSectorPath: s.Sealed,
		}
	}
	randomness := append(abi.PoStRandomness(nil), c.Randomness...)
	randomness[31] &= 0x3f // the library takes field elements only
	sorted := ffi.NewSortedPrivateSectorInfo(infos...)
	began := time.Now()
	_, faulty, err := ffi.GenerateWindowPoSt(c.Miner, sorted, randomness)
	took := time.Since(began)
	if err != nil {
		return took, fmt.Errorf("GenerateWindowPoSt of f0%d, faulty sectors %v: %w", c.Miner, faulty, err)
	}
	return took, nil
}

// library is the running child.
type library struct {
	stores *sectors.Stores
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
}

// startLibrary starts the child with the stores of a rig.
func startLibrary(ctx context.Context, r *rig.Rig) (*library, error) {
	attached := make([]sectors.Store, len(r.Stores()))
	for i, s := range r.Stores() {
		attached[i] = sectors.Store{Name: s.Name, Path: s.Path}
	}
	stores, err := sectors.NewStores(attached)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program's own file: %w", err)
	}
	l := &library{stores: stores, cmd: exec.CommandContext(ctx, self, libraryArg)}
	l.cmd.Stderr = io.Discard
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting the library's child: %w", err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the library's child: %w", err)
	}
	l.out = bufio.NewReader(out)
	runtime.LockOSThread() // main's: the kernel sends the death signal when the thread that started it ends
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the library's child: %w", err)
	}
	return l, nil
}

// stop ends the child.
func (l *library) stop() {
	_ = l.in.Close()
	_ = l.cmd.Wait()
	runtime.UnlockOSThread()
}

// prove has the library prove the sectors of a job in one call, and says how long that took.
func (l *library) prove(job post.Job) (time.Duration, error) {
	c := call{Miner: job.Deadline.Miner, ProofType: job.ProofType, Randomness: job.Randomness}
	for _, s := range job.Sectors {
		sealed, cache, err := l.stores.Paths(s.Store, job.Deadline.Miner, s)
		if err != nil {
			return 0, err
		}
		c.Sectors = append(c.Sectors, callSector{Number: s.Number, CommR: s.CommR[:], Sealed: sealed, Cache: cache})
	}
	if err := json.NewEncoder(l.in).Encode(c); err != nil {
		return 0, fmt.Errorf("asking the library's child: %w", err)
	}
	line, err := l.out.ReadBytes('\n')
	if err != nil {
		return 0, fmt.Errorf("the library's child ended: %w", err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return 0, fmt.Errorf("the library's child said %q: %w", line, err)
	}
	if a.Error != "" {
		return 0, errors.New(a.Error)
	}
	return a.Took, nil
}
