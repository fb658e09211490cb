package workers

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"posthaste/activities"
	"posthaste/post"
)

// JobQuery says which jobs are wanted.
type JobQuery struct {
	All      bool         // also what is posted, and what ended badly more than a day ago, as long as Temporal keeps it
	Miner    *abi.ActorID // nil: every one
	Deadline *uint64      // its index; nil: every one
	State    string       // one of JobStates, or a stage; empty: every one
	Of       []post.JobID // nil: every one; else all jobs of the deadlines of these, in whatever state
}

// Filter is the query for visibility. The miner is looked for in the workflow's ID, which a server knows that has not been told of our
// search attributes, too.
func (q JobQuery) Filter(now time.Time) string {
	var parts []string
	switch {
	case len(q.Of) > 0:
		ids := make([]string, len(q.Of))
		for i, id := range q.Of {
			ids[i] = "'" + id.WorkflowID() + "'"
		}
		slices.Sort(ids)
		parts = append(parts, "WorkflowId IN ("+strings.Join(slices.Compact(ids), ", ")+")")
	case !q.All && !q.settledToo():
		parts = append(parts, "("+QueryUnsettled(now)+")")
	}
	if q.Miner != nil {
		prefix := post.Deadline{Miner: *q.Miner}.WorkflowID()
		parts = append(parts, fmt.Sprintf("WorkflowId STARTS_WITH '%s'", strings.TrimSuffix(prefix, "0-0")))
	}
	return strings.Join(parts, " AND ")
}

// settledToo says that the state asked for is one of those that are otherwise not shown.
func (q JobQuery) settledToo() bool {
	for _, state := range []string{JobSucceed, JobFaults, string(post.StatePosted)} {
		if strings.EqualFold(q.State, state) {
			return true
		}
	}
	return false
}

// wants says whether a job is among those that are asked for.
func (q JobQuery) wants(j Job) bool {
	if len(q.Of) > 0 {
		return true
	}
	return (q.Miner == nil || j.Deadline.Miner == *q.Miner) && (q.Deadline == nil || j.Deadline.Index == *q.Deadline) &&
		(q.State == "" || j.Is(q.State)) && (q.All || q.State != "" || j.Unsettled())
}

// JobReader reads jobs again and again, and asks the server for no more than it needs to.
type JobReader struct {
	temporal client.Client
	known    map[string]knownRow // by run
}

// knownRow is a deadline as it was described.
type knownRow struct {
	row    Row
	at     time.Time
	listed Row // what visibility said of it then
}

// NewJobReader reads with a client, from visibility and Describe alone: no daemon has to run.
func NewJobReader(temporal client.Client) *JobReader {
	return &JobReader{temporal: temporal, known: map[string]knownRow{}}
}

// JobList is what there is to see at one moment.
type JobList struct {
	Jobs   []Job // the earliest Close first
	Head   Head
	Miners map[abi.ActorID]Watched // those whose workflows run
}

// ReadJobs reads once.
func ReadJobs(ctx context.Context, temporal client.Client, q JobQuery) (JobList, error) {
	return NewJobReader(temporal).Read(ctx, q)
}

// Read gives the jobs that are asked for. A deadline counts with its latest run.
func (r *JobReader) Read(ctx context.Context, q JobQuery) (JobList, error) {
	watched, err := ReadWatched(ctx, r.temporal)
	if err != nil {
		return JobList{}, err
	}
	list := JobList{Miners: map[abi.ActorID]Watched{}}
	for _, m := range watched {
		list.Miners[m.Miner] = m
	}
	if list.Head, err = ReadHead(ctx, r.temporal, watched); err != nil {
		return JobList{}, err
	}
	now := time.Now()
	rows, err := ListBoard(ctx, r.temporal, q.Filter(now))
	if err != nil {
		return JobList{}, err
	}
	rows = latestRuns(rows)
	if q.Deadline != nil {
		rows = slices.DeleteFunc(rows, func(row Row) bool { return row.Board.Deadline.Index != *q.Deadline })
	}
	if err := r.describe(ctx, rows, now); err != nil {
		return JobList{}, err
	}
	for _, row := range rows {
		for _, j := range JobsOf(row, list.Head, list.Miners[row.Board.Deadline.Miner].Settings.MaxTry, now) {
			if q.wants(j) {
				list.Jobs = append(list.Jobs, j)
			}
		}
	}
	return list, nil
}

// latestRuns leaves out runs that another one of the same workflow came after.
func latestRuns(rows []Row) []Row {
	latest := map[string]time.Time{}
	for _, row := range rows {
		if at := latest[row.WorkflowID]; row.Started.After(at) {
			latest[row.WorkflowID] = row.Started
		}
	}
	return slices.DeleteFunc(rows, func(row Row) bool { return row.Started.Before(latest[row.WorkflowID]) })
}

// describeMore is how many deadlines are described again at each reading of which nothing tells that anything has changed: with 500 of
// them, a job is seen to start after a minute at the latest, and a Describe costs the server half a millisecond.
const describeMore = 100

// describe adds what visibility does not say: the activities of what runs, and whether what ended badly was begun again since. What is
// described anew is what shows another state than before, what cards work on, and of the rest what was not looked at for longest.
func (r *JobReader) describe(ctx context.Context, rows []Row, now time.Time) error {
	r.forget(rows)
	var first, later []int
	for i, row := range rows {
		known, ok := r.known[row.RunID]
		switch {
		case row.Status == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED.String():
		case !ok || !reflect.DeepEqual(known.listed, row) || known.row.beingProven():
			first = append(first, i)
		default:
			later = append(later, i)
		}
	}
	slices.SortStableFunc(later, func(a, b int) int { return r.known[rows[a].RunID].at.Compare(r.known[rows[b].RunID].at) })
	cut := min(describeMore, len(later))
	for _, i := range later[cut:] {
		rows[i] = r.known[rows[i].RunID].row
	}
	return r.describeThese(ctx, rows, append(first, later[:cut]...), now)
}

// forget drops what is listed no more.
func (r *JobReader) forget(rows []Row) {
	listed := map[string]bool{}
	for _, row := range rows {
		listed[row.RunID] = true
	}
	maps.DeleteFunc(r.known, func(run string, _ knownRow) bool { return !listed[run] })
}

// describeThese describes some of the rows.
func (r *JobReader) describeThese(ctx context.Context, rows []Row, which []int, now time.Time) error {
	fresh := make([]knownRow, len(which))
	failed := activities.SideBySide(len(which), func(n int) error {
		row := &rows[which[n]]
		listed := *row
		if err := describe(ctx, r.temporal, row, ""); err != nil {
			return err // it is described at the next reading, before others
		}
		fresh[n] = knownRow{listed: listed, row: *row, at: now}
		return nil
	})
	for _, known := range fresh {
		if !known.at.IsZero() {
			r.known[known.listed.RunID] = known
		}
	}
	return failed
}

// beingProven says whether a card works on any of the deadline's jobs.
func (r Row) beingProven() bool {
	return slices.ContainsFunc(r.Jobs, func(j RunningJob) bool { return j.Started })
}
