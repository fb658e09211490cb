package workflows

import (
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// Task queues. A card polls exactly one window queue, which is not among these: see post.Settings.ProveQueue.
const (
	QueueChain   = "posthaste" // workflows and whatever asks the chain; polled by daemons
	QueueSectors = "sectors"   // lookups and checks of proofs; polled by daemons
)

// policy is how one activity is run. All of them stand below, each with the reason for its figures.
type policy struct {
	queue     string
	attempt   time.Duration // start-to-close: how long one attempt may take
	heartbeat time.Duration // 0: none
	retry     temporal.RetryPolicy
}

// chainRetry is for what asks a node: go on until the caller's time is over (the chain may be away for minutes), at a pace
// of a few seconds, since the next tipset may change the answer.
var chainRetry = temporal.RetryPolicy{
	InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second,
	NonRetryableErrorTypes: []string{ErrorRandomnessChanged, ErrorRefused, ErrorNoSuchMiner},
}

// lostDaemon is how long a daemon's activity may be silent: its worker sends heartbeats for it (workers.attending). A daemon that
// is killed in the middle of one so costs 10 s, a third of an epoch on mainnet, instead of the whole time of an attempt.
const lostDaemon = 10 * time.Second

var (
	// One attempt of a read is a handful of node calls, each limited to 30 s by the client.
	policyChainRead = policy{queue: QueueChain, attempt: time.Minute, heartbeat: lostDaemon, retry: chainRetry}

	// AwaitEpoch waits inside for at most a few epochs, so that the timers need not be exact.
	policyAwaitEpoch = policy{queue: QueueChain, attempt: 3 * time.Minute, heartbeat: lostDaemon, retry: chainRetry}

	// A partition's index lookup and the check of a proof (milliseconds at 2 KiB, under a second at 32 GiB) are local; a
	// store that hangs must not hold them for long.
	policyLookup = policy{queue: QueueSectors, attempt: time.Minute, heartbeat: lostDaemon, retry: chainRetry}

	// Starting or signalling another workflow is one call to Temporal.
	policySignal = policy{queue: QueueChain, attempt: 20 * time.Second, heartbeat: lostDaemon, retry: chainRetry}

	// A push is one call; what fails is pushed again at the next tipset anyway.
	policyPush = policy{queue: QueueChain, attempt: 30 * time.Second, heartbeat: lostDaemon, retry: chainRetry}

	// WatchDeadlines runs for a whole proving period; it says what it sees every 5 s.
	policyWatch = policy{queue: QueueChain, attempt: 26 * time.Hour, heartbeat: lostDaemon, retry: temporal.RetryPolicy{
		InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 15 * time.Second,
		NonRetryableErrorTypes: []string{ErrorNoSuchMiner},
	}}

	// A proof: the attempt is limited by schedule-to-close alone. 15 s without a heartbeat is a lost worker (damocles's
	// figure; the worker sends one every 3 s). Temporal's own retries are for lost workers and hand-overs: at once, and not
	// for ever, since a job that kills twenty workers is the job's fault.
	policyProve = policy{heartbeat: 15 * time.Second, retry: temporal.RetryPolicy{
		InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second, MaximumAttempts: 20,
	}}
)

// apply puts a policy on a context. within bounds all attempts together (schedule-to-close); 0 leaves them unbounded.
func (p policy) apply(ctx workflow.Context, within time.Duration, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              p.queue,
		StartToCloseTimeout:    p.attempt,
		ScheduleToCloseTimeout: within,
		HeartbeatTimeout:       p.heartbeat,
		RetryPolicy:            &p.retry,
		Summary:                summary,
	})
}

// proveOptions are those of a GenerateWindowPoSt activity. Eager execution would go round the queue and its order.
// Priority 3 is fresh work, 2 what was tried before (a design figure: most failures are somebody's last chance).
func proveOptions(ctx workflow.Context, queue string, within time.Duration, job post.Job, summary string) workflow.Context {
	priority := 3
	if job.Try > 1 {
		priority = 2
	}
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		ScheduleToCloseTimeout: within,
		HeartbeatTimeout:       policyProve.heartbeat,
		RetryPolicy:            &policyProve.retry,
		DisableEagerExecution:  true,
		Priority:               temporal.Priority{PriorityKey: priority},
		Summary:                summary,
	})
}

// DeadlineStart is how a DeadlineWorkflow is started, by whoever starts it: tried, terminated or failed before gives a new
// run; running or reset stays; completed is refused. So eight racing daemons make one run.
const (
	DeadlineConflictPolicy = enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	DeadlineReusePolicy    = enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
)
