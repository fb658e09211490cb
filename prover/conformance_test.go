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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// damocles's line protocol, byte for byte: first with our parent and a foreign child, which is a shell script that knows nothing of us,
// then with our child and a foreign parent.

// scriptedCard prints the file "start" of its folder, then for its Nth line on stdin the file N, of which @ID@ is the line's id, and writes every
// line down in "asked". Other files are commands to run at that point: "start.sh", "N.sh".
const scriptedCard = `#!/bin/sh
cd "$FOLDER" || exit 1
cat start
test -f start.sh && . ./start.sh
n=0
while IFS= read -r line; do
  printf '%s\n' "$line" >>asked
  n=$((n+1))
  id=${line#*:}; id=${id%%,*}
  test -f $n && sed "s/@ID@/$id/g" $n
  test -f $n.sh && . ./$n.sh
done
echo EOF >>asked
`

// scripted is a card that plays the files. Without a "start" it is ready at once.
func scripted(t *testing.T, files map[string]string) (CardConfig, string) {
	t.Helper()
	folder := t.TempDir()
	script := filepath.Join(folder, "card.sh")
	require.NoError(t, os.WriteFile(script, []byte(scriptedCard), 0o755))
	if _, ok := files["start"]; !ok {
		files["start"] = "window_post processor ready\n"
	}
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	return CardConfig{Name: "script", Bin: script, Args: []string{}, Envs: map[string]string{"FOLDER": folder}, NoRestart: true}, folder
}

// askedOf are the lines that a scripted card has read.
func askedOf(t *testing.T, folder string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "asked"))
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// zeros are 32 of them, as in JSON.
var zeros = "[" + strings.Repeat("0,", 31) + "0]"

func answerOf(proof string) string {
	return `{"id":@ID@,"err_msg":null,"output":{"proofs":["` + proof + `"],"faults":[]}}` + "\n"
}

const goodProof = "cHJvb2Y=" // "proof"

func TestTheRequestByteForByte(t *testing.T) {
	config, folder := scripted(t, map[string]string{
		"1": `{"id":@ID@,"err_msg":null,"output":{"proofs":[],"faults":[7]}}` + "\n",
		"2": answerOf(goodProof), "3": answerOf(goodProof),
	})
	pool := startPool(t, PoolOptions{}, config)
	task := Task{MinerID: 1000, ProofType: ProofType(abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1), Replicas: []Replica{
		{SectorID: 8, CommR: Bytes32{0: 255, 31: 1}, CacheDir: "/mnt/store 1/cache/s-t01000-8", SealedFile: "/mnt/store 1/sealed/s-t01000-8"},
		{SectorID: 7, CacheDir: `/c/"ü"`, SealedFile: "/s"},
	}, Seed: Bytes32{0: 9, 30: 254}}
	for range 2 {
		_, err := pool.Prove(t.Context(), task, nil, nil)
		require.NoError(t, err)
	}
	seven := `{"sector_id":7,"comm_r":` + zeros + `,"cache_dir":"/c/\"ü\"","sealed_file":"/s"}`
	eight := `{"sector_id":8,"comm_r":[255,` + strings.Repeat("0,", 30) + `1],"cache_dir":"/mnt/store 1/cache/s-t01000-8","sealed_file":"/mnt/store 1/sealed/s-t01000-8"}`
	request := func(id int, replicas string) string {
		return fmt.Sprintf(`{"id":%d,"task":{"miner_id":1000,"proof_type":"StackedDrgWindow32GiBV1_2","replicas":[%s],"seed":[9,%s254,0]}}`, id, replicas, strings.Repeat("0,", 29))
	}
	require.Equal(t, []string{request(1, seven+","+eight), request(2, eight), request(3, seven+","+eight)}, askedOf(t, folder),
		"one line each, sectors ascending, once more without those that it calls bad")
}

