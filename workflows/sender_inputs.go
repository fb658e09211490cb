package workflows

import (
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
