package workers_test

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"posthaste/config"
	"posthaste/workers"
)

// startTemporal starts a temporal-dev for one test, and gives a client of it with this identity, and its address.
func startTemporal(t *testing.T, identity string) (client.Client, string) {
	t.Helper()
	bin, err := filepath.Abs("../bin/temporal-dev")
	require.NoError(t, err)
	if _, err := os.Stat(bin); err != nil {
		t.Skipf("there is no %s; run `make build` first", bin)
	}
	cmd := exec.Command(bin, "--db-file", filepath.Join(t.TempDir(), "temporal.db"), "--headless", "--port", "0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var ready struct{ Address string }
	require.NoError(t, json.Unmarshal(line, &ready))
	temporal, err := workers.Dial(config.Temporal{Address: ready.Address, Namespace: "default"}, identity, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	return temporal, ready.Address
}
