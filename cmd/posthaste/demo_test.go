package main

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/require"

	"posthaste/config"
	"posthaste/post"
	"posthaste/workers"
)

// listen is the address of a port that somebody listens at.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

const (
	good   = `{"index":0,"sectors":2,"posted":true,"verified":true,"landed_epoch":106}`
	missed = `{"index":0,"sectors":2,"posted":false,"verified":false,"faulty_after":2}`
)

// reportJSON is a chain's report with these deadlines, opening at 100, 200, …, all closed.
func reportJSON(more string, partitions ...string) string {
	var deadlines []string
	for i, p := range partitions {
		open := string(rune('1'+i)) + "00"
		deadlines = append(deadlines, `{"miner":"f01000","index":`+string(rune('0'+i))+`,"open":`+open+`,"close":`+open+`,"closed":true,"partitions":[`+p+`]}`)
	}
	return `{"epoch":900,"deadlines":[` + strings.Join(deadlines, ",") + `]` + more + `}`
}

func TestJudge(t *testing.T) {
	for situation, c := range map[string]struct {
		report  string
		started abi.ChainEpoch
		wanted  int
		want    demoResult
		err     string
	}{
		"all well": {
			report: reportJSON("", good, good+","+good), wanted: 2,
			want: demoResult{Deadlines: 2, Partitions: 3, Posted: 3, Verified: 3, Seconds: 1.5},
		},
		"more than were asked for: the first count": {
			report: reportJSON("", good, missed), wanted: 1,
			want: demoResult{Deadlines: 1, Partitions: 1, Posted: 1, Verified: 1, Seconds: 1.5},
		},
		"one was open before posthaste was started": {
			report: reportJSON("", missed, good), started: 150, wanted: 1,
			want: demoResult{Deadlines: 1, Partitions: 1, Posted: 1, Verified: 1, Seconds: 1.5},
		},
		"one missed": {
			report: reportJSON("", good, missed), wanted: 2,
			want: demoResult{Deadlines: 2, Partitions: 2, Posted: 1, Missed: 1, Verified: 1, FaultySectors: 2, Seconds: 1.5},
			err:  "the demo failed: 1 of 2 partitions posted, 1 missed, 1 of 2 verified by the chain",
		},
		"posted, but the proof is wrong": {
			report: reportJSON("", `{"index":0,"sectors":2,"posted":true,"verified":false}`), wanted: 1,
			want: demoResult{Deadlines: 1, Partitions: 1, Posted: 1, Seconds: 1.5},
			err:  "the demo failed: 0 of 1 verified by the chain",
		},
		"sent twice": {
			report: reportJSON(`,"messages":{"posts":2,"failed":1,"sent_twice":1}`, good), wanted: 1,
			want: demoResult{Deadlines: 1, Partitions: 1, Posted: 1, Verified: 1, SentTwice: 1, FailedMessages: 1, Seconds: 1.5},
			err:  "the demo failed: 1 sent twice",
		},
		"every dispute refused": {
			report: reportJSON(`,"disputes":{"tried":3,"refused":3}`, good), wanted: 1,
			want: demoResult{Deadlines: 1, Partitions: 1, Posted: 1, Verified: 1, DisputesTried: 3, DisputesRefused: 3, Seconds: 1.5},
		},
		"a dispute that the actor took": {
			report: reportJSON(`,"disputes":{"tried":3,"refused":2}`, good), wanted: 1,
			want: demoResult{Deadlines: 1, Partitions: 1, Posted: 1, Verified: 1, DisputesTried: 3, DisputesRefused: 2, Seconds: 1.5},
			err:  "the demo failed: 1 of 3 disputes not refused",
		},
		"deadlines and partitions without sectors do not count": {
			report: reportJSON("", `{"index":0,"sectors":0}`, good+`,{"index":1,"sectors":0}`), wanted: 1,
			want: demoResult{Deadlines: 1, Partitions: 1, Posted: 1, Verified: 1, Seconds: 1.5},
		},
		"nothing happened": {
			report: `{"epoch":5,"deadlines":[]}`, wanted: 8, want: demoResult{Seconds: 1.5},
			err: "the demo failed: only 0 of 8 deadlines were over, there was no partition to prove",
		},
	} {
		t.Run(situation, func(t *testing.T) {
			var r chainReport
			require.NoError(t, json.Unmarshal([]byte(c.report), &r))
			got := judge(r, r.followed(c.started, c.wanted), 1500*time.Millisecond)
			require.Equal(t, c.want, got)
			fails(t, got.err(c.wanted), c.err)
		})
	}
}

