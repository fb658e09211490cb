package post

import (
	"math/bits"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// Times are how long proofs take, learnt from those that were made. The zero value has learnt nothing.
//
// The two halves of a proof grow differently. Sectors are read one by one, so that reading takes longer the more there are. A SNARK is of
// a whole partition however many sectors the job has: the library fills the rest up with the last one.
type Times struct {
	of map[alike]longest
}

// alike are proofs that take about as long: of a sector size, with up to twice as many sectors as another. What a proof takes
// besides reading weighs too much in a small one to say anything of a large one.
type alike struct {
	size   abi.SectorSize
	octave int // the sectors' number of binary digits
}

// longest is the longest of the proofs that are alike, in each of its halves.
type longest struct {
	perSector time.Duration
	snark     time.Duration
	sectors   int
	at        time.Time
}

// timesFor is how long the longest proof counts if none took as long since: cards are exchanged, and disks get well again.
const timesFor = 6 * time.Hour

// Learn takes note of a proof of so many sectors that was made, as seen at a time. The same one may be told again and again. Phases of a
// proof that was not made teach nothing.
func (t *Times) Learn(size abi.SectorSize, sectors int, phases PhaseTimes, at time.Time) {
	if size == 0 || phases.Vanilla+phases.Snark <= 0 {
		return
	}
	if t.of == nil {
		t.of = map[alike]longest{}
	}
	sectors = max(sectors, 1)
	key := alike{size, bits.Len(uint(sectors))}
	seen := longest{perSector: phases.Vanilla / time.Duration(sectors), snark: phases.Snark, sectors: sectors, at: at}
	if old := t.of[key]; seen.of(sectors) >= old.of(sectors) || at.Sub(old.at) > timesFor {
		t.of[key] = seen
	}
}

// of is what a proof of so many sectors takes.
func (l longest) of(sectors int) time.Duration { return time.Duration(sectors)*l.perSector + l.snark }

// Proof is how long a proof of so many sectors will take a card, its reads and its SNARK: as the longest that was seen lately of a job about
// as large; else of the next larger; else of the largest, as if its reading went on like that. sectors 0: it is not known how
// many, and the longest of all counts. 0: no proof of that sector size was seen.
func (t *Times) Proof(size abi.SectorSize, sectors int) time.Duration {
	var known []int // octaves
	var most time.Duration
	for key, l := range t.of {
		if key.size == size {
			known = append(known, key.octave)
			most = max(most, l.of(l.sectors))
		}
	}
	if len(known) == 0 || sectors <= 0 {
		return most
	}
	slices.Sort(known)
	i, _ := slices.BinarySearch(known, bits.Len(uint(sectors)))
	return t.of[alike{size, known[min(i, len(known)-1)]}].of(sectors)
}

// ToMake is a proof that has still to be made.
type ToMake struct {
	Takes   time.Duration // as Times.Proof says; 0: not known
	Running bool          // a card works on it
	Spent   time.Duration // since when
}

// overdue is what is still expected of a proof that has taken longer than any: this part of the time that it has taken, so that a forecast
// does not say for ever that it is done in a moment.
const overdue = 10

// Left is how long a card will still work on it.
func (p ToMake) Left() time.Duration {
	if !p.Running {
		return p.Takes
	}
	return max(p.Takes-p.Spent, p.Spent/overdue)
}

// Forecast is how long it will be until the last of the proofs is made, if so many cards (places on cards: what runs at once) take them in
// the order given and nothing else. Those that run have a card each, which are among these. Proofs of other deadlines that cards take before can
// stand in front. known is false if nobody can say: the time of one of the proofs is not known, or there is no card.
// Nothing to make takes no time.
func Forecast(proofs []ToMake, cards int) (last time.Duration, known bool) {
	var free []time.Duration // when each card is
	for _, p := range proofs {
		if p.Takes <= 0 {
			return 0, false
		}
		if p.Running {
			free = append(free, p.Left())
		}
	}
	for len(free) < cards {
		free = append(free, 0)
	}
	for _, p := range proofs {
		if p.Running {
			last = max(last, p.Left())
			continue
		}
		if len(free) == 0 {
			return 0, false
		}
		first := slices.Index(free, slices.Min(free))
		free[first] += p.Left()
		last = max(last, free[first])
	}
	return last, true
}
