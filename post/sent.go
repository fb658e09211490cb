package post

import (
	"fmt"
	"slices"

	"github.com/filecoin-project/go-state-types/abi"
)

// Sent is a message that a sender has signed, until it is settled.
type Sent struct {
	Request MessageRequest `json:"request"`
	Nonce   uint64         `json:"nonce"`
	Message string         `json:"message"` // CID
	Signed  []byte         `json:"signed"`  // JSON of the signed message: recorded before it is pushed, so that a crash sends the same bytes
	Pushed  abi.ChainEpoch `json:"pushed"`  // head at the last push
	Taken   int            `json:"taken"`   // how many looks in a row found its nonce used and the message nowhere
}

// Settle is the answer to the request that the message was for.
func (s Sent) Settle(outcome Outcome, reason string) MessageSettled {
	return MessageSettled{ID: s.Request.ID, Lost: s.Request.Lost, Outcome: outcome, Message: s.Message, Reason: reason}
}

// Look is what the chain says of a sent message.
type Look struct {
	Found    bool           `json:"found"`
	Epoch    abi.ChainEpoch `json:"epoch"` // of the tipset that included it
	ExitCode int64          `json:"exit_code"`
}

// Sender is what the chain says of a sender and its messages, in the order they were asked for.
type Sender struct {
	Head  abi.ChainEpoch `json:"head"`
	Nonce uint64         `json:"nonce"` // the next one that the chain will take
	Looks []Look         `json:"looks"`
}

const (
	// pushAgainAfter epochs without landing, the same bytes are pushed again, in case a node restarted and forgot its pool.
	// Messages land in the next two or three tipsets on mainnet unless they are underpriced.
	pushAgainAfter abi.ChainEpoch = 3
	// A node may know that a nonce is used shortly before it finds the message that used it.
	looksUntilTaken = 3
)

// AfterLook decides what happens to a sent message: settled (the answer), or pushed again, or waited for.
func AfterLook(s Sent, chainNonce uint64, look Look, head abi.ChainEpoch) (settled *MessageSettled, pushAgain bool, taken int) {
	settle := func(outcome Outcome, reason string) *MessageSettled {
		m := s.Settle(outcome, reason)
		m.Landed, m.ExitCode = look.Epoch, look.ExitCode
		return &m
	}
	if chainNonce > s.Nonce && !look.Found {
		taken = s.Taken + 1
	}
	switch {
	case look.Found && look.ExitCode == 0:
		return settle(OutcomeLanded, ""), false, 0
	case look.Found:
		return settle(OutcomeFailed, fmt.Sprintf("it failed on the chain with exit code %d", look.ExitCode)), false, 0
	case taken >= looksUntilTaken:
		return settle(OutcomeFailed, fmt.Sprintf("nonce %d of %s went to another message; does something else send from that address?", s.Nonce, s.Request.From)), false, taken
	case head >= s.Request.Expires:
		return settle(OutcomeExpired, fmt.Sprintf("it had not landed at epoch %d", head)), false, taken
	default:
		return nil, head-s.Pushed >= pushAgainAfter, taken
	}
}

// NextNonce is the nonce of a sender's next message: the first from the node's word on that no message uses which we signed and
// which may still land, or which landed and may come back after a reorg. A gap below those (a message that expired, or was refused
// by a node that had forgotten it) is filled: whatever is behind it could not land before.
func NextNonce(pool uint64, used []uint64) uint64 {
	next := pool
	for slices.Contains(used, next) {
		next++
	}
	return next
}
