package prover

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/sealing"
)

const winningType = abi.RegisteredPoStProof_StackedDrgWinning2KiBV1

// oursWinning is a winning card whose process is our own processor: started without a bin, with `winning_post`.
func oursWinning(name string) CardConfig {
	return CardConfig{Name: name, Envs: map[string]string{childEnv: "real"}}
}

func TestAWinningCardProves(t *testing.T) {
	needParameters(t)
	dir, _, task := sealed(t, 2)
	task.ProofType = ProofType(winningType)
	other := task.Replicas[1]
	task.Replicas = task.Replicas[:1]
	pool := startPool(t, PoolOptions{Kind: KindWinning}, oursWinning("win0"))
	result, err := pool.ProveWinning(t.Context(), task, nil)
	require.NoError(t, err)
	require.Equal(t, "win0", result.Card)
	require.Equal(t, winningType, result.ProofType)
	require.Len(t, result.Proofs, 1)
	require.Positive(t, result.Phases.Snark)
	require.Positive(t, result.Phases.Verify)
	require.True(t, verifiesWinning(t, task, result.Proofs[0]), "as the library says it itself")
	require.Equal(t, 1, pool.Status()[0].Proofs)

	check := func(task Task, proofs ...[]byte) bool {
		ok, err := VerifyWinning(t.Context(), miner, winningType, task.Seed[:], covered(task, nil), proofs)
		require.NoError(t, err, "a bad proof is no failure of the check")
		return ok
	}
	good := result.Proofs[0]
	require.True(t, check(task, good))
	t.Run("not for another challenge", func(t *testing.T) {
		changed := task
		changed.Seed[0] ^= 1
		require.False(t, check(changed, good))
	})
	t.Run("not for another sector", func(t *testing.T) {
		changed := task
		changed.Replicas = []Replica{other}
		require.False(t, check(changed, good))
	})
	t.Run("not when cut short", func(t *testing.T) { require.False(t, check(task, good[:100])) })
	t.Run("not when there is none", func(t *testing.T) { require.False(t, check(task)) })
	t.Run("not when it is of no bytes", func(t *testing.T) { require.False(t, check(task, nil)) })
	t.Run("not for no sectors", func(t *testing.T) {
		_, err := VerifyWinning(t.Context(), miner, winningType, task.Seed[:], nil, result.Proofs)
		require.ErrorContains(t, err, "no sectors")
	})
	t.Run("not of a window type", func(t *testing.T) {
		_, err := VerifyWinning(t.Context(), miner, windowType, task.Seed[:], covered(task, nil), result.Proofs)
		require.ErrorIs(t, err, ErrProofType)
	})

	require.NoError(t, sealing.Delete(dir, miner, 1))
	_, err = pool.ProveWinning(t.Context(), task, nil)
	require.ErrorIs(t, err, ErrTask, "a block needs this very sector")
	require.ErrorContains(t, err, "does not exist")
}

// What a foreign program returns is verified by our own code: here with the library itself.
func TestAFalseWinningProofIsFoundOut(t *testing.T) {
	needParameters(t)
	card := fake("win0", "good")
	card.Envs["KIND"] = KindWinning
	pool := startPool(t, PoolOptions{Kind: KindWinning}, card)
	task := fakeTask(1)
	task.ProofType = ProofType(winningType)
	for i := range maxStrikes {
		task.Seed[0] = byte(i)
		_, err := pool.ProveWinning(t.Context(), task, nil)
		require.ErrorIs(t, err, ErrProofInvalid)
	}
	_, err := pool.ProveWinning(t.Context(), task, nil)
	require.ErrorIs(t, err, ErrNoCard)
}

func TestPoolsKeepToTheirKind(t *testing.T) {
	_, err := NewPool([]CardConfig{{Name: "a"}}, PoolOptions{Kind: "snap"})
	require.ErrorContains(t, err, `"snap" are not known`)
	window := unmanned(t, PoolOptions{}, cardsOf("a")...).up()
	winning := unmanned(t, PoolOptions{Kind: KindWinning}, cardsOf("a")...).up()
	task := fakeTask(1)
	_, err = winning.Prove(t.Context(), task, nil, nil)
	require.ErrorIs(t, err, ErrTask)
	_, err = winning.ProveWinning(t.Context(), task, nil)
	require.ErrorIs(t, err, ErrProofType)
	task.ProofType = ProofType(winningType)
	_, err = window.ProveWinning(t.Context(), task, nil)
	require.ErrorIs(t, err, ErrTask)
	_, err = window.Prove(t.Context(), task, nil, nil)
	require.ErrorIs(t, err, ErrProofType)
	task.Replicas = nil
	_, err = winning.ProveWinning(t.Context(), task, nil)
	require.ErrorContains(t, err, "no sectors")
}
