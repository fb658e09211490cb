package integration_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// The disk of Temporal's database is full for a while in the middle of a proof: nothing is lost, and the server says why it
// does not answer.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	disk := smallDisk(t)
	r := rig.New(t, rig.Options{
		Chain:      slowChain("--miners", "1", "--deadlines", "4"),
		TemporalDB: filepath.Join(disk, "temporal.db"),
	})
	proof, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	fill(t, disk)
	t.Logf("the disk is full in the middle of %s", proof.WorkflowID)
	says(ctx, t, r.Temporal, "database or disk is full")
	time.Sleep(5 * time.Second)
	require.NoError(t, os.Remove(filepath.Join(disk, "fill")))

	deadlines := allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, proof.Deadline))
	result := resultOf(ctx, t, r, deadlines[0])
	assert.Equal(t, post.StatePosted, result.State, result.Reasons())
	assert.Equal(t, 1, proofsMade(r, proof.Deadline), "the proof outlives a server that cannot write")
}

// smallDisk is a disk of its own, which only root can make.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "posthaste-disk-")
	require.NoError(t, err)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		_ = os.Remove(dir)
		t.Skipf("a small disk cannot be made here, so a full one is not tested (it takes root): %v", err)
	}
	t.Cleanup(func() {
		assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH))
		_ = os.Remove(dir)
	})
	return dir
}

// fill writes a file until nothing fits any more.
func fill(t *testing.T, disk string) {
	t.Helper()
	file, err := os.Create(filepath.Join(disk, "fill"))
	require.NoError(t, err)
	defer file.Close()
	for chunk := make([]byte, 64<<10); ; {
		if _, err := file.Write(chunk); err != nil {
			if len(chunk) == 1 {
				require.ErrorIs(t, err, syscall.ENOSPC)
				return
			}
			chunk = chunk[:len(chunk)/2]
		}
	}
}
