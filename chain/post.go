package chain

import (
	"bytes"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/builtin"
	"github.com/filecoin-project/go-state-types/builtin/v16/miner"
	"github.com/filecoin-project/go-state-types/proof"

	"posthaste/post"
)

// MethodSubmitWindowedPoSt is the miner actor's method number.
const MethodSubmitWindowedPoSt = abi.MethodNum(post.MethodSubmitWindowedPoSt)

// MaxPartitionsPerPost is how many partitions the actor takes in one message (posted_partitions_max in builtin-actors).
const MaxPartitionsPerPost = 3

// PostPartition is one partition of a post and the sectors that are left out of its proof.
type PostPartition struct {
	Index   uint64
	Skipped []abi.SectorNumber // only sectors that are not faulty already; the post declares them so
}

// Post is what a SubmitWindowedPoSt message says.
type Post struct {
	Deadline         uint64
	Partitions       []PostPartition
	ProofType        abi.RegisteredPoStProof
	Proof            []byte
	CommitEpoch      abi.ChainEpoch // the deadline's Challenge
	CommitRandomness []byte         // ticket randomness of CommitEpoch, 32 bytes
}

// PostParams encodes the parameters of SubmitWindowedPoSt as the actor reads them.
func PostParams(p Post) ([]byte, error) {
	params := miner.SubmitWindowedPoStParams{
		Deadline:         p.Deadline,
		Proofs:           []proof.PoStProof{{PoStProof: p.ProofType, ProofBytes: p.Proof}},
		ChainCommitEpoch: p.CommitEpoch,
		ChainCommitRand:  p.CommitRandomness,
	}
	for _, partition := range p.Partitions {
		skipped := bitfield.New()
		for _, s := range partition.Skipped {
			skipped.Set(uint64(s))
		}
		params.Partitions = append(params.Partitions, miner.PoStPartition{Index: partition.Index, Skipped: skipped})
	}
	var buf bytes.Buffer
	if err := params.MarshalCBOR(&buf); err != nil {
		return nil, fmt.Errorf("encoding the post of deadline %d: %w", p.Deadline, err)
	}
	return buf.Bytes(), nil
}

// ParsePostParams reads what PostParams writes: to recognize one's own posts in the pool.
func ParsePostParams(raw []byte) (*miner.SubmitWindowedPoStParams, error) {
	var params miner.SubmitWindowedPoStParams
	if err := params.UnmarshalCBOR(bytes.NewReader(raw)); err != nil {
		return nil, fmt.Errorf("decoding the parameters of a SubmitWindowedPoSt message: %w", err)
	}
	return &params, nil
}

// PostMessage is the unsigned message of a post, without nonce and gas.
func PostMessage(minerID abi.ActorID, from address.Address, p Post) (*Message, error) {
	params, err := PostParams(p)
	if err != nil {
		return nil, err
	}
	to, err := MinerAddress(minerID)
	if err != nil {
		return nil, err
	}
	return &Message{
		To: to, From: from, Value: big.Zero(), GasFeeCap: big.Zero(), GasPremium: big.Zero(),
		Method: builtin.MethodsMiner.SubmitWindowedPoSt, Params: params,
	}, nil
}

// MinerAddress is the ID address of a miner actor.
func MinerAddress(minerID abi.ActorID) (address.Address, error) {
	a, err := address.NewIDAddress(uint64(minerID))
	if err != nil {
		return address.Undef, fmt.Errorf("miner actor %d: %w", minerID, err)
	}
	return a, nil
}
