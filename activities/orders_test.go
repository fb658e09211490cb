package activities_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// steered is a worker that does what it is told.
type steered struct {
	mu      sync.Mutex
	applied []workflows.OrdersInput
	refuse  error
}

func (s *steered) Apply(_ context.Context, in workflows.OrdersInput) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = append(s.applied, in)
	return s.refuse
}

func (s *steered) Now() post.WorkerNow {
	return post.WorkerNow{Instance: "worker w@1", State: "running"}
}

// attend runs AttendWorker until it ends.
func attend(server *attempts, stopping chan struct{}) <-chan error {
	o := &activities.WorkerOrders{Worker: &steered{}, Temporal: server, Log: slog.New(slog.DiscardHandler), Stopping: stopping, Every: time.Millisecond}
	env := newEnvironment()
	env.SetTestTimeout(2 * patience)
	env.RegisterActivity(o.AttendWorker)
	ended := make(chan error, 1)
	go func() {
		_, err := env.ExecuteActivity(o.AttendWorker, "w")
		ended <- err
	}()
	return ended
}

func TestAttendWorker(t *testing.T) {
	server, stopping := &attempts{}, make(chan struct{})
	ended := attend(server, stopping)
	require.True(t, server.more(3))
	assert.Equal(t, post.WorkerNow{Instance: "worker w@1", State: "running"}, server.nows[0])
	server.answers(serviceerror.NewUnavailable("connection refused"))
	require.True(t, server.more(3), "an outage does not end it")
	server.answers(nil)
	require.True(t, server.more(3))
	close(stopping)
	failed(t, <-ended, post.FailureHandOver, true)
}

func TestAttendWorkerEndsWhenNobodyListens(t *testing.T) {
	for name, answer := range map[string]error{
		"this attempt timed out": errGone,
		"cancelled":              temporal.NewCanceledError(),
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, <-attend(&attempts{answer: answer}, nil))
		})
	}
}

func TestApplyOrders(t *testing.T) {
	s := &steered{}
	o := &activities.WorkerOrders{Worker: s, Log: slog.New(slog.DiscardHandler)}
	in := workflows.OrdersInput{Orders: post.Orders{Paused: "new driver"}, Drain: true}
	require.NoError(t, o.ApplyOrders(t.Context(), in))
	assert.Equal(t, []workflows.OrdersInput{in}, s.applied)
	s.refuse = errors.New("no card c9")
	require.ErrorIs(t, o.ApplyOrders(t.Context(), in), s.refuse)
}

func TestCardsNow(t *testing.T) {
	assert.Equal(t, []post.CardNow{
		{Name: "c0", State: "proving", PID: 7, Device: "RTX", Job: "f01000/7 partition 0, f01000/7 partition 1", Phase: post.PhaseSnark, Seconds: 3, Proofs: 1},
		{Name: "c1", State: "fenced", Failures: 3, Restarts: 2, Error: "three false proofs"},
	}, activities.CardsNow([]prover.CardStatus{
		{Name: "c0", State: prover.StateProving, PID: 7, Device: "RTX", Jobs: []string{"f01000/7 partition 0", "f01000/7 partition 1"}, Phase: post.PhaseSnark, Seconds: 3, Proofs: 1},
		{Name: "c1", State: prover.StateFenced, Failures: 3, Restarts: 2, Error: "three false proofs"},
	}))
}
