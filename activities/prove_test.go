package activities_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
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
	signalName string
}

func (a *attempts) RecordActivityHeartbeat(_ context.Context, _ []byte, details ...any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beats = append(a.beats, details[0].(post.Progress))
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
	if a.signalFail > 0 {
		a.signalFail--
		return serviceerror.NewUnavailable("no")
	}
	a.signals, a.signalName = append(a.signals, arg.(post.Proof)), name
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
	return len(a.beats)
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
	if stopping != nil {
		env.SetWorkerStopChannel(stopping)
	}
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

func TestAProof(t *testing.T) {
	server := &attempts{}
	job := theJob()
	job.AvoidCards = []string{"w/c1", "other/c0", "w"}
	p := newProver(server, func(_ context.Context, task prover.Task, avoid []string, progress func(post.Progress)) (*prover.Result, error) {
		assert.Equal(t, prover.Task{
			MinerID: 1000, ProofType: prover.ProofType(job.ProofType), Seed: prover.Bytes32(job.Randomness),
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
		"a store is not attached": {func(j *post.Job) { j.Sectors[1].Store = "b" }, post.FailureNoStore, `worker w, sector 5 of f01000: store "b" is not attached here`},
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
		"it refused the task":           {on(prover.ErrTask), post.FailureProve, "w/c3"},
		"its proof is false":            {on(prover.ErrProofInvalid), post.FailureFalseProof, "w/c3"},
		"parameters are missing":        {on(prover.ErrParameters), post.FailureSetup, "w/c3"},
		"parameters, found by the pool": {fmt.Errorf("v28.params: %w", prover.ErrParameters), post.FailureSetup, ""},
		"no sector can be read":         {&prover.AllBadError{Miner: 1000, Skipped: []post.Skipped{{Sector: 3, Reason: "gone"}}}, post.FailureAllBad, ""},
		"a proof type of old":           {fmt.Errorf("window V1: %w", prover.ErrProofType), post.FailureProve, ""},
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
			assert.Equal(t, c.err.Error(), application.Message())
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

// info is a workflow as Temporal describes it; its memo says how partition 1 stands.
func info(status enums.WorkflowExecutionStatus, state post.State) *workflowpb.WorkflowExecutionInfo {
	out := &workflowpb.WorkflowExecutionInfo{Status: status}
	if state != "" {
		board, err := converter.GetDefaultDataConverter().ToPayload(post.Result{Partitions: []post.PartitionResult{
			{Index: 0, State: post.StatePosted}, {Index: 1, State: state}}})
		if err != nil {
			panic(err)
		}
		out.Memo = &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoBoard: board}}
	}
	return out
}

const (
	running = enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	closed  = enums.WORKFLOW_EXECUTION_STATUS_TERMINATED
)

var errGone = serviceerror.NewNotFound("no such attempt")

// The attempt is gone (Temporal heard nothing for a while), but its workflow waits: the proof goes on and arrives by signal.
func TestAnAttemptThatIsGoneDeliversBySignal(t *testing.T) {
	for name, described := range map[string]*workflowpb.WorkflowExecutionInfo{
		"its partition is proving":      info(running, post.StateProving),
		"its partition is out of tries": info(running, post.StateFailed),
		"its partition waits":           info(running, post.StateWaiting),
		"the workflow has no board":     info(running, ""),
		"the board cannot be read":      {Status: running, Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoBoard: {Data: []byte("{")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			server := &attempts{answer: errGone, described: described, signalFail: 2}
			p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
				assert.True(t, server.more(3))
				assert.NoError(t, ctx.Err(), "it goes on")
				return aProof(), nil
			})
			proof, err := prove(t, p, theJob(), nil)
			require.NoError(t, err)
			require.Len(t, server.signals, 1, "once, however many signals got lost")
			assert.Equal(t, proof, server.signals[0])
			assert.Equal(t, workflows.SignalProofFound, server.signalName)
		})
	}
}

// A failure of an attempt that is gone concerns nobody any more: its successor runs.
func TestAnAttemptThatIsGoneFails(t *testing.T) {
	server := &attempts{answer: errGone, described: info(running, post.StateProving)}
	p := newProver(server, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
		return nil, errors.New("odd")
	})
	_, err := prove(t, p, theJob(), nil)
	failed(t, err, post.FailureProve, false)
	assert.Empty(t, server.signals)
}

func TestProvingStopsWhenNobodyWaits(t *testing.T) {
	for name, server := range map[string]*attempts{
		"cancelled":                                 {answer: temporal.NewCanceledError()},
		"paused by an operator":                     {answer: activity.ErrActivityPaused},
		"the activity was reset":                    {answer: activity.ErrActivityReset},
		"gone, and its run is closed":               {answer: errGone, described: info(closed, post.StateProving)},
		"gone, and its run is deleted":              {answer: errGone, describe: serviceerror.NewNotFound("no such workflow")},
		"gone, and another attempt was faster":      {answer: errGone, described: info(running, post.StateSubmitting)},
		"gone, and the partition has landed":        {answer: errGone, described: info(running, post.StateLanded)},
		"gone, and the partition is posted by hand": {answer: errGone, described: info(running, post.StatePosted)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
				return stopped(ctx)
			})
			_, err := prove(t, p, theJob(), nil)
			assert.Contains(t, failed(t, err, post.FailureHandOver, true).Message(), "nobody waits for this proof any more")
			assert.Empty(t, server.signals)
		})
	}
}

