package post

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/filecoin-project/go-state-types/abi"
)

// JobID names a job, which is the proof of one partition of one deadline, or all jobs of a deadline. It stays the same through tries,
// resets and runs of the deadline's workflow.
type JobID struct {
	Miner       abi.ActorID
	PeriodStart abi.ChainEpoch
	Index       uint64 // of the deadline
	Partition   uint64
	Whole       bool // all of the deadline's jobs; Partition means nothing
}

// JobID is the ID of the job of one of the deadline's partitions.
func (d Deadline) JobID(partition uint64) JobID {
	return JobID{Miner: d.Miner, PeriodStart: d.PeriodStart, Index: d.Index, Partition: partition}
}

// JobIDs is the ID of all the deadline's jobs.
func (d Deadline) JobIDs() JobID {
	return JobID{Miner: d.Miner, PeriodStart: d.PeriodStart, Index: d.Index, Whole: true}
}

// String is how people write it: f01000-2880-7-0, and f01000-2880-7 for all jobs of the deadline.
func (j JobID) String() string {
	s := fmt.Sprintf("%s-%d-%d", MinerName(j.Miner), j.PeriodStart, j.Index)
	if j.Whole {
		return s
	}
	return s + "-" + strconv.FormatUint(j.Partition, 10)
}

// MarshalText is String, so that JSON has what people write.
func (j JobID) MarshalText() ([]byte, error) { return []byte(j.String()), nil }

// UnmarshalText is ParseJobID.
func (j *JobID) UnmarshalText(text []byte) (err error) {
	*j, err = ParseJobID(string(text))
	return err
}

// WorkflowID names the workflow of the job's deadline.
func (j JobID) WorkflowID() string {
	return Deadline{Miner: j.Miner, PeriodStart: j.PeriodStart, Index: j.Index}.WorkflowID()
}

// jobID has a period start that may be negative, near genesis.
var jobID = regexp.MustCompile(`^(?:wdpost-)?([ft]0[0-9]+)-(-?[0-9]+)-([0-9]+)(?:-([0-9]+))?$`)

// ParseJobID reads a job's ID, or that of a deadline or of its workflow, which stand for all the deadline's jobs.
func ParseJobID(s string) (JobID, error) {
	bad := func() (JobID, error) {
		return JobID{}, fmt.Errorf("%q is not a job's ID; one looks like f01000-2880-7-0 (miner, period start, deadline, partition), and `posthaste wdpost list` shows them", s)
	}
	parts := jobID.FindStringSubmatch(s)
	if parts == nil {
		return bad()
	}
	miner, err1 := ParseMiner(parts[1])
	start, err2 := strconv.ParseInt(parts[2], 10, 64)
	index, err3 := strconv.ParseUint(parts[3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return bad()
	}
	id := JobID{Miner: miner, PeriodStart: abi.ChainEpoch(start), Index: index, Whole: parts[4] == ""}
	if !id.Whole {
		var err error
		if id.Partition, err = strconv.ParseUint(parts[4], 10, 64); err != nil {
			return bad()
		}
	}
	return id, nil
}
