package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"posthaste/config"
	"posthaste/workers"
)

// upOptions are the flags of `up`.
type upOptions struct {
	dataDir string
	uiPort  int
}

func newUp(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: Temporal with its Web UI, a daemon and a worker",
		Long: `Run everything on this machine, from one posthaste.toml: Temporal with its Web UI, a daemon and a worker.

What Temporal keeps is in the data folder and outlives this command. A temporal-dev that is running on it already is used
and left running. A program that ends is started again. Ctrl-C stops all, in order; twice: at once.`,
		Example: `  posthaste init && posthaste up`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := a.load()
			if err != nil {
				return err
			}
			if err := c.ForDaemon(); err != nil {
				return err // before anything is started
			}
			return a.up(cmd.Context(), o, log)
		},
	}
	cmd.Flags().StringVar(&o.dataDir, "data-dir", "", "`folder` of Temporal's database and the logs (default: posthaste in $XDG_DATA_HOME)")
	cmd.Flags().IntVar(&o.uiPort, "ui-port", 8233, "`port` of the Web UI; 0: any free one")
	return cmd
}

// dataHome is where a user's programs keep what must last (XDG base directory specification).
func dataHome(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "posthaste"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", fmt.Errorf("neither XDG_DATA_HOME nor HOME is set; give --data-dir")
	}
	return filepath.Join(home, ".local", "share", "posthaste"), nil
}

func (a *app) up(ctx context.Context, o upOptions, log *slog.Logger) error {
	if o.dataDir == "" {
		dir, err := dataHome(os.Getenv)
		if err != nil {
			return err
		}
		o.dataDir = dir
	}
	logs := filepath.Join(o.dataDir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program's own file: %w", err)
	}
	s := newSupervisor(ctx, logs, log)
	defer s.stop()
	server, err := a.upTemporal(ctx, s, o, log)
	if err != nil {
		return err
	}
	c, env, err := a.attachedTo(server)
	if err != nil {
		return err
	}
	for _, role := range []string{"daemon", "worker"} {
		args := []string{role, "run", "--config", a.configPath}
		if a.logLevel != "" {
			args = append(args, "--log-level", a.logLevel)
		}
		p := program{name: role, path: self, args: args, env: env, restart: true}
		if role == "worker" {
			p.grace = workers.StopWithin(c.Worker) // a second Ctrl-C ends all at once
		}
		if err := s.start(ctx, p); err != nil {
			return err
		}
	}
	log.Info("posthaste is up; Ctrl-C stops it", "web_ui", server.UI, "temporal", server.Address, "logs", logs)
	select {
	case <-ctx.Done():
		log.Info("stopping: worker, daemon, Temporal")
		s.stop()
		log.Info("stopped", "data", o.dataDir)
		return nil
	case err := <-s.died:
		return err
	}
}

// upTemporal finds the temporal-dev that runs on our database, or starts one where the configuration expects it.
func (a *app) upTemporal(ctx context.Context, s *supervisor, o upOptions, log *slog.Logger) (temporalReady, error) {
	dbFile := filepath.Join(o.dataDir, "temporal.db")
	found, err := runningTemporal(ctx, dbFile)
	if err != nil {
		return temporalReady{}, err
	}
	if found != nil {
		log.Info("using the temporal-dev that is running", "pid", found.PID, "address", found.Address)
		return *found, nil
	}
	c, err := config.Load(a.configPath)
	if err != nil {
		return temporalReady{}, err
	}
	host, portText, err := net.SplitHostPort(c.Temporal.Address)
	port, portErr := strconv.Atoi(portText)
	if ip := net.ParseIP(cmp.Or(map[string]string{"localhost": "127.0.0.1"}[host], host)); err != nil || portErr != nil || ip == nil || !ip.IsLoopback() {
		return temporalReady{}, fmt.Errorf("temporal.address is %s, which is not this machine; start `posthaste daemon run` and `posthaste worker run` instead of `up`", c.Temporal.Address)
	} else {
		host = ip.String()
	}
	var ready temporalReady
	p, err := temporalProgram(dbFile, host, c.Temporal.Namespace, ports{port, o.uiPort}, &ready)
	if err != nil {
		return temporalReady{}, err
	}
	p.restart = true
	if err := s.start(ctx, p); err != nil {
		return temporalReady{}, fmt.Errorf("%w\nhere its port is that of temporal.address in posthaste.toml, and the Web UI's that of `posthaste up --ui-port`", err)
	}
	return ready, nil
}

// attachedTo is the configuration with the server that was found in place of the default, and the environment that gives
// it to the children. A posthaste.toml that names another server is refused.
func (a *app) attachedTo(server temporalReady) (*config.Config, []string, error) {
	env := map[string]string{"TEMPORAL_ADDRESS": server.Address, "TEMPORAL_NAMESPACE": server.Namespace}
	c, err := config.LoadWith(a.configPath, func(name string) string { return cmp.Or(env[name], os.Getenv(name)) })
	if err != nil {
		return nil, nil, err
	}
	if want := (config.Temporal{Address: server.Address, Namespace: server.Namespace, UI: c.Temporal.UI}); c.Temporal != want && !sameLoopback(c.Temporal, want) {
		return nil, nil, fmt.Errorf("the temporal-dev of this data folder answers at %s, namespace %s; %s says %s, %s: leave [temporal] out there, or stop that one",
			server.Address, server.Namespace, a.configPath, c.Temporal.Address, c.Temporal.Namespace)
	}
	return c, []string{"TEMPORAL_ADDRESS=" + server.Address, "TEMPORAL_NAMESPACE=" + server.Namespace}, nil
}

// sameLoopback lets localhost:7233 be 127.0.0.1:7233.
func sameLoopback(a, b config.Temporal) bool {
	hostA, portA, errA := net.SplitHostPort(a.Address)
	_, portB, errB := net.SplitHostPort(b.Address)
	return errA == nil && errB == nil && hostA == "localhost" && portA == portB && a.Namespace == b.Namespace
}
