package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/chain"
	"posthaste/post"
)

// sectorFault: one partition whose sealed files are gone, so that it fails until they are back; and, if there is another miner, a
// sector of it that has rotted on the disk, which is left out.
var sectorFault = fault{
	name:   "sector",
	policy: []string{asInDamocles},
	early: func(ctx context.Context, d *demonstration) error {
		gone, sectors, err := d.firstSectors(ctx, 0)
		if err != nil {
			return err
		}
		if err := hideSectors(gone, sectors, d.hidden()); err != nil {
			return err
		}
		if len(d.chain.Miners) < 2 {
			return nil
		}
		rotten, sectors, err := d.firstSectors(ctx, 1)
		if err != nil {
			return err
		}
		return rot(sealedPath(rotten, sectors[0]), filepath.Join(d.backup(), filepath.Base(sealedPath(rotten, sectors[0]))))
	},
	tell: func(d *demonstration) briefing {
		gone, rotten := d.chain.Stores[0], "\n  no sector has rotted: there is one miner only"
		mend := []hint{
			{fmt.Sprintf("mv %s/* %s", quoted(d.hidden()), quoted(filepath.Join(gone.Path, "sealed"))), "as if the disk were mounted again; then"},
			{self() + " wdpost reset JOB", "with the job's ID, which stands in the list: proven at once"},
		}
		if len(d.chain.Miners) > 1 {
			rotten = fmt.Sprintf("\n  one sealed file of %s has rotted (%s has a good copy)", d.chain.Miners[1], d.backup())
			mend = append(mend, hint{fmt.Sprintf("cp %s/* %s", quoted(d.backup()), quoted(filepath.Join(d.chain.Stores[1].Path, "sealed"))), "before its deadline's challenge; later it is faulty on the chain"})
		}
		return briefing{
			broken: fmt.Sprintf("in the stores\n  the sealed files of one partition of %s are away (they are in %s)%s", d.chain.Miners[0], d.hidden(), rotten),
			seen:   "the first one's job is Failed after its last try; a partition with one bad sector is proven without it, Faults(1)",
			look: []hint{
				{self() + " wdpost list", "the job that is Failed, and why"},
				{self() + " wdpost show JOB", "its errors whole, and its sectors"},
				{self() + " alert list", "what needs a person"},
			},
			mend: mend,
		}
	},
}

// hidden is where the sealed files are that --break sector took away, backup where the good copy of the rotten one is.
func (d *demonstration) hidden() string { return filepath.Join(d.dir, "broken", "away") }
func (d *demonstration) backup() string { return filepath.Join(d.dir, "broken", "good") }

// firstSectors are the sectors of partition 0 of the first deadline that the demo follows of its i-th miner, and the store they are in.
func (d *demonstration) firstSectors(ctx context.Context, i int) (store chainStore, sectors []abi.SectorNumber, err error) {
	node, err := chain.Dial(ctx, d.chain.FullnodeAPIInfo, chain.Options{})
	if err != nil {
		return store, nil, err
	}
	defer node.Close()
	miner, err := address.NewFromString(d.chain.Miners[i])
	if err != nil {
		return store, nil, fmt.Errorf("the chain's miner: %w", err)
	}
	deadline, err := node.StateMinerProvingDeadline(ctx, miner, nil)
	if err != nil {
		return store, nil, err
	}
	index := deadline.Index
	if deadline.Open <= deadline.CurrentEpoch {
		index = (index + 1) % deadline.WPoStPeriodDeadlines
	}
	partitions, err := node.StateMinerPartitions(ctx, miner, index, nil)
	if err != nil {
		return store, nil, err
	}
	if len(partitions) == 0 || i >= len(d.chain.Stores) {
		return store, nil, fmt.Errorf("deadline %d of %s has nothing to break", index, miner)
	}
	err = partitions[0].LiveSectors.ForEach(func(n uint64) error {
		sectors = append(sectors, abi.SectorNumber(n))
		return nil
	})
	if err == nil && len(sectors) == 0 {
		err = fmt.Errorf("deadline %d of %s has no live sector", index, miner)
	}
	return d.chain.Stores[i], sectors, err
}

// sealedPath is a sector's replica in the store of its miner, which the simulated chain names after it.
func sealedPath(store chainStore, sector abi.SectorNumber) string {
	miner, _ := post.ParseMiner(filepath.Base(store.Path))
	return filepath.Join(store.Path, "sealed", fmt.Sprintf("s-t0%d-%d", miner, sector))
}

// hideSectors moves replicas away.
func hideSectors(store chainStore, sectors []abi.SectorNumber, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, n := range sectors {
		from := sealedPath(store, n)
		if err := os.Rename(from, filepath.Join(to, filepath.Base(from))); err != nil {
			return err
		}
	}
	return nil
}

// rot turns over a bit in every 32-byte node of a file, so that whichever is challenged is wrong, and keeps a good copy.
func rot(path, keep string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(keep), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(keep, data, 0o644); err != nil {
		return err
	}
	for i := 0; i < len(data); i += 32 {
		data[i] ^= 1
	}
	return os.WriteFile(path, data, 0o644)
}

