package devnet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin/v16/miner"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/filecoin-project/go-state-types/proof"

	"posthaste/chain"
)

// The actor's limits (builtin-actors runtime/src/runtime/policy.rs, miner/src/lib.rs).
const (
	maxRandomness = 32  // bytes
	maxProofSize  = 192 // bytes of a window proof of one partition; more partitions have one of these each
)

// proofType is what every miner here has.
const proofType = abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1

// actorError is an abort of the actor: an exit code and a reason.
type actorError struct {
	code   exitcode.ExitCode
	reason string
}

func (e *actorError) Error() string { return fmt.Sprintf("%s (%d)", e.reason, e.code) }

func abortf(code exitcode.ExitCode, format string, args ...any) *actorError {
	return &actorError{code, fmt.Sprintf(format, args...)}
}

// runtime is what the actor sees of the chain while it executes a message.
type runtime struct {
	cfg    Config
	epoch  abi.ChainEpoch
	ticket func(tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte) abi.Randomness
	beacon func(tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte) abi.Randomness
}

// postOutcome is what a post that the actor took did.
type postOutcome struct {
	miner      abi.ActorID
	start      abi.ChainEpoch // of the proving period
	deadline   uint64
	skipped    map[uint64]sectorSet // per posted partition
	verifyInfo proof.WindowPoStVerifyInfo
	recovering bool // the actor verified it itself; other posts are taken on trust, until disputed
}

// submitPost is SubmitWindowedPoSt, check by check in the real actor's order (builtin-actors, submit_windowed_post).
// On an error the state is as before.
func (r *runtime) submitPost(s *state, m *minerState, caller address.Address, raw []byte) (*postOutcome, *actorError) {
	var params miner.SubmitWindowedPoStParams
	if err := params.UnmarshalCBOR(bytes.NewReader(raw)); err != nil {
		return nil, abortf(exitcode.ErrSerialization, "failed to decode SubmitWindowedPoStParams: %v", err)
	}
	if abort := r.checkPostParams(m, caller, &params); abort != nil {
		return nil, abort
	}
	d := m.deadlines[params.Deadline].clone()
	var good, everything, recovered sectorSet
	outcome := &postOutcome{miner: m.id, start: r.cfg.periodStart(m, r.epoch), deadline: params.Deadline, skipped: map[uint64]sectorSet{}}
	for _, p := range params.Partitions {
		if _, twice := outcome.skipped[p.Index]; twice {
			return nil, abortf(exitcode.ErrIllegalArgument, "duplicate partitions proven")
		}
		outcome.skipped[p.Index] = nil
	}
	for _, p := range params.Partitions {
		if d.posted[p.Index] {
			return nil, abortf(exitcode.ErrIllegalArgument, "partition already proven: %d", p.Index)
		}
	}
	for _, p := range params.Partitions {
		if p.Index >= uint64(len(d.partitions)) {
			return nil, abortf(exitcode.ErrNotFound, "no such partition %d", p.Index)
		}
		skipped, err := setOf(p.Skipped)
		if err != nil {
			return nil, abortf(exitcode.ErrIllegalArgument, "failed to validate skipped sectors: %v", err)
		}
		before := d.partitions[p.Index]
		if len(skipped.minus(before.all)) > 0 {
			return nil, abortf(exitcode.ErrIllegalArgument, "failed to add skipped faults to partition %d: skipped faults contains sectors outside partition", p.Index)
		}
		proven := before.toProve().minus(skipped)
		recovered = recovered.union(before.recovering.minus(skipped))
		d.partitions[p.Index] = partition{all: before.all, faulty: before.all.minus(proven)}
		d.posted[p.Index] = true
		outcome.skipped[p.Index] = skipped
		good, everything = good.union(proven), everything.union(before.all)
	}
	if len(good) == 0 {
		return nil, abortf(exitcode.ErrIllegalArgument, "cannot prove partitions with no active sectors")
	}
	outcome.recovering = len(recovered) > 0
	outcome.verifyInfo = r.verifyInfo(m, r.cfg.deadlineInfo(m, r.epoch).Challenge, everything, good, params.Proofs)
	if outcome.recovering {
		if ok, err := r.cfg.Verify(outcome.verifyInfo); err != nil || !ok {
			return nil, abortf(exitcode.ErrIllegalArgument, "window post failed: invalid PoSt (%v)", err)
		}
	}
	m.deadlines[params.Deadline] = d
	return outcome, nil
}

