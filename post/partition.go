package post

import (
	"fmt"

	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
)

// Partition is what a deadline's workflow knows of one partition before it reads the partition's sectors: counts only,
// because a deadline can have dozens of partitions and a payload is limited.
type Partition struct {
	Index      uint64 `json:"index"`
	Live       uint64 `json:"live"`       // sectors that have not been terminated or expired
	Faulty     uint64 `json:"faulty"`     // of these, declared faulty
	Recovering uint64 `json:"recovering"` // of these, declared recovered and to be proven now
	ToProve    uint64 `json:"to_prove"`   // sectors that the post must cover
	Posted     bool   `json:"posted"`     // the chain already has a post of it for this deadline
}

// ToProve is the set of sectors that a partition's post must cover: (Live − Faulty) ∪ Recovering.
func ToProve(live, faulty, recovering bitfield.BitField) (bitfield.BitField, error) {
	healthy, err := bitfield.SubtractBitField(live, faulty)
	if err != nil {
		return bitfield.BitField{}, fmt.Errorf("subtracting faulty from live sectors: %w", err)
	}
	all, err := bitfield.MergeBitFields(healthy, recovering)
	if err != nil {
		return bitfield.BitField{}, fmt.Errorf("adding recovering sectors: %w", err)
	}
	return all, nil
}

// Loaded is a deadline as the chain has it: what the DeadlineWorkflow starts from.
type Loaded struct {
	Head       abi.ChainEpoch          `json:"head"`       // epoch of the head that it was read at
	ProofType  abi.RegisteredPoStProof `json:"proof_type"` // of the miner's window posts
	Sender     string                  `json:"sender"`     // key address that pays for and signs the miner's posts
	Partitions []Partition             `json:"partitions"`
}

// Located is a partition's sectors with the stores that hold them, and those that no store holds.
type Located struct {
	Sectors Sectors   `json:"sectors"`
	Missing []Skipped `json:"missing,omitempty"`
	// Undecided says why Missing may be wrong: a store that nobody has been able to look into yet.
	Undecided string `json:"undecided,omitempty"`
}

// PartitionNames is what people call partitions of a deadline: partition 0; partitions 0 and 1; partitions 0, 1 and 2.
func PartitionNames(indexes []uint64) string { return partitions(indexes) }
