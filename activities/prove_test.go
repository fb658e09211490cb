package activities_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/prover"
)

func TestAProof(t *testing.T) {
	server := &attempts{}
	job := theJob()
	job.AvoidCards = []string{"w/c1", "other/c0", "w"}
	p := newProver(server, func(_ context.Context, task prover.Task, avoid []string, progress func(post.Progress)) (*prover.Result, error) {
		assert.True(t, task.Until.After(time.Now()), "how long sectors may be read again follows from it")
		task.Until = time.Time{}
		assert.Equal(t, prover.Task{
			Label: "f01000/7 partition 1", MinerID: 1000, ProofType: prover.ProofType(job.ProofType), Seed: prover.Bytes32(job.Randomness),
			Replicas: []prover.Replica{
				{SectorID: 3, CommR: [32]byte{3}, SealedFile: "/a/sealed/1000-3", CacheDir: "/a/cache/1000-3"},
				{SectorID: 5, SealedFile: "/a/sealed/1000-5", CacheDir: "/a/cache/1000-5"},
			},
		}, task)
		assert.Equal(t, []string{"c1"}, avoid, "this worker's cards, by the names that the pool knows")
		assert.True(t, server.more(1))
		progress(post.Progress{Card: "c0", Phase: post.PhaseVanilla, Done: 1, Of: 2})
		assert.True(t, server.more(2))
		return aProof(), nil
	})
	proof, err := prove(t, p, job, nil)
	require.NoError(t, err)
	assert.Equal(t, post.Proof{JobKey: job.Key(), ProofType: job.ProofType, Bytes: []byte("proof"), Card: "w/c0",
		Skipped: []post.Skipped{{Sector: 5, Reason: "bad"}}, Phases: post.PhaseTimes{Snark: time.Second}}, proof)
	assert.Equal(t, post.PhaseWaiting, server.beats[0].Phase, "before a card is free")
	assert.Equal(t, 2, server.beats[0].Of)
	last := server.beats[len(server.beats)-1]
	assert.Equal(t, "w/c0", last.Card)
	assert.Equal(t, post.PhaseVanilla, last.Phase)
	assert.Equal(t, 1, last.Done)
	assert.Empty(t, server.signals, "the result goes the usual way")
}

func TestJobsThatCannotStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*post.Job)
		kind   post.Failure
		say    string
	}{
		"a store is not attached": {func(j *post.Job) { j.Sectors[1].Store = "b" }, post.FailureNoStore, `worker w: sector 5 of f01000: store "b" is not attached here`},
		"a challenge of 31 bytes": {func(j *post.Job) { j.Randomness = j.Randomness[1:] }, post.FailureProve, "31 bytes instead of 32"},
		"no challenge":            {func(j *post.Job) { j.Randomness = nil }, post.FailureProve, "0 bytes instead of 32"},
		"sectors not looked up":   {func(j *post.Job) { j.Sectors[0].Store = "" }, post.FailureNoStore, "sector 3"},
	} {
		t.Run(name, func(t *testing.T) {
			job := theJob()
			c.change(&job)
			p := newProver(&attempts{}, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
				t.Error("no card may be asked")
				return nil, errors.New("asked")
			})
			_, err := prove(t, p, job, nil)
			assert.Contains(t, failed(t, err, c.kind, false).Message(), c.say)
		})
	}
}

func TestFailuresOfCards(t *testing.T) {
	on := func(kind error) error { return &prover.CardError{Card: "c3", Kind: kind, Detail: "exit status 139"} }
	for name, c := range map[string]struct {
		err  error
		kind post.Failure
		card string
	}{
		"its process died":              {on(prover.ErrCardCrashed), post.FailureCard, "w/c3"},
		"it hangs":                      {on(prover.ErrHung), post.FailureCard, "w/c3"},
		"no card gets ready":            {on(prover.ErrNotReady), post.FailureCard, "w/c3"},
		"its GPU failed in silence":     {on(prover.ErrFellBack), post.FailureCard, "w/c3"},
		"it refused the task":           {on(prover.ErrTask), post.FailureProve, "w/c3"},
		"its proof is false":            {on(prover.ErrProofInvalid), post.FailureFalseProof, "w/c3"},
		"parameters are missing":        {on(prover.ErrParameters), post.FailureSetup, "w/*"},
		"parameters, found by the pool": {fmt.Errorf("v28.params: %w", prover.ErrParameters), post.FailureSetup, "w/*"},
		"no sector can be read":         {&prover.AllBadError{Miner: 1000, Skipped: []post.Skipped{{Sector: 3, Reason: "gone"}}}, post.FailureAllBad, ""},
		"a proof type of old":           {fmt.Errorf("window V1: %w", prover.ErrProofType), post.FailureProve, ""},
		"every card is fenced":          {fmt.Errorf("%w (2 cards: fenced)", prover.ErrNoCard), post.FailureNoCard, "w/*"},
		"anything else":                 {errors.New("odd"), post.FailureProve, ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			p := newProver(&attempts{}, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
				asked++
				return nil, c.err
			})
			_, err := prove(t, p, theJob(), nil)
			application := failed(t, err, c.kind, false)
			assert.Contains(t, application.Message(), c.err.Error())
			var card string
			require.NoError(t, application.Details(&card))
			assert.Equal(t, c.card, card)
			_, err = prove(t, p, theJob(), nil)
			require.Error(t, err)
			assert.Equal(t, 2, asked, "a failure is not remembered")
		})
	}
	t.Run("the pool closes: another worker takes it", func(t *testing.T) {
		p := newProver(&attempts{}, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
			return nil, prover.ErrClosed
		})
		_, err := prove(t, p, theJob(), nil)
		failed(t, err, post.FailureHandOver, true)
	})
}

func TestAProofThatWasMadeBefore(t *testing.T) {
	made := 0
	p := newProver(&attempts{}, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
		made++
		return aProof(), nil
	})
	first, err := prove(t, p, theJob(), nil)
	require.NoError(t, err)
	again := func(change func(*post.Job)) post.Proof {
		job := theJob()
		change(&job)
		proof, err := prove(t, p, job, nil)
		require.NoError(t, err)
		return proof
	}

	assert.Equal(t, first, again(func(j *post.Job) { j.Try = 2 }))
	assert.Equal(t, 1, made, "Temporal lost the answer and asks again: it is given at once")
	again(func(j *post.Job) { j.AvoidCards = []string{"w/c9", "other/c0"} })
	assert.Equal(t, 1, made, "that other cards failed says nothing against it")
	again(func(j *post.Job) { j.Randomness = bytes.Repeat([]byte{8}, 32) })
	assert.Equal(t, 2, made, "another challenge is another proof")
	again(func(j *post.Job) { j.AvoidCards = []string{"w/c0"} })
	assert.Equal(t, 3, made, "the proof of a card that is to be avoided may be why it is")
}
