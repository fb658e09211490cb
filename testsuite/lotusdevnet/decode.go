package main

import (
	"bytes"
	"fmt"

	"github.com/filecoin-project/go-state-types/abi"
	miner19 "github.com/filecoin-project/go-state-types/builtin/v19/miner"

	"github.com/filecoin-project/lotus/api"

	"posthaste/testsuite/lotusdevnet/report"
)

// methodName names a method of the miner actor.
func methodName(method abi.MethodNum) string {
	if meta, ok := miner19.Methods[method]; ok {
		return meta.Name
	}
	return fmt.Sprintf("method %d", method)
}

func decodePost(m api.Message, landed abi.ChainEpoch, ok bool) (report.Post, error) {
	p := report.Post{
		Miner:   m.Message.To.String(),
		Landed:  int64(landed),
		Sender:  m.Message.From.String(),
		Nonce:   m.Message.Nonce,
		Message: m.Cid.String(),
		OK:      ok,
		Skipped: map[uint64][]uint64{},
	}
	var params miner19.SubmitWindowedPoStParams
	if err := params.UnmarshalCBOR(bytes.NewReader(m.Message.Params)); err != nil {
		if !ok {
			return p, nil // what the actor could not read either
		}
		return p, fmt.Errorf("reading the parameters of post %s: %w", m.Cid, err)
	}
	p.Deadline, p.CommitEpoch = params.Deadline, int64(params.ChainCommitEpoch)
	for _, part := range params.Partitions {
		p.Partitions = append(p.Partitions, part.Index)
		skipped, err := part.Skipped.All(miner19.AddressedSectorsMax)
		if err != nil && ok {
			return p, fmt.Errorf("reading the skipped sectors of post %s: %w", m.Cid, err)
		}
		p.Skipped[part.Index] = skipped
	}
	return p, nil
}

// decodeRecoveries reads a declaration that the actor took.
func decodeRecoveries(m api.Message, landed abi.ChainEpoch) ([]report.Recovery, error) {
	var params miner19.DeclareFaultsRecoveredParams
	if err := params.UnmarshalCBOR(bytes.NewReader(m.Message.Params)); err != nil {
		return nil, fmt.Errorf("reading the parameters of declaration %s: %w", m.Cid, err)
	}
	var recoveries []report.Recovery
	for _, r := range params.Recoveries {
		sectors, err := r.Sectors.All(miner19.AddressedSectorsMax)
		if err != nil {
			return nil, fmt.Errorf("reading the sectors of declaration %s: %w", m.Cid, err)
		}
		recoveries = append(recoveries, report.Recovery{
			Deadline: r.Deadline, Partition: r.Partition, Sectors: sectors, LandedEpoch: int64(landed), Message: m.Cid.String(),
		})
	}
	return recoveries, nil
}
