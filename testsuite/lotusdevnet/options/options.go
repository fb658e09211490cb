// Package options reads and checks the command line of posthaste-lotusdevnet.
package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	logging "github.com/ipfs/go-log/v2"
)

// Options is what a chain is started with.
type Options struct {
	Dir       string // of all files
	Listen    string // host:port of the JSON-RPC
	Sectors   int    // of 2 KiB
	Nodes     int    // full nodes of the network
	Addresses bool   // the miner's owner, worker and control address are three
	Turns     bool   // Lotus's own poster takes every other deadline
	// Interleaved is how many deadlines, the next ones that may be changed, have partitions whose sectors are not in the order of their numbers.
	Interleaved int
	Epoch       time.Duration // by the wall clock
	Parameters  string        // folder of the Groth16 parameters
	LogLevel    string        // of Lotus
}

// Parse reads the command line. The parameters default to where the proofs library would look for them.
func Parse(args []string, parameters string) (Options, error) {
	var o Options
	f := flag.NewFlagSet("posthaste-lotusdevnet", flag.ContinueOnError)
	f.StringVar(&o.Dir, "dir", "", "`folder` for all files of the chain; created (required)")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:0", "`address` of the node's JSON-RPC; port 0: any free one")
	f.IntVar(&o.Sectors, "sectors", 96, "2 KiB sectors of the miner, 2 to 960; two make a partition, and 96 fill nearly all of the 48 deadlines")
	f.IntVar(&o.Nodes, "nodes", 1, "full nodes, 1 to 4; all hold the miner's keys, and the others follow the first")
	f.BoolVar(&o.Addresses, "addresses", false, "give the miner an owner and a control address of their own; without, its worker is its owner")
	f.BoolVar(&o.Turns, "turns", false, "let Lotus's own poster prove the deadlines with odd numbers; each of the two sees only its own, and has a control address (implies --addresses)")
	f.IntVar(&o.Interleaved, "interleaved", 0, "make the sector numbers of this many deadlines' partitions interleave, 0 to 10: the miner terminates a sector of each and compacts its partition")
	f.DurationVar(&o.Epoch, "epoch", 150*time.Millisecond, "wall-clock `time` of an epoch, such as 150ms; block timestamps say 4 s whatever it is")
	f.StringVar(&o.Parameters, "parameters", parameters, "`folder` of the Groth16 parameters, the same as the prover's")
	f.StringVar(&o.LogLevel, "log-level", "error", "of Lotus: debug, info, warn or error")
	f.SetOutput(io.Discard) // an error is one line, not the whole usage
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(os.Stderr)
			f.Usage()
		}
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; all options are flags, see --help", f.Arg(0))
	}
	return o, o.check()
}

func (o *Options) check() error {
	o.Addresses = o.Addresses || o.Turns
	if o.Dir == "" {
		return errors.New("--dir is missing; name a folder for the chain's files")
	}
	if o.Sectors < 2 || o.Sectors > 960 {
		return fmt.Errorf("--sectors %d: must be 2 to 960; Lotus mines with the power of at least one partition, and each sector costs start-up time", o.Sectors)
	}
	if o.Nodes < 1 || o.Nodes > 4 {
		return fmt.Errorf("--nodes %d: must be 1 to 4; each executes every block", o.Nodes)
	}
	if o.Interleaved < 0 || o.Interleaved > 10 {
		return fmt.Errorf("--interleaved %d: must be 0 to 10; later deadlines may not be changed when the chain begins", o.Interleaved)
	}
	if o.Epoch < 20*time.Millisecond || o.Epoch > 30*time.Second {
		return fmt.Errorf("--epoch %s: must be 20ms to 30s", o.Epoch)
	}
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		return fmt.Errorf("--listen %q: must be host:port, for instance 127.0.0.1:0", o.Listen)
	}
	if _, err := logging.Parse(o.LogLevel); err != nil {
		return fmt.Errorf("--log-level %q: must be debug, info, warn or error", o.LogLevel)
	}
	if o.Parameters == "" {
		return errors.New("no Groth16 parameters: set FIL_PROOFS_PARAMETER_CACHE or --parameters to what build/parameters.sh prints")
	}
	keys, err := filepath.Glob(filepath.Join(o.Parameters, "*.vk"))
	if err != nil || len(keys) == 0 {
		return fmt.Errorf("--parameters %s: holds no verifying key (*.vk); run build/parameters.sh and give the folder that it prints", o.Parameters)
	}
	return nil
}

// Scratch is where Lotus puts its temporary folders, sectors among them; it is removed at the end.
func (o *Options) Scratch() string { return filepath.Join(o.Dir, "lotus") }

// Prepare sets up the folder and the environment that Lotus and the proofs library read.
func (o *Options) Prepare() error {
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return fmt.Errorf("--dir %s: %w", o.Dir, err)
	}
	if o.Parameters, err = filepath.Abs(o.Parameters); err != nil {
		return fmt.Errorf("--parameters %s: %w", o.Parameters, err)
	}
	// What a killed run left would only take space: every run makes a new chain.
	if err := os.RemoveAll(o.Scratch()); err != nil {
		return fmt.Errorf("removing an earlier chain: %w", err)
	}
	if err := os.MkdirAll(o.Scratch(), 0o755); err != nil {
		return fmt.Errorf("creating --dir: %w", err)
	}
	return errors.Join(
		os.Setenv("TMPDIR", o.Scratch()),
		os.Setenv("FIL_PROOFS_PARAMETER_CACHE", o.Parameters),
		// A fork mined on purpose looks to a Lotus node like a miner who is about to be slashed.
		os.Setenv("LOTUS_NO_SLASHFILTER", "_yes_i_know_i_can_and_probably_will_lose_all_my_fil_and_power_"),
	)
}
