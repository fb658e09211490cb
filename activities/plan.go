package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// waitingJob is a GenerateWindowPoSt activity that no worker has begun.
type waitingJob struct {
	workflow, run, activity string
	label                   string // for people: f01000/7 partition 0
	partition               uint64
	needs                   post.Needs
	sectors                 int // 0: not known
	avoid                   []string
	try                     int
	queue                   string        // that it waits on
	priority                int           // that it has there
	left                    time.Duration // until it must be proven
	shown                   post.Choice   // the queue and what it waits for, as its workflow shows them
	trial                   bool          // its proof is not sent: every other job goes first
}

func (j waitingJob) id() string { return j.workflow + "/" + j.run + "/" + j.activity }

// move is what should become of a job that waits.
type move struct {
	job    waitingJob
	choice post.Choice
}

func (m move) changesQueue() bool { return m.choice.Queue != m.job.queue }

// raises says whether the job's priority goes up: 1 is first. It never goes down, because every change puts the job behind the others
// of its new priority.
func (m move) raises() bool { return m.choice.Priority < m.job.priority }

// plan routes every job that waits once more, each as if the ones before it had been moved already. It gives a move for each, also for
// those that stay. Free cards go to the jobs with the least time left. Then lines of live cards are evened out, from the other end:
// who is first in a line has little to gain from a shorter one. Trials' jobs take what is left then: to the others they are not there.
func plan(fleet post.Fleet, jobs []waitingJob, forecast func(size abi.SectorSize, sectors int) time.Duration) []move {
	fleet.Queues = slices.Clone(fleet.Queues)
	var real, trials []waitingJob
	for _, job := range jobs {
		if job.trial {
			trials = append(trials, job)
			shift(fleet, job.queue, -1)
		} else {
			real = append(real, job)
		}
	}
	moves := planAlike(fleet, real, forecast)
	for _, job := range trials {
		shift(fleet, job.queue, 1)
	}
	return append(moves, planAlike(fleet, trials, forecast)...)
}

// planAlike is plan for jobs that are not to be told apart. It changes the fleet's backlogs.
func planAlike(fleet post.Fleet, jobs []waitingJob, forecast func(size abi.SectorSize, sectors int) time.Duration) []move {
	jobs = slices.Clone(jobs)
	slices.SortStableFunc(jobs, func(a, b waitingJob) int { return cmp.Or(cmp.Compare(a.left, b.left), cmp.Compare(a.id(), b.id())) })
	moves := make([]move, len(jobs))
	var later []int
	route := func(i int, evening bool) {
		job := jobs[i]
		choice := post.Route(job.needs, job.avoid, fleet, job.queue)
		if !evening && choice.Queue != job.queue && live(fleet, job.queue) && !free(fleet, choice.Queue) {
			choice = post.Choice{Queue: job.queue}
			later = append(later, i)
		}
		choice.Priority = post.Priority(job.try, job.left, forecast(job.needs.Size, job.sectors))
		if job.trial {
			choice.Priority = post.PriorityTrial
		}
		moves[i] = move{job: job, choice: choice}
		if moves[i].changesQueue() {
			shift(fleet, job.queue, -1)
			shift(fleet, choice.Queue, 1)
		}
	}
	for i := range jobs {
		route(i, false)
	}
	for _, i := range slices.Backward(later) {
		route(i, true)
	}
	return moves
}

// at is where a queue is in the fleet, -1 if it is not known.
func at(fleet post.Fleet, name string) int {
	return slices.IndexFunc(fleet.Queues, func(q post.Queue) bool { return q.Name == name })
}

// shift counts jobs into a line, or out of it.
func shift(fleet post.Fleet, name string, by int) {
	if i := at(fleet, name); i >= 0 {
		fleet.Queues[i].Backlog = max(fleet.Queues[i].Backlog+by, 0)
	}
}

func live(fleet post.Fleet, name string) bool {
	i := at(fleet, name)
	return i >= 0 && fleet.Queues[i].Live > 0
}

func free(fleet post.Fleet, name string) bool {
	i := at(fleet, name)
	return i >= 0 && fleet.Queues[i].Free() > 0
}

// with is the fleet with the jobs counted one by one, which is better than what queues and workers say: a backlog still has jobs that
// were moved away, and a worker's figures are as old as its last heartbeat.
func (s *snapshot) with(waiting []waitingJob, running map[string]int) post.Fleet {
	fleet := s.fleet()
	for i := range fleet.Queues {
		q := &fleet.Queues[i]
		q.Backlog, q.Busy = 0, min(running[q.Name]+s.retired[i], q.Live)
		for _, job := range waiting {
			if job.queue == q.Name {
				q.Backlog++
			}
		}
	}
	return fleet
}

