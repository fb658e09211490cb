package workers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"

	"posthaste/activities"
	"posthaste/post"
)

// States of a job, as those know them who have run damocles.
const (
	JobReady   = "ReadyToRun" // no card has begun
	JobRunning = "Running"    // a card works on it
	JobSucceed = "Succeed"    // proven; its stage says how far it is to the chain
	JobFaults  = "Faults"     // proven without some of its sectors: Faults(3)
	JobFailed  = "Failed"     // out of tries, or ended before it was seen through
	JobMissed  = "Missed"     // not on the chain at Close
)

// JobStates are all of them, as one asks for them.
var JobStates = []string{JobReady, JobRunning, JobSucceed, JobFaults, JobFailed, JobMissed}

// Job is the proof of one partition as people see it: a line of a list. Times and counts that are not known are zero.
type Job struct {
	ID       post.JobID    `json:"id"` // of the whole deadline while its partitions are not known
	Miner    string        `json:"miner"`
	Deadline post.Deadline `json:"deadline"`
	State    string        `json:"state"` // one of JobStates; Faults with the number of skipped sectors: Faults(3)
	Stage    post.State    `json:"stage"` // how far it is, in our own words
	Sectors  int           `json:"sectors"`
	Skipped  int           `json:"skipped,omitempty"` // sectors left out of the proof
	With     []uint64      `json:"with,omitempty"`    // the deadline's other partitions that are proven and sent with it

	Worker  string     `json:"worker,omitempty"`
	Card    string     `json:"card,omitempty"`  // worker/card that works on it, or has proven it
	Phase   post.Phase `json:"phase,omitempty"` // of what runs
	Done    int        `json:"done,omitempty"`  // sectors read, in the phase that reads them
	Of      int        `json:"of,omitempty"`
	Try     int        `json:"try"`               // counted tries, by the workflow
	MaxTry  int        `json:"max_try,omitempty"` // after so many it is listed as Failed
	Attempt int32      `json:"attempt,omitempty"` // Temporal's count of what runs, of lost workers and hand-overs too

	Created   time.Time `json:"created,omitzero"`   // its first try was issued, or its deadline's workflow began
	Started   time.Time `json:"started,omitzero"`   // a card began; of one that is proven by the times of its phases
	Heartbeat time.Time `json:"heartbeat,omitzero"` // of the card's worker
	Finished  time.Time `json:"finished,omitzero"`  // it was proven
	Updated   time.Time `json:"updated,omitzero"`   // anything in its deadline's memo changed
	Elapsed   float64   `json:"elapsed_seconds,omitempty"`

	EpochsLeft *int64 `json:"epochs_left,omitempty"` // until Close; missing: the chain's head is not known

	Queue   string         `json:"queue,omitempty"`
	Waits   string         `json:"waits,omitempty"` // nobody can take it now; what has to happen first
	Message string         `json:"message,omitempty"`
	Asked   abi.ChainEpoch `json:"asked,omitempty"`  // the epoch from which on the sender, who has it, is to send it
	Landed  abi.ChainEpoch `json:"landed,omitempty"` // the epoch of the tipset that has it
	Error   string         `json:"error,omitempty"`
	Note    string         `json:"note,omitempty"` // what there is to say of one that is well

	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	Status     string `json:"status"` // Temporal's, of the workflow: Running, Completed, Failed, Terminated, …
}

// Is says whether the job is in a state of JobStates, or at a stage.
func (j Job) Is(state string) bool {
	bare, _, _ := strings.Cut(j.State, "(")
	return strings.EqualFold(bare, state) || strings.EqualFold(string(j.Stage), state)
}

// Unsettled says whether the job is not over, or ended badly: what is shown to people who have not asked for everything.
func (j Job) Unsettled() bool { return j.Stage != post.StatePosted }

// Open says whether the job can still get onto the chain, as far as that is known.
func (j Job) Open() bool { return j.EpochsLeft == nil || *j.EpochsLeft > 0 }

// OutOfTries says whether the next counted failure finds it at the limit, or the last one did. What is proven needs none.
func (j Job) OutOfTries() bool {
	switch j.Stage {
	case post.StateFailed:
		return j.Status == running || j.atLimit()
	case post.StateWaiting, post.StateProving, post.StateMissed:
		return j.atLimit()
	}
	return false
}

func (j Job) atLimit() bool { return j.MaxTry > 0 && j.Try >= j.MaxTry }

// running is Temporal's status of a workflow that does.
var running = enums.WORKFLOW_EXECUTION_STATUS_RUNNING.String()

