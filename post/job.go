package post

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// Job is what one GenerateWindowPoSt activity is asked to do: one proof, over the sectors of one partition, or of up to
// the network's three when the operator batches them (then as one set: the chain checks the union).
type Job struct {
	Deadline   Deadline                `json:"deadline"`
	Partitions []uint64                `json:"partitions"`
	ProofType  abi.RegisteredPoStProof `json:"proof_type"`            // the miner's window PoSt proof type
	Randomness []byte                  `json:"randomness"`            // 32 bytes, as the chain gives it; the prover masks the last byte
	Sectors    Sectors                 `json:"sectors"`               // what to prove, good sectors only, with their stores
	Try        int                     `json:"try"`                   // which counted try this is, from 1
	AvoidCards []string                `json:"avoid_cards,omitempty"` // cards that failed this job ("worker/card", "worker/*"): taken only if nothing else is free
	Pool       string                  `json:"pool,omitempty"`        // the GPU tag that it wants; empty: any
	Elsewhere  bool                    `json:"elsewhere,omitempty"`   // another card of the queue has not failed it yet
	Again      int                     `json:"again,omitempty"`       // how often an operator had it run again: what is in the making from before is not what they want
	Trial      string                  `json:"trial,omitempty"`       // the trial that it is of, whose proof is not sent; empty: a deadline's own
}

// Key says which proof this is, whoever makes it and however often: miner, deadline, partitions, randomness and the set of
// sectors. A proof that arrives late is known by it. A trial's job is another one than the deadline's: neither is given the other's proof.
func (j Job) Key() string {
	h := sha256.New()
	var word [8]byte
	put := func(v uint64) { binary.BigEndian.PutUint64(word[:], v); h.Write(word[:]) }
	put(uint64(j.Deadline.Miner))
	put(uint64(j.Deadline.PeriodStart))
	put(j.Deadline.Index)
	put(uint64(len(j.Partitions)))
	for _, p := range j.Partitions {
		put(p)
	}
	h.Write(j.Randomness)
	for _, s := range j.Sectors {
		put(uint64(s.Number))
		h.Write(s.CommR[:])
	}
	h.Write([]byte(j.Trial))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Needs is what the job asks of whoever takes it.
func (j Job) Needs() (Needs, error) {
	size, err := j.ProofType.SectorSize()
	if err != nil {
		return Needs{}, fmt.Errorf("sector size of proof type %d: %w", j.ProofType, err)
	}
	needs := Needs{Miner: j.Deadline.Miner, Size: size, Pool: j.Pool}
	for _, s := range j.Sectors {
		if !slices.Contains(needs.Stores, s.Store) {
			needs.Stores = append(needs.Stores, s.Store)
		}
	}
	slices.Sort(needs.Stores)
	return needs, nil
}

// Skipped is a sector that could not be proven now, and why. It is left out of the post, which declares it faulty.
type Skipped struct {
	Sector abi.SectorNumber `json:"sector"`
	Reason string           `json:"reason"`
}

// reasonLimit is how long the reason of a skipped sector may be, in bytes; and reasonLimitMany when more are skipped than a partition has, as
// a post of several may.
const (
	reasonLimit     = 240
	reasonLimitMany = 80
	manySkipped     = 2349
)

// Brief cuts the reasons short. Temporal takes 2 MiB in one piece, and a partition of 2,349 sectors may be skipped for a reason that
// names a hundred stores: the lookup would fail, and with it the sectors that are there.
func Brief(skipped []Skipped) []Skipped {
	limit := reasonLimit
	if len(skipped) > manySkipped {
		limit = reasonLimitMany
	}
	for i, s := range skipped {
		if len(s.Reason) > limit {
			skipped[i].Reason = strings.ToValidUTF8(s.Reason[:limit], "") + "…"
		}
	}
	return skipped
}

// Proof is a WindowPoSt proof that verified, with what people ask about it afterwards.
type Proof struct {
	JobKey    string                  `json:"job_key"`
	ProofType abi.RegisteredPoStProof `json:"proof_type"`
	Bytes     []byte                  `json:"proof"`
	Skipped   []Skipped               `json:"skipped,omitempty"` // sectors of the job that were found bad and are not in the proof
	Card      string                  `json:"card"`              // worker/card that made it
	Phases    PhaseTimes              `json:"phases"`
}

// PhaseTimes is how long each phase of a proof took, in wall-clock time on the card.
type PhaseTimes struct {
	Wait    time.Duration `json:"wait"`    // waiting for a free card on the worker
	Vanilla time.Duration `json:"vanilla"` // reading the sectors: one vanilla proof each
	Snark   time.Duration `json:"snark"`   // the proof itself
	Verify  time.Duration `json:"verify"`  // our own check of it
}

// Phase names what a card is doing with a job.
type Phase string

// The phases of a proof, in order. They are the heartbeat's details, so that people see them in the Web UI.
const (
	PhaseWaiting Phase = "waiting" // for a free card
	PhaseVanilla Phase = "vanilla" // reading sectors
	PhaseMemory  Phase = "memory"  // read, waiting until the machine has memory for the SNARK
	PhaseSnark   Phase = "snark"
	PhaseVerify  Phase = "verify"
)

// Progress is what a running job's heartbeat says.
type Progress struct {
	Partition uint64  `json:"partition"` // the job's first
	Card      string  `json:"card"`
	Phase     Phase   `json:"phase"`
	Done      int     `json:"done"`    // sectors read, in PhaseVanilla
	Of        int     `json:"of"`      // of so many
	Seconds   float64 `json:"seconds"` // since the card took the job
}
