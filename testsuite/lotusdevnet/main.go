// Command posthaste-lotusdevnet is a real Lotus full node with the real built-in actors, alone on this machine, mining
// quickly. Its miner holds 2 KiB sectors and does not prove them: that is left to whoever the chain is tried with.
//
// Once the chain mines and answers it prints one JSON line on stdout; everything else goes to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"

	"posthaste/testsuite/lotusdevnet/options"
)

func main() {
	opts, err := options.Parse(os.Args[1:], os.Getenv("FIL_PROOFS_PARAMETER_CACHE"))
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fail(2, err)
	}
	// Before anything that takes time: a taken port should be known at once.
	rpc, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		fail(1, fmt.Errorf("--listen %s: %w; choose another address, or port 0", opts.Listen, err))
	}
	if err := opts.Prepare(); err != nil {
		fail(1, err)
	}
	stdout, err := keepStdout()
	if err != nil {
		fail(1, err)
	}

	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	// Lotus's test kit wants a *testing.T, and the testing package makes one only inside a test run. Verbose, so that the
	// reason of a failure is printed when it happens and log lines are not kept in memory. There is no time limit: that
	// of ten minutes belongs to the go command, not to this.
	os.Args = []string{os.Args[0], "-test.v=true"}
	testing.Main(
		func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "chain", F: func(t *testing.T) { run(ctx, t, opts, rpc, stdout) }}}, nil, nil)
}

func fail(status int, err error) {
	fmt.Fprintln(os.Stderr, "posthaste-lotusdevnet:", err)
	os.Exit(status)
}

// keepStdout returns the real stdout and points descriptor 1 to stderr, because Lotus, its proofs library and the
// testing package all print to it.
func keepStdout() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicating stdout: %w", err)
	}
	if err := unix.Dup3(2, 1, 0); err != nil {
		return nil, fmt.Errorf("pointing stdout to stderr: %w", err)
	}
	return os.NewFile(uintptr(fd), "stdout"), nil
}
