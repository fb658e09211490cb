package post

import (
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// Settings is what the operator decides about one miner's deadlines. It travels in the workflows' inputs, so that a daemon
// with another configuration does not change a deadline that is under way.
type Settings struct {
	ChallengeConfidence abi.ChainEpoch `json:"challenge_confidence"` // epochs after Challenge at which proving starts; 1 as in Lotus
	SubmitConfidence    abi.ChainEpoch `json:"submit_confidence"`    // epochs after Open at which a post is sent; 4 as in Lotus and damocles
	Confidence          abi.ChainEpoch `json:"confidence"`           // epochs until a landed post counts as posted; 10 as in damocles
	SubmitReserve       abi.ChainEpoch `json:"submit_reserve"`       // epochs before Close that are kept for submitting; 10
	MaxTry              int            `json:"max_try"`              // counted tries before a job is listed as Failed; 2 as in damocles
	RetryUntilClose     bool           `json:"retry_until_close"`    // go on trying after that, with growing pauses
	JobLifetime         time.Duration  `json:"job_lifetime"`         // upper bound of one job whatever the chain says; 25 h as in damocles
	EpochDuration       time.Duration  `json:"epoch_duration"`       // wall-clock time of an epoch
	Sender              string         `json:"sender,omitempty"`     // address that sends; empty: chosen among the miner's addresses
	ProveQueue          string         `json:"prove_queue"`          // task queue of the cards, before jobs were routed: only in old histories
	Pool                string         `json:"pool,omitempty"`       // the GPU tag that proves; empty: any

	// PartitionsPerPost is how many partitions are proven as one set and sent in one message, at most the network's 3; 0 is 1.
	PartitionsPerPost int `json:"partitions_per_post,omitzero"`
	// RecoverAlone: a partition with recovering sectors is proven and sent by itself. The chain verifies such a post at once, which costs gas
	// (lotus-miner's SingleRecoveringPartitionPerPostMessage).
	RecoverAlone bool     `json:"recover_alone,omitempty"`
	Fees         Fees     `json:"fees,omitzero"`
	Recovery     Recovery `json:"recovery,omitzero"`
}

// DefaultSettings are those of a miner about which nothing is configured. EpochDuration must still be asked of the chain.
func DefaultSettings() Settings {
	return Settings{
		ChallengeConfidence: 1, SubmitConfidence: 4, Confidence: 10, SubmitReserve: 10,
		MaxTry: 2, RetryUntilClose: true, JobLifetime: 25 * time.Hour, ProveQueue: "wdpost.gpu", PartitionsPerPost: 1,
		Fees: DefaultFees(),
	}
}
