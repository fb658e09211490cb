package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// Outlooks reads what alerts and the board's metrics are judged by. All of it is Temporal's knowledge but the node and the daemon's
// stores. Where the same process balances the fleet, the reading of that is used.
type Outlooks struct {
	Balance  *Balance
	Temporal BalanceSource
	Node     func() post.NodeOutlook
	Stores   func() []post.LostStore // of this daemon; nil: it has none
	Log      *slog.Logger
	Closed   time.Duration // how long ago a deadline's workflow may have ended to be of interest; 0 means an hour

	miners     map[abi.ActorID]post.Settings     // as their workflows have them
	askedAt    time.Time                         // when those, and all workflows' tasks, were read last
	failing    []post.FailingWorkflow            // among the workflows that have no job
	watched    []post.MinerOutlook               // how miners are watched
	recoveries []post.RecoveryState              // how their faulty sectors stand
	lost       map[abi.ActorID]post.MinerOutlook // miners whose workflows have ended; nil before the first look
	ended      map[string]post.ClosedDeadline    // runs of deadlines that were seen closed; nil before the first look
	endedAt    time.Time                         // when those were listed last
}

const (
	// shareFor is how old a reading of the balance may be. It looks every 5 s.
	shareFor = 7 * time.Second
	// askEvery is how often is read what changes rarely, or is not urgent: miners' settings, and the tasks of workflows without jobs.
	askEvery = 30 * time.Second
	// closedFor is how long ago a deadline may have ended unless configured otherwise: nobody may have watched for a while.
	closedFor = time.Hour
	// listedWithin is how late visibility may list that a workflow has ended: of what ended before that, a look remembers what it has seen. With 500
	// deadlines there are a thousand in an hour, each with its board.
	listedWithin = 10 * time.Minute
)

// Read makes an outlook of now. An error says that nothing can be judged; what could not be read otherwise is the outlook's Problem.
func (l *Outlooks) Read(ctx context.Context) (post.Outlook, error) {
	read, shared := l.Balance.recent(shareFor)
	if !shared {
		var err error
		if read, err = l.Balance.read(ctx); err != nil {
			return post.Outlook{}, err
		}
	}
	o := post.Outlook{At: l.Balance.Fleet.now(), Node: l.Node(), Queues: read.snap.fleet().Queues, Workers: read.snap.workers}
	if l.Stores != nil {
		o.LostStores = l.Stores()
	}
	o.Epoch = epochNow(o.Node, o.At)
	var problems []error
	if read.err != nil {
		problems = append(problems, read.err)
	}
	if err := l.ask(ctx, o.At, read.boards); err != nil {
		problems = append(problems, err)
	}
	closed, err := l.closed(ctx, o.At)
	if err != nil {
		problems = append(problems, err)
	}
	o.Closed = closed
	o.Failing = merged(read.jobs.failing, l.failing)
	o.Miners, o.Recoveries = l.watched, l.recoveries
	moves := plan(read.snap.with(read.jobs.waiting, read.jobs.running), read.jobs.waiting, l.Balance.Fleet.Forecast)
	o.Stuck = stuck(moves, read.boards)
	o.Deadlines = l.open(read, moves, o)
	if err := errors.Join(problems...); err != nil {
		o.Problem = err.Error()
	}
	return o, nil
}

// epochNow carries a node's head on by the clock; 0 if there is none.
func epochNow(n post.NodeOutlook, now time.Time) abi.ChainEpoch {
	if n.At.IsZero() {
		return 0
	}
	return n.Head + n.Behind(now)
}

// open are the deadlines that run, with their jobs.
func (l *Outlooks) open(read reading, moves []move, o post.Outlook) []post.OpenDeadline {
	jobs := map[string][]post.OpenJob{}
	for _, job := range read.jobs.started {
		jobs[job.workflow] = append(jobs[job.workflow], job.OpenJob)
	}
	for _, job := range read.jobs.waiting {
		jobs[job.workflow] = append(jobs[job.workflow], post.OpenJob{Partition: job.partition, Queue: job.queue, Left: job.left})
	}
	forecasts := forecast(read.snap.fleet(), read.jobs.started, moves, l.Balance.Fleet.Forecast)
	open := make([]post.OpenDeadline, 0, len(read.boards))
	for _, b := range read.boards {
		if b.trial || b.over {
			continue // nothing depends on it
		}
		d := post.OpenDeadline{
			Result: b.Result, WorkflowID: b.workflow, RunID: b.run, Settings: l.settings(b.Deadline.Miner, o.Node), Jobs: jobs[b.workflow], JobsUnread: b.unread,
			Forecast: forecasts[b.workflow],
		}
		d.Left = timeToProve(d, o.Epoch)
		open = append(open, d)
	}
	slices.SortStableFunc(open, func(a, b post.OpenDeadline) int {
		return cmp.Or(cmp.Compare(a.Deadline.Close, b.Deadline.Close), strings.Compare(a.WorkflowID, b.WorkflowID))
	})
	return open
}

