package activities_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/webhook"
	"posthaste/workflows"
)

// watchServer is Temporal, a webhook and the world, as far as whoever watches for alerts sees them.
type watchServer struct {
	mu       sync.Mutex
	beats    []activities.Watched
	refuse   error          // the answer to heartbeats
	reported post.AlertBook // by signal
	memo     post.AlertBook
	fenced   []string // cards
	unread   error    // the look fails
	problem  string   // the look is not complete
	answer   int      // of the webhook; 0 is 200
	messages []string // that the webhook took
	tried    int
	observed []post.Outlook
}

func (s *watchServer) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *watchServer) RecordActivityHeartbeat(_ context.Context, _ []byte, details ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse == nil {
		s.beats = append(s.beats, details[0].(activities.Watched))
	}
	return s.refuse
}

func (s *watchServer) DescribeWorkflowExecution(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	payload, err := converter.GetDefaultDataConverter().ToPayload(s.memo)
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
		Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoAlerts: payload}},
	}}, err
}

func (s *watchServer) SignalWorkflow(_ context.Context, _, _, signal string, arg any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if signal != workflows.SignalAlerts {
		return errors.New("unexpected signal " + signal)
	}
	s.reported = arg.(post.AlertBook)
	return nil
}

func (s *watchServer) read(context.Context) (post.Outlook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := post.Outlook{At: time.Now(), Problem: s.problem, Workers: []post.WorkerOutlook{{Alive: true, WorkerState: post.WorkerState{Report: post.WorkerReport{Name: "w1"}}}}}
	for _, card := range s.fenced {
		o.Workers[0].Orders.Fences = append(o.Workers[0].Orders.Fences, post.Fence{Card: card, Reason: "it fell back"})
	}
	return o, s.unread
}

func (s *watchServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried++
	if err != nil || s.answer != 0 {
		w.WriteHeader(max(s.answer, http.StatusBadRequest))
		return
	}
	s.messages = append(s.messages, string(body))
}

// watching runs WatchAlerts until the function that it gives is called, which is as when the daemon stops.
func (s *watchServer) watching(t *testing.T, from post.AlertBook, before *activities.Watched) (stop func() error) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	a := &activities.Alerts{
		Read: s.read, Temporal: s, Limits: post.Limits{Hold: 20 * time.Millisecond, NodeBehind: 5}, Log: slog.New(slog.DiscardHandler),
		Every: 5 * time.Millisecond, Pause: time.Millisecond,
		Hooks:   []webhook.Hook{{Name: "h", Kind: webhook.Slack, URL: webhook.URL(server.URL), Resolved: true}},
		Observe: func(o post.Outlook, _ []post.OpenAlert) { s.with(func() { s.observed = append(s.observed, o) }) },
	}
	env := newEnvironment()
	env.SetTestTimeout(2 * patience)
	env.RegisterActivity(a.WatchAlerts)
	if before != nil {
		env.SetHeartbeatDetails(*before)
	}
	stopping, ended := make(chan struct{}), make(chan error, 1)
	env.SetWorkerStopChannel(stopping)
	go func() {
		_, err := env.ExecuteActivity(a.WatchAlerts, from)
		ended <- err
	}()
	var once sync.Once
	return func() error {
		once.Do(func() { close(stopping) })
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("it does not end")
		}
	}
}

// soon waits until something holds.
func (s *watchServer) soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return holds() }, patience, time.Millisecond, what)
}

// looks waits for some more looks.
func (s *watchServer) looks(t *testing.T, n int) {
	t.Helper()
	var seen int
	s.with(func() { seen = len(s.observed) })
	s.soon(t, "it looks again", func() bool { return len(s.observed) >= seen+n })
}

func TestACauseIsToldOnceOverAttempts(t *testing.T) {
	s := &watchServer{fenced: []string{"card0"}}
	stop := s.watching(t, post.AlertBook{}, nil)
	s.soon(t, "it is told", func() bool { return len(s.messages) == 1 })
	s.looks(t, 10)
	require.ErrorContains(t, stop(), "the daemon is stopping")
	require.Len(t, s.messages, 1)
	require.Contains(t, s.messages[0], "posthaste worker unfence w1 card0")
	require.Zero(t, s.observed[len(s.observed)-1].At, "the metrics hear that this daemon watches no longer")
	last := s.beats[len(s.beats)-1]
	require.Len(t, last.Book.Open(), 1)
	require.Equal(t, last.Book.Count, s.reported.Count, "its workflow knows all that its heartbeat says")
	reported := s.reported

	for name, next := range map[string]func() func() error{
		"the heartbeat remembers":         func() func() error { return s.watching(t, post.AlertBook{}, &last) },
		"the workflow remembers":          func() func() error { return s.watching(t, reported, nil) },
		"the memo remembers, after reset": func() func() error { s.memo = reported; return s.watching(t, post.AlertBook{}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			stop := next()
			s.looks(t, 10)
			require.Error(t, stop())
			require.Len(t, s.messages, 1, "nobody is told twice")
		})
	}

	s.fenced = nil
	stop = s.watching(t, post.AlertBook{}, &last)
	s.soon(t, "its end is told", func() bool { return len(s.messages) == 2 })
	s.looks(t, 10)
	require.Error(t, stop())
	require.Len(t, s.messages, 2)
	require.Contains(t, s.messages[1], "over")
	require.Empty(t, s.beats[len(s.beats)-1].Book.Alerts)
}

