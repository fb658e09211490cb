package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
	"posthaste/workers"
	"posthaste/workflows"
)

// operator is somebody at a terminal of another machine than the rig's programs.
type operator struct {
	*testing.T
	*rig.Rig
	ctx context.Context
}

// command is one that the operator gives, told by the environment alone where Temporal is.
func (o operator) command(args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	o.Helper()
	program, err := filepath.Abs("../../bin/posthaste")
	require.NoError(o, err)
	cmd = exec.CommandContext(o.ctx, program, args...)
	cmd.Dir = o.TempDir()
	cmd.Env = append(cmd.Environ(), "TEMPORAL_ADDRESS="+o.Address(), "TEMPORAL_NAMESPACE=")
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func (o operator) gives(args ...string) (stdout, stderr string, code int) {
	o.Helper()
	cmd, out, errs := o.command(args...)
	_ = cmd.Run()
	o.Logf("$ posthaste %s\n%s%s", strings.Join(args, " "), out, errs)
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// computes proves a deadline of f01000 and reads the answer.
func (o operator) computes(args ...string) (report post.Trial, stderr string, code int) {
	o.Helper()
	out, stderr, code := o.gives(append([]string{"proving", "compute", "--miner", "f01000", "--json"}, args...)...)
	if out != "" {
		require.NoError(o, json.Unmarshal([]byte(out), &report))
	}
	return report, stderr, code
}

// checks looks at sectors of f01000 and reads the answer.
func (o operator) checks(args ...string) (found post.Checkup, code int) {
	o.Helper()
	out, _, code := o.gives(append([]string{"proving", "check", "--miner", "f01000", "--json"}, args...)...)
	require.NoError(o, json.Unmarshal([]byte(out), &found))
	return found, code
}

// quiet is a chain on which no deadline comes up while a test runs: one miner, two sectors a partition, deadlines 1 and 3 of two partitions.
// Sector n is in deadline 0 for 1 and 2, in 1 for 3 to 6, in 2 for 7 and 8, in 3 for 9 to 12.
var quiet = []string{"--miners", "1", "--deadlines", "4", "--window", "2000", "--lookback", "20", "--fault-cutoff", "30", "--lead", "1500",
	"--start-epoch", "8000", "--wide-every", "2"}

// What an operator does who tries a set-up out, on a chain where nothing else goes on.
func TestProvingCommands(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	r := rig.New(t, rig.Options{Chain: quiet, Cards: 1})
	store := r.Stores()[0].Path
	in := func(t *testing.T) operator { return operator{T: t, Rig: r, ctx: ctx} }

	// Daemons know of a worker some moments after it has come.
	eventually(ctx, t, "somebody would take it", func() bool {
		_, _, code := in(t).gives("proving", "compute", "--miner", "f01000", "--deadline", "1", "--dry-run")
		return code == 0
	})
	t.Run("a dry run says what would be proven, and by whom", func(t *testing.T) {
		out, _, code := in(t).gives("proving", "compute", "--miner", "f01000", "--deadline", "1", "--dry-run")
		assert.Zero(t, code)
		assert.Contains(t, out, "wdpost.gpu.")
		assert.Contains(t, out, "rig")
		assert.Contains(t, out, "nothing was proven, nothing sent")
	})
	t.Run("a deadline is proven", func(t *testing.T) {
		out, errs, code := in(t).gives("proving", "compute", "--miner", "f01000", "--deadline", "1")
		assert.Zero(t, code)
		assert.Equal(t, 2, strings.Count(out, "Proven"))
		assert.Contains(t, out, "rig/card0")
		assert.Contains(t, out, "Nothing was sent.")
		assert.Contains(t, out, "that fits")
		assert.Contains(t, errs, "partition 1: Proven")
		report, _, code := in(t).computes("--deadline", "1", "--partition", "1")
		assert.Zero(t, code)
		require.Len(t, report.Partitions, 1)
		assert.True(t, report.Partitions[0].Verified)
		assert.Len(t, report.Partitions[0].Proof, 192)
		assert.Positive(t, report.Partitions[0].Phases.Snark, "it was proven anew, not taken from the run before")
	})
	t.Run("what does not exist is told", func(t *testing.T) {
		for args, says := range map[string]string{
			"f09999 0":   "the chain has no miner actor f09999",
			"f01000 4":   "f01000 has no deadline 4; a proving period has 4, 0 to 3",
			"f01000 0 7": "deadline f01000/0 has no partition 7; it has 1 partition, 0",
			"nonsense 0": `"nonsense" is not a miner actor`,
		} {
			words := strings.Fields(args)
			rest := []string{"--miner", words[0], "--deadline", words[1]}
			if len(words) > 2 {
				rest = append(rest, "--partition", words[2])
			}
			for _, command := range []string{"compute", "check"} {
				_, errs, code := in(t).gives(append([]string{"proving", command}, rest...)...)
				assert.Equal(t, 1, code)
				assert.Contains(t, errs, says)
			}
		}
		_, errs, code := in(t).gives("proving", "check", "--miner", "f01000", "--worker", "nosuch")
		assert.Equal(t, 1, code)
		assert.Contains(t, errs, `there is no worker "nosuch"; there are rig`)
	})
	t.Run("nobody can take it", func(t *testing.T) {
		report, errs, code := in(t).computes("--deadline", "0", "--pool", "nosuch", "--wait", "2s")
		assert.Equal(t, 1, code)
		assert.Contains(t, errs, "1 of 1 partition could not be proven")
		assert.Contains(t, report.Partitions[0].Reason, `nobody could take it for 2s: no worker is in pool "nosuch"`)
	})
	t.Run("all sectors are good", func(t *testing.T) {
		for _, args := range [][]string{nil, {"--strict"}, {"--worker", "rig", "--strict"}} {
			found, code := in(t).checks(args...)
			assert.Zero(t, code)
			assert.Equal(t, 12, good(found), args)
			assert.Len(t, found.Partitions, 6)
		}
	})
	t.Run("an interrupted command frees the card", func(t *testing.T) { interrupted(in(t)) })
	t.Run("bad sectors", func(t *testing.T) { badSectors(in(t), store) })
	t.Run("a worker is killed in the middle", func(t *testing.T) { killedWorker(in(t)) })

	report, err := r.Report(ctx)
	require.NoError(t, err)
	assert.Zero(t, report.Messages.Posts, "something was sent")
}

func good(c post.Checkup) (n int) {
	for _, p := range c.Partitions {
		n += p.Good
	}
	return n
}

// stopped freezes the processes of a worker's cards, so that what they are asked for does not end.
func stopped(t *testing.T, worker *rig.Process) []int {
	t.Helper()
	children := worker.Children()
	require.NotEmpty(t, children)
	for _, pid := range children {
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	return children
}

// trialRuns waits until a worker has begun with a job of a trial that the operator has started.
func (o operator) trialRuns(worker string) (workflowID string) {
	o.Helper()
	eventually(o.ctx, o.T, "a worker has begun with the trial", func() bool {
		running, err := workers.Errands(o.ctx, o.Client(), workflows.NameComputeWorkflow)
		if err != nil || len(running) != 1 {
			return false
		}
		described, err := o.Client().DescribeWorkflowExecution(o.ctx, running[0], "")
		if err != nil {
			return false
		}
		for _, a := range described.GetPendingActivities() {
			var beat post.Progress
			if a.GetState() == enums.PENDING_ACTIVITY_STATE_STARTED && workers.BeatOf(a, &beat) && workerOf(beat.Card) == worker {
				workflowID = running[0]
				return true
			}
		}
		return false
	})
	return workflowID
}

func interrupted(o operator) {
	children := stopped(o.T, o.Worker)
	cmd, _, errs := o.command("proving", "compute", "--miner", "f01000", "--deadline", "0")
	require.NoError(o, cmd.Start())
	id := o.trialRuns("rig")
	require.NoError(o, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	assert.Equal(o, 130, cmd.ProcessState.ExitCode(), errs)
	described, err := o.Client().DescribeWorkflowExecution(o.ctx, id, "")
	require.NoError(o, err)
	assert.Equal(o, enums.WORKFLOW_EXECUTION_STATUS_CANCELED, described.GetWorkflowExecutionInfo().GetStatus())
	for _, pid := range children {
		assert.False(o, rig.Alive(pid), "the card still has the job")
	}
	report, _, code := o.computes("--deadline", "0")
	assert.Zero(o, code)
	assert.Equal(o, post.StateProven, report.Partitions[0].State)
}

// badSectors damages the sectors of deadlines 1 and 3.
func badSectors(o operator, store string) {
	const miner = abi.ActorID(1000)
	tree := filepath.Join(sealing.CacheDir(store, miner, 9), "sc-02-data-tree-r-last.dat")
	require.NoError(o, sealing.Delete(store, miner, 3))
	require.NoError(o, sealing.Truncate(store, miner, 5))
	require.NoError(o, os.Remove(tree))
	require.NoError(o, sealing.FlipReplica(store, miner, 11))

	found, code := o.checks("--deadline", "1")
	assert.Equal(o, 1, code)
	o.finds(found, 3, "s-t01000-3 does not exist")
	o.finds(found, 5, "holds 1024 bytes instead of 2048")
	found, code = o.checks("--deadline", "3")
	assert.Equal(o, 1, code)
	o.finds(found, 9, "sc-02-data-tree-r-last.dat does not exist")
	assert.Equal(o, 3, good(found), "nobody has read sector 11")
	for _, args := range [][]string{nil, {"--worker", "rig"}} {
		found, code = o.checks(append(args, "--deadline", "3", "--strict")...)
		assert.Equal(o, 1, code)
		o.finds(found, 9, "sc-02-data-tree-r-last.dat does not exist")
		o.finds(found, 11, "is invalid")
		assert.Equal(o, 2, good(found))
	}
	found, code = o.checks("--deadline", "2", "--partition", "0")
	assert.Zero(o, code, "the others' damage does not concern it")
	assert.Equal(o, 2, good(found))

	out, _, code := o.gives("proving", "check", "--miner", "f01000", "--strict")
	assert.Equal(o, 1, code)
	assert.Contains(o, out, "8 can be proven, 4 cannot (a vanilla proof of each was made, by a daemon")

	out, _, code = o.gives("proving", "compute", "--miner", "f01000", "--deadline", "3")
	assert.Zero(o, code, "a post without some sectors is a post")
	assert.Contains(o, out, "partition 0: 1 sector left out: 9")
	assert.Contains(o, out, "sector 11: ")
	out, _, code = o.gives("proving", "compute", "--miner", "f01000", "--deadline", "1", "--dry-run")
	assert.Zero(o, code)
	assert.Contains(o, out, "partition 0: 1 sector left out: 3")

	require.NoError(o, sealing.Delete(store, miner, 4))
	report, errs, code := o.computes("--deadline", "1")
	assert.Equal(o, 1, code)
	assert.Contains(o, errs, "1 of 2 partitions could not be proven")
	assert.Contains(o, report.Partitions[0].Reason, "none of the 2 sectors of f01000 can be proven: sector 3: ")
	assert.Equal(o, post.StateProven, report.Partitions[1].State)
	assert.Equal(o, "5", report.Partitions[1].SkippedSectors)
}

// finds says that a sector was found bad, and why.
func (o operator) finds(c post.Checkup, sector abi.SectorNumber, says string) {
	o.Helper()
	for _, p := range c.Partitions {
		for _, f := range p.Findings {
			if slices.Contains(f.Sectors, sector) {
				assert.Contains(o, f.Reason, says)
				return
			}
		}
	}
	assert.Fail(o, "sector "+strconv.FormatUint(uint64(sector), 10)+" was not found bad", "%+v", c)
}

func killedWorker(o operator) {
	second := o.AddWorker(rig.Worker{Name: "second", Attached: o.Stores(), Cards: []rig.Card{{Name: "card0", ReadyTimeout: 30 * time.Second}}})
	stopped(o.T, o.Worker)
	cmd, out, errs := o.command("proving", "compute", "--miner", "f01000", "--deadline", "2", "--json")
	require.NoError(o, cmd.Start())
	o.trialRuns("rig")
	require.NoError(o, second.Start(o.ctx))
	o.Worker.Kill()
	require.NoError(o, cmd.Wait(), errs)
	var report post.Trial
	require.NoError(o, json.Unmarshal(out.Bytes(), &report))
	assert.Equal(o, "second/card0", report.Partitions[0].Card)
	assert.Equal(o, 1, report.Partitions[0].Tries)
}

// Trials beside the deadlines that they are of: each deadline is posted once, by its own proof.
func TestTrialsBesideDeadlines(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	r := rig.New(t, rig.Options{Chain: slowChain("--deadlines", "6", "--wide-every", "2")})
	o := operator{T: t, Rig: r, ctx: ctx}
	_, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	for _, miner := range r.Miners() {
		out, _, code := o.gives("proving", "compute", "--miner", miner, "--deadline", "0")
		assert.Zero(t, code, out)
	}
	deadlines := allPosted(ctx, t, r, 3)
	for _, d := range deadlines {
		for _, p := range resultOf(ctx, t, r, d).Partitions {
			assert.Equal(t, 1, p.Tries, fmt.Sprintf("%s/%d", d.Miner, d.Index))
		}
	}
	report, err := r.Report(ctx)
	require.NoError(t, err)
	partitions := 0
	for _, d := range report.Deadlines {
		for _, p := range d.Partitions {
			if p.Posted && p.Message != "" {
				partitions++
			}
		}
	}
	assert.Equal(t, partitions, report.Messages.Posts, "messages on the chain")
}
