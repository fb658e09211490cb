package prover

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	ffi "github.com/filecoin-project/filecoin-ffi"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin"

	"posthaste/post"
)

// Snark is the second half: it makes the proof out of the vanilla proofs, partition by partition when there are more than fit
// into one, and returns it with all sectors that it does not cover: those that were skipped before, and those whose
// vanilla proof turns out not to belong to the sector's CommR. Nothing is read from the sectors. A partition in the library cannot be
// stopped; the context is looked at between them.
func Snark(ctx context.Context, v *Vanillas) ([]byte, []post.Skipped, error) {
	if err := v.ProofType.checkWindow(); err != nil {
		return nil, nil, err
	}
	proofType := abi.RegisteredPoStProof(v.ProofType)
	if err := CheckParameters(proofType, true); err != nil {
		return nil, nil, err
	}
	good, skipped := slices.Clone(v.Good), slices.Clone(v.Skipped)
	for len(good) > 0 {
		proofBytes, err := snarkAll(ctx, v, good)
		if err == nil {
			return proofBytes, ascending(skipped), nil
		}
		if !errors.Is(err, errVanilla) {
			return nil, nil, err
		}
		culprits := findCulprits(ctx, v, good)
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if len(culprits) == 0 {
			return nil, nil, fmt.Errorf("the vanilla proofs of %d sectors of %s verify one by one but not together: %w",
				len(good), post.MinerName(v.Miner), err)
		}
		skipped = append(skipped, culprits...)
		good = slices.DeleteFunc(good, func(s SectorProof) bool {
			return slices.ContainsFunc(culprits, func(c post.Skipped) bool { return c.Sector == s.Sector })
		})
	}
	return nil, nil, &AllBadError{Miner: uint64(v.Miner), Skipped: ascending(skipped)}
}

// ascending sorts skipped sectors by number.
func ascending(skipped []post.Skipped) []post.Skipped {
	slices.SortFunc(skipped, func(a, b post.Skipped) int { return cmp.Compare(a.Sector, b.Sector) })
	return skipped
}

// errVanilla is the library's refusal of a set of vanilla proofs, which does not say which.
var errVanilla = errors.New("a vanilla proof does not verify")

// What the library says when it checks vanilla proofs before the SNARK (post_util.rs, vanilla.rs).
const (
	textNotVerified = "failed to verify"
	textTooFew      = "unexpected number of inclusion proofs"
)

// snarkAll proves the sectors, cut into partitions, and merges the proofs.
func snarkAll(ctx context.Context, v *Vanillas, good []SectorProof) ([]byte, error) {
	proofType := abi.RegisteredPoStProof(v.ProofType)
	perPartition, err := builtin.PoStProofWindowPoStPartitionSectors(proofType)
	if err != nil {
		return nil, err
	}
	var parts []ffi.PartitionProof
	for chunk := range slices.Chunk(good, int(perPartition)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part, err := ffi.GenerateSinglePartitionWindowPoStWithVanilla(proofType, v.Miner, v.Seed[:], rawProofs(chunk), uint(len(parts)))
		if err != nil {
			if strings.Contains(err.Error(), textNotVerified) || malformed(chunk) {
				return nil, fmt.Errorf("%w: %s", errVanilla, oneLine(err))
			}
			return nil, fmt.Errorf("proving %d sectors of %s: %w", len(chunk), post.MinerName(v.Miner), libraryError(proofType, err))
		}
		parts = append(parts, *part)
	}
	if len(parts) == 1 {
		return parts[0].ProofBytes, nil
	}
	merged, err := ffi.MergeWindowPoStPartitionProofs(proofType, parts)
	if err != nil {
		return nil, fmt.Errorf("merging %d partition proofs of %s: %s", len(parts), post.MinerName(v.Miner), oneLine(err))
	}
	return merged.ProofBytes, nil
}

func rawProofs(chunk []SectorProof) [][]byte {
	raw := make([][]byte, len(chunk))
	for i, s := range chunk {
		raw[i] = s.Proof
	}
	return raw
}

