package activities

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

// Attempts is what looking after a running attempt takes from Temporal's client.
type Attempts interface {
	RecordActivityHeartbeat(ctx context.Context, taskToken []byte, details ...any) error
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	SignalWorkflow(ctx context.Context, workflowID, runID, signalName string, arg any) error
	CompleteActivity(ctx context.Context, taskToken []byte, result any, err error) error
}

// Why proving was stopped.
var (
	errHandOver  = errors.New("the worker is stopping")
	errNotWanted = errors.New("nobody waits for this proof any more: it was cancelled, reset or made elsewhere")
	errShared    = errors.New("this attempt timed out, and another one has the proof in its care")
)

const (
	// beatEvery is a fifth of the heartbeat timeout: four may be lost. damocles's workers beat at the same pace.
	beatEvery = 3 * time.Second
	// claimBeats is how many heartbeats apart an attempt that is gone claims its proof: 6 s, of the 20 s that the workflow grants.
	claimBeats = 2
	// answerWithin bounds one call to Temporal; a missing server is found out and asked again.
	answerWithin = 5 * time.Second
)

// attempt looks after one attempt of an activity from the outside. Heartbeats go to Temporal directly and on a context that
// a lost connection does not cancel, because the SDK's own cancel the work after half a heartbeat timeout without a server
// (measured: a 7 s outage cost the proof). Their answers decide:
//
//	fine          go on
//	cancelled     stop
//	not found     this attempt timed out, or its run is over: stop if the proof is not wanted any more, or if no card has begun it;
//	              else go on, claim it from the workflow, so that nobody begins it anew, and deliver it by signal
//	unreachable   go on, and do not return before Temporal answers again: the SDK drops a result after 10 s
type attempt struct {
	temporal Attempts
	ctx      context.Context // of the activity, without its cancellation
	token    []byte
	workflow workflow.Execution
	job      post.Job
	log      *slog.Logger
	stop     context.CancelCauseFunc // of this attempt's part in the proving
	every    time.Duration           // between heartbeats
	away     bool                    // Temporal did not answer the last heartbeat; of the goroutine that beats, and of deliver after that
	claims   int                     // heartbeats since it was found gone; likewise
	claimed  string                  // the card of the last claim; likewise

	news chan struct{} // another card or phase: beat soon

	mu    sync.Mutex
	last  post.Progress
	began time.Time
}

func newAttempt(ctx context.Context, client Attempts, job post.Job, log *slog.Logger, stop context.CancelCauseFunc, every time.Duration) *attempt {
	info := activity.GetInfo(ctx)
	first := post.Progress{Phase: post.PhaseWaiting, Of: len(job.Sectors)}
	if len(job.Partitions) > 0 {
		first.Partition = job.Partitions[0]
	}
	return &attempt{
		temporal: client, ctx: context.WithoutCancel(ctx), token: info.TaskToken, workflow: info.WorkflowExecution,
		job: job, log: log, stop: stop, every: every, began: time.Now(), last: first, news: make(chan struct{}, 1),
	}
}

// progress is what the next heartbeat will say.
func (a *attempt) progress(p post.Progress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.Partition = a.last.Partition
	if p.Phase != a.last.Phase || p.Card != a.last.Card {
		select {
		case a.news <- struct{}{}: // people should see it soon
		default:
		}
	}
	a.last = p
}

func (a *attempt) current() post.Progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.last
	p.Seconds = time.Since(a.began).Round(100 * time.Millisecond).Seconds()
	return p
}

// standing is what Temporal thinks of an attempt.
type standing int

const (
	unreachable standing = iota // nothing: it does not answer
	alive                       // it waits for this attempt's result
	gone                        // it does not, but the proof is wanted
	unwanted                    // nobody waits
)

// watch beats until the function that it returns is called with the proof, or nil if there is none. That call returns when
// Temporal can hear the result; if the attempt is gone by then, the proof has gone as a signal.
func (a *attempt) watch(f *flight, stopping <-chan struct{}) (finish func(*post.Proof)) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(a.every)
		defer ticker.Stop()
		for a.due(ticker.C, stopping, done) {
			if cause := a.look(f); cause != nil {
				a.stop(cause)
				return
			}
		}
	}()
	return func(proof *post.Proof) {
		close(done)
		<-ended
		a.deliver(proof, stopping)
	}
}

// due waits until a heartbeat is, or says that there is no need for one any more. News wait for a moment: each heartbeat is a write at the
// server, and a phase that is over at once is none that people would see.
func (a *attempt) due(tick <-chan time.Time, stopping, done <-chan struct{}) bool {
	wait := tick
	for news := a.news; ; {
		select {
		case <-wait:
			return true
		case <-news:
			wait, news = time.After(a.every/10), nil
		case <-stopping:
			a.stop(errHandOver)
			return false
		case <-done:
			return false
		}
	}
}

