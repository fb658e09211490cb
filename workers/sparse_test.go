package workers

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheSDKSaysAnOutageOnce(t *testing.T) {
	var out strings.Builder
	handler := newSparse(slog.New(slog.NewTextHandler(&out, nil))).With("worker", "w").Handler()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for second := 0; second <= 15*60; second += 10 {
		for _, message := range []string{sdkHeartbeatFails, "something else"} {
			require.NoError(t, handler.Handle(t.Context(), slog.NewRecord(start.Add(time.Duration(second)*time.Second), slog.LevelWarn, message, 0)))
		}
	}
	require.Equal(t, 2, strings.Count(out.String(), sdkHeartbeatFails), "in a quarter of an hour")
	require.Equal(t, 91, strings.Count(out.String(), "something else"))
	require.Equal(t, 93, strings.Count(out.String(), "worker=w"))
}
