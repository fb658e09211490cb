// Package workflows holds posthaste's workflows: deterministic code that decides, while activities do.
//
//	MinerWorkflow     one per miner actor: keeps its deadlines' workflows going, can be paused
//	DeadlineWorkflow  one per deadline: load, look up, prove, submit, confirm
//	RecoveryWorkflow  one per miner actor: has faulty sectors declared recovered that can be proven again
//	SenderWorkflow    one per sending address: orders nonces over all daemons
//	WorkerWorkflow    one per worker: what it may take, and what operators want of it
//	FleetWorkflow     one: moves jobs that wait in the wrong queue
//	AlertWorkflow     one: tells people of what needs them
//	ComputeWorkflow   one per `proving compute`: proves a deadline now, without sending anything
//	CheckWorkflow     one per `proving check`: looks whether sectors can be proven
//	SurveyWorkflow    one per question about a miner's deadlines
//
// It imports post and the names of activities, never what the activities are made of.
package workflows

import (
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Names of the workflows and activities. They are part of recorded histories: a name never changes, and none is reused.
const (
	NameMinerWorkflow    = "MinerWorkflow"
	NameDeadlineWorkflow = "DeadlineWorkflow"
	NameSenderWorkflow   = "SenderWorkflow"
	NameWorkerWorkflow   = "WorkerWorkflow"
	NameFleetWorkflow    = "FleetWorkflow"
	NameAlertWorkflow    = "AlertWorkflow"
	NameComputeWorkflow  = "ComputeWorkflow"
	NameCheckWorkflow    = "CheckWorkflow"
	NameSurveyWorkflow   = "SurveyWorkflow"
	NameRecoveryWorkflow = "RecoveryWorkflow"

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
	ActivityQuoteMessage        = "QuoteMessage"
	ActivityIssueMessages       = "IssueMessages"
	ActivityPushMessage         = "PushMessage"
	ActivityFollowMessages      = "FollowMessages"
	ActivityRepriceMessage      = "RepriceMessage"      // a message that does not land, with more paid for its gas
	ActivityRouteJob            = "RouteJob"            // a local one, in the daemon that runs the workflow
	ActivityBalanceFleet        = "BalanceFleet"        // as long as the FleetWorkflow runs
	ActivityAttendWorker        = "AttendWorker"        // on a worker, as long as it runs: its heartbeats say what it does
	ActivityApplyOrders         = "ApplyOrders"         // on a worker
	ActivityGenerateWinningPoSt = "GenerateWinningPoSt" // on cards set aside for it
	ActivityWatchAlerts         = "WatchAlerts"         // as long as the AlertWorkflow runs
	ActivitySurveyMiner         = "SurveyMiner"         // the deadlines of a miner as the chain has them
	ActivityCheckSectors        = "CheckSectors"        // on a daemon, or on the worker that would read them
	ActivityFindDeadline        = "FindDeadline"        // a deadline by its index, as the chain has it now
	ActivityReadPartition       = "ReadPartition"       // all live sectors of a partition, and which of them are faulty
	ActivityReadFaults          = "ReadFaults"          // a miner's faulty sectors, and whether they may be declared recovered
	ActivityReadSectors         = "ReadSectors"         // sectors by number, with their CommRs
	ActivityBuildRecovery       = "BuildRecovery"       // the message that declares sectors recovered
)

// Signals, updates, attributes and memo keys.
const (
	SignalConfigure      = "Configure"      // to a MinerWorkflow: MinerConfig, from a daemon's configuration
	SignalProofFound     = "ProofFound"     // to a DeadlineWorkflow: a post.Proof whose activity attempt is gone
	SignalMessageSettled = "MessageSettled" // to a DeadlineWorkflow: a post.MessageSettled from the sender
	SignalSend           = "Send"           // to a SenderWorkflow: a post.MessageRequest
	SignalMessageWaits   = "MessageWaits"   // to who asked for a message: a post.MessageWaits, when it neither lands nor is replaced

	SignalProofClaimed = "ProofClaimed" // to a DeadlineWorkflow: a post.Claim, every few seconds while it holds, and once when it is over without a proof
	SignalRouted       = "Routed"       // to a DeadlineWorkflow: a post.Routed
	SignalReport       = "Report"       // to a WorkerWorkflow: a post.WorkerReport from its worker
	SignalFence        = "Fence"        // to a WorkerWorkflow: a post.Fence that its worker has put up
	SignalAlerts       = "Alerts"       // to the AlertWorkflow: the post.AlertBook of whoever watches, when it has changed

	UpdatePause   = "Pause"   // to a MinerWorkflow or a WorkerWorkflow: a reason
	UpdateResume  = "Resume"  // to a MinerWorkflow or a WorkerWorkflow
	UpdateDrain   = "Drain"   // to a WorkerWorkflow: finish what runs, then end the process
	UpdateUnfence = "Unfence" // to a WorkerWorkflow: a card's name, empty for all of them
	UpdateReset   = "Reset"   // to a DeadlineWorkflow: ResetJobs
	UpdateRemove  = "Remove"  // to a MinerWorkflow: a reason; it issues nothing more until added again, whatever daemons' files say
	UpdateAdd     = "Add"     // to a MinerWorkflow that was removed: AddMiner
	UpdateRecover = "Recover" // to a RecoveryWorkflow: look now, whatever pauses sectors have; a post.RecoveryState

	AttributeMiner    = "PostMiner"    // f01000
	AttributeDeadline = "PostDeadline" // 7
	AttributeState    = "PostState"    // a post.State

	MemoBoard = "board" // a post.Result: the deadline as it stands, readable while no daemon runs; of a ComputeWorkflow, too
	MemoCheck = "check" // a post.Checkup of a CheckWorkflow, without its findings
	MemoMiner = "miner" // a MinerState

	MemoWorker = "worker" // a post.WorkerState

	MemoAlerts = "alerts" // a post.AlertBook

	MemoRecovery = "recovery" // a post.RecoveryState of a RecoveryWorkflow, cut short
)

// Error types that the workflows tell apart, beside the post.Failure ones.
const (
	ErrorRandomnessChanged = "RandomnessChanged" // the chain's challenge is not the one that the proof answers
	ErrorSectorsChanged    = "SectorsChanged"    // the chain wants other sectors proven than the proof covers
	ErrorRefused           = "Refused"           // the node understood a message and will not take it
	ErrorTooLarge          = "TooLarge"          // a message that no block has room for, so that it must be split
	ErrorDeadlineMissed    = "DeadlineMissed"    // a DeadlineWorkflow's failure; its detail is the post.Result
	ErrorNoSuchMiner       = "NoSuchMiner"       // the chain knows no such miner actor
	ErrorMinerRemoved      = "MinerRemoved"      // an operator has removed the miner: it must be added before it can be paused or resumed
	ErrorUnread            = "Unread"            // the chain could not be read in time
	ErrorNotTaken          = "NotTaken"          // the machine that was asked did not begin
	ErrorNotThere          = "NotThere"          // the miner has no such deadline, or the deadline no such partition, or nothing in it
)

// WatchInput tells WatchDeadlines whose deadlines to keep going, and how.
type WatchInput struct {
	Miner    abi.ActorID   `json:"miner"`
	Settings post.Settings `json:"settings"`
}

// SurveyInput asks how a miner's deadlines stand on the chain.
type SurveyInput struct {
	Miner abi.ActorID `json:"miner"`
	Pool  string      `json:"pool,omitempty"` // the GPU tag that proves; empty: any
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
	Skipped    []post.Skipped `json:"skipped,omitempty"` // of the one partition

	// Of each partition, where there are several: what its post skips.
	SkippedOf [][]abi.SectorNumber `json:"skipped_of,omitempty"`
	// Of each partition: the post.SetDigest of the sectors that were to be proven when they were read. Empty: not to be compared.
	Sets []string `json:"sets,omitempty"`
}

// BuiltPost is a message ready to be sent, or the news that the chain has the post already.
type BuiltPost struct {
	Method uint64 `json:"method,omitempty"`
	To     string `json:"to,omitempty"`
	Params []byte `json:"params,omitempty"`
	Posted bool   `json:"posted,omitempty"` // all its partitions are posted: nothing to send

	Head     abi.ChainEpoch `json:"head,omitzero"`       // at which it was built
	PostedOf []uint64       `json:"posted_of,omitempty"` // some of its partitions are posted, and these; there is no message then
}

// Receipt is what the canonical chain says of a message.
type Receipt struct {
	Found    bool           `json:"found"`
	Message  string         `json:"message"`
	Epoch    abi.ChainEpoch `json:"epoch"` // of the tipset that included it
	ExitCode int64          `json:"exit_code"`
}

// Checked is what the chain says of a closed deadline: per partition, the sectors that are faulty now, and which partitions were
// posted before Close.
type Checked struct {
	Faulty map[uint64][]abi.SectorNumber `json:"faulty,omitempty"`
	Posted []uint64                      `json:"posted,omitempty"` // empty where the node does not know that any more
}

// RouteInput asks where a job should wait.
type RouteInput struct {
	Needs post.Needs    `json:"needs"`
	Avoid []string      `json:"avoid,omitempty"` // cards that failed it
	Try   int           `json:"try"`
	Left  time.Duration `json:"left"`           // until it must be proven
	Look  bool          `json:"look,omitempty"` // it is only asked: no job will follow
}

// OrdersInput is what a worker is told: its orders, and whether to end when its jobs are done.
type OrdersInput struct {
	Orders  post.Orders `json:"orders"`
	Drain   bool        `json:"drain,omitempty"`
	Process string      `json:"process,omitempty"` // that was told to drain: the next one goes on working. Empty: whoever takes this
}

// Told is the answer to an order.
type Told struct {
	Reached bool        `json:"reached"`       // the worker has it; else it gets it when it starts
	Why     string      `json:"why,omitempty"` // it was not reached
	Orders  post.Orders `json:"orders"`        // that stand now
}

// WinningJob asks for the proof that goes into a block: of the sectors that the caller has drawn, in that order.
type WinningJob struct {
	Miner      abi.ActorID             `json:"miner"`
	ProofType  abi.RegisteredPoStProof `json:"proof_type"` // the miner's winning PoSt proof type
	Randomness []byte                  `json:"randomness"` // 32 bytes, as the chain gives it
	Sectors    []post.Sector           `json:"sectors"`    // with their stores; in any order, unlike post.Sectors
}

// WinningProof is a winning proof that verified.
type WinningProof struct {
	ProofType abi.RegisteredPoStProof `json:"proof_type"`
	Proofs    [][]byte                `json:"proofs"` // as the block header has them
	Card      string                  `json:"card"`   // worker/card that made it
	Phases    post.PhaseTimes         `json:"phases"`
}

// WorkerWorkflowID names the one workflow of a worker.
func WorkerWorkflowID(name string) string { return "worker-" + name }

// WorkerQueue is the task queue on which one worker, and nobody else, takes orders.
func WorkerQueue(name string) string { return "worker." + name }

// FleetWorkflowID names the one workflow that balances the fleet.
const FleetWorkflowID = "fleet"

// MinerWorkflowID names the one workflow of a miner.
func MinerWorkflowID(miner abi.ActorID) string { return "miner-" + post.MinerName(miner) }

// RecoveryWorkflowID names the one workflow that looks after a miner's faulty sectors.
func RecoveryWorkflowID(miner abi.ActorID) string { return "recover-" + post.MinerName(miner) }

// ReadSectorsInput names sectors of a partition.
type ReadSectorsInput struct {
	Miner   abi.ActorID  `json:"miner"`
	Sectors post.Numbers `json:"sectors"`
}

// RecoveryInput asks for the message that declares sectors of a deadline recovered, as far as the chain still holds them faulty.
type RecoveryInput struct {
	Window     post.RecoveryWindow    `json:"window"`
	Partitions []post.FaultyPartition `json:"partitions"`
	Sender     string                 `json:"sender,omitempty"` // as in LoadInput
	Fees       post.Fees              `json:"fees,omitzero"`    // as in LoadInput
}

// BuiltRecovery is a message ready to be sent, or why there is none.
type BuiltRecovery struct {
	Head       abi.ChainEpoch         `json:"head"`
	From       string                 `json:"from,omitempty"` // key address
	To         string                 `json:"to,omitempty"`
	Method     uint64                 `json:"method,omitempty"`
	Params     []byte                 `json:"params,omitempty"`
	Partitions []post.FaultyPartition `json:"partitions,omitempty"` // what it declares; none: nothing is left to be declared
	Late       bool                   `json:"late,omitempty"`       // the cutoff is too near
}

// AlertWorkflowID names the one workflow that tells people of what needs them.
const AlertWorkflowID = "alerts"

// ResetJobs asks a DeadlineWorkflow to run partitions again now, with their tries back at 0. Empty: all that have failed.
type ResetJobs struct {
	Partitions []uint64 `json:"partitions,omitempty"`
}
