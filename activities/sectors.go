package activities

import (
	"context"
	"fmt"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/workflows"
)

// Index knows which store holds a sector.
type Index interface {
	Find(ctx context.Context, miner abi.ActorID, sectors post.Sectors) (found post.Sectors, missing []post.Skipped, err error)
	// Unlisted names the stores that could not be looked into since the start.
	Unlisted() []string
}

// Verifier checks a window proof against the sectors that it covers.
type Verifier func(ctx context.Context, miner abi.ActorID, proofType abi.RegisteredPoStProof, randomness []byte, sectors post.Sectors, proof []byte) (bool, error)

// Sectors locates sectors and checks proofs of them.
type Sectors struct {
	Index  Index
	Verify Verifier
}

// LookupSectors says which store holds each sector of a partition, and which sectors none holds.
func (s *Sectors) LookupSectors(ctx context.Context, in workflows.PartitionInput) (post.Located, error) {
	found, missing, err := s.Index.Find(ctx, in.Deadline.Miner, in.Sectors)
	if err != nil {
		return post.Located{}, fmt.Errorf("looking up the sectors of partition %d of deadline %s: %w", in.Partition, in.Deadline, err)
	}
	located := post.Located{Sectors: found, Missing: post.Brief(missing)}
	if unlisted := s.Index.Unlisted(); len(missing) > 0 && len(unlisted) > 0 {
		located.Undecided = fmt.Sprintf("%s not found, but store %s has not been readable since the daemon started",
			post.Count(len(missing), "sector"), strings.Join(unlisted, ", "))
	}
	return located, nil
}

// VerifyProof checks a proof that a worker returned, on a machine of the operator's own, before anything is signed.
func (s *Sectors) VerifyProof(ctx context.Context, in workflows.VerifyInput) (bool, error) {
	if in.Proof.JobKey != in.Job.Key() || in.Proof.ProofType != in.Job.ProofType {
		return false, nil
	}
	bad := make([]abi.SectorNumber, len(in.Proof.Skipped))
	for i, skipped := range in.Proof.Skipped {
		bad[i] = skipped.Sector
	}
	d := in.Job.Deadline
	good, err := s.Verify(ctx, d.Miner, in.Proof.ProofType, in.Job.Randomness, in.Job.Sectors.Without(bad), in.Proof.Bytes)
	if err != nil {
		return false, fmt.Errorf("checking the proof of partitions %v of deadline %s: %w", in.Job.Partitions, d, err)
	}
	return good, nil
}
