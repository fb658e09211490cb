package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/config"
	"posthaste/workflows"
)

// Deployment is the name under which Temporal knows the versions of daemons (worker versioning).
const Deployment = "posthaste"

// BuildID is the version that a daemon with this configuration is to Temporal.
func BuildID(v config.Versioning) string {
	if v.BuildID != "" {
		return v.BuildID
	}
	return strings.NewReplacer("(", "", ")", "", " ", "-").Replace(version())
}

// deploymentOptions tell Temporal which version a daemon is; nothing, when versioning is off. All that is long-lived goes on in the
// version that is current; deadlines stay where they began (behaviorOf).
func deploymentOptions(v config.Versioning) worker.DeploymentOptions {
	if !v.On {
		return worker.DeploymentOptions{}
	}
	return worker.DeploymentOptions{
		UseVersioning:             true,
		Version:                   worker.WorkerDeploymentVersion{DeploymentName: Deployment, BuildID: BuildID(v)},
		DefaultVersioningBehavior: workflow.VersioningBehaviorAutoUpgrade,
	}
}

// behaviorOf pins deadlines: one that has begun ends in the version that began it. Other workflows take their worker's default.
func behaviorOf(name string) workflow.VersioningBehavior {
	if name == workflows.NameDeadlineWorkflow {
		return workflow.VersioningBehaviorPinned
	}
	return workflow.VersioningBehaviorUnspecified
}

// settleVersion makes this daemon's version the current one if none is, since then no daemon would be given work. If another is,
// an operator decides when. A daemon without versioning says so where it would wait in vain.
func settleVersion(ctx context.Context, v config.Versioning, temporal client.Client, log *slog.Logger) error {
	build := BuildID(v)
	return until(ctx, log, "this daemon's version", 10*time.Second, func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		current, token, err := currentBuild(limited, temporal)
		var missing *serviceerror.NotFound
		switch {
		case !v.On && (errors.As(err, &missing) || err == nil && current == ""):
			return nil
		case !v.On && err == nil:
			log.Error("Temporal gives work to versioned daemons only and this one is not versioned: set temporal.versioning = true, "+
				"or turn versioning off with `posthaste temporal current --unversioned`", "current", current)
			return nil
		case !v.On:
			return nil // a server that has versioning switched off says so in its own way
		case err != nil:
			return fmt.Errorf("version %s is not known to Temporal yet: %w", build, err)
		case current == build:
			log.Info("this daemon's version is current", "build", build)
			return nil
		case current != "":
			log.Warn("another version is current; deadlines that open from now on come here after `posthaste temporal current "+build+"`", "build", build, "current", current)
			return nil
		}
		_, err = temporal.WorkerDeploymentClient().GetHandle(Deployment).SetCurrentVersion(limited, client.WorkerDeploymentSetCurrentVersionOptions{
			BuildID: build, ConflictToken: token,
		})
		if err != nil {
			return fmt.Errorf("making version %s current, since none is: %w", build, err)
		}
		log.Info("the first version: it is current", "build", build)
		return nil
	})
}

// currentBuild is the build ID of the current version; empty: unversioned daemons are given the work.
func currentBuild(ctx context.Context, temporal client.Client) (string, []byte, error) {
	described, err := temporal.WorkerDeploymentClient().GetHandle(Deployment).Describe(ctx, client.WorkerDeploymentDescribeOptions{})
	if err != nil {
		return "", nil, err
	}
	if at := described.Info.RoutingConfig.CurrentVersion; at != nil {
		return at.BuildID, described.ConflictToken, nil
	}
	return "", described.ConflictToken, nil
}

// DaemonVersion is a version of daemons that Temporal knows.
type DaemonVersion struct {
	BuildID string    `json:"build_id"`
	Current bool      `json:"current"`
	Since   time.Time `json:"since"`   // Temporal has known it
	Open    int64     `json:"open"`    // deadlines pinned to it that are not over
	Polling bool      `json:"polling"` // a daemon of it runs, if its clock goes as ours does

	heard time.Time // when one was heard last, by its own clock; zero: none is listed, or the server keeps no list
}

