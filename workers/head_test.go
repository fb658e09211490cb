package workers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/workers"
)

func TestHeadGoesOn(t *testing.T) {
	seen := time.Unix(10_000, 0)
	head := workers.Head{Epoch: 500, At: seen, EpochDuration: 30 * time.Second}
	for situation, c := range map[string]struct {
		head workers.Head
		at   time.Time
		want int64
	}{
		"as it was seen":                   {head, seen, 500},
		"before the next epoch":            {head, seen.Add(29 * time.Second), 500},
		"an hour without a daemon":         {head, seen.Add(time.Hour), 620},
		"our clock is behind the server's": {head, seen.Add(-time.Minute), 500},
		"epochs of unknown length":         {workers.Head{Epoch: 500, At: seen}, seen.Add(time.Hour), 500},
	} {
		t.Run(situation, func(t *testing.T) { require.EqualValues(t, c.want, c.head.When(c.at)) })
	}
	require.True(t, head.Known())
	require.False(t, workers.Head{}.Known())
	require.False(t, workers.Head{At: seen, EpochDuration: time.Second}.Known(), "the watching has begun and seen no head yet")
}
