package chain

import (
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
)

// Verdict is how good an endpoint is to use, the best first.
type Verdict int

// Verdicts.
const (
	Good   Verdict = iota
	Slow           // it takes much longer to answer than another
	Behind         // another is some epochs ahead
	Forked         // it follows another chain than most, or than the heavier one
	Down           // it does not answer, what it answers makes no sense, or it is of another network
)

func (v Verdict) String() string {
	return [...]string{"good", "slow", "behind", "forked", "down"}[v]
}

const (
	// behindEpochs is by how much another node must be ahead: new tipsets take seconds to reach all nodes, and may take an epoch.
	behindEpochs = 3
	// forkDepth is how many epochs below the head chains are compared: reorgs that deep are rare, and above it nodes differ all the time.
	forkDepth = 5
	// slowLatency is from when on a node is slow, if another answers in a quarter of that: asking for the head, or for a tipset a little below
	// it, takes a healthy node milliseconds; what takes longer is only counted where another was quicker.
	slowLatency = 2 * time.Second
	// failuresDown is how many calls in a row have to fail: each goes to the next node at once, and one may be an accident.
	failuresDown = 2
	// returnEpochs is how long a preferred node must have been good before it is used again, so that one which comes and goes does not
	// take everybody along.
	returnEpochs = 10
)

// Standing is what is known of one endpoint at a moment.
type Standing struct {
	Endpoint string
	Head     *TipSet // nil: it has given none
	Away     bool    // its head is not being followed
	Failures int     // calls in a row that it did not answer
	Problem  string  // what it failed with last
	Latency  time.Duration
	Slowest  string // the call that took it
	Foreign  string // why it is of another network than is meant; empty: it is not

	Old   TipSetKey      // its tipset at OldAt, forkDepth below the head; nil: not known
	OldAt abi.ChainEpoch // those of the highest are compared, so that an answer of before is not taken for another chain

	GoodSince time.Time // since when it has been good without a break; zero: it is not
}

// weight is that of the chain below the head; nil if the node does not say.
func (s Standing) weight() *big.Int {
	if s.Head == nil || len(s.Head.Blocks) == 0 || s.Head.Blocks[0].ParentWeight.Int == nil {
		return nil
	}
	return &s.Head.Blocks[0].ParentWeight
}

// down says whether an endpoint answers at all.
func (s Standing) down() bool {
	return s.Foreign != "" || s.Away || s.Failures >= failuresDown || s.Head == nil
}

// Judged is a verdict and its reason.
type Judged struct {
	Verdict Verdict
	Why     string
}

// JudgeNodes says how good each endpoint is, by what all of them say.
func JudgeNodes(all []Standing) []Judged {
	judged := make([]Judged, len(all))
	all = comparables(all)
	chain := majority(all)
	best := -1 // the highest head of the chain that is right
	for i, s := range all {
		switch {
		case s.down():
			judged[i] = Judged{Down, downReason(s)}
		case chain != nil && s.Old != nil && !s.Old.Equal(chain):
			judged[i] = Judged{Forked, fmt.Sprintf("its chain had another tipset at epoch %d than that of most nodes, or of the heavier chain", s.OldAt)}
		case best < 0 || s.Head.Height > all[best].Head.Height:
			best = i
		}
	}
	quick := time.Duration(-1)
	for i, s := range all {
		if judged[i].Verdict != Good {
			continue
		}
		if behind := all[best].Head.Height - s.Head.Height; behind >= behindEpochs {
			judged[i] = Judged{Behind, fmt.Sprintf("its head is epoch %d and that of %s %d", s.Head.Height, all[best].Endpoint, all[best].Head.Height)}
		} else if quick < 0 || s.Latency < quick {
			quick = s.Latency
		}
	}
	for i, s := range all {
		if judged[i].Verdict == Good && s.Latency >= slowLatency && quick <= s.Latency/4 {
			judged[i] = Judged{Slow, fmt.Sprintf("it takes %v to answer (%s), and another %v", s.Latency.Round(time.Millisecond), s.Slowest, quick.Round(time.Millisecond))}
		}
	}
	return judged
}

// comparables are all, with only those tipsets in Old that are of the latest comparison.
func comparables(all []Standing) []Standing {
	latest := abi.ChainEpoch(-1)
	for _, s := range all {
		if !s.down() && s.Old != nil {
			latest = max(latest, s.OldAt)
		}
	}
	out := slices.Clone(all)
	for i := range out {
		if out[i].OldAt != latest {
			out[i].Old = nil
		}
	}
	return out
}

func downReason(s Standing) string {
	switch {
	case s.Foreign != "":
		return s.Foreign
	case s.Problem != "":
		return s.Problem
	case s.Head == nil:
		return "it has given no head yet"
	}
	return "it does not answer"
}

// majority is the tipset that most endpoints have where their chains are compared; of as many each, the one below the heavier head, else
// below the higher one, else that of the endpoint that is preferred. nil: there is nothing to compare.
func majority(all []Standing) TipSetKey {
	type side struct {
		key   TipSetKey
		votes int
		best  Standing
	}
	var sides []*side
	for _, s := range all {
		if s.down() || s.Old == nil {
			continue
		}
		var mine *side
		for _, known := range sides {
			if known.key.Equal(s.Old) {
				mine = known
			}
		}
		if mine == nil {
			mine = &side{key: s.Old, best: s}
			sides = append(sides, mine)
		}
		mine.votes++
		if heavier(s, mine.best) {
			mine.best = s
		}
	}
	var winner *side
	for _, s := range sides {
		if winner == nil || s.votes > winner.votes || s.votes == winner.votes && heavier(s.best, winner.best) {
			winner = s
		}
	}
	if winner == nil {
		return nil
	}
	return winner.key
}

// heavier says whether nodes would follow a's head and not b's, as far as can be told.
func heavier(a, b Standing) bool {
	wa, wb := a.weight(), b.weight()
	if wa != nil && wb != nil && !wa.Equals(*wb) {
		return wa.GreaterThan(*wb)
	}
	return a.Head.Height > b.Head.Height
}

// ChooseNode says which endpoint is used from now on, in the order of preference in which they stand: the one that is used, as long as no other
// is better and no preferred one has been good for long.
func ChooseNode(all []Standing, judged []Judged, used int, now time.Time, epoch time.Duration) int {
	best := used
	for i := range judged {
		if judged[i].Verdict < judged[best].Verdict {
			best = i
		}
	}
	if best != used {
		// Of those that are as good, the preferred one.
		for i := range judged {
			if judged[i].Verdict == judged[best].Verdict {
				return i
			}
		}
	}
	for i := range used {
		if judged[i].Verdict == Good && !all[i].GoodSince.IsZero() && now.Sub(all[i].GoodSince) >= returnEpochs*epoch {
			return i
		}
	}
	return used
}