func TestTheWinningRequestByteForByte(t *testing.T) {
	config, folder := scripted(t, map[string]string{"start": "winning_post processor ready\n", "1": `{"id":@ID@,"err_msg":null,"output":{"proofs":["` + goodProof + `"]}}` + "\n"})
	agree := func(context.Context, abi.ActorID, abi.RegisteredPoStProof, []byte, post.Sectors, [][]byte) (bool, error) {
		return true, nil
	}
	pool := startPool(t, PoolOptions{Kind: KindWinning, VerifyWinning: agree}, config)
	task := fakeTask(5)
	task.ProofType = ProofType(abi.RegisteredPoStProof_StackedDrgWinning32GiBV1)
	result, err := pool.ProveWinning(t.Context(), task, nil)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("proof")}, result.Proofs)
	require.Equal(t, []string{`{"id":1,"task":{"miner_id":1000,"proof_type":"StackedDrgWinning32GiBV1","replicas":[{"sector_id":5,"comm_r":[5,` +
		strings.Repeat("0,", 30) + `0],"cache_dir":"","sealed_file":""}],"seed":` + zeros + `}}`}, askedOf(t, folder))
}

// In each situation a task of the sectors 1 and 2 is asked for.
func TestWhatAForeignProgramMaySay(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		err   error  // of the job; nil: a proof
		text  string // of the error
		bad   []abi.SectorNumber
	}{
		"a proof":                   {files: map[string]string{"1": answerOf(goodProof)}},
		"the ready line of Windows": {files: map[string]string{"start": "window_post processor ready\r\n", "1": strings.ReplaceAll(answerOf(goodProof), "\n", "\r\n")}},
		"noise before the ready line": {files: map[string]string{"1": answerOf(goodProof),
			"start": "CUDA 12\n\n{\"id\":1}\nwindow_post processor ready!\n window_post processor ready\nwinning_post processor ready\nwindow_post processor ready\n"}},
		"the ready line twice":       {files: map[string]string{"start": strings.Repeat("window_post processor ready\n", 2), "1": answerOf(goodProof)}},
		"garbage around the answer":  {files: map[string]string{"1": "not JSON\n\n[1]\n{}\n\"x\"\n\x00\xff\n{\"id\":null}\n{\"id\":\"1\"}\n{\"id\":-1}\n" + answerOf(goodProof) + "garbage\n"}},
		"an id that nobody asked":    {files: map[string]string{"1": `{"id":99,"err_msg":"x","output":null}` + "\n" + answerOf(goodProof)}},
		"an id twice: the first":     {files: map[string]string{"1": answerOf(goodProof) + `{"id":@ID@,"err_msg":"x","output":null}` + "\n"}},
		"fields in another order":    {files: map[string]string{"1": `{ "output": {"faults": [], "proofs": ["` + goodProof + `"]}, "more": 1, "id": @ID@ }` + "\n"}},
		"no faults, as for winning":  {files: map[string]string{"1": `{"id":@ID@,"err_msg":null,"output":{"proofs":["` + goodProof + `"]}}` + "\n"}},
		"a garbage line of a MiB":    {files: map[string]string{"1": strings.Repeat("x", 1<<20) + "\n" + answerOf(goodProof)}},
		"the answer in two writes":   {files: map[string]string{"1.sh": `printf '{"id":%s,"err_msg":null,' "$id"; sleep 0.1; echo '"output":{"proofs":["` + goodProof + `"],"faults":[]}}'`}},
		"an answer and then its end": {files: map[string]string{"1": answerOf(goodProof), "1.sh": "exit 0"}},
		"faults, then a proof": {files: map[string]string{"1": `{"id":@ID@,"err_msg":null,"output":{"proofs":[],"faults":[2]}}` + "\n", "2": answerOf(goodProof)},
			bad: []abi.SectorNumber{2}},
		"a proof and faults": {files: map[string]string{"1": `{"id":@ID@,"err_msg":null,"output":{"proofs":["` + goodProof + `"],"faults":[2,2]}}` + "\n"},
			bad: []abi.SectorNumber{2}},
		"all are faults": {files: map[string]string{"1": `{"id":@ID@,"err_msg":null,"output":{"proofs":[],"faults":[1,2]}}` + "\n"}, err: ErrAllBad},
		"an err_msg":     {files: map[string]string{"1": `{"id":@ID@,"err_msg":"out of luck","output":null}` + "\n"}, err: ErrTask, text: "out of luck"},
		"an err_msg and an output": {files: map[string]string{"1": `{"id":@ID@,"err_msg":"out of luck","output":{"proofs":["` + goodProof + `"],"faults":[]}}` + "\n"},
			err: ErrTask, text: "out of luck"},
		"no output":                  {files: map[string]string{"1": `{"id":@ID@,"err_msg":null,"output":null}` + "\n"}, err: ErrTask, text: "neither an output nor an err_msg"},
		"neither output nor err_msg": {files: map[string]string{"1": `{"id":@ID@}` + "\n"}, err: ErrTask},
		"a proof that is no base64":  {files: map[string]string{"1": answerOf("***"), "1.sh": "exit 5"}, err: ErrCardCrashed, text: "exit status 5"},
		"its end in the middle":      {files: map[string]string{"1.sh": "echo 'no memory' >&2; exit 9"}, err: ErrCardCrashed, text: "exit status 9; its last log lines: no memory"},
		"its end, told in colours": {files: map[string]string{"1.sh": `printf '\033[1;31mno\033[0m me\033[2Jmory\007\n' >&2; exit 9`}, err: ErrCardCrashed,
			text: "exit status 9; its last log lines: no memory "},
		"its end with half an answer":   {files: map[string]string{"1.sh": `printf '{"id":1,"err'; exit 0`}, err: ErrCardCrashed, text: "exit status 0"},
		"its stdout closed, and no end": {files: map[string]string{"1.sh": "exec >&-; sleep 1000"}, err: ErrCardCrashed, text: "closed its stdout"},
		"a line without an end":         {files: map[string]string{"1.sh": `yes | tr -d '\n'`}, err: ErrCardCrashed},
		"never ready":                   {files: map[string]string{"start": "window_post processor is coming\n", "start.sh": "exit 0"}, err: ErrNoCard},
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := scripted(t, c.files)
			quiet := slog.New(slog.DiscardHandler)
			result, err := startPool(t, PoolOptions{Log: quiet}, config).Prove(t.Context(), fakeTask(1, 2), nil, nil)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				require.ErrorContains(t, err, c.text)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "proof", string(result.Proof))
			var bad []abi.SectorNumber
			for _, s := range result.Skipped {
				bad = append(bad, s.Sector)
			}
			require.Equal(t, c.bad, bad)
		})
	}
}