func TestResultKeys(t *testing.T) {
	data, err := json.Marshal(demoResult{})
	require.NoError(t, err)
	var keys map[string]any
	require.NoError(t, json.Unmarshal(data, &keys))
	for _, key := range []string{"deadlines", "partitions", "posted", "missed", "verified", "sent_twice", "seconds"} {
		require.Contains(t, keys, key, "a zero is printed too")
	}
}

func TestBoardRows(t *testing.T) {
	d := post.Deadline{Miner: 1000, Index: 7, PeriodStart: 96, Challenge: 180, Open: 200, Close: 260}
	for situation, c := range map[string]struct {
		row  workers.Row
		head abi.ChainEpoch
		line string
		left string
	}{
		"nothing loaded yet": {
			workers.Row{Board: post.Result{Deadline: d, State: post.StateWaiting}}, 181,
			"f01000 deadline 7: Waiting, 0 sectors, 0 of 0 partitions done", "opens in 19",
		},
		"known by its ID alone": {
			workers.Row{Board: post.Result{Deadline: post.Deadline{Miner: 1000, Index: 7}, State: post.StateWaiting}}, 181,
			"f01000 deadline 7: Waiting, 0 sectors, 0 of 0 partitions done", "-",
		},
		"proving": {
			workers.Row{
				Board: post.Result{Deadline: d, State: post.StateProving, Partitions: []post.PartitionResult{{State: post.StateProving, Sectors: 2}}},
				Jobs:  []workers.RunningJob{{Started: true, Progress: post.Progress{Card: "demo/card1", Phase: post.PhaseSnark}}},
			}, 190, "f01000 deadline 7: Proving, 2 sectors, 0 of 1 partitions done  demo/card1 snark", "opens in 10",
		},
		"proven, before it opens": {
			workers.Row{Board: post.Result{Deadline: d, State: post.StateSubmitting, Partitions: []post.PartitionResult{
				{State: post.StateSubmitting, Sectors: 2, Card: "demo/card1"}, {Index: 1, State: post.StateNothing},
			}}}, 190, "f01000 deadline 7: Submitting, 2 sectors, 0 of 1 partitions done  demo/card1", "opens in 10",
		},
		"open": {
			workers.Row{Board: post.Result{Deadline: d, State: post.StateLanded, Partitions: []post.PartitionResult{
				{State: post.StatePosted, Sectors: 2}, {Index: 1, State: post.StateLanded, Sectors: 2},
			}}}, 210, "f01000 deadline 7: Landed, 4 sectors, 1 of 2 partitions done", "50",
		},
		"posted": {
			workers.Row{Board: post.Result{Deadline: d, State: post.StatePosted, Partitions: []post.PartitionResult{{State: post.StatePosted, Sectors: 2}}}},
			230, "f01000 deadline 7: Posted, 2 sectors, 1 of 1 partitions done", "-",
		},
	} {
		t.Run(situation, func(t *testing.T) {
			rows := boardRows([]workers.Row{c.row})
			require.Equal(t, c.line, rows[0].line())
			require.Equal(t, c.left, rows[0].left(c.head))
		})
	}
}

func TestScreenPrintsALinePerChange(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out)
	rows := []boardRow{{deadline: post.Deadline{Miner: 1000, Index: 7}, state: post.StateWaiting}}
	s.show(rows, 10, "")
	s.show(rows, 11, "")
	rows[0].state, rows[0].doing = post.StateProving, []string{"demo/card0 snark"}
	s.show(rows, 12, "")
	require.Equal(t, "epoch 10: f01000 deadline 7: Waiting, 0 sectors, 0 of 0 partitions done\n"+
		"epoch 12: f01000 deadline 7: Proving, 0 sectors, 0 of 0 partitions done  demo/card0 snark\n", out.String())
}

func TestScreenRedrawsOnATerminal(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out)
	s.terminal = true
	rows := []boardRow{{deadline: post.Deadline{Miner: 1000, Index: 7}, state: post.StateWaiting}}
	s.show(rows, 10, "epoch 10")
	lines := strings.Count(out.String(), "\n")
	out.Reset()
	s.show(rows, 11, "epoch 11")
	require.True(t, strings.HasPrefix(out.String(), "\x1b["+string(rune('0'+lines))+"A\x1b[J"), "it goes up over the %d lines it drew", lines)
}

