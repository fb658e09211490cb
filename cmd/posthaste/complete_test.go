package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// complete is what a shell is offered for a command line, without the last line, which is for the shell itself.
func (f *fakeTemporal) complete(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := f.command(t, append([]string{cobra.ShellCompRequestCmd}, args...)...)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Equal(t, ":4", lines[len(lines)-1], "no names of files are offered")
	return lines[:len(lines)-1]
}

func TestCompletionOfWorkers(t *testing.T) {
	f := fleet(t)
	require.Equal(t, []string{"w1\trunning", "w2\tpaused", "w3\tgone"}, f.complete(t, "worker", "pause", ""))
	require.Equal(t, []string{"w2\tpaused", "w3\tgone"}, f.complete(t, "worker", "resume", "w1", "w"), "w1 is there already")
	require.Empty(t, f.complete(t, "worker", "info", "w1", ""), "it takes one")
	require.Equal(t, []string{"card1\tthree wrong proofs in a row"}, f.complete(t, "worker", "unfence", "w1", ""))
	require.Empty(t, f.complete(t, "worker", "unfence", "w9", ""))
}

func TestCompletionOfJobsByCommand(t *testing.T) {
	for command, want := range map[string][]string{
		"show":   {"f01000-96-3-0", "f01000-96-7-0", "f01000-96-7-1", "f01000-96-8-0", "f01000-96-8-1", "f01000-96-8-2", "f01000-96-9-0"},
		"reset":  {"f01000-96-7-0", "f01000-96-7-1", "f01000-96-8-0", "f01000-96-9-0"}, // not what is proven
		"remove": {"f01000-96-7-0", "f01000-96-7-1", "f01000-96-8-0", "f01000-96-8-2"}, // not what is over
	} {
		out, err := operators(t).command(t, cobra.ShellCompRequestCmd, "wdpost", command, "")
		require.NoError(t, err)
		var offered []string
		for line := range strings.Lines(out) {
			if id, _, is := strings.Cut(line, "\t"); is {
				offered = append(offered, id)
			}
		}
		require.Equal(t, want, offered, command)
	}
}

func TestCompletionIsSilentAndBounded(t *testing.T) {
	require.Empty(t, (&fakeTemporal{t: t}).complete(t, "worker", "pause", "--config", "/none/p.toml", ""), "a configuration that is not there is no reason to print anything")
	a := &app{}
	var given time.Duration
	ask := a.completing(func(ctx context.Context, _ *connection, _ []string) ([]string, error) {
		end, bounded := ctx.Deadline()
		require.True(t, bounded)
		given = time.Until(end)
		return nil, context.DeadlineExceeded
	})
	cmd := newRoot(a)
	cmd.SetContext(t.Context())
	t.Chdir(t.TempDir())
	offered, _ := ask(cmd, nil, "")
	require.Empty(t, offered)
	require.LessOrEqual(t, given, completeLimit)
}

func TestCompletionLeavesOutWhatIsThere(t *testing.T) {
	a := &app{}
	cmd := newRoot(a)
	cmd.SetContext(t.Context())
	t.Chdir(t.TempDir())
	d := post.Deadline{Miner: 1000, PeriodStart: 2880, Index: 7}
	offered, _ := a.completing(func(context.Context, *connection, []string) ([]string, error) {
		return []string{d.JobID(0).String() + "\tProving", d.JobID(1).String(), "f01001-2880-7-0"}, nil
	})(cmd, []string{"f01000-2880-7-0"}, "f01000")
	require.Equal(t, []string{"f01000-2880-7-1"}, offered)
}
