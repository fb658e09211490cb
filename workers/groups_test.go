package workers

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/config"
	"posthaste/prover"
)

func TestGroupCards(t *testing.T) {
	yes, no := true, false
	named := func(name string, set func(*config.Card)) config.Card {
		c := config.Card{Name: name, Concurrent: 1}
		if set != nil {
			set(&c)
		}
		return c
	}
	custom := func(c *config.Card) { c.Bin = "/opt/prover" }
	cpu := func(c *config.Card) { c.GPU = &no }
	gpu := func(c *config.Card) { c.GPU = &yes }
	other := func(c *config.Card) { c.Pool = "h100"; c.GPU = &yes }
	for situation, c := range map[string]struct {
		config  config.Config
		machine bool     // has a GPU
		want    []string // kind, pool, the largest sector in MiB (0: any): cards
	}{
		"one card on a machine without a GPU": {
			config: config.Config{Cards: []config.Card{named("a", nil)}},
			want:   []string{"wdpost gpu 512: a"},
		},
		"the same on a machine with one": {
			config: config.Config{Cards: []config.Card{named("a", nil)}}, machine: true,
			want: []string{"wdpost gpu 0: a"},
		},
		"eight alike cards are one group": {
			config: config.Config{Cards: []config.Card{named("a", gpu), named("b", gpu), named("c", gpu)}}, machine: true,
			want: []string{"wdpost gpu 0: a b c"},
		},
		"a CPU card beside GPUs has a group of its own, for it refuses large sectors": {
			config: config.Config{Cards: []config.Card{named("a", gpu), named("b", cpu), named("c", gpu)}}, machine: true,
			want: []string{"wdpost gpu 0: a c", "wdpost gpu 512: b"},
		},
		"unless it is told to take them": {
			config: config.Config{Cards: []config.Card{named("a", gpu), named("b", cpu)}, Worker: config.Worker{LargeOnCPU: true}}, machine: true,
			want: []string{"wdpost gpu 0: a b"},
		},
		"a custom program may take any size": {
			config: config.Config{Cards: []config.Card{named("a", custom), named("b", nil)}},
			want:   []string{"wdpost gpu 0: a", "wdpost gpu 512: b"},
		},
		"two GPU tags": {
			config: config.Config{Cards: []config.Card{named("a", gpu), named("b", other)}, Worker: config.Worker{Pool: "a100"}}, machine: true,
			want: []string{"wdpost a100 0: a", "wdpost h100 0: b"},
		},
		"cards set aside for winning proofs": {
			config: config.Config{Cards: []config.Card{named("a", gpu)}, Winning: []config.Card{named("w", gpu)}}, machine: true,
			want: []string{"wdpost gpu 0: a", "winpost gpu 0: w"},
		},
	} {
		t.Run(situation, func(t *testing.T) {
			var got []string
			for _, g := range groupCards(&c.config, c.machine) {
				text := fmt.Sprintf("%s %s %d:", g.kind, g.pool, g.most>>20)
				for _, card := range g.cards {
					text += " " + card.Name
				}
				got = append(got, text)
			}
			require.Equal(t, c.want, got)
		})
	}
}

// The prover tells its own processor, which finds its GPU before it is ready, from a foreign program by the missing bin.
func TestCardConfig(t *testing.T) {
	reads := config.Reads{Parallel: 32, Timeout: time.Minute}
	own := cardConfig(config.Card{Name: "a", Reads: reads, InheritEnvs: true, AutoRestart: true}, true)
	require.Equal(t, prover.CardConfig{Name: "a", Args: []string{"--parallel-reads", "32", "--read-timeout", "1m0s"}, GPU: true}, own)
	foreign := cardConfig(config.Card{Name: "a", Bin: "/opt/prover", Args: []string{"x"}, Reads: reads}, true)
	require.Equal(t, prover.CardConfig{Name: "a", Bin: "/opt/prover", Args: []string{"x"}, CleanEnv: true, NoRestart: true}, foreign)
	onGPU := config.Card{Name: "a", Bin: "/opt/prover", Envs: map[string]string{"CUDA_VISIBLE_DEVICES": "0"}}
	require.True(t, cardConfig(onGPU, false).GPU, "a damocles file cannot say gpu = true")
	onGPU.Envs["CUDA_VISIBLE_DEVICES"] = "-1"
	require.False(t, cardConfig(onGPU, true).GPU)
}
