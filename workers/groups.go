package workers

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/config"
	"posthaste/post"
	"posthaste/prover"
)

// largestOnCPU is the largest sector size that cards without a GPU take unless they are told to take all: 32 GiB would keep them
// busy for longer than a deadline is open.
const largestOnCPU abi.SectorSize = 512 << 20

// cardGroup is cards of one worker that may take the same work, and so poll one task queue.
type cardGroup struct {
	kind  string         // post.KindWindow or post.KindWinning
	pool  string         // the GPU tag
	most  abi.SectorSize // bytes; 0: any
	limit int            // jobs at once on all cards of this kind; 0: as many as there are places
	cards []config.Card
}

// groupCards puts the configured cards into groups, in the order in which they are written. machine says whether this machine has a GPU.
func groupCards(c *config.Config, machine bool) []cardGroup {
	var groups []cardGroup
	add := func(kind string, limit int, cards []config.Card) {
		for _, card := range cards {
			pool, most := cmp.Or(card.Pool, c.Worker.Pool, post.DefaultPool), abi.SectorSize(0)
			if !card.HasGPU(machine) && !c.Worker.LargeOnCPU {
				most = largestOnCPU
			}
			i := slices.IndexFunc(groups, func(g cardGroup) bool { return g.kind == kind && g.pool == pool && g.most == most })
			if i < 0 {
				i = len(groups)
				groups = append(groups, cardGroup{kind: kind, pool: pool, most: most, limit: limit})
			}
			groups[i].cards = append(groups[i].cards, card)
		}
	}
	add(post.KindWindow, c.WindowLimit, c.Cards)
	add(post.KindWinning, c.WinningLimit, c.Winning)
	return groups
}

// processorKind is the prover's name of a kind of proof.
func processorKind(kind string) string {
	if kind == post.KindWinning {
		return prover.KindWinning
	}
	return prover.KindWindow
}

// cardConfig is a configured card as the pool wants it. Without a bin it is this program's own processor, which is told how to
// read, and of which a GPU can be asked: a custom program does not say whether it has found one.
func cardConfig(card config.Card, machine bool) prover.CardConfig {
	out := prover.CardConfig{
		Name: card.Name, Bin: card.Bin, Args: card.Args, Envs: card.Envs, CleanEnv: !card.InheritEnvs,
		Concurrent: card.Concurrent, ReadyTimeout: card.ReadyTimeout, NoRestart: !card.AutoRestart,
		Weight: card.Weight, CPUs: card.CPUs, GPU: card.WatchGPU(machine),
	}
	if card.Bin == "" {
		out.Args = []string{"--parallel-reads", strconv.Itoa(card.Reads.Parallel), "--read-timeout", card.Reads.Timeout.String()}
	}
	return out
}

// largeFrom is the sector size from which a SNARK takes so much memory that it matters how many there are at once, and largeMemory how
// much, as long as nothing is configured: until somebody has measured it, what damocles's and Lotus's documents ask for.
const (
	largeFrom   abi.SectorSize = 32 << 30
	largeMemory int64          = 64 << 30
)

// memoryGate is what keeps the SNARKs of all workers of this user on this machine within its memory.
func memoryGate(w config.Worker) (gate *prover.Memory, from abi.SectorSize, err error) {
	perProof := w.MemoryPerProof
	if perProof == 0 {
		perProof, from = largeMemory, largeFrom
	}
	dir := filepath.Join(os.TempDir(), "posthaste-memory-"+strconv.Itoa(os.Getuid()))
	gate, err = prover.NewMemory(dir, w.Memory, perProof)
	return gate, from, err
}