// JobsOf are the jobs of a deadline. One whose partitions are not known yet is a line by itself; partitions without anything to
// prove are none. maxTry is the miner's, 0 if it is not known.
func JobsOf(row Row, head Head, maxTry int, now time.Time) []Job {
	d := row.Board.Deadline
	base := Job{
		ID: d.JobIDs(), Miner: post.MinerName(d.Miner), Deadline: d, Stage: row.Board.State, MaxTry: maxTry, Created: row.Started,
		WorkflowID: row.WorkflowID, RunID: row.RunID, Status: row.Status, Error: cmp.Or(row.trouble(), row.Board.Reason),
	}
	if head.Known() && d.Close != 0 {
		left := int64(d.Close - head.When(now))
		base.EpochsLeft = &left
	}
	if len(row.Board.Partitions) == 0 {
		if base.Stage == post.StateNothing {
			return nil
		}
		base.State = stateOf(base.Stage, 0, row, nil)
		return []Job{base}
	}
	var jobs []Job
	for _, p := range row.Board.Partitions {
		if p.State != post.StateNothing {
			jobs = append(jobs, base.of(p, row, now))
		}
	}
	return jobs
}

// of is the job of a partition, where j has what all jobs of the deadline have.
func (j Job) of(p post.PartitionResult, row Row, now time.Time) Job {
	run := row.runningJob(p.Lead())
	j.With = p.With
	j.ID, j.Stage, j.Sectors, j.Skipped, j.Try = j.Deadline.JobID(p.Index), p.State, p.Sectors, p.CountSkipped(), p.Tries
	j.State = stateOf(p.State, j.Skipped, row, run)
	if !p.Issued.IsZero() {
		j.Created = p.Issued
	}
	j.Queue, j.Waits, j.Message, j.Asked, j.Landed = p.Queue, p.Waits, p.Message, p.Asked, p.Landed
	j.Finished, j.Updated, j.Card = p.Proven, p.Updated, p.Card
	spent := p.Phases.Wait + p.Phases.Vanilla + p.Phases.Snark + p.Phases.Verify
	switch {
	case run != nil && p.State == post.StateProving:
		j.take(*run, now)
	case !p.Proven.IsZero() && spent > 0:
		j.Started, j.Elapsed = p.Proven.Add(-spent), spent.Seconds()
	}
	j.Worker, _, _ = strings.Cut(cmp.Or(j.Card, j.Worker), "/")
	last := ""
	if run != nil {
		last = run.LastError
	}
	if p.State == post.StatePosted {
		j.Error, j.Note = "", p.Reason
		return j
	}
	j.Error = cmp.Or(row.trouble(), last, p.Reason, row.Board.Reason)
	return j
}

// take adds what Temporal says of the activity that makes the proof.
func (j *Job) take(run RunningJob, now time.Time) {
	j.Attempt = run.Attempt
	if run.Paused {
		j.Waits = "its activity is paused; `temporal activity unpause` lets it go on"
	}
	j.Card = "" // of an earlier proof
	if !run.Started {
		return
	}
	j.Worker, j.Card, j.Phase, j.Done, j.Of = workerName(run.Worker), run.Progress.Card, run.Progress.Phase, run.Progress.Done, run.Progress.Of
	j.Heartbeat, j.Started = run.Heartbeat, run.Since
	if !run.Since.IsZero() {
		j.Elapsed = max(now.Sub(run.Since), 0).Seconds()
	}
}

// workerName is the name in the identity of a worker's process: w1 of "worker w1@4711-9f3a2c".
func workerName(identity string) string {
	name, found := strings.CutPrefix(identity, "worker ")
	if at := strings.LastIndexByte(name, '@'); found && at >= 0 {
		return name[:at]
	}
	return identity
}

// stateOf says a job's stage in the words of JobStates.
func stateOf(stage post.State, skipped int, row Row, run *RunningJob) string {
	switch {
	case stage == post.StateMissed:
		return JobMissed
	case stage == post.StateFailed, row.Status != running && !stage.Final():
		return JobFailed // a run that is over does nothing more for what it left
	case stage == post.StateProving && run != nil && run.Started:
		return JobRunning
	case stage == post.StateWaiting, stage == post.StateProving:
		return JobReady
	case skipped > 0:
		return fmt.Sprintf("%s(%d)", JobFaults, skipped)
	}
	return JobSucceed
}

// trouble is what is wrong with the workflow itself.
func (r Row) trouble() string {
	switch {
	case r.Status == running && r.TaskAttempt > activities.PatientAttempts:
		return fmt.Sprintf("its workflow does not get on: its workflow task is at attempt %d; look at it in the Web UI, and whether all daemons are of one version", r.TaskAttempt)
	case r.Status == running, r.Board.State.Final():
		return ""
	}
	return fmt.Sprintf("its workflow was ended (%s) before the deadline was over", r.Status)
}

// runningJob is the activity that makes a partition's proof. One that was cancelled may still be there beside the next.
func (r Row) runningJob(partition uint64) *RunningJob {
	for _, started := range []bool{true, false} {
		for _, j := range slices.Backward(r.Jobs) {
			if j.Partition == partition && j.Started == started {
				return &j
			}
		}
	}
	return nil
}
