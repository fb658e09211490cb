package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/load"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/stub"
)

// A machine with eight GPUs as damocles's ext-prover.cfg describes it: each card has a GPU and a TMPDIR of its own, and all of them work.
func TestEightGPUs(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	var cfg strings.Builder
	args := make([]string, 0, 8)
	// 2 s: until all eight have been given one, on a busy machine, too.
	for _, arg := range append(f.load.Proofs(), "--sleep", "2s", "window_post") {
		args = append(args, fmt.Sprintf("%q", arg))
	}
	temp := func(gpu int) string { return filepath.Join(f.Dir, fmt.Sprintf("ext-prover%d", gpu)) }
	for gpu := range 8 {
		fmt.Fprintf(&cfg, "[[WdPost]]\nBin = %q\nArgs = [%s]\nConcurrent = 1\nWeight = 1\nReadyTimeoutSecs = 5\n[WdPost.Envs]\nCUDA_VISIBLE_DEVICES = \"%d\"\nTMPDIR = %q\n",
			f.StubProver(), strings.Join(args, ", "), gpu, temp(gpu)+"/")
	}
	path := filepath.Join(f.Dir, "ext-prover.cfg")
	require.NoError(t, os.WriteFile(path, []byte(cfg.String()), 0o600))
	f.start(ctx, t, rig.Worker{Name: "eight", Attached: miner.Stores(), Flags: []string{"--ext-prover-config", path}})
	f.reported(ctx, t)
	const jobs = 24
	f.issue(ctx, t, load.Work{Miner: miner, Partitions: jobs})
	assert.Len(t, cards(f.proven(ctx, t, jobs)), 8, "each card has proven something")

	tasks, processes := map[string]int{}, map[int]string{}
	for _, e := range f.events(t) {
		gpu := e.CUDA
		if e.Event == stub.EventStart {
			tasks[gpu]++
			assert.Zero(t, e.Beside, "one job at a time on GPU %s", gpu)
		}
		if known, is := processes[e.PID]; is {
			assert.Equal(t, known, gpu)
		}
		processes[e.PID] = gpu
		var number int
		_, err := fmt.Sscan(gpu, &number)
		require.NoError(t, err)
		assert.Equal(t, temp(number), strings.TrimSuffix(e.TempDir, "/"))
		assert.DirExists(t, e.TempDir, "it was made")
	}
	assert.Len(t, processes, 8)
	assert.Len(t, tasks, 8)
	t.Logf("jobs by GPU: %v", tasks)
}

// damoclesWorker is a damocles-worker's configuration as its users have it, but for the names of stores, folders and miners.
const damoclesWorker = `[worker]
name = "damocles-worker-USA-01"
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"
[[sealing_thread]]
plan = "wdpost"
sealing.recover_interval = "15s"
sealing.allowed_miners = [1000]
[[sealing_thread]]
plan = "wdpost"
sealing.allowed_miners = [1001]
sealing.allowed_sizes = ["32GiB"]
[[attached]]
name = "store-f01000"
location = "@DIR@/store-f01000"
[[attached]]
name = "store-f01001"
location = "@DIR@/store-f01001"
[processors.limitation.concurrent]
window_post = 2
[[processors.window_post]]
bin = "~/my_algorithm"
args = ["window_post"]
cgroup.cpuset = "0"
envs = { BELLMAN_GPU_INDEXS = "0", CUDA_VISIBLE_DEVICES = "0", TMPDIR = "@DIR@/worker-prover1/" }
concurrent = 1
[[processors.window_post]]
bin = "~/my_algorithm"
args = ["window_post"]
cgroup.cpuset = "1-29"
envs = { CUDA_VISIBLE_DEVICES = "1", TMPDIR = "@DIR@/worker-prover2/" }
concurrent = 1
`

// A damocles-worker's file works as it is, with the user's own program as the cards: it gets what the file says, is bound to its CPUs, and
// what the two threads allow is what the worker takes.
func TestDamoclesWorkerFile(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	may, mayNot := f.miner(ctx, t, 0, 1), f.miner(ctx, t, 1, 1)
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s --sleep 200ms \"$@\"\n", f.StubProver(), strings.Join(f.load.Proofs(), " "))
	require.NoError(t, os.WriteFile(filepath.Join(f.Dir, "my_algorithm"), []byte(script), 0o700))
	w := rig.Worker{Name: "damocles-worker-USA-01", File: strings.ReplaceAll(damoclesWorker, "@DIR@", f.Dir), Env: []string{"HOME=" + f.Dir}}
	f.start(ctx, t, w)
	f.reported(ctx, t)
	const jobs = 8
	f.issue(ctx, t, load.Work{Miner: may, Partitions: jobs})
	refused := f.issue(ctx, t, load.Work{Miner: mayNot})
	f.proven(ctx, t, jobs)
	f.waits(ctx, t, refused, "f01001") // of which only sectors of 32 GiB are allowed

	cpus, bellman := map[string]string{}, map[string]string{}
	for _, e := range f.events(t) {
		if e.Event == stub.EventStart {
			cpus[e.CUDA], bellman[e.CUDA] = e.CPUs, e.Bellman
			assert.Zero(t, e.Beside)
		}
	}
	assert.Equal(t, map[string]string{"0": "0", "1": ""}, bellman)
	assert.Equal(t, "0", cpus["0"])
	assert.NotContains(t, cpus["1"], "0-", "CPUs that the machine lacks are left out, the others bind")
	assert.Contains(t, f.Worker.ReadLog(), "recover_interval", "what does not apply is named")
	t.Logf("CPUs by GPU: %v", cpus)
}

// [processors.limitation.concurrent] limits what the cards of a worker do together, and what it takes out of the queue: another worker
// with a free card gets the rest.
func TestLimitation(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	f := newFleet(t, load.Options{})
	miner := f.miner(ctx, t, 0, 1)
	limited := f.start(ctx, t, rig.Worker{Name: "limited", Attached: miner.Stores(), Cards: f.stubs(3, time.Second), Limit: 1})
	f.start(ctx, t, rig.Worker{Name: "free", Attached: miner.Stores(), Cards: f.stubs(2, time.Second)})
	f.reported(ctx, t)
	const jobs = 18
	f.issue(ctx, t, load.Work{Miner: miner, Partitions: jobs})
	all := f.proven(ctx, t, jobs)
	running, most := 0, 0
	for _, e := range f.events(t) {
		if e.Parent != limited.Pid() {
			continue
		}
		switch e.Event {
		case stub.EventStart:
			running++
			most = max(most, running)
		case stub.EventEnd:
			running--
		}
	}
	assert.Equal(t, 1, most, "one at a time, whatever the number of cards")
	assert.Positive(t, cardsOf("limited", all))
	assert.Greater(t, cardsOf("free", all), cardsOf("limited", all), "it was not given more than it could begin")
}
