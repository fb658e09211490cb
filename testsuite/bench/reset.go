package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/client"

	"posthaste/post"
	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
	"posthaste/workflows"
)

const (
	resets       = 7                // of each kind
	terminations = 20               // of deadlines of as many miners
	longEpoch    = 30 * time.Second // mainnet's
)

// measureReset looks how soon an operator's word is followed: a job that is out of tries and reset, a job that is being proven and reset, a
// deadline that is terminated.
func measureReset(ctx context.Context, dir string) ([]figure, error) {
	figures, err := measureResets(ctx, dir)
	if err != nil {
		return figures, err
	}
	if err := os.Mkdir(filepath.Join(dir, "terminate"), 0o755); err != nil {
		return figures, err
	}
	more, err := measureTerminate(ctx, filepath.Join(dir, "terminate"))
	return append(figures, more...), err
}

func measureResets(ctx context.Context, dir string) ([]figure, error) {
	b, err := openBare(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	miners, _, err := b.miners(ctx, 2)
	if err != nil {
		return nil, err
	}
	mode := filepath.Join(dir, "mode")
	b.AddWorker(rig.Worker{Name: "fails", Attached: miners[0].Stores(), Cards: b.stubs(1, 20*time.Millisecond, "--mode-file", mode)})
	for _, name := range []string{"a", "b"} {
		b.AddWorker(rig.Worker{Name: name, Attached: miners[1].Stores(), Cards: b.stubs(1, endSleep)})
	}
	if err := setMode(mode, stub.Err); err != nil {
		return nil, err
	}
	if err := firstError(b.StartWorkers(ctx), b.load.WaitReported(ctx)); err != nil {
		return nil, err
	}
	var ours, tctls, both []time.Duration
	for i := range resets {
		again, err := b.resetFailed(ctx, miners[0], mode, b.update)
		if err != nil {
			return nil, err
		}
		ours = append(ours, again)
		if again, err = b.resetFailed(ctx, miners[0], mode, b.tctlReset); err != nil {
			return nil, err
		}
		tctls = append(tctls, again)
		overlap, err := b.resetRunning(ctx, miners[1], time.Duration(i)*700*time.Millisecond%beatEvery)
		if err != nil {
			return nil, err
		}
		both = append(both, overlap)
		say("round %d: begun %s after a reset, %s after tctl's; two proofs at once for %s after tctl's of a running one", i+1, ours[i], tctls[i], overlap)
	}
	return []figure{
		{name: "jobs reset, in each way", value: resets, unit: "times"},
		milliseconds("out of tries, the Update Reset until the proof begins, median", median(ours), 1000),
		milliseconds("out of tries, the Update Reset until the proof begins, max", percentile(ours, 100), 1000),
		milliseconds("out of tries, tctl workflow reset until the proof begins, max", percentile(tctls, 100), 1000),
		milliseconds("being proven, tctl workflow reset: two proofs at once, max", percentile(both, 100), 4000),
	}, nil
}

func setMode(file string, mode stub.Mode) error {
	if err := os.WriteFile(file+".new", []byte(mode), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// resetFailed has a job run out of tries, mends what failed it, resets it, and says how long it took until a card began it.
func (b *bare) resetFailed(ctx context.Context, miner *load.Miner, mode string, reset func(context.Context, string) error) (time.Duration, error) {
	if err := setMode(mode, stub.Err); err != nil {
		return 0, err
	}
	d, err := b.load.Issue(ctx, load.Work{Miner: miner, Partitions: 1, Set: func(s *post.Settings) { s.MaxTry, s.RetryUntilClose = 1, false }})
	if err != nil {
		return 0, err
	}
	if _, err := b.load.WaitPartition(ctx, d, 0, "out of tries", func(p post.PartitionResult) bool { return p.State == post.StateFailed }); err != nil {
		return 0, err
	}
	if err := firstError(pause(ctx, time.Second), setMode(mode, stub.OK)); err != nil {
		return 0, err
	}
	asked := time.Now()
	if err := reset(ctx, d.WorkflowID()); err != nil {
		return 0, err
	}
	begun, err := b.load.WaitEvent(ctx, "the job that was reset runs", load.Begun(asked))
	if err != nil {
		return 0, err
	}
	_, err = b.load.WaitPartition(ctx, d, 0, "posted", func(p post.PartitionResult) bool { return p.State == post.StatePosted })
	return begun.At.Sub(asked), err
}

// update is what `posthaste wdpost reset` does.
func (b *bare) update(ctx context.Context, id string) error {
	handle, err := b.Client().UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: workflows.UpdateReset, Args: []any{workflows.ResetJobs{Partitions: []uint64{0}}},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return fmt.Errorf("resetting %s: %w", id, err)
	}
	return handle.Get(ctx, nil)
}

func (b *bare) tctlReset(ctx context.Context, id string) error {
	return b.tctl(ctx, "reset", id, "--reset_type", "LastWorkflowTask", "--reason", "the bench")
}

// tctl runs the real program.
func (b *bare) tctl(ctx context.Context, command, id string, more ...string) error {
	args := append([]string{"--address", b.Address(), "--namespace", "default", "workflow", command, "--workflow_id", id}, more...)
	if out, err := exec.CommandContext(ctx, b.Program("tctl"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("tctl %v: %w: %s (make tools builds it)", args, err, out)
	}
	return nil
}

// resetRunning resets a job that a card is making, while another card is free, and says how long both made it.
func (b *bare) resetRunning(ctx context.Context, miner *load.Miner, after time.Duration) (time.Duration, error) {
	id, first, err := b.begin(ctx, miner)
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, 2*time.Second+after); err != nil {
		return 0, err
	}
	asked := time.Now()
	if err := b.tctlReset(ctx, id); err != nil {
		return 0, err
	}
	second, err := b.load.WaitEvent(ctx, "the other card has the job", load.Begun(asked))
	if err != nil {
		return 0, err
	}
	for rig.Alive(first.PID) {
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, fmt.Errorf("waiting for the child of a job that was reset to go: %w", err)
		}
	}
	overlap := max(time.Since(second.At), 0)
	if err := b.Client().TerminateWorkflow(ctx, id, "", "the bench has seen enough"); err != nil {
		return 0, fmt.Errorf("terminating %s: %w", id, err)
	}
	for rig.Alive(second.PID) {
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, fmt.Errorf("waiting for the child of a terminated job to go: %w", err)
		}
	}
	return overlap, pause(ctx, 5*time.Second) // until the cards are there again
}

