package prover

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/sealing"
)

// Really upgraded sectors: 2 and 3 with their own files, beside 1, which is as it was sealed. 4 comes with the files from before its upgrade, and of 5
// the chain does not know yet that it is upgraded.
func TestUpgradedSectors(t *testing.T) {
	needParameters(t)
	dir, _, task := sealed(t, 5)
	for n := abi.SectorNumber(2); n <= 5; n++ {
		upgraded, err := sealing.Upgrade(t.Context(), dir, miner, n)
		require.NoError(t, err)
		r := &task.Replicas[n-1]
		if n != 5 {
			r.CommR = upgraded.CommR
		}
		if n != 4 {
			r.SealedFile, r.CacheDir = sealing.UpdateFile(dir, miner, n), sealing.UpdateCacheDir(dir, miner, n)
		}
	}
	// What only the upgrade needed may be gone, and libraries differ in whether they write it.
	require.NoError(t, os.Remove(filepath.Join(task.Replicas[1].CacheDir, "t_aux")))
	require.NoError(t, sealing.Delete(dir, miner, 3))
	v, err := Vanilla(t.Context(), task, Reading{})
	require.NoError(t, err)
	proof, skipped, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.Len(t, skipped, 2)
	for i, s := range skipped {
		require.EqualValues(t, 4+i, s.Sector)
		require.Contains(t, s.Reason, "those of another CommR than the chain's")
	}
	require.True(t, verifies(t, task, skipped, proof))
}
