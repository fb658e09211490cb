package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// Workflows is what starting and signalling workflows takes from Temporal's client.
type Workflows interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	SignalWithStartWorkflow(ctx context.Context, workflowID, signalName string, signalArg any, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// HeadStream gives every new head.
type HeadStream interface {
	Heads(context.Context) <-chan *chain.TipSet
}

// Watch keeps the workflows going that the chain's progress calls for.
type Watch struct {
	Node      ChainReader
	Heads     HeadStream
	Temporal  Workflows
	Log       *slog.Logger
	Pause     time.Duration // before a deadline that was terminated or failed is issued again; 0 means 5 s
	Heartbeat time.Duration // how often WatchDeadlines says what it sees; 0 means 5 s
	Again     time.Duration // after a look, the deadlines that it found are looked at once more if no head comes; 0 means 8 s
}

// Seen is what the heartbeat of WatchDeadlines says.
type Seen struct {
	Head      abi.ChainEpoch `json:"head"`
	PeriodEnd abi.ChainEpoch `json:"period_end"`
	Active    []string       `json:"active"` // deadlines between Challenge and Close, and how each stands
	Problem   string         `json:"problem,omitempty"`
	// EpochDuration is what the miner's deadlines are issued with: the settings', or the node's for a miner that no daemon's file names.
	EpochDuration time.Duration `json:"epoch_duration,omitempty"`
}

// WatchDeadlines follows the chain until the miner's proving period ends, and sees to it that every active deadline with
// something to prove has its workflow: a reconcile loop, since operators terminate workflows and daemons die.
func (w *Watch) WatchDeadlines(ctx context.Context, in workflows.WatchInput) error {
	miner, err := chain.MinerAddress(in.Miner)
	if err != nil {
		return err
	}
	loop := &watching{Watch: w, in: in, miner: miner, deadlines: map[string]*watched{}, looked: make(chan struct{})}
	looked := sync.OnceFunc(func() { close(loop.looked) })
	stop := loop.beat(ctx)
	defer stop()
	heads := w.Heads.Heads(ctx)
	for {
		// Between two heads half a minute may pass, in which an operator who has ended a workflow waits for the next.
		again := time.NewTimer(loop.rest())
		select {
		case head, more := <-heads:
			again.Stop()
			if !more {
				return ctx.Err()
			}
			over, err := loop.follow(ctx, head)
			if errors.As(err, new(*temporal.ApplicationError)) {
				return err
			}
			loop.say(func(s *Seen) { s.Head, s.Problem = head.Height, "" })
			loop.trouble(ctx, err)
			looked()
			if over {
				return nil
			}
		case <-again.C:
			loop.trouble(ctx, loop.lookAgain(ctx))
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
	}
}

// watching is one run of WatchDeadlines.
type watching struct {
	*Watch
	in        workflows.WatchInput
	miner     address.Address
	deadlines map[string]*watched // by workflow ID
	active    []*watched          // as of the last head
	period    *dline.Info         // as the node said last
	head      *chain.TipSet       // the last one
	headAt    time.Time           // when it came
	looked    chan struct{}       // closed when the first look is over
	ensured   time.Time           // when the workflow of its faulty sectors was last made sure of

	mu   sync.Mutex
	seen Seen
}

// watched is what is known of one active deadline.
type watched struct {
	post.Deadline
	state     string
	toProve   int       // partitions; valid once read
	read      bool      // the partitions were read: they are frozen from Open − 60 to Close
	final     bool      // nothing to prove, or completed
	restarts  int       // how often it was issued again
	notBefore time.Time // when it may be
}

// beat sends heartbeats beside the loop, which may be held up by a slow node.
func (l *watching) beat(ctx context.Context) (stop func()) {
	interval := l.Heartbeat
	if interval == 0 {
		interval = 5 * time.Second
	}
	done := make(chan struct{})
	go func() {
		// The SDK sends the first heartbeat at once and the next after seconds: the first one should say something, as people wait for it.
		select {
		case <-l.looked:
		case <-time.After(min(interval, 2*time.Second)):
		case <-done:
			return
		}
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			l.mu.Lock()
			seen := l.seen
			l.mu.Unlock()
			activity.RecordHeartbeat(ctx, seen) // it may call Temporal: not under the mutex, which the loop takes
			select {
			case <-ticker.C:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// rest is how long nothing is looked at unless a head comes: until a deadline may be issued again, at most Again. Its length
// varies by a quarter, lest the watchers of five hundred miners all ask Temporal at the same moment.
func (l *watching) rest() time.Duration {
	again := l.Again
	if again == 0 {
		again = 8 * time.Second // with the pause of 5 s inside it: at most 10 s from a workflow's end to the next run
	}
	rest := again*3/4 + rand.N(again/2+1)
	for _, w := range l.active {
		if !w.notBefore.IsZero() && !w.final {
			rest = min(rest, time.Until(w.notBefore))
		}
	}
	return max(rest, again/8) // not at once, over and over, when Temporal does not let it be issued
}

// trouble tells of an error, in the heartbeat and in the log.
func (l *watching) trouble(ctx context.Context, err error) {
	if err == nil {
		return
	}
	l.say(func(s *Seen) { s.Problem = err.Error() })
	if ctx.Err() == nil {
		l.Log.Error("watching deadlines", "miner", post.MinerName(l.in.Miner), "error", err)
	}
}

func (l *watching) say(change func(*Seen)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.seen)
}

// follow looks at one head, when it is known how long an epoch is.
func (l *watching) follow(ctx context.Context, head *chain.TipSet) (over bool, err error) {
	if l.in.Settings.EpochDuration == 0 {
		epoch, err := l.Node.EpochDuration(ctx)
		if err != nil {
			return false, fmt.Errorf("asking the node how long an epoch is: %w", err)
		}
		l.in.Settings.EpochDuration = epoch
	}
	l.say(func(s *Seen) { s.EpochDuration = l.in.Settings.EpochDuration })
	if over, err = l.look(ctx, head); err == nil {
		err = l.ensureRecovery(ctx)
	}
	return over, err
}

// look reconciles at one head. It says whether the proving period that it was started in is over. One deadline's trouble
// does not keep the others waiting.
func (l *watching) look(ctx context.Context, head *chain.TipSet) (over bool, err error) {
	di, err := l.deadlineAt(ctx, head)
	if err != nil {
		if errors.Is(err, chain.ErrNoActor) {
			return false, temporal.NewNonRetryableApplicationError(
				fmt.Sprintf("the chain has no miner actor %s; correct its number in [[miners]] of posthaste.toml, or where it was added", post.MinerName(l.in.Miner)), workflows.ErrorNoSuchMiner, err)
		}
		return false, err
	}
	if l.seen.PeriodEnd == 0 {
		l.say(func(s *Seen) { s.PeriodEnd = di.NextPeriodStart() })
	}
	l.head, l.headAt, l.active = head, time.Now(), nil
	var errs []error
	for _, d := range post.Upcoming(l.in.Miner, di, l.in.Settings.ChallengeConfidence) {
		w := l.deadlines[d.WorkflowID()]
		if w == nil {
			w = &watched{Deadline: d, state: "new"}
			l.deadlines[d.WorkflowID()] = w
		}
		l.active = append(l.active, w)
		if err := l.read(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("deadline %s: %w", d, err))
			continue
		}
		if err := l.ensure(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("deadline %s: %w", d, err))
		}
	}
	l.tell()
	return head.Height >= l.seen.PeriodEnd, errors.Join(errs...)
}

// deadlineAt is the deadline that is current at a head. The node is asked once a period; the rest is arithmetic, and a call at every head would
// be most of what a miner with few sectors asks of it.
func (l *watching) deadlineAt(ctx context.Context, head *chain.TipSet) (*dline.Info, error) {
	if l.period != nil && head.Height < l.period.NextPeriodStart() {
		if di := post.InfoAt(l.period, head.Height); di != nil {
			return di, nil
		}
	}
	di, err := l.Node.StateMinerProvingDeadline(ctx, l.miner, head.Key())
	if err == nil {
		l.period = di
	}
	return di, err
}

// lookAgain reconciles between two heads: it asks Temporal, and not the node, about what was active at the last head and is not
// closed by now.
func (l *watching) lookAgain(ctx context.Context) error {
	var errs []error
	for _, w := range l.active {
		left := post.Until(l.head.Height, w.Close, l.in.Settings.EpochDuration)
		if !w.read || l.in.Settings.EpochDuration > 0 && time.Since(l.headAt) >= left {
			continue
		}
		if err := l.ensure(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("deadline %s: %w", w.Deadline, err))
		}
	}
	l.tell()
	return errors.Join(errs...)
}

// tell puts how the active deadlines stand into the heartbeat.
func (l *watching) tell() {
	var active []string
	for _, w := range l.active {
		active = append(active, fmt.Sprintf("%d: %s", w.Index, w.state))
	}
	l.say(func(s *Seen) { s.Active = active })
}

// ensure makes sure that one active deadline, whose partitions were read, has its workflow.
func (l *watching) ensure(ctx context.Context, w *watched) error {
	if w.final {
		return nil
	}
	id := w.WorkflowID()
	described, err := l.Temporal.DescribeWorkflowExecution(ctx, id, "")
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &notFound):
		return l.start(ctx, w)
	case err != nil:
		return fmt.Errorf("asking Temporal about workflow %s: %w", id, err)
	}
	info := described.GetWorkflowExecutionInfo()
	switch info.GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, enums.WORKFLOW_EXECUTION_STATUS_PAUSED:
		w.state, w.notBefore = "running", time.Time{}
		return nil
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		w.state, w.final = "completed", true
		return nil
	}
	// Removed by an operator, or failed: issued afresh while there is time, after a pause that gives them theirs.
	if w.notBefore.IsZero() {
		w.notBefore = issueAgainAt(info.GetCloseTime().AsTime(), time.Now(), l.pause(w.restarts))
	}
	w.state = info.GetStatus().String() + ", to be issued again"
	if time.Now().Before(w.notBefore) {
		return nil
	}
	l.Log.Warn("issuing a deadline again", "deadline", w.String(), "was", info.GetStatus().String(), "times", w.restarts+1)
	if err := l.start(ctx, w); err != nil {
		return err // it is tried again: only what was issued lengthens the pause
	}
	w.restarts++
	w.notBefore = time.Time{}
	return nil
}