// board is a running deadline as its memo has it.
type board struct {
	workflow, run string
	trial         bool
	over          bool // it has ended since visibility listed it
	unread        bool // its jobs could not be read
	post.Result
}

// boards are those of all running deadlines, and trials of some. What proofs took is learnt from them on the way.
func (b *Balance) boards(ctx context.Context) (boards []board, err error) {
	for _, kind := range []string{workflows.NameDeadlineWorkflow, workflows.NameComputeWorkflow} {
		err = listRunning(ctx, b.Temporal, kind, func(info *workflowpb.WorkflowExecutionInfo) {
			result, ok := BoardOf(info)
			if !ok {
				return // it has no job yet
			}
			boards = append(boards, board{workflow: info.GetExecution().GetWorkflowId(), run: info.GetExecution().GetRunId(),
				trial: kind == workflows.NameComputeWorkflow, Result: result})
			b.Fleet.learn(result)
		})
		if err != nil {
			return nil, err
		}
	}
	return boards, nil
}

// BoardOf is a deadline as its workflow's memo shows it, if it has shown anything yet.
func BoardOf(info *workflowpb.WorkflowExecutionInfo) (result post.Result, ok bool) {
	payload := info.GetMemo().GetFields()[workflows.MemoBoard]
	if payload == nil || converter.GetDefaultDataConverter().FromPayload(payload, &result) != nil {
		return post.Result{}, false
	}
	return result, true
}

// proving says whether a deadline can have a job that is not finished.
func (b board) proving() bool {
	return slices.ContainsFunc(b.Partitions, func(p post.PartitionResult) bool {
		return p.State == post.StateProving || p.State == post.StateFailed
	})
}

// jobs are the unfinished jobs of deadlines.
type jobs struct {
	waiting []waitingJob
	running map[string]int // how many run, by the queue that they came by
	started []startedJob   // these, one by one
	failing []post.FailingWorkflow
}

// startedJob is a GenerateWindowPoSt activity that a worker has begun.
type startedJob struct {
	workflow string
	post.OpenJob
	size    abi.SectorSize
	sectors int // 0: not known
}

