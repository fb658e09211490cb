package prover

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinesOfAFallback(t *testing.T) {
	for line, want := range map[string]bool{
		"2026-11-21T01:12:25.526 WARN bellperson::gpu::locks > GPU FFT failed! Falling back to CPU... Error: EC GPU error: x":      true,
		"2026-11-21T01:12:25.526 WARN bellperson::gpu::locks > GPU Multiexp failed! Falling back to CPU... Error: x":               true,
		"2026-11-21T01:12:25.526 WARN bellperson::gpu::locks > Cannot instantiate GPU FFT kernel! Error: No working GPUs found!":   true,
		"2026-11-21T01:12:25.526 WARN bellperson::gpu::locks > Cannot instantiate GPU Multiexp kernel! Error: x":                   true,
		`{"level":"warn","ts":"x","logger":"bellperson::gpu::locks","caller":"x","msg":"GPU FFT failed! Falling back to CPU... "}`: true,
		"BELLPERSON_GPUS_PER_LOCK fallback to single lock mode":                                                                    false,
		"GPU FFT kernel instantiated!":                                                    false,
		"GPU acquired by a high priority process! Freeing up FFT kernels...":              false,
		"Cannot initialize kernel for device 'x'! Error: y (others of its GPUs may work)": false,
	} {
		require.Equal(t, want, isFallback([]byte(line)), line)
	}
}

func TestRustLogThatTellsOfAFallback(t *testing.T) {
	for spec, want := range map[string]string{
		"":                                   "warn",
		" ":                                  "warn",
		"info":                               "info",
		"WARN":                               "WARN",
		"error":                              "error,bellperson::gpu::locks=warn",
		"off":                                "off,bellperson::gpu::locks=warn",
		"storage_proofs=debug":               "storage_proofs=debug,bellperson::gpu::locks=warn",
		"bellperson":                         "bellperson",
		"bellperson=trace,error":             "bellperson=trace,error",
		"info,bellperson=error":              "info,bellperson=error,bellperson::gpu::locks=warn",
		"bellperson::gpu=off, info":          "bellperson::gpu=off,info,bellperson::gpu::locks=warn",
		"trace,bellperson::gpu::locks=error": "trace,bellperson::gpu::locks=warn",
		"error/GPU":                          "error,bellperson::gpu::locks=warn/GPU",
		"info/GPU":                           "info/GPU",
	} {
		require.Equal(t, want, hearFallback(spec), spec)
	}
}

func TestTheEnvironmentOfACard(t *testing.T) {
	inherited := []string{"HOME=/root", "FULLNODE_API_INFO=token:/ip4/1.2.3.4", "CUDA_VISIBLE_DEVICES=0,1", "BELLMAN_GPU_INDEXS=1", "POSTHASTE_GATE_FD=9", "EQUALS=a=b"}
	envs := map[string]string{"CUDA_VISIBLE_DEVICES": "1", "BELLMAN_GPU_INDEXS": "0"}
	require.Equal(t, map[string]string{"HOME": "/root", "CUDA_VISIBLE_DEVICES": "1", "BELLMAN_GPU_INDEXS": "0", "EQUALS": "a=b", ProgressEnv: "3", GateEnv: "4"},
		CardConfig{Envs: envs}.environment(inherited), "the card's go before the inherited ones")
	require.Equal(t, map[string]string{"CUDA_VISIBLE_DEVICES": "1", "BELLMAN_GPU_INDEXS": "0", ProgressEnv: "3", GateEnv: "4"},
		CardConfig{Envs: envs, CleanEnv: true}.environment(inherited), "nothing is inherited")
	require.Equal(t, "warn", CardConfig{GPU: true}.environment(nil)["RUST_LOG"])
	require.Equal(t, "mine", CardConfig{Envs: map[string]string{"FULLNODE_API_INFO": "mine"}}.environment(inherited)["FULLNODE_API_INFO"])
	t.Setenv("CUDA_VISIBLE_DEVICES", "7")
	cmd, err := CardConfig{Bin: "/bin/x", Envs: envs}.command(KindWindow)
	require.NoError(t, err)
	require.Contains(t, cmd.Env, "CUDA_VISIBLE_DEVICES=1")
	require.NotContains(t, cmd.Env, "CUDA_VISIBLE_DEVICES=7")
}

