package prover

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/proof"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/sealing"
)

// ours is a card whose process is our own processor.
func ours(name string, envs ...string) CardConfig {
	card := CardConfig{Name: name, Bin: os.Args[0], Envs: map[string]string{childEnv: "real"}}
	for i := 0; i < len(envs); i += 2 {
		card.Envs[envs[i]] = envs[i+1]
	}
	return card
}

func TestACardProves(t *testing.T) {
	needParameters(t)
	dir, _, task := sealed(t, 4)
	require.NoError(t, sealing.FlipReplica(dir, miner, 2))
	require.NoError(t, sealing.Delete(dir, miner, 3))
	var seen []post.Progress
	pool := startPool(t, PoolOptions{Verify: Verify}, ours("gpu0"))
	result, err := pool.Prove(t.Context(), task, nil, func(p post.Progress) { seen = append(seen, p) })
	require.NoError(t, err)
	require.Len(t, result.Skipped, 2)
	require.EqualValues(t, 2, result.Skipped[0].Sector)
	require.Contains(t, result.Skipped[0].Reason, "vanilla proof")
	require.EqualValues(t, 3, result.Skipped[1].Sector)
	require.Contains(t, result.Skipped[1].Reason, "does not exist")
	require.True(t, verifies(t, task, result.Skipped, result.Proof))
	require.Positive(t, result.Phases.Vanilla)
	require.Positive(t, result.Phases.Snark)
	require.Positive(t, result.Phases.Verify)
	t.Logf("phases: vanilla %v, snark %v, verify %v", result.Phases.Vanilla, result.Phases.Snark, result.Phases.Verify)

	var phases []post.Phase
	for _, p := range seen {
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
	}
	require.Contains(t, phases, post.PhaseSnark)
	require.Equal(t, post.PhaseVerify, phases[len(phases)-1])

	// All of them bad: a result with every reason, and the card stays in use.
	for _, n := range []abi.SectorNumber{1, 4} {
		require.NoError(t, sealing.Truncate(dir, miner, n))
	}
	_, err = pool.Prove(t.Context(), task, nil, nil)
	var allBad *AllBadError
	require.ErrorAs(t, err, &allBad)
	require.Len(t, allBad.Skipped, 4)
	for _, s := range allBad.Skipped {
		require.NotContains(t, s.Reason, "found bad by card", "each has its own reason")
	}
	status := pool.Status()[0]
	require.Equal(t, StateIdle, status.State)
	require.Zero(t, status.Failures)
	require.Equal(t, 1, status.Proofs)
}

// A child that is stopped, not dead, is found out by its silence.
func TestAStoppedChildHasHung(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 2)
	pool := startPool(t, PoolOptions{Verify: Verify, HungAfter: 1500 * time.Millisecond}, ours("gpu0"))
	pid := eventually(t, pool, "ready", func(s CardStatus) bool { return s.State == StateIdle }).PID
	got := make(chan error, 1)
	go func() {
		_, err := pool.Prove(t.Context(), task, nil, nil)
		got <- err
	}()
	eventually(t, pool, "busy", func(s CardStatus) bool { return s.State == StateProving })
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	eventually(t, pool, "not alive", func(s CardStatus) bool { return !s.Alive })
	require.ErrorIs(t, <-got, ErrHung)
	result, err := pool.Prove(t.Context(), task, nil, nil)
	require.NoError(t, err, "its successor proves")
	require.True(t, verifies(t, task, nil, result.Proof))
}

// parameterCopy is a folder with the window parameters of 2 KiB sectors, to be damaged.
func parameterCopy(t *testing.T) (folder, params, vk string) {
	t.Helper()
	name, err := ParameterFile(windowType)
	require.NoError(t, err)
	folder = t.TempDir()
	for _, ending := range []string{".params", ".vk", ".meta"} {
		data, err := os.ReadFile(filepath.Join(ParameterFolder(), name+ending))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name+ending), data, 0o644))
	}
	return folder, filepath.Join(folder, name+".params"), filepath.Join(folder, name+".vk")
}