// checkPostParams is the part of SubmitWindowedPoSt that looks at no sector.
func (r *runtime) checkPostParams(m *minerState, caller address.Address, p *miner.SubmitWindowedPoStParams) *actorError {
	di := r.cfg.deadlineInfo(m, r.epoch)
	switch {
	case p.Deadline >= r.cfg.Deadlines:
		return abortf(exitcode.ErrIllegalArgument, "invalid deadline %d of %d", p.Deadline, r.cfg.Deadlines)
	case len(p.Proofs) != 1:
		return abortf(exitcode.ErrIllegalArgument, "expected exactly one proof, got %d", len(p.Proofs))
	case len(p.ChainCommitRand) > maxRandomness:
		return abortf(exitcode.ErrIllegalArgument, "expected at most %d bytes of randomness, got %d", maxRandomness, len(p.ChainCommitRand))
	case !slices.Contains([]address.Address{m.control, m.worker, m.owner}, caller):
		return abortf(exitcode.ErrForbidden, "caller %s is not one of supported", caller)
	case p.Proofs[0].PoStProof != proofType:
		return abortf(exitcode.ErrIllegalArgument, "expected proof of type %d, got %d", proofType, p.Proofs[0].PoStProof)
	case len(p.Proofs[0].ProofBytes) > maxProofSize*max(1, len(p.Partitions)):
		return abortf(exitcode.ErrIllegalArgument, "expected proof to be smaller than %d bytes", maxProofSize*max(1, len(p.Partitions)))
	case len(p.Partitions) > chain.MaxPartitionsPerPost:
		return abortf(exitcode.ErrIllegalArgument, "too many partitions %d, limit %d", len(p.Partitions), chain.MaxPartitionsPerPost)
	case p.Deadline != di.Index:
		return abortf(exitcode.ErrIllegalArgument, "invalid deadline %d at epoch %d, expected %d", p.Deadline, r.epoch, di.Index)
	case p.ChainCommitEpoch < di.Challenge:
		return abortf(exitcode.ErrIllegalArgument, "expected chain commit epoch %d to be after %d", p.ChainCommitEpoch, di.Challenge)
	case p.ChainCommitEpoch >= r.epoch:
		return abortf(exitcode.ErrIllegalArgument, "chain commit epoch %d must be less than the current epoch %d", p.ChainCommitEpoch, r.epoch)
	case !bytes.Equal(p.ChainCommitRand, r.ticket(crypto.DomainSeparationTag_PoStChainCommit, p.ChainCommitEpoch, nil)):
		return abortf(exitcode.ErrIllegalArgument, "post commit randomness mismatched")
	}
	return nil
}

// verifyInfo is what the network's verifier sees: each sector of the partitions once, ascending, a good one standing in
// for each that is not proven. Since the stand-ins fall together with the sector they stand for, the good ones are left.
func (r *runtime) verifyInfo(m *minerState, challenge abi.ChainEpoch, everything, good sectorSet, proofs []proof.PoStProof) proof.WindowPoStVerifyInfo {
	var seen sectorSet
	for _, n := range everything {
		if !good.has(n) {
			n = good[0]
		}
		seen = seen.union(sectorSet{n})
	}
	var entropy bytes.Buffer
	if a, err := address.NewIDAddress(uint64(m.id)); err == nil {
		_ = a.MarshalCBOR(&entropy) // into memory
	}
	randomness := slices.Clone(r.beacon(crypto.DomainSeparationTag_WindowedPoStChallengeSeed, challenge, entropy.Bytes()))
	randomness[31] &= 0x3f // a field element
	info := proof.WindowPoStVerifyInfo{Randomness: abi.PoStRandomness(randomness), Proofs: proofs, Prover: m.id}
	for _, n := range seen {
		sector := m.sectors[n]
		info.ChallengedSectors = append(info.ChallengedSectors, proof.SectorInfo{
			SealProof: sector.SealProof, SectorNumber: n, SealedCID: sector.SealedCID,
		})
	}
	return info
}
