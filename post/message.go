package post

import (
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// MethodSubmitWindowedPoSt is the miner actor's method number.
const MethodSubmitWindowedPoSt uint64 = 5

// MessageRequest asks a SenderWorkflow to get one message onto the chain. Its ID says what the message is for, so that
// asking twice, after a reset or from a new run, sends once.
type MessageRequest struct {
	ID      string         `json:"id"`       // wdpost-f01000-2880-7/p0/1: deadline, partition, how often it had to be built
	ReplyTo string         `json:"reply_to"` // ID of the workflow that is told how it went, by the signal MessageSettled
	From    string         `json:"from"`     // key address that signs and pays
	To      string         `json:"to"`       // the miner actor's ID address
	Method  uint64         `json:"method"`   // 5 is SubmitWindowedPoSt
	Params  []byte         `json:"params"`   // CBOR
	Expires abi.ChainEpoch `json:"expires"`  // Close: from here on the message is worthless
	Lost    int            `json:"lost"`     // how often it landed and a reorg dropped it: the same bytes are pushed again

	// NotBefore is the epoch of the head from which on it is sent; 0: at once. Until then it is only estimated: it has no nonce yet, and may turn
	// out to be outdated.
	NotBefore abi.ChainEpoch `json:"not_before,omitzero"`

	// Replaces is the ID of an earlier request to the same sender, whose message this one takes the place of; empty: of none. A reorg changed
	// what a post must say, so the earlier message, should it come back from a pool, would fail on the chain or keep this one from landing.
	// This one gets its nonce, at a premium that pools take for a replacement, unless the earlier one is on the chain: if with exit code 0,
	// this request is answered with that landing and nothing is sent; if with another, or if the ID is not known, this one gets a nonce of its own.
	Replaces string `json:"replaces,omitempty"`

	EpochDuration time.Duration `json:"epoch_duration"` // wall-clock time of an epoch
	Fees          Fees          `json:"fees,omitzero"`  // what it may cost
}

// Key tells the answers to a request apart from those to the same message before a reorg dropped it.
func (r MessageRequest) Key() string { return fmt.Sprintf("%s+%d", r.ID, r.Lost) }

// TooLate says why a message is not to be sent at a head, empty if it is: the next tipset is the first that can include it, and at Expires it
// fails and is paid for.
func (r MessageRequest) TooLate(head abi.ChainEpoch) string {
	if head < r.Expires-1 {
		return ""
	}
	return fmt.Sprintf("the head is at epoch %d, too late for a message before epoch %d", head, r.Expires)
}

// MessageSettled is a SenderWorkflow's answer to a request.
type MessageSettled struct {
	ID       string         `json:"id"`
	Lost     int            `json:"lost"` // of the request that it answers
	Outcome  Outcome        `json:"outcome"`
	Message  string         `json:"message,omitempty"`   // CID on the chain
	Landed   abi.ChainEpoch `json:"landed,omitempty"`    // epoch of the including tipset
	ExitCode int64          `json:"exit_code,omitempty"` // of the receipt
	Reason   string         `json:"reason,omitempty"`    // with the exit code's meaning, see ReadExit
	TooLarge bool           `json:"too_large,omitempty"` // refused since no block has room for it: it must be split
	Outdated bool           `json:"outdated,omitempty"`  // refused since the chain has changed while it waited for NotBefore: build it anew
}

// Key is that of the request it answers.
func (m MessageSettled) Key() string { return fmt.Sprintf("%s+%d", m.ID, m.Lost) }

// Quote is what a node estimated for a message.
type Quote struct {
	GasUsed int64 `json:"gas_used"` // units of gas that executing it took
	Premium Atto  `json:"premium"`  // per unit of gas, to be included soon
	FeeCap  Atto  `json:"fee_cap"`  // per unit of gas, so that the base fee may rise for twenty tipsets
}

// Waiting is a request whose message is not signed yet.
type Waiting struct {
	Request MessageRequest `json:"request"`
	Quote   *Quote         `json:"quote,omitempty"` // nil: not estimated yet, or the node would not

	// Where the node gave no answer about it, though it may about others:
	Silent int            `json:"silent,omitzero"` // how often
	Again  abi.ChainEpoch `json:"again,omitzero"`  // when it is asked about again
	Why    string         `json:"why,omitempty"`
}

// due is the epoch from which on it may be signed.
func (w Waiting) due() abi.ChainEpoch { return max(w.Request.NotBefore, w.Again) }

// NextToIssue are those that wait, by their place, whose messages are to be signed first, in the order in which they were asked for and at most
// that many, and the epoch from which on. At a head, all that may be sent by then are due alike; but those about which the node gave no answer
// come after the others, and each by itself, so that they hold up none of them.
func NextToIssue(waiting []Waiting, most int, head abi.ChainEpoch) (next []int, from abi.ChainEpoch) {
	for i, w := range waiting {
		if at := max(w.due(), head); i == 0 || at < from {
			from = at
		}
	}
	silent := -1
	for i, w := range waiting {
		switch {
		case w.due() > from:
		case w.Silent == 0 && len(next) < most:
			next = append(next, i)
		case w.Silent > 0 && (silent < 0 || w.Silent < waiting[silent].Silent):
			silent = i
		}
	}
	if len(next) == 0 && silent >= 0 {
		next = []int{silent}
	}
	return next, from
}

// MessageWaits says that a message neither lands nor is replaced any more within its limits. It may still land.
type MessageWaits struct {
	ID      string `json:"id"`      // of the request
	Message string `json:"message"` // CID
	Reason  string `json:"reason"`
}

// Outcome of a MessageRequest.
type Outcome string

// What can become of a message.
const (
	OutcomeLanded  Outcome = "landed"  // in a tipset, with exit code 0
	OutcomeFailed  Outcome = "failed"  // in a tipset, with another exit code; or its nonce went to another message
	OutcomeRefused Outcome = "refused" // the node would not estimate, sign or take it: build it anew
	OutcomeExpired Outcome = "expired" // not landed when it became worthless
)
