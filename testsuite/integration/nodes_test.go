package integration_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/badnode"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/rig"
)

// Of two nodes the one that is used is killed in the middle of a deadline, the other stands still in the next, and both are away for a while in
// a third. No proof notices, nothing is missed, nothing is sent twice, and the log says once what was left for what.
func TestNodesComeAndGo(t *testing.T) {
	t.Parallel() // it mostly waits
	ctx := within(t, 4*time.Minute)
	var nodes []*badnode.Node
	r := rig.New(t, rig.Options{
		Chain: slowChain("--miners", "1", "--deadlines", "4"),
		Before: func(r *rig.Rig) {
			for range 2 {
				n, err := badnode.Start(r.Config.APIInfo)
				require.NoError(t, err)
				t.Cleanup(n.Down)
				nodes = append(nodes, n)
			}
			r.Config.APIInfo = nodes[0].APIInfo()
			r.Config.Chain = []string{fmt.Sprintf("nodes = [%q]", nodes[1].APIInfo())}
		},
	})
	endpoint := func(n *badnode.Node) string {
		return "http://127.0.0.1:" + strings.Split(n.APIInfo(), "/")[4] + "/rpc/v1"
	}

	first, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	nodes[0].Down()
	says(ctx, t, r.Daemon, "leaving a node for another", "node="+endpoint(nodes[0]), "is=down", "now="+endpoint(nodes[1]))
	second, err := r.WaitForRunningProof(ctx, func(id string) bool { return id == first.WorkflowID })
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(r.Daemon.ReadLog(), "leaving a node for another"))

	require.NoError(t, nodes[0].Up())
	says(ctx, t, r.Daemon, "a node that stands by is good", endpoint(nodes[0]))
	require.NoError(t, nodes[1].Freeze())
	says(ctx, t, r.Daemon, "leaving a node for another", "node="+endpoint(nodes[1]), "now="+endpoint(nodes[0]))
	third, err := r.WaitForRunningProof(ctx, func(id string) bool { return id == first.WorkflowID || id == second.WorkflowID })
	require.NoError(t, err)

	for _, n := range nodes {
		n.Thaw()
		n.Down()
	}
	says(ctx, t, r.Daemon, "none of 2 nodes could answer", "cannot be reached")
	time.Sleep(8 * time.Second) // away
	for _, n := range nodes {
		require.NoError(t, n.Up())
	}
	for _, d := range allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, third.Deadline)) {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
		assert.Equal(t, 1, partitionOf(t, result, 0).Tries, "a node's absence is nobody's failed try")
	}
	for _, d := range []post.Deadline{first.Deadline, second.Deadline, third.Deadline} {
		assert.Equal(t, 1, proofsMade(r, d), "a proof goes on whatever nodes do")
	}
}

// A node does not answer about messages to one of two miners that have one sender: it breaks off when it is to estimate them. The other
// miner's deadlines, which overlap, are posted all the same; and the first one's, too, when the node is mended.
func TestASilenceAboutOneMiner(t *testing.T) {
	t.Parallel() // it mostly waits
	ctx := within(t, 5*time.Minute)
	var node *badnode.Node
	r := rig.New(t, rig.Options{
		Chain:  slowChain("--shared-control", "--deadlines", "4"),
		Policy: []string{`max_fee = "2 FIL"`},
		Before: func(r *rig.Rig) {
			var err error
			node, err = badnode.Start(r.Config.APIInfo)
			require.NoError(t, err)
			t.Cleanup(node.Down)
			r.Config.APIInfo = node.APIInfo()
		},
	})
	silent, other := r.Miners()[0], r.Miners()[1]
	node.Mute(func(method string, params []json.RawMessage) bool {
		return strings.HasPrefix(method, "GasEstimate") && len(params) > 0 && strings.Contains(string(params[0]), strings.TrimPrefix(silent, "f0")+`"`)
	})
	var closed []devnet.DeadlineReport
	until := func(what string, done func(devnet.DeadlineReport) bool) {
		eventually(ctx, t, what, func() bool {
			report, err := r.Report(ctx)
			require.NoError(t, err)
			closed = nil
			for _, d := range report.Deadlines {
				if d.Closed {
					closed = append(closed, d)
				}
			}
			return slices.ContainsFunc(closed, done)
		})
	}
	until("a deadline of the other miner to close", func(d devnet.DeadlineReport) bool { return d.Miner == other })
	node.Mute(nil)
	var missed abi.ChainEpoch
	for _, d := range closed {
		if d.Miner == silent {
			missed = max(missed, d.Open)
			assert.False(t, d.Partitions[0].Posted, "the node did answer")
			continue
		}
		assert.True(t, d.Partitions[0].Posted, "%s", resultOf(ctx, t, r, d).Reasons())
	}
	require.NotZero(t, missed, "the miner that it is silent about had no deadline meanwhile")
	next := func(d devnet.DeadlineReport) bool { return d.Miner == silent && d.Open > missed }
	until("the first miner's next deadline to close", next)
	mended := closed[slices.IndexFunc(closed, next)]
	assert.True(t, mended.Partitions[0].Posted, "%s/%d: %s", mended.Miner, mended.Index, resultOf(ctx, t, r, mended).Reasons())
	report, err := r.Report(ctx)
	require.NoError(t, err)
	assert.Zero(t, report.Messages.SentTwice)
	assert.Zero(t, report.Messages.Failed)
}
