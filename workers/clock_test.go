package workers

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestTasksGetTheirTimesByOurClock(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for situation, c := range map[string]struct {
		server      time.Duration // the server's clock less ours
		ahead, move time.Duration
		warns       bool
	}{
		"both are right":         {0, 0, 0, false},
		"the answer's way":       {-300 * time.Millisecond, 0, 0, false},
		"five minutes fast":      {-5 * time.Minute, 5 * time.Minute, 5 * time.Minute, true},
		"five minutes slow":      {5 * time.Minute, -5 * time.Minute, -5 * time.Minute, true},
		"some seconds, not told": {-4 * time.Second, 4 * time.Second, 4 * time.Second, false},
	} {
		t.Run(situation, func(t *testing.T) {
			var log bytes.Buffer
			clock := &serverClock{log: slog.New(slog.NewTextHandler(&log, nil))}
			started, scheduled := now.Add(c.server), now.Add(c.server-time.Minute)
			for range 2 {
				task := &workflowservice.PollActivityTaskQueueResponse{StartedTime: timestamppb.New(started), ScheduledTime: timestamppb.New(scheduled)}
				clock.correct(task, now)
				require.Equal(t, c.ahead, clock.Ahead())
				require.Equal(t, started.Add(c.move), task.GetStartedTime().AsTime())
				require.Equal(t, scheduled.Add(c.move), task.GetScheduledTime().AsTime())
				require.Nil(t, task.GetCurrentAttemptScheduledTime())
			}
			require.Equal(t, c.warns, strings.Count(log.String(), "clock") == 1, log.String())
		})
	}
	clock := &serverClock{}
	clock.correct(&workflowservice.PollActivityTaskQueueResponse{}, now) // a poll that ended without a task
	require.Zero(t, clock.Ahead())
}

func TestEagerTasksToo(t *testing.T) {
	clock := &serverClock{log: slog.New(slog.DiscardHandler)}
	reply := &workflowservice.RespondWorkflowTaskCompletedResponse{ActivityTasks: []*workflowservice.PollActivityTaskQueueResponse{
		{StartedTime: timestamppb.New(time.Now().Add(time.Hour))},
	}}
	require.NoError(t, clock.intercept(t.Context(), "", nil, reply, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }))
	require.WithinDuration(t, time.Now(), reply.GetActivityTasks()[0].GetStartedTime().AsTime(), time.Minute)
	require.InDelta(t, -time.Hour, clock.Ahead(), float64(time.Minute))
}