// settings are those of a miner, the default ones while they are not known.
func (l *Outlooks) settings(miner abi.ActorID, node post.NodeOutlook) post.Settings {
	s, known := l.miners[miner]
	if !known {
		s = post.DefaultSettings()
	}
	if s.EpochDuration == 0 {
		s.EpochDuration = node.EpochDuration
	}
	return s
}

// timeToProve is how long a deadline's proofs may still take: by the chain, or where nothing is known of that by the least that
// Temporal gives one of its jobs.
func timeToProve(d post.OpenDeadline, epoch abi.ChainEpoch) time.Duration {
	if epoch != 0 && d.Settings.EpochDuration > 0 {
		return time.Duration(d.ProveBy()-epoch) * d.Settings.EpochDuration
	}
	var least time.Duration
	for i, job := range d.Jobs {
		if i == 0 || job.Left < least {
			least = job.Left
		}
	}
	return least
}

// stuck sums up the jobs that nobody can take, the most urgent cause first. Moves come in the order of urgency.
func stuck(moves []move, boards []board) []post.Stuck {
	var all []post.Stuck
	for _, m := range moves {
		if m.choice.Waits == "" || m.job.trial {
			continue
		}
		i := slices.IndexFunc(all, func(s post.Stuck) bool { return s.Queue == m.choice.Queue && s.Why == m.choice.Waits })
		if i < 0 {
			s := post.Stuck{Queue: m.choice.Queue, Why: m.choice.Waits}
			if at := slices.IndexFunc(boards, func(b board) bool { return b.workflow == m.job.workflow }); at >= 0 {
				s.First = boards[at].Deadline
			}
			all = append(all, s)
			i = len(all) - 1
		}
		all[i].Jobs++
	}
	return all
}

// forecast reckons, by workflow, how long it takes until the last of a deadline's jobs is proven: each queue's places take its jobs in the
// order of their priority and of the time that is left. What waits where nobody lives has no forecast, and neither has a sector
// size of which no proof was seen.
func forecast(fleet post.Fleet, started []startedJob, moves []move, takes func(size abi.SectorSize, sectors int) time.Duration) map[string]time.Duration {
	free := map[string][]time.Duration{} // of each queue: when each of its places will be free
	until := map[string]time.Duration{}
	for _, job := range started {
		if whole := takes(job.size, job.sectors); whole > 0 {
			left := post.ToMake{Takes: whole, Running: true, Spent: time.Duration(job.Seconds * float64(time.Second))}.Left()
			free[job.Queue] = append(free[job.Queue], left)
			until[job.workflow] = max(until[job.workflow], left)
		}
	}
	for _, q := range fleet.Queues {
		for len(free[q.Name]) < q.Live {
			free[q.Name] = append(free[q.Name], 0)
		}
	}
	line := slices.Clone(moves)
	slices.SortStableFunc(line, func(a, b move) int {
		return cmp.Or(cmp.Compare(a.choice.Priority, b.choice.Priority), cmp.Compare(a.job.left, b.job.left))
	})
	for _, m := range line {
		places, whole := free[m.choice.Queue], takes(m.job.needs.Size, m.job.sectors)
		if len(places) == 0 || whole == 0 || m.choice.Waits != "" {
			continue
		}
		i := slices.Index(places, slices.Min(places))
		places[i] += whole
		until[m.job.workflow] = max(until[m.job.workflow], places[i])
	}
	return until
}

// closed are the deadlines whose workflows ended lately, as far as they are known: an error says why those of just now are not.
func (l *Outlooks) closed(ctx context.Context, now time.Time) ([]post.ClosedDeadline, error) {
	within := cmp.Or(l.Closed, closedFor)
	since := now.Add(-within)
	if !l.endedAt.IsZero() {
		since = later(since, l.endedAt.Add(-listedWithin))
	}
	listed, err := l.endedSince(ctx, since)
	fresh := map[string]bool{}
	if err == nil {
		first := l.ended == nil
		if first {
			l.ended = map[string]post.ClosedDeadline{}
		}
		for _, d := range listed {
			_, seen := l.ended[d.RunID]
			fresh[d.RunID] = !seen && !first // what ended before this watch began was counted by another
			l.ended[d.RunID] = d
		}
		l.endedAt = now
	}
	maps.DeleteFunc(l.ended, func(_ string, d post.ClosedDeadline) bool { return now.Sub(d.ClosedAt) > 2*within })
	closed := []post.ClosedDeadline{}
	for run, d := range l.ended {
		if d.Fresh = fresh[run]; now.Sub(d.ClosedAt) <= within {
			closed = append(closed, d)
		}
	}
	slices.SortFunc(closed, func(a, b post.ClosedDeadline) int {
		return cmp.Or(a.ClosedAt.Compare(b.ClosedAt), strings.Compare(a.RunID, b.RunID))
	})
	return closed, err
}

