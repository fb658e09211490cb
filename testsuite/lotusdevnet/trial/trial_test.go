// Package trial tries the built program from outside: that it does to a real Lotus chain what its control port says.
package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

type reorged struct {
	From, Fork, Common, To int64
	Messages, Dropped      int
}

func TestControlPort(t *testing.T) {
	n := start(t, "--sectors", "4", "--epoch", "150ms", "--nodes", "2", "--addresses")
	t.Run("a null round has no block", n.nullRounds)
	t.Run("a reorg changes the tickets of what it forgets, and not the beacon", n.reorgRandomness)
	t.Run("what a reorg forgets lands again", func(t *testing.T) { n.in(t).reorgMessages(false) })
	t.Run("what a reorg drops is gone", func(t *testing.T) { n.in(t).reorgMessages(true) })
	t.Run("a chain that stands still has no epochs", n.still)
	t.Run("empty blocks leave messages in the pool", n.empty)
	t.Run("premiums raise the base fee, which falls when they end", n.baseFee)
	t.Run("who offers less than the crowd waits", n.crowd)
	t.Run("a node that is cut off has another chain until it joins", n.split)
	t.Run("the others can take the chain of the one that was cut off", n.splitAndFollow)
	t.Run("a stopped node is away, and the other is not", n.away)
	t.Run("sectors are hidden and put back", n.sectors)
	t.Run("added sectors are on every node, also after a reorg", n.grown)
	t.Run("owner, worker and control address are three", n.addresses)
}

func (n *network) grown(t *testing.T) {
	n = n.in(t)
	live := func(node int) (numbers []uint64) {
		var all []struct{ SectorNumber uint64 }
		n.call(node, &all, "StateMinerSectors", "f01000", nil, []cid{})
		for _, s := range all {
			numbers = append(numbers, s.SectorNumber)
		}
		return numbers
	}
	before := live(0)
	var answer struct {
		Sectors []struct{ Sector, Deadline, Partition uint64 }
	}
	n.do("/sectors/add", map[string]any{"count": 3}, &answer)
	require.Len(t, answer.Sectors, 3)
	for i, s := range answer.Sectors {
		require.EqualValues(t, len(before)+i, s.Sector)
		require.FileExists(t, filepath.Join(n.store, "sealed", fmt.Sprintf("s-t01000-%d", s.Sector)))
	}
	for node := range n.nodes {
		n.until("a node has them", func() bool { return len(live(node)) == len(before)+3 })
	}
	head := n.head(0).Height
	n.do("/reorg", map[string]any{"epochs": 6}, nil)
	n.until("the new branch has grown past the old one", func() bool { return n.head(0).Height > head+12 })
	for node := range n.nodes {
		require.Len(t, live(node), len(before)+3)
	}
}

// in is the network for a part of the test.
func (n *network) in(t *testing.T) *network {
	c := *n
	c.t = t
	return &c
}

func (n *network) nullRounds(t *testing.T) {
	n = n.in(t)
	var planned struct {
		Epoch int64
		Null  []int64 `json:"null_rounds"`
	}
	n.do("/null-rounds", map[string]any{"count": 2}, &planned)
	require.Len(t, planned.Null, 2)
	last := planned.Null[1]
	n.until("the chain passes the null rounds", func() bool { return n.head(0).Height > last })
	require.LessOrEqual(t, n.at(0, last).Height, planned.Epoch)

	named := n.head(0).Height + 20
	n.do("/null-rounds", map[string]any{"epochs": []int64{named}}, nil)
	n.until("the chain passes the named one", func() bool { return n.head(0).Height > named })
	require.Less(t, n.at(0, named).Height, named)
}

