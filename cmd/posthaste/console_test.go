package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"posthaste/config"
)

// runAt runs a command line whose Temporal a test plays.
func runAt(ctx context.Context, dial func(config.Temporal) client.Client, stdout, stderr io.Writer, args ...string) error {
	a := &app{stdout: stdout, stderr: stderr}
	a.dial = func(c config.Temporal, _ string, _ *slog.Logger) (client.Client, error) { return dial(c), nil }
	root := newRoot(a)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// commandAt runs a command line in a folder without a posthaste.toml, and gives what it prints.
func commandAt(t *testing.T, dial func(config.Temporal) client.Client, args ...string) (string, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out strings.Builder
	err := runAt(t.Context(), dial, &out, io.Discard, args...)
	return out.String(), err
}

// always dials one Temporal, whatever its address.
func always(c client.Client) func(config.Temporal) client.Client {
	return func(config.Temporal) client.Client { return c }
}

// fails is require.EqualError; an empty text wants no error.
func fails(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		require.NoError(t, err)
	} else {
		require.EqualError(t, err, want)
	}
}
