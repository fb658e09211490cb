package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	logging "github.com/ipfs/go-log/v2"
	"github.com/stretchr/testify/require"

	"github.com/filecoin-project/lotus/api/v1api"
	"github.com/filecoin-project/lotus/build"
	"github.com/filecoin-project/lotus/build/buildconstants"
	"github.com/filecoin-project/lotus/chain/stmgr"
	"github.com/filecoin-project/lotus/chain/types"
	"github.com/filecoin-project/lotus/chain/wallet/key"
	"github.com/filecoin-project/lotus/itests/kit"
	"github.com/filecoin-project/lotus/node"
	"github.com/filecoin-project/lotus/node/modules/dtypes"
	"github.com/filecoin-project/lotus/storage/wdpost"

	"posthaste/testsuite/lotusdevnet/control"
	"posthaste/testsuite/lotusdevnet/options"
	"posthaste/testsuite/lotusdevnet/report"
	"posthaste/testsuite/lotusdevnet/store"
)

// measuredEpochs are mined before the ready line, to tell how long an epoch really takes here. The first deadline with
// sectors opens 118 epochs after genesis, with its challenge 20 before: there is no time for many.
const measuredEpochs = 8

// stopLimit is how long Lotus may take to stop; it has no state worth keeping.
const stopLimit = 15 * time.Second

// readyLine is what the parent process waits for.
type readyLine struct {
	FullnodeAPIInfo string        `json:"fullnode_api_info"` // of the first node
	Nodes           []nodeLine    `json:"nodes"`
	Control         string        `json:"control"`
	EpochSeconds    float64       `json:"epoch_seconds"` // as mined, not as block timestamps say
	Miners          []string      `json:"miners"`
	Addresses       addresses     `json:"addresses"`
	Stores          []sectorStore `json:"stores"`
	ParameterCache  string        `json:"parameter_cache"`
}

type nodeLine struct {
	FullnodeAPIInfo string `json:"fullnode_api_info"`
}

type sectorStore struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// run is the whole life of the chain. What fails in it fails the "test", and so the program.
func run(ctx context.Context, t *testing.T, opts options.Options, rpc net.Listener, stdout *os.File) {
	// Registered first, so it runs after the kit's own.
	t.Cleanup(func() { _ = os.RemoveAll(opts.Scratch()) })
	require.Negative(t, buildconstants.UpgradeSmokeHeight, "build with -tags 2k: by the first rules of mainnet, tickets do not depend on the chain, and forks would have the same ones")
	// Otherwise addresses would begin with a t.
	buildconstants.SetAddressNetwork(address.Mainnet)
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	context.AfterFunc(ctx, func() { time.AfterFunc(stopLimit, func() { abandon(t, opts) }) })

	require.NoError(t, quiet(opts.LogLevel))
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)) // the default one is Lotus's by now

	others, err := key.GenerateKey(types.KTBLS)
	require.NoError(t, err)
	keys, lotus := &controlKeys{own: map[string]address.Address{}}, new(control.Count)
	grown := &additions{log: log}
	nodes, miner, err := network(ctx, t, opts, others, keys, lotus, grown, rpc)
	require.NoError(t, err)
	first := nodes[0]

	mined := newMining(nodes, miner.ActorAddr, opts.Epoch, &crowdWallet{key: others}, log)
	stopped := make(chan error, 1)
	go func() { stopped <- mined.run(ctx) }()
	send := &outbox{node: first, from: first.DefaultKey.Address}
	named, err := shareKeys(ctx, nodes, miner, opts, keys, send)
	if ctx.Err() != nil {
		return
	}
	require.NoError(t, err)
	require.NoError(t, interleave(ctx, first, miner.ActorAddr, miner.OwnerKey.Address, opts.Interleaved))
	epoch, err := measureEpoch(ctx, first.TestFullNode)
	if ctx.Err() != nil {
		return
	}
	require.NoError(t, err)

	f := &follower{node: first, miner: miner.ActorAddr, outbox: send, ledger: report.NewLedger(), turns: opts.Turns, log: log}
	heads, err := first.ChainNotify(ctx)
	require.NoError(t, err)
	require.NoError(t, f.begin(ctx, heads))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	id, err := address.IDFromAddress(miner.ActorAddr)
	require.NoError(t, err)
	c := &chain{
		mining: mined, nodes: nodes, ledger: f.ledger, shutdown: cancel, turns: opts.Turns, lotus: lotus,
		store: store.New(miner.PresealDir, filepath.Join(opts.Scratch(), "aside"), id),
		grower: &grower{
			mining: mined, additions: grown, node: first, miner: miner.ActorAddr, worker: miner.OwnerKey.Address, dir: miner.PresealDir,
		},
	}
	serve(t, l, c.handler())

	name := miner.ActorAddr.String()
	ready := readyLine{
		FullnodeAPIInfo: first.apiInfo,
		Control:         "http://" + l.Addr().String(),
		EpochSeconds:    epoch.Round(time.Millisecond).Seconds(),
		Miners:          []string{name},
		Addresses:       named,
		Stores:          []sectorStore{{Name: "lotusdevnet-" + name, Path: miner.PresealDir}},
		ParameterCache:  opts.Parameters,
	}
	for _, n := range nodes {
		ready.Nodes = append(ready.Nodes, nodeLine{n.apiInfo})
	}
	require.NoError(t, json.NewEncoder(stdout).Encode(ready))
	log.Info("chain is up", "miner", name, "epoch", f.ready, "epoch_time", epoch)

	go func() {
		if err := <-stopped; err != nil {
			log.Error("mining has ended", "error", err)
			t.Errorf("mining has ended: %v", err)
			cancel()
		}
	}()
	require.NoError(t, f.follow(ctx, heads))
}

