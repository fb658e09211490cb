package options

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// parameters returns a folder that looks like one of parameters.
func parameters(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "v28-test.vk"), nil, 0o600))
	return dir
}

func TestParse(t *testing.T) {
	dir := parameters(t)
	o, err := Parse([]string{"--dir", "d", "--sectors", "4", "--epoch", "300ms"}, dir)
	require.NoError(t, err)
	require.Equal(t, Options{Dir: "d", Listen: "127.0.0.1:0", Sectors: 4, Nodes: 1, Epoch: 300 * time.Millisecond, Parameters: dir, LogLevel: "error"}, o)

	_, err = Parse([]string{"--help"}, dir)
	require.ErrorIs(t, err, flag.ErrHelp)
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	dir := parameters(t)
	cases := []struct {
		name       string
		args       []string
		parameters string
		want       string
	}{
		{"too many changed", []string{"--dir", "d", "--interleaved", "11"}, dir, "--interleaved 11: must be 0 to 10"},
		{"no folder", nil, dir, "--dir is missing"},
		{"an argument", []string{"--dir", "d", "x"}, dir, `unexpected argument "x"`},
		{"an unknown flag", []string{"--dri", "d"}, dir, "-dri"},
		{"no partition", []string{"--dir", "d", "--sectors", "1"}, dir, "--sectors 1: must be 2 to 960"},
		{"no node", []string{"--dir", "d", "--nodes", "0"}, dir, "--nodes 0: must be 1 to 4"},
		{"no time for an epoch", []string{"--dir", "d", "--epoch", "1ms"}, dir, "--epoch 1ms: must be"},
		{"no port", []string{"--dir", "d", "--listen", "localhost"}, dir, `--listen "localhost"`},
		{"an unknown log level", []string{"--dir", "d", "--log-level", "loud"}, dir, `--log-level "loud"`},
		{"parameters not named", []string{"--dir", "d"}, "", "set FIL_PROOFS_PARAMETER_CACHE"},
		{"parameters not there", []string{"--dir", "d"}, "/nowhere", "holds no verifying key"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.args, c.parameters)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestPrepareRemovesWhatAKilledRunLeft(t *testing.T) {
	t.Setenv("TMPDIR", os.TempDir()) // set anew by Prepare; put back afterwards
	t.Setenv("FIL_PROOFS_PARAMETER_CACHE", "")
	dir := t.TempDir()
	own, old := filepath.Join(dir, "notes"), filepath.Join(dir, "lotus", "preseal")
	require.NoError(t, os.MkdirAll(old, 0o755))
	require.NoError(t, os.WriteFile(own, nil, 0o600))

	o := Options{Dir: dir, Parameters: "parameters"}
	require.NoError(t, o.Prepare())
	require.NoDirExists(t, old)
	require.FileExists(t, own)
	require.DirExists(t, o.Scratch())
	require.Equal(t, o.Scratch(), os.Getenv("TMPDIR"))
	require.True(t, filepath.IsAbs(os.Getenv("FIL_PROOFS_PARAMETER_CACHE")))
}