func TestBadParameters(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 2)
	for name, c := range map[string]struct {
		damage func(t *testing.T, folder, params, vk string)
		text   string // besides the remedy; FILE stands for the parameters
		kind   error
	}{
		"folder missing":     {func(t *testing.T, folder, _, _ string) { require.NoError(t, os.RemoveAll(folder)) }, "does not exist", ErrParameters},
		"parameters missing": {func(t *testing.T, _, params, _ string) { require.NoError(t, os.Remove(params)) }, "FILE", ErrParameters},
		"parameters empty":   {func(t *testing.T, _, params, _ string) { require.NoError(t, os.Truncate(params, 0)) }, "FILE is cut short", ErrParameters},
		"parameters cut to half": {func(t *testing.T, _, params, _ string) {
			info, err := os.Stat(params)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(params, info.Size()/2))
		}, "cut short", ErrParameters},
		"a bit of the parameters' head turned over": {func(t *testing.T, _, params, _ string) { require.NoError(t, sealing.FlipBit(params, 100)) }, "FILE", ErrParameters},
		"a bit of their body turned over": {func(t *testing.T, _, params, _ string) {
			info, err := os.Stat(params)
			require.NoError(t, err)
			for at := info.Size() / 8; at < info.Size(); at += info.Size() / 8 {
				require.NoError(t, sealing.FlipBit(params, at))
			}
		}, "", nil},
		"verifying key empty":   {func(t *testing.T, _, _, vk string) { require.NoError(t, os.Truncate(vk, 0)) }, "is empty", ErrParameters},
		"verifying key damaged": {func(t *testing.T, _, _, vk string) { require.NoError(t, sealing.FlipBit(vk, 500)) }, "made apart", ErrParameters},
	} {
		t.Run(name, func(t *testing.T) {
			folder, params, vk := parameterCopy(t)
			c.damage(t, folder, params, vk)
			pool := startPool(t, PoolOptions{Verify: Verify}, ours("gpu0", "FIL_PROOFS_PARAMETER_CACHE", folder))
			_, err := pool.Prove(t.Context(), task, nil, nil)
			require.Error(t, err)
			t.Log(err)
			if c.kind == nil {
				// What the library makes of it depends on the bit; the proof must not get through.
				require.True(t, errors.Is(err, ErrParameters) || errors.Is(err, ErrProofInvalid), err)
				return
			}
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, strings.ReplaceAll(c.text, "FILE", params))
			require.ErrorContains(t, err, folder)
			require.ErrorContains(t, err, "make params")
		})
	}
}

func TestParameterFilesOfAllTypes(t *testing.T) {
	list, err := os.ReadFile("../extern/filecoin-ffi/parameters.json")
	require.NoError(t, err)
	for value := range proofNames {
		name, err := ParameterFile(value)
		require.NoError(t, err)
		require.Contains(t, string(list), `"`+name+`.params"`, ProofType(value))
	}
}

// TestPhasesAgainstTheSingleCall has the library prove the same sectors in its own way.
func TestPhasesAgainstTheSingleCall(t *testing.T) {
	needParameters(t)
	_, sectors, task := sealed(t, 2)
	var private []ffi.PrivateSectorInfo
	for i, s := range sectors {
		private = append(private, ffi.PrivateSectorInfo{
			SectorInfo:   proof.SectorInfo{SectorNumber: s.Number, SealedCID: s.SealedCID},
			CacheDirPath: task.Replicas[i].CacheDir, SealedSectorPath: task.Replicas[i].SealedFile, PoStProofType: windowType,
		})
	}
	masked := Mask(task.Seed)
	whole, bad, err := ffi.GenerateWindowPoSt(miner, ffi.NewSortedPrivateSectorInfo(private...), masked[:])
	require.NoError(t, err)
	require.Empty(t, bad)
	require.True(t, verifies(t, task, nil, whole[0].ProofBytes))

	v, err := Vanilla(t.Context(), task, Reading{})
	require.NoError(t, err)
	ours, _, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.True(t, verifies(t, task, nil, ours))
	require.Len(t, ours, len(whole[0].ProofBytes))
}

func verifiesWinning(t *testing.T, task Task, proofBytes []byte) bool {
	t.Helper()
	sealedCID, err := commcid.ReplicaCommitmentV1ToCID(task.Replicas[0].CommR[:])
	require.NoError(t, err)
	masked := Mask(task.Seed)
	ok, err := ffi.VerifyWinningPoSt(proof.WinningPoStVerifyInfo{
		Randomness:        masked[:],
		Proofs:            []proof.PoStProof{{PoStProof: abi.RegisteredPoStProof(task.ProofType), ProofBytes: proofBytes}},
		ChallengedSectors: []proof.SectorInfo{{SealProof: sealing.SealProof, SectorNumber: abi.SectorNumber(task.Replicas[0].SectorID), SealedCID: sealedCID}},
		Prover:            miner,
	})
	require.NoError(t, err)
	return ok
}