func (n *network) reorgRandomness(t *testing.T) {
	n = n.in(t)
	n.do("/stop-mining", nil, nil)
	defer n.do("/resume-mining", nil, nil)
	for range 3 { // a fork of a fork is another one again
		head := n.head(0)
		tickets, beacons := map[int64]string{}, map[int64]string{}
		for e := head.Height - 8; e <= head.Height; e++ {
			tickets[e], beacons[e] = n.randomness(0, "Tickets", e), n.randomness(0, "Beacon", e)
		}
		var r reorged
		n.do("/reorg", map[string]any{"epochs": 5}, &r)
		require.Equal(t, head.Height, r.From)
		require.Equal(t, head.Height-5, r.Fork)
		require.Greater(t, r.To, r.From)
		for node := range n.nodes {
			require.Equal(t, r.To, n.head(node).Height)
			for e := head.Height - 8; e <= head.Height; e++ {
				require.Equal(t, beacons[e], n.randomness(node, "Beacon", e), "beacon of epoch %d", e)
				if e <= r.Common {
					require.Equal(t, tickets[e], n.randomness(node, "Tickets", e), "epoch %d stays", e)
				} else { // null rounds too: theirs is the ticket of the tipset after them
					require.NotEqual(t, tickets[e], n.randomness(node, "Tickets", e), "epoch %d is another", e)
				}
			}
		}
		require.Equal(t, n.head(0), n.head(1))
	}
}

func (n *network) reorgMessages(drop bool) {
	message := n.push(0)
	n.until("the message lands", func() bool { return n.landed(0, message) > 0 })
	n.do("/stop-mining", nil, nil)
	var r reorged
	n.do("/reorg", map[string]any{"epochs": n.head(0).Height - n.landed(0, message) + 2, "drop_messages": drop}, &r)
	require.Positive(n.t, r.Messages)
	if drop {
		require.Equal(n.t, r.Messages, r.Dropped)
		require.False(n.t, n.pending(0, message))
		require.False(n.t, n.pending(1, message))
	}
	n.do("/resume-mining", nil, nil)
	n.until("the chain goes on", func() bool { return n.head(0).Height > r.To+5 })
	require.Equal(n.t, drop, n.landed(0, message) == 0)
}

func (n *network) still(t *testing.T) {
	n = n.in(t)
	n.do("/stop-mining", nil, nil)
	head := n.head(0)
	var again reorged
	n.do("/reorg", map[string]any{"epochs": 1}, &again)
	require.Equal(t, head.Height, again.From, "no epoch has passed")
	n.do("/resume-mining", nil, nil)
	n.until("the chain goes on", func() bool { return n.head(0).Height > again.To })
}

func (n *network) empty(t *testing.T) {
	n = n.in(t)
	n.do("/stop-including", nil, nil)
	from := n.head(0).Height
	message := n.push(0)
	n.until("epochs pass", func() bool { return n.head(0).Height > from+8 })
	require.Zero(t, n.landed(0, message))
	require.True(t, n.pending(0, message))
	var pool struct{ Dropped int }
	n.do("/drop-mempool", nil, &pool)
	require.Equal(t, 1, pool.Dropped)
	require.False(t, n.pending(0, message))
	n.do("/resume-including", nil, nil)
	message = n.push(0)
	n.until("messages land again", func() bool { return n.landed(0, message) > 0 })
}

func (n *network) baseFee(t *testing.T) {
	n = n.in(t)
	var raised struct{ Goal, To string }
	n.do("/base-fee", map[string]any{"times": 3}, &raised)
	require.Equal(t, raised.Goal, raised.To)
	from := n.head(0).Height
	n.until("epochs pass", func() bool { return n.head(0).Height > from+5 })
	require.Equal(t, raised.Goal, n.head(0).Blocks[0].ParentBaseFee, "it is kept there")
	n.do("/premium", map[string]any{"nano": 0}, nil)
	n.until("it falls", func() bool { return len(n.head(0).Blocks[0].ParentBaseFee) < len(raised.Goal) })
}

func (n *network) crowd(t *testing.T) {
	n = n.in(t)
	n.do("/premium", map[string]any{"nano": 0.01}, nil)
	from := n.head(0).Height
	message := n.push(0)
	n.until("epochs pass", func() bool { return n.head(0).Height > from+8 })
	require.Zero(t, n.landed(0, message))
	n.do("/premium", map[string]any{"nano": 0}, nil)
	n.until("the crowd is gone", func() bool { return n.landed(0, message) > 0 })
}

