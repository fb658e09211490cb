package prover

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// CardConfig describes a card: a process with its own environment, usually one per GPU.
type CardConfig struct {
	Name         string            // unique in the pool
	Bin          string            // "": this very program, with the arguments `processor window_post`
	Args         []string          // with a Bin all of them, exactly as given; else those after `processor window_post`
	Envs         map[string]string // CUDA_VISIBLE_DEVICES, TMPDIR (made if it is missing), …
	CleanEnv     bool              // start from an empty environment instead of this process's own
	Concurrent   int               // tasks at once; 0 means 1
	ReadyTimeout time.Duration     // until the ready line; 0 means 5 s, as in damocles
	NoRestart    bool              // leave it dead when it ends
	Weight       int               // its part of the jobs among cards with as much room; 0 means 1
	CPUs         string            // what its process may run on, as in "0-3,8"; "": as this process
	GPU          bool              // must find a GPU; one that goes on on the CPU fails its job with ErrFellBack
	Fenced       string            // if not empty it starts fenced, for this reason
}

const (
	defaultReadyTimeout = 5 * time.Second
	gpuReadyTimeout     = 30 * time.Second // of our own processor, which looks for its GPUs before it is ready
)

// readyTimeout is how long a start may take.
func (c CardConfig) readyTimeout() time.Duration {
	switch {
	case c.ReadyTimeout > 0:
		return c.ReadyTimeout
	case c.GPU && c.Bin == "":
		return gpuReadyTimeout
	default:
		return defaultReadyTimeout
	}
}

// command is the process to start.
func (c CardConfig) command(kind string) (*exec.Cmd, error) {
	bin, args := c.Bin, c.Args
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding this program's own file: %w", err)
		}
		bin, args = self, append([]string{"processor", kind}, args...)
	}
	if err := c.makeTemp(); err != nil {
		return nil, err
	}
	env := c.environment(os.Environ())
	if no := env["BELLMAN_NO_GPU"]; c.GPU && c.Bin == "" && no != "" && no != "0" {
		return nil, fmt.Errorf("it shall use a GPU, but BELLMAN_NO_GPU=%s is set, with which the library uses none and does not say so", no)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = []string{} // not nil, which would mean all of ours
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	return cmd, nil
}

// makeTemp makes the folder where the library puts its GPU lock: it fails in strange ways without. At every start, and before every
// task, since what cleans up /tmp takes it away from a card that was idle for days.
func (c CardConfig) makeTemp() error {
	if tmp := c.Envs["TMPDIR"]; tmp != "" {
		if err := os.MkdirAll(tmp, 0o755); err != nil {
			return fmt.Errorf("making TMPDIR: %w", err)
		}
	}
	return nil
}

// nodeToken is the variable whose token may sign messages. A card needs no node, and its program may be anybody's.
const nodeToken = "FULLNODE_API_INFO"

// environment is what the process sees, each name once: the configured variables go before the inherited ones.
func (c CardConfig) environment(inherited []string) map[string]string {
	env := map[string]string{}
	if !c.CleanEnv {
		for _, pair := range inherited {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		delete(env, nodeToken)
	}
	maps.Copy(env, c.Envs)
	if c.GPU {
		env["RUST_LOG"] = hearFallback(env["RUST_LOG"])
	}
	// A foreign program does not know these and needs not; one that starts our processor in the end hands them on.
	env[ProgressEnv], env[GateEnv] = "3", "4"
	return env
}

// launch starts the process of a card. It must be waited for by the same goroutine, locked to its thread until then: the
// kernel sends the child its death signal when the *thread* that started it ends. What it computes waits for the memory, nil for none.
// cpus is what was said of its CPUs at the start before.
func launch(config CardConfig, kind string, memory *Memory, cpus *said, log *slog.Logger) (*child, error) {
	cmd, err := config.command(kind)
	if err != nil {
		return nil, err
	}
	c := &child{
		config: config, card: config.Name, kind: kind, log: log, memory: memory, cmd: cmd,
		ready: make(chan struct{}), doomed: make(chan struct{}), lost: make(chan struct{}), gone: make(chan struct{}),
		announced: make(chan struct{}), asked: map[uint64]*asking{},
	}
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	stdinR, stdinW := pipe()
	stdoutR, stdoutW := pipe()
	stderrR, stderrW := pipe()
	progressR, progressW := pipe()
	gateR, gateW := pipe()
	theirs := []*os.File{stdinR, stdoutW, stderrW, progressW, gateR}
	c.stdin, c.gate, c.pipes = stdinW, gateW, []*os.File{stdoutR, stderrR, progressR}
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = stdinR, stdoutW, stderrW, []*os.File{progressW, gateR}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		err = onCPUs(config.CPUs, cpus, log.With("card", config.Name), cmd.Start)
	}
	for _, file := range theirs {
		_ = file.Close()
	}
	if err != nil {
		c.closePipes()
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	c.readers.Go(func() { c.readAnswers(stdoutR) })
	c.readers.Go(func() { c.readLog(stderrR) })
	c.readers.Go(func() { c.readProgress(progressR) })
	return c, nil
}

// validate names what is wrong with the cards of a pool.
func validate(configs []CardConfig) error {
	if len(configs) == 0 {
		return errors.New("there are no cards; a pool needs at least one")
	}
	seen := map[string]bool{}
	for i, c := range configs {
		switch {
		case c.Name == "":
			return fmt.Errorf("card %d has no name", i)
		case seen[c.Name]:
			return fmt.Errorf("two cards are named %q", c.Name)
		case c.Concurrent < 0:
			return fmt.Errorf("card %q: concurrent is %d; it must be at least 1, or 0 for the default of 1", c.Name, c.Concurrent)
		case c.Weight < 0:
			return fmt.Errorf("card %q: weight is %d; it must be at least 1, or 0 for the default of 1", c.Name, c.Weight)
		case c.ReadyTimeout < 0:
			return fmt.Errorf("card %q: its ready timeout is %v; it must be positive, or 0 for the default of %v", c.Name, c.ReadyTimeout, defaultReadyTimeout)
		}
		if _, err := parseCPUs(c.CPUs); err != nil {
			return fmt.Errorf("card %q: %w", c.Name, err)
		}
		seen[c.Name] = true
	}
	return nil
}
