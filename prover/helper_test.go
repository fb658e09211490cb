package prover

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// childEnv makes this test binary a child process: "real" is RunProcessor, anything else a behaviour of fakeChild.
const childEnv = "PROVER_TEST_CHILD"

func TestMain(m *testing.M) {
	switch behaviour := os.Getenv(childEnv); behaviour {
	case "":
		os.Exit(m.Run())
	case "parent":
		parentOfADeafChild()
	case "real":
		if os.Getenv("STRAY_OUTPUT") != "" {
			go func() {
				for range time.Tick(20 * time.Millisecond) {
					_, _ = syscall.Write(1, []byte("printed by a library\n"))
				}
			}()
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		kind := KindWindow
		if len(os.Args) == 3 && os.Args[1] == "processor" { // as a card without a bin is started
			kind = os.Args[2]
		}
		if err := RunProcessor(ctx, kind, os.Stdin, os.Stdout, ProcessorOptions{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fakeChild(behaviour)
	}
}

// parentOfADeafChild runs a pool and prints the process ID of its card.
func parentOfADeafChild() {
	pool, err := NewPool([]CardConfig{fake("gpu0", "deaf")}, PoolOptions{})
	if err != nil {
		panic(err)
	}
	go func() {
		for pool.Status()[0].State != StateIdle {
			time.Sleep(time.Millisecond)
		}
		fmt.Println(pool.Status()[0].PID)
	}()
	_ = pool.Run(context.Background())
}

// fakeChild is a foreign program that speaks the protocol, well or badly.
func fakeChild(behaviour string) {
	switch behaviour {
	case "dies at start":
		fmt.Fprintln(os.Stderr, "no GPU here")
		os.Exit(3)
	case "never ready":
		fmt.Println("window_post processor is getting ready")
		for {
			time.Sleep(time.Hour)
		}
	case "dies once":
		mark := os.Getenv("MARK")
		if _, err := os.Stat(mark); err != nil {
			_ = os.WriteFile(mark, nil, 0o644)
			os.Exit(3)
		}
	case "garbage first":
		fmt.Println("CUDA version 12")
	case "holds memory":
		holdMemory()
	case "one GPU", "no GPU":
		_, _ = fmt.Fprintln(os.NewFile(3, "progress"), map[string]string{"one GPU": `{"devices":["NVIDIA H200"]}`, "no GPU": `{"devices":[]}`}[behaviour])
	case "deaf":
		fmt.Println("window_post processor ready")
		for {
			time.Sleep(time.Hour)
		}
	}
	fmt.Println(cmp.Or(os.Getenv("KIND"), KindWindow) + " processor ready")
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		var req struct {
			ID   uint64
			Task Task
		}
		if err := json.Unmarshal(scanner.Bytes(), &req); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4)
		}
		fakeAnswer(behaviour, req.ID, req.Task)
	}
}

func fakeAnswer(behaviour string, id uint64, task Task) {
	good := fmt.Sprintf(`{"id":%d,"err_msg":null,"output":{"proofs":["cHJvb2Y="],"faults":[]}}`, id)
	switch behaviour {
	case "dies on a task":
		fmt.Fprintln(os.Stderr, "out of memory")
		os.Exit(9)
	case "line without end":
		_, _ = os.Stdout.Write(bytes.Repeat([]byte("x"), maxLine+1))
	case "bar of progress":
		_, _ = os.Stderr.Write(bytes.Repeat([]byte("x"), maxLine+1))
		_, _ = os.Stderr.WriteString("\r99 %\r100 %")
		fmt.Println(good)
	case "needs TMPDIR":
		if _, err := os.Stat(os.Getenv("TMPDIR")); err != nil {
			os.Exit(3)
		}
		fmt.Println(good)
	case "says nothing":
	case "slow":
		go func() { time.Sleep(300 * time.Millisecond); fmt.Println(good) }()
	case "garbage first":
		fmt.Println("not JSON")
		fmt.Println(`{"id":999,"err_msg":null,"output":null}`)
		fmt.Println(good)
	case "refuses":
		fmt.Printf(`{"id":%d,"err_msg":"no such proof type","output":null}`+"\n", id)
	case "no output":
		fmt.Printf(`{"id":%d,"err_msg":null,"output":null}`+"\n", id)
	case "empty output":
		fmt.Printf(`{"id":%d,"err_msg":null,"output":{"proofs":[],"faults":[]}}`+"\n", id)
	case "strange faults":
		fmt.Printf(`{"id":%d,"err_msg":null,"output":{"proofs":[],"faults":[77]}}`+"\n", id)
	case "even are bad", "all are bad":
		var bad []string
		for _, r := range task.Replicas {
			if behaviour == "all are bad" || r.SectorID%2 == 0 {
				bad = append(bad, fmt.Sprint(r.SectorID))
			}
		}
		if len(bad) > 0 {
			fmt.Printf(`{"id":%d,"err_msg":null,"output":{"proofs":[],"faults":[%s]}}`+"\n", id, strings.Join(bad, ","))
			return
		}
		fmt.Println(good)
	case "progress is read late":
		pipe := os.NewFile(3, "progress")
		_, _ = fmt.Fprintln(pipe, "{}")
		time.Sleep(100 * time.Millisecond) // until the sign of life is read
		fmt.Printf(`{"id":%d,"err_msg":null,"output":{"proofs":[],"faults":[%d]}}`+"\n", id, task.Replicas[0].SectorID)
		time.Sleep(100 * time.Millisecond) // until the answer is
		_, _ = fmt.Fprintf(pipe, `{"id":%d,"bad":{"sector":%d,"reason":"its disk is on fire"}}`+"\n"+`{"id":%d,"end":true}`+"\n", id, task.Replicas[0].SectorID, id)
	case "falls back":
		fmt.Fprintln(os.Stderr, "2026-11-21T01:12:25.526 WARN bellperson::gpu::locks > GPU Multiexp failed! Falling back to CPU... Error: EC GPU error: out of memory")
		if os.Getenv("ANSWERS") == "" { // it computes for hours
			return
		}
		fmt.Println(good)
	case "gated":
		go gated(id, good)
	case "mute":
		_ = os.Stdout.Close()
	case "stops ticking":
		if fd := os.Getenv(ProgressEnv); fd != "" {
			pipe := os.NewFile(3, "progress")
			_, _ = fmt.Fprintf(pipe, `{"id":%d,"phase":"vanilla","done":1,"of":2}`+"\n", id)
		}
	default:
		fmt.Println(good)
	}
}

