package post

import (
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// Outlook is all that alerts are judged by, at one moment: what Temporal says of deadlines, jobs and workers, and what one daemon's node
// says of the chain.
type Outlook struct {
	At        time.Time         `json:"at"`
	Epoch     abi.ChainEpoch    `json:"epoch"`             // where the chain should be now: the head, carried on by the clock; 0: not known
	Problem   string            `json:"problem,omitempty"` // why it is not complete; what it does not have says nothing then
	Deadlines []OpenDeadline    `json:"deadlines"`         // whose workflows run, the earliest Close first
	Closed    []ClosedDeadline  `json:"closed"`            // whose workflows ended lately, the earliest end first
	Queues    []Queue           `json:"queues"`            // of cards, with what waits on them
	Stuck     []Stuck           `json:"stuck"`             // jobs that nobody can take as things are
	Workers   []WorkerOutlook   `json:"workers"`
	Failing   []FailingWorkflow `json:"failing"`
	Miners    []MinerOutlook    `json:"miners"` // by number, as of half a minute ago at most
	Node      NodeOutlook       `json:"node"`   // of the daemon that watches

	Recoveries []RecoveryState `json:"recoveries,omitempty"` // of miners with faulty sectors, as their RecoveryWorkflows show them

	LostStores []LostStore `json:"lost_stores,omitempty"` // that the daemon which watches lists, to find sectors, and cannot read
}

// OpenDeadline is a deadline whose workflow runs.
type OpenDeadline struct {
	Result
	WorkflowID string        `json:"workflow_id"`
	RunID      string        `json:"run_id"`
	Settings   Settings      `json:"settings"` // of its miner, as the miner's workflow has them now; EpochDuration is 0 if that is not known
	Jobs       []OpenJob     `json:"jobs,omitempty"`
	JobsUnread bool          `json:"jobs_unread,omitempty"` // Temporal did not say at this look: that there are none says nothing
	Forecast   time.Duration `json:"forecast"`              // until its last proof will be made, from measured times; 0: not known, or all are made
	Left       time.Duration `json:"left"`                  // until they must be: Close less the reserve for submitting; negative: over
}

// OpenJob is a job's activity that is not finished.
type OpenJob struct {
	Partition uint64        `json:"partition"` // the first of those that are proven together, see PartitionResult.Lead
	Queue     string        `json:"queue"`
	Started   bool          `json:"started"`           // a worker has it; else it waits
	Attempt   int32         `json:"attempt"`           // Temporal's count
	Card      string        `json:"card,omitempty"`    // that works on it, as its heartbeat says
	Phase     Phase         `json:"phase,omitempty"`   // of its proof
	Seconds   float64       `json:"seconds,omitempty"` // since the card took it
	Left      time.Duration `json:"left"`              // until Temporal ends it
}

// ClosedDeadline is a deadline whose workflow has ended.
type ClosedDeadline struct {
	Result
	WorkflowID string    `json:"workflow_id"`
	RunID      string    `json:"run_id"`
	Status     string    `json:"status"` // Temporal's: Completed, Failed, Terminated, …
	ClosedAt   time.Time `json:"closed_at"`
	Fresh      bool      `json:"fresh"` // this watch sees it closed for the first time: once, for counters
}

// Stuck is jobs that wait for the same reason, and that nobody can take before that has changed.
type Stuck struct {
	Queue string   `json:"queue"` // on which they wait; QueueNobody if no known worker admits them
	Why   string   `json:"why"`   // what has to happen first
	Jobs  int      `json:"jobs"`
	First Deadline `json:"first"` // the most urgent one's deadline
}

// WorkerOutlook is a worker that Temporal keeps.
type WorkerOutlook struct {
	WorkerState
	Alive bool `json:"alive"` // its process sends heartbeats, or polls
}

// FailingWorkflow is a workflow that does not go on because its code fails: a workflow task that is tried again and again.
type FailingWorkflow struct {
	WorkflowID string    `json:"workflow_id"`
	RunID      string    `json:"run_id"`
	Type       string    `json:"type"`
	Attempt    int32     `json:"attempt"` // of its workflow task, from 1
	Since      time.Time `json:"since,omitzero"`
}

// MinerOutlook is how a miner is watched whose workflow runs, or has ended by itself or by Temporal's own commands.
type MinerOutlook struct {
	Miner   abi.ActorID `json:"miner"`
	Idle    bool        `json:"idle,omitempty"`    // it is paused or removed: no deadlines are to be issued
	Ended   string      `json:"ended,omitempty"`   // how its workflow did, Temporal's word (Failed, Terminated, …); empty: it runs
	EndedAt time.Time   `json:"ended_at,omitzero"` // when
	Taken   bool        `json:"taken"`             // a daemon has its WatchDeadlines
	Untaken bool        `json:"untaken,omitempty"` // its WatchDeadlines waits for a daemon; if it is not taken either, there is none
	Problem string      `json:"problem,omitempty"` // of the daemon that has it, or that had it last and failed
}

// Watched says whether deadlines are issued for the miner as they should be.
func (m MinerOutlook) Watched() bool { return m.Ended == "" && m.Taken && m.Problem == "" }

// NodeOutlook is how a daemon sees its node.
type NodeOutlook struct {
	Endpoint      string         `json:"endpoint"`
	Head          abi.ChainEpoch `json:"head"`
	At            time.Time      `json:"at,omitzero"`        // when that head was first seen; zero: none was seen yet
	Since         time.Time      `json:"since"`              // when this daemon began to look
	Timestamp     time.Time      `json:"timestamp,omitzero"` // of the head, where timestamps are real; zero: they are not, or not known
	EpochDuration time.Duration  `json:"epoch_duration"`     // 0: the node has not said yet
	Away          bool           `json:"away"`               // it does not answer now
	Why           string         `json:"why,omitempty"`      // it is away: the last error
	Refuses       bool           `json:"refuses,omitempty"`  // it is away because it does not accept the token

	// Nodes are all that the daemon has, in the order of preference, if there are several. The fields above are then of the one that is used.
	Nodes []NodeStanding `json:"nodes,omitempty"`
}

// NodeStanding is how one of a daemon's several nodes stands.
type NodeStanding struct {
	Endpoint string         `json:"endpoint"`
	Used     bool           `json:"used"`
	Verdict  string         `json:"verdict"`       // good, slow, behind, forked or down
	Why      string         `json:"why,omitempty"` // it is not good
	Head     abi.ChainEpoch `json:"head"`          // 0: none was seen
	Latency  time.Duration  `json:"latency"`       // of the question for its head
}

// Behind is how many epochs the node's head is behind, by the clock: since it came, or since its timestamp if that is more. A new head
// takes some seconds to arrive, so that 1 is usual.
func (n NodeOutlook) Behind(now time.Time) abi.ChainEpoch {
	epoch := n.EpochDuration
	if epoch <= 0 {
		epoch = usualEpoch
	}
	last := n.At
	if last.IsZero() {
		last = n.Since
	}
	if !n.Timestamp.IsZero() && n.Timestamp.Before(last) {
		last = n.Timestamp
	}
	return max(0, abi.ChainEpoch(now.Sub(last)/epoch))
}

// usualEpoch is how long an epoch is taken to be before the node has said so: on mainnet.
const usualEpoch = 30 * time.Second

// ProveBy is the epoch at which proofs must have been made: Close less the reserve for submitting.
func (d OpenDeadline) ProveBy() abi.ChainEpoch { return d.Deadline.Close - d.Settings.SubmitReserve }

// TimeGone is how much of the time for proving is over at an epoch: 0 at Challenge, 1 when proofs must have been made, and beyond.
func (d OpenDeadline) TimeGone(epoch abi.ChainEpoch) float64 {
	whole := d.ProveBy() - d.Deadline.Challenge
	if whole <= 0 {
		whole = 1
	}
	return max(0, float64(epoch-d.Deadline.Challenge)/float64(whole))
}

// Unbegun are the partitions that no card has begun to prove, as far as is known.
func (d OpenDeadline) Unbegun() []uint64 {
	var unbegun []uint64
	if d.JobsUnread {
		return nil
	}
	for _, p := range d.Partitions {
		begun := slices.ContainsFunc(d.Jobs, func(j OpenJob) bool { return j.Partition == p.Lead() && j.Started })
		if (p.State == StateWaiting || p.State == StateProving && p.Tries <= 1) && !begun {
			unbegun = append(unbegun, p.Index)
		}
	}
	return unbegun
}

// Unloaded says that its partitions have not been read from the chain yet.
func (d OpenDeadline) Unloaded() bool { return len(d.Partitions) == 0 && !d.State.Final() }

// Sending are the partitions whose message was asked for and has not landed, and how many epochs ago the first of them was.
func (d OpenDeadline) Sending(epoch abi.ChainEpoch) (partitions []uint64, longest abi.ChainEpoch) {
	for _, p := range d.Partitions {
		if p.State == StateSubmitting && p.Asked != 0 {
			partitions, longest = append(partitions, p.Index), max(longest, epoch-p.Asked)
		}
	}
	return partitions, longest
}

// CountSkipped is how many sectors are left out of the deadline's posts.
func (r Result) CountSkipped() (n int) {
	for _, p := range r.Partitions {
		n += p.CountSkipped()
	}
	return n
}

// In are the partitions that are in a state.
func (r Result) In(state State) []uint64 {
	var in []uint64
	for _, p := range r.Partitions {
		if p.State == state {
			in = append(in, p.Index)
		}
	}
	return in
}