// issueAgainAt is when a deadline is issued again whose workflow ended. That time is by the server's clock, which may be minutes ahead of ours.
func issueAgainAt(ended, now time.Time, pause time.Duration) time.Time {
	return earlier(ended, now).Add(pause)
}

// pause grows with every time that a deadline had to be issued again: something ends it over and over.
func (l *watching) pause(restarts int) time.Duration {
	pause := l.Pause
	if pause == 0 {
		pause = 5 * time.Second
	}
	for range min(restarts, 8) {
		pause = min(2*pause, time.Minute)
	}
	return pause
}

// read counts the partitions to prove, once a deadline.
func (l *watching) read(ctx context.Context, w *watched) error {
	if w.read {
		return nil
	}
	partitions, err := l.Node.StateMinerPartitions(ctx, l.miner, w.Index, l.head.Key())
	if err != nil {
		return err
	}
	for i, p := range partitions {
		toProve, err := post.ToProve(p.LiveSectors, p.FaultySectors, p.RecoveringSectors)
		if err != nil {
			return fmt.Errorf("partition %d: %w", i, err)
		}
		empty, err := toProve.IsEmpty()
		if err != nil {
			return fmt.Errorf("partition %d: %w", i, err)
		}
		if !empty {
			w.toProve++
		}
	}
	w.read = true
	if w.toProve == 0 {
		w.state, w.final = "nothing to prove", true
	}
	return nil
}

