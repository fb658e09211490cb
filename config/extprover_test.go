package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const stores = "[[stores]]\nname=\"a\"\npath=\"/a\"\n"

func TestExtProverAsInTheDocuments(t *testing.T) {
	c, _, err := fromFile(t, stores, "testdata/ext-prover.cfg")
	require.NoError(t, err)
	require.False(t, c.AutoCards)
	reads := Reads{Parallel: 32, Timeout: 10 * time.Minute}
	require.Equal(t, []Card{{
		Name: "card0", Bin: "/path/to/custom/bin", Args: []string{"args1", "args2", "args3"}, InheritEnvs: true,
		Envs:       map[string]string{"CUDA_VISIBLE_DEVICES": "0", "TMPDIR": "/tmp/ext-prover0/"},
		Concurrent: 1, Weight: 1, Pool: "gpu", ReadyTimeout: 5 * time.Second, AutoRestart: true, Reads: reads,
	}}, c.Cards)
	require.Equal(t, []Card{{
		Name: "winning0", InheritEnvs: true, Envs: map[string]string{"CUDA_VISIBLE_DEVICES": "1", "TMPDIR": "/tmp/ext-prover1/"},
		Concurrent: 1, Weight: 1, Pool: "gpu", AutoRestart: true, Reads: reads,
	}}, c.Winning)
	require.Empty(t, c.Warnings)
}

func TestEightGPUs(t *testing.T) {
	c, _, err := fromFile(t, "worker.pool = \"big\"\n"+stores, "testdata/ext-prover-eight.cfg")
	require.NoError(t, err)
	require.Len(t, c.Cards, 8)
	require.Empty(t, c.Winning)
	for i, card := range c.Cards {
		require.Equal(t, fmt.Sprintf("card%d", i), card.Name)
		require.Equal(t, map[string]string{"CUDA_VISIBLE_DEVICES": fmt.Sprint(i), "TMPDIR": fmt.Sprintf("/tmp/ext-prover%d/", i)}, card.Envs)
		require.True(t, card.HasGPU(false))
		require.Equal(t, "big", card.Pool)
	}

	// The documents show the same file.
	example, err := os.ReadFile("testdata/ext-prover-eight.cfg")
	require.NoError(t, err)
	guide, err := os.ReadFile("../docs/configuration.md")
	require.NoError(t, err)
	require.Contains(t, string(guide), string(example))
}

func TestExtProverWithADamoclesWorkersFile(t *testing.T) {
	thread := "[[sealing_thread]]\nplan=\"wdpost\"\n"
	c, _, err := fromFile(t, thread+thread+minimal, "testdata/ext-prover-eight.cfg")
	require.NoError(t, err)
	require.Len(t, c.Cards, 8)
	require.Equal(t, 2, c.WindowLimit)
}

func TestExtProverFiles(t *testing.T) {
	for situation, c := range map[string]struct {
		text string
		want Card
		note string
	}{
		"keys in any case": {
			"[[wdpost]]\nBIN=\"~/p\"\n[wdpost.envs]\nbin=\"1\"",
			Card{Bin: "/home/p/p", Envs: map[string]string{"bin": "1"}, Weight: 1, Concurrent: 1}, "",
		},
		"no seconds are the default": {
			"[[WdPost]]\nReadyTimeoutSecs=0\nConcurrent=0",
			Card{Weight: 1, Concurrent: 1}, "",
		},
		"more of everything": {
			"[[WdPost]]\nReadyTimeoutSecs=60\nConcurrent=3\nWeight=4",
			Card{Weight: 4, Concurrent: 3, ReadyTimeout: time.Minute}, "",
		},
		"no weight at all": {
			"[[WdPost]]\nWeight=0", Card{Weight: 1, Concurrent: 1}, "2:1: WdPost[0].Weight: 0 is taken as 1",
		},
		"args without a bin": {
			"[[WdPost]]\nArgs=[\"x\"]", Card{Weight: 1, Concurrent: 1}, "2:1: WdPost[0].Args: is not applied",
		},
		"a key that is not known": {
			"[[WdPost]]\nColour=\"red\"", Card{Weight: 1, Concurrent: 1}, "2:1: WdPost[0].Colour: is not applied: no such key is known",
		},
	} {
		t.Run(situation, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ext-prover.cfg")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			got, _, err := fromFile(t, stores, path)
			require.NoError(t, err)
			c.want.Name, c.want.Pool, c.want.InheritEnvs, c.want.AutoRestart = "card0", "gpu", true, true
			c.want.Reads = Reads{Parallel: 32, Timeout: 10 * time.Minute}
			require.Equal(t, []Card{c.want}, got.Cards)
			if c.note == "" {
				require.Empty(t, got.Warnings)
			} else {
				require.Len(t, got.Warnings, 1)
				require.Contains(t, got.Warnings[0], c.note)
			}
		})
	}
}

func TestBadExtProverFiles(t *testing.T) {
	for situation, c := range map[string]struct{ main, text, want string }{
		"no card":             {"", "# nothing", `1:1: WdPost: there is neither a [[WdPost]] nor a [[WinPost]]`},
		"a single table":      {"", "[WdPost]\n[[WinPost]]", `1:2: WdPost: write it as [[WdPost]]`},
		"a bin that is none":  {"", "[[WdPost]]\nBin=1", `2:1: WdPost[0].Bin: want a string, the path of a program`},
		"less than nothing":   {"", "[[WdPost]]\nWeight=-1", `2:1: WdPost[0].Weight: -1 must be from 0 to 1048576`},
		"a time as a string":  {"", "[[WdPost]]\nReadyTimeoutSecs=\"5s\"", `2:1: WdPost[0].ReadyTimeoutSecs: want a whole number`},
		"an env as a number":  {"", "[[WdPost]]\n[WdPost.Envs]\nA=0", `3:1: WdPost[0].Envs.A: want a string`},
		"cards in both files": {"[[processors.window_post]]\n", "[[WdPost]]", `1:3: WdPost[0]: MAIN has [[processors.window_post]] too; keep the cards of one file`},
		"winning cards in both": {
			"[[processors.winning_post]]\n", "[[WinPost]]", `1:3: WinPost[0]: MAIN has [[processors.winning_post]] too; keep the cards of one file`,
		},
		"a name twice": {"[[processors.winning_post]]\nname=\"card0\"\n", "[[WdPost]]", `1:3: WdPost[0]: two cards are named "card0"`},
	} {
		t.Run(situation, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ext-prover.cfg")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			_, main, err := fromFile(t, c.main+stores, path)
			require.Error(t, err)
			require.Equal(t, path+":"+c.want, strings.ReplaceAll(err.Error(), main, "MAIN"))
		})
	}
	_, _, err := fromFile(t, stores, "/none/ext-prover.cfg")
	require.EqualError(t, err, "reading the configuration of external provers: open /none/ext-prover.cfg: no such file or directory")
}