// DaemonVersions are the versions of daemons, the current one first, then the newest. None: versioning was never on.
func DaemonVersions(ctx context.Context, temporal client.Client, namespace string) ([]DaemonVersion, error) {
	handle := temporal.WorkerDeploymentClient().GetHandle(Deployment)
	described, err := handle.Describe(ctx, client.WorkerDeploymentDescribeOptions{})
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the versions of daemons: %w", err)
	}
	heard, listed, err := heardBuilds(ctx, temporal, namespace)
	if err != nil {
		return nil, err
	}
	var out []DaemonVersion
	for _, summary := range described.Info.VersionSummaries {
		v := DaemonVersion{BuildID: summary.Version.BuildID, Since: summary.CreateTime, heard: heard[summary.Version.BuildID]}
		v.Polling = !listed || time.Since(v.heard) < daemonGone
		at := described.Info.RoutingConfig.CurrentVersion
		v.Current = at != nil && at.BuildID == v.BuildID
		counted, err := temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: pinnedTo(v.BuildID)})
		if err != nil {
			return nil, fmt.Errorf("counting the open deadlines of version %s: %w", v.BuildID, err)
		}
		v.Open = counted.GetCount()
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b DaemonVersion) int {
		if a.Current != b.Current {
			return map[bool]int{true: -1, false: 1}[a.Current]
		}
		return b.Since.Compare(a.Since)
	})
	return out, nil
}

// pinnedTo finds the open deadlines of a version.
func pinnedTo(build string) string {
	return fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running' AND TemporalWorkerDeploymentVersion = '%s:%s'",
		workflows.NameDeadlineWorkflow, Deployment, build)
}

// daemonGone is for how long a daemon may not have been heard of: its process tells every otherBeats that it is there.
const daemonGone = 4 * otherBeats

// heardBuilds says when daemons of each version were heard of last, by their own clocks. On a server without a list of workers (listed is
// false) nobody knows whether any runs: all of them do.
func heardBuilds(ctx context.Context, temporal client.Client, namespace string) (heard map[string]time.Time, listed bool, err error) {
	heard = map[string]time.Time{}
	var page []byte
	for {
		list, err := temporal.WorkflowService().ListWorkers(ctx, &workflowservice.ListWorkersRequest{
			Namespace: namespace, NextPageToken: page, Query: "TaskQueue = '" + workflows.QueueChain + "'",
		})
		var missing *serviceerror.Unimplemented
		if errors.As(err, &missing) {
			return heard, false, nil
		}
		if err != nil {
			return heard, false, fmt.Errorf("listing daemons: %w", err)
		}
		//lint:ignore SA1019 its successor does not have the heartbeats, and a dead daemon stays in the list for minutes
		for _, info := range list.GetWorkersInfo() {
			beat := info.GetWorkerHeartbeat()
			build, at := beat.GetDeploymentVersion().GetBuildId(), beat.GetHeartbeatTime().AsTime()
			if beat.GetStatus() == enums.WORKER_STATUS_RUNNING && at.After(heard[build]) {
				heard[build] = at
			}
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return heard, true, nil
		}
	}
}

// MakeCurrent gives what begins from now on, and all that is not a deadline, to the daemons of a version; to those without one
// if build is empty.
func MakeCurrent(ctx context.Context, temporal client.Client, build string) error {
	_, err := temporal.WorkerDeploymentClient().GetHandle(Deployment).SetCurrentVersion(ctx, client.WorkerDeploymentSetCurrentVersionOptions{
		BuildID: build,
		// Checked by the caller, who tells a misspelt version from one whose daemons are away.
		AllowNoPollers: true,
		// Unversioned has no task queues of its own.
		IgnoreMissingTaskQueues: true,
	})
	if err != nil {
		return fmt.Errorf("making version %q current: %w", build, err)
	}
	return nil
}

// Unpin lets the open deadlines of a version go on in the current one, and returns how many. It is for a version whose daemons
// will not come back: they would stand still until Close.
func Unpin(ctx context.Context, temporal client.Client, build string) (int, error) {
	moved := 0
	var page []byte
	for {
		list, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: pinnedTo(build), NextPageToken: page})
		if err != nil {
			return moved, fmt.Errorf("listing the open deadlines of version %s: %w", build, err)
		}
		for _, info := range list.GetExecutions() {
			id := info.GetExecution().GetWorkflowId()
			_, err := temporal.UpdateWorkflowExecutionOptions(ctx, client.UpdateWorkflowExecutionOptionsRequest{
				WorkflowId: id,
				WorkflowExecutionOptionsChanges: client.WorkflowExecutionOptionsChanges{
					VersioningOverride: &client.VersioningOverrideChange{Value: &client.AutoUpgradeVersioningOverride{}},
				},
			})
			var gone *serviceerror.NotFound
			if errors.As(err, &gone) {
				continue // it has ended meanwhile
			}
			if err != nil {
				return moved, fmt.Errorf("moving %s: %w", id, err)
			}
			moved++
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return moved, nil
		}
	}
}
