package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/workflows"
)

// wrong is a worker that somebody has set up wrongly.
type wrong struct {
	what   string
	set    func(r *rig.Rig)
	reason []string // of the partition: all of these
	log    []string // in one line of the process's log: all of these
	waits  []string // instead: what the job waits for, at no cost
}

// Each way to set a machine up wrongly ends in a reason that names the thing; the same partition is then proven by a machine
// that is set up right.
func TestWrongSetups(t *testing.T) {
	t.Parallel()
	ctx := within(t, 5*time.Minute)
	r := rig.New(t, rig.Options{
		// One deadline, open for long enough to try them all on a busy machine.
		Chain:  []string{"--miners", "1", "--epoch", "500ms", "--window", "550", "--lookback", "20", "--fault-cutoff", "25", "--deadlines", "2", "--start-epoch", "2000", "--wide-every", "0"},
		Policy: []string{"max_try = 1", "retry_until_close = false"},
		Idle:   true,
	})
	right := r.Config.Clone()
	wrongDaemon(ctx, t, r)
	r.Config = right.Clone()
	require.NoError(t, r.Daemon.Restart(ctx))
	for _, c := range wrongSetups(t, r) {
		t.Run(c.what, func(t *testing.T) { c.check(ctx, t, r, right) })
	}
	r.Config = right.Clone()
	require.NoError(t, r.Worker.Restart(ctx))
	again(ctx, t, r)
	row := waitBoard(ctx, t, r, "f01000", 0, "posted", func(row boardRow) bool {
		return row.Board.State == post.StateLanded || row.Board.State == post.StatePosted
	})
	assert.Equal(t, 1, row.Board.Partitions[0].Tries)
	report, err := r.Report(ctx)
	require.NoError(t, err)
	assert.True(t, report.Deadlines[0].Partitions[0].Verified)
	assert.NotContains(t, r.Daemon.ReadLog(), before(right.APIInfo, ":"), "a token must not be logged")
}

// wrongDaemon starts a daemon with everything wrong: a token that the node does not know, a store that is not mounted, one that
// is empty, and no Temporal.
func wrongDaemon(ctx context.Context, t *testing.T, r *rig.Rig) {
	const secret = "nobody-may-see-this"
	token := before(r.Config.APIInfo, ":")
	r.Config.APIInfo = "eyJhbGciOiJIUzI1NiJ9." + secret + ".AAAA:" + after(r.Config.APIInfo, ":")
	empty := filepath.Join(r.Dir, "empty at the daemon")
	require.NoError(t, os.Mkdir(empty, 0o755))
	r.Config.Stores = []rig.Store{{Name: "gone", Path: filepath.Join(r.Dir, "nowhere")}, {Name: "blank", Path: empty}}
	r.Temporal.Kill()
	require.NoError(t, r.Daemon.Start(ctx))
	says(ctx, t, r.Daemon, "a store is in trouble", "nowhere", "is it mounted?")
	says(ctx, t, r.Daemon, "a store is in trouble", empty, "is it empty or not mounted?")
	says(ctx, t, r.Daemon, "the Temporal server at "+r.Address(), "does not answer", "temporal.address")
	says(ctx, t, r.Daemon, "the node's token", "AuthVerify")
	require.NoError(t, r.Temporal.Start(ctx))
	says(ctx, t, r.Daemon, "the Temporal server at "+r.Address(), "it works now")
	assert.NotContains(t, r.Daemon.ReadLog(), secret, "a token must not be logged, wrong or not")
	assert.NotContains(t, r.Daemon.ReadLog(), token)
}

