package prover

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/sealing"
)

const (
	miner      = abi.ActorID(1000)
	windowType = abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1
)

// needParameters stops a test that cannot run for want of the library's parameters. It never skips: a proof that nobody
// made is no proof.
func needParameters(t *testing.T) {
	t.Helper()
	if os.Getenv("FIL_PROOFS_PARAMETER_CACHE") == "" {
		t.Fatal("FIL_PROOFS_PARAMETER_CACHE is not set, and this test makes real proofs; run `make test`, or set it to the folder that build/parameters.sh prints")
	}
}

// sealed makes a store with count sectors, numbered from 1, and a task to prove them.
func sealed(t *testing.T, count int) (string, []sealing.Sector, Task) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, sealing.NewStore(dir, "test"))
	sectors, err := sealing.SealMany(t.Context(), dir, miner, 1, count)
	require.NoError(t, err)
	task := Task{MinerID: uint64(miner), ProofType: ProofType(windowType), Seed: Bytes32{1, 2, 3, 31: 0xff}}
	for _, s := range sectors {
		task.Replicas = append(task.Replicas, Replica{
			SectorID: uint64(s.Number), CommR: s.CommR,
			CacheDir: sealing.CacheDir(dir, miner, s.Number), SealedFile: sealing.SealedFile(dir, miner, s.Number),
		})
	}
	return dir, sectors, task
}

// covered are the sectors of a task that a proof of it covers.
func covered(task Task, skipped []post.Skipped) post.Sectors {
	var sectors post.Sectors
	for _, r := range task.Replicas {
		sectors = append(sectors, post.Sector{Number: abi.SectorNumber(r.SectorID), CommR: r.CommR})
	}
	var gone []abi.SectorNumber
	for _, s := range skipped {
		gone = append(gone, s.Sector)
	}
	return sectors.Without(gone)
}

func verifies(t *testing.T, task Task, skipped []post.Skipped, proof []byte) bool {
	t.Helper()
	ok, err := Verify(t.Context(), miner, windowType, task.Seed[:], covered(task, skipped), proof)
	require.NoError(t, err)
	return ok
}

func TestProvesAndVerifies(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 2)
	v, err := Vanilla(t.Context(), task, Reading{})
	require.NoError(t, err)
	proof, skipped, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.Empty(t, skipped)
	require.True(t, verifies(t, task, nil, proof))

	t.Run("not with other randomness", func(t *testing.T) {
		other := task
		other.Seed[0] ^= 1
		require.False(t, verifies(t, other, nil, proof))
	})
	t.Run("not for fewer sectors", func(t *testing.T) {
		require.False(t, verifies(t, task, []post.Skipped{{Sector: 2}}, proof))
	})
	for name, garbage := range map[string][]byte{
		"cut short": proof[:100], "empty": {}, "zeros": make([]byte, len(proof)), "one byte off": append([]byte{proof[0] ^ 1}, proof[1:]...),
		"twice": append(proof[:len(proof):len(proof)], proof...), "points at infinity": append([]byte{0xc0}, make([]byte, len(proof)-1)...),
	} {
		t.Run("not when it is "+name, func(t *testing.T) {
			ok, err := Verify(t.Context(), miner, windowType, task.Seed[:], covered(task, nil), garbage)
			require.NoError(t, err, "a bad proof is no failure of the check")
			require.False(t, ok)
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	needParameters(t)
	sectors := covered(fakeTask(1), nil)
	_, err := Verify(t.Context(), miner, windowType, []byte{1}, sectors, nil)
	require.ErrorContains(t, err, "the randomness has 1 bytes instead of 32")
	_, err = Verify(t.Context(), miner, abi.RegisteredPoStProof_StackedDrgWindow2KiBV1, make([]byte, 32), sectors, nil)
	require.ErrorIs(t, err, ErrProofType)
	t.Setenv("FIL_PROOFS_PARAMETER_CACHE", t.TempDir())
	_, err = Verify(t.Context(), miner, windowType, make([]byte, 32), sectors, nil)
	require.ErrorIs(t, err, ErrParameters)
}

func TestBadSectorsAreSkippedInPlace(t *testing.T) {
	needParameters(t)
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string, task *Task)
		reason string
	}{
		"replica missing": {func(t *testing.T, dir string, _ *Task) { require.NoError(t, sealing.Delete(dir, miner, 2)) }, "s-t01000-2 does not exist"},
		"replica cut short": {func(t *testing.T, dir string, _ *Task) { require.NoError(t, sealing.Truncate(dir, miner, 2)) },
			"s-t01000-2 holds 1024 bytes instead of 2048"},
		"bits of the replica turned over": {func(t *testing.T, dir string, _ *Task) { require.NoError(t, sealing.FlipReplica(dir, miner, 2)) }, "vanilla proof"},
		"bits of the tree turned over":    {func(t *testing.T, dir string, _ *Task) { require.NoError(t, sealing.FlipTree(dir, miner, 2)) }, "vanilla proof"},
		"cache gone": {func(t *testing.T, dir string, _ *Task) {
			require.NoError(t, os.RemoveAll(sealing.CacheDir(dir, miner, 2)))
		}, "p_aux does not exist"},
		"tree empty": {func(t *testing.T, dir string, _ *Task) {
			require.NoError(t, os.Truncate(filepath.Join(sealing.CacheDir(dir, miner, 2), "sc-02-data-tree-r-last.dat"), 0))
		}, "sc-02-data-tree-r-last.dat is empty"},
		"p_aux turned over": {func(t *testing.T, dir string, _ *Task) {
			require.NoError(t, sealing.FlipBit(filepath.Join(sealing.CacheDir(dir, miner, 2), "p_aux"), 0))
		}, "vanilla proof does not verify"},
		"files of another sector": {func(t *testing.T, dir string, task *Task) {
			task.Replicas[1].CacheDir, task.Replicas[1].SealedFile = task.Replicas[2].CacheDir, task.Replicas[2].SealedFile
		}, "vanilla proof does not verify"},
		"CommR not a field element": {func(t *testing.T, _ string, task *Task) {
			for i := range task.Replicas[1].CommR {
				task.Replicas[1].CommR[i] = 0xff
			}
		}, "vanilla proof"},
		"CommR zero": {func(t *testing.T, _ string, task *Task) { task.Replicas[1].CommR = Bytes32{} }, "vanilla proof"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, task := sealed(t, 3)
			c.damage(t, dir, &task)
			v, err := Vanilla(t.Context(), task, Reading{})
			require.NoError(t, err)
			proof, skipped, err := Snark(t.Context(), v)
			require.NoError(t, err)
			require.Len(t, skipped, 1)
			require.EqualValues(t, 2, skipped[0].Sector)
			require.Contains(t, skipped[0].Reason, c.reason)
			t.Log(skipped[0].Reason)
			require.True(t, verifies(t, task, skipped, proof), "the proof covers the others")
		})
	}
}
