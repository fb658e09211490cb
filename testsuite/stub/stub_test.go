package stub

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// talk runs a stub and gives what stands in for its stdin and the lines of its stdout.
func talk(t *testing.T, o Options) (ask func(string), lines <-chan string) {
	t.Helper()
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	said := make(chan string, 100)
	ended := make(chan error, 1)
	go func() { ended <- Run(context.Background(), in, out, o); _ = out.Close() }()
	go func() {
		defer close(said)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			said <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		assert.NoError(t, <-ended, "the end of stdin is the end of the stub")
	})
	return func(text string) { _, err := io.WriteString(stdin, text+"\n"); require.NoError(t, err) }, said
}

func window(id int, miner uint64, sectors ...uint64) string {
	replicas := make([]string, len(sectors))
	for i, n := range sectors {
		replicas[i] = fmt.Sprintf(`{"sector_id":%d,"comm_r":[],"cache_dir":"","sealed_file":""}`, n)
	}
	seed := strings.TrimSuffix(strings.Repeat("7,", 32), ",")
	return fmt.Sprintf(`{"id":%d,"task":{"miner_id":%d,"proof_type":"StackedDrgWindow2KiBV1_2","replicas":[%s],"seed":[%s]}}`, id, miner, strings.Join(replicas, ","), seed)
}

func seed() []byte { return []byte(strings.Repeat("\a", 32)) }

func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, Key(1000, seed(), []uint64{2, 1})+".proof"), []byte("proof"), 0o600))
	proof := base64.StdEncoding.EncodeToString([]byte("proof"))
	for _, tc := range []struct {
		name string
		mode Mode
		ask  string
		want []string
	}{
		{"the proof that was made for the task", OK, window(1, 1000, 1, 2), []string{`{"id":1,"err_msg":null,"output":{"proofs":["` + proof + `"]}}`}},
		{"nobody made a proof for it", OK, window(5, 1001, 1, 2), []string{`{"id":5,"err_msg":"no proof was made for miner 1001, sectors [1 2]`}},
		{"a false proof is another one", False, window(1, 1000, 1, 2), []string{`{"id":1,"err_msg":null,"output":{"proofs":["JSc6OjM="]}}`}},
		{"a refusal", Err, window(2, 1000, 1, 2), []string{`{"id":2,"err_msg":"no such proof type, says a test","output":null}`}},
		{"a bad sector comes without a proof", Faults, window(3, 1000, 1, 2), []string{`{"id":3,"err_msg":null,"output":{"proofs":[],"faults":[1]}}`}},
		{"garbage before the answer", Garbage, window(4, 1000, 1, 2), []string{"nvrtc", `{"id":987654321`, `{"output"`, `{"id":4,"err_msg":null,"output":{"proofs":["` + proof + `"]}}`}},
		{"leaving the GPU says so in the log only", Fallback, window(4, 1000, 1, 2), []string{`{"id":4,"err_msg":null,"output":{"proofs":["` + proof + `"]}}`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log strings.Builder
			ask, lines := talk(t, Options{Proof: dir, Mode: tc.mode, Log: &log})
			require.Equal(t, "window_post processor ready", <-lines)
			ask("not a task")
			ask(tc.ask)
			for _, want := range tc.want {
				line := <-lines
				assert.True(t, strings.HasPrefix(line, want), "%s instead of %s", line, want)
			}
			if tc.mode == Fallback {
				assert.Contains(t, log.String(), "Falling back to CPU")
			}
		})
	}
}

// A record tells of every task with its surroundings, and a mode file changes how the next one ends.
func TestRecordAndModeFile(t *testing.T) {
	t.Setenv("CUDA_VISIBLE_DEVICES", "3")
	t.Setenv("TMPDIR", t.TempDir())
	record, mode := filepath.Join(t.TempDir(), "record"), filepath.Join(t.TempDir(), "mode")
	died := make(chan int, 1)
	ask, lines := talk(t, Options{Kind: "winning_post", Record: record, ModeFile: mode, Sleep: 20 * time.Millisecond, Exit: func(code int) { died <- code }})
	require.Equal(t, "winning_post processor ready", <-lines)
	ask(window(1, 1000, 1, 2))
	<-lines
	require.NoError(t, os.WriteFile(mode, []byte("crash\n"), 0o600))
	ask(window(2, 1000, 1, 2))
	assert.NotZero(t, <-died)

	events, err := Events(record)
	require.NoError(t, err)
	var told []string
	for _, e := range events {
		told = append(told, strings.TrimSpace(e.Event+" "+e.Phase+string(e.Outcome)))
		assert.Equal(t, "3", e.CUDA)
		assert.Equal(t, os.Getenv("TMPDIR"), e.TempDir)
		assert.NotEmpty(t, e.CPUs)
		assert.Equal(t, os.Getpid(), e.PID)
	}
	assert.Equal(t, []string{"ready", "start", "phase vanilla", "phase snark", "end ok", "start", "phase vanilla", "phase snark", "end crash"}, told)
	assert.Equal(t, Key(1000, seed(), []uint64{1, 2}), events[1].Job)
	none, err := Events(record + "-of-nobody")
	require.NoError(t, err)
	assert.Empty(t, none)
}

// Tasks run beside each other, and a hung one answers nobody.
func TestBesideEachOther(t *testing.T) {
	mode := filepath.Join(t.TempDir(), "mode")
	var progress lockedBuilder
	ask, lines := talk(t, Options{ModeFile: mode, Sleep: 50 * time.Millisecond, Progress: &progress, Device: "H200"})
	<-lines
	ask(window(1, 1000, 1))
	ask(window(2, 1000, 2))
	var r struct{ ID int }
	seen := map[int]bool{}
	for range 2 {
		require.NoError(t, json.Unmarshal([]byte(<-lines), &r))
		seen[r.ID] = true
	}
	assert.Len(t, seen, 2)
	assert.Contains(t, progress.String(), `"phase":"snark"`)
	assert.Contains(t, progress.String(), `"end":true`)
}

// lockedBuilder is a strings.Builder for several goroutines; the stub writes under a lock of its own, which the test does not hold.
type lockedBuilder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