// In the build that the tests use the library finds no GPU.
func TestAGPUCardWithoutAGPUDoesNotGetReady(t *testing.T) {
	config := CardConfig{Name: "gpu0", GPU: true, Envs: map[string]string{childEnv: "real", "CUDA_VISIBLE_DEVICES": "5"}}
	pool := startPool(t, PoolOptions{}, config)
	status := eventually(t, pool, "dead", func(s CardStatus) bool { return s.State == StateDead })
	require.Contains(t, status.Error, "does not get ready: no GPU found: CUDA_VISIBLE_DEVICES=5")
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorContains(t, err, "no GPU found: CUDA_VISIBLE_DEVICES=5")

	config.GPU = false
	pool = startPool(t, PoolOptions{}, config)
	status = eventually(t, pool, "ready on the CPU", func(s CardStatus) bool { return s.State == StateIdle })
	require.Empty(t, status.Device)
	require.Positive(t, status.PeakBytes)
}

func TestAGPUCardWithTheGPUSwitchedOffIsNotStarted(t *testing.T) {
	_, err := CardConfig{GPU: true, Envs: map[string]string{"BELLMAN_NO_GPU": "1"}}.command(KindWindow)
	require.ErrorContains(t, err, "BELLMAN_NO_GPU=1 is set")
	_, err = CardConfig{GPU: true, Envs: map[string]string{"BELLMAN_NO_GPU": "0"}}.command(KindWindow)
	require.NoError(t, err)
}

// Its arguments do not make it a foreign program: it has the time to look for its GPU, and is not ready before it has told of it.
func TestOurOwnProcessorTakesArguments(t *testing.T) {
	config := CardConfig{Name: "gpu0", GPU: true, Args: []string{"--parallel-reads", "32"}}
	require.Equal(t, gpuReadyTimeout, config.readyTimeout())
	cmd, err := config.command(KindWindow)
	require.NoError(t, err)
	require.Equal(t, []string{"processor", "window_post", "--parallel-reads", "32"}, cmd.Args[1:])
	_, err = NewPool([]CardConfig{config}, PoolOptions{})
	require.NoError(t, err)
}

func TestAForeignGPUCardIsTakenAsItIs(t *testing.T) {
	for behaviour, device := range map[string]string{"good": "", "one GPU": "NVIDIA H200"} {
		config := fake("gpu0", behaviour)
		config.GPU = true
		pool := startPool(t, PoolOptions{}, config)
		_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
		require.NoError(t, err)
		eventually(t, pool, "device", func(s CardStatus) bool { return s.State == StateIdle && s.Device == device })
	}
	config := fake("gpu0", "no GPU") // a script around our own processor
	config.GPU = true
	pool := startPool(t, PoolOptions{}, config)
	status := eventually(t, pool, "dead", func(s CardStatus) bool { return s.State == StateDead || s.Failures > 1 })
	require.Contains(t, status.Error, "no GPU found")
}

func TestACardThatFallsBackToTheCPU(t *testing.T) {
	config := fake("gpu0", "falls back")
	config.GPU = true
	fenced := make(chan string, 1)
	pool := startPool(t, PoolOptions{OnFence: func(_, reason string) { fenced <- reason }}, config)
	_, err := pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.ErrorIs(t, err, ErrFellBack)
	require.ErrorContains(t, err, "GPU Multiexp failed! Falling back to CPU... Error: EC GPU error: out of memory")
	require.Contains(t, <-fenced, "went on on the CPU")
	eventually(t, pool, "fenced", func(s CardStatus) bool { return s.State == StateFenced })

	config.GPU, config.Envs["ANSWERS"] = false, "yes"
	pool = startPool(t, PoolOptions{}, config)
	_, err = pool.Prove(t.Context(), fakeTask(1), nil, nil)
	require.NoError(t, err, "a card that need not have a GPU")
}

func TestListOfDevices(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, PrintDevices(&out))
	if os.Getenv("FFI_USE_CUDA") == "" && os.Getenv("FFI_USE_OPENCL") == "" && os.Getenv("FFI_USE_GPU") == "" {
		require.Equal(t, "[]\n", out.String())
	}
}
