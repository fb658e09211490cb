package chain

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
)

// Bounds of what is believed. Each is far beyond what any network has, and far below what would harm this process.
const (
	maxEpoch        = abi.ChainEpoch(1) << 36   // 65,000 years of mainnet
	maxTimestamp    = 253_402_300_799           // the end of the year 9999
	maxBlocks       = 256                       // of a tipset: 5 are expected, and no epoch has had 30
	maxEpochSeconds = 24 * 60 * 60              // of an epoch
	maxDeadlines    = 1024                      // of a proving period: 48
	maxPartitions   = 3000                      // of a deadline, by the actor (max_partitions_per_deadline)
	maxAddressed    = 25_000                    // sectors of a partition: 2,349 now, and no message may address more than this
	maxSectors      = 48 * 3000 * 100           // of a miner, for its faults: ten times those of the largest one
	maxBitfield     = 1 << 20                   // bytes of a bitfield's JSON; with every other sector set, maxAddressed take a quarter
	maxList         = 1 << 20                   // entries of any list
	maxSignature    = 8 << 10                   // bytes; those of Ethereum's accounts are the longest, with 65
	maxGas          = int64(10_000_000_000_000) // a thousand times a block's
)

// checkEpoch refuses epochs that no chain has. Those of the first proving period begin before genesis.
func checkEpoch(what string, epoch, least abi.ChainEpoch) error {
	if epoch < least || epoch > maxEpoch {
		return fmt.Errorf("%s is epoch %d, which no chain has", what, epoch)
	}
	return nil
}

// decodeTipSet decodes a tipset and what holds of every one.
func decodeTipSet(raw json.RawMessage) (*TipSet, error) {
	var t TipSet
	if err := decodeInto(raw, &t); err != nil {
		return nil, err
	}
	if err := checkEpoch("the tipset", t.Height, 0); err != nil {
		return nil, err
	}
	if len(t.Cids) == 0 {
		return nil, errors.New("the tipset has no blocks: the node has no head yet; wait until it has synced")
	}
	if len(t.Cids) != len(t.Blocks) || len(t.Blocks) > maxBlocks {
		return nil, fmt.Errorf("the tipset has %d names of blocks and %d blocks", len(t.Cids), len(t.Blocks))
	}
	for i, b := range t.Blocks {
		switch {
		case b == nil || !t.Cids[i].Defined():
			return nil, fmt.Errorf("block %d of the tipset is null", i)
		case b.Height != t.Height:
			return nil, fmt.Errorf("a block of epoch %d is in the tipset of epoch %d", b.Height, t.Height)
		case b.Timestamp > maxTimestamp:
			return nil, fmt.Errorf("the tipset's time is %d, which is no time", b.Timestamp)
		case len(b.Parents) > maxBlocks || !defined(b.Parents):
			return nil, fmt.Errorf("block %d of the tipset has parents that are none", i)
		}
	}
	return &t, nil
}

func defined(key TipSetKey) bool {
	for _, c := range key {
		if !c.Defined() {
			return false
		}
	}
	return true
}

// decodeHeadChanges decodes one step of the head. What is reverted does not matter.
func decodeHeadChanges(raw json.RawMessage) ([]*HeadChange, error) {
	return decodeList(raw, maxList, func(raw json.RawMessage) (*HeadChange, error) {
		var change struct {
			Type string
			Val  json.RawMessage
		}
		if err := decodeInto(raw, &change); err != nil {
			return nil, err
		}
		if change.Type == HeadRevert {
			return &HeadChange{Type: change.Type}, nil
		}
		head, err := decodeTipSet(change.Val)
		return &HeadChange{Type: change.Type, Val: head}, err
	})
}

