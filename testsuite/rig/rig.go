package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"posthaste/config"
	"posthaste/workers"
)

// Options say what to run.
type Options struct {
	Program string   // of the chain: posthaste-devnet, which is the default, or posthaste-lotusdevnet
	Chain   []string // its flags, beside --dir
	Workers int      // 0 means 1, or none on a bare rig
	Cards   int      // of each worker; 0 means 2
	Policy  []string // lines of [policy]
	// Bare leaves chain and daemon out: the caller plays the daemon (see package load), and adds the workers.
	Bare bool
	// Before is called with the configuration when Temporal and the chain run and nothing else does yet.
	Before func(*Rig)
	// Idle leaves daemon and worker to be started by the caller.
	Idle bool
	// TemporalDB is temporal-dev's file; empty: one in the rig's folder.
	TemporalDB string
	// Postgres is what temporal-dev serves from in place of a file. Its schema must be there.
	Postgres *Postgres
}

// Rig is a set of programs around one simulated chain.
type Rig struct {
	Dir      string
	Config   Config // of daemon and workers at their next start
	Temporal *Process
	Chain    *Process   // nil on a bare rig
	Daemon   *Process   // nil on a bare rig
	Daemons  []*Process // with those that AddDaemon made; the first is Daemon
	Worker   *Process   // the first of Workers
	Workers  []*Process // as Config.Workers

	chain    chainReady
	temporal temporalReady
	client   client.Client
	bin      string
	proxies  []func() // end them
	program  string   // the chain's
}

// simulated is the chain program that tests usually run on.
const simulated = "posthaste-devnet"

// chainReady is the chain program's ready line.
type chainReady struct {
	FullnodeAPIInfo string   `json:"fullnode_api_info"` // a secret
	Control         string   `json:"control"`
	EpochSeconds    float64  `json:"epoch_seconds"`
	Miners          []string `json:"miners"`
	Stores          []Store  `json:"stores"`
	ParameterCache  string   `json:"parameter_cache"`
	Nodes           []struct {
		FullnodeAPIInfo string `json:"fullnode_api_info"` // a secret
	} `json:"nodes"` // all of them, where there are several
}

// temporalReady is temporal-dev's.
type temporalReady struct {
	Address string `json:"address"`
	UI      string `json:"ui"`
}

// Open starts the programs in a folder: temporal-dev, the chain, the daemon, the worker. Whatever it returns with, Close ends
// what runs.
func Open(ctx context.Context, dir string, o Options) (*Rig, error) {
	program := cmp.Or(o.Program, simulated)
	bin, err := programs(program)
	if err != nil {
		return nil, err
	}
	if os.Getenv("FIL_PROOFS_PARAMETER_CACHE") == "" {
		return nil, errors.New("FIL_PROOFS_PARAMETER_CACHE is not set, so nothing can be proven; run `make test`, or set it to the folder that build/parameters.sh prints")
	}
	r := &Rig{Dir: dir, bin: bin, program: program}
	if err := r.processes(o); err != nil {
		return nil, err
	}
	if err := r.start(ctx, o); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// processes says how each program is run.
func (r *Rig) processes(o Options) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	flags, env := []string{"--db-file", cmp.Or(o.TemporalDB, filepath.Join(r.Dir, "temporal.db"))}, []string(nil)
	if o.Postgres != nil {
		flags, env = o.Postgres.Flags(), o.Postgres.Env()
	}
	flags = append(flags, "--port", fmt.Sprint(ports[0]), "--ui-port", fmt.Sprint(ports[1]))
	r.Temporal = &Process{Name: "temporal-dev", Log: filepath.Join(r.Dir, "temporal-dev.log"), command: func() (string, []string, []string, error) {
		return filepath.Join(r.bin, "temporal-dev"), flags, env, nil
	}}
	r.Temporal.ready, r.Temporal.within = into(&r.temporal), time.Minute
	if o.Bare {
		return nil
	}
	r.Chain = r.process(r.program, func() ([]string, error) {
		return append([]string{"--dir", filepath.Join(r.Dir, "chain")}, o.Chain...), nil
	})
	r.Chain.ready, r.Chain.within = into(&r.chain), 2*time.Minute
	r.Daemon = r.AddDaemon("daemon")
	return nil
}

