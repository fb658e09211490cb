package workers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"

	"posthaste/workers"
	"posthaste/workflows"
)

// Whatever is done to a worker's workflow while the worker runs, the worker is there again soon, with its orders. It has nothing new to say
// then, but nobody would route a job to it.
func TestAWorkerWhoseWorkflowIsEndedComesBack(t *testing.T) {
	s := newSite(t)
	s.start()
	defer s.stop()
	id := workflows.WorkerWorkflowID("site")
	s.shows("it runs", running)
	s.order(workflows.UpdatePause, "a test")

	for _, end := range []struct {
		what string
		do   func() error
	}{
		{"terminated", func() error { return s.temporal.TerminateWorkflow(t.Context(), id, "", "a test") }},
		{"reset", func() error {
			_, err := s.temporal.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
				Namespace: "default", WorkflowExecution: &common.WorkflowExecution{WorkflowId: id}, WorkflowTaskFinishEventId: 4, RequestId: t.Name(),
			})
			return err
		}},
		{"cancelled", func() error { return s.temporal.CancelWorkflow(t.Context(), id, "") }},
	} {
		before := s.run(id)
		require.NoError(t, end.do(), end.what)
		require.Eventually(t, func() bool { return s.run(id) != before }, time.Minute, 50*time.Millisecond, end.what)
		s.shows("it is paused still, though its workflow was "+end.what, func(v workers.WorkerView) bool { return v.Alive && v.State == workers.WorkerPaused })
	}
	s.order(workflows.UpdateResume)
	s.shows("it takes orders", running)
}

// run is the ID of a workflow's latest run.
func (s *site) run(workflowID string) string {
	s.Helper()
	described, err := s.temporal.DescribeWorkflowExecution(s.Context(), workflowID, "")
	require.NoError(s, err)
	return described.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}

// A second process of the same name is a mistake. When it is undone, the first one is not left without jobs.
func TestAWorkerIsThereAgainWhenItsTwinEnds(t *testing.T) {
	s := newSite(t)
	s.start()
	first := s.app
	instance := s.shows("it runs", running).Instance
	s.start()
	s.shows("its twin has taken its name", func(v workers.WorkerView) bool { return running(v) && v.Instance != instance })
	s.stop()
	s.app = first
	defer s.stop()
	s.shows("it runs again", func(v workers.WorkerView) bool { return running(v) && v.Instance == instance })
}