// The program answers its second task first.
func TestAnswersOfAForeignProgramComeInAnyOrder(t *testing.T) {
	config, folder := scripted(t, map[string]string{"1.sh": "first=$id",
		"2.sh": `for i in $id $first; do echo "{\"id\":$i,\"err_msg\":null,\"output\":{\"proofs\":[],\"faults\":[$i]}}"; done`})
	config.Concurrent = 2
	pool := startPool(t, PoolOptions{}, config)
	var mu sync.Mutex
	bad := map[uint64]error{} // by miner
	var wg sync.WaitGroup
	for m := range uint64(2) {
		wg.Go(func() {
			// Of both sectors one is called bad, by the id of the request; the second request of each then never ends.
			task := fakeTask(1)
			task.MinerID, task.Replicas[0].SectorID = m, m+1
			_, err := pool.Prove(t.Context(), task, nil, nil)
			mu.Lock()
			defer mu.Unlock()
			bad[m] = err
		})
		require.Eventually(t, func() bool {
			text, _ := os.ReadFile(filepath.Join(folder, "asked"))
			return bytes.Count(text, []byte("\n")) == int(m)+1
		}, 10*time.Second, time.Millisecond)
	}
	wg.Wait()
	for m, err := range bad {
		require.ErrorIs(t, err, ErrAllBad, m)
		require.ErrorContains(t, err, fmt.Sprintf("none of the 1 sectors of f0%d can be proven: sector %d", m, m+1))
	}
}

