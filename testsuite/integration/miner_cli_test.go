package integration_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"posthaste/post"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/rig"
	"posthaste/workers"
)

// miners waits until `miner list --all` shows a miner so.
func (f fleet) miners(ctx context.Context, t *testing.T, name, what string, is func(workers.MinerView) bool) (v workers.MinerView) {
	t.Helper()
	eventually(ctx, t, name+" "+what, func() bool {
		var views []workers.MinerView
		out, _, err := f.posthaste(ctx, t, "miner", "list", "--all", "--json")
		if err != nil || json.Unmarshal([]byte(out), &views) != nil {
			return false
		}
		i := slices.IndexFunc(views, func(v workers.MinerView) bool { return v.Miner == name })
		if i < 0 {
			return false
		}
		v = views[i]
		return is(v)
	})
	return v
}

// The commands that steer miners: one that no file names is added, proves, is paused and resumed, and removed, which a restart with a file that
// names it does not undo.
func TestMinerCommands(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	f := fleet{Rig: rig.New(t, rig.Options{
		Chain:  slowChain("--deadlines", "6", "--wide-every", "2"),
		Before: func(r *rig.Rig) { r.Config.Miners = r.Config.Miners[:1] },
	})}
	require.Equal(t, []string{"f01000", "f01001"}, f.Rig.Miners())
	v := f.miners(ctx, t, "f01000", "is watched", func(v workers.MinerView) bool { return v.Head > 0 && v.NamedBy != "" })
	assert.Equal(t, "Watching", v.State)
	assert.False(t, v.Unnamed)
	assert.Equal(t, f.Epoch(), v.Epoch)

	out, errs, err := f.posthaste(ctx, t, "miner", "add", "f0999", "f01001", "f01000", "--policy", "max_try=7")
	assert.Error(t, err)
	assert.Contains(t, errs, "miner f0999 was not added: the chain has no miner actor f0999")
	assert.Contains(t, errs, "miner f01000: the posthaste.toml of daemon "+v.NamedBy+" names it, and its settings hold")
	assert.True(t, strings.HasPrefix(out, "f01001: watched; the chain is at epoch "), out)
	v = f.miners(ctx, t, "f01001", "is watched", func(v workers.MinerView) bool { return v.Head > 0 })
	assert.True(t, v.Unnamed)
	assert.Equal(t, 7, v.Settings.MaxTry)
	assert.Equal(t, f.Epoch(), v.Epoch, "from the node")
	assert.Contains(t, f.does(ctx, t, "miner", "list"), "f01001: no daemon's posthaste.toml names it")

	var proven devnet.DeadlineReport
	eventually(ctx, t, "the added miner's post is on the chain", func() bool {
		report, err := f.Report(ctx)
		require.NoError(t, err)
		i := slices.IndexFunc(report.Deadlines, func(d devnet.DeadlineReport) bool {
			return d.Miner == "f01001" && !slices.ContainsFunc(d.Partitions, func(p devnet.PartitionReport) bool { return !p.Posted || !p.Verified })
		})
		if i >= 0 {
			proven = report.Deadlines[i]
		}
		return i >= 0
	})
	result := resultOf(ctx, t, f.Rig, proven)
	assert.Equal(t, post.StatePosted, result.State)
	f.deadlinesAsTheChainHasThem(ctx, t, proven)

	out, errs, err = f.posthaste(ctx, t, "miner", "pause", "f01009", "f01001", "--reason", "moving racks")
	assert.Error(t, err)
	assert.Contains(t, errs, "there is no miner f01009; there are f01000, f01001")
	assert.Contains(t, out, "f01001: paused (moving racks): no new deadline is issued; ")
	f.miners(ctx, t, "f01001", "is paused", func(v workers.MinerView) bool { return v.State == "Paused" && v.Why == "moving racks" })
	assert.Equal(t, "f01001: its deadlines are issued\n", f.does(ctx, t, "miner", "resume", "f01001"))
	f.miners(ctx, t, "f01001", "is watched again", func(v workers.MinerView) bool { return v.State == "Watching" && v.Head > 0 })

	assert.Contains(t, f.does(ctx, t, "miner", "remove", "f01001", "--reason", "sold"), "f01001: removed (sold): nothing is issued until `posthaste miner add f01001`; ")
	removed := time.Now()
	f.Daemon.Stop()
	f.Config.Miners = f.Rig.Miners()
	require.NoError(t, f.Daemon.Start(ctx))
	f.miners(ctx, t, "f01001", "is named by a file, and removed all the same", func(v workers.MinerView) bool {
		return v.State == "Removed" && v.Why == "sold" && v.NamedAt.After(removed)
	})
	f.issuedSince(ctx, t, "f01000", removed)
	rows, err := workers.ListBoard(ctx, f.Client(), "PostMiner = 'f01001'")
	require.NoError(t, err)
	for _, row := range rows {
		assert.True(t, row.Started.Before(removed.Add(time.Second)), "%s was issued for a miner that is removed", row.WorkflowID)
	}
	log, err := os.ReadFile(f.Daemon.Log)
	require.NoError(t, err)
	assert.Contains(t, string(log), "posthaste.toml names a miner that was removed (sold)")
	assert.Contains(t, f.does(ctx, t, "miner", "list"), "1 miner is removed")
	assert.Contains(t, f.does(ctx, t, "miner", "add", "f01001"), "f01001: watched; the chain is at epoch ")
	f.issuedSince(ctx, t, "f01001", removed.Add(time.Second))

	f.Daemon.Stop()
	f.miners(ctx, t, "f01001", "is seen without a daemon", func(v workers.MinerView) bool { return v.State == "Watching" && !v.Unnamed })
	_, errs, err = f.posthaste(ctx, t, "miner", "pause", "f01000", "f01001")
	assert.Error(t, err)
	assert.Contains(t, errs, "miner f01000: no daemon answers")
	assert.NotContains(t, errs, "f01001", "each would take as long")
	_, errs, err = f.posthaste(ctx, t, "deadline", "list", "--miner", "f01000")
	assert.Error(t, err)
	assert.Contains(t, errs, "surveying f01000: no daemon answers")
	eventually(ctx, t, "no survey is left behind", func() bool {
		left, err := f.Client().ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: "WorkflowType = 'SurveyWorkflow' AND ExecutionStatus = 'Running'",
		})
		require.NoError(t, err)
		return len(left.GetExecutions()) == 0
	})
}

