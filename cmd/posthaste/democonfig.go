package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"posthaste/config"
)

// workerName is the name of one of the demo's workers, from 0.
func (d *demonstration) workerName(i int) string {
	if d.workers == 1 {
		return "demo"
	}
	return fmt.Sprintf("demo-%d", i+1)
}

// cardNames are all cards of the demo, as "worker/card".
func (d *demonstration) cardNames() (names []string) {
	for i := range d.workers {
		for j := range d.cards {
			names = append(names, fmt.Sprintf("%s/card%d", d.workerName(i), j))
		}
	}
	return names
}

// writeConfigs writes this run's configuration of each worker. The first is also the daemon's.
func (d *demonstration) writeConfigs() ([]string, error) {
	var paths []string
	for i := range d.workers {
		name := config.DefaultFile
		if i > 0 {
			name = d.workerName(i) + ".toml"
		}
		path := filepath.Join(d.dir, name)
		// It holds a token: nobody else may read it.
		if err := os.WriteFile(path, []byte(d.configText(i)), 0o600); err != nil {
			return nil, fmt.Errorf("writing the demo's configuration: %w", err)
		}
		if _, err := config.Load(path); err != nil {
			return nil, fmt.Errorf("the chain program's ready line does not make a configuration: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// configText is the posthaste.toml of a worker.
func (d *demonstration) configText(worker int) string {
	var b strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	write("# Of a demo, written by it.\n[temporal]\naddress = %q\nnamespace = %q", d.server.Address, d.server.Namespace)
	write("[chain]\napi_info = %q\nepoch_duration = %q", d.chain.FullnodeAPIInfo, d.epoch().String())
	if d.fault != nil && len(d.fault.policy) > 0 {
		write("[policy]\n%s", strings.Join(d.fault.policy, "\n"))
	}
	for _, miner := range d.chain.Miners {
		write("[[miners]]\nid = %q", miner)
	}
	for _, store := range d.chain.Stores {
		write("[[stores]]\nname = %q\npath = %q\n[[attached]]\nname = %q\nlocation = %q", store.Name, store.Path, store.Name, store.Path)
	}
	write("[worker]\nname = %q", d.workerName(worker))
	if worker > 0 {
		write("[metrics]\nworker = \"off\"") // the first one has the port
	}
	for i := range d.cards {
		card := fmt.Sprintf("card%d", i)
		write("[[processors.window_post]]\nname = %q\nenvs = { TMPDIR = %q }\nready_timeout = \"30s\"", card, filepath.Join(d.dir, d.workerName(worker), card))
		if lines := d.cardLines(worker, i); lines != "" {
			write("%s", lines)
		}
	}
	return b.String()
}
