package workers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

const (
	// surveyTakenWithin is how long a survey waits for a daemon to take it, which takes one that is there some milliseconds.
	surveyTakenWithin = 8 * time.Second
	// learnFrom is how far back proofs are looked for that forecasts learn from: every partition is proven once a day.
	learnFrom = 26 * time.Hour
)

// RunSurvey asks a daemon how a miner's deadlines stand on the chain. Without one it fails with ErrNoDaemon after seconds, and leaves
// nothing behind.
func RunSurvey(ctx context.Context, c client.Client, in workflows.SurveyInput) (survey post.Survey, err error) {
	name := post.MinerName(in.Miner)
	limited, cancel := context.WithTimeout(ctx, workflows.SurveyWithin)
	defer cancel()
	run, err := c.ExecuteWorkflow(limited, client.StartWorkflowOptions{
		ID: fmt.Sprintf("survey-%s-%08x", name, rand.Uint32()), TaskQueue: workflows.QueueChain,
		WorkflowExecutionTimeout: workflows.SurveyWithin, StaticSummary: "somebody looks at the deadlines of " + name,
	}, workflows.NameSurveyWorkflow, in)
	if err != nil {
		return survey, fmt.Errorf("starting a survey of %s: %w", name, err)
	}
	soon, stop := context.WithTimeout(limited, surveyTakenWithin)
	defer stop()
	err = run.Get(soon, &survey)
	if err != nil && ctx.Err() == nil && tookTooLong(soon, err) {
		if err = taken(limited, c, run); err == nil {
			err = run.Get(limited, &survey)
		}
	}
	var failed *temporal.ApplicationError
	switch {
	case err == nil:
		return survey, nil
	case errors.As(err, &failed):
		return survey, errors.New(failed.Message())
	}
	// Nobody waits for it any more. That it has ended by itself meanwhile is as good.
	ending, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	_ = c.TerminateWorkflow(ending, run.GetID(), run.GetRunID(), "nobody waits for it any more")
	return survey, fmt.Errorf("surveying %s: %w", name, err)
}

// taken says whether a daemon has begun with a workflow; ErrNoDaemon: none has.
func taken(ctx context.Context, c client.Client, run client.WorkflowRun) error {
	described, err := c.DescribeWorkflowExecution(ctx, run.GetID(), run.GetRunID())
	if err != nil {
		return err
	}
	running := described.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	begun := len(described.GetPendingActivities()) > 0
	if running && !begun {
		return ErrNoDaemon
	}
	return nil
}

// MinerDeadlines is a miner's deadlines, as the chain has them and as Temporal has them.
type MinerDeadlines struct {
	Miner     string         `json:"miner"`
	State     string         `json:"state"` // of the miner: Watching, Paused or Removed
	Head      abi.ChainEpoch `json:"head"`
	At        time.Time      `json:"at"` // when the chain was there
	Epoch     time.Duration  `json:"epoch_duration"`
	Places    int            `json:"places"` // proofs at once on live cards that may take its jobs
	Problem   string         `json:"problem,omitempty"`
	Deadlines []DeadlineView `json:"deadlines"` // by index: those of this proving period, or the next where that has begun for it
}

// DeadlineView is one deadline of a miner.
type DeadlineView struct {
	Index       uint64           `json:"index"`
	Current     bool             `json:"current"` // it is open now
	PeriodStart abi.ChainEpoch   `json:"period_start"`
	Challenge   abi.ChainEpoch   `json:"challenge"`
	Open        abi.ChainEpoch   `json:"open"`
	Close       abi.ChainEpoch   `json:"close"`
	OpenAt      time.Time        `json:"open_at"`
	CloseAt     time.Time        `json:"close_at"`
	Partitions  []post.Partition `json:"partitions"` // Posted also by what our workflow knows
	Sectors     uint64           `json:"sectors"`    // live ones
	ToProve     uint64           `json:"to_prove"`   // sectors
	Faulty      uint64           `json:"faulty"`
	Recovering  uint64           `json:"recovering"`
	Due         int              `json:"due"`              // partitions with something to prove
	Posted      int              `json:"posted"`           // of these
	State       post.State       `json:"state,omitempty"`  // of its workflow; empty: there is none, or it is forgotten
	Status      string           `json:"status,omitempty"` // Temporal's: Running, Completed, …
	WorkflowID  string           `json:"workflow_id"`      // whether or not there is one
	// Forecast is how long until its last proof is made, or how long its proofs take, if it is not challenged yet. Unproven says how many there
	// are to make; Known whether the forecast is.
	Forecast time.Duration `json:"forecast"`
	Known    bool          `json:"forecast_known"`
	Unproven int           `json:"unproven"`
	Left     time.Duration `json:"left"` // for them: from now, or from its challenge, until they must be made
}

// Late says that its proofs are not made in time if all goes on as forecast.
func (d DeadlineView) Late() bool { return d.Unproven > 0 && d.Known && d.Forecast > d.Left }