// quiet sets the level of all of Lotus's loggers, those included that are yet to be made.
func quiet(level string) error {
	parsed, err := logging.Parse(level)
	if err != nil {
		return fmt.Errorf("log level %q: %w", level, err)
	}
	config := logging.GetConfig()
	config.Level, config.SubsystemLevels = parsed, nil
	logging.SetupLogging(config)
	logging.SetAllLoggers(parsed)
	return nil
}

// abandon ends the program while Lotus is still stopping: it holds nothing that is worth waiting for.
func abandon(t *testing.T, opts options.Options) {
	slog.Warn("Lotus did not stop in time; leaving it", "limit", stopLimit)
	_ = os.RemoveAll(opts.Scratch())
	if t.Failed() {
		os.Exit(1)
	}
	os.Exit(0)
}

// network makes a network of full nodes, connected to each other, and one miner, whose sectors are there at genesis.
func network(ctx context.Context, t *testing.T, opts options.Options, others *key.Key, keys *controlKeys, lotus *control.Count, grown *additions, rpc net.Listener) ([]*fullNode, *kit.TestMiner, error) {
	// Otherwise the miner would ask for the official parameters, and fetch them.
	build.DisableBuiltinAssets = true
	// The beacon of a test network is local; looking up drand's relays would only wait for the resolver.
	noRelays := kit.ConstructorOpts(node.Override(new(dtypes.DrandBootstrap),
		func() dtypes.DrandBootstrap { return nil }))

	poster := kit.ConstructorOpts(node.Override(new(*wdpost.WindowPoStScheduler),
		func() (*wdpost.WindowPoStScheduler, error) { return nil, nil }))
	ens, clients, miner := kit.NewEnsemble(t, kit.Account(others, abi.TokenAmount(types.MustParseFIL(crowdBalance)))), make([]kit.TestFullNode, opts.Nodes), new(kit.TestMiner)
	for i := range clients {
		ens.FullNode(&clients[i], noRelays, kit.F3Disabled(), kit.ConstructorOpts(node.Override(new(stmgr.Executor), grown.executor())))
	}
	if opts.Turns {
		poster = lotusPoster(ctx, t, &clients[0], keys, lotus)
	}
	ens.Miner(miner, &clients[0], kit.WithAllSubsystems(), kit.PresealSectors(opts.Sectors), poster).Start()

	var nodes []*fullNode
	for i := range clients {
		l := rpc
		if i > 0 {
			var err error
			if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				return nil, nil, err
			}
		}
		var seen v1api.FullNode = clients[i].FullNode
		if opts.Turns {
			seen = view{seen, ours, keys}
		}
		n, err := newFullNode(ctx, t, &clients[i], seen, l)
		if err != nil {
			return nil, nil, err
		}
		if _, err := n.WalletImport(ctx, &others.KeyInfo); err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, n)
	}
	nodes[0].first = true
	return nodes, miner, gather(ctx, nodes)
}

// gather connects the nodes, and gives all of them the chain that the first one has by now.
func gather(ctx context.Context, nodes []*fullNode) error {
	branch, err := nodes[0].grown(ctx)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		for _, other := range nodes[:i] {
			if err := n.connect(ctx, other); err != nil {
				return err
			}
		}
		if i > 0 {
			if err := n.adopt(ctx, nodes[0], branch); err != nil {
				return fmt.Errorf("giving node %d the chain: %w", i, err)
			}
		}
	}
	return nil
}

// serve serves until the end of the test run.
func serve(t *testing.T, l net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

// measureEpoch waits until the chain has grown by measuredEpochs and returns the time that one took.
func measureEpoch(ctx context.Context, client *kit.TestFullNode) (time.Duration, error) {
	var first abi.ChainEpoch
	var began time.Time
	asked := time.Now()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
		head, err := client.ChainHead(ctx)
		if err != nil {
			return 0, fmt.Errorf("asking for the head: %w", err)
		}
		switch height := head.Height(); {
		case first == 0:
			first = height
		case began.IsZero() && height > first: // from the change of an epoch on, not from its middle
			first, began = height, time.Now()
		case !began.IsZero() && height >= first+measuredEpochs:
			return time.Since(began) / time.Duration(height-first), nil
		case time.Since(asked) > stallLimit:
			return 0, fmt.Errorf("the chain does not grow: %s after the start of mining its head is %d", stallLimit, height)
		}
	}
}
