package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWorkerRunTakesDamoclesFiles goes as far as there is no Temporal needed: without a store it stops, and has said what it read.
func TestWorkerRunTakesDamoclesFiles(t *testing.T) {
	dir := t.TempDir()
	worker, prover := filepath.Join(dir, "damocles-worker.toml"), filepath.Join(dir, "ext-prover.cfg")
	require.NoError(t, os.WriteFile(worker, []byte("[sector_manager]\nrpc_client.addr = \"/ip4/127.0.0.1/tcp/1789\"\n[[sealing_thread]]\nplan = \"wdpost\"\n"), 0o600))
	require.NoError(t, os.WriteFile(prover, []byte("[[WdPost]]\nColour = \"red\"\n"), 0o600))
	_, stderr, err := run(t, "worker", "run", "--config", worker, "--ext-prover-config", prover, "--drain")
	require.ErrorContains(t, err, worker+": a worker needs a store")
	require.Contains(t, stderr, worker+":2:12: sector_manager.rpc_client.addr: is replaced by the Temporal server's address")
	require.Contains(t, stderr, prover+":2:1: WdPost[0].Colour: is not applied")

	_, _, err = run(t, "worker", "run", "--config", prover)
	require.ErrorContains(t, err, prover+":1:3: WdPost: unknown key")
	_, _, err = run(t, "daemon", "run", "--config", worker)
	require.EqualError(t, err, worker+" is a damocles-worker's configuration, which only `posthaste worker run` reads")
}
