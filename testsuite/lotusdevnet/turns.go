package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-jsonrpc"

	"github.com/filecoin-project/lotus/api"
	"github.com/filecoin-project/lotus/api/client"
	"github.com/filecoin-project/lotus/api/v1api"
	"github.com/filecoin-project/lotus/chain/types"
	"github.com/filecoin-project/lotus/itests/kit"
	"github.com/filecoin-project/lotus/node"
	"github.com/filecoin-project/lotus/node/config"
	"github.com/filecoin-project/lotus/node/modules"
	"github.com/filecoin-project/lotus/storage/wdpost"

	"posthaste/testsuite/lotusdevnet/control"
)

// The two who take deadlines in turns, with --turns.
const (
	ours   = "posthaste"
	theirs = "lotus"
)

// poster says whose a deadline is.
func poster(deadline uint64) string {
	if deadline%2 == 0 {
		return ours
	}
	return theirs
}

// view is the node as one of the two sees it: deadlines of the other have no partitions, and the other's control address is
// none of the miner's.
type view struct {
	v1api.FullNode
	who     string
	control *controlKeys
}

// controlKeys are who sends with which control address. They are made after the views.
type controlKeys struct {
	mu  sync.Mutex
	own map[string]address.Address // poster → ID address
}

func (c *controlKeys) set(who string, a address.Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own[who] = a
}

func (c *controlKeys) get(who string) address.Address {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own[who]
}

// StateMinerPartitions has only the partitions of who's own deadlines.
func (v view) StateMinerPartitions(ctx context.Context, m address.Address, deadline uint64, tsk types.TipSetKey) ([]api.Partition, error) {
	if poster(deadline) != v.who {
		return []api.Partition{}, nil
	}
	return v.FullNode.StateMinerPartitions(ctx, m, deadline, tsk)
}

// StateMinerInfo has only who's own control address.
func (v view) StateMinerInfo(ctx context.Context, m address.Address, tsk types.TipSetKey) (api.MinerInfo, error) {
	info, err := v.FullNode.StateMinerInfo(ctx, m, tsk)
	own := v.control.get(v.who)
	info.ControlAddresses = slices.DeleteFunc(info.ControlAddresses, func(a address.Address) bool { return a != own })
	return info, err
}

// counting traces calls into a count.
func counting(c *control.Count) jsonrpc.ServerOption {
	return jsonrpc.WithTracer(func(method string, _, _ []reflect.Value, _ error) { c.Call(method) })
}

// lotusPoster lets Lotus's own WindowPoStScheduler run, on a connection of its own to the node: as a miner's does, by
// WebSocket. The node is the one that the miner has.
func lotusPoster(ctx context.Context, t *testing.T, n *kit.TestFullNode, keys *controlKeys, count *control.Count) kit.NodeOpt {
	return kit.ConstructorOpts(node.Override(new(*wdpost.WindowPoStScheduler), func(p modules.SealingPipelineParams) (*wdpost.WindowPoStScheduler, error) {
		remote, err := dial(ctx, t, n, view{n.FullNode, theirs, keys}, count)
		if err != nil {
			return nil, fmt.Errorf("connecting Lotus's poster: %w", err)
		}
		p.API = modules.MakeUuidWrapper(remote)
		defaults := config.DefaultStorageMiner()
		return modules.WindowPostScheduler(defaults.Fees, defaults.Proving)(p)
	}))
}

// dial serves a view of the node and connects to it.
func dial(ctx context.Context, t *testing.T, n *kit.TestFullNode, seen v1api.FullNode, count *control.Count) (v1api.FullNode, error) {
	handler, err := node.FullNodeHandler(seen, n.V2, true, counting(count))
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	serve(t, count.Listener(l), handler)
	token, err := n.AuthNew(ctx, api.AllPermissions)
	if err != nil {
		return nil, err
	}
	remote, closer, err := client.NewFullNodeRPCV1(ctx, "ws://"+l.Addr().String()+"/rpc/v1", http.Header{"Authorization": {"Bearer " + string(token)}})
	if err != nil {
		return nil, err
	}
	t.Cleanup(closer)
	return remote, nil
}