// gated waits for leave to compute as our own processor does, and notes in the file SNARKS when it begins and ends.
func gated(id uint64, good string) {
	pipe, g := gatedEnds()
	note := func(what string) {
		file, err := os.OpenFile(os.Getenv("SNARKS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			panic(err)
		}
		_, _ = file.WriteString(what + "\n")
		_ = file.Close()
	}
	if err := g.wait(context.Background(), id, func() { _, _ = fmt.Fprintf(pipe, `{"id":%d,"phase":"memory"}`+"\n", id) }); err != nil {
		note("stopped")
		fmt.Printf(`{"id":%d,"err_msg":%q,"output":null}`+"\n", id, err)
		return
	}
	note("begin")
	_, _ = fmt.Fprintf(pipe, `{"id":%d,"phase":"snark"}`+"\n", id)
	length, _ := time.ParseDuration(os.Getenv("SNARK_TAKES"))
	time.Sleep(length)
	note("end")
	_, _ = fmt.Fprintf(pipe, `{"id":%d,"end":true}`+"\n", id)
	fmt.Println(good)
}

// gatedEnds are a gated child's pipes.
var gatedEnds = sync.OnceValues(func() (*os.File, *gate) {
	g, err := inheritedGate()
	if err != nil || g == nil {
		panic("no gate")
	}
	return os.NewFile(3, "progress"), g
})

// holdMemory takes memory in the folder MEMORY, says so and keeps it until it is killed.
func holdMemory() {
	m, err := NewMemory(os.Getenv("MEMORY"), 1, 1)
	if err == nil {
		_, err = m.Acquire(context.Background())
	}
	if err != nil {
		panic(err)
	}
	fmt.Println("held")
	for {
		time.Sleep(time.Hour)
	}
}

// fake is a card that behaves so.
func fake(name, behaviour string) CardConfig {
	return CardConfig{Name: name, Bin: os.Args[0], Envs: map[string]string{childEnv: behaviour}}
}

// fakeTask is a task whose files do not matter.
func fakeTask(numbers ...uint64) Task {
	task := Task{MinerID: 1000, ProofType: ProofType(windowType)}
	for _, n := range numbers {
		task.Replicas = append(task.Replicas, Replica{SectorID: n, CommR: Bytes32{byte(n)}})
	}
	return task
}

// verified records what the pool had verified and finds it right.
type verified struct {
	mu   sync.Mutex
	sets [][]abi.SectorNumber
	says bool
}

func (v *verified) verify(_ context.Context, _ abi.ActorID, _ abi.RegisteredPoStProof, _ []byte, sectors post.Sectors, _ []byte) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sets = append(v.sets, sectors.Numbers())
	return v.says, nil
}

// startPool runs a pool of cards until the test ends, with a verifier that always agrees unless opts has another.
func startPool(t *testing.T, opts PoolOptions, cards ...CardConfig) *Pool {
	t.Helper()
	if opts.Verify == nil {
		opts.Verify = (&verified{says: true}).verify
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	pool, err := NewPool(cards, opts)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = pool.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return pool
}

// testLog writes to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(line []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(line)))
	return len(line), nil
}

// eventually waits for a card to be as wanted.
func eventually(t *testing.T, pool *Pool, what string, ok func(CardStatus) bool) CardStatus {
	t.Helper()
	var status CardStatus
	require.Eventually(t, func() bool {
		i := slices.IndexFunc(pool.Status(), ok)
		if i >= 0 {
			status = pool.Status()[i]
		}
		return i >= 0
	}, 10*time.Second, 5*time.Millisecond, what)
	return status
}

func inTemp(t *testing.T, name string) string { return filepath.Join(t.TempDir(), name) }