// AddDaemon makes one more daemon, which is not started yet. It has the same configuration as the others, and lines of its own in
// [temporal].
func (r *Rig) AddDaemon(name string, temporal ...string) *Process {
	path := filepath.Join(r.Dir, name+".toml")
	p := &Process{Name: name, Log: filepath.Join(r.Dir, name+".log"), command: func() (string, []string, []string, error) {
		err := r.Config.writeDaemon(path, cmp.Or(r.Config.Temporal, r.temporal.Address), r.Epoch(), temporal)
		return filepath.Join(r.bin, "posthaste"), []string{"daemon", "run", "--config", path}, r.Config.Env, err
	}}
	r.Daemons = append(r.Daemons, p)
	return p
}

// process is a program of bin/.
func (r *Rig) process(name string, args func() ([]string, error)) *Process {
	return &Process{Name: name, Log: filepath.Join(r.Dir, name+".log"), command: func() (string, []string, []string, error) {
		list, err := args()
		return filepath.Join(r.bin, name), list, nil, err
	}}
}

// AddWorker makes one more worker, which is not started yet. Its configuration is Config.Workers' last then, and may be
// changed there.
func (r *Rig) AddWorker(w Worker) *Process {
	index, file := len(r.Workers), "worker-"+w.Name
	if index == 0 {
		file = "worker"
	}
	path := filepath.Join(r.Dir, file+".toml")
	r.Config.Workers = append(r.Config.Workers, w)
	p := &Process{Name: "worker " + w.Name, Log: filepath.Join(r.Dir, file+".log"), command: func() (string, []string, []string, error) {
		now := r.Config.Workers[index]
		err := now.write(path, r.Config, cmp.Or(now.Temporal, r.temporal.Address))
		env := append(slices.Clone(r.Config.Env), now.Env...)
		if now.File != "" {
			env = append(env, "TEMPORAL_ADDRESS="+r.temporal.Address)
		}
		return filepath.Join(r.bin, "posthaste"), append([]string{"worker", "run", "--config", path}, now.Flags...), env, err
	}}
	r.Workers = append(r.Workers, p)
	r.Worker = r.Workers[0]
	return p
}

// Posthaste is the program itself.
func (r *Rig) Posthaste() string { return filepath.Join(r.bin, "posthaste") }

// StubProver is the program of cards that compute nothing.
func (r *Rig) StubProver() string { return filepath.Join(r.bin, "posthaste-stubprover") }

// Stub is a card that computes nothing: posthaste-stubprover with these flags (package stub).
func (r *Rig) Stub(name string, flags ...string) Card {
	return Card{Name: name, Bin: r.StubProver(), Args: append(slices.Clone(flags), "window_post"), ReadyTimeout: 30 * time.Second}
}

