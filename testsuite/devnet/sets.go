package devnet

import (
	"slices"

	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
)

// sectorSet is a set of sector numbers, ascending. It is never changed in place, so states may share it.
type sectorSet []abi.SectorNumber

func (s sectorSet) has(n abi.SectorNumber) bool {
	_, found := slices.BinarySearch(s, n)
	return found
}

func (s sectorSet) union(other sectorSet) sectorSet {
	out := append(slices.Clone(s), other...)
	slices.Sort(out)
	return slices.Compact(out)
}

func (s sectorSet) minus(other sectorSet) sectorSet {
	var out sectorSet
	for _, n := range s {
		if !other.has(n) {
			out = append(out, n)
		}
	}
	return out
}

func (s sectorSet) bitfield() bitfield.BitField {
	out := bitfield.New()
	for _, n := range s {
		out.Set(uint64(n))
	}
	return out
}

// maxSkipped bounds the sector numbers read from a message's bit field.
const maxSkipped = 1 << 16

func setOf(b bitfield.BitField) (sectorSet, error) {
	numbers, err := b.All(maxSkipped)
	if err != nil {
		return nil, err
	}
	var out sectorSet
	for _, n := range numbers {
		out = append(out, abi.SectorNumber(n))
	}
	return out, nil
}
