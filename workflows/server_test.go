package workflows_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

// What the SDK's test environment does otherwise than a server, such as the moment at which a cancelled activity has ended.

// realTemporal starts a temporal-dev for one test, with the attributes that the workflows set.
func realTemporal(t *testing.T) client.Client {
	t.Helper()
	bin, err := filepath.Abs("../bin/temporal-dev")
	require.NoError(t, err)
	if _, err := os.Stat(bin); err != nil {
		t.Skipf("there is no %s; run `make build` first", bin)
	}
	cmd := exec.Command(bin, "--db-file", filepath.Join(t.TempDir(), "temporal.db"), "--headless", "--port", "0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var ready struct{ Address string }
	require.NoError(t, json.Unmarshal(line, &ready))
	c, err := client.Dial(client.Options{HostPort: ready.Address, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	keyword := enums.INDEXED_VALUE_TYPE_KEYWORD
	_, err = c.OperatorService().AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{
		Namespace: "default", SearchAttributes: map[string]enums.IndexedValueType{workflows.AttributeState: keyword},
	})
	require.NoError(t, err)
	return c
}

// poll runs activities and the workflows on a queue.
func poll(t *testing.T, c client.Client, queue string, all map[string]any) {
	t.Helper()
	w := worker.New(c, queue, worker.Options{})
	registerAll(w)
	for name, f := range all {
		w.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
}

func registerAll(w worker.WorkflowRegistry) {
	w.RegisterWorkflowWithOptions(workflows.DeadlineWorkflow, workflow.RegisterOptions{Name: workflows.NameDeadlineWorkflow})
	w.RegisterWorkflowWithOptions(workflows.WorkerWorkflow, workflow.RegisterOptions{Name: workflows.NameWorkerWorkflow})
	w.RegisterWorkflowWithOptions(workflows.MinerWorkflow, workflow.RegisterOptions{Name: workflows.NameMinerWorkflow})
}

// replay checks that a history of now replays.
func replay(t *testing.T, c client.Client, id string) {
	t.Helper()
	history := &historypb.History{}
	events := c.GetWorkflowHistory(t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		require.NoError(t, err)
		history.Events = append(history.Events, e)
	}
	replayer := worker.NewWorkflowReplayer()
	registerAll(replayer)
	require.NoError(t, replayer.ReplayWorkflowHistory(nil, history))
}

// A deadline with two partitions: the first one's proof is claimed after an outage, the second one's worker refuses it.
func TestClaimAndRefusalOnAServer(t *testing.T) {
	c := realTemporal(t)
	settings := post.DefaultSettings()
	settings.EpochDuration = 100 * time.Millisecond
	d := post.Deadline{Miner: 1000, Index: 3, PeriodStart: 0, Challenge: 160, Open: 180, Close: 240}
	genesis := time.Now().Add(-time.Duration(d.Challenge+1) * settings.EpochDuration)
	now := func() abi.ChainEpoch { return abi.ChainEpoch(time.Since(genesis) / settings.EpochDuration) }

	var mu sync.Mutex
	var issued []string
	var built atomic.Bool // a message, by another run: the chain has the posts then
	prove := func(ctx context.Context, job post.Job) (post.Proof, error) {
		mu.Lock()
		issued = append(issued, activity.GetInfo(ctx).ActivityID)
		mu.Unlock()
		switch {
		case job.Partitions[0] == 1 && len(job.AvoidCards) == 0:
			return post.Proof{}, failure(post.FailureNoStore, "w1/*")
		case job.Partitions[0] == 1:
			return proofOf(job), nil
		}
		for range 3 {
			_ = c.SignalWorkflow(ctx, "deadline", "", workflows.SignalProofClaimed, post.Claim{JobKey: job.Key(), Card: "w9/gpu3"})
			time.Sleep(500 * time.Millisecond)
		}
		proof := proofOf(job)
		proof.Card = "w9/gpu3"
		_ = c.SignalWorkflow(ctx, "deadline", "", workflows.SignalProofFound, proof)
		return post.Proof{}, errors.New("cancelled")
	}
	poll(t, c, "wdpost.gpu.0", map[string]any{workflows.ActivityGenerateWindowPoSt: prove})
	poll(t, c, workflows.QueueSectors, map[string]any{
		workflows.ActivityLookupSectors: func(_ context.Context, in workflows.PartitionInput) (post.Located, error) {
			return post.Located{Sectors: in.Sectors}, nil
		},
		workflows.ActivityVerifyProof: func(context.Context, workflows.VerifyInput) (bool, error) { return true, nil },
	})
	poll(t, c, workflows.QueueChain, map[string]any{
		workflows.ActivityAwaitEpoch: func(_ context.Context, in workflows.AwaitInput) (abi.ChainEpoch, error) {
			for now() < in.Target {
				time.Sleep(settings.EpochDuration / 2)
			}
			return now(), nil
		},
		workflows.ActivityLoadDeadline: func(context.Context, workflows.LoadInput) (post.Loaded, error) {
			return post.Loaded{Head: now(), ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Sender: "f3sender",
				Partitions: []post.Partition{{Index: 0, Live: 2, ToProve: 2, Posted: built.Load()}, {Index: 1, Live: 2, ToProve: 2, Posted: built.Load()}}}, nil
		},
		workflows.ActivityLoadPartition: func(_ context.Context, in workflows.PartitionInput) (post.Sectors, error) {
			first := abi.SectorNumber(10 * in.Partition)
			return sectors(first, first+1), nil
		},
		workflows.ActivityChallengeRandomness: func(context.Context, post.Deadline) ([]byte, error) { return challengeOf(1), nil },
		workflows.ActivityRouteJob: func(context.Context, workflows.RouteInput) (post.Choice, error) {
			return post.Choice{Queue: "wdpost.gpu.0", Priority: 3}, nil
		},
		workflows.ActivityBuildPost: func(context.Context, workflows.BuildInput) (workflows.BuiltPost, error) {
			built.Store(true)
			return workflows.BuiltPost{Posted: true}, nil
		},
		workflows.ActivityCheckDeadline: func(context.Context, post.Deadline) (workflows.Checked, error) { return workflows.Checked{}, nil },
	})
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "deadline", TaskQueue: workflows.QueueChain},
		workflows.NameDeadlineWorkflow, workflows.DeadlineInput{Deadline: d, Head: now(), Settings: settings})
	require.NoError(t, err)
	var result post.Result
	require.NoError(t, run.Get(t.Context(), &result))
	require.Equal(t, "w9/gpu3", result.Partitions[0].Card)
	require.Equal(t, 1, result.Partitions[0].Tries, "a claim cost a try")
	require.Equal(t, 1, result.Partitions[1].Tries, "a refusal cost a try")
	require.ElementsMatch(t, []string{"prove-0-1", "prove-1-1", "prove-1-2"}, issued)
	replay(t, c, "deadline")
}

func TestOrdersOnAServer(t *testing.T) {
	c := realTemporal(t)
	poll(t, c, workflows.QueueChain, nil)
	report := newAttended(t).report
	var mu sync.Mutex
	var applied []workflows.OrdersInput
	poll(t, c, workflows.WorkerQueue(report.Name), map[string]any{
		workflows.ActivityApplyOrders: func(_ context.Context, in workflows.OrdersInput) error {
			mu.Lock()
			defer mu.Unlock()
			applied = append(applied, in)
			return nil
		},
		workflows.ActivityAttendWorker: func(ctx context.Context, _ string) error {
			for ctx.Err() == nil {
				activity.RecordHeartbeat(ctx, post.WorkerNow{Instance: report.Instance})
				time.Sleep(100 * time.Millisecond)
			}
			return ctx.Err()
		},
	})
	id := workflows.WorkerWorkflowID(report.Name)
	start := func(r post.WorkerReport) {
		_, err := c.SignalWithStartWorkflow(t.Context(), id, workflows.SignalReport, r, client.StartWorkflowOptions{ID: id, TaskQueue: workflows.QueueChain},
			workflows.NameWorkerWorkflow, post.WorkerState{Report: r})
		require.NoError(t, err)
	}
	order := func(name string, args ...any) (told workflows.Told, err error) {
		handle, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
			WorkflowID: id, UpdateName: name, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err == nil {
			err = handle.Get(t.Context(), &told)
		}
		return told, err
	}
	start(report)
	told, err := order(workflows.UpdatePause, "moving racks")
	require.NoError(t, err)
	require.True(t, told.Reached, told.Why)
	require.NoError(t, c.SignalWorkflow(t.Context(), id, "", workflows.SignalFence, post.Fence{Card: "gpu0", Reason: "three crashes"}))
	report.Instance = "worker w1@78"
	start(report)
	_, err = order(workflows.UpdateUnfence, "gpu9")
	require.ErrorContains(t, err, `no card "gpu9"`)
	told, err = order(workflows.UpdateResume)
	require.NoError(t, err)
	require.Empty(t, told.Orders.Paused)
	require.Equal(t, "gpu0", told.Orders.Fences[0].Card)
	mu.Lock()
	last := applied[len(applied)-1]
	mu.Unlock()
	require.Equal(t, told.Orders, last.Orders)

	require.Eventually(t, func() bool {
		described, err := c.DescribeWorkflowExecution(t.Context(), id, "")
		return err == nil && len(described.GetPendingActivities()) == 1 && described.GetPendingActivities()[0].GetHeartbeatDetails() != nil
	}, 10*time.Second, 100*time.Millisecond, "nobody sees what the worker does")
	replay(t, c, id)
}
