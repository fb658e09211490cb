package workers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// JobStory is a job with what its history tells: every attempt at its proof, and its sectors.
type JobStory struct {
	Job
	Attempts []Attempt       `json:"attempts"`
	Placed   []PlacedSector  `json:"sector_list"` // what it has to prove, with the stores that hold them
	LeftOut  []post.Skipped  `json:"skipped_sectors,omitempty"`
	Phases   post.PhaseTimes `json:"phases"` // of the proof that there is
}

// PlacedSector is a sector and where it was found.
type PlacedSector struct {
	Number   abi.SectorNumber `json:"number"`
	Store    string           `json:"store,omitempty"` // empty: no store has it, or it was not looked for yet
	Upgraded bool             `json:"upgraded,omitempty"`
}

// Attempt is one GenerateWindowPoSt activity, from when it was issued to how it ended.
type Attempt struct {
	Try     int       `json:"try"`
	Queue   string    `json:"queue"`
	Issued  time.Time `json:"issued"`
	Started time.Time `json:"started,omitzero"` // its last start: Temporal hands it over when a worker is lost
	Ended   time.Time `json:"ended,omitzero"`
	Starts  int32     `json:"starts,omitempty"`
	Worker  string    `json:"worker,omitempty"`
	Card    string    `json:"card,omitempty"`
	Outcome string    `json:"outcome,omitempty"` // empty while it goes on: proven, cancelled, timed out, or a post.Failure
	Error   string    `json:"error,omitempty"`   // whole
	Before  string    `json:"before,omitempty"`  // why it was started more than once
}

// ReadStories reads the histories of the jobs' workflows, one call a page and workflow.
func ReadStories(ctx context.Context, temporal client.Client, jobs []Job) ([]JobStory, error) {
	chapters := map[string]*chapter{}
	stories := make([]JobStory, len(jobs))
	for i, j := range jobs {
		run := j.WorkflowID + "/" + j.RunID
		if chapters[run] == nil {
			c, err := readChapter(ctx, temporal, j.WorkflowID, j.RunID)
			if err != nil {
				return nil, err
			}
			chapters[run] = c
		}
		stories[i] = chapters[run].of(j)
	}
	return stories, nil
}

// chapter is what one run of a deadline's workflow tells of its partitions.
type chapter struct {
	attempts   map[uint64][]*Attempt
	byEvent    map[int64]*Attempt      // of an activity's schedule
	lookups    map[int64]uint64        // partition of a lookup's schedule
	loads      map[int64]uint64        // and of a load's
	located    map[uint64]post.Located // as found last
	loaded     map[uint64]post.Sectors // as the chain has them
	proven     map[uint64]post.Proof   // the proof made last
	partitions map[int64][]uint64      // of an attempt's schedule
}

func readChapter(ctx context.Context, temporal client.Client, workflowID, runID string) (*chapter, error) {
	c := &chapter{
		attempts: map[uint64][]*Attempt{}, byEvent: map[int64]*Attempt{}, lookups: map[int64]uint64{}, loads: map[int64]uint64{},
		located: map[uint64]post.Located{}, loaded: map[uint64]post.Sectors{}, proven: map[uint64]post.Proof{}, partitions: map[int64][]uint64{},
	}
	events := temporal.GetWorkflowHistory(ctx, workflowID, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, fmt.Errorf("reading the history of %s: %w", workflowID, err)
		}
		c.read(event)
	}
	return c, nil
}

// decode reads payloads that are ours; what cannot be read (another version's) is as good as not there.
func decode(payloads *commonpb.Payloads, into any) bool {
	return converter.GetDefaultDataConverter().FromPayloads(payloads, into) == nil
}

// read takes one event.
func (c *chapter) read(event *historypb.HistoryEvent) {
	at := event.GetEventTime().AsTime()
	switch event.GetEventType() {
	case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		c.scheduled(event.GetEventId(), at, event.GetActivityTaskScheduledEventAttributes())
	case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED:
		e := event.GetActivityTaskStartedEventAttributes()
		if a := c.byEvent[e.GetScheduledEventId()]; a != nil {
			a.Started, a.Starts, a.Worker, a.Before = at, e.GetAttempt(), workerName(e.GetIdentity()), failureText(e.GetLastFailure())
		}
	case enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		e := event.GetActivityTaskCompletedEventAttributes()
		c.completed(e.GetScheduledEventId(), at, e.GetResult())
	case enums.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		e := event.GetActivityTaskFailedEventAttributes()
		c.ended(e.GetScheduledEventId(), at, "", e.GetFailure())
	case enums.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		e := event.GetActivityTaskTimedOutEventAttributes()
		c.ended(e.GetScheduledEventId(), at, "timed out", e.GetFailure())
	case enums.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
		e := event.GetActivityTaskCancelRequestedEventAttributes()
		c.ended(e.GetScheduledEventId(), at, "cancelled", nil)
	}
}

