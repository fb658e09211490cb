package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/config"
	"posthaste/post"
	"posthaste/workers"
)

func TestUseFault(t *testing.T) {
	for situation, c := range map[string]struct {
		options demoOptions
		given   bool
		err     string
		check   func(*testing.T, demoOptions)
	}{
		"nothing is to be broken": {demoOptions{deadlines: 8}, false, "", func(t *testing.T, o demoOptions) {
			require.Nil(t, o.fault)
			require.Equal(t, 8, o.deadlines)
			require.Empty(t, o.chainArgs)
		}},
		"a card": {demoOptions{breaks: "card", workers: 1, cards: 2, deadlines: 8, chainArgs: []string{"--epoch=3s"}}, false, "", func(t *testing.T, o demoOptions) {
			require.Equal(t, brokenDeadlines, o.deadlines)
			require.Equal(t, "--epoch=3s", o.chainArgs[len(o.chainArgs)-1], "what a person says comes last, and so counts")
		}},
		"so many deadlines": {demoOptions{breaks: "node", deadlines: 2}, true, "", func(t *testing.T, o demoOptions) {
			require.Equal(t, 2, o.deadlines)
		}},
		"no such fault":      {demoOptions{breaks: "disk"}, false, "--break disk: there is no such fault; it is one of sector, card, node, temporal", nil},
		"the only card":      {demoOptions{breaks: "card", workers: 1, cards: 1}, false, "--break card needs a second card that takes the work; give --cards 2", nil},
		"on another's chain": {demoOptions{breaks: "node", chain: "lotus"}, false, "--break node needs the simulated chain; leave --chain out", nil},
	} {
		t.Run(situation, func(t *testing.T) {
			err := c.options.useFault(c.given)
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			c.check(t, c.options)
		})
	}
}

func TestBreakageTellsWhatHappensToJobsOnce(t *testing.T) {
	d := post.Deadline{Miner: 1000, PeriodStart: 1040, Index: 3, Open: 1100, Close: 1160}
	board := func(p post.PartitionResult) []workers.Row {
		return []workers.Row{{WorkflowID: d.WorkflowID(), Board: post.Result{Deadline: d, Partitions: []post.PartitionResult{p}}}}
	}
	var b breakage
	texts := func(p post.PartitionResult) (out []string) {
		for _, n := range b.news(board(p)) {
			out = append(out, n.text)
		}
		return out
	}
	require.Empty(t, texts(post.PartitionResult{State: post.StateProving}))
	failed := post.PartitionResult{State: post.StateFailed, Tries: 2, Reason: "CardDied: gone"}
	news := b.news(board(failed))
	require.Len(t, news, 1)
	require.Equal(t, "f01000-1040-3-0", news[0].reset)
	require.Contains(t, news[0].text, "is Failed after 2 tries: CardDied: gone")
	require.Empty(t, texts(failed), "once")
	require.Empty(t, texts(post.PartitionResult{State: post.StateProving}), "it runs again")
	require.Equal(t, []string{"MENDED: job f01000-1040-3-0 was Failed and is posted"}, texts(post.PartitionResult{State: post.StatePosted}))
	require.Empty(t, texts(post.PartitionResult{State: post.StatePosted}))

	closed := reportDeadline{Miner: "f01000", PeriodStart: 1040, Index: 3, Partitions: []reportPartition{{Index: 0, Posted: true}}}
	require.Equal(t, map[string]string{"f01000-1040-3-0": "posted"}, b.mended([]reportDeadline{closed}))
	closed.Partitions[0].Posted = false
	require.Equal(t, "--break card hit 1 job: f01000-1040-3-0 missed", mendedText("card", b.mended([]reportDeadline{closed})))
	require.Equal(t, "--break node hit 0 jobs", mendedText("node", nil))
}

func TestTroubleOfAPartition(t *testing.T) {
	skipped := []post.Skipped{{Sector: 7, Reason: "unreadable"}}
	for situation, c := range map[string]struct {
		p    post.PartitionResult
		want string
	}{
		"going well":                           {post.PartitionResult{State: post.StateProving}, ""},
		"a sector was not found; not proven":   {post.PartitionResult{State: post.StateProving, Skipped: skipped}, ""},
		"proven without one":                   {post.PartitionResult{State: post.StateSubmitting, Skipped: skipped, Proven: time.Unix(1, 0)}, "Faults(1)"},
		"out of tries":                         {post.PartitionResult{State: post.StateFailed}, "Failed"},
		"too late":                             {post.PartitionResult{State: post.StateMissed}, "Missed"},
		"out of tries, with a sector left out": {post.PartitionResult{State: post.StateFailed, Skipped: skipped}, "Failed"},
	} {
		t.Run(situation, func(t *testing.T) { require.Equal(t, c.want, troubleOf(c.p)) })
	}
}

