package workers

import (
	"testing"

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