// RecentBoard is what Temporal knows of all miners' deadlines of the last day: how they stand, and how long their proofs took.
func RecentBoard(ctx context.Context, c client.Client, now time.Time) ([]Row, error) {
	return ReadBoard(ctx, c, fmt.Sprintf("ExecutionStatus = 'Running' OR StartTime > '%s'", now.Add(-learnFrom).UTC().Format(time.RFC3339)))
}

// ReadDeadlines asks a daemon how a miner's deadlines stand on the chain, and adds what the recent board says of them.
func ReadDeadlines(ctx context.Context, c client.Client, m workflows.MinerState, board []Row) (MinerDeadlines, error) {
	survey, err := RunSurvey(ctx, c, workflows.SurveyInput{Miner: m.Miner, Pool: m.Settings.Pool})
	if err != nil {
		return MinerDeadlines{}, err
	}
	return viewDeadlines(survey, m, slices.Clone(board)), nil
}

// viewDeadlines puts a survey and workflows together.
func viewDeadlines(s post.Survey, m workflows.MinerState, rows []Row) MinerDeadlines {
	out := MinerDeadlines{Miner: post.MinerName(s.Miner), State: m.State(), Head: s.Head, At: s.At, Epoch: s.EpochDuration, Places: s.Places, Problem: s.Problem}
	var times post.Times
	latest := map[string]Row{}
	slices.SortStableFunc(rows, func(a, b Row) int { return a.Started.Compare(b.Started) })
	for _, row := range rows {
		latest[row.WorkflowID] = row
		for _, p := range row.Board.Partitions {
			at := p.Proven
			if at.IsZero() {
				at = row.Started
			}
			if p.Index == p.Lead() { // of several that were proven together one stands for all
				times.Learn(row.Board.Size, row.Board.JobSectors(p), p.Phases, at)
			}
		}
	}
	for _, d := range s.Deadlines {
		out.Deadlines = append(out.Deadlines, viewDeadline(s, d, m.Settings, latest[d.WorkflowID()], &times))
	}
	return out
}

func viewDeadline(s post.Survey, d post.SurveyedDeadline, settings post.Settings, row Row, times *post.Times) DeadlineView {
	v := DeadlineView{
		Index: d.Index, Current: d.Open <= s.Head && s.Head < d.Close, PeriodStart: d.PeriodStart, Challenge: d.Challenge, Open: d.Open, Close: d.Close,
		OpenAt: s.When(d.Open), CloseAt: s.When(d.Close), WorkflowID: d.WorkflowID(), Status: row.Status, State: row.Board.State,
		Partitions: slices.Clone(d.Partitions),
	}
	v.Sectors = d.Count(func(p post.Partition) uint64 { return p.Live })
	v.ToProve = d.Count(func(p post.Partition) uint64 { return p.ToProve })
	v.Faulty = d.Count(func(p post.Partition) uint64 { return p.Faulty })
	v.Recovering = d.Count(func(p post.Partition) uint64 { return p.Recovering })
	var proofs []post.ToMake
	for i := range v.Partitions {
		p := &v.Partitions[i]
		state := boardState(row, p.Index)
		p.Posted = p.Posted && v.Current || state == post.StatePosted || state == post.StateLanded
		if p.ToProve > 0 || p.Posted || state == post.StateMissed { // the sectors of one that was missed are faulty now
			v.Due++
		}
		if p.Posted {
			v.Posted++
		}
		if p.ToProve > 0 && !p.Posted && (state == "" || state == post.StateWaiting || state == post.StateProving || state == post.StateFailed) {
			proofs = append(proofs, toMake(*p, row, times.Proof(s.Size, int(p.ToProve))))
		}
	}
	if s.Head >= d.Close || len(proofs) == 0 {
		return v // nothing is left to be made
	}
	v.Unproven = len(proofs)
	v.Forecast, v.Known = post.Forecast(proofs, s.Places)
	v.Left = post.Until(max(s.Head, d.Challenge+settings.ChallengeConfidence), d.Close-settings.SubmitReserve, s.EpochDuration)
	return v
}

// boardState is how a partition stands in its deadline's workflow; empty: there is none.
func boardState(row Row, partition uint64) post.State {
	for _, p := range row.Board.Partitions {
		if p.Index == partition {
			return p.State
		}
	}
	return ""
}

// leadOf is the partition that names the job which a partition is in.
func leadOf(row Row, partition uint64) uint64 {
	for _, p := range row.Board.Partitions {
		if p.Index == partition {
			return p.Lead()
		}
	}
	return partition
}

// toMake is a partition's proof that has still to be made.
func toMake(p post.Partition, row Row, takes time.Duration) post.ToMake {
	proof := post.ToMake{Takes: takes}
	for _, job := range row.Jobs {
		if job.Partition == leadOf(row, p.Index) && job.Started && job.Progress.Card != "" {
			proof.Running, proof.Spent = true, time.Duration(job.Progress.Seconds*float64(time.Second))
		}
	}
	return proof
}
