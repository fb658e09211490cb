package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/testsuite/lotusdevnet/control"
	"posthaste/testsuite/lotusdevnet/report"
	"posthaste/testsuite/lotusdevnet/store"
)

// maxNullRounds is more than a day of them; a typing error would stop the chain for longer.
const maxNullRounds = 2880

// chain is all that the control port acts on.
type chain struct {
	mining   *mining
	nodes    []*fullNode
	store    *store.Store
	grower   *grower
	ledger   *report.Ledger
	shutdown context.CancelFunc
	turns    bool
	lotus    *control.Count // what Lotus's own poster asks
}

// fullReport is the ledger's, and what each client asked of its node.
type fullReport struct {
	report.Report
	RPC map[string]control.Usage `json:"rpc"`
}

func (c *chain) report() fullReport {
	r := fullReport{c.ledger.Report(), map[string]control.Usage{ours: c.nodes[0].count.Usage()}}
	for i, n := range c.nodes[1:] {
		r.RPC[fmt.Sprintf("%s, node %d", ours, i+1)] = n.count.Usage()
	}
	if c.turns {
		r.RPC[theirs] = c.lotus.Usage()
	}
	return r
}

type nothing struct{}

type nullRoundsAsk struct {
	Count  int     `json:"count"`
	Epochs []int64 `json:"epochs"`
}

// check refuses what cannot be planned when last is the last epoch that had its turn.
func (a nullRoundsAsk) check(last int64) error {
	if (a.Count == 0) == (len(a.Epochs) == 0) {
		return control.Refuse(`send either {"count": n} or {"epochs": [h, …]}`)
	}
	if len(a.Epochs) == 0 && a.Count < 1 || a.Count > maxNullRounds {
		return control.Refuse("count %d: must be 1 to %d", a.Count, maxNullRounds)
	}
	if len(a.Epochs) > 0 && slices.Min(a.Epochs) <= last {
		return control.Refuse("epoch %d: the chain is at %d already", slices.Min(a.Epochs), last)
	}
	return nil
}

type nullRoundsAnswer struct {
	Epoch      int64   `json:"epoch"`       // the last that had its turn
	NullRounds []int64 `json:"null_rounds"` // all that are planned after it
}

type reorgAsk struct {
	Epochs       int  `json:"epochs"`
	DropMessages bool `json:"drop_messages"`
}

type reorgAnswer struct {
	From     abi.ChainEpoch `json:"from"`     // head before
	Fork     abi.ChainEpoch `json:"fork"`     // last epoch that stays
	Common   abi.ChainEpoch `json:"common"`   // last tipset that stays: lower than fork if that was a null round
	To       abi.ChainEpoch `json:"to"`       // head now
	Messages int            `json:"messages"` // that were in the forgotten blocks
	Dropped  int            `json:"dropped"`  // of these, taken out of the pool
}

type pauseAsk struct {
	Seconds float64 `json:"seconds"`
	Node    *int    `json:"node,omitempty"` // all without
}

type nodeAsk struct {
	Node int `json:"node"`
}

type rpcAnswer struct {
	Node int  `json:"node"`
	RPC  bool `json:"rpc"`
}

type sectorsAsk struct {
	Sectors []uint64 `json:"sectors"`
}

type flipAsk struct {
	Sectors []uint64 `json:"sectors"`
	Nodes   int      `json:"nodes"` // of 32 bytes, from the first on; 0: all
}

type sectorsAnswer struct {
	Sectors []uint64 `json:"sectors"` // that were acted on
	Spoiled []uint64 `json:"spoiled"` // all that are not as they should be, now
}

// handler serves the control port.
func (c *chain) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { control.Write(w, c.report()) })
	control.Command(mux, "/shutdown", func(context.Context, nothing) (map[string]bool, error) {
		c.shutdown()
		return map[string]bool{"shutdown": true}, nil
	})
	c.mine(mux)
	c.serveNodes(mux)
	c.spoil(mux)
	return mux
}

