package post

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
)

// Sent is a message that a sender has signed, until it is settled. Where it was replaced there are several with its nonce, of which one lands.
type Sent struct {
	Request MessageRequest `json:"request"`
	Nonce   uint64         `json:"nonce"`
	Message string         `json:"message"` // CID
	Signed  []byte         `json:"signed"`  // JSON of the signed message: recorded before it is pushed, so that a crash sends the same bytes
	Pushed  abi.ChainEpoch `json:"pushed"`  // head at the last push
	Taken   int            `json:"taken"`   // how many looks in a row found its nonce used and the message nowhere

	First   abi.ChainEpoch `json:"first,omitzero"`    // head when the nonce's first message was signed
	Offered abi.ChainEpoch `json:"offered,omitzero"`  // head when this one was
	Gas     Gas            `json:"gas,omitzero"`      // what it offers; none: its fees are not ours to change
	Earlier []string       `json:"earlier,omitempty"` // CIDs that it has replaced, oldest first: each may still land in its place
	Stuck   string         `json:"stuck,omitempty"`   // why it is not replaced again

	// Before are the CIDs of an earlier request whose nonce it has taken, see MessageRequest.Replaces. Should one of them land and fail,
	// this message gets another nonce.
	Before []string `json:"before,omitempty"`
	// Unwanted is the request that was to take its place and could not be sent.
	Unwanted string `json:"unwanted,omitempty"`
}

// Settle is the answer to the request that the message was for.
func (s Sent) Settle(outcome Outcome, reason string) MessageSettled {
	return MessageSettled{ID: s.Request.ID, Lost: s.Request.Lost, Outcome: outcome, Message: s.Message, Reason: reason}
}

// CIDs are all messages of the nonce: the one that was signed last first, since that is what nodes have if they have any.
func (s Sent) CIDs() []string {
	all := []string{s.Message}
	for _, of := range [][]string{s.Earlier, s.Before} {
		for _, cid := range slices.Backward(of) {
			all = append(all, cid)
		}
	}
	return all
}

// Replace makes it another message with its nonce, signed when the head was at an epoch. It still has to be pushed.
func (s Sent) Replace(message string, signed []byte, gas Gas, head abi.ChainEpoch) Sent {
	s.Earlier = append(slices.Clone(s.Earlier), s.Message)
	s.Message, s.Signed, s.Gas, s.Offered, s.Stuck = message, signed, gas, head, ""
	return s
}

// Look is what the chain says of a sent message.
type Look struct {
	Found    bool           `json:"found"`
	Message  string         `json:"message,omitempty"` // CID of the one of its nonce that is there; empty: the one that was asked for
	Epoch    abi.ChainEpoch `json:"epoch"`             // of the tipset that included it
	ExitCode int64          `json:"exit_code"`
}

// Sender is what the chain says of a sender and its messages, in the order they were asked for.
type Sender struct {
	Head    abi.ChainEpoch `json:"head"`
	Nonce   uint64         `json:"nonce"`              // the next one that the chain will take
	BaseFee Atto           `json:"base_fee,omitempty"` // of the head
	Looks   []Look         `json:"looks"`
}

const (
	// pushAgainAfter epochs without landing, the same bytes are pushed again, in case a node restarted and forgot its pool.
	// Messages land in the next two or three tipsets on mainnet unless they are underpriced.
	pushAgainAfter abi.ChainEpoch = 3
	// A node may know that a nonce is used shortly before it finds the message that used it.
	looksUntilTaken = 3
	// MaxReplaced is how often a message is replaced at most: 1.25 times its premium so often is 7,500 times.
	MaxReplaced = 40
)

// AfterLook decides what happens to a sent message: settled (the answer), or pushed again, or waited for.
func AfterLook(s Sent, chainNonce uint64, look Look, head abi.ChainEpoch) (settled *MessageSettled, pushAgain bool, taken int) {
	settle := func(outcome Outcome, reason string) *MessageSettled {
		m := s.Settle(outcome, reason)
		m.Landed, m.ExitCode = look.Epoch, look.ExitCode
		if look.Message != "" {
			m.Message = look.Message
		}
		return &m
	}
	if chainNonce > s.Nonce && !look.Found {
		taken = s.Taken + 1
	}
	switch {
	case look.Found && look.ExitCode == 0:
		return settle(OutcomeLanded, ""), false, 0
	case look.Found:
		return settle(OutcomeFailed, "it failed on the chain with "+ReadExit(look.ExitCode).String()), false, 0
	case taken >= looksUntilTaken:
		return settle(OutcomeFailed, fmt.Sprintf("nonce %d of %s went to another message; does something else send from that address?", s.Nonce, s.Request.From)), false, taken
	case head >= s.Request.Expires:
		reason := fmt.Sprintf("it had not landed at epoch %d", head)
		if s.Stuck != "" {
			reason += ", and was not replaced: " + s.Stuck
		}
		return settle(OutcomeExpired, reason), false, taken
	default:
		return nil, head-s.Pushed >= pushAgainAfter, taken
	}
}

