package lotus_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/testsuite/lotus"
	"posthaste/testsuite/lotus/period"
	"posthaste/testsuite/rig"
)

var (
	asked   = flag.Bool("lotus", false, "run what needs the real chain: minutes (make test-lotus)")
	seed    = flag.Uint64("seed", 1, "what a run's faults are drawn from")
	kinds   = flag.String("kinds", "", "only faults of these kinds, separated by commas; `none`: none")
	epoch   = flag.Duration("epoch", 0, "wall-clock time of an epoch; 0: as long as this machine's proofs want it, and for the soak not below 400 ms")
	first   = flag.Int("deadlines", 0, "end after so many")
	results = flag.String("json", "", "a file for the figures as JSON, by test")

	outcomes = map[string]lotus.Outcome{} // of the tests that were run
)

// The sectors of a deadline's partitions are not in the order of their numbers, as of a miner who has terminated some and compacted, and both
// partitions go into one message: the chain cuts the union of their sectors elsewhere than the partitions are cut. Once a sector of the first is gone.
func TestInterleaved(t *testing.T) {
	needsChain(t)
	outcome := run(t, 7, lotus.Options{
		Sectors: 192, Interleaved: 2, Daemons: 1, Workers: 1, Cards: 2, Nodes: 1, Policy: []string{"partitions_per_post = 2"},
		Plan: period.Interleaved,
	})
	require.NotZero(t, outcome.Plan.Deadlines, "the chain has no such deadline")
	require.Equal(t, 1, outcome.Figures.Skipped)
}

// The miner gets sectors while posthaste runs: a deadline has a partition more than the last time that anybody looked, and its files are new in the
// store. They are proven the first time that they are asked for, and that gives them their power.
func TestGrown(t *testing.T) {
	needsChain(t)
	const sectors = 96 // one partition of two in each deadline; the actor fills those without first, which are a period away
	outcome := run(t, 8, lotus.Options{
		Sectors: sectors, Added: 12, Daemons: 1, Workers: 1, Cards: 2, Nodes: 2,
		Plan: func(s period.Shape) period.Plan { return period.Grown(s, sectors) },
	})
	require.NotZero(t, outcome.Plan.Deadlines, "no deadline has got any")
	require.NotEqual(t, outcome.Figures.Power.Now, outcome.Figures.Power.Start, "the judge has looked by how much")
}

// A whole proving period in which things go wrong that an operator's machines do go through in one: whatever could be proven is posted,
// once, and stands.
func TestPeriod(t *testing.T) {
	needsChain(t)
	run(t, 52, lotus.Options{
		Sectors: 192, Daemons: 2, Workers: 2, Cards: 1, Nodes: 2,
		Plan: planned(t, period.Brief),
	})
}

// Nothing goes wrong, for the first deadlines of a chain.
func TestQuiet(t *testing.T) {
	needsChain(t)
	run(t, 4, lotus.Options{Sectors: 192, Deadlines: 3, Daemons: 1, Workers: 1, Cards: 2, Nodes: 1})
}

// Both partitions of a deadline are proven as one set and sent in one message, with a sector gone here and a whole partition there: no
// dispute of them succeeds.
func TestTogether(t *testing.T) {
	needsChain(t)
	run(t, 6, lotus.Options{
		Sectors: 192, Daemons: 1, Workers: 1, Cards: 2, Nodes: 1, Policy: []string{"partitions_per_post = 2"},
		Plan: func(s period.Shape) period.Plan {
			s.Kinds = []period.Kind{period.SectorHidden, period.PartitionHidden}
			return period.Whole(*seed, s).First(5)
		},
	})
}

// Every kind of fault, drawn from the seed, for a whole period whose epochs are long enough that a worker may be lost in the middle of
// a proof.
func TestSoak(t *testing.T) {
	needsChain(t)
	run(t, 52, lotus.Options{
		Epoch: 400 * time.Millisecond, Sectors: 192, Daemons: 2, Workers: 2, Cards: 1, Nodes: 2,
		Plan: planned(t, period.All),
	})
}

// planned plans a period with the kinds of faults that were asked for, or these.
func planned(t *testing.T, wanted []period.Kind) func(period.Shape) period.Plan {
	t.Helper()
	if *kinds != "" {
		wanted = nil
	}
	for name := range strings.SplitSeq(*kinds, ",") {
		kind := period.Kind(strings.TrimSpace(name))
		if kind == "" || kind == "none" {
			continue
		}
		require.Contains(t, period.All, kind, "-kinds")
		wanted = append(wanted, kind)
	}
	return func(s period.Shape) period.Plan {
		s.Kinds = wanted
		plan := period.Whole(*seed, s)
		if *first > 0 {
			plan = plan.First(*first)
		}
		return plan
	}
}

// run is one run of at most so many deadlines, with its figures at the end.
func run(t *testing.T, deadlines int, o lotus.Options) lotus.Outcome {
	t.Helper()
	dir, err := os.MkdirTemp("", "posthaste-lotus-")
	require.NoError(t, err)
	o.Say = t.Logf
	o.Epoch = epochOf(t, o.Epoch)
	const startAndEnd = 5 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), startAndEnd+time.Duration(deadlines)*60*o.Epoch)
	defer cancel()
	outcome, r, err := lotus.Run(ctx, dir, o)
	if r != nil {
		t.Cleanup(func() { leave(t, r, dir) })
	}
	require.NoError(t, err)
	fmt.Println(outcome.Figures.Table())
	if *results != "" {
		outcomes[t.Name()] = outcome
		data, err := json.MarshalIndent(outcomes, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(*results, append(data, '\n'), 0o644))
	}
	for _, wrong := range outcome.Wrong {
		t.Error(wrong)
	}
	return outcome
}

// measured is asked once for all tests, before the first chain keeps the machine busy.
var measured = sync.OnceValues(func() (time.Duration, error) {
	wanted, took, err := lotus.Pace(context.Background())
	if err == nil {
		fmt.Printf("a proof takes %s on this machine, so an epoch takes %s (-epoch says otherwise)\n", took.Round(10*time.Millisecond), wanted)
	}
	return wanted, err
})

// epochOf is how long an epoch takes in a test that wants it to take at least so long.
func epochOf(t *testing.T, least time.Duration) time.Duration {
	t.Helper()
	if *epoch != 0 {
		return *epoch
	}
	wanted, err := measured()
	require.NoError(t, err)
	return max(wanted, least)
}

// leave ends a run's programs; of one that failed the folder stays, with their logs.
func leave(t *testing.T, r *rig.Rig, dir string) {
	r.Close()
	if !t.Failed() {
		_ = os.RemoveAll(dir)
		return
	}
	t.Logf("the logs of all programs are in %s", dir)
}

// needsChain skips a test unless it was asked for: it takes minutes, and a program that takes long to build.
func needsChain(t *testing.T) {
	t.Helper()
	if !*asked {
		t.Skip("only make test-lotus and make soak run it; they build the chain's program")
	}
}
