package activities_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// winningCards are cards set aside for blocks.
type winningCards func(ctx context.Context, task prover.Task, progress func(post.Progress)) (*prover.WinningResult, error)

func (c winningCards) ProveWinning(ctx context.Context, task prover.Task, progress func(post.Progress)) (*prover.WinningResult, error) {
	return c(ctx, task, progress)
}

func theWinningJob() workflows.WinningJob {
	return workflows.WinningJob{Miner: 1000, ProofType: abi.RegisteredPoStProof_StackedDrgWinning2KiBV1, Randomness: bytes.Repeat([]byte{7}, 32),
		Sectors: []post.Sector{{Number: 5, Store: "a"}, {Number: 3, Store: "a"}}}
}

func win(t *testing.T, p *activities.WinningProver, job workflows.WinningJob) (workflows.WinningProof, error) {
	t.Helper()
	p.Worker, p.Stores, p.Log = "w", stores{"a"}, slog.New(slog.DiscardHandler)
	env := newEnvironment()
	env.SetTestTimeout(2 * patience)
	env.RegisterActivity(p.GenerateWinningPoSt)
	value, err := env.ExecuteActivity(p.GenerateWinningPoSt, job)
	if err != nil {
		return workflows.WinningProof{}, err
	}
	var proof workflows.WinningProof
	require.NoError(t, value.Get(&proof))
	return proof, nil
}

func TestAWinningProof(t *testing.T) {
	var seen []activities.Observation
	p := &activities.WinningProver{Observe: func(o activities.Observation) { seen = append(seen, o) },
		Cards: winningCards(func(_ context.Context, task prover.Task, progress func(post.Progress)) (*prover.WinningResult, error) {
			progress(post.Progress{Card: "c0", Phase: post.PhaseSnark})
			assert.Equal(t, "f01000 block", task.Label)
			assert.EqualValues(t, 5, task.Replicas[0].SectorID, "in the order in which they were drawn")
			assert.Equal(t, "/a/cache/1000-3", task.Replicas[1].CacheDir)
			return &prover.WinningResult{Proofs: [][]byte{{1}, {2}}, ProofType: theWinningJob().ProofType, Card: "c0"}, nil
		})}
	proof, err := win(t, p, theWinningJob())
	require.NoError(t, err)
	assert.Equal(t, workflows.WinningProof{ProofType: theWinningJob().ProofType, Proofs: [][]byte{{1}, {2}}, Card: "w/c0"}, proof)
	require.Len(t, seen, 2)
	assert.Equal(t, activities.Observation{Kind: activities.ObservedProof, Proof: post.KindWinning, Size: 2048, Attempt: 1, Card: "w/c0"}, seen[1])
}

func TestNoWinningProof(t *testing.T) {
	cards := func(err error) *activities.WinningProver {
		return &activities.WinningProver{Cards: winningCards(func(context.Context, prover.Task, func(post.Progress)) (*prover.WinningResult, error) {
			return nil, err
		})}
	}
	_, err := win(t, cards(&prover.CardError{Card: "c0", Kind: prover.ErrProofInvalid}), theWinningJob())
	failed(t, err, post.FailureFalseProof, false)
	_, err = win(t, cards(prover.ErrNoCard), theWinningJob())
	failed(t, err, post.FailureNoCard, false)
	job := theWinningJob()
	job.Sectors[0].Store = "b"
	_, err = win(t, cards(errors.New("no card may be asked")), job)
	failed(t, err, post.FailureNoStore, false)
	job = theWinningJob()
	job.Randomness = nil
	_, err = win(t, cards(errors.New("no card may be asked")), job)
	assert.Contains(t, failed(t, err, post.FailureProve, false).Message(), "0 bytes instead of 32")

	stopping := make(chan struct{})
	p := &activities.WinningProver{Stopping: stopping, Cards: winningCards(func(ctx context.Context, _ prover.Task, _ func(post.Progress)) (*prover.WinningResult, error) {
		close(stopping)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(patience):
			return nil, errors.New("not stopped")
		}
	})}
	_, err = win(t, p, theWinningJob())
	failed(t, err, post.FailureHandOver, true)
}
