package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posthaste/config"
	"posthaste/workers"
)

// demoDir makes the run's folder. One that was used before is refused: its Temporal would go on with another chain's
// deadlines.
func demoDir(dir string) (string, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "posthaste-demo-")
		if err != nil {
			return "", fmt.Errorf("making the demo's folder: %w", err)
		}
		return dir, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("--dir: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the demo's folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "temporal.db")); err == nil {
		return "", fmt.Errorf("%s holds an earlier demo; give --dir another folder, or remove it", dir)
	}
	return dir, nil
}

// startAll starts the programs, Temporal first, and tells where to look as soon as there is something to see.
func (d *demonstration) startAll(ctx context.Context, s *supervisor) error {
	err := d.startTemporal(ctx, s, ports{freePort(ctx, 7233), freePort(ctx, 8233)})
	if err != nil && ctx.Err() == nil {
		err = d.startTemporal(ctx, s, ports{}) // another demo that was started at the same time may have been quicker
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(d.stderr, "Temporal Web UI: %s\n", d.server.UI)
	fmt.Fprintf(d.stderr, "For posthaste, tctl and temporal in another terminal: export TEMPORAL_ADDRESS=%s\n", d.server.Address)
	if err := d.startChain(ctx, s); err != nil {
		return err
	}
	if err := d.breakEarly(ctx); err != nil {
		return err
	}
	configs, err := d.writeConfigs()
	if err != nil {
		return err
	}
	if d.client, err = workers.Dial(config.Temporal{Address: d.server.Address, Namespace: d.server.Namespace}, "posthaste-demo", slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	report, err := readReport(ctx, d.chain.Control)
	if err != nil {
		return err
	}
	d.started = report.Epoch
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program's own file: %w", err)
	}
	var env []string
	if d.chain.ParameterCache != "" {
		env = []string{"FIL_PROOFS_PARAMETER_CACHE=" + d.chain.ParameterCache}
	}
	start := func(name, role, configPath string) error {
		// Whoever looks around may drain a worker.
		return s.start(ctx, program{name: name, path: self, args: []string{role, "run", "--config", configPath}, env: env, mayEnd: role == "worker"})
	}
	if err := start("daemon", "daemon", configs[0]); err != nil {
		return err
	}
	for i, configPath := range configs {
		name := "worker"
		if d.workers > 1 {
			name = fmt.Sprintf("worker-%d", i+1)
		}
		if err := start(name, "worker", configPath); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.stderr, "following %d deadlines of %s from epoch %d on\n", d.deadlines, strings.Join(d.chain.Miners, " and "), d.started)
	d.tellEarly()
	return nil
}

func (d *demonstration) startTemporal(ctx context.Context, s *supervisor, listen ports) error {
	p, err := temporalProgram(filepath.Join(d.dir, "temporal.db"), "127.0.0.1", "default", listen, &d.server)
	if err != nil {
		return err
	}
	p.restart = d.fault != nil && d.fault.name == temporalFault.name
	return s.start(ctx, p)
}

func (d *demonstration) startChain(ctx context.Context, s *supervisor) (err error) {
	path := d.demoOptions.chain
	if path == "" {
		if path, err = sibling("posthaste-devnet"); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.stderr, "starting the chain: %s\n", filepath.Base(path))
	args := []string{"--dir", filepath.Join(d.dir, "chain")}
	if d.demoOptions.chain == "" {
		args = append(args, demoEpoch)
		if d.fault == nil { // a fault works on files as they were sealed
			args = append(args, "--upgraded-every=3")
		}
	}
	args = append(args, d.chainArgs...)
	return s.start(ctx, program{name: "chain", path: path, args: args, env: testParameters(), ready: &d.chain, within: 10 * time.Minute})
}

// testParameters names the parameters for 2 KiB sectors that the build put into the user's cache, unless the environment names some:
// so that the demo can be started by hand, too.
func testParameters() []string {
	const name = "FIL_PROOFS_PARAMETER_CACHE"
	if os.Getenv(name) != "" {
		return nil
	}
	cache := os.Getenv("POSTHASTE_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil
		}
		cache = filepath.Join(user, "posthaste")
	}
	made, err := filepath.Glob(filepath.Join(cache, "parameters-2KiB-*", "complete"))
	if err != nil || len(made) == 0 {
		return nil
	}
	return []string{name + "=" + filepath.Dir(made[len(made)-1])}
}

func (d *demonstration) epoch() time.Duration {
	return time.Duration(d.chain.EpochSeconds * float64(time.Second))
}

// demoEpoch makes deadlines of 24 s. With the chain's own half a second, a machine that is busy with other things missed one at times, and that would be
// the first that somebody sees of posthaste.
const demoEpoch = "--epoch=1s"