// start starts a deadline's workflow, however many others try to at the same moment.
func (l *watching) start(ctx context.Context, w *watched) error {
	d := w.Deadline
	in := workflows.DeadlineInput{Deadline: d, Head: l.head.Height, Settings: l.in.Settings}
	_, err := l.Temporal.ExecuteWorkflow(ctx, workflows.DeadlineOptions(d, w.toProve), workflows.NameDeadlineWorkflow, in)
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	if err != nil && !errors.As(err, &already) {
		return fmt.Errorf("starting workflow %s: %w", d.WorkflowID(), err)
	}
	w.state = "started"
	return nil
}

// RequestMessage hands a message to its sender's workflow, which is started if there is none.
func (w *Watch) RequestMessage(ctx context.Context, request post.MessageRequest) error {
	id := SenderWorkflowID(request.From)
	_, err := w.Temporal.SignalWithStartWorkflow(ctx, id, workflows.SignalSend, request, client.StartWorkflowOptions{
		ID: id, TaskQueue: workflows.QueueChain,
		StaticSummary: "messages of " + request.From,
	}, workflows.NameSenderWorkflow, workflows.SenderState{From: request.From})
	if err != nil {
		return fmt.Errorf("asking workflow %s to send message %s: %w", id, request.ID, err)
	}
	return nil
}

// SenderWorkflowID names the one workflow of a sending address.
func SenderWorkflowID(from string) string { return "sender-" + from }
