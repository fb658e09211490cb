package prover

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// Task is one proof that a processor is asked for, as it stands on the wire.
type Task struct {
	MinerID   uint64    `json:"miner_id"`
	ProofType ProofType `json:"proof_type"`
	Replicas  []Replica `json:"replicas"`
	Seed      Bytes32   `json:"seed"` // the challenge randomness; masked by the prover, not by the caller
	Label     string    `json:"-"`    // what people call the job, such as f01000/7 partition 0; "": its sectors
	Until     time.Time `json:"-"`    // when it is worth nothing any more; zero: not known
}

// Replica is one sector of a task and where its files are.
type Replica struct {
	SectorID   uint64  `json:"sector_id"`
	CommR      Bytes32 `json:"comm_r"`
	CacheDir   string  `json:"cache_dir"`
	SealedFile string  `json:"sealed_file"`
}

// Output is what a processor answers. For a window task of which sectors are bad, damocles expects Faults and no proofs;
// our own parent gets both: the proof of the good ones and the list of the others.
type Output struct {
	Proofs [][]byte  `json:"proofs"` // base64 in JSON
	Faults *[]uint64 `json:"faults,omitempty"`
}

// request and response are the lines on stdin and stdout.
type request struct {
	ID   *uint64          `json:"id"`
	Task *json.RawMessage `json:"task"`

	// Only between a parent and a child of ours: how long, in seconds, sectors are read again whose read failed by something that may pass.
	Patience float64 `json:"patience,omitempty"`
}

type response struct {
	ID     *uint64 `json:"id"`
	ErrMsg *string `json:"err_msg"`
	Output *Output `json:"output"`
}

// Bytes32 is 32 bytes that JSON writes as a list of numbers, as Rust does.
type Bytes32 [32]byte

// UnmarshalJSON wants exactly 32 numbers; encoding/json would take any count.
func (b *Bytes32) UnmarshalJSON(data []byte) error {
	// Bytes would be read from base64, so it goes by way of wider numbers.
	var wide []uint16
	if err := json.Unmarshal(data, &wide); err != nil {
		return fmt.Errorf("reading 32 bytes as a list of numbers: %w", err)
	}
	if len(wide) != 32 {
		return fmt.Errorf("reading 32 bytes as a list of numbers: there are %d", len(wide))
	}
	for i, n := range wide {
		if n > 255 {
			return fmt.Errorf("reading 32 bytes as a list of numbers: %d is above 255", n)
		}
		b[i] = byte(n)
	}
	return nil
}

// ProofType is a PoSt proof type that has the library's own name in JSON: StackedDrgWindow32GiBV1_2 is what Go calls
// StackedDrgWindow32GiBV1_1.
type ProofType abi.RegisteredPoStProof

// proofNames are the names on the wire. Window proofs of type V1 are not among those that are proven here (their challenges
// depend on a sector's place in the set, so a bad sector would spoil the others), but they are known, to be refused by name.
var proofNames = map[abi.RegisteredPoStProof]string{
	abi.RegisteredPoStProof_StackedDrgWinning2KiBV1:    "StackedDrgWinning2KiBV1",
	abi.RegisteredPoStProof_StackedDrgWinning8MiBV1:    "StackedDrgWinning8MiBV1",
	abi.RegisteredPoStProof_StackedDrgWinning512MiBV1:  "StackedDrgWinning512MiBV1",
	abi.RegisteredPoStProof_StackedDrgWinning32GiBV1:   "StackedDrgWinning32GiBV1",
	abi.RegisteredPoStProof_StackedDrgWinning64GiBV1:   "StackedDrgWinning64GiBV1",
	abi.RegisteredPoStProof_StackedDrgWindow2KiBV1:     "StackedDrgWindow2KiBV1",
	abi.RegisteredPoStProof_StackedDrgWindow8MiBV1:     "StackedDrgWindow8MiBV1",
	abi.RegisteredPoStProof_StackedDrgWindow512MiBV1:   "StackedDrgWindow512MiBV1",
	abi.RegisteredPoStProof_StackedDrgWindow32GiBV1:    "StackedDrgWindow32GiBV1",
	abi.RegisteredPoStProof_StackedDrgWindow64GiBV1:    "StackedDrgWindow64GiBV1",
	abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1:   "StackedDrgWindow2KiBV1_2",
	abi.RegisteredPoStProof_StackedDrgWindow8MiBV1_1:   "StackedDrgWindow8MiBV1_2",
	abi.RegisteredPoStProof_StackedDrgWindow512MiBV1_1: "StackedDrgWindow512MiBV1_2",
	abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1:  "StackedDrgWindow32GiBV1_2",
	abi.RegisteredPoStProof_StackedDrgWindow64GiBV1_1:  "StackedDrgWindow64GiBV1_2",
}

// String is the name on the wire.
func (p ProofType) String() string {
	if name, ok := proofNames[abi.RegisteredPoStProof(p)]; ok {
		return name
	}
	return fmt.Sprintf("PoSt proof type %d", int64(p))
}

// MarshalText writes the name on the wire.
func (p ProofType) MarshalText() ([]byte, error) {
	name, ok := proofNames[abi.RegisteredPoStProof(p)]
	if !ok {
		return nil, fmt.Errorf("PoSt proof type %d has no name", int64(p))
	}
	return []byte(name), nil
}

// UnmarshalText reads the name on the wire.
func (p *ProofType) UnmarshalText(text []byte) error {
	for value, name := range proofNames {
		if name == string(text) {
			*p = ProofType(value)
			return nil
		}
	}
	return fmt.Errorf("proof type %q is not known; one looks like StackedDrgWindow32GiBV1_2", text)
}

// checkWindow refuses what the window half cannot prove.
func (p ProofType) checkWindow() error {
	switch abi.RegisteredPoStProof(p) {
	case abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, abi.RegisteredPoStProof_StackedDrgWindow8MiBV1_1,
		abi.RegisteredPoStProof_StackedDrgWindow512MiBV1_1, abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1,
		abi.RegisteredPoStProof_StackedDrgWindow64GiBV1_1:
		return nil
	case abi.RegisteredPoStProof_StackedDrgWindow2KiBV1, abi.RegisteredPoStProof_StackedDrgWindow8MiBV1,
		abi.RegisteredPoStProof_StackedDrgWindow512MiBV1, abi.RegisteredPoStProof_StackedDrgWindow32GiBV1,
		abi.RegisteredPoStProof_StackedDrgWindow64GiBV1:
		return fmt.Errorf("%w: %s is the type of before network version 19, whose challenges depend on which other sectors are proven; "+
			"use the miner's present window type, which ends in V1_2 (V1_1 in Go)", ErrProofType, p)
	default:
		return fmt.Errorf("%w: %s is not a window PoSt type", ErrProofType, p)
	}
}

// checkWinning refuses what is no winning type.
func (p ProofType) checkWinning() error {
	if !isWinning(abi.RegisteredPoStProof(p)) {
		return fmt.Errorf("%w: %s is not a winning PoSt type", ErrProofType, p)
	}
	return nil
}
