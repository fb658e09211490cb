package prover

import (
	"context"
	"errors"
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
	c := check{miner, proofType, randomness, sectors}
	return c.make(ctx, ProofType(proofType).checkWindow, func(seed []byte, infos []proof.SectorInfo) (bool, error) {
		return ffi.VerifyWindowPoSt(proof.WindowPoStVerifyInfo{
			Randomness:        seed,
			Proofs:            []proof.PoStProof{{PoStProof: proofType, ProofBytes: proofBytes}},
			ChallengedSectors: infos,
			Prover:            miner,
		})
	})
}

// VerifyWinning is Verify for a winning proof, which may be in several pieces. The sectors are those that were drawn for the block, in the order
// in which they were drawn.
func VerifyWinning(ctx context.Context, miner abi.ActorID, proofType abi.RegisteredPoStProof, randomness []byte, sectors post.Sectors, proofs [][]byte) (bool, error) {
	c := check{miner, proofType, randomness, sectors}
	return c.make(ctx, ProofType(proofType).checkWinning, func(seed []byte, infos []proof.SectorInfo) (bool, error) {
		if len(proofs) == 0 {
			return false, nil // which the library cannot take
		}
		for i := range infos {
			infos[i].SealProof = sealProofOf(proofType)
		}
		pieces := make([]proof.PoStProof, len(proofs))
		for i, piece := range proofs {
			pieces[i] = proof.PoStProof{PoStProof: proofType, ProofBytes: piece}
		}
		return ffi.VerifyWinningPoSt(proof.WinningPoStVerifyInfo{Randomness: seed, Proofs: pieces, ChallengedSectors: infos, Prover: miner})
	})
}

// check is what a proof is checked against.
type check struct {
	miner      abi.ActorID
	proofType  abi.RegisteredPoStProof
	randomness []byte
	sectors    post.Sectors
}

// make prepares the check and has the library make it.
func (c check) make(ctx context.Context, typeFits func() error, verify func(seed []byte, infos []proof.SectorInfo) (bool, error)) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("verifying a %s proof of %d sectors of %s: %w", ProofType(c.proofType), len(c.sectors), post.MinerName(c.miner), err)
	}
	if err := typeFits(); err != nil {
		return fail(err)
	}
	if len(c.sectors) == 0 {
		return fail(errors.New("there are no sectors that it could cover"))
	}
	if len(c.randomness) != 32 {
		return fail(fmt.Errorf("the randomness has %d bytes instead of 32", len(c.randomness)))
	}
	if err := CheckParameters(c.proofType, false); err != nil {
		return fail(err)
	}
	infos := make([]proof.SectorInfo, len(c.sectors))
	for i, s := range c.sectors {
		sealed, err := commcid.ReplicaCommitmentV1ToCID(s.CommR[:])
		if err != nil {
			return fail(fmt.Errorf("CommR of sector %d: %w", s.Number, err))
		}
		infos[i] = proof.SectorInfo{SectorNumber: s.Number, SealedCID: sealed}
	}
	seed := Mask([32]byte(c.randomness))
	ok, err := verify(seed[:], infos)
	switch {
	case err == nil:
		return ok, nil
	case notAProof(err):
		return false, nil
	default:
		return fail(libraryError(c.proofType, err))
	}
}

// sealProofOf is a seal proof type with the sector size of a winning type, by which the library knows the size.
func sealProofOf(winning abi.RegisteredPoStProof) abi.RegisteredSealProof {
	for seal, infos := range abi.SealProofInfos {
		if infos.WinningPoStProof == winning {
			return seal
		}
	}
	return -1 // the library says so; checkWinning has let none of these pass
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