func wrongSetups(t *testing.T, r *rig.Rig) []wrong {
	parameters := os.Getenv("FIL_PROOFS_PARAMETER_CACHE")
	none := filepath.Join(r.Dir, "no-parameters")
	cut := copyOf(t, parameters, filepath.Join(r.Dir, "cut-parameters"))
	for _, file := range match(t, cut, "*fallback*.params") {
		require.NoError(t, os.Truncate(file, 1000))
	}
	cards := func(script string) func(*rig.Rig) {
		return func(r *rig.Rig) {
			r.Config.Workers[0].Cards = []rig.Card{{Name: "card0", Bin: "/bin/sh", Args: []string{"-c", script}, ReadyTimeout: time.Second}}
		}
	}
	noCard, noStore := []string{"worker rig has no card that starts"}, []string{`no worker can read store "devnet-f01000"`}
	return []wrong{
		{what: "parameters missing", set: func(r *rig.Rig) { r.Config.Env = []string{"FIL_PROOFS_PARAMETER_CACHE=" + none} },
			reason: []string{"SetupWrong", none, "does not exist", "FIL_PROOFS_PARAMETER_CACHE"}, log: []string{"no parameters", none}},
		{what: "parameters cut short", set: func(r *rig.Rig) { r.Config.Env = []string{"FIL_PROOFS_PARAMETER_CACHE=" + cut} },
			reason: []string{"SetupWrong", cut, "cut short"}, log: []string{"no parameters"}},
		{what: "a card that dies at start", set: cards("echo no GPU here >&2; exit 3"),
			waits: noCard, log: []string{"card0", "exit status 3", "no GPU here"}},
		{what: "a card that hangs before it is ready", set: cards("sleep 1000"),
			waits: noCard, log: []string{"card0", "did not print", "within 1s"}},
		{what: "a card that prints garbage instead of its ready line", set: cards("echo CUDA version 12; sleep 1000"),
			waits: noCard, log: []string{"card0", "CUDA version 12"}},
		{what: "a card that dies on every task", set: cards("echo window_post processor ready; read task; echo out of memory >&2; exit 9"),
			reason: []string{"CardDied", "card0", "out of memory"}, log: []string{"card0", "exit status 9"}},
		{what: "a card that refuses every task", set: cards(`echo window_post processor ready; while read task; do echo '{"id":1,"err_msg":"no such proof type","output":null}'; done`),
			reason: []string{"ProveFailed", "card0", "no such proof type"}, log: []string{"card0", "no such proof type"}},
		{what: "a store that the worker does not have", set: func(r *rig.Rig) { r.Config.Workers[0].Attached[0].Name = "another" },
			waits: noStore},
		{what: "a store that is not mounted at the worker", set: func(r *rig.Rig) { r.Config.Workers[0].Attached[0].Path = filepath.Join(r.Dir, "nowhere") },
			waits: noStore, log: []string{"a store is in trouble", "nowhere", "is it mounted?"}},
		{what: "an empty store at the worker", set: func(r *rig.Rig) {
			r.Config.Workers[0].Attached[0].Path = filepath.Join(r.Dir, "empty")
			require.NoError(t, os.Mkdir(r.Config.Workers[0].Attached[0].Path, 0o755))
		}, waits: noStore, log: []string{"a store is in trouble", "is it empty or not mounted?"}},
	}
}

// check has the deadline's partition run on a worker that is set up so.
func (c wrong) check(ctx context.Context, t *testing.T, r *rig.Rig, right rig.Config) {
	r.Config = right.Clone()
	c.set(r)
	require.NoError(t, r.Worker.Restart(ctx))
	again(ctx, t, r)
	var reason string
	waitBoard(ctx, t, r, "f01000", 0, c.what, func(row boardRow) bool {
		if len(row.Board.Partitions) == 0 {
			return false
		}
		p := row.Board.Partitions[0]
		if reason = p.Reason; len(c.waits) > 0 {
			reason = p.Waits
			return containsAll(p.Waits, c.waits)
		}
		return containsAll(reason, c.reason) && p.State == post.StateFailed
	})
	t.Log(reason)
	if len(c.log) > 0 {
		says(ctx, t, r.Worker, c.log...)
	}
}

// again resets the deadline's partition, if it has failed before.
func again(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	row := waitBoard(ctx, t, r, "f01000", 0, "proving or failed", func(row boardRow) bool {
		return row.Board.State == post.StateProving || row.Board.State == post.StateFailed
	})
	if row.Board.Partitions[0].Reason == "" {
		return
	}
	handle, err := r.Client().UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: row.WorkflowID, UpdateName: workflows.UpdateReset, Args: []any{workflows.ResetJobs{Partitions: []uint64{0}}},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	require.NoError(t, err)
	require.NoError(t, handle.Get(ctx, nil))
}

// says waits until one line of a program's log holds all of the texts.
func says(ctx context.Context, t *testing.T, p *rig.Process, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	eventually(ctx, t, p.Name+" logs "+strings.Join(texts, " … "), func() bool {
		for line := range strings.Lines(p.ReadLog()) {
			if containsAll(line, texts) {
				return true
			}
		}
		return false
	})
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func before(text, separator string) string { head, _, _ := strings.Cut(text, separator); return head }
func after(text, separator string) string  { _, tail, _ := strings.Cut(text, separator); return tail }

// copyOf copies a folder's files.
func copyOf(t *testing.T, from, to string) string {
	t.Helper()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

func match(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, pattern)
	return files
}
