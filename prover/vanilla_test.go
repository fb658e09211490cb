package prover

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/sealing"
)

// hang makes reading a sector's replica block for ever, as on a dead network mount: a pipe that nobody writes to.
func hang(t *testing.T, dir string, number abi.SectorNumber) {
	t.Helper()
	file := filepath.Join(sealing.CacheDir(dir, miner, number), "p_aux")
	require.NoError(t, os.Remove(file))
	require.NoError(t, syscall.Mkfifo(file, 0o600))
}

func TestASectorThatHangsIsGivenUp(t *testing.T) {
	needParameters(t)
	dir, _, task := sealed(t, 3)
	hang(t, dir, 1)
	start := time.Now()
	// One at a time, so that the one that hangs is in everybody's way.
	v, err := Vanilla(t.Context(), task, Reading{Parallel: 1, Limit: 300 * time.Millisecond})
	require.NoError(t, err)
	require.Less(t, time.Since(start), 3*time.Second)
	require.Equal(t, []post.Skipped{{Sector: 1, Reason: "read 2 times: reading did not finish within the time limit of 300ms"}}, v.Skipped)
	proof, skipped, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.True(t, verifies(t, task, skipped, proof))
}

func TestCancellingTheReading(t *testing.T) {
	dir, _, task := sealed(t, 2)
	hang(t, dir, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Vanilla(ctx, task, Reading{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestEachSectorIsReadOnce(t *testing.T) {
	dir, _, task := sealed(t, 5)
	require.NoError(t, sealing.FlipReplica(dir, miner, 2))
	require.NoError(t, sealing.Delete(dir, miner, 4))
	var mu sync.Mutex
	var counts []int
	var bad []abi.SectorNumber
	v, err := Vanilla(t.Context(), task, Reading{Parallel: 3, OnSector: func(done, of int, sector *post.Skipped) {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 5, of)
		counts = append(counts, done)
		if sector != nil {
			bad = append(bad, sector.Sector)
		}
	}})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3, 4, 5}, counts)
	require.ElementsMatch(t, []abi.SectorNumber{2, 4}, bad)
	require.Len(t, v.Good, 3)
	require.Len(t, v.Skipped, 2)
}

func TestAllSectorsBad(t *testing.T) {
	dir, _, task := sealed(t, 5)
	for n := abi.SectorNumber(1); n <= 5; n++ {
		require.NoError(t, sealing.Delete(dir, miner, n))
	}
	_, err := Vanilla(t.Context(), task, Reading{})
	require.ErrorIs(t, err, ErrAllBad)
	var allBad *AllBadError
	require.ErrorAs(t, err, &allBad)
	require.Len(t, allBad.Skipped, 5)
	require.Contains(t, err.Error(), "none of the 5 sectors of f01000 can be proven: sector 1: ")
	require.Contains(t, err.Error(), "; and 2 more")
}

// Three sectors of 2 KiB are two partitions in the library's sense; the proofs are merged.
func TestSeveralPartitionsAcrossTheSeam(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 4)
	// Sector 1 answers with the files of 2: only the check before the SNARK can tell.
	task.Replicas[0].CacheDir, task.Replicas[0].SealedFile = task.Replicas[1].CacheDir, task.Replicas[1].SealedFile
	v, err := Vanilla(t.Context(), task, Reading{})
	require.NoError(t, err)
	require.Empty(t, v.Skipped)

	// To another machine and back: between the halves is nothing but data.
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var there Vanillas
	require.NoError(t, json.Unmarshal(data, &there))
	proof, skipped, err := Snark(t.Context(), &there)
	require.NoError(t, err)
	require.Len(t, skipped, 1)
	require.EqualValues(t, 1, skipped[0].Sector)
	require.Len(t, proof, 2*192)
	require.True(t, verifies(t, task, skipped, proof))
}

// A vanilla proof that was damaged between the halves costs its sector, not the partition.
func TestDamagedVanillaProofs(t *testing.T) {
	needParameters(t)
	damage := []func([]byte) []byte{
		func(p []byte) []byte { return p[:len(p)/2] },                    // cut short
		func([]byte) []byte { return nil },                               // empty
		func(p []byte) []byte { p[len(p)/2] ^= 1; return p },             // a bit of a path
		func(p []byte) []byte { p[0] ^= 0x40; return p },                 // another sector's number
		func(p []byte) []byte { p[vanillaCountAt+8] ^= 0xff; return p },  // a number of paths too big
		func(p []byte) []byte { p[len(p)-1] ^= 1; p[12] ^= 1; return p }, // another CommR
	}
	const good = 1
	_, _, task := sealed(t, good+len(damage))
	v, err := Vanilla(t.Context(), task, Reading{})
	require.NoError(t, err)
	for i, f := range damage {
		v.Good[good+i].Proof = f(v.Good[good+i].Proof)
	}
	proof, skipped, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.Len(t, skipped, len(damage))
	for i, s := range skipped {
		require.EqualValues(t, good+1+i, s.Sector)
		require.Contains(t, s.Reason, "vanilla proof")
	}
	require.True(t, verifies(t, task, skipped, proof))
}

func TestOldProofTypesAreRefused(t *testing.T) {
	_, _, task := sealed(t, 1)
	task.ProofType = ProofType(abi.RegisteredPoStProof_StackedDrgWindow2KiBV1)
	_, err := Vanilla(t.Context(), task, Reading{})
	require.ErrorIs(t, err, ErrProofType)
	require.ErrorContains(t, err, "use the miner's present window type")
	_, _, err = Snark(t.Context(), &Vanillas{ProofType: task.ProofType})
	require.ErrorIs(t, err, ErrProofType)
}
