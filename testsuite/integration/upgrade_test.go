package integration_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/workers"
)

// posthaste runs a command of the program against the rig's Temporal and gives what it printed.
func posthaste(ctx context.Context, t *testing.T, r *rig.Rig, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, filepath.Join("..", "..", "bin", "posthaste"), args...)
	cmd.Env = append(cmd.Environ(), "TEMPORAL_ADDRESS="+r.Address())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func versionOf(ctx context.Context, t *testing.T, r *rig.Rig, build string) workers.DaemonVersion {
	t.Helper()
	all := patiently(ctx, t, func() ([]workers.DaemonVersion, error) { return workers.DaemonVersions(ctx, r.Client(), "default") })
	for _, v := range all {
		if v.BuildID == build {
			return v
		}
	}
	return workers.DaemonVersion{}
}

// pinnedBuild is the version that a deadline's workflow has.
func pinnedBuild(ctx context.Context, t *testing.T, r *rig.Rig, d post.Deadline) string {
	t.Helper()
	described := describe(ctx, t, r, d.WorkflowID())
	return described.GetWorkflowExecutionInfo().GetVersioningInfo().GetDeploymentVersion().GetBuildId()
}

// A new version of the daemon beside the old one: deadlines that are open end in the old one, those that open begin in the new one,
// and the old one's daemon is stopped when it has none. Then the new one's daemon is lost for good in the middle of a deadline, and
// an older version takes over what it began.
func TestUpgradeWithVersions(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	r := rig.New(t, rig.Options{Chain: slowChain(), Idle: true})
	old := r.AddDaemon("old", "versioning = true", `build_id = "A"`)
	next := r.AddDaemon("next", "versioning = true", `build_id = "B"`)
	require.NoError(t, old.Start(ctx))
	require.NoError(t, r.StartWorkers(ctx))

	proof, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	inOld := proof.Deadline
	assert.Equal(t, "A", pinnedBuild(ctx, t, r, inOld), "the first version makes itself current")

	out, err := posthaste(ctx, t, r, "temporal", "current", "B")
	require.Error(t, err)
	assert.Contains(t, out, `no version "B"; there are A`)
	require.NoError(t, next.Start(ctx))
	eventually(ctx, t, "the new version is known", func() bool { return versionOf(ctx, t, r, "B").Polling })
	out, err = posthaste(ctx, t, r, "temporal", "current", "B")
	require.NoError(t, err, out)
	assert.Contains(t, out, "A goes on with")

	hit := map[string]bool{inOld.WorkflowID(): true}
	inNew := post.Deadline{}
	for pinned := ""; pinned != "B"; {
		proof, err := r.WaitForRunningProof(ctx, func(id string) bool { return hit[id] })
		require.NoError(t, err)
		inNew, hit[proof.WorkflowID] = proof.Deadline, true
		pinned = pinnedBuild(ctx, t, r, inNew)
	}
	eventually(ctx, t, "the old version has no open deadline", func() bool { return versionOf(ctx, t, r, "A").Open == 0 })
	assert.Equal(t, post.StatePosted, resultAt(ctx, t, r, inOld).State)
	assert.Equal(t, "A", pinnedBuild(ctx, t, r, inOld), "it ended where it began")
	old.Stop()

	proof, err = r.WaitForRunningProof(ctx, func(id string) bool { return hit[id] })
	require.NoError(t, err)
	lost := proof.Deadline
	assert.Equal(t, "B", pinnedBuild(ctx, t, r, lost))
	next.Kill()
	require.NoError(t, old.Start(ctx))
	eventually(ctx, t, "the old version is back", func() bool { return versionOf(ctx, t, r, "A").Polling })
	out, err = posthaste(ctx, t, r, "temporal", "current", "A", "--take-over")
	require.NoError(t, err, out)
	assert.Contains(t, out, "open deadlines of B go on here")

	deadlines := allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, lost))
	for _, d := range deadlines {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
	}
	eventually(ctx, t, "a killed daemon is not believed to run for long", func() bool { return !versionOf(ctx, t, r, "B").Polling })
	out, err = posthaste(ctx, t, r, "temporal", "versions")
	require.NoError(t, err, out)
	t.Logf("\n%s", out)
}

// resultAt waits for the workflow of a deadline to end.
func resultAt(ctx context.Context, t *testing.T, r *rig.Rig, d post.Deadline) post.Result {
	t.Helper()
	result, err := r.Result(ctx, d)
	require.NoError(t, err)
	return result
}

// Versioning is switched on and off again in the middle of deadlines: what has begun without it goes on with it, and back.
func TestVersioningOnAndOff(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	r := rig.New(t, rig.Options{Chain: slowChain()})
	versioned := r.AddDaemon("versioned", "versioning = true", `build_id = "A"`)
	first, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, versioned.Start(ctx))
	eventually(ctx, t, "the first version makes itself current", func() bool { return versionOf(ctx, t, r, "A").Current })
	r.Daemon.Kill()

	hit := map[string]bool{first.WorkflowID: true}
	last := first.Deadline
	for pinned := ""; pinned != "A"; {
		proof, err := r.WaitForRunningProof(ctx, func(id string) bool { return hit[id] })
		require.NoError(t, err)
		last, hit[proof.WorkflowID] = proof.Deadline, true
		pinned = pinnedBuild(ctx, t, r, last)
	}
	require.NoError(t, r.Daemon.Start(ctx))
	eventually(ctx, t, "a daemon that would be given nothing says so", func() bool { return strings.Contains(r.Daemon.ReadLog(), "this one is not versioned") })
	out, err := posthaste(ctx, t, r, "temporal", "current", "--unversioned", "--take-over")
	require.NoError(t, err, out)
	assert.Contains(t, out, "of A go on here")
	versioned.Kill()

	deadlines := allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, last))
	for _, d := range deadlines {
		assert.Equal(t, post.StatePosted, resultOf(ctx, t, r, d).State)
	}
}
