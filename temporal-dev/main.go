// Command temporal-dev is Temporal in one process and on one file: all of the server's services, its Web UI and a
// SQLite database. It is what posthaste uses where no Temporal cluster runs. It also runs on a PostgreSQL server, brings
// databases there up for Temporal, and copies its file. See README.md for the settings and why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
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
	out := ownStdout()
	defer runtime.KeepAlive(out) // collected, it would be closed, and whoever waits at its end would not have the reason yet
	if len(os.Args) > 1 {
		if command := commands[os.Args[1]]; command != nil {
			return exitCode(command(ctx, os.Args[2:], out, os.Stderr))
		}
	}
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "temporal-dev: %v\n", err)
		return exitUsage
	}
	if opts.showVersion {
		fmt.Fprintf(out, "temporal-dev: Temporal server %s\n", serverVersion)
		return 0
	}
	return exitCode(run(ctx, opts, out, os.Stderr))
}

// ownStdout is standard output, for this program's own lines alone: what libraries print there goes to standard error. The Web UI ends
// the process with a line of JSON when it cannot listen, which whoever waits for the ready line would take for it.
func ownStdout() *os.File {
	out := os.Stdout
	os.Stdout = os.Stderr
	return out
}

// commands are what it does beside serving.
var commands = map[string]func(ctx context.Context, args []string, out, errOut io.Writer) error{
	"schema":  schemaCommand,
	"backup":  backupCommand,
	"restore": restoreCommand,
}

// usageError is a command line that was not understood.
type usageError struct{ error }

// exitCode tells an error in one line.
func exitCode(err error) int {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usageError{}):
		fmt.Fprintf(os.Stderr, "temporal-dev: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(os.Stderr, "temporal-dev: %v\n", err)
		return exitFailed
	}
}
