package integration_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"posthaste/testsuite/rig"
)

// tool is one of Temporal's own programs, as `make tools` builds them. A test of one drives the other nowhere.
type tool struct {
	name string
	bin  string
	rig  *rig.Rig
}

func newTool(t *testing.T, r *rig.Rig, name string) tool {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	require.NoError(t, err)
	_, err = exec.LookPath(bin)
	require.NoError(t, err, "run `make tools` first")
	return tool{name: name, bin: bin, rig: r}
}

// commandsAtOnce bounds them, so that each is quick: they are to come while something goes on.
var commandsAtOnce = make(chan struct{}, 4)

// try runs the program, as a person at a terminal would, and gives what it prints.
func (p tool) try(ctx context.Context, args ...string) (string, error) {
	where := []string{"--address", p.rig.Address(), "--namespace", "default"}
	if p.name == "tctl" {
		args = append(where, args...) // global flags go first there
	} else {
		args = append(args, where...)
	}
	commandsAtOnce <- struct{}{}
	defer func() { <-commandsAtOnce }()
	cmd := exec.CommandContext(ctx, p.bin, args...)
	cmd.Env = append(cmd.Environ(), "HOME="+p.rig.Dir) // both keep files there
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", p.name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (p tool) run(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.try(ctx, args...)
	require.NoError(t, err)
	return out
}

// What both can do, each in its own words.

func (p tool) workflow(ctx context.Context, t *testing.T, command, id string, more ...string) string {
	t.Helper()
	flag := "--workflow_id"
	if p.name != "tctl" {
		flag = "--workflow-id"
	}
	return p.run(ctx, t, append([]string{"workflow", command, flag, id}, more...)...)
}

const reasonGiven = "an operator of the test"

func (p tool) terminate(ctx context.Context, t *testing.T, id string) {
	t.Helper()
	p.workflow(ctx, t, "terminate", id, "--reason", reasonGiven)
}

// reset resets the latest run to LastWorkflowTask or FirstWorkflowTask.
func (p tool) reset(ctx context.Context, t *testing.T, id, to string) {
	t.Helper()
	require.NoError(t, p.tryReset(ctx, id, to))
}

func (p tool) tryReset(ctx context.Context, id, to string) error {
	args := []string{"workflow", "reset", "--workflow_id", id, "--reset_type", to, "--reason", reasonGiven}
	if p.name != "tctl" {
		args[2], args[4] = "--workflow-id", "--type"
	}
	_, err := p.try(ctx, args...)
	return err
}

func (p tool) resetTo(ctx context.Context, t *testing.T, id string, event int64) {
	t.Helper()
	flag := "--event_id"
	if p.name != "tctl" {
		flag = "--event-id"
	}
	p.workflow(ctx, t, "reset", id, flag, fmt.Sprint(event), "--reason", reasonGiven)
}
