package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
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
}

// Seen is what the heartbeat of WatchDeadlines says.
type Seen struct {
	Head      abi.ChainEpoch `json:"head"`
	PeriodEnd abi.ChainEpoch `json:"period_end"`
	Active    []string       `json:"active"` // deadlines between Challenge and Close, and how each stands
	Problem   string         `json:"problem,omitempty"`
}

// WatchDeadlines follows the chain until the miner's proving period ends, and sees to it that every active deadline with
// something to prove has its workflow: a reconcile loop, since operators terminate workflows and daemons die.
func (w *Watch) WatchDeadlines(ctx context.Context, in workflows.WatchInput) error {
	miner, err := chain.MinerAddress(in.Miner)
	if err != nil {
		return err
	}
	loop := &watching{Watch: w, in: in, miner: miner, deadlines: map[string]*watched{}}
	stop := loop.beat(ctx)
	defer stop()
	for head := range w.Heads.Heads(ctx) {
		over, err := loop.look(ctx, head)
		if errors.As(err, new(*temporal.ApplicationError)) {
			return err
		}
		loop.say(func(s *Seen) {
			s.Head, s.Problem = head.Height, ""
			if err != nil {
				s.Problem = err.Error()
			}
		})
		if err != nil && ctx.Err() == nil {
			w.Log.Error("watching deadlines", "miner", post.MinerName(in.Miner), "error", err)
		}
		if over {
			return nil
		}
	}
	return ctx.Err()
}

// watching is one run of WatchDeadlines.
type watching struct {
	*Watch
	in        workflows.WatchInput
	miner     address.Address
	deadlines map[string]*watched // by workflow ID

	mu   sync.Mutex
	seen Seen
}

// watched is what is known of one active deadline.
type watched struct {
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

func (l *watching) say(change func(*Seen)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.seen)
}

// look reconciles at one head. It says whether the proving period that it was started in is over. One deadline's trouble
// does not keep the others waiting.
func (l *watching) look(ctx context.Context, head *chain.TipSet) (over bool, err error) {
	di, err := l.Node.StateMinerProvingDeadline(ctx, l.miner, head.Key())
	if err != nil {
		if errors.Is(err, chain.ErrNoActor) {
			return false, temporal.NewNonRetryableApplicationError(
				fmt.Sprintf("the chain has no miner actor %s; correct [[miners]] in posthaste.toml", post.MinerName(l.in.Miner)), workflows.ErrorNoSuchMiner, err)
		}
		return false, err
	}
	if l.seen.PeriodEnd == 0 {
		l.say(func(s *Seen) { s.PeriodEnd = di.NextPeriodStart() })
	}
	var active []string
	var errs []error
	for _, d := range post.Upcoming(l.in.Miner, di, l.in.Settings.ChallengeConfidence) {
		state, err := l.ensure(ctx, d, head)
		if err != nil {
			errs = append(errs, fmt.Errorf("deadline %s: %w", d, err))
		}
		active = append(active, fmt.Sprintf("%d: %s", d.Index, state))
	}
	l.say(func(s *Seen) { s.Active = active })
	return head.Height >= l.seen.PeriodEnd, errors.Join(errs...)
}

// ensure makes sure that one active deadline has its workflow.
func (l *watching) ensure(ctx context.Context, d post.Deadline, head *chain.TipSet) (state string, err error) {
	id := d.WorkflowID()
	w := l.deadlines[id]
	if w == nil {
		w = &watched{state: "new"}
		l.deadlines[id] = w
	}
	if w.final {
		return w.state, nil
	}
	if err := l.read(ctx, w, d, head); err != nil || w.final {
		return w.state, err
	}
	described, err := l.Temporal.DescribeWorkflowExecution(ctx, id, "")
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &notFound):
		return l.start(ctx, w, d, head)
	case err != nil:
		return w.state, fmt.Errorf("asking Temporal about workflow %s: %w", id, err)
	}
	info := described.GetWorkflowExecutionInfo()
	switch info.GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, enums.WORKFLOW_EXECUTION_STATUS_PAUSED:
		w.state = "running"
		return w.state, nil
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		w.state, w.final = "completed", true
		return w.state, nil
	}
	// Removed by an operator, or failed: issued afresh while there is time, after a pause that gives them theirs.
	if w.notBefore.IsZero() {
		w.notBefore = info.GetCloseTime().AsTime().Add(l.pause(w.restarts))
	}
	w.state = info.GetStatus().String() + ", to be issued again"
	if time.Now().Before(w.notBefore) {
		return w.state, nil
	}
	l.Log.Warn("issuing a deadline again", "deadline", d.String(), "was", info.GetStatus().String(), "times", w.restarts+1)
	if state, err := l.start(ctx, w, d, head); err != nil {
		return state, err // the next head tries again: only what was issued lengthens the pause
	}
	w.restarts++
	w.notBefore = time.Time{}
	return w.state, nil
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
func (l *watching) read(ctx context.Context, w *watched, d post.Deadline, head *chain.TipSet) error {
	if w.read {
		return nil
	}
	partitions, err := l.Node.StateMinerPartitions(ctx, l.miner, d.Index, head.Key())
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
func (l *watching) start(ctx context.Context, w *watched, d post.Deadline, head *chain.TipSet) (string, error) {
	_, err := l.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: d.WorkflowID(), TaskQueue: workflows.QueueChain,
		WorkflowIDConflictPolicy:                 workflows.DeadlineConflictPolicy,
		WorkflowIDReusePolicy:                    workflows.DeadlineReusePolicy,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            fmt.Sprintf("%s deadline %d: %s, epochs %d to %d", post.MinerName(d.Miner), d.Index, post.Count(w.toProve, "partition"), d.Open, d.Close),
		StaticDetails: fmt.Sprintf("WindowPoSt of **%s**, deadline %d of the proving period that began at epoch %d.\n\nChallenge %d, Open %d, Close %d.",
			post.MinerName(d.Miner), d.Index, d.PeriodStart, d.Challenge, d.Open, d.Close),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(workflows.AttributeMiner).ValueSet(post.MinerName(d.Miner)),
			temporal.NewSearchAttributeKeyKeyword(workflows.AttributeDeadline).ValueSet(strconv.FormatUint(d.Index, 10)),
			temporal.NewSearchAttributeKeyKeyword(workflows.AttributeState).ValueSet(string(post.StateWaiting)),
		),
	}, workflows.NameDeadlineWorkflow, workflows.DeadlineInput{Deadline: d, Head: head.Height, Settings: l.in.Settings})
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	if err != nil && !errors.As(err, &already) {
		return w.state, fmt.Errorf("starting workflow %s: %w", d.WorkflowID(), err)
	}
	w.state = "started"
	return w.state, nil
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
