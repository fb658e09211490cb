// Package workflows holds posthaste's workflows: deterministic code that decides, while activities do.
//
//	MinerWorkflow     one per miner actor: keeps its deadlines' workflows going, can be paused
//	DeadlineWorkflow  one per deadline: load, look up, prove, submit, confirm
//	SenderWorkflow    one per sending address: orders nonces over all daemons
//
// It imports post and the names of activities, never what the activities are made of.
package workflows

import (
	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Names of the workflows and activities. They are part of recorded histories: a name never changes, and none is reused.
const (
	NameMinerWorkflow    = "MinerWorkflow"
	NameDeadlineWorkflow = "DeadlineWorkflow"
	NameSenderWorkflow   = "SenderWorkflow"

	ActivityWatchDeadlines      = "WatchDeadlines"
	ActivityAwaitEpoch          = "AwaitEpoch"
	ActivityLoadDeadline        = "LoadDeadline"
	ActivityLoadPartition       = "LoadPartition"
	ActivityLookupSectors       = "LookupSectors"
	ActivityChallengeRandomness = "ChallengeRandomness"
	ActivityGenerateWindowPoSt  = "GenerateWindowPoSt"
	ActivityVerifyProof         = "VerifyProof"
	ActivityBuildPost           = "BuildPost"
	ActivityRequestMessage      = "RequestMessage"
	ActivityConfirmMessage      = "ConfirmMessage"
	ActivityCheckDeadline       = "CheckDeadline"
	ActivityPrepareMessage      = "PrepareMessage"
	ActivitySignMessage         = "SignMessage"
	ActivityPushMessage         = "PushMessage"
	ActivityFollowMessages      = "FollowMessages"
)

// Signals, updates, attributes and memo keys.
const (
	SignalConfigure      = "Configure"      // to a MinerWorkflow: MinerConfig, from a daemon's configuration
	SignalProofFound     = "ProofFound"     // to a DeadlineWorkflow: a post.Proof whose activity attempt is gone
	SignalMessageSettled = "MessageSettled" // to a DeadlineWorkflow: a post.MessageSettled from the sender
	SignalSend           = "Send"           // to a SenderWorkflow: a post.MessageRequest

	UpdatePause  = "Pause"  // to a MinerWorkflow: a reason
	UpdateResume = "Resume" // to a MinerWorkflow
	UpdateReset  = "Reset"  // to a DeadlineWorkflow: ResetJobs

	AttributeMiner    = "PostMiner"    // f01000
	AttributeDeadline = "PostDeadline" // 7
	AttributeState    = "PostState"    // a post.State

	MemoBoard = "board" // a post.Result: the deadline as it stands, readable while no daemon runs
	MemoMiner = "miner" // a MinerState
)

// Error types that the workflows tell apart, beside the post.Failure ones.
const (
	ErrorRandomnessChanged = "RandomnessChanged" // the chain's challenge is not the one that the proof answers
	ErrorRefused           = "Refused"           // the node understood a message and will not take it
	ErrorDeadlineMissed    = "DeadlineMissed"    // a DeadlineWorkflow's failure; its detail is the post.Result
	ErrorNoSuchMiner       = "NoSuchMiner"       // the chain knows no such miner actor
)

// WatchInput tells WatchDeadlines whose deadlines to keep going, and how.
type WatchInput struct {
	Miner    abi.ActorID   `json:"miner"`
	Settings post.Settings `json:"settings"`
}

// DeadlineInput starts a DeadlineWorkflow.
type DeadlineInput struct {
	Deadline post.Deadline  `json:"deadline"`
	Head     abi.ChainEpoch `json:"head"` // the head when it was issued
	Settings post.Settings  `json:"settings"`
}

// PartitionInput names one partition of a deadline, with the sectors it is about where that matters.
type PartitionInput struct {
	Deadline  post.Deadline `json:"deadline"`
	Partition uint64        `json:"partition"`
	Sectors   post.Sectors  `json:"sectors,omitempty"`
}

// VerifyInput is a proof and the job that it answers.
type VerifyInput struct {
	Job   post.Job   `json:"job"`
	Proof post.Proof `json:"proof"`
}

// BuildInput asks for the message that carries a proof.
type BuildInput struct {
	Deadline   post.Deadline  `json:"deadline"`
	Partitions []uint64       `json:"partitions"`
	Randomness []byte         `json:"randomness"` // what the proof answers, to be compared with the chain's of now
	Proof      post.Proof     `json:"proof"`
	Skipped    []post.Skipped `json:"skipped,omitempty"`
}

// BuiltPost is a message ready to be sent, or the news that the chain has the post already.
type BuiltPost struct {
	Method uint64 `json:"method,omitempty"`
	To     string `json:"to,omitempty"`
	Params []byte `json:"params,omitempty"`
	Posted bool   `json:"posted,omitempty"` // all its partitions are posted: nothing to send
}

// Receipt is what the canonical chain says of a message.
type Receipt struct {
	Found    bool           `json:"found"`
	Message  string         `json:"message"`
	Epoch    abi.ChainEpoch `json:"epoch"` // of the tipset that included it
	ExitCode int64          `json:"exit_code"`
}

// Checked is what the chain says of a closed deadline: per partition, the sectors that are faulty now.
type Checked struct {
	Faulty map[uint64][]abi.SectorNumber `json:"faulty,omitempty"`
}

// ResetJobs asks a DeadlineWorkflow to run partitions again now, with their tries back at 0. Empty: all that have failed.
type ResetJobs struct {
	Partitions []uint64 `json:"partitions,omitempty"`
}