// cardFault: a card whose GPU is gone, with which the library goes on on the CPU, for hours. The worker finds that out, fences the
// card and fails the job, which has one try here. Two partitions a deadline, so that both cards get work.
var cardFault = fault{
	name:   "card",
	chain:  []string{"--partitions=2"},
	policy: []string{"max_try = 1", asInDamocles},
	check: func(o demoOptions) error {
		if o.workers*o.cards < 2 {
			return errors.New("--break card needs a second card that takes the work; give --cards 2")
		}
		return nil
	},
	early: func(_ context.Context, d *demonstration) error {
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program's own file: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(d.brokenCard()), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(d.brokenCard(), []byte("remove this file and card0 is as good as new\n"), 0o600); err != nil {
			return err
		}
		return os.WriteFile(d.cardProgram(), []byte(cardScript(d.brokenCard(), program)), 0o700)
	},
	tell: func(d *demonstration) briefing {
		worker := d.workerName(0)
		return briefing{
			broken: fmt.Sprintf("card0 of worker %s has lost its GPU, and the library goes on on the CPU: hours for a proof", worker),
			seen:   "the first job that it takes is Failed after its last try, and the card is fenced; the other card goes on",
			look: []hint{
				{self() + " wdpost list", "the job that is Failed, and why"},
				{self() + " worker info " + worker, "the card is fenced, and why"},
				{self() + " alert list", "what needs a person"},
			},
			mend: []hint{
				{self() + " wdpost reset JOB", "with the job's ID, which stands in the list: the other card proves it"},
				{"rm " + quoted(d.brokenCard()), "as if the GPU had been repaired; then"},
				{self() + " worker unfence " + worker + " card0", "the card may work again"},
			},
		}
	},
}

// brokenCard is the file that keeps card0 broken, cardProgram the card's program.
func (d *demonstration) brokenCard() string  { return filepath.Join(d.dir, "broken", "card0") }
func (d *demonstration) cardProgram() string { return filepath.Join(d.dir, "broken", "card0.sh") }

// cardLines are what the fault adds to a card's table.
func (d *demonstration) cardLines(worker, card int) string {
	if d.fault == nil || d.fault.name != cardFault.name || worker != 0 || card != 0 {
		return ""
	}
	return fmt.Sprintf("gpu = true\nbin = %q\nargs = []", d.cardProgram())
}

// cardScript is a card's program that works once the file is gone. It says what the library says, in its log. The progress that
// our own processor reports would tell that it has no GPU.
func cardScript(broken, processor string) string {
	return fmt.Sprintf(`#!/bin/sh
# card0 of a posthaste demo: without its GPU while the file is there.
if [ ! -e %s ]; then
  unset POSTHASTE_PROGRESS_FD
  exec %s processor window_post
fi
echo "window_post processor ready"
read -r task || exit 0
echo "WARN bellperson::gpu::locks > GPU Multiexp failed! Falling back to CPU... Error: the demo broke this card" >&2
exec sleep 3600
`, quoted(broken), quoted(processor))
}

// nodeFault: the node is away while proofs wait to be sent.
var nodeFault = fault{
	name: "node",
	later: func(ctx context.Context, d *demonstration, _ *supervisor) error {
		return d.pauseNode(ctx, d.nodeAway())
	},
	tell: func(d *demonstration) briefing {
		return briefing{
			broken: fmt.Sprintf("the Filecoin node does not answer any more; by itself it comes back after %s", seconds(d.nodeAway())),
			seen:   "proofs are made and wait; nothing can be sent. Nothing is missed if it is back before Close",
			look: []hint{
				{self() + " wdpost list", "what is Succeed (Submitting) waits for the node"},
				{self() + " alert list", "NodeBehind: some 35 s after it broke, and until 30 s after it is back"},
				{self() + " status", "who is working, and what is under way"},
			},
			mend: []hint{{fmt.Sprintf("curl -d '{\"seconds\": 0.01}' %s/pause-rpc", d.chain.Control), "as if the node were started again"}},
		}
	},
}

// nodeAway is how long --break node takes: a third of a deadline, so that it is not missed.
func (d *demonstration) nodeAway() time.Duration { return 45 * d.epoch() }

// pauseNode asks the chain program to be away.
func (d *demonstration) pauseNode(ctx context.Context, away time.Duration) error {
	body, err := json.Marshal(map[string]float64{"seconds": away.Seconds()})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.chain.Control+"/pause-rpc", bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the chain to be away: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return fmt.Errorf("asking the chain to be away: %s: %s", response.Status, text)
	}
	return nil
}

// temporalFault: the server dies in the middle of proofs.
var temporalFault = fault{
	name: "temporal",
	later: func(_ context.Context, d *demonstration, s *supervisor) error {
		return s.crash("temporal-dev", d.temporalAway())
	},
	tell: func(d *demonstration) briefing {
		return briefing{
			broken: fmt.Sprintf("temporal-dev was killed (SIGKILL); it is started again after %s", seconds(d.temporalAway())),
			seen:   "no command answers, and the Web UI neither; the cards go on proving, and when it is back so does everything else",
			look: []hint{
				{self() + " wdpost list", "while it is away: says that Temporal cannot be reached"},
				{self() + " status", "afterwards: everybody is back"},
			},
			mend: []hint{{"sleep " + strings.TrimSuffix(seconds(d.temporalAway()), " s"), "nothing else: as `posthaste up` and systemd do, the demo starts it again"}},
		}
	},
}

// temporalAway is how long --break temporal takes.
func (d *demonstration) temporalAway() time.Duration { return 15 * d.epoch() }

// quoted is a word for a shell.
func quoted(word string) string {
	if strings.ContainsAny(word, " \t\n'\"\\$`*?[]{}()<>|&;!#~") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}