func TestGarbageForEverDoesNotFillTheLog(t *testing.T) {
	config, _ := scripted(t, map[string]string{"start.sh": "seq 20000", "1": answerOf(goodProof)})
	var log bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	pool := startPool(t, PoolOptions{Log: logger}, config)
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, grumbles, strings.Count(log.String(), "\n"), log.String())

	log.Reset()
	g := grumbler{log: logger}
	mu.Unlock()
	for range 100 {
		g.line("nonsense")
	}
	g.last = g.last.Add(-grumbleEvery)
	g.line("nonsense")
	g.line("nonsense")
	g.flush()
	mu.Lock()
	require.Equal(t, grumbles, strings.Count(log.String(), "msg=nonsense"))
	require.Contains(t, log.String(), "lines=96")
	require.Contains(t, log.String(), "lines=1 ")
}

type lockedWriter struct {
	mu  *sync.Mutex
	out io.Writer
}

func (w lockedWriter) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(text)
}

// foreignParent starts our processor as damocles does: with none of our variables.
type foreignParent struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func newForeignParent(t *testing.T, kind string) *foreignParent {
	t.Helper()
	p := &foreignParent{cmd: exec.CommandContext(t.Context(), os.Args[0], "processor", kind)}
	p.cmd.Env = append(os.Environ(), childEnv+"=real", "RUST_LOG=debug", "STRAY_OUTPUT=yes")
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.lines = bufio.NewScanner(stdout)
	require.NoError(t, p.cmd.Start())
	require.Equal(t, kind+" processor ready", p.line(t))
	return p
}

func (p *foreignParent) line(t *testing.T) string {
	t.Helper()
	require.True(t, p.lines.Scan(), "its stdout ended")
	return p.lines.Text()
}

func (p *foreignParent) send(t *testing.T, text string) {
	t.Helper()
	_, err := io.WriteString(p.stdin, text)
	require.NoError(t, err)
}

// end closes the child's stdin, which must end it without another word on stdout.
func (p *foreignParent) end(t *testing.T) {
	t.Helper()
	require.NoError(t, p.stdin.Close())
	require.False(t, p.lines.Scan(), "more on stdout: %s", p.lines.Text())
	require.NoError(t, p.cmd.Wait())
}

func asJSON(t *testing.T, task Task) string {
	t.Helper()
	text, err := json.Marshal(task)
	require.NoError(t, err)
	return string(text)
}

// aProof is one in base64: 192 bytes.
const aProof = `"[A-Za-z0-9+/]{256}"`

func TestOurProcessorUnderAForeignParent(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 2)
	p := newForeignParent(t, KindWindow)
	missing := fakeTask(3, 4)
	p.send(t, "garbage\n\n{}\n[]\n"+`{"id":"x"}`+"\n"+`{"id":1,"task":null}`+"\r\n")
	require.Equal(t, `{"id":1,"err_msg":"the request has no task","output":null}`, p.line(t))
	p.send(t, fmt.Sprintf(`{"task":%s,"id":2,"unknown":true}`, asJSON(t, missing))+"\n")
	require.Equal(t, `{"id":2,"err_msg":null,"output":{"proofs":[],"faults":[3,4]}}`, p.line(t))
	empty := fakeTask()
	p.send(t, fmt.Sprintf(`{"id":3,"task":%s}`, strings.Replace(asJSON(t, empty), "null", "[]", 1))+"\n")
	require.Equal(t, `{"id":3,"err_msg":"the task for f01000 has no sectors","output":null}`, p.line(t))

	// Some good, some bad: the bad ones and no proof, as damocles wants it.
	mixed := task
	mixed.Replicas = append(slices.Clone(task.Replicas), missing.Replicas...)
	p.send(t, fmt.Sprintf(`{"id":4,"task":%s}`, asJSON(t, mixed))+"\n")
	require.Equal(t, `{"id":4,"err_msg":null,"output":{"proofs":[],"faults":[3,4]}}`, p.line(t))

	// Several at once, in one write; the one that has nothing to compute is ready first.
	p.send(t, fmt.Sprintf(`{"id":5,"task":%[1]s}`+"\n"+`{"id":6,"task":%[1]s}`+"\n"+`{"id":7,"task":%[2]s}`+"\n", asJSON(t, task), asJSON(t, missing)))
	require.Equal(t, `{"id":7,"err_msg":null,"output":{"proofs":[],"faults":[3,4]}}`, p.line(t))
	var ids []uint64
	for range 2 {
		line := p.line(t)
		require.Regexp(t, `^\{"id":[56],"err_msg":null,"output":\{"proofs":\[`+aProof+`\],"faults":\[\]\}\}$`, line)
		var r response
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.True(t, verifies(t, task, nil, r.Output.Proofs[0]))
		ids = append(ids, *r.ID)
	}
	require.ElementsMatch(t, []uint64{5, 6}, ids)
	p.end(t)
}

