package workflows

import (
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// PrepareInput asks for the gas and the nonce of a message.
type PrepareInput struct {
	Request post.MessageRequest `json:"request"`

	Priced  bool        `json:"priced,omitempty"`  // by the request's fees, and with its nonce chosen; else as the node estimates it
	Held    []post.Held `json:"held,omitempty"`    // the nonces that were given out
	ShortOf int         `json:"short_of,omitzero"` // how many messages for the same purpose ran out of gas
	At      *post.Held  `json:"at,omitempty"`      // the nonce that it should have, with what the message offers whose place it takes
	Fill    bool        `json:"fill,omitempty"`    // only if no message with that nonce is in the pool, unless it is the one at At
}

// Prepared is a message with its gas and its nonce: the one that the node would give it, or the chosen one.
type Prepared struct {
	Message []byte         `json:"message"` // JSON, as the node's RPC has it
	Nonce   uint64         `json:"nonce"`
	Head    abi.ChainEpoch `json:"head"`

	Gas     post.Gas `json:"gas,omitzero"`
	Adopted *Signed  `json:"adopted,omitempty"` // the same message, which the pool has already: nothing is to be signed
	Before  []string `json:"before,omitempty"`  // CIDs of a post for the same, in the pool, whose nonce it takes
	Filled  bool     `json:"filled,omitempty"`  // there is a message with that nonce: nothing is to be done
}

// Quoted is what a node estimates for a message now.
type Quoted struct {
	Quote post.Quote     `json:"quote"`
	Head  abi.ChainEpoch `json:"head"`
}

// IssueInput asks for messages of one sender that can be pushed: priced, with nonces in the order given, and signed.
type IssueInput struct {
	From          string         `json:"from"`
	NotBefore     abi.ChainEpoch `json:"not_before,omitzero"` // the head is waited for until it is here, for some epochs
	EpochDuration time.Duration  `json:"epoch_duration"`
	Held          []post.Held    `json:"held,omitempty"` // the nonces that were given out
	Wanted        []Wanted       `json:"wanted"`
}

// Wanted is one message that is asked for.
type Wanted struct {
	Request post.MessageRequest `json:"request"`
	Quote   *post.Quote         `json:"quote,omitempty"`   // nil: it is to be estimated
	ShortOf int                 `json:"short_of,omitzero"` // how many messages for the same purpose ran out of gas
	At      *post.Held          `json:"at,omitempty"`      // the nonce that it should have, with what the message offers whose place it takes
	Check   bool                `json:"check,omitempty"`   // it was built a while ago: only if the chain would still take it
}

// Issued is what was asked for, in that order, and the head then. What is missing at the end goes on waiting.
type Issued struct {
	Head     abi.ChainEpoch  `json:"head"`
	Early    bool            `json:"early,omitempty"` // the head is not at NotBefore yet: nothing was done
	Messages []IssuedMessage `json:"messages,omitempty"`
}

// IssuedMessage is a signed message, or why there is none.
type IssuedMessage struct {
	Nonce   uint64   `json:"nonce"`
	Signed  Signed   `json:"signed,omitzero"`
	Gas     post.Gas `json:"gas,omitzero"`
	Before  []string `json:"before,omitempty"`  // CIDs of a post for the same, in the pool, whose nonce it takes
	Adopted bool     `json:"adopted,omitempty"` // it is the pool's, which had the same one already

	Refused  string `json:"refused,omitempty"`
	TooLarge bool   `json:"too_large,omitempty"` // no block has room for it
	Outdated bool   `json:"outdated,omitempty"`  // the chain has changed since it was built
	Later    bool   `json:"later,omitempty"`     // the node gave no answer about this one: it goes on waiting
	Why      string `json:"why,omitempty"`       // it does
}

// RepriceInput asks for a message that takes the place of one, with more gas paid for.
type RepriceInput struct {
	Request post.MessageRequest `json:"request"` // without its params
	Signed  Signed              `json:"signed"`  // what is to be replaced
	Gas     post.Gas            `json:"gas"`     // what that offers
	Held    []post.Held         `json:"held"`    // all nonces that were given out
}

// Repriced is the same message with other gas, or why there is none.
type Repriced struct {
	Message []byte         `json:"message,omitempty"` // JSON, with the nonce; empty: it stays as it is
	Gas     post.Gas       `json:"gas,omitzero"`
	Stuck   string         `json:"stuck,omitempty"` // why it stays
	Head    abi.ChainEpoch `json:"head"`
}

// SignInput is a message and the nonce that it gets.
type SignInput struct {
	Message []byte `json:"message"`
	Nonce   uint64 `json:"nonce"`
}

// Signed is what goes to the nodes, byte for byte, however often.
type Signed struct {
	Message string `json:"message"` // CID
	Bytes   []byte `json:"bytes"`   // JSON of the signed message
}

// FollowInput asks what became of a sender's messages.
type FollowInput struct {
	From     string     `json:"from"`
	Messages []string   `json:"messages"`         // of each nonce the latest
	Nonces   []uint64   `json:"nonces,omitempty"` // of each message
	CIDs     [][]string `json:"cids,omitempty"`   // of each nonce all messages, the latest first
}
