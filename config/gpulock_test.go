package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCardsThatGetInEachOthersWay(t *testing.T) {
	card := func(name, gpu, tmp string) Card {
		c := Card{Name: name, Envs: map[string]string{}}
		if gpu != "" {
			c.Envs["CUDA_VISIBLE_DEVICES"] = gpu
		}
		if tmp != "" {
			c.Envs["TMPDIR"] = tmp
		}
		return c
	}
	for situation, c := range map[string]struct {
		cards []Card
		want  []string // beginnings
	}{
		"a GPU and a folder each":    {[]Card{card("a", "0", "/t0"), card("b", "1", "/t1")}, nil},
		"two cards on one GPU":       {[]Card{card("a", "0", "/t0"), card("b", "0", "/t0")}, nil},
		"which do not take turns":    {[]Card{card("a", "0,1", "/t0"), card("b", "1", "/t1")}, []string{"cards a, b: some share a GPU"}},
		"who wait for one another":   {[]Card{card("a", "0", ""), card("b", "1", ""), card("c", "2", "/t2")}, []string{"cards a, b: some have different GPUs"}},
		"on the CPU":                 {[]Card{card("a", "", ""), card("b", "-1", ""), card("c", "0", "")}, nil},
		"nothing is said of the GPU": {[]Card{card("a", "", "/t0"), card("b", "", "/t1")}, nil},
	} {
		got := gpuLocks(c.cards)
		require.Len(t, got, len(c.want), situation)
		for i, want := range c.want {
			require.True(t, strings.HasPrefix(got[i], want), got[i])
		}
	}
}

func TestAWorkerIsWarnedOfItsCardsLocks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "posthaste.toml")
	require.NoError(t, os.WriteFile(file, []byte("[[processors.window_post]]\nenvs = { CUDA_VISIBLE_DEVICES = \"0\" }\n"+
		"[[processors.winning_post]]\nenvs = { CUDA_VISIBLE_DEVICES = \"1\" }\n"), 0o600))
	c, err := LoadWorker(file, "")
	require.NoError(t, err)
	require.Len(t, c.Warnings, 1)
	require.Contains(t, c.Warnings[0], "cards card0, winning0: some have different GPUs")
}