func (n *network) split(t *testing.T) {
	n = n.in(t)
	var cut struct{ Epoch int64 }
	n.do("/cut", map[string]any{"node": 1}, &cut)
	message := n.push(0)
	n.until("it lands at the first", func() bool { return n.landed(0, message) > 0 })
	require.Zero(t, n.landed(1, message))
	n.until("both chains grow", func() bool { return min(n.head(0).Height, n.head(1).Height) > cut.Epoch+2 })
	both := min(n.head(0).Height, n.head(1).Height)
	require.NotEqual(t, n.at(0, both).Cids, n.at(1, both).Cids)
	var joined struct {
		Common, To int64
		Heads      []int64
	}
	n.do("/join", map[string]any{"node": 1}, &joined)
	require.Less(t, joined.Common, joined.Heads[0])
	require.Less(t, joined.Common, joined.Heads[1])
	require.Equal(t, n.at(0, joined.To), n.at(1, joined.To))
	require.Positive(t, n.landed(1, message))

	message = n.push(1)
	n.until("messages pass again", func() bool { return n.landed(0, message) > 0 })
}

func (n *network) splitAndFollow(t *testing.T) {
	n = n.in(t)
	var cut struct{ Epoch int64 }
	n.do("/cut", map[string]any{"node": 1}, &cut)
	message := n.push(1)
	n.until("it lands at the other", func() bool { return n.landed(1, message) > 0 })
	require.Zero(t, n.landed(0, message))
	n.do("/join", map[string]any{"node": 1, "keep": 1}, nil)
	require.Positive(t, n.landed(0, message))

	n.do("/cut", map[string]any{"node": 1, "behind": true}, &cut)
	n.until("the first goes on", func() bool { return n.head(0).Height > cut.Epoch+5 })
	require.Equal(t, cut.Epoch, n.head(1).Height)
	n.do("/join", map[string]any{"node": 1}, nil)
	require.Greater(t, n.head(1).Height, cut.Epoch+5)
}

func (n *network) away(t *testing.T) {
	n = n.in(t)
	n.do("/stop-rpc", map[string]any{"node": 1}, nil)
	var ts tipset
	require.Error(t, n.try(1, &ts, "ChainHead"))
	require.NoError(t, n.try(0, &ts, "ChainHead"))
	n.do("/start-rpc", map[string]any{"node": 1}, nil)
	require.NoError(t, n.try(1, &ts, "ChainHead"))
	n.do("/pause-rpc", map[string]any{"seconds": 1}, nil)
	n.until("both come back", func() bool { return n.try(0, &ts, "ChainHead") == nil && n.try(1, &ts, "ChainHead") == nil })
}

func (n *network) sectors(t *testing.T) {
	n = n.in(t)
	files, err := os.ReadDir(filepath.Join(n.store, "sealed"))
	require.NoError(t, err)
	n.do("/sectors/hide", map[string]any{"sectors": []int{1, 2}}, nil)
	left, err := os.ReadDir(filepath.Join(n.store, "sealed"))
	require.NoError(t, err)
	require.Len(t, left, len(files)-2)
	n.do("/sectors/restore", nil, nil)
	left, err = os.ReadDir(filepath.Join(n.store, "sealed"))
	require.NoError(t, err)
	require.Len(t, left, len(files))
}

func (n *network) addresses(t *testing.T) {
	n = n.in(t)
	var info struct {
		Owner, Worker    string
		ControlAddresses []string
	}
	for node := range n.nodes {
		n.call(node, &info, "StateMinerInfo", "f01000", []cid{})
		require.NotEqual(t, info.Owner, info.Worker)
		require.Len(t, info.ControlAddresses, 1)
		for _, address := range append(info.ControlAddresses, info.Owner, info.Worker) {
			var key string
			n.call(node, &key, "StateAccountKey", address, []cid{})
			var has bool
			n.call(node, &has, "WalletHas", key)
			require.True(t, has, "node %d has the key of %s", node, address)
		}
	}
}