// mine serves what is done to the chain itself.
func (c *chain) mine(mux *http.ServeMux) {
	control.Command(mux, "/null-rounds", c.mining.nullRounds)
	control.Command(mux, "/reorg", c.mining.reorg)
	control.Command(mux, "/premium", c.mining.premium)
	control.Command(mux, "/base-fee", c.mining.baseFee)
	control.Command(mux, "/cut", c.mining.cut)
	control.Command(mux, "/join", c.mining.join)
	toggle(mux, "/stop-mining", "mining", false, c.mining.setMining)
	toggle(mux, "/resume-mining", "mining", true, c.mining.setMining)
	toggle(mux, "/stop-including", "including", false, c.mining.setIncluding)
	toggle(mux, "/resume-including", "including", true, c.mining.setIncluding)
}

// serveNodes serves what is done to the nodes.
func (c *chain) serveNodes(mux *http.ServeMux) {
	control.Command(mux, "/pause-rpc", func(_ context.Context, ask pauseAsk) (pauseAsk, error) {
		if ask.Seconds <= 0 || ask.Seconds > 3600 {
			return ask, control.Refuse(`send {"seconds": n} with n above 0, at most 3600`)
		}
		away := time.Duration(ask.Seconds * float64(time.Second))
		for i, n := range c.nodes {
			if ask.Node == nil || *ask.Node == i {
				n.gate.Pause(away)
			}
		}
		return ask, nil
	})
	control.Command(mux, "/stop-rpc", func(_ context.Context, ask nodeAsk) (rpcAnswer, error) {
		n, err := c.node(ask.Node)
		if err == nil {
			n.gate.Shut()
		}
		return rpcAnswer{ask.Node, false}, err
	})
	control.Command(mux, "/start-rpc", func(_ context.Context, ask nodeAsk) (rpcAnswer, error) {
		n, err := c.node(ask.Node)
		if err == nil {
			n.gate.Open()
		}
		return rpcAnswer{ask.Node, true}, err
	})
	control.Command(mux, "/drop-mempool", func(ctx context.Context, _ nothing) (map[string]int, error) {
		dropped := 0
		for _, n := range c.nodes {
			count, err := n.dropAll(ctx)
			if err != nil {
				return nil, err
			}
			dropped = max(dropped, count)
		}
		return map[string]int{"dropped": dropped}, nil
	})
}

// spoil serves what is done to the miner's sectors.
func (c *chain) spoil(mux *http.ServeMux) {
	done := func(sectors []uint64, err error) (sectorsAnswer, error) {
		if err != nil {
			err = control.Refuse("%v", err)
		}
		return sectorsAnswer{sectors, c.store.Spoiled()}, err
	}
	control.Command(mux, "/sectors/add", c.grower.add)
	control.Command(mux, "/sectors/hide", func(_ context.Context, ask sectorsAsk) (sectorsAnswer, error) {
		return done(ask.Sectors, c.store.Hide(ask.Sectors))
	})
	control.Command(mux, "/sectors/truncate", func(_ context.Context, ask sectorsAsk) (sectorsAnswer, error) {
		return done(ask.Sectors, c.store.Truncate(ask.Sectors))
	})
	control.Command(mux, "/sectors/flip", func(_ context.Context, ask flipAsk) (sectorsAnswer, error) {
		return done(ask.Sectors, c.store.Flip(ask.Sectors, ask.Nodes))
	})
	control.Command(mux, "/sectors/restore", func(_ context.Context, ask sectorsAsk) (sectorsAnswer, error) {
		return done(c.store.Restore(ask.Sectors))
	})
}

func (c *chain) node(i int) (*fullNode, error) {
	if i < 0 || i >= len(c.nodes) {
		return nil, control.Refuse("node %d: there are only 0 to %d", i, len(c.nodes)-1)
	}
	return c.nodes[i], nil
}

// toggle serves a command that sets something to a value, and says so.
func toggle(mux *http.ServeMux, path, name string, value bool, set func(bool)) {
	control.Command(mux, path, func(context.Context, nothing) (map[string]bool, error) {
		set(value)
		return map[string]bool{name: value}, nil
	})
}