func TestTheBoardFitsTheTerminal(t *testing.T) {
	rows := []boardRow{{deadline: post.Deadline{Miner: 1000, Index: 7}, state: post.StateProving, doing: []string{"demo/card0 snark", "demo/card1 vanilla"}}}
	for line := range strings.SplitSeq(boardTable(rows, 10, 60), "\n") {
		require.LessOrEqual(t, text.StringWidthWithoutEscSequences(line), 60, line)
	}
	require.Contains(t, boardTable(rows, 10, 0), "demo/card1 vanilla")
}

func TestTheDemoSaysWhoProvedWhat(t *testing.T) {
	board := func(partitions ...post.PartitionResult) workers.Row {
		d := post.Deadline{Miner: 1000, Index: 0}
		return workers.Row{WorkflowID: d.WorkflowID(), Board: post.Result{Deadline: d, Partitions: partitions}}
	}
	var r chainReport
	require.NoError(t, json.Unmarshal([]byte(reportJSON("", good+`,{"index":1,"sectors":2,"posted":true,"verified":true,"landed_epoch":106}`)), &r))
	deadlines := r.followed(0, 1)
	before := board(post.PartitionResult{Index: 0, Card: "demo-1/card1"}) // of a run that was terminated
	proven := provenBy([]workers.Row{
		before, board(post.PartitionResult{Index: 0, Card: "demo-1/card0"}, post.PartitionResult{Index: 1, Card: "demo-2/card0"}),
		{WorkflowID: "wdpost-f01001-0-9", Board: post.Result{Partitions: []post.PartitionResult{{Card: "demo-2/card1"}}}}, // not followed
	}, deadlines)
	counts := proven.count([]string{"demo-1/card0", "demo-1/card1", "demo-2/card0"})
	require.Equal(t, map[string]int{"demo-1/card0": 1, "demo-1/card1": 0, "demo-2/card0": 1}, counts)
	require.Equal(t, "demo-1/card0 1, demo-1/card1 0, demo-2/card0 1", proofsText(counts))
	table := resultTable(deadlines, proven)
	require.Contains(t, table, "demo-1/card0")
	require.Contains(t, table, "demo-2/card0")
}

func TestTheDemosConfigurations(t *testing.T) {
	d := &demonstration{demoOptions: demoOptions{dir: t.TempDir(), workers: 2, cards: 3}}
	d.server = temporalReady{Address: "127.0.0.1:7000", Namespace: "default"}
	d.chain = chainReady{FullnodeAPIInfo: "/ip4/127.0.0.1/tcp/1/http", EpochSeconds: 1, Miners: []string{"f01000"}, Stores: []chainStore{{"s", "/mnt/s"}}}
	paths, err := d.writeConfigs()
	require.NoError(t, err)
	require.Len(t, paths, 2)
	require.Equal(t, config.DefaultFile, filepath.Base(paths[0]), "the daemon's, and what the commands find in that folder")
	temporary := map[string]bool{}
	for i, path := range paths {
		c, err := config.Load(path)
		require.NoError(t, err)
		require.Equal(t, []string{"demo-1", "demo-2"}[i], c.Worker.Name)
		require.Len(t, c.Cards, 3)
		for _, card := range c.Cards {
			temporary[card.Envs["TMPDIR"]] = true
		}
	}
	require.Len(t, temporary, 6, "no card shares its folder with another")
	require.Equal(t, []string{"demo-1/card0", "demo-1/card1", "demo-1/card2", "demo-2/card0", "demo-2/card1", "demo-2/card2"}, d.cardNames())
	d.workers = 1
	require.Equal(t, "demo", d.workerName(0))
}

func TestWhyMissed(t *testing.T) {
	row := func(index uint64, partitions ...post.PartitionResult) workers.Row {
		d := post.Deadline{Miner: 1000, Index: index}
		return workers.Row{WorkflowID: d.WorkflowID(), Board: post.Result{Deadline: d, Partitions: partitions}}
	}
	var report chainReport
	require.NoError(t, json.Unmarshal([]byte(reportJSON("", missed, good, missed, missed)), &report))
	why := whyMissed([]workers.Row{
		row(0, post.PartitionResult{Reason: "of a run before"}),
		row(0, post.PartitionResult{Reason: "no time"}),
		row(1, post.PartitionResult{Reason: "posted all the same"}),
		row(2, post.PartitionResult{Waits: "no time"}),
	}, report.Deadlines)
	var out strings.Builder
	why.print(&out)
	require.Equal(t, "f01000/0 partition 0, f01000/2 partition 0: no time\nf01000/3 partition 0: no workflow knew of it\n", out.String())
}
