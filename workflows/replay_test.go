package workflows_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/workflows"
)

// Recorded histories of real runs must replay with the code of now: whatever is under way when a new version is rolled out goes
// on with it. A change that breaks one needs workflow.GetVersion. How to record them: testsuite/integration/record_test.go.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	require.NoError(t, err)
	older, err := filepath.Glob(filepath.Join("testdata", "*", "*.json"))
	require.NoError(t, err)
	files = append(files, older...)
	require.NotEmpty(t, files, "no recorded histories")
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			replayer := worker.NewWorkflowReplayer()
			for name, w := range map[string]any{
				workflows.NameMinerWorkflow:    workflows.MinerWorkflow,
				workflows.NameDeadlineWorkflow: workflows.DeadlineWorkflow,
				workflows.NameSenderWorkflow:   workflows.SenderWorkflow,
				workflows.NameWorkerWorkflow:   workflows.WorkerWorkflow,
				workflows.NameFleetWorkflow:    workflows.FleetWorkflow,
				workflows.NameAlertWorkflow:    workflows.AlertWorkflow,
				workflows.NameRecoveryWorkflow: workflows.RecoveryWorkflow,
			} {
				replayer.RegisterWorkflowWithOptions(w, workflow.RegisterOptions{Name: name})
			}
			require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, file))
		})
	}
}

// A daemon may die after each event of a sender's history: the next one begins with all that was recorded until then, and decides the same.
func TestReplayOfASenderUntilEachEvent(t *testing.T) {
	for _, file := range []string{
		filepath.Join("testdata", "before-routing", "sender.json"), filepath.Join("testdata", "before-issue", "sender-fees.json"),
		filepath.Join("testdata", "sender.json"), filepath.Join("testdata", "sender-fees.json"),
	} {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var history struct {
			Events []struct{ EventType string }
		}
		require.NoError(t, json.Unmarshal(data, &history))
		done := 0
		for i, event := range history.Events {
			if event.EventType != "EVENT_TYPE_WORKFLOW_TASK_STARTED" {
				continue
			}
			done++
			replayer := worker.NewWorkflowReplayer()
			replayer.RegisterWorkflowWithOptions(workflows.SenderWorkflow, workflow.RegisterOptions{Name: workflows.NameSenderWorkflow})
			require.NoError(t, replayer.ReplayPartialWorkflowHistoryFromJSONFile(nil, file, int64(i+1)), "%s until event %d", file, i+1)
		}
		require.Greater(t, done, 10, file)
	}
}

// The replayer would not be worth much if it let other decisions pass.
func TestReplayNoticesOtherDecisions(t *testing.T) {
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflowWithOptions(func(ctx workflow.Context, in workflows.DeadlineInput) error {
		return workflow.Sleep(ctx, in.Settings.EpochDuration)
	}, workflow.RegisterOptions{Name: workflows.NameDeadlineWorkflow})
	err := replayer.ReplayWorkflowHistoryFromJSONFile(nil, filepath.Join("testdata", "before-routing", "deadline-one-partition.json"))
	require.ErrorContains(t, err, "TMPRL1100") // the SDK calls a nondeterminism so
}
