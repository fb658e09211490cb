package workers

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/post"
	"posthaste/workflows"
)

func TestTwins(t *testing.T) {
	now := time.Now()
	self := post.WorkerReport{Name: "w", Host: "here", Instance: fmt.Sprintf("worker w@%d-000001", os.Getpid())}
	same := fmt.Sprintf("worker w@%d-000002", os.Getpid())
	here, there := post.WorkerReport{Host: "here"}, post.WorkerReport{Host: "there"}
	parent := fmt.Sprintf("worker w@%d-00c0de", os.Getppid()) // a process that is there for sure
	const dead = "worker w@999999999-dead00"
	seen := func(ago time.Duration, running bool) listedWorker {
		return listedWorker{running: running, beat: now.Add(-ago)}
	}
	for situation, c := range map[string]struct {
		last  post.WorkerReport
		other string
		seen  listedWorker
		want  bool
	}{
		"itself":                                  {here, self.Instance, seen(time.Second, true), false},
		"another worker":                          {here, "worker w2@1", seen(time.Second, true), false},
		"a daemon":                                {here, "daemon w@1", seen(time.Second, true), false},
		"another process on this machine":         {here, parent, seen(time.Second, true), true},
		"the one before, killed a moment ago":     {here, dead, seen(time.Second, true), false},
		"the one before, in this container":       {here, same, seen(time.Second, true), false},
		"one in a container elsewhere":            {there, same, seen(time.Second, true), true},
		"one on another machine":                  {there, dead, seen(time.Second, true), true},
		"one on another machine, that stopped":    {there, dead, seen(time.Second, false), false},
		"one on another machine, long unheard of": {there, dead, seen(time.Minute, true), false},
	} {
		t.Run(situation, func(t *testing.T) {
			require.Equal(t, c.want, isTwin(self, c.last, c.other, c.seen, now))
		})
	}
}

func TestShortVersion(t *testing.T) {
	const commit = "cab9fbdff50640c4d805a5134786435d448611b5"
	for situation, c := range map[string]struct{ version, commit, want string }{
		"a release":               {"v1.2.0", commit, "v1.2.0 cab9fbdff506"},
		"after a release":         {"v1.2.1-0.20261121015513-cab9fbdff506", commit, "v1.2.1-0.20261121015513-cab9fbdff506"},
		"before any release":      {"v0.0.0-20261121015513-cab9fbdff506", commit, "cab9fbdff506"},
		"with changes of its own": {"v0.0.0-20261121015513-cab9fbdff506+dirty", commit, "cab9fbdff506+dirty"},
		"not from a repository":   {"(devel)", "", "(devel)"},
		"nothing known":           {"", commit, "(devel) cab9fbdff506"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: c.version}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: c.commit}}}
		require.Equal(t, c.want, shortVersion(info), situation)
	}
}

func TestForgottenWorkers(t *testing.T) {
	self := post.WorkerReport{Name: "w", Instance: "worker w@7-000002"}
	before := post.WorkerReport{Name: "w", Instance: "worker w@7-000001"}
	ends := self
	ends.Draining = true
	shows := func(r post.WorkerReport) *workflowpb.WorkflowExecutionInfo {
		payload, err := converter.GetDefaultDataConverter().ToPayload(post.WorkerState{Report: r})
		require.NoError(t, err)
		return &workflowpb.WorkflowExecutionInfo{Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{workflows.MemoWorker: payload}}}
	}
	ended := shows(self)
	ended.CloseTime = timestamppb.Now()
	for situation, c := range map[string]struct {
		info *workflowpb.WorkflowExecutionInfo
		self post.WorkerReport
		want bool
	}{
		"it is known":                              {shows(self), self, false},
		"its workflow has shown nothing yet":       {&workflowpb.WorkflowExecutionInfo{}, self, false},
		"its workflow was ended":                   {ended, self, true},
		"the process before is taken for it":       {shows(before), self, true},
		"it drains, and the next one has its name": {shows(before), ends, false},
	} {
		t.Run(situation, func(t *testing.T) { require.Equal(t, c.want, isForgotten(c.info, c.self)) })
	}
}
