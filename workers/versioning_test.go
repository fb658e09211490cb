package workers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"posthaste/config"
	"posthaste/workflows"
)

func TestBuildID(t *testing.T) {
	require.Equal(t, "v1.4.0-hotfix", BuildID(config.Versioning{On: true, BuildID: "v1.4.0-hotfix"}))
	require.Regexp(t, `^[A-Za-z0-9][A-Za-z0-9._+-]*$`, BuildID(config.Versioning{On: true}), "what the program says of itself, in letters that Temporal takes")
}

// Without versioning a daemon is what it was before there was any: nothing about it may be told to the server.
func TestVersioningIsOptIn(t *testing.T) {
	require.Zero(t, deploymentOptions(config.Versioning{BuildID: "x"}))
	on := deploymentOptions(config.Versioning{On: true, BuildID: "x"})
	require.True(t, on.UseVersioning)
	require.Equal(t, Deployment, on.Version.DeploymentName)
	require.Equal(t, "x", on.Version.BuildID)
	require.Equal(t, workflow.VersioningBehaviorAutoUpgrade, on.DefaultVersioningBehavior, "what never ends goes on in the current version")
	require.Equal(t, workflow.VersioningBehaviorPinned, behaviorOf(workflows.NameDeadlineWorkflow))
	require.Equal(t, workflow.VersioningBehaviorUnspecified, behaviorOf(workflows.NameMinerWorkflow))
}

func TestVersionsThatNobodyRuns(t *testing.T) {
	version := func(build string, current, polling bool, open int64) DaemonVersion {
		return DaemonVersion{BuildID: build, Current: current, Polling: polling, Open: open}
	}
	for situation, c := range map[string]struct {
		looks    [][]DaemonVersion // by a daemon of version "new"
		takeOver bool              // at the last look
		stranded []string          // at any look
	}{
		"a new version beside the current one": {
			looks: [][]DaemonVersion{{version("old", true, true, 2), version("new", false, true, 0)}, {version("old", true, true, 2), version("new", false, true, 0)}},
		},
		"the current one's daemon is started again": {
			looks: [][]DaemonVersion{{version("old", true, false, 2)}, {version("old", true, true, 2)}, {version("old", true, false, 2)}},
		},
		"nobody made the new one current before the old one was stopped": {
			looks:    [][]DaemonVersion{{version("old", true, false, 0), version("new", false, true, 0)}, {version("old", true, false, 0), version("new", false, true, 0)}},
			takeOver: true,
		},
		"the current one died with open deadlines": {
			looks:    [][]DaemonVersion{{version("old", true, false, 3)}, {version("old", true, false, 3)}, {version("old", true, false, 3)}},
			takeOver: true, stranded: []string{"old"},
		},
		"an old one was stopped too early": {
			looks:    [][]DaemonVersion{{version("new", true, true, 1), version("old", false, false, 1)}, {version("new", true, true, 1), version("old", false, false, 1)}},
			stranded: []string{"old"},
		},
		"an old one is done": {
			looks: [][]DaemonVersion{{version("new", true, true, 1), version("old", false, false, 0)}, {version("new", true, true, 1), version("old", false, false, 0)}},
		},
	} {
		t.Run(situation, func(t *testing.T) {
			var watch versionWatch
			var takeOver bool
			var told []string
			for _, look := range c.looks {
				var stranded []DaemonVersion
				takeOver, stranded = watch.look("new", look)
				for _, v := range stranded {
					told = append(told, v.BuildID)
				}
			}
			require.Equal(t, c.takeOver, takeOver)
			require.Equal(t, c.stranded, told)
		})
	}
}

// A daemon whose clock is minutes behind is there as long as its heartbeats move.
func TestAVersionWhoseClockIsBehindIsThere(t *testing.T) {
	var watch versionWatch
	at := time.Unix(1000, 0)
	look := func(heard time.Time) bool {
		takeOver, _ := watch.look("new", []DaemonVersion{{BuildID: "old", Current: true, heard: heard}})
		return takeOver
	}
	for range 5 {
		require.False(t, look(at))
		at = at.Add(time.Minute)
	}
	require.False(t, look(at), "it was killed a moment ago")
	require.False(t, look(at))
	require.True(t, look(at), "and is not back")
}