// ToReplace are the messages, of those that wait in the order of their nonces, that should be replaced now, by their place. The lowest nonce first:
// nothing behind it can land before. It is due when it has had its time (ReplaceAfter), or at once when the base fee is above what it may
// pay. Those behind it are due on the same terms, but only up to what the lowest pays now: what holds them up may be it alone.
func ToReplace(waiting []Sent, chainNonce uint64, baseFee Atto, head abi.ChainEpoch) []int {
	var due []int
	var front Atto // the premium of the lowest
	next := chainNonce
	for i, s := range waiting {
		if s.Nonce > next {
			break // what is missing below it keeps it from landing, whatever it pays
		}
		next = max(next, s.Nonce+1)
		if s.Gas == (Gas{}) || chainNonce > s.Nonce {
			continue // not priced by us, or on the chain already
		}
		if front == "" {
			front = s.Gas.Premium
		} else if !front.Above(s.Gas.Premium) && !baseFee.Above(s.Gas.FeeCap) {
			continue
		}
		left := s.Request.Expires - head
		waited := head - s.Offered
		switch {
		case left <= 1 || len(s.Earlier) >= MaxReplaced:
			// no later tipset includes it in time
		case baseFee.Above(s.Gas.FeeCap) && waited >= 1, waited >= ReplaceAfter(left):
			due = append(due, i)
		}
	}
	return due
}

// maxGaps is more than anybody fills at once.
const maxGaps = 1000

// Gaps are the nonces below the lowest message that waits which the chain has not seen, and which keep it from landing: those of messages
// that expired, were refused, or were lost by the pools.
// The lowest are given, maxGaps at most.
func Gaps(waiting []Sent, chainNonce uint64) []uint64 {
	var gaps []uint64
	for i, s := range waiting {
		from := chainNonce
		if i > 0 {
			from = waiting[i-1].Nonce + 1
		}
		for n := from; n < s.Nonce && len(gaps) < maxGaps; n++ {
			gaps = append(gaps, n)
		}
	}
	return gaps
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

// Held is a nonce that a sender has given to a message, with what that offers.
type Held struct {
	Nonce uint64 `json:"nonce"`
	Gas   Gas    `json:"gas,omitzero"`
	Free  bool   `json:"free,omitempty"` // the message is worth nothing any more, and may still be in a pool: the nonce is free for another
}

// ChooseNonce is the nonce of a new message, by the chain's and the pool's next nonces and the nonces that were given out, and the message
// that it then takes the place of in pools, if one is known. The lowest free one first, where a message that nobody wants any more would
// keep everything behind it from landing.
func ChooseNonce(chain, pool uint64, held []Held) (nonce uint64, instead *Held) {
	var used []uint64
	for _, h := range held {
		if !h.Free {
			used = append(used, h.Nonce)
		}
	}
	for i, h := range held {
		if h.Free && h.Nonce >= chain && !slices.Contains(used, h.Nonce) && (instead == nil || h.Nonce < instead.Nonce) {
			instead = &held[i]
		}
	}
	next := NextNonce(max(pool, chain), used)
	if instead != nil && instead.Nonce <= next {
		return instead.Nonce, instead
	}
	return next, nil
}

// FirstGap is the first nonce from the chain's next one on that no message has, of those that were given out and those that pools hold; next if
// there is none below it.
func FirstGap(chain, next uint64, held []Held, pools []uint64) uint64 {
	for nonce := chain; nonce < next; nonce++ {
		if !slices.Contains(pools, nonce) && !slices.ContainsFunc(held, func(h Held) bool { return h.Nonce == nonce }) {
			return nonce
		}
	}
	return next
}

// Purpose is what a request is for, without the count of how often its message was built.
func (r MessageRequest) Purpose() string {
	if cut := strings.LastIndex(r.ID, "/"); cut > 0 {
		return r.ID[:cut]
	}
	return r.ID
}

// Digest tells bytes from others that are not kept, such as a message's parameters.
func Digest(params []byte) string {
	sum := sha256.Sum256(params)
	return hex.EncodeToString(sum[:8])
}
