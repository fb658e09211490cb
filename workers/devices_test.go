package workers

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOutputOf(t *testing.T) {
	run := func(limit time.Duration, script string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", script)
		out, err := outputOf(ctx, cmd)
		return string(out), err
	}
	out, err := run(time.Minute, "echo '[]'; echo noise >&2")
	require.NoError(t, err)
	require.Equal(t, "[]\n", out)
	_, err = run(time.Minute, "echo no driver >&2; exit 3")
	require.ErrorContains(t, err, "exit status 3; it said: no driver")
	_, err = run(50*time.Millisecond, "exec sleep 60")
	require.ErrorContains(t, err, "killed")
}

func TestOutputOfAProcessThatCannotBeKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sleep", "60")
	process, over := make(chan *os.Process, 1), make(chan struct{})
	cmd.Cancel = func() error { process <- cmd.Process; <-over; return nil } // nothing ends it
	t.Cleanup(func() { _ = (<-process).Kill(); close(over) })
	_, err := outputOf(ctx, cmd)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "cannot be ended")
}
