package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"posthaste/config"
)

// run runs a command line and gives what it printed.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs}
	root := newRoot(a)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func TestInit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "posthaste.toml")
	stdout, _, err := run(t, "init", "--config", path)
	require.NoError(t, err)
	require.Contains(t, stdout, "wrote "+path)
	_, err = config.Load(path)
	require.NoError(t, err, "what init writes loads")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm(), "people put tokens into it")

	require.NoError(t, os.WriteFile(path, []byte("# mine\n"), 0o600))
	_, _, err = run(t, "init", "--config", path)
	require.EqualError(t, err, path+" is there already; --force overwrites it")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "# mine\n", string(data))

	_, _, err = run(t, "init", "--config", path, "--force")
	require.NoError(t, err)
	data, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, config.Commented(), string(data))
}

func TestVersion(t *testing.T) {
	v := readVersion(&debug.BuildInfo{
		GoVersion: "go1.26.8", Main: debug.Module{Path: "posthaste", Version: "v0.1.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
		Deps:     []*debug.Module{{Path: ffiModule, Version: "v1.36.1", Replace: &debug.Module{Path: "./extern/filecoin-ffi"}}},
	})
	require.Equal(t, "posthaste v0.1.0 (commit abc, modified)\nfilecoin-ffi v1.36.1\ngo1.26.8", v.String())

	stdout, stderr, err := run(t, "version", "--json")
	require.NoError(t, err)
	require.Empty(t, stderr)
	var got versionInfo
	require.NoError(t, json.Unmarshal([]byte(stdout), &got))
	require.NotEmpty(t, got.Go)
}

func TestBadCommandLines(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.toml")
	require.NoError(t, os.WriteFile(broken, []byte("[log]\nlevle = \"info\"\n"), 0o600))
	for situation, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown command":        {[]string{"upp"}, `unknown command "upp" for "posthaste"; did you mean up?`},
		"a misspelt worker command": {[]string{"worker", "lst"}, `unknown command "lst" for "posthaste worker"; did you mean list?`},
		"an unknown flag":           {[]string{"version", "--yaml"}, "unknown flag: --yaml"},
		"a number that is none":     {[]string{"demo", "--workers=x"}, `--workers "x": invalid syntax; give a whole number`},
		"a number too large":        {[]string{"proving", "check", "--deadline", "99999999999999999999"}, `--deadline "99999999999999999999": value out of range; give a whole number`},
		"an argument too many":      {[]string{"init", "x"}, `unknown command "x" for "posthaste init"; usage: posthaste init [flags]`},
		"no configuration":          {[]string{"up", "--config", "/none/p.toml"}, "there is no configuration at /none/p.toml; `posthaste init` writes one"},
		"a broken configuration":    {[]string{"up", "--config", broken}, broken + ":2:1: log.levle: unknown key (did you mean level?); in log there may be level, format"},
		"a level that is none":      {[]string{"demo", "--log-level", "loud"}, `--log-level: "loud" is no log level; there are debug, info, warn and error`},
		"a demo of nothing":         {[]string{"demo", "--deadlines", "0"}, "--deadlines 0: at least 1"},
		"a demo without a worker":   {[]string{"demo", "--workers", "0"}, "--workers 0 --cards 2: at least 1 of each, and at most 64 cards in all"},
		"a folder that was used":    {[]string{"demo", "--dir", usedDir(t)}, "DIR holds an earlier demo; give --dir another folder, or remove it"},
		"an unknown processor":      {[]string{"processor", "snap"}, `unknown command "snap" for "posthaste processor"; ` + "`posthaste processor --help` lists them"},
		"a completion for what not": {[]string{"completion", "tcsh"}, `unknown command "tcsh" for "posthaste completion"; did you mean bash or fish or zsh?`},
	} {
		t.Run(situation, func(t *testing.T) {
			stdout, _, err := run(t, c.args...)
			require.Error(t, err)
			want := c.want
			if situation == "a folder that was used" {
				want = c.args[2] + want[len("DIR"):]
			}
			require.EqualError(t, err, want)
			require.Empty(t, stdout)
		})
	}
}

