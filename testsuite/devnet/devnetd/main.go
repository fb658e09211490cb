// Command posthaste-devnet runs a simulated Filecoin chain: see package devnet. When it serves it prints one line of JSON on
// stdout that says where; everything else goes to stderr. SIGTERM, SIGINT and POST /shutdown on the control port stop it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/filecoin-project/go-state-types/abi"
	logging "github.com/ipfs/go-log/v2"
	"github.com/spf13/cobra"

	"posthaste/testsuite/devnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// go-jsonrpc logs every lost connection and refused call as an error; here losing them is the point.
	_ = logging.SetLogLevel("rpc", "fatal")
	_ = logging.SetLogLevel("auth", "fatal")
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "posthaste-devnet:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	cfg := devnet.DefaultConfig("")
	var level slog.Level
	cmd := &cobra.Command{
		Use:           "posthaste-devnet --dir DIR",
		Short:         "A simulated Filecoin chain with really sealed 2 KiB sectors",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			return run(cmd.Context(), cfg, log)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "", "folder for all files of the chain: stores, tokens (required)")
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "address of the JSON-RPC; port 0: any free one")
	f.StringVar(&cfg.ControlListen, "control-listen", cfg.ControlListen, "address of the control port")
	f.IntVar(&cfg.Miners, "miners", cfg.Miners, "how many miner actors, from f01000 on")
	f.BoolVar(&cfg.SharedControl, "shared-control", cfg.SharedControl, "all miners have one control address")
	f.DurationVar(&cfg.EpochDuration, "epoch", cfg.EpochDuration, "time between tipsets")
	f.Uint64Var(&cfg.Deadlines, "deadlines", cfg.Deadlines, "deadlines a proving period")
	epochs := func(p *abi.ChainEpoch, name, usage string) { f.Int64Var((*int64)(p), name, int64(*p), usage) }
	epochs(&cfg.Window, "window", "epochs from a deadline's Open to its Close")
	epochs(&cfg.Lookback, "lookback", "epochs from a deadline's Challenge to its Open")
	epochs(&cfg.FaultCutoff, "fault-cutoff", "epochs before Open after which faults and recoveries are refused")
	epochs(&cfg.Lead, "lead", "epochs from the start to the first challenge")
	epochs(&cfg.StartEpoch, "start-epoch", "height of the first tipset")
	epochs(&cfg.InclusionDelay, "inclusion-delay", "epochs from a message's push to the first tipset that may hold it")
	f.IntVar(&cfg.Partitions, "partitions", cfg.Partitions, "partitions of a deadline")
	f.IntVar(&cfg.WideEvery, "wide-every", cfg.WideEvery, "every so many deadlines, one has a partition more; 0: none")
	f.IntVar(&cfg.SectorsPerPartition, "sectors", cfg.SectorsPerPartition, "sectors a partition, 1 or 2")
	f.IntVar(&cfg.UpgradedEvery, "upgraded-every", cfg.UpgradedEvery, "of so many sectors, the last is an upgraded (snap) one; 0: none is")
	f.StringVar(&cfg.Seed, "seed", cfg.Seed, "of keys, beacon and tickets")
	f.TextVar(&level, "log-level", slog.LevelWarn, "debug, info, warn or error")
	return cmd
}

func run(ctx context.Context, cfg devnet.Config, log *slog.Logger) error {
	d, err := devnet.Start(ctx, cfg, log)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(d.Ready); err != nil {
		return fmt.Errorf("saying that the chain is ready: %w", err)
	}
	select {
	case <-ctx.Done():
	case <-d.ShutdownAsked():
	}
	return d.Stop()
}
