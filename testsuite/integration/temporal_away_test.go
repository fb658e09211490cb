package integration_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
)

// Temporal goes away in the middle of three proofs: one that reads its sectors, one in its SNARK, one that has just been made and is
// being delivered. However long it stays away, and although another worker has a free card: each proof is delivered, none is
// computed twice, and no try is burned.
func TestTemporalAway(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{5 * time.Second, 30 * time.Second, 3 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			t.Parallel()
			ctx := within(t, away+90*time.Second)
			f := newFleet(t, load.Options{})
			miner := f.miner(ctx, t, 0, 3)
			// The first ends after the outage, the second within it where it is long enough, the third as it begins.
			f.start(ctx, t, rig.Worker{Name: "a", Attached: miner.Stores(), Cards: []rig.Card{
				f.stub("reads", away+time.Second, "--phases", "--vanilla", "6s"),
				f.stub("proves", 10*time.Second, "--phases", "--vanilla", "100ms"),
				f.stub("ends", 3*time.Second, "--phases", "--vanilla", "500ms"),
			}})
			f.reported(ctx, t)
			d := f.issue(ctx, t, load.Work{Miner: miner})
			last := f.event(ctx, t, "three proofs are being made", func(stub.Event) bool { return f.count(t, load.Begun(time.Time{})) == 3 })
			spare := f.start(ctx, t, rig.Worker{Name: "spare", Attached: miner.Stores(), Cards: f.stubs(2, 15*time.Second, "--phases", "--vanilla", "100ms")})
			ends := func(e stub.Event) bool { return e.Event == stub.EventEnd && e.At.After(last.At) }
			f.event(ctx, t, "one is made", ends)
			f.Temporal.Kill()
			require.Equal(t, 1, f.count(t, ends), "only one was to be over when Temporal went away")
			require.Positive(t, f.count(t, func(e stub.Event) bool { return e.Phase == "vanilla" })-f.count(t, func(e stub.Event) bool { return e.Phase == "snark" }), "one was to be in its reads")
			time.Sleep(away)
			require.NoError(t, f.Temporal.Start(ctx))

			for i := range uint64(3) {
				p := f.posted(ctx, t, d, i)
				assert.Equal(t, 1, p.Tries, "partition %d: an outage is nobody's failed try", i)
				assert.Equal(t, "a", workerOf(p.Card), "partition %d: by the card that had it", i)
			}
			if away > time.Minute {
				record(ctx, t, f.Rig, d.WorkflowID(), "", "deadline-proofs-over-an-outage")
			}
			finished := map[string]int{}
			for _, e := range f.events(t) {
				if e.Event == stub.EventEnd {
					finished[e.Job]++
				}
			}
			for i := range miner.Sets {
				assert.Equal(t, 1, finished[miner.Key(i)], "proof of partition %d", i)
			}
			t.Logf("jobs that the spare worker was given for a moment: %d", f.count(t, func(e stub.Event) bool { return e.Event == stub.EventStart && e.Parent == spare.Pid() }))
		})
	}
}