// The broken card takes a task and says what the library says; the mended one is another program.
func TestCardScript(t *testing.T) {
	dir := t.TempDir()
	broken, script, processor := filepath.Join(dir, "it's broken"), filepath.Join(dir, "card.sh"), filepath.Join(dir, "processor")
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	require.NoError(t, os.WriteFile(processor, []byte("#!/bin/sh\necho \"$@\" ${POSTHASTE_PROGRESS_FD-quiet}\n"), 0o700))
	require.NoError(t, os.WriteFile(script, []byte(cardScript(broken, processor)), 0o700))
	cmd := exec.Command(script)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := func(r io.Reader) string {
		text, err := bufio.NewReader(r).ReadString('\n')
		require.NoError(t, err)
		return text
	}
	require.Equal(t, "window_post processor ready\n", line(stdout))
	_, err = io.WriteString(stdin, "{}\n")
	require.NoError(t, err)
	require.Contains(t, line(stderr), "Falling back to CPU", "what the worker fences a card for")

	require.NoError(t, os.Remove(broken))
	out, err := exec.Command("env", "POSTHASTE_PROGRESS_FD=3", script).CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "processor window_post quiet\n", string(out))
}

func TestRottenSectorsKeepAGoodCopy(t *testing.T) {
	dir := t.TempDir()
	path, keep := filepath.Join(dir, "s"), filepath.Join(dir, "keep", "s")
	good := strings.Repeat("x", 96)
	require.NoError(t, os.WriteFile(path, []byte(good), 0o600))
	require.NoError(t, rot(path, keep))
	kept, err := os.ReadFile(keep)
	require.NoError(t, err)
	require.Equal(t, good, string(kept))
	bad, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, bad, len(good))
	for node := range len(bad) / 32 {
		require.NotEqual(t, good[32*node:32*node+32], string(bad[32*node:32*node+32]), "node %d", node)
	}
}

func TestHideSectors(t *testing.T) {
	store := chainStore{Name: "devnet-f01000", Path: filepath.Join(t.TempDir(), "f01000")}
	away := filepath.Join(t.TempDir(), "away")
	require.NoError(t, os.MkdirAll(filepath.Join(store.Path, "sealed"), 0o700))
	for _, n := range []abi.SectorNumber{1, 2, 3} {
		require.NoError(t, os.WriteFile(sealedPath(store, n), nil, 0o600))
	}
	require.NoError(t, hideSectors(store, []abi.SectorNumber{1, 2}, away))
	require.NoFileExists(t, sealedPath(store, 1))
	require.FileExists(t, filepath.Join(store.Path, "sealed", "s-t01000-3"))
	require.FileExists(t, filepath.Join(away, "s-t01000-2"))
	require.Error(t, hideSectors(store, []abi.SectorNumber{9}, away))
}

func TestABrokenDemosConfiguration(t *testing.T) {
	o := demoOptions{dir: t.TempDir(), workers: 2, cards: 2, breaks: "card"}
	require.NoError(t, o.useFault(false))
	d := &demonstration{demoOptions: o}
	d.server = temporalReady{Address: "127.0.0.1:7000", Namespace: "default"}
	d.chain = chainReady{FullnodeAPIInfo: "/ip4/127.0.0.1/tcp/1/http", EpochSeconds: 1, Miners: []string{"f01000"}, Stores: []chainStore{{"s", "/mnt/s"}}}
	paths, err := d.writeConfigs()
	require.NoError(t, err)
	for i, path := range paths {
		c, err := config.Load(path)
		require.NoError(t, err)
		require.False(t, c.Miners[0].Settings.RetryUntilClose)
		require.Equal(t, 1, c.Miners[0].Settings.MaxTry)
		for j, card := range c.Cards {
			want := ""
			if i == 0 && j == 0 {
				want = d.cardProgram()
			}
			require.Equal(t, want, card.Bin, "only the first card is broken")
		}
	}
}

// What a demo with a fault says can be pasted.
func TestBriefings(t *testing.T) {
	d := &demonstration{demoOptions: demoOptions{dir: "/tmp/it's here", workers: 1, cards: 2}}
	d.server = temporalReady{Address: "127.0.0.1:7000"}
	d.chain = chainReady{EpochSeconds: 1, Miners: []string{"f01000", "f01001"}, Stores: []chainStore{{"a", "/x/f01000"}, {"b", "/x/f01001"}}, Control: "http://127.0.0.1:1"}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			var out strings.Builder
			f.tell(d).print(&out, d)
			require.Contains(t, out.String(), "export TEMPORAL_ADDRESS=127.0.0.1:7000\n")
			require.Contains(t, out.String(), "docs/operations.md")
			for line := range strings.Lines(out.String()) {
				command, isCommand := strings.CutPrefix(line, "  ")
				if !isCommand || strings.HasPrefix(command, "the sealed") || strings.HasPrefix(command, "one sealed") {
					continue
				}
				check, err := exec.Command("sh", "-n", "-c", command).CombinedOutput()
				require.NoError(t, err, "%s: %s", command, check)
			}
		})
	}
}
