package rig

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is what goes into the posthaste.toml files of the daemon and the workers. A test may change it; each start writes its
// program's anew.
type Config struct {
	Temporal string   // the daemon's address of it, in place of the rig's own (see Rig.Skewed); empty: that
	APIInfo  string   // token and address of the node: a secret
	Chain    []string // more lines of [chain], such as `nodes = […]`
	Miners   []string
	Policy   []string // lines of [policy], such as `max_try = 1`
	Stores   []Store  // the daemon's
	Workers  []Worker // the first is Rig.Worker's
	Env      []string // of all, beside the rig's own: NAME=value
	LogLevel string
	Metrics  string // address at which the daemon serves them; empty: it does not
	Alerts   string // the daemon's [alerts] and [[alerts.webhook]], as they are written; empty: none
}

// Worker is what one worker is told. Its keys are those of posthaste.toml.
type Worker struct {
	Name     string
	Cards    []Card
	Attached []Store
	Pool     string   // the GPU tag; empty: the default
	Rules    []Rule   // none: anything
	Limit    int      // [processors.limitation.concurrent] window_post; 0: none
	Keys     []string // more lines of [worker], such as `drain = true`
	Tables   string   // more tables
	Flags    []string // of the command line, behind `worker run --config FILE`
	Env      []string // NAME=value
	Metrics  string   // address at which it serves them; empty: it does not
	Temporal string   // its address of it, in place of the rig's own; empty: that
	File     string   // the whole configuration, in the place of all that becomes one; Temporal's address is in the environment then
}

// Rule is one kind of work that a worker may take: a table of [[worker.rules]].
type Rule struct {
	Miners []uint64
	Sizes  []string // such as 2KiB
}

// Store is a folder of sealed sectors.
type Store struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// Card is a child of a worker. Without a program it is posthaste's own processor.
type Card struct {
	Name         string
	Bin          string
	Args         []string
	Envs         map[string]string
	ReadyTimeout time.Duration
	Concurrent   int      // 0: the default
	Keys         []string // more lines of its table, such as `weight = 2`
}

// Clone is a copy that can be changed without changing c.
func (c Config) Clone() Config {
	c.Chain, c.Miners, c.Policy, c.Stores, c.Env = slices.Clone(c.Chain), slices.Clone(c.Miners), slices.Clone(c.Policy), slices.Clone(c.Stores), slices.Clone(c.Env)
	c.Workers = slices.Clone(c.Workers)
	for i, w := range c.Workers {
		w.Attached, w.Cards = slices.Clone(w.Attached), slices.Clone(w.Cards)
		for j, card := range w.Cards {
			w.Cards[j].Envs = maps.Clone(card.Envs)
		}
		c.Workers[i] = w
	}
	return c
}

// toml is a configuration as it is written.
type toml struct{ strings.Builder }

func (t *toml) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// list writes strings as a list.
func list[T any](values []T, format string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprintf(format, v)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// save writes the file. It may hold a token: nobody else may read it.
func (t *toml) save(path string) error {
	if err := os.WriteFile(path, []byte(t.String()), 0o600); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// common is what daemon and workers are told alike. None of them serves metrics at the usual port: rigs run side by side.
func (t *toml) common(c Config, temporal, metrics string, own ...string) {
	t.line("[temporal]\naddress = %q\n%s", temporal, strings.Join(own, "\n"))
	t.line("[log]\nlevel = %q", c.LogLevel)
	address := cmp.Or(metrics, "off")
	t.line("[metrics]\ndaemon = %q\nworker = %q", address, address)
}

// writeDaemon writes the daemon's posthaste.toml.
func (c Config) writeDaemon(path, temporal string, epoch time.Duration, own []string) error {
	var t toml
	t.common(c, temporal, c.Metrics, own...)
	t.line("[chain]\napi_info = %q\nepoch_duration = %q\n%s", c.APIInfo, epoch.String(), strings.Join(c.Chain, "\n"))
	t.line("[policy]\n%s", strings.Join(c.Policy, "\n"))
	t.line("%s", c.Alerts)
	for _, miner := range c.Miners {
		t.line("[[miners]]\nid = %q", miner)
	}
	for _, store := range c.Stores {
		t.line("[[stores]]\nname = %q\npath = %q", store.Name, store.Path)
	}
	return t.save(path)
}

// write writes the worker's.
func (w Worker) write(path string, c Config, temporal string) error {
	var t toml
	if w.File != "" {
		t.line("%s", w.File)
		return t.save(path)
	}
	t.common(c, temporal, w.Metrics)
	t.line("[worker]\nname = %q", w.Name)
	if w.Pool != "" {
		t.line("pool = %q", w.Pool)
	}
	t.line("%s", strings.Join(w.Keys, "\n"))
	for _, rule := range w.Rules {
		t.line("[[worker.rules]]")
		if len(rule.Miners) > 0 {
			t.line("allowed_miners = %s", list(rule.Miners, "%d"))
		}
		if len(rule.Sizes) > 0 {
			t.line("allowed_sizes = %s", list(rule.Sizes, "%q"))
		}
	}
	for _, store := range w.Attached {
		t.line("[[attached]]\nname = %q\nlocation = %q", store.Name, store.Path)
	}
	if w.Limit > 0 {
		t.line("[processors.limitation.concurrent]\nwindow_post = %d", w.Limit)
	}
	for _, card := range w.Cards {
		if err := card.write(&t, strings.TrimSuffix(path, ".toml")); err != nil {
			return err
		}
	}
	t.line("%s", w.Tables)
	return t.save(path)
}

// write gives each card a TMPDIR of its own: the library's lock of the GPU is a file there, and two cards of one machine
// would take turns.
func (c Card) write(t *toml, dir string) error {
	envs := maps.Clone(c.Envs)
	if envs == nil {
		envs = map[string]string{}
	}
	if _, set := envs["TMPDIR"]; !set {
		envs["TMPDIR"] = filepath.Join(dir+"-tmp", c.Name)
	}
	if err := os.MkdirAll(envs["TMPDIR"], 0o700); err != nil {
		return fmt.Errorf("the folder of card %s: %w", c.Name, err)
	}
	t.line("[[processors.window_post]]\nname = %q", c.Name)
	if c.ReadyTimeout > 0 {
		t.line("ready_timeout = %q", c.ReadyTimeout.String())
	}
	if c.Bin != "" {
		t.line("bin = %q\nargs = %s", c.Bin, list(c.Args, "%q"))
	}
	if c.Concurrent > 0 {
		t.line("concurrent = %d", c.Concurrent)
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(envs)) {
		pairs = append(pairs, fmt.Sprintf("%s = %q", name, envs[name]))
	}
	t.line("envs = { %s }", strings.Join(pairs, ", "))
	if len(c.Keys) > 0 {
		t.line("%s", strings.Join(c.Keys, "\n"))
	}
	return nil
}