func usedDir(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "temporal.db"), nil, 0o600))
	return dir
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		stdout, _, err := run(t, "completion", shell)
		require.NoError(t, err)
		require.Contains(t, stdout, "posthaste")
	}
}

func TestDataHome(t *testing.T) {
	for situation, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"as XDG says":                   {map[string]string{"XDG_DATA_HOME": "/data", "HOME": "/h"}, "/data/posthaste"},
		"its default":                   {map[string]string{"HOME": "/h"}, "/h/.local/share/posthaste"},
		"a relative one does not count": {map[string]string{"XDG_DATA_HOME": "data", "HOME": "/h"}, "/h/.local/share/posthaste"},
	} {
		t.Run(situation, func(t *testing.T) {
			got, err := dataHome(func(name string) string { return c.env[name] })
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := dataHome(func(string) string { return "" })
	require.EqualError(t, err, "neither XDG_DATA_HOME nor HOME is set; give --data-dir")
}

func TestRunningTemporal(t *testing.T) {
	db := filepath.Join(t.TempDir(), "temporal.db")
	found, err := runningTemporal(t.Context(), db)
	require.NoError(t, err)
	require.Nil(t, found, "never started")

	line := `{"address":"127.0.0.1:1","ui":"http://127.0.0.1:2","namespace":"default","pid":77}` + "\n"
	require.NoError(t, os.WriteFile(db+".lock", []byte(line), 0o600))
	found, err = runningTemporal(t.Context(), db)
	require.NoError(t, err)
	require.Nil(t, found, "a lock file that nobody holds is a dead one's")

	holder, err := os.OpenFile(db+".lock", os.O_RDWR, 0)
	require.NoError(t, err)
	defer holder.Close()
	require.NoError(t, syscall.Flock(int(holder.Fd()), syscall.LOCK_EX))
	_, err = runningTemporal(t.Context(), db)
	require.ErrorContains(t, err, "temporal-dev pid 77 has "+db+" open and does not answer at 127.0.0.1:1; stop it first")

	listener := listen(t)
	require.NoError(t, os.WriteFile(db+".lock", []byte(`{"address":"`+listener+`","pid":77}`), 0o600))
	found, err = runningTemporal(t.Context(), db)
	require.NoError(t, err)
	require.Equal(t, listener, found.Address)

	require.NoError(t, os.WriteFile(db+".lock", []byte(`{"pid":77}`), 0o600))
	_, err = runningTemporal(t.Context(), db)
	require.EqualError(t, err, db+" is in use by temporal-dev pid 77, which does not say where it answers; wait until it is ready, or stop it")

	require.NoError(t, os.WriteFile(db+".lock", nil, 0o600))
	_, err = runningTemporal(t.Context(), db)
	require.EqualError(t, err, db+" is in use by a process, which does not say where it answers; wait until it is ready, or stop it")
}

func TestATemporalThatIsStartedAgainKeepsItsPorts(t *testing.T) {
	for situation, c := range map[string]struct {
		ready temporalReady
		want  ports
	}{
		"it chose its ports":        {temporalReady{Address: "127.0.0.1:4001", UI: "http://127.0.0.1:4002"}, ports{4001, 4002}},
		"without a Web UI":          {temporalReady{Address: "127.0.0.1:4001"}, ports{4001, 8233}},
		"it never said where it is": {temporalReady{}, ports{7233, 8233}},
	} {
		t.Run(situation, func(t *testing.T) {
			require.Equal(t, c.want, portsOf(c.ready, ports{7233, 8233}))
		})
	}
}

// A configuration that lacks something starts nothing.
func TestUpOfNothing(t *testing.T) {
	t.Setenv("FULLNODE_API_INFO", "")
	dir := t.TempDir()
	written, data := filepath.Join(dir, "posthaste.toml"), filepath.Join(dir, "data")
	_, _, err := run(t, "init", "--config", written)
	require.NoError(t, err)
	_, _, err = run(t, "up", "--config", written, "--data-dir", data)
	require.ErrorContains(t, err, "a daemon needs a Filecoin node: chain.api_info")
	require.ErrorContains(t, err, "a miner: [[miners]] with an id, enabled")
	require.NoDirExists(t, data)
}
