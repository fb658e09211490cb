package activities_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// patience bounds every wait for something that happens at once in a test that passes.
const patience = 5 * time.Second

// attempts is a Temporal that answers heartbeats as a test wants.
type attempts struct {
	mu         sync.Mutex
	answer     error // to every heartbeat
	described  *workflowpb.WorkflowExecutionInfo
	describe   error
	signalFail int // so many signals fail before one arrives
	beats      []post.Progress
	signals    []post.Proof
	claims     []post.Claim
	nows       []post.WorkerNow
	completed  []any // results, or errors, of activities that did not answer by returning
}

func (a *attempts) RecordActivityHeartbeat(_ context.Context, _ []byte, details ...any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch detail := details[0].(type) {
	case post.Progress:
		a.beats = append(a.beats, detail)
	case post.WorkerNow:
		a.nows = append(a.nows, detail)
	}
	return a.answer
}

func (a *attempts) DescribeWorkflowExecution(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: a.described}, a.describe
}

func (a *attempts) SignalWorkflow(_ context.Context, _, _, name string, arg any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signalFail > 0 && name == workflows.SignalProofFound {
		a.signalFail--
		return serviceerror.NewUnavailable("no")
	}
	switch name {
	case workflows.SignalProofFound:
		a.signals = append(a.signals, arg.(post.Proof))
	case workflows.SignalProofClaimed:
		a.claims = append(a.claims, arg.(post.Claim))
	}
	return nil
}

func (a *attempts) CompleteActivity(_ context.Context, _ []byte, result any, err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		result = err
	}
	a.completed = append(a.completed, result)
	return nil
}

// answers changes what heartbeats are answered from now on.
func (a *attempts) answers(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = err
}

func (a *attempts) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.beats) + len(a.nows)
}

func (a *attempts) claimed() []post.Claim {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.claims)
}

// more waits until heartbeats were answered n times more.
func (a *attempts) more(n int) bool {
	target := a.count() + n
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if a.count() >= target {
			return true
		}
	}
	return false
}

// cards is a pool whose one card does what a test wants.
type cards func(ctx context.Context, task prover.Task, avoid []string, progress func(post.Progress)) (*prover.Result, error)

func (c cards) Prove(ctx context.Context, task prover.Task, avoid []string, progress func(post.Progress)) (*prover.Result, error) {
	return c(ctx, task, avoid, progress)
}

func (c cards) Status() []prover.CardStatus {
	return []prover.CardStatus{{Name: "c0", State: prover.StateProving}, {Name: "c1", State: prover.StateFenced}}
}

// working is what a card tells while it proves.
var working = post.Progress{Card: "c0", Phase: post.PhaseVanilla, Done: 1, Of: 2}

// stores has the stores that are named, at /name.
type stores []string

func (s stores) Paths(store string, miner abi.ActorID, sector post.Sector) (string, string, error) {
	for _, name := range s {
		if name == store {
			return fmt.Sprintf("/%s/sealed/%d-%d", name, miner, sector.Number), fmt.Sprintf("/%s/cache/%d-%d", name, miner, sector.Number), nil
		}
	}
	return "", "", fmt.Errorf("store %q is not attached here", store)
}

func theJob() post.Job {
	return post.Job{
		Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: 2880}, Partitions: []uint64{1}, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1,
		Randomness: bytes.Repeat([]byte{7}, 32), Sectors: post.Sectors{{Number: 3, CommR: [32]byte{3}, Store: "a"}, {Number: 5, Store: "a"}}, Try: 1,
	}
}

// aProof is what a card answers.
func aProof() *prover.Result {
	return &prover.Result{Proof: []byte("proof"), ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Card: "c0",
		Skipped: []post.Skipped{{Sector: 5, Reason: "bad"}}, Phases: post.PhaseTimes{Snark: time.Second}}
}

// stopped is what a pool answers when its context ends.
func stopped(ctx context.Context) (*prover.Result, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(patience):
		return nil, errors.New("proving was not stopped")
	}
}

func newProver(t *attempts, c cards) *activities.Prover {
	p := &activities.Prover{Worker: "w", Cards: c, Stores: stores{"a"}, Temporal: t, Log: slog.New(slog.DiscardHandler)}
	activities.BeatEvery(p, 2*time.Millisecond)
	return p
}

// newEnvironment runs activities without the SDK's log.
func newEnvironment() *testsuite.TestActivityEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	return suite.NewTestActivityEnvironment()
}

// prove runs the activity. stopping, if not nil, is closed when the worker stops.
func prove(t *testing.T, p *activities.Prover, job post.Job, stopping chan struct{}) (post.Proof, error) {
	t.Helper()
	env := newEnvironment()
	env.SetTestTimeout(2 * patience)
	p.Stopping = stopping
	env.RegisterActivity(p.GenerateWindowPoSt)
	value, err := env.ExecuteActivity(p.GenerateWindowPoSt, job)
	if err != nil {
		return post.Proof{}, err
	}
	var proof post.Proof
	require.NoError(t, value.Get(&proof))
	return proof, nil
}

// application is the error that the workflow sees.
func application(t *testing.T, err error) *temporal.ApplicationError {
	t.Helper()
	var out *temporal.ApplicationError
	require.ErrorAs(t, err, &out)
	return out
}

// failed checks how the workflow sees a failure.
func failed(t *testing.T, err error, kind post.Failure, retryable bool) *temporal.ApplicationError {
	t.Helper()
	out := application(t, err)
	assert.Equal(t, string(kind), out.Type())
	assert.Equal(t, !retryable, out.NonRetryable())
	return out
}
