package post

import (
	"strconv"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
)

// Setback is a post's message that came to nothing.
type Setback struct {
	Outcome    Outcome // OutcomeFailed or OutcomeRefused
	ExitCode   int64   // on the chain; of one that was refused it is read from Reason
	Reason     string  // what the chain or the node said
	Partitions int     // how many are in the post
	Times      int     // how many of the post's messages came to nothing in a row, this one included
	Outdated   bool    // the chain has changed since it was built, and nothing was sent
}

// Remedy is what becomes of the post then.
type Remedy struct {
	Split bool           // its partitions go on one by one, each with a proof of its own
	Prove bool           // the sectors are read from the chain again and the proof is made anew; else only the message is
	Alert bool           // list it as Failed and tell people, whether or not they are needed: it goes on by itself
	Pause abi.ChainEpoch // before anything else is done; 0 is at once
	Payer bool           // ask the chain again who may send and can pay
}

// How often the same message may come to nothing before more than the message is made anew. What an estimate refuses has cost nothing, and
// may be of the moment alone: a null round at Open − 1, a node that is behind.
const (
	failedTwice  = 2
	refusedOften = 3
)

// exitForbidden is the actor's word to a sender that is none of the miner's.
const exitForbidden = 18

// AfterMessage decides what follows a message that failed on the chain or was refused by a node. The message is built anew in any case, which
// begins with a look at the chain: whether it has the post by now, whether it still asks for this proof.
func AfterMessage(s Setback) Remedy {
	code := s.ExitCode
	if s.Outcome == OutcomeRefused && code == 0 {
		code = exitIn(s.Reason)
	}
	mend := mendOf(code, s.Reason)
	enough := failedTwice
	if s.Outcome == OutcomeRefused {
		enough = refusedOften
	}
	next := Remedy{Pause: min(firstPause<<min(s.Times-1, 8), lastPause), Alert: s.Times > enough}
	switch {
	case s.Outdated && s.Times == 1:
		return Remedy{} // what is left of the window is precious
	case s.Outdated:
	case mend == MendFunds:
		next.Alert, next.Payer = true, true
	case code == exitForbidden:
		// The miner's owner has changed its addresses since one was chosen. If another may send, nobody is needed.
		next.Alert, next.Payer = s.Times > 1, true
	case mend == MendNone:
		next.Alert = true
	case mend == MendGas && s.Partitions > 1:
		return Remedy{Split: true}
	case mend == MendProve && s.Times == 1, mend != MendGas && s.Times == enough:
		return Remedy{Split: s.Partitions > 1, Prove: s.Partitions == 1}
	}
	return next
}

// said is what a text means that a node gives with its refusal.
type said struct {
	text string
	mend Mend
}

// sayings tell more than the exit code: the actor has one for many reasons, and nodes have none.
var sayings = []said{
	{"invalid post was submitted", MendProve}, // the actor verifies at once what carries recovering sectors (builtin-actors, submit_windowed_post)
	{"invalid PoSt", MendProve},
	{"ran out of gas", MendGas},    // Lotus, when the estimate passes a block's limit
	{"block's gas limit", MendGas}, // Lotus's pool
	{"message too big", MendGas},   // above 64 KiB
	{"message too large", MendGas},
	{"not enough funds", MendFunds},
	{"insufficient funds", MendFunds},
	{"no block can include it", MendNone}, // Fees.Offer: the limits of the operator's are too low for the base fee
}

// mendOf is what the exit code calls for, or the text where there is one that says more.
func mendOf(code int64, reason string) Mend {
	for _, known := range sayings {
		if strings.Contains(reason, known.text) {
			return known.mend
		}
	}
	if code == 0 {
		return MendRebuild
	}
	return ReadExit(code).Mend
}

// exitIn is the exit code in a node's words, 0 if there is none: Lotus writes exit=[ErrIllegalArgument(16)] when an estimate failed, and
// wrote RetCode=16.
func exitIn(reason string) int64 {
	for _, before := range []string{"exit=[", "RetCode="} {
		_, rest, found := strings.Cut(reason, before)
		if !found {
			continue
		}
		rest, _, _ = strings.Cut(rest, "]")
		from := strings.IndexAny(rest, "0123456789")
		if from < 0 {
			continue
		}
		digits := rest[from:]
		if to := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); to >= 0 {
			digits = digits[:to]
		}
		if code, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return code
		}
	}
	return 0
}