// jobs reads the unfinished jobs of deadlines. A workflow that cannot be read is told of in the error and left out.
func (b *Balance) jobs(ctx context.Context, boards []board) (found jobs, err error) {
	found.running = map[string]int{}
	now := b.Fleet.byServers(b.Fleet.now())
	var mu sync.Mutex
	err = SideBySide(len(boards), func(i int) error {
		if !boards[i].proving() {
			return nil
		}
		described, err := b.Temporal.DescribeWorkflowExecution(ctx, boards[i].workflow, boards[i].run)
		var gone *serviceerror.NotFound
		if errors.As(err, &gone) || err == nil && described.GetWorkflowExecutionInfo().GetCloseTime() != nil {
			boards[i].over = true
			return nil
		}
		if err != nil {
			boards[i].unread = true
			return fmt.Errorf("describing %s: %w", boards[i].workflow, err)
		}
		if newer, ok := BoardOf(described.GetWorkflowExecutionInfo()); ok {
			boards[i].Result = newer
		}
		failing, fails := failingTask(described)
		for _, a := range described.GetPendingActivities() {
			if a.GetActivityType().GetName() != workflows.ActivityGenerateWindowPoSt {
				continue
			}
			switch a.GetState() {
			case enums.PENDING_ACTIVITY_STATE_SCHEDULED:
				job, ok, problem := b.waits(ctx, boards[i], a, now)
				err = errors.Join(err, problem)
				if ok {
					mu.Lock()
					found.waiting = append(found.waiting, job)
					mu.Unlock()
				}
			case enums.PENDING_ACTIVITY_STATE_STARTED, enums.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED:
				job := boards[i].started(a, now)
				mu.Lock()
				found.running[job.Queue]++
				found.started = append(found.started, job)
				mu.Unlock()
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if fails {
			found.failing = append(found.failing, failing)
		}
		return err
	})
	return found, err
}

// started is what a pending activity that a worker has begun says of its job.
func (b board) started(a *workflowpb.PendingActivityInfo, now time.Time) startedJob {
	var progress post.Progress
	_ = converter.GetDefaultDataConverter().FromPayloads(a.GetHeartbeatDetails(), &progress) // none yet: an empty one
	partition, known := PartitionOf(a.GetActivityId())
	if !known {
		partition = progress.Partition
	}
	job := startedJob{workflow: b.workflow, size: b.Size, OpenJob: post.OpenJob{
		Partition: partition, Queue: a.GetActivityOptions().GetTaskQueue().GetName(), Started: true, Attempt: a.GetAttempt(),
		Card: progress.Card, Phase: progress.Phase, Seconds: progress.Seconds, Left: timeLeft(a, now),
	}}
	if i := slices.IndexFunc(b.Partitions, func(p post.PartitionResult) bool { return p.Index == partition }); i >= 0 {
		job.sectors = b.JobSectors(b.Partitions[i])
	}
	return job
}

// PatientAttempts is how many attempts of a workflow task are nothing to speak of: a daemon that is killed costs one. After more than that its
// code fails.
const PatientAttempts = 2

// failingTask says whether a workflow does not go on because its code fails.
func failingTask(described *workflowservice.DescribeWorkflowExecutionResponse) (failing post.FailingWorkflow, fails bool) {
	task, info := described.GetPendingWorkflowTask(), described.GetWorkflowExecutionInfo()
	if task.GetAttempt() <= PatientAttempts || info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return failing, false
	}
	failing = post.FailingWorkflow{
		WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(), Type: info.GetType().GetName(), Attempt: task.GetAttempt(),
	}
	if since := task.GetOriginalScheduledTime(); since != nil {
		failing.Since = since.AsTime()
	}
	return failing, true
}

// waits makes a job of a pending activity; false: it cannot be moved.
func (b *Balance) waits(ctx context.Context, of board, a *workflowpb.PendingActivityInfo, now time.Time) (job waitingJob, ok bool, err error) {
	job = of.job(a, now)
	if event, old := unrouted(a); old {
		job, err = b.recover(ctx, job, event)
		return job, err == nil, err
	}
	index, ok := PartitionOf(a.GetActivityId())
	at := slices.IndexFunc(of.Partitions, func(p post.PartitionResult) bool { return p.Index == index })
	if !ok || at < 0 || of.Size == 0 {
		return job, false, nil
	}
	p := of.Partitions[at]
	job.label, job.partition = fmt.Sprintf("%s %s", of.Deadline, post.PartitionNames(p.Job())), index
	if of.trial {
		job.label += " (trial)"
	}
	job.needs, job.sectors, job.avoid, job.try = of.Needs(p), of.JobSectors(p), p.Avoid, p.Tries
	job.shown = post.Choice{Queue: p.Queue, Waits: p.Waits}
	return job, true, nil
}

// job is what a pending activity itself says of its job.
func (b board) job(a *workflowpb.PendingActivityInfo, now time.Time) waitingJob {
	priority := int(a.GetActivityOptions().GetPriority().GetPriorityKey())
	return waitingJob{
		workflow: b.workflow, run: b.run, activity: a.GetActivityId(),
		queue: a.GetActivityOptions().GetTaskQueue().GetName(), priority: cmp.Or(priority, usualPriority), left: timeLeft(a, now),
		trial: b.trial,
	}
}

// usualPriority is what Temporal takes 0 for.
const usualPriority = 3

// timeLeft is how long an activity may still take from now (by the server's clock), by its schedule-to-close timeout; a day if it has none.
func timeLeft(a *workflowpb.PendingActivityInfo, now time.Time) time.Duration {
	switch within := a.GetActivityOptions().GetScheduleToCloseTimeout().AsDuration(); {
	case a.GetExpirationTime() != nil && a.GetExpirationTime().AsTime().Unix() > 0:
		return a.GetExpirationTime().AsTime().Sub(now)
	case within > 0:
		return a.GetScheduledTime().AsTime().Add(within).Sub(now)
	default:
		return 24 * time.Hour
	}
}

// PartitionOf reads the partition from the ID of a proof's activity, prove-<partition>-<n>; of several that are proven together it is the first.
func PartitionOf(activityID string) (uint64, bool) {
	rest, ok := strings.CutPrefix(activityID, "prove-")
	if !ok {
		return 0, false
	}
	partition, n, ok := strings.Cut(rest, "-")
	if _, err := strconv.ParseUint(n, 10, 64); !ok || err != nil {
		return 0, false
	}
	index, err := strconv.ParseUint(partition, 10, 64)
	return index, err == nil
}
