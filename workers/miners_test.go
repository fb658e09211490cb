package workers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/config"
	"posthaste/workflows"
)

func TestWhoNamesAMiner(t *testing.T) {
	noon := time.Unix(43_200, 0).UTC()
	event := func(ago time.Duration) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventType: enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, EventTime: timestamppb.New(noon.Add(-ago))}
	}
	signal := func(ago time.Duration, name string) *historypb.HistoryEvent {
		e := event(ago)
		e.Attributes = &historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes{
			WorkflowExecutionSignaledEventAttributes: &historypb.WorkflowExecutionSignaledEventAttributes{SignalName: name, Identity: "daemon h1@5"}}
		return e
	}
	start := func(ago time.Duration, before string) *historypb.HistoryEvent {
		e := event(ago)
		e.Attributes = &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{ContinuedExecutionRunId: before}}
		return e
	}
	for situation, c := range map[string]struct {
		events  []*historypb.HistoryEvent // the last first
		by      string
		unnamed bool
	}{
		"a daemon said so a minute ago":     {[]*historypb.HistoryEvent{event(time.Second), signal(time.Minute, "Configure"), signal(time.Hour, "Configure")}, "h1@5", false},
		"it was taken out of the file":      {[]*historypb.HistoryEvent{event(time.Second), signal(time.Hour, "Configure"), start(time.Hour, "")}, "h1@5", true},
		"added a moment ago":                {[]*historypb.HistoryEvent{event(time.Second), start(time.Second, "")}, "", true},
		"a run that has just begun":         {[]*historypb.HistoryEvent{event(time.Second), start(time.Second, "the one before")}, "", false},
		"nobody named it in this run":       {[]*historypb.HistoryEvent{event(time.Second), start(time.Hour, "the one before")}, "", true},
		"nobody named it in what was read":  {[]*historypb.HistoryEvent{event(time.Second), event(4 * time.Minute)}, "", true},
		"another signal":                    {[]*historypb.HistoryEvent{signal(time.Second, "Other"), start(time.Minute, "")}, "", true},
		"no event at all: nothing is known": {nil, "", false},
	} {
		t.Run(situation, func(t *testing.T) {
			var v MinerView
			v.naming(c.events, noon)
			require.Equal(t, c.by, v.NamedBy)
			require.Equal(t, c.unnamed, v.Unnamed)
		})
	}
}

func TestWhatADaemonSaysOfMinersThatItsFileDoesNotHave(t *testing.T) {
	file := []config.Miner{{ID: 1000, Enabled: true}, {ID: 1001}}
	for situation, c := range map[string]struct {
		miner   uint64
		removed string
		says    string
	}{
		"as the file says":                    {1000, "", ""},
		"the file disables it":                {1001, "", "a miner is watched that posthaste.toml disables: its deadlines are still proven; `posthaste miner remove f01001` ends that"},
		"another daemon's file, or a command": {1002, "", "a miner is watched that posthaste.toml does not name: another daemon's may, or it was added; `posthaste miner remove f01002` ends that"},
		"removed, and still in the file":      {1000, "sold", "posthaste.toml names a miner that was removed (sold): nothing is issued for it until `posthaste miner add f01000`"},
		"removed, and disabled in the file":   {1001, "sold", ""},
		"removed, and not in the file":        {1002, "sold", ""},
	} {
		t.Run(situation, func(t *testing.T) {
			m := Watched{MinerState: workflows.MinerState{WatchInput: workflows.WatchInput{Miner: actor(c.miner)}, Removed: c.removed}}
			require.Equal(t, c.says, differs(file, m))
		})
	}
}