func TestOurWinningProcessorUnderAForeignParent(t *testing.T) {
	needParameters(t)
	_, _, task := sealed(t, 1)
	task.ProofType = ProofType(abi.RegisteredPoStProof_StackedDrgWinning2KiBV1)
	p := newForeignParent(t, KindWinning)
	p.send(t, fmt.Sprintf("x\n"+`{"id":1,"task":%s}`+"\n", asJSON(t, task)))
	line := p.line(t)
	require.Regexp(t, `^\{"id":1,"err_msg":null,"output":\{"proofs":\[`+aProof+`\]\}\}$`, line)
	var r response
	require.NoError(t, json.Unmarshal([]byte(line), &r))
	require.True(t, verifiesWinning(t, task, r.Output.Proofs[0]))
	task.Replicas = append(task.Replicas, task.Replicas[0])
	p.send(t, fmt.Sprintf(`{"id":2,"task":%s}`+"\n", asJSON(t, task)))
	require.Contains(t, p.line(t), `{"id":2,"err_msg":"`)
	p.end(t)
}

// The deployment of one card per GPU on a machine with eight: each child its own GPU and its own TMPDIR, which is made.
func TestEightGPUs(t *testing.T) {
	base := t.TempDir()
	script := filepath.Join(base, "stub.sh")
	require.NoError(t, os.WriteFile(script, []byte(`#!/bin/sh
test -d "$TMPDIR" && test "$1 $2 $3" = "args1 args2 args3" && echo "$CUDA_VISIBLE_DEVICES $TMPDIR" >"$TMPDIR/seen"
echo "window_post processor ready"
while read -r line; do
  id=${line#*:}; id=${id%%,*}
  echo "$id" >>"$TMPDIR/jobs"
  sleep 0.2
  echo "{\"id\":$id,\"err_msg\":null,\"output\":{\"proofs\":[\"cHJvb2Y=\"],\"faults\":[]}}"
done
`), 0o755))
	var cards []CardConfig
	for i := range 8 {
		cards = append(cards, CardConfig{Name: fmt.Sprint("gpu", i), Bin: script, Args: []string{"args1", "args2", "args3"}, GPU: true, Concurrent: 1, Weight: 1,
			Envs: map[string]string{"CUDA_VISIBLE_DEVICES": fmt.Sprint(i), "TMPDIR": filepath.Join(base, fmt.Sprintf("ext-prover%d", i))}})
	}
	pool := startPool(t, PoolOptions{}, cards...)
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(pool.Status(), func(s CardStatus) bool { return s.State != StateIdle })
	}, 10*time.Second, 5*time.Millisecond)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := pool.Prove(t.Context(), fakeTask(1), nil, func(post.Progress) {}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		tmp := filepath.Join(base, fmt.Sprintf("ext-prover%d", i))
		seen, err := os.ReadFile(filepath.Join(tmp, "seen"))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d %s\n", i, tmp), string(seen))
		jobs, err := os.ReadFile(filepath.Join(tmp, "jobs"))
		require.NoError(t, err)
		require.Equal(t, "1\n2\n", string(jobs), "each card has its share")
	}
}