// decodeBitfield decodes a set of at most most numbers. A few bytes may stand for 2^63 of them.
func decodeBitfield(what string, raw json.RawMessage, most uint64) (bitfield.BitField, error) {
	fail := func(err error) (bitfield.BitField, error) {
		return bitfield.BitField{}, fmt.Errorf("%s: %w", what, err)
	}
	if len(raw) > maxBitfield {
		return fail(fmt.Errorf("the set is written in %d bytes", len(raw)))
	}
	var set bitfield.BitField
	if err := decodeInto(raw, &set); err != nil {
		return fail(err)
	}
	n, err := set.Count()
	if err != nil {
		return fail(err)
	}
	if n > most {
		return fail(fmt.Errorf("the set has %d numbers, more than %d", n, most))
	}
	if n == 0 {
		return bitfield.New(), nil // not one of 2^63 zeros
	}
	last, err := set.Last()
	if err != nil {
		return fail(err)
	}
	if last > abi.MaxSectorNumber {
		return fail(fmt.Errorf("%d is no number of a sector", last))
	}
	return set, nil
}

// decodePartition decodes a partition, and refuses one whose sets contradict each other.
func decodePartition(raw json.RawMessage) (Partition, error) {
	var sets struct{ AllSectors, FaultySectors, RecoveringSectors, LiveSectors, ActiveSectors json.RawMessage }
	var p Partition
	if err := decodeInto(raw, &sets); err != nil {
		return p, err
	}
	for _, set := range []struct {
		name string
		raw  json.RawMessage
		into *bitfield.BitField
		in   *bitfield.BitField // of which it is a part
	}{
		{"AllSectors", sets.AllSectors, &p.AllSectors, nil},
		{"LiveSectors", sets.LiveSectors, &p.LiveSectors, &p.AllSectors},
		{"FaultySectors", sets.FaultySectors, &p.FaultySectors, &p.LiveSectors},
		{"RecoveringSectors", sets.RecoveringSectors, &p.RecoveringSectors, &p.FaultySectors},
		{"ActiveSectors", sets.ActiveSectors, &p.ActiveSectors, &p.LiveSectors},
	} {
		var err error
		if *set.into, err = decodeBitfield(set.name, set.raw, maxAddressed); err != nil {
			return Partition{}, err
		}
		if set.in == nil {
			continue
		}
		beyond, err := bitfield.SubtractBitField(*set.into, *set.in)
		if err != nil {
			return Partition{}, err
		}
		if empty, err := beyond.IsEmpty(); err != nil || !empty {
			return Partition{}, fmt.Errorf("%s has sectors that are not in the set of which it is a part", set.name)
		}
	}
	return p, nil
}

func decodePartitions(raw json.RawMessage) ([]Partition, error) {
	return decodeList(raw, maxPartitions, decodePartition)
}

func decodeDeadlines(raw json.RawMessage) ([]Deadline, error) {
	list, err := decodeList(raw, maxDeadlines, func(raw json.RawMessage) (Deadline, error) {
		var read struct {
			PostSubmissions      json.RawMessage
			DisputableProofCount uint64
			DailyFee             abi.TokenAmount
		}
		if err := decodeInto(raw, &read); err != nil {
			return Deadline{}, err
		}
		posted, err := decodeBitfield("PostSubmissions", read.PostSubmissions, maxPartitions)
		return Deadline{PostSubmissions: posted, DisputableProofCount: read.DisputableProofCount, DailyFee: read.DailyFee}, err
	})
	if err == nil && len(list) == 0 {
		return nil, errors.New("the list is empty, and every miner has deadlines")
	}
	return list, err
}

// decodeSectors decodes sectors, all of them of the set that was asked for, each once; of any if asked is nil.
func decodeSectors(raw json.RawMessage, asked *bitfield.BitField) ([]*SectorOnChainInfo, error) {
	var wanted map[uint64]bool
	if asked != nil {
		var err error
		if wanted, err = asked.AllMap(maxSectors); err != nil {
			return nil, err
		}
	}
	seen := map[abi.SectorNumber]bool{}
	return decodeList(raw, maxList, func(raw json.RawMessage) (*SectorOnChainInfo, error) {
		var s SectorOnChainInfo
		if err := decodeInto(raw, &s); err != nil {
			return nil, err
		}
		switch {
		case s.SectorNumber > abi.MaxSectorNumber:
			return nil, fmt.Errorf("%d is no number of a sector", s.SectorNumber)
		case asked != nil && !wanted[uint64(s.SectorNumber)]:
			return nil, fmt.Errorf("sector %d was not asked for", s.SectorNumber)
		case seen[s.SectorNumber]:
			return nil, fmt.Errorf("sector %d is there twice", s.SectorNumber)
		case !s.SealedCID.Defined():
			return nil, fmt.Errorf("sector %d has no sealed CID", s.SectorNumber)
		case s.SectorKeyCID != nil && !s.SectorKeyCID.Defined():
			s.SectorKeyCID = nil
		}
		seen[s.SectorNumber] = true
		return &s, nil
	})
}