// measureTerminate terminates deadlines one after another, on a chain with a head every 30 s, and looks when each has another run.
func measureTerminate(ctx context.Context, dir string) ([]figure, error) {
	b, err := openBareWith(ctx, dir, load.Options{Trust: true, Epoch: longEpoch})
	if err != nil {
		return nil, err
	}
	defer b.close()
	miners, _, err := b.miners(ctx, 1)
	if err != nil {
		return nil, err
	}
	ids := make([]string, terminations)
	for i := range ids { // nobody proves them, so they may have the same sectors
		d, err := b.load.IssueWatched(ctx, load.Work{Miner: &load.Miner{ID: miners[0].ID + abi.ActorID(i), Store: miners[0].Store, Sets: miners[0].Sets}, Partitions: 1})
		if err != nil {
			return nil, err
		}
		ids[i] = d.WorkflowID()
		if _, err := b.waitRun(ctx, ids[i], time.Time{}); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	var took []time.Duration
	var failed error
	for _, id := range ids {
		asked := time.Now()
		if err := b.tctl(ctx, "terminate", id, "--reason", "the bench"); err != nil {
			return nil, err
		}
		group.Go(func() {
			run, err := b.waitRun(ctx, id, asked)
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, run.Sub(asked)), firstError(failed, err)
		})
		if err := pause(ctx, time.Second); err != nil { // they end at all moments of an epoch
			return nil, err
		}
	}
	group.Wait()
	if failed != nil {
		return nil, failed
	}
	return []figure{
		{name: "deadlines terminated, heads every 30 s", value: terminations, unit: "deadlines"},
		{name: "tctl workflow terminate until it is issued again, median", value: median(took).Seconds(), unit: "s", most: 15},
		{name: "tctl workflow terminate until it is issued again, max", value: percentile(took, 100).Seconds(), unit: "s", most: 15},
	}, nil
}

// waitRun waits for a run of a workflow that was started after a moment, and says when it was.
func (b *bare) waitRun(ctx context.Context, id string, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		described, err := b.Client().DescribeWorkflowExecution(ctx, id, "")
		if err == nil {
			if began := described.GetWorkflowExecutionInfo().GetStartTime().AsTime(); began.After(after) {
				return began, nil
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("waiting for a run of %s: %w", id, err)
		}
	}
}
