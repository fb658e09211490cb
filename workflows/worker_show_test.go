package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"

	"posthaste/post"
)

func TestDetailsOfAWorker(t *testing.T) {
	w := workerRun{WorkerState: post.WorkerState{
		Report: post.WorkerReport{
			Name: "w1", Host: "rack7", Version: "v1", Started: time.Unix(1700000000, 0),
			Groups: []post.Group{{
				Admits: post.Admits{Pool: "a100", Stores: []string{"s1", "s2"}}, Kind: post.KindWindow, Queue: "wdpost.a100.12345678", Slots: 1,
				Cards: []post.Card{{Name: "gpu0", Device: "A100", CPUs: "0-3", Places: 1, Weight: 2}, {Name: "cpu", Places: 1}},
			}},
			LostStores: []post.LostStore{{Name: "s3", Path: "/mnt/s3", Reason: "not\nmounted"}},
		},
		Orders: post.Orders{Paused: "moving racks", Fences: []post.Fence{{Card: "gpu0", Reason: "exit | code", At: time.Unix(1700000001, 0)}}},
	}}
	text := w.markdown()
	for _, line := range []string{
		"**w1** on rack7, version v1, since 2023-11-14T22:13:20Z: **Paused** (paused: moving racks)",
		"| gpu0 | A100 | 0-3 | 1 | 2 | 2023-11-14T22:13:21Z: exit / code |",
		"| cpu | CPU |  | 1 | 1 |  |",
		"| wdpost.a100.12345678 | 1 | a100 | any miner | s1, s2 |",
		"| s3 | /mnt/s3 | not mounted |",
	} {
		assert.Contains(t, strings.Split(text, "\n"), line)
	}
	w.Report.LostStores = nil
	assert.NotContains(t, w.markdown(), "cannot be read")
}

func TestTakes(t *testing.T) {
	for want, a := range map[string]post.Admits{
		"any miner":                             {},
		"any miner; no sectors above 2KiB":      {MaxSize: 2 << 10},
		"f06666; f07777 with sectors of 32GiB":  {Rules: []post.Rule{{Miners: []abi.ActorID{6666}}, {Miners: []abi.ActorID{7777}, Sizes: []abi.SectorSize{32 << 30}}}},
		"any miner with sectors of 2KiB, 32GiB": {Rules: []post.Rule{{Sizes: []abi.SectorSize{2 << 10, 32 << 30}}}},
		"f01, f02":                              {Rules: []post.Rule{{Miners: []abi.ActorID{1, 2}}}},
	} {
		assert.Equal(t, want, takes(a))
	}
}
