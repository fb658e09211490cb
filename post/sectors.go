package post

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
)

// Sector is one sector that a proof has to cover.
type Sector struct {
	Number   abi.SectorNumber
	CommR    [32]byte // commitment to the replica: the digest inside the on-chain SealedCID
	Upgraded bool     // a snap sector: its replica and cache are in update/ and update-cache/
	Store    string   // name of the store that holds it, once it is looked up; empty before
}

// Sectors is a set of sectors in ascending order of their numbers. As JSON it is packed, since Temporal carries it in every
// job: numbers as varint deltas, CommRs raw, stores as indexes into a table. 2,349 sectors
// take 104 KB with numbers in a row, 130 KB with gaps between all of them and 151 KB in the worst case tried, instead of
// 400 KB (TestSectorsPacked prints it); a readable field says which sectors they are.
type Sectors []Sector

// packed is the JSON shape of Sectors.
type packed struct {
	Count    int      `json:"count"`
	Readable string   `json:"sectors"`            // "1-3,7", for people who read a payload in the Web UI
	Numbers  string   `json:"numbers"`            // base64 of varint deltas, the first from 0
	CommRs   string   `json:"comm_rs"`            // base64 of 32 bytes a sector
	Upgrade  string   `json:"upgraded,omitempty"` // base64 of a bit a sector, lowest bit first; left out if none is
	Stores   []string `json:"stores,omitempty"`   // names of stores
	At       string   `json:"at,omitempty"`       // base64 of a varint index into Stores a sector; left out if all are in Stores[0]
}

// MarshalJSON packs the sectors. They must be in ascending order without doubles.
func (s Sectors) MarshalJSON() ([]byte, error) {
	p := packed{Count: len(s), Readable: FormatNumbers(s.Numbers())}
	var numbers, commRs, at []byte
	upgraded := make([]byte, (len(s)+7)/8)
	var previous abi.SectorNumber
	storeAt := map[string]uint64{}
	for i, sector := range s {
		if i > 0 && sector.Number <= previous {
			return nil, fmt.Errorf("packing sectors: %d after %d; they must ascend without doubles", sector.Number, previous)
		}
		numbers = binary.AppendUvarint(numbers, uint64(sector.Number-previous))
		previous = sector.Number
		commRs = append(commRs, sector.CommR[:]...)
		if sector.Upgraded {
			upgraded[i/8] |= 1 << (i % 8)
			p.Upgrade = "set"
		}
		index, known := storeAt[sector.Store]
		if !known {
			index = uint64(len(p.Stores))
			storeAt[sector.Store] = index
			p.Stores = append(p.Stores, sector.Store)
		}
		at = binary.AppendUvarint(at, index)
	}
	p.Numbers = base64.StdEncoding.EncodeToString(numbers)
	p.CommRs = base64.StdEncoding.EncodeToString(commRs)
	if p.Upgrade != "" {
		p.Upgrade = base64.StdEncoding.EncodeToString(upgraded)
	}
	switch {
	case len(p.Stores) > 1:
		p.At = base64.StdEncoding.EncodeToString(at)
	case len(p.Stores) == 1 && p.Stores[0] == "":
		p.Stores = nil
	}
	return json.Marshal(p)
}

// UnmarshalJSON unpacks what MarshalJSON made and refuses anything else by name.
func (s *Sectors) UnmarshalJSON(data []byte) error {
	var p packed
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("unpacking sectors: %w", err)
	}
	fields := [4][]byte{}
	for i, text := range []string{p.Numbers, p.CommRs, p.Upgrade, p.At} {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("unpacking sectors: %w", err)
		}
		fields[i] = raw
	}
	numbers, commRs, upgraded, at := fields[0], fields[1], fields[2], fields[3]
	// Divided, not multiplied: a hostile count must not overflow its way to an allocation.
	if len(commRs)%32 != 0 || p.Count != len(commRs)/32 || len(upgraded) != 0 && len(upgraded) != (p.Count+7)/8 {
		return fmt.Errorf("unpacking sectors: %d sectors but %d bytes of CommR and %d of upgrade bits", p.Count, len(commRs), len(upgraded))
	}
	if len(p.Stores) > 1 && p.At == "" {
		return fmt.Errorf("unpacking sectors: %d stores but not which sector is in which", len(p.Stores))
	}
	out := make(Sectors, p.Count)
	var number uint64
	for i := range out {
		delta, n := binary.Uvarint(numbers)
		if n <= 0 || i > 0 && delta == 0 || number+delta < number {
			return fmt.Errorf("unpacking sectors: the number of sector %d of %d is cut short, doubled or too high", i+1, p.Count)
		}
		numbers, number = numbers[n:], number+delta
		out[i].Number = abi.SectorNumber(number)
		copy(out[i].CommR[:], commRs[32*i:])
		out[i].Upgraded = len(upgraded) > 0 && upgraded[i/8]&(1<<(i%8)) != 0
		store := uint64(0)
		if p.At != "" {
			if store, n = binary.Uvarint(at); n <= 0 {
				return fmt.Errorf("unpacking sectors: the store of sector %d is cut short", number)
			}
			at = at[n:]
		}
		switch {
		case store < uint64(len(p.Stores)):
			out[i].Store = p.Stores[store]
		case len(p.Stores) > 0 || p.At != "":
			return fmt.Errorf("unpacking sectors: sector %d is in store %d of %d", number, store, len(p.Stores))
		}
	}
	if len(numbers) != 0 || len(at) != 0 {
		return fmt.Errorf("unpacking sectors: %d bytes too many behind %d sectors", len(numbers)+len(at), p.Count)
	}
	*s = out
	return nil
}

// Numbers are the sector numbers, in order.
func (s Sectors) Numbers() []abi.SectorNumber {
	out := make([]abi.SectorNumber, len(s))
	for i := range s {
		out[i] = s[i].Number
	}
	return out
}

// Among lists the sectors of the set that are in numbers.
func (s Sectors) Among(numbers []abi.SectorNumber) []abi.SectorNumber {
	var both []abi.SectorNumber
	for _, sector := range s {
		if slices.Contains(numbers, sector.Number) {
			both = append(both, sector.Number)
		}
	}
	return both
}

// Without is the set less the sectors named.
func (s Sectors) Without(bad []abi.SectorNumber) Sectors {
	gone := make(map[abi.SectorNumber]bool, len(bad))
	for _, n := range bad {
		gone[n] = true
	}
	out := make(Sectors, 0, len(s))
	for _, sector := range s {
		if !gone[sector.Number] {
			out = append(out, sector)
		}
	}
	return out
}

// Sort puts the sectors in ascending order and drops doubles: the order in which the network's verifier sees them.
func (s Sectors) Sort() Sectors {
	slices.SortFunc(s, func(a, b Sector) int { return cmp.Compare(a.Number, b.Number) })
	return slices.CompactFunc(s, func(a, b Sector) bool { return a.Number == b.Number })
}

// FormatNumbers writes ascending sector numbers as people do: 1-3,7.
func FormatNumbers(numbers []abi.SectorNumber) string {
	var b strings.Builder
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(numbers[i]), 10))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.FormatUint(uint64(numbers[j]), 10))
		}
		i = j + 1
	}
	return b.String()
}
