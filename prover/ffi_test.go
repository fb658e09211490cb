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

// Every way in which a sector can be bad, in one task with two good ones: each is named with its reason, and the proof covers the
// good ones.
func TestBadSectorsAreSkippedInPlace(t *testing.T) {
	needParameters(t)
	cases := []struct {
		situation string
		damage    func(dir string, n abi.SectorNumber, r *Replica) error
		reason    string
	}{
		{"replica missing", func(dir string, n abi.SectorNumber, _ *Replica) error { return sealing.Delete(dir, miner, n) }, "s-t01000-3 does not exist"},
		{"replica cut short", func(dir string, n abi.SectorNumber, _ *Replica) error { return sealing.Truncate(dir, miner, n) },
			"s-t01000-4 holds 1024 bytes instead of 2048"},
		{"bits of the replica turned over", func(dir string, n abi.SectorNumber, _ *Replica) error { return sealing.FlipReplica(dir, miner, n) },
			"vanilla proof for sector SectorId(5) is invalid"},
		{"bits of the tree turned over", func(dir string, n abi.SectorNumber, _ *Replica) error { return sealing.FlipTree(dir, miner, n) },
			"vanilla proof for sector SectorId(6) is invalid"},
		{"cache gone", func(_ string, _ abi.SectorNumber, r *Replica) error { return os.RemoveAll(r.CacheDir) }, "p_aux does not exist"},
		{"tree empty", func(_ string, _ abi.SectorNumber, r *Replica) error {
			return os.Truncate(filepath.Join(r.CacheDir, "sc-02-data-tree-r-last.dat"), 0)
		}, "sc-02-data-tree-r-last.dat is empty"},
		{"tree cut short", func(_ string, _ abi.SectorNumber, r *Replica) error {
			return os.Truncate(filepath.Join(r.CacheDir, "sc-02-data-tree-r-last.dat"), 16)
		}, "sc-02-data-tree-r-last.dat holds 16 bytes, which is no whole tree"},
		{"CommC in p_aux turned over", func(_ string, _ abi.SectorNumber, r *Replica) error {
			return sealing.FlipBit(filepath.Join(r.CacheDir, "p_aux"), 0)
		}, "vanilla proof does not verify"},
		{"CommRLast in p_aux turned over", func(_ string, _ abi.SectorNumber, r *Replica) error {
			return sealing.FlipBit(filepath.Join(r.CacheDir, "p_aux"), 32)
		}, "vanilla proof for sector SectorId(11) is invalid"},
		{"files of another sector", func(dir string, _ abi.SectorNumber, r *Replica) error {
			r.CacheDir, r.SealedFile = sealing.CacheDir(dir, miner, 1), sealing.SealedFile(dir, miner, 1)
			return nil
		}, "vanilla proof does not verify"},
		{"CommR not a field element", func(_ string, _ abi.SectorNumber, r *Replica) error {
			for i := range r.CommR {
				r.CommR[i] = 0xff
			}
			return nil
		}, "Invalid commitment (comm_r)"},
		{"CommR zero", func(_ string, _ abi.SectorNumber, r *Replica) error { r.CommR = Bytes32{}; return nil }, "Invalid all zero commitment"},
		{"replica a folder", func(_ string, _ abi.SectorNumber, r *Replica) error {
			r.SealedFile = filepath.Dir(r.SealedFile)
			return nil
		}, "is not a file"},
	}
	const good = 2
	dir, _, task := sealed(t, good+len(cases))
	for i, c := range cases {
		require.NoError(t, c.damage(dir, abi.SectorNumber(good+1+i), &task.Replicas[good+i]), c.situation)
	}
	v, err := Vanilla(t.Context(), task, Reading{})
	require.NoError(t, err)
	proof, skipped, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.Len(t, skipped, len(cases))
	for i, c := range cases {
		require.EqualValues(t, good+1+i, skipped[i].Sector, c.situation)
		require.Contains(t, skipped[i].Reason, c.reason, c.situation)
		require.NotContains(t, skipped[i].Reason, "\n", c.situation)
	}
	require.True(t, verifies(t, task, skipped, proof))
}
