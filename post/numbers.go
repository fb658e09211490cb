package post

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
)

// Numbers is a set of sector numbers, ascending. As JSON it is a text such as 1-3,7: many sectors fail together, and those of a store are
// in a row.
type Numbers []abi.SectorNumber

// MarshalText writes 1-3,7.
func (n Numbers) MarshalText() ([]byte, error) { return []byte(FormatNumbers(n)), nil }

// maxNumbers bounds what a text of ranges stands for: more sectors than any miner has in a deadline.
const maxNumbers = 10_000_000

// UnmarshalText reads what MarshalText writes.
func (n *Numbers) UnmarshalText(text []byte) error {
	*n = nil
	if len(text) == 0 {
		return nil
	}
	next := uint64(0)
	for _, part := range strings.Split(string(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 63)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 63)
		}
		if err != nil || first < next || last < first || last-first >= uint64(maxNumbers-len(*n)) {
			return fmt.Errorf("sector numbers %q: want them in ascending order, as in 1-3,7", cut(string(text), 40))
		}
		for s := first; s <= last; s++ {
			*n = append(*n, abi.SectorNumber(s))
		}
		next = last + 1
	}
	return nil
}

// String is the text.
func (n Numbers) String() string { return FormatNumbers(n) }

func (n Numbers) has(sector abi.SectorNumber) bool {
	_, found := slices.BinarySearch(n, sector)
	return found
}

// Minus is the set less another.
func (n Numbers) Minus(other Numbers) Numbers {
	var out Numbers
	for _, s := range n {
		if !other.has(s) {
			out = append(out, s)
		}
	}
	return out
}

// And is what is in both.
func (n Numbers) And(other Numbers) Numbers { return n.Minus(n.Minus(other)) }

// Or is what is in either.
func (n Numbers) Or(other Numbers) Numbers {
	out := append(slices.Clone(n), other...)
	slices.Sort(out)
	return slices.Compact(out)
}
