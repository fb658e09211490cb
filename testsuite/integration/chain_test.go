package integration_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// slowChain is a chain for real proofs, and for processes that are killed, with flags in the place of some of these. Tests run beside each other,
// so that a proof of a second may take ten: from a challenge to Close there are 54 s, in which a worker's loss is noticed (15 s without a
// heartbeat) and made good as well. A new deadline comes every 18 s.
func slowChain(flags ...string) []string {
	return slices.Concat([]string{"--miners", "2", "--epoch", "600ms", "--window", "60", "--lookback", "30", "--fault-cutoff", "35",
		"--deadlines", "8", "--wide-every", "0"}, flags)
}

// deadlinesUntil waits until the chain has closed a deadline, and counts those that are closed up to and with it, so that all of them can be
// looked at.
func deadlinesUntil(ctx context.Context, t *testing.T, r *rig.Rig, last post.Deadline) (n int) {
	t.Helper()
	require.Positive(t, last.Close, "%s is not known", last)
	require.NoError(t, r.WaitEpoch(ctx, last.Close+1))
	report, err := r.Report(ctx)
	require.NoError(t, err)
	for _, d := range report.Deadlines {
		if d.Close <= last.Close {
			n++
		}
	}
	require.Positive(t, n, "the chain has closed nothing up to %s", last)
	return n
}
