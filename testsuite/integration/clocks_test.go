package integration_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// Machines whose clocks are minutes apart from Temporal's, and twice as much from each other's: nothing is missed, and nothing is done twice.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ daemon, worker time.Duration }{
		"the daemon's is fast, the worker's slow": {7 * time.Minute, -7 * time.Minute},
		"the daemon's is slow, the worker's fast": {-7 * time.Minute, 7 * time.Minute},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			ctx := within(t, 3*time.Minute)
			r := rig.New(t, rig.Options{
				Chain: slowChain("--miners", "1", "--deadlines", "4"),
				Before: func(r *rig.Rig) {
					var err error
					r.Config.Temporal, err = r.Skewed(c.daemon)
					require.NoError(t, err)
					r.Config.Workers[0].Temporal, err = r.Skewed(c.worker)
					require.NoError(t, err)
				},
			})
			for _, d := range allPosted(ctx, t, r, 2) {
				p := partitionOf(t, resultOf(ctx, t, r, d), 0)
				assert.Equal(t, post.StatePosted, p.State)
				assert.Equal(t, 1, p.Tries)
			}
			says(ctx, t, r.Daemon, "clock", "differ")
			says(ctx, t, r.Worker, "clock", "differ")
		})
	}
}