// issuedSince waits until a deadline of a miner is issued after a time.
func (f fleet) issuedSince(ctx context.Context, t *testing.T, miner string, since time.Time) {
	t.Helper()
	eventually(ctx, t, "a deadline of "+miner+" is issued", func() bool {
		rows, err := workers.ListBoard(ctx, f.Client(), "PostMiner = '"+miner+"'")
		return err == nil && slices.ContainsFunc(rows, func(r workers.Row) bool { return r.Started.After(since) })
	})
}

// deadlinesAsTheChainHasThem compares `deadline list` with what the chain reports of the miner's windows, of which one was posted.
func (f fleet) deadlinesAsTheChainHasThem(ctx context.Context, t *testing.T, posted devnet.DeadlineReport) {
	t.Helper()
	var listed []workers.MinerDeadlines
	require.NoError(t, json.Unmarshal([]byte(f.does(ctx, t, "deadline", "list", "--miner", posted.Miner, "--json")), &listed))
	require.Len(t, listed, 1)
	assert.Equal(t, posted.Miner, listed[0].Miner)
	assert.Equal(t, "Watching", listed[0].State)
	assert.Equal(t, 2, listed[0].Places, "the rig's two cards")
	require.Len(t, listed[0].Deadlines, 6)
	report, err := f.Report(ctx)
	require.NoError(t, err)
	compared := 0
	for _, reported := range report.Deadlines {
		d := listed[0].Deadlines[reported.Index]
		if reported.Miner != posted.Miner || d.PeriodStart != reported.PeriodStart {
			continue
		}
		compared++
		assert.Equal(t, reported.Open, d.Open)
		assert.Equal(t, reported.Close, d.Close)
		require.Len(t, d.Partitions, len(reported.Partitions))
		sectors := 0
		for _, p := range reported.Partitions {
			sectors += p.Sectors
		}
		assert.EqualValues(t, sectors, d.Sectors)
		assert.EqualValues(t, sectors, d.ToProve+d.Faulty-d.Recovering, "on a busy machine one may have been missed, and be recovering")
		assert.Equal(t, len(reported.Partitions), d.Due)
	}
	d := listed[0].Deadlines[posted.Index]
	if d.PeriodStart == posted.PeriodStart {
		assert.Positive(t, compared)
		assert.Equal(t, post.StatePosted, d.State)
		assert.Equal(t, len(posted.Partitions), d.Posted)
		assert.Zero(t, d.Unproven)
	}
	next := slices.IndexFunc(listed[0].Deadlines, func(d workers.DeadlineView) bool { return d.Open > listed[0].Head && d.State == "" })
	if next >= 0 {
		d := listed[0].Deadlines[next]
		assert.True(t, d.Known, "a proof was measured")
		assert.Equal(t, d.Due, d.Unproven)
		assert.Positive(t, d.Forecast)
	}
	assert.Contains(t, f.does(ctx, t, "deadline", "list"), "f01000 at epoch ", "without --miner: all that are watched")
}