// look sends a heartbeat, and says why the attempt should end, if it should.
func (a *attempt) look(f *flight) error {
	now := a.beat()
	another := f.stands(a, now)
	switch {
	case now == unwanted:
		return errNotWanted
	case now != gone:
		return nil
	case a.claims == 0 && (another || f.card() == ""):
		// Another attempt can deliver it the usual way, or nothing has been done yet that could be lost. After the first claim
		// it stays: the workflow has cancelled the others.
		return errShared
	}
	if a.claims%claimBeats == 0 {
		if a.claims == 0 {
			a.log.Warn("the attempt timed out, but the proof is wanted: claiming it", "card", f.card())
		}
		a.claimed = f.card()
		a.claim(post.Claim{JobKey: a.job.Key(), Card: a.claimed})
	}
	a.claims++
	return nil
}

// claim tells the workflow that the proof is half done here, or that it will not be done after all. It says whether that need not be said again.
func (a *attempt) claim(claim post.Claim) bool {
	ctx, cancel := context.WithTimeout(a.ctx, answerWithin)
	defer cancel()
	err := a.temporal.SignalWorkflow(ctx, a.workflow.ID, a.workflow.RunID, workflows.SignalProofClaimed, claim)
	var notFound *serviceerror.NotFound
	if err != nil && !errors.As(err, &notFound) {
		a.log.Warn("claiming the proof, or giving the claim up, failed; trying again", "workflow", a.workflow.ID, "over", claim.Over, "error", err)
		return false
	}
	return true
}

// giveUp tells the workflow that there will be no proof, if it has been told that there would: else it would wait for it.
func (a *attempt) giveUp() bool {
	return a.claims == 0 || a.claim(post.Claim{JobKey: a.job.Key(), Card: a.claimed, Over: true})
}

// beat sends one heartbeat and reads the answer.
func (a *attempt) beat() standing {
	ctx, cancel := context.WithTimeout(a.ctx, answerWithin)
	defer cancel()
	err := a.temporal.RecordActivityHeartbeat(ctx, a.token, a.current())
	var canceled *temporal.CanceledError
	was := a.away
	a.away = false
	var notFound *serviceerror.NotFound
	switch {
	case err == nil:
		return alive
	case errors.As(err, &canceled), errors.Is(err, activity.ErrActivityPaused), errors.Is(err, activity.ErrActivityReset):
		return unwanted
	case errors.As(err, &notFound):
		return a.wanted(ctx)
	default:
		if a.away = true; !was { // an outage may last, and a worker have many jobs
			a.log.Warn("Temporal does not answer heartbeats; the proof goes on", "error", err)
		}
		return unreachable
	}
}

// wanted asks, once the attempt is gone, whether its workflow still waits for the proof.
func (a *attempt) wanted(ctx context.Context) standing {
	described, err := a.temporal.DescribeWorkflowExecution(ctx, a.workflow.ID, a.workflow.RunID)
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &notFound):
		return unwanted
	case err != nil:
		return unreachable
	case described.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return unwanted
	case proven(described.GetWorkflowExecutionInfo(), a.job):
		return unwanted
	}
	return gone
}

// proven reads from the workflow's memo whether all partitions of a job are past proving: another attempt was faster.
func proven(info *workflowpb.WorkflowExecutionInfo, job post.Job) bool {
	board, ok := BoardOf(info)
	if !ok {
		return false
	}
	for _, p := range board.Partitions {
		for _, index := range job.Partitions {
			if p.Index == index && (p.State == post.StateProving || p.State == post.StateFailed || p.State == post.StateWaiting) {
				return false
			}
		}
	}
	return len(board.Partitions) > 0
}

// deliver waits until Temporal hears us and makes sure that a proof reaches the workflow, or the news that a claimed one will not. A worker that is stopping does
// not wait for ever: its proof is lost with it either way.
func (a *attempt) deliver(proof *post.Proof, stopping <-chan struct{}) {
	for pause := a.every / 15; ; pause = min(2*pause, 5*time.Second) {
		switch a.beat() {
		case alive, unwanted:
			return
		case gone:
			if proof == nil && a.giveUp() || proof != nil && a.signal(*proof) {
				return
			}
		}
		select {
		case <-time.After(pause):
		case <-stopping:
			return
		}
	}
}

// signal sends the proof to the workflow, whichever run it is in by now.
func (a *attempt) signal(proof post.Proof) bool {
	ctx, cancel := context.WithTimeout(a.ctx, answerWithin)
	defer cancel()
	err := a.temporal.SignalWorkflow(ctx, a.workflow.ID, "", workflows.SignalProofFound, proof)
	var notFound *serviceerror.NotFound
	if err != nil && !errors.As(err, &notFound) {
		a.log.Warn("the proof's attempt is gone and the workflow could not be signalled; trying again", "error", err)
		return false
	}
	a.log.Info("the proof's attempt is gone; it went to the workflow as a signal", "job", proof.JobKey)
	return true
}