// A webhook that was away hears, in one message, of what is open when it is back.
func TestAWebhookThatIsAway(t *testing.T) {
	s := &watchServer{fenced: []string{"card0", "short"}, answer: http.StatusInternalServerError}
	stop := s.watching(t, post.AlertBook{}, nil)
	s.soon(t, "it is tried again", func() bool { return s.tried >= 2 })
	s.soon(t, "people can see that", func() bool {
		return strings.Contains(s.beats[len(s.beats)-1].Hooks[0].Problem, "500 Internal Server Error")
	})
	s.with(func() { s.fenced = []string{"card0", "card1"} })
	s.soon(t, "the short one is over", func() bool {
		var open []string
		for _, a := range s.beats[len(s.beats)-1].Book.Alerts {
			open = append(open, a.Subject)
		}
		return slices.Equal(open, []string{"card w1/card0", "card w1/card1"})
	})
	s.with(func() { s.answer = 0 })
	s.soon(t, "it is told", func() bool { return len(s.messages) > 0 })
	s.looks(t, 10)
	s.soon(t, "all is well", func() bool { return s.beats[len(s.beats)-1].Hooks[0].Problem == "" })
	require.Error(t, stop())
	require.Len(t, s.messages, 1)
	assert.Contains(t, s.messages[0], "card0")
	assert.Contains(t, s.messages[0], "card1")
	assert.NotContains(t, s.messages[0], "short")
}

// Another one may watch already: who is not sure tells nobody.
func TestWithoutTemporalNobodyIsTold(t *testing.T) {
	s := &watchServer{fenced: []string{"card0"}, refuse: context.DeadlineExceeded}
	stop := s.watching(t, post.AlertBook{}, nil)
	s.looks(t, 10)
	s.with(func() {
		require.Zero(t, s.tried)
		s.refuse = nil
	})
	s.soon(t, "it goes on when Temporal answers", func() bool { return len(s.messages) == 1 })
	require.Error(t, stop())
}

func TestAnAttemptThatTemporalGaveUpEnds(t *testing.T) {
	for name, refuse := range map[string]error{"timed out": serviceerror.NewNotFound("gone"), "cancelled": temporal.NewCanceledError()} {
		t.Run(name, func(t *testing.T) {
			s := &watchServer{fenced: []string{"card0"}, refuse: refuse}
			stop := s.watching(t, post.AlertBook{}, nil)
			s.looks(t, 1) // it ends by itself: its last word is an empty outlook
			s.soon(t, "it ends", func() bool { return s.observed[len(s.observed)-1].At.IsZero() })
			require.Error(t, stop())
			require.Zero(t, s.tried)
		})
	}
}

func TestALookThatFailsEndsNothing(t *testing.T) {
	s := &watchServer{fenced: []string{"card0"}}
	stop := s.watching(t, post.AlertBook{}, nil)
	s.soon(t, "it is told", func() bool { return len(s.messages) == 1 })
	s.with(func() { s.fenced, s.problem = nil, "one workflow does not answer" })
	s.looks(t, 20)
	s.with(func() { s.problem, s.unread = "", errors.New("Temporal is busy") })
	s.soon(t, "people can see that", func() bool { return s.beats[len(s.beats)-1].Problem == "Temporal is busy" })
	s.with(func() { require.Len(t, s.messages, 1) })
	s.with(func() { s.unread = nil })
	s.soon(t, "its end is told when all was seen", func() bool { return len(s.messages) == 2 })
	require.Error(t, stop())
}

// A webhook that was away hears of what is open also while nothing can be looked at.
func TestWhatIsKnownIsToldWhileALookFails(t *testing.T) {
	s := &watchServer{fenced: []string{"card0"}, answer: http.StatusInternalServerError}
	stop := s.watching(t, post.AlertBook{}, nil)
	s.soon(t, "it is tried", func() bool { return s.tried >= 1 })
	s.with(func() { s.unread, s.answer = errors.New("Temporal is busy"), 0 })
	s.soon(t, "it is told", func() bool { return len(s.messages) == 1 })
	require.Error(t, stop())
}
