package workflows

import (
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// Task queues. A card polls exactly one window queue, which is not among these: see post.Admits.Queue.
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
	NonRetryableErrorTypes: []string{ErrorRandomnessChanged, ErrorSectorsChanged, ErrorRefused, ErrorNoSuchMiner},
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

	// A message may wait for its epoch to be signed, as in AwaitEpoch, for two minutes at most; then come a handful of node calls.
	policyIssue = policy{queue: QueueChain, attempt: 4 * time.Minute, heartbeat: lostDaemon, retry: chainRetry}

	// What cannot be estimated before its time is estimated when it is signed: once is enough.
	policyQuote = policy{queue: QueueChain, attempt: 20 * time.Second, heartbeat: lostDaemon, retry: temporal.RetryPolicy{MaximumAttempts: 1}}

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

	// Where a job should wait: a look at the fleet, a few calls to Temporal that a daemon keeps for a second. When that fails
	// for 10 s the job goes where nobody polls, and BalanceFleet moves it: longer would hold up its workflow.
	policyRoute = policy{attempt: 5 * time.Second, retry: temporal.RetryPolicy{
		InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: time.Second,
	}}

	// AttendWorker runs for as long as its worker does and beats every 2 s; 10 s without is a worker that died. The next one waits
	// in the queue for the worker to come back, for days if need be, so there is no schedule-to-close, and no history
	// event for any of it. It is tried again soon, since until then nobody sees what the worker does. An attempt may take a
	// month: some figure there must be, and a worker that runs for longer just begins the next.
	policyAttend = policy{attempt: 30 * 24 * time.Hour, heartbeat: 10 * time.Second, retry: temporal.RetryPolicy{
		InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 1, MaximumInterval: 500 * time.Millisecond,
	}}

	// Orders are taken in no time by a worker that runs; a person waits for the answer. One that does not run finds them in the
	// memo when it starts.
	policyOrders = policy{attempt: 5 * time.Second, retry: temporal.RetryPolicy{
		InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 2 * time.Second, MaximumAttempts: 4,
	}}

	// BalanceFleet runs in some daemon for as long as that runs, then in another. While it does not, jobs wait in wrong queues.
	policyBalance = policy{queue: QueueChain, attempt: 24 * time.Hour, heartbeat: lostDaemon, retry: temporal.RetryPolicy{
		InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second,
	}}

	// WatchAlerts alike. While nobody watches, nobody is told of anything.
	policyAlerts = policy{queue: QueueChain, attempt: 24 * time.Hour, heartbeat: lostDaemon, retry: temporal.RetryPolicy{
		InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second,
	}}

	// CheckSectors looks at the files of up to 2,349 sectors, or makes a vanilla proof of each, which takes minutes: 20 for a partition is
	// damocles's figure. It beats every 2 s. A machine that dies is tried again once, in case another takes the queue over.
	policyCheck = policy{queue: QueueSectors, attempt: 20 * time.Minute, heartbeat: 15 * time.Second, retry: temporal.RetryPolicy{
		InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second, MaximumAttempts: 2,
	}}
)

// readPatience is how long somebody who waits at a terminal waits for a node or a lookup before the command fails with what they said last.
const readPatience = time.Minute

// ordersWithin is how long a worker has to take its orders before they are only recorded.
const ordersWithin = 10 * time.Second

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

// local puts a policy on a context for a local activity, which runs in the daemon that executes the workflow: all its attempts
// together have the policy's time twice.
func (p policy) local(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout:    p.attempt,
		ScheduleToCloseTimeout: 2 * p.attempt,
		RetryPolicy:            &p.retry,
		Summary:                summary,
	})
}

// on is the same policy on another queue.
func (p policy) on(queue string) policy {
	p.queue = queue
	return p
}

// proveOptions are those of a GenerateWindowPoSt activity. Eager execution would go round the queue and its order.
func proveOptions(ctx workflow.Context, choice post.Choice, id string, within time.Duration, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ActivityID:             id,
		TaskQueue:              choice.Queue,
		ScheduleToCloseTimeout: within,
		HeartbeatTimeout:       policyProve.heartbeat,
		RetryPolicy:            &policyProve.retry,
		DisableEagerExecution:  true,
		Priority:               temporal.Priority{PriorityKey: choice.Priority},
		Summary:                summary,
	})
}

// trialOptions are those of a GenerateWindowPoSt activity whose proof is not sent: as a deadline's, after all of them in every line, and it
// has not ended before its card is free.
func trialOptions(ctx workflow.Context, queue, id string, within time.Duration, summary string) workflow.Context {
	ctx = proveOptions(ctx, post.Choice{Queue: queue, Priority: post.PriorityTrial}, id, within, summary)
	return workflow.WithWaitForCancellation(ctx, true)
}

// DeadlineStart is how a DeadlineWorkflow is started, by whoever starts it: tried, terminated or failed before gives a new
// run; running or reset stays; completed is refused. So eight racing daemons make one run.
const (
	DeadlineConflictPolicy = enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	DeadlineReusePolicy    = enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
)
