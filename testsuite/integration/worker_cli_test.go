package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workers"
)

// posthaste runs a command in a folder without a posthaste.toml, told by the environment alone where Temporal is.
func (f fleet) posthaste(ctx context.Context, t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	program, err := filepath.Abs("../../bin/posthaste")
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cmd.Environ(), "TEMPORAL_ADDRESS="+f.Address(), "TEMPORAL_NAMESPACE=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// does runs a command that must succeed.
func (f fleet) does(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := f.posthaste(ctx, t, args...)
	require.NoError(t, err, errs)
	return out
}

// sees waits until `worker info` shows a worker so.
func (f fleet) sees(ctx context.Context, t *testing.T, name, what string, is func(workers.WorkerView) bool) (v workers.WorkerView) {
	t.Helper()
	eventually(ctx, t, name+" "+what, func() bool {
		out, _, err := f.posthaste(ctx, t, "worker", "info", name, "--json")
		v = workers.WorkerView{}
		return err == nil && json.Unmarshal([]byte(out), &v) == nil && is(v)
	})
	return v
}

// The commands that see and steer workers, as an operator uses them on another machine: one worker is paused and resumed, its bad card is
// fenced and put back into use, it is drained, and forgotten.
func TestWorkerCommands(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	quick := slices.Clip(append(f.load.Proofs(), "--sleep", "20ms"))
	process := f.AddWorker(rig.Worker{Name: "a", Attached: miner.Stores(),
		Cards: []rig.Card{f.Stub("good", quick...), f.Stub("bad", append(quick, "--mode", string(stub.Crash))...)}})
	f.AddWorker(rig.Worker{Name: "b", Attached: miner.Stores(), Cards: f.stubs(1, 20*time.Millisecond)})
	require.NoError(t, f.StartWorkers(ctx))
	v := f.sees(ctx, t, "a", "runs", func(v workers.WorkerView) bool {
		return v.State == workers.WorkerRunning && len(v.Cards) == 2 && v.Cards[0].State == "idle"
	})
	assert.True(t, v.Alive)
	assert.NotEmpty(t, v.Groups[0].Stores)
	f.sees(ctx, t, "b", "runs", func(v workers.WorkerView) bool { return v.State == workers.WorkerRunning })

	out, errs, err := f.posthaste(ctx, t, "worker", "pause", "nosuch", "b", "--reason", "new disks")
	assert.Error(t, err)
	assert.Contains(t, errs, `there is no worker "nosuch"; there are a, b`)
	assert.Equal(t, "b: paused (new disks): it finishes what it has and takes nothing new\n", out, "the other one is paused all the same")
	assert.Contains(t, f.does(ctx, t, "worker", "list"), "paused: new disks")

	const jobs = 12
	proven := 0
	prove := func() map[string]int {
		t.Helper()
		_, err := f.load.Issue(ctx, load.Work{Miner: miner, Partitions: jobs})
		require.NoError(t, err)
		proven += jobs
		require.NoError(t, f.load.WaitProven(ctx, proven))
		return cards(f.load.Proven())
	}
	for fences := 0; fences == 0; { // the good card may be faster than the bad one
		by := prove()
		assert.Equal(t, map[string]int{"a/good": proven}, by, "b is paused, and a's other card crashes")
		state, err := f.load.Worker(ctx, "a")
		require.NoError(t, err)
		fences = len(state.Orders.Fences)
	}
	f.sees(ctx, t, "a", "has a fenced card", func(v workers.WorkerView) bool { return len(v.Fences) == 1 && v.Cards[1].State == "fenced" })
	assert.Contains(t, f.does(ctx, t, "worker", "info", "a"), "posthaste worker unfence a bad ")
	assert.Equal(t, "a: card bad is not fenced any more\n", f.does(ctx, t, "worker", "unfence", "a", "bad"))
	f.sees(ctx, t, "a", "uses its card again", func(v workers.WorkerView) bool { return len(v.Fences) == 0 && v.Cards[1].State == "idle" })

	assert.Contains(t, f.does(ctx, t, "worker", "drain", "a", "--wait"), "a: ended\n")
	code, err := process.Wait(ctx)
	require.NoError(t, err)
	assert.Zero(t, code)
	require.NoError(t, process.Start(ctx), "as systemd would")
	f.sees(ctx, t, "a", "takes jobs again", func(v workers.WorkerView) bool { return v.State == workers.WorkerRunning && v.Cards[0].State == "idle" })
	process.Stop()
	f.sees(ctx, t, "a", "is gone", func(v workers.WorkerView) bool { return v.State == workers.WorkerGone })
	out, errs, err = f.posthaste(ctx, t, "worker", "drain", "a")
	assert.Error(t, err, out)
	assert.Contains(t, errs, "worker a is gone: there is nothing to drain")
	assert.Contains(t, f.does(ctx, t, "worker", "pause", "a"), "a: recorded; it applies when the worker starts (worker a did not answer within")

	assert.Equal(t, "b: takes jobs\n", f.does(ctx, t, "worker", "resume", "b"))
	assert.Equal(t, jobs, prove()["b/card0"], "a is gone")

	out = f.does(ctx, t, "status")
	assert.Contains(t, out, "a ")
	assert.Contains(t, out, "gone since ")
	_, errs, err = f.posthaste(ctx, t, "worker", "forget", "b")
	assert.Error(t, err)
	assert.Contains(t, errs, "worker b is alive")
	assert.Contains(t, f.does(ctx, t, "worker", "forget", "a"), "a: forgotten")
	eventually(ctx, t, "a is off the list", func() bool {
		var views []workers.WorkerView
		return json.Unmarshal([]byte(f.does(ctx, t, "worker", "list", "--json")), &views) == nil && len(views) == 1
	})

	f.load.Stop()
	f.sees(ctx, t, "b", "is seen without a daemon", func(v workers.WorkerView) bool { return v.Alive && len(v.Cards) == 1 })
	_, errs, err = f.posthaste(ctx, t, "worker", "pause", "b")
	assert.Error(t, err)
	assert.Contains(t, errs, "worker b: no daemon answers")
}
