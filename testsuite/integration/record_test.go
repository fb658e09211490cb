package integration_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// Histories of real runs are replayed by workflows/replay_test.go: workflow code that would decide otherwise than it did then
// would break the deadlines that are under way when it is rolled out. To record them anew, after a change that is versioned:
//
//	make build && FIL_PROOFS_PARAMETER_CACHE=$(build/parameters.sh) go test ./testsuite/integration -record
var recordHistories = flag.Bool("record", false, "write the histories that workflows/replay_test.go replays into workflows/testdata")

// record writes a run's history for the replay tests, when the tests are run with -record. An empty run means the first one.
func record(ctx context.Context, t *testing.T, r *rig.Rig, workflowID, runID, name string) {
	t.Helper()
	if !*recordHistories {
		return
	}
	if runID == "" {
		runID = firstRun(ctx, t, r, workflowID)
	}
	plain, err := protojson.Marshal(historyOf(ctx, t, r, workflowID, runID))
	require.NoError(t, err)
	var history any
	require.NoError(t, json.Unmarshal(plain, &history))
	data, err := json.MarshalIndent(scrub(history, r.Dir), "", " ") // protojson's own spacing is random
	require.NoError(t, err)
	path := filepath.Join("..", "..", "workflows", "testdata", name+".json")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, append(data, '\n'), 0o644))
	t.Logf("recorded %s", path)
}

// firstRun is the run that a workflow was started with.
func firstRun(ctx context.Context, t *testing.T, r *rig.Rig, workflowID string) string {
	t.Helper()
	list, err := r.Client().ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId = '%s'", workflowID)})
	require.NoError(t, err)
	runs := list.GetExecutions()
	require.NotEmpty(t, runs, workflowID)
	slices.SortFunc(runs, func(a, b *workflowpb.WorkflowExecutionInfo) int {
		return a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime())
	})
	return runs[0].GetExecution().GetRunId()
}

// recordPosted records the deadlines, the sender and the miner of a test in which all went well.
func recordPosted(ctx context.Context, t *testing.T, r *rig.Rig, results []post.Result) {
	t.Helper()
	if !*recordHistories {
		return
	}
	names := map[int]string{1: "deadline-one-partition", 2: "deadline-two-partitions"}
	for _, result := range results {
		n := len(result.Partitions)
		if name, wanted := names[n]; wanted {
			record(ctx, t, r, result.Deadline.WorkflowID(), "", name)
			delete(names, n)
		}
	}
	require.Empty(t, names, "not recorded")
	record(ctx, t, r, "miner-"+r.Miners()[0], "", "miner-until-the-period-ends")
	list, err := r.Client().ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: "WorkflowType = 'SenderWorkflow'"})
	require.NoError(t, err)
	require.NotEmpty(t, list.GetExecutions())
	record(ctx, t, r, list.GetExecutions()[0].GetExecution().GetWorkflowId(), "", "sender")
}

// scrub takes the name of a folder of this machine out of a history, where it stands in texts and in payloads.
func scrub(v any, folder string) any {
	clean := func(text []byte) []byte { return bytes.ReplaceAll(text, []byte(folder), []byte("/rig")) }
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			text, isText := value.(string)
			data, err := base64.StdEncoding.DecodeString(text)
			if key == "data" && isText && err == nil {
				v[key] = base64.StdEncoding.EncodeToString(clean(data))
				continue
			}
			v[key] = scrub(value, folder)
		}
	case []any:
		for i := range v {
			v[i] = scrub(v[i], folder)
		}
	case string:
		return string(clean([]byte(v)))
	}
	return v
}