// A Temporal that is away costs nothing but the wait.
func TestTemporalIsAwayWhileProving(t *testing.T) {
	for name, c := range map[string]struct {
		back  error // what it answers when it is back
		state post.State
		say   int // signals
	}{
		"and back before the attempt was missed": {nil, "", 0},
		"and back after that":                    {errGone, post.StateProving, 1},
		"and back, with the proof made already":  {errGone, post.StateSubmitting, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := &attempts{answer: serviceerror.NewUnavailable("connection refused"), described: info(running, c.state)}
			proven, returned := make(chan struct{}), make(chan error, 1)
			p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
				assert.True(t, server.more(3))
				assert.NoError(t, ctx.Err(), "it goes on")
				close(proven)
				return aProof(), nil
			})
			go func() {
				_, err := prove(t, p, theJob(), nil)
				returned <- err
			}()
			<-proven
			require.True(t, server.more(3), "it asks again")
			select {
			case <-returned:
				t.Fatal("the SDK would lose the result")
			default:
			}
			server.answers(c.back)
			require.NoError(t, <-returned)
			assert.Len(t, server.signals, c.say)
		})
	}
	t.Run("and then not sure whether the workflow waits", func(t *testing.T) {
		server := &attempts{answer: errGone, describe: serviceerror.NewUnavailable("starting")}
		p := newProver(server, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
			assert.True(t, server.more(3))
			assert.NoError(t, ctx.Err(), "doubt does not stop it")
			server.answers(nil)
			return aProof(), nil
		})
		_, err := prove(t, p, theJob(), nil)
		require.NoError(t, err)
	})
}

func TestTheWorkerStops(t *testing.T) {
	t.Run("while proving: the job goes to another worker", func(t *testing.T) {
		stopping := make(chan struct{})
		p := newProver(&attempts{}, func(ctx context.Context, _ prover.Task, _ []string, _ func(post.Progress)) (*prover.Result, error) {
			close(stopping)
			return stopped(ctx)
		})
		_, err := prove(t, p, theJob(), stopping)
		assert.Contains(t, failed(t, err, post.FailureHandOver, true).Message(), "worker w: the worker is stopping")
	})
	t.Run("while Temporal is away: it does not hold the process up", func(t *testing.T) {
		server := &attempts{answer: serviceerror.NewUnavailable("connection refused")}
		stopping := make(chan struct{})
		p := newProver(server, func(context.Context, prover.Task, []string, func(post.Progress)) (*prover.Result, error) {
			go func() {
				server.more(5)
				close(stopping)
			}()
			return aProof(), nil
		})
		_, err := prove(t, p, theJob(), stopping)
		require.NoError(t, err)
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
