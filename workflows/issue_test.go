package workflows_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/workflows"
)

// A deadline that cannot be read from the chain must be seen all the same, with its Close.
func TestADeadlineIsSeenFromItsStart(t *testing.T) {
	d := post.Deadline{Miner: 1000, PeriodStart: 2460, Index: 7, Challenge: 2880, Open: 2900, Close: 2960}
	board, ok := workflows.DeadlineOptions(d, 0).Memo[workflows.MemoBoard].(post.Result)
	require.True(t, ok)
	require.Equal(t, d, board.Deadline)
	require.True(t, post.OpenDeadline{Result: board}.Unloaded())
}
