package rig

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/client"

	"posthaste/config"
	"posthaste/workers"
)

// Options say what to run.
type Options struct {
	Chain  []string // flags of posthaste-devnet, beside --dir
	Cards  int      // of the worker; 0 means 2
	Policy []string // lines of [policy]
	// Before is called with the configuration when Temporal and the chain run and nothing else does yet.
	Before func(*Rig)
	// Idle leaves daemon and worker to be started by the caller.
	Idle bool
	// TemporalDB is temporal-dev's file; empty: one in the rig's folder.
	TemporalDB string
}

// Rig is a set of programs around one simulated chain.
type Rig struct {
	Dir      string
	Config   Config // of daemon and worker at their next start
	Temporal *Process
	Chain    *Process
	Daemon   *Process
	Worker   *Process

	chain    chainReady
	temporal temporalReady
	client   client.Client
	bin      string
}

// chainReady is the chain program's ready line.
type chainReady struct {
	FullnodeAPIInfo string   `json:"fullnode_api_info"` // a secret
	Control         string   `json:"control"`
	EpochSeconds    float64  `json:"epoch_seconds"`
	Miners          []string `json:"miners"`
	Stores          []Store  `json:"stores"`
	ParameterCache  string   `json:"parameter_cache"`
}

// temporalReady is temporal-dev's.
type temporalReady struct {
	Address string `json:"address"`
	UI      string `json:"ui"`
}

// Open starts the programs in a folder: temporal-dev, the chain, the daemon, the worker. Whatever it returns with, Close ends
// what runs.
func Open(ctx context.Context, dir string, o Options) (*Rig, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	if os.Getenv("FIL_PROOFS_PARAMETER_CACHE") == "" {
		return nil, errors.New("FIL_PROOFS_PARAMETER_CACHE is not set, so nothing can be proven; run `make test`, or set it to the folder that build/parameters.sh prints")
	}
	r := &Rig{Dir: dir, bin: bin}
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
	db := o.TemporalDB
	if db == "" {
		db = filepath.Join(r.Dir, "temporal.db")
	}
	r.Temporal = r.process("temporal-dev", func() ([]string, error) {
		return []string{"--db-file", db, "--port", fmt.Sprint(ports[0]), "--ui-port", fmt.Sprint(ports[1])}, nil
	})
	r.Temporal.ready, r.Temporal.within = into(&r.temporal), time.Minute
	r.Chain = r.process("posthaste-devnet", func() ([]string, error) {
		return append([]string{"--dir", filepath.Join(r.Dir, "chain")}, o.Chain...), nil
	})
	r.Chain.ready, r.Chain.within = into(&r.chain), 2*time.Minute
	r.Daemon, r.Worker = r.role("daemon"), r.role("worker")
	return nil
}

// process is a program of bin/.
func (r *Rig) process(name string, args func() ([]string, error)) *Process {
	return &Process{Name: name, Log: filepath.Join(r.Dir, name+".log"), command: func() (string, []string, []string, error) {
		list, err := args()
		return filepath.Join(r.bin, name), list, nil, err
	}}
}

// role is `posthaste daemon run` or `posthaste worker run`, each with a configuration of its own.
func (r *Rig) role(role string) *Process {
	path := filepath.Join(r.Dir, role+".toml")
	return &Process{Name: role, Log: filepath.Join(r.Dir, role+".log"), command: func() (string, []string, []string, error) {
		err := r.Config.write(path, r.temporal.Address, r.Epoch())
		return filepath.Join(r.bin, "posthaste"), []string{role, "run", "--config", path}, r.Config.Env, err
	}}
}

func (r *Rig) start(ctx context.Context, o Options) error {
	if err := r.Temporal.Start(ctx); err != nil {
		return err
	}
	if err := r.Chain.Start(ctx); err != nil {
		return err
	}
	r.Config = Config{
		APIInfo: r.chain.FullnodeAPIInfo, Miners: r.chain.Miners, Policy: o.Policy, Worker: "rig", LogLevel: "info",
		Stores: append([]Store{}, r.chain.Stores...), Attached: append([]Store{}, r.chain.Stores...),
	}
	cards := o.Cards
	if cards == 0 {
		cards = 2
	}
	for i := range cards {
		r.Config.Cards = append(r.Config.Cards, Card{Name: fmt.Sprintf("card%d", i), ReadyTimeout: 30 * time.Second})
	}
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
	if err := r.Daemon.Start(ctx); err != nil {
		return err
	}
	return r.Worker.Start(ctx)
}

// Close ends everything, the last started first.
func (r *Rig) Close() {
	if r.client != nil {
		r.client.Close()
	}
	for _, p := range []*Process{r.Worker, r.Daemon, r.Chain, r.Temporal} {
		p.Stop()
	}
}

// Died is an error if one of the programs has ended by itself: then there is no use in waiting for anything.
func (r *Rig) Died() error {
	return errors.Join(r.Temporal.Died(), r.Chain.Died(), r.Daemon.Died(), r.Worker.Died())
}

// Client is a client of the rig's Temporal.
func (r *Rig) Client() client.Client { return r.client }

// Epoch is the wall-clock time of an epoch.
func (r *Rig) Epoch() time.Duration {
	return time.Duration(r.chain.EpochSeconds * float64(time.Second))
}

// Miners of the chain.
func (r *Rig) Miners() []string { return r.chain.Miners }

// Stores of the chain, where its sectors lie.
func (r *Rig) Stores() []Store { return r.chain.Stores }

// Address of the Temporal server.
func (r *Rig) Address() string { return r.temporal.Address }

// programs is the folder of what `make build` builds.
func programs() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	for _, name := range []string{"posthaste", "posthaste-devnet", "temporal-dev"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("there is no %s; run `make build` first", filepath.Join(bin, name))
		}
	}
	return bin, nil
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

// freePorts finds ports that nobody uses now. They are kept for the rig's life, so that a server can come back where it was.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
