// Command posthaste proves the storage of Filecoin miners in time: its daemons, its workers, and what people ask of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.temporal.io/sdk/client"

	"posthaste/config"
)

// Exit codes.
const (
	exitFailed      = 1
	exitInterrupted = 130 // as a shell says of a program that SIGINT ended
)

func main() {
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	ctx, stop := a.interruptible(context.Background())
	err := newRoot(a).ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err == nil {
		return
	}
	if interrupted && errors.Is(err, context.Canceled) {
		os.Exit(exitInterrupted)
	}
	fmt.Fprintln(os.Stderr, "posthaste: "+err.Error())
	os.Exit(exitFailed)
}

// interruptible ends its context at the first SIGINT or SIGTERM and the process at the second: children die with it
// (supervisor.go), so nothing is left behind by somebody who does not want to wait. A command that is patient has a use for the
// second, and ends at the third.
func (a *app) interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		if a.patient.Load() {
			<-signals
		}
		os.Exit(exitInterrupted)
	}()
	return ctx, cancel
}

// app is what all commands share: the flags of the root and where to print.
type app struct {
	configPath string
	logLevel   string // overrides log.level
	stdout     io.Writer
	stderr     io.Writer
	patient    atomic.Bool // the second signal does not end the process

	dial func(config.Temporal, string, *slog.Logger) (client.Client, error) // nil: workers.Dial
}

// newRoot is the command tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "posthaste",
		Short:         "WindowPoSt proving for Filecoin storage providers, as durable Temporal workflows",
		SilenceErrors: true, // main prints the error, once
		SilenceUsage:  true,
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.configPath, "config", config.DefaultFile, "the configuration `file`")
	root.PersistentFlags().StringVar(&a.logLevel, "log-level", "", "debug, info, warn or error; overrides the configuration's")
	root.AddCommand(newInit(a), newVersion(a), newProcessor(a), newUp(a), newDemo(a), newDaemon(a), newWorker(a), newStatus(a))
	root.AddCommand(newTemporal(a))
	root.AddCommand(newAlert(a))
	root.AddCommand(newWdpost(a))
	root.AddCommand(newMiner(a), newDeadline(a))
	root.AddCommand(newProving(a))
	root.InitDefaultCompletionCmd("posthaste")
	refuseUnknown(root)
	root.SetFlagErrorFunc(explainFlag)
	return root
}

// explainFlag says what a flag wants instead of how Go failed to read it.
func explainFlag(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var number *strconv.NumError
	if !errors.As(err, &invalid) || !errors.As(err, &number) {
		return err
	}
	kind := map[bool]string{true: "a number", false: "a whole number"}[strings.HasPrefix(invalid.GetFlag().Value.Type(), "float")]
	return fmt.Errorf("--%s %q: %w; give %s", invalid.GetFlag().Name, invalid.GetValue(), number.Err, kind)
}

// refuseUnknown makes commands that only hold others show their help, and fail when they are given a name that none has:
// left alone they would show help and report success. All say what they want when their arguments are not right.
func refuseUnknown(cmd *cobra.Command) {
	if !cmd.Runnable() {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if right := cmd.Args; right != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return explainArgs(cmd, args, right(cmd, args)) }
	}
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
}

// explainArgs adds to a complaint about arguments what a command takes, or which of its subcommands may have been meant.
func explainArgs(cmd *cobra.Command, args []string, err error) error {
	if err == nil {
		return nil
	}
	if !cmd.HasAvailableSubCommands() {
		return fmt.Errorf("%w; usage: %s", err, cmd.UseLine())
	}
	cmd.SuggestionsMinimumDistance = 2
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, strings.Join(meant, " or "))
	}
	return fmt.Errorf("%w; `%s --help` lists them", err, cmd.CommandPath())
}

// load reads the configuration and makes the logger that it asks for, which then tells the configuration's warnings.
func (a *app) load() (*config.Config, *slog.Logger, error) {
	c, err := config.Load(a.configPath)
	if err != nil {
		return nil, nil, err
	}
	return a.loaded(c)
}

// loaded gives a configuration with the log that it asks for, in which its warnings stand.
func (a *app) loaded(c *config.Config) (*config.Config, *slog.Logger, error) {
	log, err := a.logger(c.Log)
	if err != nil {
		return nil, nil, err
	}
	for _, warning := range c.Warnings {
		log.Warn(warning)
	}
	return c, log, nil
}

// logger writes to stderr, so that stdout is a command's answer.
func (a *app) logger(l config.Log) (*slog.Logger, error) {
	if a.logLevel != "" {
		level, err := config.ParseLevel(a.logLevel)
		if err != nil {
			return nil, fmt.Errorf("--log-level: %w", err)
		}
		l.Level = level
	}
	options := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, options)), nil
	}
	return slog.New(slog.NewTextHandler(a.stderr, options)), nil
}
