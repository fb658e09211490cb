package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The systemd units start commands that there are, with flags that they have.
func TestUnitsStartCommands(t *testing.T) {
	units, err := filepath.Glob("../../deploy/systemd/*.service")
	require.NoError(t, err)
	require.NotEmpty(t, units)
	started := 0
	for _, unit := range units {
		data, err := os.ReadFile(unit)
		require.NoError(t, err)
		for line := range strings.Lines(string(data)) {
			args, is := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=/usr/local/bin/posthaste ")
			if !is {
				continue
			}
			started++
			root := newRoot(&app{stdout: io.Discard, stderr: io.Discard})
			cmd, rest, err := root.Find(strings.Fields(args))
			require.NoError(t, err, unit)
			require.True(t, cmd.Runnable() && !cmd.HasSubCommands(), "%s: %s", unit, args)
			require.NoError(t, cmd.ParseFlags(rest), unit)
			require.Empty(t, cmd.Flags().Args(), unit)
		}
		if strings.Contains(unit, "worker") {
			require.Contains(t, string(data), "PrivateTmp=no", "the workers of a machine share locks in TMPDIR")
		}
	}
	require.Equal(t, 2, started)
}
