package prover

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/sealing"
)

// processorUnderTest is RunProcessor with its ends in the test's hands.
type processorUnderTest struct {
	in       *io.PipeWriter
	out      *bufio.Scanner
	log      *bytes.Buffer
	finished chan error
}

func startProcessor(t *testing.T, kind string, opts ProcessorOptions) *processorUnderTest {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &processorUnderTest{in: inW, out: bufio.NewScanner(outR), log: &bytes.Buffer{}, finished: make(chan error, 1)}
	opts.Log = slog.New(slog.NewTextHandler(p.log, nil))
	go func() {
		p.finished <- RunProcessor(t.Context(), kind, inR, outW, opts)
		_ = outW.Close()
	}()
	t.Cleanup(func() { _ = inW.Close(); _ = outR.Close() })
	return p
}

func (p *processorUnderTest) line(t *testing.T) string {
	t.Helper()
	require.True(t, p.out.Scan(), "the processor's output ended")
	return p.out.Text()
}

func (p *processorUnderTest) send(t *testing.T, line string) {
	t.Helper()
	_, err := io.WriteString(p.in, line+"\n")
	require.NoError(t, err)
}

func TestProtocolByteForByte(t *testing.T) {
	p := startProcessor(t, KindWindow, ProcessorOptions{})
	require.Equal(t, "window_post processor ready", p.line(t))
	for _, c := range []struct{ situation, send, want string }{
		{"a task of no sectors", `{"id":1,"task":{"miner_id":1000,"proof_type":"StackedDrgWindow2KiBV1_2","replicas":[],"seed":` + seed + `}}`,
			`{"id":1,"err_msg":"the task for f01000 has no sectors","output":null}`},
		{"garbage before a request without a task", "not JSON\n[1,2]\n{}\n" + `{"id":2}`, `{"id":2,"err_msg":"the request has no task","output":null}`},
		{"a short seed", `{"id":3,"task":{"miner_id":1,"proof_type":"StackedDrgWindow2KiBV1_2","replicas":[],"seed":[1,2]}}`,
			`{"id":3,"err_msg":"reading the task: reading 32 bytes as a list of numbers: there are 2","output":null}`},
		{"an unknown proof type", `{"id":4,"task":{"miner_id":1,"proof_type":"Nonsense","replicas":[],"seed":` + seed + `}}`,
			`{"id":4,"err_msg":"reading the task: proof type \"Nonsense\" is not known; one looks like StackedDrgWindow32GiBV1_2","output":null}`},
		{"a winning type", `{"id":18446744073709551615,"task":{"miner_id":1,"proof_type":"StackedDrgWinning2KiBV1","replicas":[],"seed":` + seed + `}}`,
			`{"id":18446744073709551615,"err_msg":"proof type not supported: StackedDrgWinning2KiBV1 is not a window PoSt type","output":null}`},
		{"all sectors bad", `{"id":5,"task":{"miner_id":1000,"proof_type":"StackedDrgWindow2KiBV1_2","replicas":[` +
			`{"sector_id":9,"comm_r":` + seed + `,"cache_dir":"/nowhere","sealed_file":"/nowhere"},` +
			`{"sector_id":8,"comm_r":` + seed + `,"cache_dir":"/nowhere","sealed_file":"/nowhere"}],"seed":` + seed + `}}`,
			`{"id":5,"err_msg":null,"output":{"proofs":[],"faults":[8,9]}}`},
	} {
		p.send(t, c.send)
		require.Equal(t, c.want, p.line(t), c.situation)
	}
	require.NoError(t, p.in.Close())
	require.NoError(t, <-p.finished, "the end of stdin ends the processor")
	require.Equal(t, 3, strings.Count(p.log.String(), "not a task"))
}

// seed is 32 numbers.
const seed = `[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32]`

func TestRequestAsDamoclesWritesIt(t *testing.T) {
	task := Task{MinerID: 1000, ProofType: ProofType(abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1),
		Replicas: []Replica{{SectorID: 7, CacheDir: "/c", SealedFile: "/s"}}}
	data, err := json.Marshal(task)
	require.NoError(t, err)
	zeros := "[" + strings.TrimSuffix(strings.Repeat("0,", 32), ",") + "]"
	require.Equal(t, `{"miner_id":1000,"proof_type":"StackedDrgWindow32GiBV1_2","replicas":[{"sector_id":7,"comm_r":`+zeros+
		`,"cache_dir":"/c","sealed_file":"/s"}],"seed":`+zeros+`}`, string(data))
	var back Task
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, task, back)
	for _, bad := range []string{`[256]`, `"AAAA"`, `[-1]`, `null`, `[1.5]`, strings.Replace(zeros, "0", "256", 1)} {
		var b Bytes32
		require.Error(t, json.Unmarshal([]byte(bad), &b), bad)
	}
}

