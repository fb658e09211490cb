package prover

import (
	"context"
	"fmt"
	"strings"

	ffi "github.com/filecoin-project/filecoin-ffi"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/proof"

	"posthaste/post"
)

// Verify says whether a window proof is right for the sectors, as the network's actors would: with the miner, the proof
// type, the chain's randomness (masked here) and the sectors that the proof covers, skipped ones left out. A single check takes a
// millisecond; the context is looked at before it only. The error means that the check could not be made.
func Verify(ctx context.Context, miner abi.ActorID, proofType abi.RegisteredPoStProof, randomness []byte, sectors post.Sectors, proofBytes []byte) (bool, error) {
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("verifying a %s proof of %d sectors of %s: %w", ProofType(proofType), len(sectors), post.MinerName(miner), err)
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := ProofType(proofType).checkWindow(); err != nil {
		return fail(err)
	}
	if len(randomness) != 32 {
		return fail(fmt.Errorf("the randomness has %d bytes instead of 32", len(randomness)))
	}
	if err := CheckParameters(proofType, false); err != nil {
		return fail(err)
	}
	infos := make([]proof.SectorInfo, len(sectors))
	for i, s := range sectors {
		sealed, err := commcid.ReplicaCommitmentV1ToCID(s.CommR[:])
		if err != nil {
			return fail(fmt.Errorf("CommR of sector %d: %w", s.Number, err))
		}
		infos[i] = proof.SectorInfo{SectorNumber: s.Number, SealedCID: sealed}
	}
	seed := Mask([32]byte(randomness))
	ok, err := ffi.VerifyWindowPoSt(proof.WindowPoStVerifyInfo{
		Randomness:        seed[:],
		Proofs:            []proof.PoStProof{{PoStProof: proofType, ProofBytes: proofBytes}},
		ChallengedSectors: infos,
		Prover:            miner,
	})
	switch {
	case err == nil:
		return ok, nil
	case notAProof(err):
		return false, nil
	default:
		return fail(libraryError(proofType, err))
	}
}

// notAProof tells bytes that are no proof at all from a check that could not be made. The library reads its verifying key
// before the proof, and says other things when that fails.
func notAProof(err error) bool {
	for _, sign := range []string{"expected exactly", "not on curve", "subgroup", "point"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}