// findCulprits names the sectors whose vanilla proof the library refuses.
func findCulprits(ctx context.Context, v *Vanillas, good []SectorProof) []post.Skipped {
	var culprits []post.Skipped
	for _, s := range good {
		if ctx.Err() != nil {
			return nil
		}
		if reason := checkVanilla(v, s); reason != "" {
			culprits = append(culprits, post.Skipped{Sector: s.Sector, Reason: reason})
		}
	}
	return culprits
}

// checkVanilla returns what is wrong with one sector's vanilla proof, "" if nothing.
//
// The library has no call that checks a vanilla proof without going on to the SNARK, which takes minutes. So it is handed the proof and,
// behind it, a copy of another number that lacks one Merkle path. It checks them in order and stops before the SNARK in any case:
// with "failed to verify" at the first, or with the number of paths at the second, and then the first was good.
func checkVanilla(v *Vanillas, s SectorProof) string {
	stopper, err := cutVanilla(s)
	if err != nil {
		return err.Error()
	}
	_, err = ffi.GenerateSinglePartitionWindowPoStWithVanilla(abi.RegisteredPoStProof(v.ProofType), v.Miner, v.Seed[:], [][]byte{s.Proof, stopper}, 0)
	switch {
	case err == nil:
		return ""
	case strings.Contains(err.Error(), textTooFew):
		return ""
	case strings.Contains(err.Error(), textNotVerified):
		return "vanilla proof does not verify: its files agree with each other, but are those of another CommR than the chain's, or p_aux is damaged"
	default:
		return "vanilla proof: " + oneLine(err)
	}
}

// Layout of a vanilla proof (bincode of FallbackPoStSectorProof): sector number, CommR, the count of sectors (one), the count
// of paths, the paths (all of one length), CommC, CommRLast.
const (
	vanillaCountAt = 8 + 32
	vanillaPathsAt = vanillaCountAt + 8 + 8
	vanillaTail    = 32 + 32
)

// malformed says whether one of the proofs does not even have the layout, or not the length of the others: for one proof
// type all are equally long.
func malformed(chunk []SectorProof) bool {
	return slices.ContainsFunc(chunk, func(s SectorProof) bool {
		_, err := cutVanilla(s)
		return err != nil || len(s.Proof) != len(chunk[0].Proof)
	})
}

// cutVanilla is a copy of a vanilla proof that lacks its last path and has another sector number.
func cutVanilla(s SectorProof) ([]byte, error) {
	raw := s.Proof
	bad := errors.New("vanilla proof is damaged: its layout is wrong")
	if len(raw) < vanillaPathsAt+vanillaTail || binary.LittleEndian.Uint64(raw) != uint64(s.Sector) ||
		binary.LittleEndian.Uint64(raw[vanillaCountAt:]) != 1 {
		return nil, bad
	}
	paths := binary.LittleEndian.Uint64(raw[vanillaCountAt+8:])
	body := uint64(len(raw) - vanillaPathsAt - vanillaTail)
	if paths != windowChallenges || body%paths != 0 {
		return nil, bad
	}
	keep := vanillaPathsAt + int(body/paths*(paths-1))
	cut := append(slices.Clone(raw[:keep]), raw[len(raw)-vanillaTail:]...)
	binary.LittleEndian.PutUint64(cut, uint64(s.Sector)^1)
	binary.LittleEndian.PutUint64(cut[vanillaCountAt+8:], paths-1)
	return cut, nil
}

// libraryError puts a name to errors of the library that are about its parameters. They come as texts of whatever layer met
// them: the parameter cache, a reader that ran out of bytes, a point that is not on the curve.
func libraryError(proofType abi.RegisteredPoStProof, err error) error {
	text := oneLine(err)
	for _, sign := range []string{"arameters", "failed to fill whole buffer", "not on curve", "subgroup", "verifying key"} {
		if strings.Contains(text, sign) {
			return parameterError(proofType, "the library says: "+text+" (folder "+ParameterFolder()+")")
		}
	}
	return errors.New(text)
}
