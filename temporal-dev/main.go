// Command temporal-dev is Temporal in one process and on one file: all of the server's services, its Web UI and a
// SQLite database. It is what posthaste uses where no Temporal cluster runs. See README.md for the settings and why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Exit codes: a usage error is told apart so that a supervisor does not try it again.
const (
	exitFailed = 1
	exitUsage  = 2
)

// collectAt is the growth of the heap, in percent, at which it is collected (Go's own is 100): the server's garbage is short-lived
// and its memory shares a machine with provers.
const collectAt = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	os.Exit(mainCode())
}

func mainCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "temporal-dev: %v\n", err)
		return exitUsage
	}
	if opts.showVersion {
		fmt.Fprintf(os.Stdout, "temporal-dev: Temporal server %s\n", serverVersion)
		return 0
	}
	if err := run(ctx, opts, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "temporal-dev: %v\n", err)
		return exitFailed
	}
	return 0
}
