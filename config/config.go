// Package config reads posthaste.toml: its keys, their defaults, and what is wrong with them, by file, line and key.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// DefaultFile is the name under which the commands look for the configuration.
const DefaultFile = "posthaste.toml"

// Config is what the processes of posthaste are told. Every field has a value that works, except that a daemon needs a node,
// a miner and a store (ForDaemon).
type Config struct {
	Path       string // the file it was read from; "" if none
	Temporal   Temporal
	Versioning Versioning // of daemons
	Chain      Chain
	Miners     []Miner
	Stores     []Store // what a daemon lists to find sectors
	Worker     Worker
	Attached   []Store // what a worker can read; the daemon's stores if none is written
	Cards      []Card  // of windowPoSt; at least one
	Winning    []Card  // set aside for winningPoSt

	// AutoCards: no card is written. Cards is then one about which nothing is configured, and whoever starts the worker puts one
	// for each GPU of the machine in its place (UseDevices).
	AutoCards    bool
	WindowLimit  int // windowPoSt jobs at once in this worker, whatever its cards could take; 0: no limit
	WinningLimit int // winningPoSt jobs at once; 0: no limit
	Metrics      Metrics
	Alerts       Alerts

	Log      Log
	Warnings []string // worth a log line, none stops anything
}

// Temporal is where the Temporal server is.
type Temporal struct {
	Address   string // host:port
	Namespace string
	UI        string // URL of its Web UI as configured, without a slash at the end; empty: see WebUI
}

// WebUI is the URL of the server's Web UI; empty: not known. Of a server on this machine it is known by default to have its port 1000 above
// the server's: so do `posthaste up` and Temporal's own development server.
func (t Temporal) WebUI() string {
	host, text, err := net.SplitHostPort(t.Address)
	port, err2 := strconv.Atoi(text)
	if t.UI != "" || err != nil || err2 != nil || host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return t.UI
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port+1000))
}

// Versioning is Temporal's worker versioning: deadlines end in the version of the daemon that began them.
type Versioning struct {
	On      bool
	BuildID string // what this daemon is; empty: the program's version
}

// Chain is the Filecoin node, or several of one chain.
type Chain struct {
	Nodes         []Secret      // each as in FULLNODE_API_INFO: token:multiaddress; the one that is preferred first; none if none is configured
	EpochDuration time.Duration // overrides what the node says; 0: ask the node

	inFile bool // a token stands in posthaste.toml itself
}

// Miner is a miner actor whose deadlines are proven.
type Miner struct {
	ID       abi.ActorID
	Enabled  bool
	Settings post.Settings // without EpochDuration, which the chain tells
}

// Store is a folder of sealed sectors and the name by which all machines know it.
type Store struct {
	Name string
	Path string
}

// Worker is a process that proves.
type Worker struct {
	Name        string        // unique among the workers; the host's name if not configured
	StopTimeout time.Duration // how long a stopping worker waits for its activities to hand over
	Pool        string        // the GPU tag of its cards, if they have none of their own; post.DefaultPool if not configured
	Rules       []post.Rule   // what its cards may take; none: everything

	MemoryPerProof int64 // bytes that one SNARK takes; 0: 64 GiB for sectors of 32 GiB and up, nothing for smaller ones
	Memory         int64 // bytes that all SNARKs of the host may take together; 0: the machine's, or the cgroup's limit if that is lower
	Drain          bool  // SIGTERM lets what is running finish, instead of handing it over
	LargeOnCPU     bool  // cards without a GPU take sectors of 32 GiB and up too
}

// Metrics is where each kind of process serves Prometheus: host:port; empty: nowhere.
type Metrics struct {
	Daemon string
	Worker string
}

// Card is one child process that proves, usually one per GPU.
type Card struct {
	Name         string
	Bin          string   // the child's program; empty: posthaste itself
	Args         []string // exactly as given; only with Bin
	Envs         map[string]string
	InheritEnvs  bool
	Concurrent   int           // proofs at once
	Weight       int           // its share of the jobs among equally free cards; 1 is usual
	CPUs         string        // the CPUs that it is bound to, such as "0-3,8"; empty: all
	GPU          *bool         // whether it must find a GPU; nil: decided at start (HasGPU)
	Pool         string        // its GPU tag
	ReadyTimeout time.Duration // from start to the ready line; 0: the prover's default
	AutoRestart  bool          // start the child again when it dies
	Reads        Reads
}

// Reads limits how a card reads sectors.
type Reads struct {
	Parallel int           // sectors at once
	Timeout  time.Duration // of one sector
}

// Log is how a process logs to stderr.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Secret is a value that must not be printed, such as an API token.
type Secret string

// Reveal gives the secret itself, to whoever must send it.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// GoString keeps %#v from printing it.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps slog from printing it.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps encoders from writing it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Load reads the configuration at path. What is wrong comes as one error with one line per fault: file:line:column: key: fault.
func Load(path string) (*Config, error) { return load(path, os.Getenv, os.Hostname) }

// LoadWith is Load with another environment than the process's own.
func LoadWith(path string, getenv func(string) string) (*Config, error) {
	return load(path, getenv, os.Hostname)
}

// Default is what an empty file gives.
func Default() (*Config, error) { return build("", nil, os.Getenv, os.Hostname) }

func load(path string, getenv func(string) string, hostname func() (string, error)) (*Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration at %s; `posthaste init` writes one", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if isDamocles(data) {
		return nil, fmt.Errorf("%s is a damocles-worker's configuration, which only `posthaste worker run` reads", path)
	}
	c, err := build(path, data, getenv, hostname)
	if err != nil {
		return nil, err
	}
	if err := c.warnOfReaders(); err != nil {
		return nil, err
	}
	return c, nil
}

// warnOfReaders notes that everybody on the machine can read a token.
func (c *Config) warnOfReaders() error {
	info, err := os.Stat(c.Path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if c.Chain.inFile && info.Mode().Perm()&0o004 != 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds an API token and everybody may read it: chmod 600 it, or use chain.api_info_file, chain.nodes_file or FULLNODE_API_INFO", c.Path))
	}
	if slices.ContainsFunc(c.Alerts.Webhooks, func(w Webhook) bool { return w.inFile }) && info.Mode().Perm()&0o004 != 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds the URL of a webhook, which is a secret, and everybody may read it: chmod 600 it, or use url_file or url_env", c.Path))
	}
	return nil
}

// ForDaemon says what a daemon cannot do without.
func (c *Config) ForDaemon() error {
	var missing []string
	if len(c.Chain.Nodes) == 0 {
		missing = append(missing, "a Filecoin node: chain.api_info, chain.api_info_file or the environment's FULLNODE_API_INFO")
	}
	enabled := 0
	for _, m := range c.Miners {
		if m.Enabled {
			enabled++
		}
	}
	if enabled == 0 {
		missing = append(missing, "a miner: [[miners]] with an id, enabled")
	}
	if len(c.Stores) == 0 {
		missing = append(missing, "a store: [[stores]] with name and path")
	}
	if _, err := c.Alerts.Hooks(); err != nil {
		return fmt.Errorf("%s: %w", c.name(), err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: a daemon needs %s", c.name(), strings.Join(missing, "; and "))
	}
	return nil
}

// ForWorker says what a worker cannot do without.
func (c *Config) ForWorker() error {
	if len(c.Attached) == 0 {
		return fmt.Errorf("%s: a worker needs a store: [[attached]] with name and location, or [[stores]] with name and path", c.name())
	}
	return nil
}

// name is how errors name the configuration.
func (c *Config) name() string {
	if c.Path == "" {
		return "the configuration"
	}
	return c.Path
}
