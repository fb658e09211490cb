// Command stubprover (bin/posthaste-stubprover) is a card's child that computes nothing, for tests: see package stub. Its argument
// is the kind of processor, as posthaste and damocles give it: window_post or winning_post.
//
//	posthaste-stubprover --proof proofs --sleep 2s --record record.jsonl window_post
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posthaste/testsuite/stub"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "stubprover:", err)
		os.Exit(1)
	}
}

func run() error {
	o := stub.Options{Log: os.Stderr}
	var phases bool
	var mode string
	flag.StringVar(&o.Proof, "proof", "", "`file` with the bytes of the proof, or a folder with one for each task")
	flag.DurationVar(&o.Vanilla, "vanilla", 0, "how long a task's first phase takes")
	flag.DurationVar(&o.Sleep, "sleep", 0, "how long its SNARK takes")
	flag.Func("sleep-for", "`MINER=DURATION`: how long the SNARK of this miner's tasks takes, such as 1001=30s; may be repeated", func(text string) error {
		miner, duration, _ := strings.Cut(text, "=")
		number, err1 := strconv.ParseUint(miner, 10, 64)
		long, err2 := time.ParseDuration(duration)
		if o.SleepFor == nil {
			o.SleepFor = map[uint64]time.Duration{}
		}
		o.SleepFor[number] = long
		return errors.Join(err1, err2)
	})
	flag.DurationVar(&o.ReadyDelay, "ready-delay", 0, "from the start to the ready line")
	flag.StringVar(&mode, "mode", string(stub.OK), fmt.Sprintf("how a task ends: one of %v", stub.Modes))
	flag.StringVar(&o.ModeFile, "mode-file", "", "`file` with a mode, read again for every task; goes before --mode")
	flag.StringVar(&o.Record, "record", "", "`file` to which a line of JSON is appended for everything that happens")
	flag.BoolVar(&phases, "phases", false, "report phases and signs of life as posthaste's own processor does, and not be a foreign program")
	flag.StringVar(&o.Device, "device", "", "the GPU to report, with --phases")
	flag.Parse()
	o.Mode = stub.Mode(mode)
	if !slices.Contains(stub.Modes, o.Mode) {
		return fmt.Errorf("--mode is %q; it must be one of %v", mode, stub.Modes)
	}
	switch kind := flag.Arg(0); kind {
	case "window_post", "winning_post":
		o.Kind = kind
	default:
		return fmt.Errorf("%q is not a kind of processor; it is window_post or winning_post", kind)
	}
	if text := os.Getenv("POSTHASTE_PROGRESS_FD"); phases && text != "" {
		fd, err := strconv.Atoi(text)
		if err != nil || fd < 3 {
			return fmt.Errorf("POSTHASTE_PROGRESS_FD is %q", text)
		}
		syscall.CloseOnExec(fd)
		o.Progress = os.NewFile(uintptr(fd), "progress")
	}
	return stub.Run(context.Background(), os.Stdin, os.Stdout, o)
}
