package prover

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"time"
)

// CardConfig describes a card: a process with its own environment, usually one per GPU.
type CardConfig struct {
	Name         string            // unique in the pool
	Bin          string            // "": this very program, with the arguments `processor window_post`
	Args         []string          // exactly as given if Bin is; not allowed otherwise
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

const defaultReadyTimeout = 5 * time.Second

// command is the process to start.
func (c CardConfig) command(kind string) (*exec.Cmd, error) {
	bin, args := c.Bin, c.Args
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding this program's own file: %w", err)
		}
		bin, args = self, []string{"processor", kind}
	}
	if tmp := c.Envs["TMPDIR"]; tmp != "" {
		// The library puts its GPU lock there, and fails in strange ways without the folder.
		if err := os.MkdirAll(tmp, 0o755); err != nil {
			return nil, fmt.Errorf("making TMPDIR: %w", err)
		}
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = []string{} // not nil, which would mean all of ours
	if !c.CleanEnv {
		cmd.Env = os.Environ()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Envs)) {
		cmd.Env = append(cmd.Env, name+"="+c.Envs[name])
	}
	cmd.Env = append(cmd.Env, ProgressEnv+"=3")
	return cmd, nil
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
		case c.Bin == "" && len(c.Args) > 0:
			return fmt.Errorf("card %q has args but no bin; without a bin it runs this program's own processor", c.Name)
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
