package activities_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// starter is a Temporal that knows which workflows run.
type starter struct {
	mu       sync.Mutex
	status   map[string]enums.WorkflowExecutionStatus
	ended    map[string]time.Time
	started  []string
	options  map[string]client.StartWorkflowOptions
	inputs   map[string]workflows.DeadlineInput
	signals  []post.MessageRequest
	describe error
	start    error

	described  int
	recoveries []post.RecoveryBook // of RecoveryWorkflows that were started, or ran
}

func newStarter() *starter {
	return &starter{status: map[string]enums.WorkflowExecutionStatus{}, ended: map[string]time.Time{},
		options: map[string]client.StartWorkflowOptions{}, inputs: map[string]workflows.DeadlineInput{}}
}

func (s *starter) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start != nil {
		return nil, s.start
	}
	if book, ok := args[0].(post.RecoveryBook); ok {
		s.recoveries = append(s.recoveries, book)
		return nil, nil
	}
	s.started = append(s.started, options.ID)
	s.status[options.ID], s.options[options.ID], s.inputs[options.ID] = running, options, args[0].(workflows.DeadlineInput)
	return nil, nil
}

func (s *starter) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.described++
	status, known := s.status[id]
	switch {
	case s.describe != nil:
		return nil, s.describe
	case !known:
		return nil, serviceerror.NewNotFound("no such workflow")
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: status, CloseTime: timestamppb.New(s.ended[id])}}, nil
}

func (s *starter) SignalWithStartWorkflow(_ context.Context, id, signal string, arg any, options client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start != nil {
		return nil, s.start
	}
	if id != options.ID || signal != workflows.SignalSend || args[0].(workflows.SenderState).From == "" {
		return nil, fmt.Errorf("odd call: %s, %s, %v", id, signal, args)
	}
	s.signals = append(s.signals, arg.(post.MessageRequest))
	return nil, nil
}

// ends closes a workflow, so long ago.
func (s *starter) ends(id string, status enums.WorkflowExecutionStatus, ago time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status[id], s.ended[id] = status, time.Now().Add(-ago)
}

func (s *starter) fails(describe, start error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.describe, s.start = describe, start
}

func (s *starter) describes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.described
}

func (s *starter) starts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.started...)
}

// headStream gives the heads that a test sends.
type headStream chan *chain.TipSet

func (h headStream) Heads(context.Context) <-chan *chain.TipSet { return h }

// run is a WatchDeadlines under way.
type run struct {
	t        *testing.T
	node     *node
	temporal *starter
	heads    headStream
	ended    chan error
	mu       sync.Mutex
	beats    []activities.Seen
}

// pause is how long a terminated deadline is left alone: far longer than a test takes, which says instead how long ago one
// was terminated.
const pause = 20 * time.Second

// watch starts WatchDeadlines for f01000.
func watch(t *testing.T, n *node, s *starter) *run { return watchAgain(t, n, s, 0) }

// watchAgain is watch with what is looked at between two heads, so often; 0 is the default, longer than a test takes.
func watchAgain(t *testing.T, n *node, s *starter, again time.Duration) *run {
	return watchWith(t, n, s, again, post.DefaultSettings())
}

func watchWith(t *testing.T, n *node, s *starter, again time.Duration, settings post.Settings) *run {
	r := &run{t: t, node: n, temporal: s, heads: make(headStream), ended: make(chan error, 1)}
	w := &activities.Watch{Node: n, Heads: r.heads, Temporal: s, Log: slog.New(slog.DiscardHandler), Pause: pause, Heartbeat: time.Millisecond, Again: again}
	env := newEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&listener{run: r}}})
	env.RegisterActivity(w.WatchDeadlines)
	go func() {
		_, err := env.ExecuteActivity(w.WatchDeadlines, workflows.WatchInput{Miner: 1000, Settings: settings})
		r.ended <- err
	}()
	return r
}

// head gives a head and waits until the one before it was worked on.
func (r *run) head(heights ...abi.ChainEpoch) {
	r.t.Helper()
	for _, h := range heights {
		select {
		case r.heads <- tipset(h):
		case err := <-r.ended:
			r.t.Fatalf("it ended before epoch %d: %v", h, err)
		case <-time.After(patience):
			r.t.Fatalf("it takes no head at epoch %d", h)
		}
	}
}

// through gives every head from one to another, the last twice: after that all of them were worked on.
func (r *run) through(from, to abi.ChainEpoch) {
	r.t.Helper()
	for h := from; h <= to; h++ {
		r.head(h)
	}
	r.head(to)
}

// finish gives the head that ends the period.
func (r *run) finish() error {
	r.t.Helper()
	r.head(140)
	return r.wait()
}

func (r *run) wait() error {
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		return errors.New("it does not end")
	}
}

// looksAgain waits until the deadlines were looked at so many times more.
func (r *run) looksAgain(times int) {
	r.t.Helper()
	enough := r.temporal.describes() + times
	for end := time.Now().Add(patience); r.temporal.describes() < enough; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("the deadlines are not looked at without a head")
		}
	}
}

// seen waits for a heartbeat that a condition holds for.
func (r *run) seen(what string, is func(activities.Seen) bool) activities.Seen {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		r.mu.Lock()
		var last activities.Seen
		if len(r.beats) > 0 {
			last = r.beats[len(r.beats)-1]
		}
		r.mu.Unlock()
		if is(last) {
			return last
		}
	}
	r.t.Fatalf("no heartbeat with %s", what)
	return activities.Seen{}
}

// listener hears every heartbeat: the SDK passes on only some.
type listener struct {
	interceptor.WorkerInterceptorBase
	run *run
}

type inbound struct {
	interceptor.ActivityInboundInterceptorBase
	run *run
}

type outbound struct {
	interceptor.ActivityOutboundInterceptorBase
	run *run
}

func (l *listener) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &inbound{run: l.run}
	in.Next = next
	return in
}

func (i *inbound) Init(next interceptor.ActivityOutboundInterceptor) error {
	out := &outbound{run: i.run}
	out.Next = next
	return i.Next.Init(out)
}

func (o *outbound) RecordHeartbeat(ctx context.Context, details ...any) {
	o.run.mu.Lock()
	o.run.beats = append(o.run.beats, details[0].(activities.Seen))
	o.run.mu.Unlock()
	o.Next.RecordHeartbeat(ctx, details...)
}
