package prover

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestListsOfCPUs(t *testing.T) {
	for list, want := range map[string][]int{
		"": nil, " ": nil, "0": {0}, "10-12": {10, 11, 12}, "0,2-3": {0, 2, 3}, " 3 , 1-2,2": {1, 2, 3},
	} {
		cpus, err := parseCPUs(list)
		require.NoError(t, err, list)
		require.Equal(t, want, cpus, list)
	}
	for _, list := range []string{"x", "3-1", "-1", "1-", ",", "0,,1", "0-3-4", "1.5", "0-1000000"} {
		_, err := parseCPUs(list)
		require.ErrorContains(t, err, `it must be a list such as "0-3,8"`, list)
	}
	require.ErrorContains(t, validate([]CardConfig{{Name: "gpu0", CPUs: "all"}}), `card "gpu0": CPU set "all"`)
}

// allowed are the CPUs of this thread.
func allowed(t *testing.T) (set unix.CPUSet, first int) {
	t.Helper()
	require.NoError(t, unix.SchedGetaffinity(0, &set))
	for !set.IsSet(first) {
		first++
	}
	return set, first
}

func TestAForeignProgramIsBoundToItsCPUs(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, first := allowed(t)
	var known said
	seen := func(list string) (cpus, log string) {
		var out, logged bytes.Buffer
		cmd := exec.Command("sh", "-c", "sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status")
		cmd.Stdout = &out
		require.NoError(t, onCPUs(list, &known, slog.New(slog.NewTextHandler(&logged, nil)), cmd.Start))
		after, _ := allowed(t)
		require.Equal(t, before, after, "the launching thread has its CPUs back")
		require.NoError(t, cmd.Wait())
		return strings.TrimSpace(out.String()), logged.String()
	}
	all, log := seen("")
	require.Empty(t, log)

	one := string(rune('0' + first))
	cpus, log := seen(one)
	require.Equal(t, one, cpus)
	require.Empty(t, log)

	cpus, log = seen(one + ",1022-1023")
	require.Equal(t, one, cpus, "those that there are")
	require.Contains(t, log, "level=WARN")
	require.Contains(t, log, "1022 1023")

	cpus, log = seen("1022-1023")
	require.Equal(t, all, cpus, "none of them is there: not bound")
	require.Contains(t, log, "level=ERROR")

	_, log = seen("1022-1023")
	require.Empty(t, log, "it was said at the start before")
}

func TestACardIsBoundToItsCPUs(t *testing.T) {
	_, first := allowed(t)
	script := inTemp(t, "card.sh")
	require.NoError(t, os.WriteFile(script, []byte(`#!/bin/sh
sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status >"$SEEN"
echo "window_post processor ready"
cat >/dev/null
`), 0o755))
	seen := inTemp(t, "seen")
	config := CardConfig{Name: "gpu0", Bin: script, CPUs: string(rune('0' + first)), Envs: map[string]string{"SEEN": seen}}
	pool := startPool(t, PoolOptions{}, config)
	eventually(t, pool, "ready", func(s CardStatus) bool { return s.State == StateIdle })
	text, err := os.ReadFile(seen)
	require.NoError(t, err)
	require.Equal(t, config.CPUs+"\n", string(text))
}
