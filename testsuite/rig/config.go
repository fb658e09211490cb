package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is what goes into the posthaste.toml of daemon and worker. A test may change it; each start writes it anew.
type Config struct {
	APIInfo  string // token and address of the node: a secret
	Miners   []string
	Policy   []string // lines of [policy], such as `max_try = 1`
	Stores   []Store  // the daemon's
	Attached []Store  // the worker's
	Worker   string   // its name
	Cards    []Card
	Env      []string // of both, beside the rig's own: NAME=value
	LogLevel string
}

// Store is a folder of sealed sectors.
type Store struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// Card is a child of the worker. Without a program it is posthaste's own processor.
type Card struct {
	Name         string
	Bin          string
	Args         []string
	Envs         map[string]string
	ReadyTimeout time.Duration
}

// write writes the posthaste.toml of one program. It holds a token: nobody else may read it.
func (c Config) write(path, temporal string, epoch time.Duration) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("[temporal]\naddress = %q", temporal)
	line("[chain]\napi_info = %q\nepoch_duration = %q", c.APIInfo, epoch.String())
	line("[policy]\n%s", strings.Join(c.Policy, "\n"))
	for _, miner := range c.Miners {
		line("[[miners]]\nid = %q", miner)
	}
	for _, store := range c.Stores {
		line("[[stores]]\nname = %q\npath = %q", store.Name, store.Path)
	}
	for _, store := range c.Attached {
		line("[[attached]]\nname = %q\nlocation = %q", store.Name, store.Path)
	}
	line("[worker]\nname = %q", c.Worker)
	for _, card := range c.Cards {
		if err := card.write(line, filepath.Dir(path)); err != nil {
			return err
		}
	}
	line("[log]\nlevel = %q", c.LogLevel)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// write gives each card a TMPDIR of its own: the library's lock of the GPU is a file there, and two cards of one machine
// would take turns.
func (c Card) write(line func(string, ...any), dir string) error {
	tmp := filepath.Join(dir, "tmp-"+c.Name)
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return fmt.Errorf("the folder of card %s: %w", c.Name, err)
	}
	line("[[processors.window_post]]\nname = %q\nready_timeout = %q", c.Name, c.ReadyTimeout.String())
	if c.Bin != "" {
		args := make([]string, len(c.Args))
		for i, arg := range c.Args {
			args[i] = fmt.Sprintf("%q", arg)
		}
		line("bin = %q\nargs = [%s]", c.Bin, strings.Join(args, ", "))
	}
	envs := []string{fmt.Sprintf("TMPDIR = %q", tmp)}
	for name, value := range c.Envs {
		envs = append(envs, fmt.Sprintf("%s = %q", name, value))
	}
	line("envs = { %s }", strings.Join(envs, ", "))
	return nil
}
