package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNext(t *testing.T) {
	const epoch = 100 * time.Millisecond
	due := time.Unix(1000, 0)
	cases := []struct {
		name string
		late time.Duration // of the work of the epoch that was due
		want time.Duration // after the time at which that was due
	}{
		{"in time", 20 * time.Millisecond, epoch},
		{"a little late: the next comes where it would have", 250 * time.Millisecond, epoch},
		{"as late as can be made up", 5 * epoch, epoch},
		{"later: what is lost stays lost", 30 * epoch, 26 * epoch},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, due.Add(c.want), Next(due, due.Add(c.late), epoch))
		})
	}
}

func TestNulls(t *testing.T) {
	var n Nulls
	require.False(t, n.Has(7))
	require.Equal(t, []int64{}, n.After(0))
	n.Add(9, 7)
	n.Add(7, 12)
	require.True(t, n.Has(7))
	require.False(t, n.Has(8))
	require.Equal(t, []int64{9, 12}, n.After(7))
}
