package workflows

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"posthaste/post"
)

func TestMinerDetails(t *testing.T) {
	settings := post.DefaultSettings()
	for situation, c := range map[string]struct {
		state MinerState
		want  []string
		not   string
	}{
		"watching": {MinerState{}, []string{"**f01000**: **Watching**. Each deadline", "`PostMiner = \"f01000\" AND PostState IN (\"Failed\", \"Missed\")`", "| max_try | 2 |\n"}, "posthaste miner"},
		"paused":   {MinerState{Paused: "disks\nmove"}, []string{"**Paused** (disks move)", "`posthaste miner resume f01000`"}, "miner add"},
		"removed":  {MinerState{Paused: "earlier", Removed: "sold"}, []string{"**Removed** (sold)", "`posthaste miner add f01000`"}, "miner resume"},
	} {
		t.Run(situation, func(t *testing.T) {
			c.state.Miner, c.state.Settings = 1000, settings
			text := c.state.markdown()
			for _, want := range c.want {
				assert.Contains(t, text, want)
			}
			assert.NotContains(t, text, c.not)
		})
	}
}

func TestSenderDetails(t *testing.T) {
	const cid = "bafy2bzacedosomethinglong"
	sent := post.Sent{Request: post.MessageRequest{ID: "wdpost-f01000-2880-7/p0/1"}, Nonce: 7, Message: cid, Pushed: 12}
	s := SenderState{From: "f3x", Queue: make([]post.MessageRequest, 2)}
	assert.Equal(t, "Messages of **f3x**: 0 on their way, 2 waiting to be signed.\n", s.markdown())
	s.Pending = []post.Sent{sent}
	for range 30 {
		s.Done = append(s.Done, Done{Sent: sent, Settled: sent.Settle(post.OutcomeFailed, "exit | 16")})
	}
	text := s.markdown()
	assert.Contains(t, text, "| 7 | wdpost-f01000-2880-7/p0/1 |  | 1 | the node's | the node's | 12 | …ethinglong |\n")
	assert.Contains(t, text, "| 7 | wdpost-f01000-2880-7/p0/1 | failed: exit / 16 | 1 |  | …ethinglong |\n")
	assert.Less(t, len(text), 40*100, "the latest are shown, not all")
	assert.Equal(t, "", end(""))

	sent.First, sent.Offered, sent.Gas = 12, 12, post.Gas{Limit: 100_000_000, Premium: "100000", FeeCap: "50000000000"}
	replaced := sent.Replace("bafy2another", nil, post.Gas{Limit: 100_000_000, Premium: "125000", FeeCap: "50000000000"}, 17)
	replaced.Stuck = "it costs | too much"
	text = SenderState{Head: 20, Pending: []post.Sent{replaced}}.markdown()
	assert.Contains(t, text, "| 7 | wdpost-f01000-2880-7/p0/1 | 8 epochs | 2 | 0.000125 nanoFIL | 5 FIL | 12 | …fy2another |\n")
	assert.Contains(t, text, "**Nonce 7 is not replaced**: it costs / too much\n")
}