func (c *chapter) scheduled(id int64, at time.Time, e *historypb.ActivityTaskScheduledEventAttributes) {
	switch e.GetActivityType().GetName() {
	case workflows.ActivityGenerateWindowPoSt:
		var job post.Job
		if !decode(e.GetInput(), &job) || len(job.Partitions) == 0 {
			return
		}
		a := &Attempt{Try: job.Try, Queue: e.GetTaskQueue().GetName(), Issued: at}
		c.byEvent[id], c.partitions[id] = a, job.Partitions
		for _, p := range job.Partitions {
			c.attempts[p] = append(c.attempts[p], a)
		}
	case workflows.ActivityLookupSectors:
		if in := (workflows.PartitionInput{}); decode(e.GetInput(), &in) {
			c.lookups[id] = in.Partition
		}
	case workflows.ActivityLoadPartition:
		if in := (workflows.PartitionInput{}); decode(e.GetInput(), &in) {
			c.loads[id] = in.Partition
		}
	}
}

// completed takes what an activity gave.
func (c *chapter) completed(id int64, at time.Time, result *commonpb.Payloads) {
	if p, ok := c.lookups[id]; ok {
		if located := (post.Located{}); decode(result, &located) {
			c.located[p] = located
		}
	}
	if p, ok := c.loads[id]; ok {
		if sectors := (post.Sectors{}); decode(result, &sectors) {
			c.loaded[p] = sectors
		}
	}
	if a := c.byEvent[id]; a != nil {
		a.Ended, a.Outcome = at, "proven"
		var proof post.Proof
		if decode(result, &proof) {
			a.Card = proof.Card
			for _, p := range c.partitions[id] {
				c.proven[p] = proof
			}
		}
	}
}

// ended takes how an attempt ended without a proof. One that was cancelled ends once more when its worker has heard of it.
func (c *chapter) ended(id int64, at time.Time, outcome string, f *failurepb.Failure) {
	a := c.byEvent[id]
	if a == nil || !a.Ended.IsZero() {
		return
	}
	a.Ended, a.Outcome, a.Error = at, outcome, failureText(f)
	if application := f.GetApplicationFailureInfo(); application != nil {
		a.Outcome = application.GetType()
		decode(application.GetDetails(), &a.Card) // not every failure has a card
	}
}

// failureText is a failure with what caused it.
func failureText(f *failurepb.Failure) string {
	var lines []string
	for ; f != nil; f = f.GetCause() {
		if text := f.GetMessage(); text != "" && !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, text) }) {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, ": ")
}

// of is the story of one job. A deadline whose partitions are not known has none.
func (c *chapter) of(j Job) JobStory {
	s := JobStory{Job: j, Attempts: []Attempt{}, Placed: []PlacedSector{}}
	if j.ID.Whole {
		return s
	}
	p := j.ID.Partition
	for _, a := range c.attempts[p] {
		s.Attempts = append(s.Attempts, *a)
	}
	if n := len(s.Attempts); n > 0 && s.Attempts[n-1].Ended.IsZero() {
		// Temporal writes down that an attempt began when it ends.
		last := &s.Attempts[n-1]
		last.Started, last.Worker, last.Card, last.Starts = j.Started, j.Worker, j.Card, j.Attempt
		if j.State != JobRunning {
			last.Started = time.Time{}
		}
	}
	located := c.located[p]
	for _, sector := range placed(c.loaded[p], located.Sectors) {
		s.Placed = append(s.Placed, PlacedSector{Number: sector.Number, Store: sector.Store, Upgraded: sector.Upgraded})
	}
	proof, proven := c.proven[p]
	s.LeftOut = slices.Clone(located.Missing)
	if proven {
		for _, skipped := range proof.Skipped {
			if len(c.loaded[p]) == 0 || len(c.loaded[p].Among([]abi.SectorNumber{skipped.Sector})) > 0 { // not another partition's of the job
				s.LeftOut = append(s.LeftOut, skipped)
			}
		}
		s.Phases = proof.Phases
	}
	slices.SortFunc(s.LeftOut, func(a, b post.Skipped) int { return cmp.Compare(a.Sector, b.Sector) })
	return s
}

// placed are all sectors of a partition, with the stores of those that were found.
func placed(all, found post.Sectors) post.Sectors {
	have := map[abi.SectorNumber]bool{}
	for _, s := range found {
		have[s.Number] = true
	}
	sectors := slices.Clone(found)
	for _, s := range all {
		if !have[s.Number] {
			sectors = append(sectors, s)
		}
	}
	return sectors.Sort()
}