func TestProofTypeNames(t *testing.T) {
	for value, name := range proofNames {
		text, err := ProofType(value).MarshalText()
		require.NoError(t, err)
		require.Equal(t, name, string(text))
		var back ProofType
		require.NoError(t, back.UnmarshalText(text))
		require.EqualValues(t, value, back)
	}
	require.Len(t, proofNames, 15)
	_, err := ProofType(-1).MarshalText()
	require.Error(t, err)
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	// The first task's only sector is behind a pipe that nobody writes to: reading it hangs.
	fifo := filepath.Join(t.TempDir(), "p_aux")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	p := startProcessor(t, KindWindow, ProcessorOptions{Reading: Reading{Limit: 500 * time.Millisecond}})
	p.line(t)
	task := `{"id":%d,"task":{"miner_id":1,"proof_type":"StackedDrgWindow2KiBV1_2","replicas":[{"sector_id":9,"comm_r":` + seed + `,"cache_dir":%q,"sealed_file":"/x"}],"seed":` + seed + `}}`
	p.send(t, fmt.Sprintf(task, 1, filepath.Dir(fifo)))
	p.send(t, fmt.Sprintf(task, 2, "/nowhere"))
	require.Equal(t, `{"id":2,"err_msg":null,"output":{"proofs":[],"faults":[9]}}`, p.line(t))
	require.Equal(t, `{"id":1,"err_msg":null,"output":{"proofs":[],"faults":[9]}}`, p.line(t))
}

func TestEndOfStdinDoesNotWaitForTasks(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "p_aux")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	p := startProcessor(t, KindWindow, ProcessorOptions{})
	p.line(t)
	p.send(t, fmt.Sprintf(`{"id":1,"task":{"miner_id":1,"proof_type":"StackedDrgWindow2KiBV1_2","replicas":[{"sector_id":9,"comm_r":%s,"cache_dir":%q,"sealed_file":"/x"}],"seed":%s}}`, seed, filepath.Dir(fifo), seed))
	require.NoError(t, p.in.Close())
	select {
	case err := <-p.finished:
		require.NoError(t, err)
	case <-time.After(5 * time.Second):
		t.Fatal("the processor waits for a task whose answer nobody wants")
	}
}

func TestWinningProcessor(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 1)
	task.ProofType = ProofType(abi.RegisteredPoStProof_StackedDrgWinning2KiBV1)
	p := startProcessor(t, KindWinning, ProcessorOptions{})
	require.Equal(t, "winning_post processor ready", p.line(t))
	data, err := json.Marshal(task)
	require.NoError(t, err)
	p.send(t, fmt.Sprintf(`{"id":1,"task":%s}`, data))
	answer := p.line(t)
	var r response
	require.NoError(t, json.Unmarshal([]byte(answer), &r))
	require.Nil(t, r.ErrMsg)
	require.Len(t, r.Output.Proofs, 1)
	require.NotContains(t, answer, "faults", "a winning answer has no faults")
	require.True(t, verifiesWinning(t, task, r.Output.Proofs[0]))

	p.send(t, `{"id":2,"task":{"miner_id":1000,"proof_type":"StackedDrgWindow2KiBV1_2","replicas":[],"seed":`+seed+`}}`)
	require.Equal(t, `{"id":2,"err_msg":"proof type not supported: StackedDrgWindow2KiBV1_2 is not a winning PoSt type","output":null}`, p.line(t))
}

func TestUnknownProcessor(t *testing.T) {
	err := RunProcessor(t.Context(), "snap", strings.NewReader(""), io.Discard, ProcessorOptions{})
	require.ErrorContains(t, err, `processor "snap" is not known; there are window_post and winning_post`)
}

// TestUnderDamocles runs a real child as damocles does: no progress pipe, and stdout that must hold protocol and nothing else.
func TestUnderDamocles(t *testing.T) {
	needParameters(t)
	dir, _, task := sealed(t, 2)
	require.NoError(t, sealing.Delete(dir, miner, 1))
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childEnv+"=real", "RUST_LOG=info", "STRAY_OUTPUT=yes")
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	require.Equal(t, "window_post processor ready", lines.Text())

	ask := func(id int, task Task) response {
		data, err := json.Marshal(task)
		require.NoError(t, err)
		_, err = fmt.Fprintf(stdin, `{"id":%d,"task":%s}`+"\n", id, data)
		require.NoError(t, err)
		require.True(t, lines.Scan())
		var r response
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r), lines.Text())
		require.EqualValues(t, id, *r.ID)
		require.Nil(t, r.ErrMsg)
		return r
	}
	first := ask(1, task)
	assert.Empty(t, first.Output.Proofs, "bad sectors come without a proof")
	assert.Equal(t, []uint64{1}, *first.Output.Faults)
	task.Replicas = task.Replicas[1:]
	second := ask(2, task)
	require.Len(t, second.Output.Proofs, 1)
	require.Empty(t, *second.Output.Faults)
	require.True(t, verifies(t, task, nil, second.Output.Proofs[0]))

	require.NoError(t, stdin.Close())
	require.False(t, lines.Scan(), "nothing more on stdout")
	require.NoError(t, command.Wait())
}

func TestProgressLines(t *testing.T) {
	var out bytes.Buffer
	w := newProgressWriter(&out)
	w.phase(1, post.PhaseVanilla, 4)
	w.sector(1, 1, 4, nil)
	w.sector(1, 2, 4, nil) // too soon after the first
	w.sector(1, 3, 4, &post.Skipped{Sector: 7, Reason: "gone"})
	w.sector(1, 4, 4, nil)
	w.end(1, fmt.Errorf("x: %w", ErrParameters))
	require.Equal(t, `{"id":1,"phase":"vanilla","of":4}
{"id":1,"phase":"vanilla","done":1,"of":4}
{"id":1,"phase":"vanilla","done":3,"of":4,"bad":{"sector":7,"reason":"gone"}}
{"id":1,"phase":"vanilla","done":4,"of":4}
{"id":1,"end":true,"kind":"parameters"}
`, out.String())
	var none *progressWriter
	none.phase(1, post.PhaseSnark, 1)
	none.end(1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out.Reset()
	w.tick(ctx)
	require.Equal(t, "{}\n", out.String(), "a sign of life")
}