// endedSince lists the deadlines whose workflows ended after a time.
func (l *Outlooks) endedSince(ctx context.Context, since time.Time) (ended []post.ClosedDeadline, err error) {
	query := fmt.Sprintf("WorkflowType = '%s' AND CloseTime > '%s'", workflows.NameDeadlineWorkflow, since.UTC().Format(time.RFC3339))
	err = list(ctx, l.Temporal, query, func(info *workflowpb.WorkflowExecutionInfo) {
		d := post.ClosedDeadline{
			WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(), Status: info.GetStatus().String(), ClosedAt: info.GetCloseTime().AsTime(),
		}
		var known bool
		if d.Result, known = BoardOf(info); !known { // it ended before it had shown anything
			var err error
			if d.Deadline.Miner, d.Deadline.PeriodStart, d.Deadline.Index, err = post.ParseWorkflowID(d.WorkflowID); err != nil {
				return
			}
		}
		ended = append(ended, d)
	})
	if err != nil {
		return nil, fmt.Errorf("listing deadlines that ended: %w", err)
	}
	return ended, nil
}

// ask reads, from time to time, the miners' settings and whether the tasks of any workflow fail that was not described with its jobs.
func (l *Outlooks) ask(ctx context.Context, now time.Time, boards []board) error {
	if !l.askedAt.IsZero() && now.Sub(l.askedAt) < askEvery {
		return nil
	}
	ours := []string{
		workflows.NameMinerWorkflow, workflows.NameDeadlineWorkflow, workflows.NameSenderWorkflow, workflows.NameWorkerWorkflow, workflows.NameFleetWorkflow, workflows.NameAlertWorkflow,
		workflows.NameRecoveryWorkflow,
	}
	described := map[string]bool{}
	for _, b := range boards {
		described[b.workflow] = b.proving() && !b.unread
	}
	miners := map[abi.ActorID]post.Settings{}
	var recoveries []post.RecoveryState
	var all []*workflowpb.WorkflowExecutionInfo
	query := fmt.Sprintf("WorkflowType IN ('%s') AND ExecutionStatus = 'Running'", strings.Join(ours, "', '"))
	err := list(ctx, l.Temporal, query, func(info *workflowpb.WorkflowExecutionInfo) {
		if !described[info.GetExecution().GetWorkflowId()] {
			all = append(all, info)
		}
		var state workflows.MinerState
		payload := info.GetMemo().GetFields()[workflows.MemoMiner]
		if payload != nil && converter.GetDefaultDataConverter().FromPayload(payload, &state) == nil {
			miners[state.Miner] = state.Settings
		}
		if s, ok := recoveryOf(info); ok {
			recoveries = append(recoveries, s)
		}
	})
	if err != nil {
		return fmt.Errorf("listing running workflows: %w", err)
	}
	var mu sync.Mutex
	var failing []post.FailingWorkflow
	var watched []post.MinerOutlook
	lost, err := l.lostMiners(ctx, now)
	if err != nil {
		return err
	}
	err = SideBySide(len(all), func(i int) error {
		id := all[i].GetExecution()
		described, err := l.Temporal.DescribeWorkflowExecution(ctx, id.GetWorkflowId(), id.GetRunId())
		var gone *serviceerror.NotFound
		if err != nil && !errors.As(err, &gone) {
			return fmt.Errorf("describing %s: %w", id.GetWorkflowId(), err)
		}
		f, fails := failingTask(described)
		m, isMiner := minerOutlook(all[i])
		mu.Lock()
		defer mu.Unlock()
		if fails {
			failing = append(failing, f)
		}
		if isMiner {
			delete(lost, m.Miner)
		}
		// A run that has just gone on in a new one says nothing of that.
		if isMiner && err == nil && described.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
			watched = append(watched, watchedBy(m, described.GetPendingActivities()))
		}
		return nil
	})
	if err != nil {
		return err
	}
	watched = slices.AppendSeq(watched, maps.Values(lost))
	slices.SortFunc(watched, func(a, b post.MinerOutlook) int { return cmp.Compare(a.Miner, b.Miner) })
	slices.SortFunc(recoveries, func(a, b post.RecoveryState) int { return cmp.Compare(a.Miner, b.Miner) })
	l.miners, l.failing, l.watched, l.lost, l.askedAt, l.recoveries = miners, failing, watched, lost, now, recoveries
	return nil
}

// merged are failing workflows, each once, the newer word first.
func merged(newer, older []post.FailingWorkflow) []post.FailingWorkflow {
	all := slices.Clone(newer)
	for _, f := range older {
		if !slices.ContainsFunc(newer, func(n post.FailingWorkflow) bool { return n.WorkflowID == f.WorkflowID }) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b post.FailingWorkflow) int { return strings.Compare(a.WorkflowID, b.WorkflowID) })
	return all
}