func (r *Rig) start(ctx context.Context, o Options) error {
	if err := r.Temporal.Start(ctx); err != nil {
		return err
	}
	r.Config = Config{Policy: o.Policy, LogLevel: "info"}
	if !o.Bare {
		if err := r.Chain.Start(ctx); err != nil {
			return err
		}
		r.Config.APIInfo, r.Config.Miners, r.Config.Stores = r.chain.FullnodeAPIInfo, r.chain.Miners, slices.Clone(r.chain.Stores)
	}
	r.addWorkers(o)
	var err error
	if r.client, err = workers.Dial(config.Temporal{Address: r.temporal.Address, Namespace: "default"}, "rig", slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if o.Before != nil {
		o.Before(r)
	}
	if o.Idle {
		return nil
	}
	if r.Daemon != nil {
		if err := r.Daemon.Start(ctx); err != nil {
			return err
		}
	}
	return r.StartWorkers(ctx)
}

// addWorkers makes the workers that the options ask for: real cards, all stores, any work.
func (r *Rig) addWorkers(o Options) {
	n := o.Workers
	if n == 0 && !o.Bare {
		n = 1
	}
	for i := range n {
		w := Worker{Name: "rig", Attached: slices.Clone(r.chain.Stores)}
		if i > 0 {
			w.Name = fmt.Sprintf("rig%d", i+1)
		}
		for c := range cmp.Or(o.Cards, 2) {
			w.Cards = append(w.Cards, Card{Name: fmt.Sprintf("card%d", c), ReadyTimeout: 30 * time.Second})
		}
		r.AddWorker(w)
	}
}

// StartWorkers starts the workers that do not run.
func (r *Rig) StartWorkers(ctx context.Context) error {
	for _, w := range r.Workers {
		if w.Running() {
			continue
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// programs of the rig, the last started first.
func (r *Rig) processesBackwards() []*Process {
	var all []*Process
	for _, p := range slices.Concat([]*Process{r.Temporal, r.Chain}, r.Daemons, r.Workers) {
		if p != nil {
			all = append(all, p)
		}
	}
	slices.Reverse(all)
	return all
}

// Close ends everything, the last started first; the workers beside each other, since each may have jobs to hand over. On a bare
// rig nobody would take them: its workers are killed.
func (r *Rig) Close() {
	if r.client != nil {
		r.client.Close()
	}
	var stopping sync.WaitGroup
	for _, w := range r.Workers {
		if r.Daemon == nil {
			w.Kill()
			continue
		}
		stopping.Go(w.Stop)
	}
	stopping.Wait()
	for _, p := range r.processesBackwards() {
		p.Stop()
	}
	for _, end := range r.proxies {
		end()
	}
}

// Died is an error if one of the programs has ended by itself: then there is no use in waiting for anything.
func (r *Rig) Died() error {
	var errs []error
	for _, p := range r.processesBackwards() {
		errs = append(errs, p.Died())
	}
	return errors.Join(errs...)
}

// Client is a client of the rig's Temporal.
func (r *Rig) Client() client.Client { return r.client }

// Epoch is the wall-clock time of an epoch.
func (r *Rig) Epoch() time.Duration {
	return time.Duration(r.chain.EpochSeconds * float64(time.Second))
}

// Nodes are the tokens and addresses of the chain's nodes: secrets.
func (r *Rig) Nodes() []string {
	if len(r.chain.Nodes) == 0 {
		return []string{r.chain.FullnodeAPIInfo}
	}
	var all []string
	for _, n := range r.chain.Nodes {
		all = append(all, n.FullnodeAPIInfo)
	}
	return all
}

// Miners of the chain.
func (r *Rig) Miners() []string { return r.chain.Miners }

// Stores of the chain, where its sectors lie.
func (r *Rig) Stores() []Store { return r.chain.Stores }

// Address of the Temporal server.
func (r *Rig) Address() string { return r.temporal.Address }

// Program is the file of a program that make has built.
func (r *Rig) Program(name string) string { return filepath.Join(r.bin, name) }

// UI is the address of Temporal's Web UI, such as http://127.0.0.1:8233.
func (r *Rig) UI() string { return r.temporal.UI }

// programs is the folder of what make builds, with all that a rig may need in it.
func programs(chain string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	for _, name := range []string{"posthaste", chain, "posthaste-stubprover", "temporal-dev"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("there is no %s; run `%s` first", filepath.Join(bin, name), makes(name))
		}
	}
	return bin, nil
}

// makes is the command that builds a program.
func makes(name string) string {
	if name == "posthaste-lotusdevnet" {
		return "make lotusdevnet"
	}
	return "make build"
}

// moduleRoot is the folder above the working directory that holds go.mod.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above %s: run this inside the repository", start)
		}
	}
}