func decodeMinerInfo(raw json.RawMessage) (MinerInfo, error) {
	var m MinerInfo
	if err := decodeInto(raw, &m); err != nil {
		return MinerInfo{}, err
	}
	size, err := m.WindowPoStProofType.SectorSize()
	switch {
	case err != nil:
		return MinerInfo{}, fmt.Errorf("its proof type %d is none", m.WindowPoStProofType)
	case size != m.SectorSize:
		return MinerInfo{}, fmt.Errorf("its sectors have %d bytes, and its proofs are for %d", m.SectorSize, size)
	case m.Owner == address.Undef || m.Worker == address.Undef:
		return MinerInfo{}, errors.New("it has no owner or no worker")
	case m.WindowPoStPartitionSectors == 0 || m.WindowPoStPartitionSectors > maxAddressed:
		return MinerInfo{}, fmt.Errorf("its partitions have %d sectors", m.WindowPoStPartitionSectors)
	}
	return m, nil
}

// decodeDline decodes a proving deadline. Test networks have other figures than mainnet, but the arithmetic is the same.
func decodeDline(raw json.RawMessage) (*dline.Info, error) {
	var d dline.Info
	if err := decodeInto(raw, &d); err != nil {
		return nil, err
	}
	for _, e := range []struct {
		what  string
		epoch abi.ChainEpoch
		least abi.ChainEpoch
	}{
		{"now", d.CurrentEpoch, 0},
		{"the challenge window", d.WPoStChallengeWindow, 1}, {"the proving period", d.WPoStProvingPeriod, 1},
		{"the challenge's lookback", d.WPoStChallengeLookback, 0}, {"the cutoff of faults", d.FaultDeclarationCutoff, 0},
		{"the period's start", d.PeriodStart, -maxEpoch}, {"Open", d.Open, -maxEpoch}, {"Close", d.Close, -maxEpoch},
		{"the challenge", d.Challenge, -maxEpoch}, {"the fault cutoff", d.FaultCutoff, -maxEpoch},
	} {
		if err := checkEpoch(e.what, e.epoch, e.least); err != nil {
			return nil, err
		}
	}
	switch {
	case d.WPoStPeriodDeadlines == 0 || d.WPoStPeriodDeadlines > maxDeadlines:
		return nil, fmt.Errorf("the proving period has %d deadlines", d.WPoStPeriodDeadlines)
	case d.WPoStProvingPeriod < abi.ChainEpoch(d.WPoStPeriodDeadlines)*d.WPoStChallengeWindow:
		return nil, fmt.Errorf("%d deadlines of %d epochs do not fit into a proving period of %d", d.WPoStPeriodDeadlines, d.WPoStChallengeWindow, d.WPoStProvingPeriod)
	case d.Index > d.WPoStPeriodDeadlines:
		return nil, fmt.Errorf("deadline %d is beyond the %d of a proving period", d.Index, d.WPoStPeriodDeadlines)
	}
	want := dline.NewInfo(d.PeriodStart, d.Index, d.CurrentEpoch, d.WPoStPeriodDeadlines, d.WPoStProvingPeriod, d.WPoStChallengeWindow,
		d.WPoStChallengeLookback, d.FaultDeclarationCutoff)
	if d.Open != want.Open || d.Close != want.Close || d.Challenge != want.Challenge {
		return nil, fmt.Errorf("deadline %d has Challenge %d, Open %d and Close %d, where %d, %d and %d follow from its period's start at %d",
			d.Index, d.Challenge, d.Open, d.Close, want.Challenge, want.Open, want.Close, d.PeriodStart)
	}
	return &d, nil
}
