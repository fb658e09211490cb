package post_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

var lookedAt = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

var limits = post.Limits{ProofLate: 0.5, MessageEpochs: 10, NodeBehind: 5, Hold: 30 * time.Second, Keep: 24 * time.Hour}

// quietOutlook is one of a deadline that is being proven by a card, at epoch 2900: challenge 2880, open 2900, close 2960, of which the
// last 10 are kept for submitting. Half of the time for proving is gone at 2915.
func quietOutlook(change func(*post.Outlook, *post.OpenDeadline, *post.PartitionResult)) post.Outlook {
	p := post.PartitionResult{Index: 3, State: post.StateProving, Tries: 1, Sectors: 2, Queue: "wdpost.gpu.1"}
	d := post.OpenDeadline{
		Result: post.Result{
			Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: 2460, Challenge: 2880, Open: 2900, Close: 2960}, State: post.StateProving, Size: 2048,
		},
		WorkflowID: "wdpost-f01000-2460-7", Settings: post.Settings{SubmitReserve: 10, MaxTry: 2, EpochDuration: 30 * time.Second},
		Jobs: []post.OpenJob{{Partition: 3, Queue: "wdpost.gpu.1", Started: true}}, Forecast: 5 * time.Minute, Left: 25 * time.Minute,
	}
	o := post.Outlook{
		At: lookedAt, Epoch: 2900, Node: post.NodeOutlook{Endpoint: "http://node/rpc/v1", Head: 2900, At: lookedAt.Add(-10 * time.Second), EpochDuration: 30 * time.Second},
		Workers: []post.WorkerOutlook{{Alive: true, WorkerState: post.WorkerState{Report: post.WorkerReport{
			Name: "w1", Host: "box", Groups: []post.Group{{Queue: "wdpost.gpu.1", Cards: []post.Card{{Name: "card0"}}, Slots: 1}},
		}}}},
	}
	change(&o, &d, &p)
	d.Partitions = append(d.Partitions, p)
	o.Deadlines = append(o.Deadlines, d)
	return o
}

func TestJudge(t *testing.T) {
	const id = "f01000-2460-7"
	type change = func(*post.Outlook, *post.OpenDeadline, *post.PartitionResult)
	unbegun := func(o *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) {
		o.Epoch, d.Jobs[0].Started = 2915, false
	}
	closed := func(o *post.Outlook, status string, partitions ...post.PartitionResult) {
		o.Closed = []post.ClosedDeadline{{
			Result:     post.Result{Deadline: post.Deadline{Miner: 1001, Index: 2, PeriodStart: 2460, Close: 2890}, Partitions: partitions, State: post.DeadlineState(partitions)},
			WorkflowID: "wdpost-f01001-2460-2", RunID: "a", Status: status, ClosedAt: lookedAt.Add(-time.Minute),
		}}
	}
	for name, c := range map[string]struct {
		change change
		want   string // the alert's key; empty: there is none
		says   string // in its summary
		mend   string // in what mends it
	}{
		"all is well": {change: func(*post.Outlook, *post.OpenDeadline, *post.PartitionResult) {}},

		"half of the time is gone, and no card has begun": {unbegun, "ProofLate/" + id, "f01000/7: no card has begun partition 3, and 50 % of the time for proving is gone (until epoch 2950, now 2915)", "posthaste wdpost list --detail --miner f01000 --deadline 7"},
		"just before that": {change: func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) { unbegun(o, d, p); o.Epoch = 2914 }},
		"late, and its worker was lost in the first try": {func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) { unbegun(o, d, p); d.Jobs = nil }, "ProofLate/" + id, "no card has begun", ""},
		"late, because its sectors are not found yet": {func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) {
			unbegun(o, d, p)
			p.State, p.Tries, p.Reason = post.StateWaiting, 0, "waiting for store-1"
		}, "ProofLate/" + id, "no card has begun", ""},
		"late, and Temporal did not say who has it": {change: func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) {
			unbegun(o, d, p)
			d.Jobs, d.JobsUnread = nil, true
		}},
		"late, because it could not be read from the chain": {func(o *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) {
			o.Epoch, o.Deadlines = 2915, []post.OpenDeadline{{
				Result: post.Result{Deadline: d.Deadline, State: post.StateWaiting}, WorkflowID: d.WorkflowID, Settings: d.Settings,
			}}
			d.Deadline.Index = 8
		}, "ProofLate/" + id, "f01000/7: it has not been read from the chain, and 50 %", "temporal workflow describe --workflow-id wdpost-f01000-2460-7"},
		"it has nothing to prove": {change: func(o *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) {
			o.Epoch, o.Deadlines = 2915, []post.OpenDeadline{{Result: post.Result{Deadline: d.Deadline, State: post.StateNothing}, Settings: d.Settings}}
		}},
		"late, but a card has it":      {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) { o.Epoch = 2930 }},
		"late, in its second try":      {change: func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) { unbegun(o, d, p); p.Tries = 2 }},
		"late, and Close has passed":   {change: func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) { unbegun(o, d, p); o.Epoch = 2960 }},
		"late, as far as nobody knows": {change: func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) { unbegun(o, d, p); o.Epoch = 0 }},
		"late, because a worker is paused": {func(o *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) {
			unbegun(o, d, p)
			p.Waits = "w1 is paused"
			o.Workers[0].Orders.Paused = "lunch"
		}, "ProofLate/" + id, "", "`posthaste worker resume w1`"},

		"proving will take longer than there is time": {func(_ *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) {
			d.Forecast = 25*time.Minute + time.Second
		}, "ForecastBeyondClose/" + id, "its proofs will take 25m1s more, and there is time for 25m0s", "posthaste worker run"},
		"it will take just as long": {change: func(_ *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) { d.Forecast = d.Left }},
		"nobody knows how long it takes": {change: func(_ *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) {
			d.Forecast, d.Left = 0, -time.Minute
		}},

		"a queue with work and without a live card": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Workers[0].Alive = false
			o.Stuck = []post.Stuck{{Queue: "wdpost.gpu.1", Why: "worker w1 is not running", Jobs: 2}}
		}, "NoWorker/wdpost.gpu.1", "2 jobs wait and nobody can take them: worker w1 is not running", "start worker w1 on box"},
		"nobody admits a job": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Stuck = []post.Stuck{{Queue: post.QueueNobody, Why: "no worker can read store \"s9\"", Jobs: 1}}
		}, "NoWorker/wdpost.nobody/no worker can read store \"s9\"", "1 job waits", "start a worker that may take them"},
		"the only card of a queue is fenced": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Workers[0].Orders.Fences = []post.Fence{{Card: "card0", Reason: "fell back to the CPU"}}
			o.Stuck = []post.Stuck{{Queue: "wdpost.gpu.1", Why: "fenced", Jobs: 1}}
		}, "NoWorker/wdpost.gpu.1", "", "posthaste worker unfence w1 card0"},

		"a card is fenced": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Workers[0].Orders.Fences = []post.Fence{{Card: "card0", Reason: "fell back to the CPU"}}
		}, "CardFenced/w1/card0", "card w1/card0 on box is fenced: fell back to the CPU", "`posthaste worker unfence w1 card0`"},

		"a worker cannot read a store": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Workers[0].Report.LostStores = []post.LostStore{{Name: "s1", Path: "/mnt/s1", Reason: "stale file handle"}}
		}, "StoreUnreadable/worker w1/s1", "worker w1 cannot read store \"s1\": stale file handle", "mount it at /mnt/s1 on box"},
		"a worker that is gone could not": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Workers[0].Report.LostStores = []post.LostStore{{Name: "s1"}}
			o.Workers[0].Alive = false
		}},
		"the daemon cannot read a store": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.LostStores = []post.LostStore{{Name: "s1", Path: "/mnt/s1", Reason: "gone"}}
		}, "StoreUnreadable/the daemon/s1", "the daemon cannot read", "/mnt/s1"},

		"a message was asked for 11 epochs ago": {func(_ *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) {
			p.State, p.Asked, p.Reason, d.Jobs, d.Forecast = post.StateSubmitting, 2889, "not enough funds", nil, 0
		}, "MessageNotLanding/" + id, "the post of partition 3 was asked for 11 epochs ago and has not landed (Close in 60 epochs)", "lotus mpool pending"},
		"10 epochs ago": {change: func(_ *post.Outlook, _ *post.OpenDeadline, p *post.PartitionResult) {
			p.State, p.Asked = post.StateSubmitting, 2890
		}},
		"long ago, and it has landed": {change: func(_ *post.Outlook, _ *post.OpenDeadline, p *post.PartitionResult) {
			p.State, p.Asked = post.StateLanded, 2880
		}},
		"proven, but its message waits for Open": {change: func(o *post.Outlook, _ *post.OpenDeadline, p *post.PartitionResult) {
			o.Epoch, p.State = 2930, post.StateSubmitting
		}},

		"a job is out of tries": {func(_ *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) {
			p.State, p.Tries, p.Reason, d.Jobs = post.StateFailed, 2, "ProveFailed: sector 4 is wrong", nil
		}, "JobFailed/" + id, "partition 3 failed after the last try", "posthaste wdpost reset f01000-2460-7-3"},
		"it is tried on after that": {func(_ *post.Outlook, _ *post.OpenDeadline, p *post.PartitionResult) { p.Tries = 3 }, "JobFailed/" + id, "partition 3 failed", ""},
		"it is in its last try":     {change: func(_ *post.Outlook, _ *post.OpenDeadline, p *post.PartitionResult) { p.Tries = 2 }},
		"two jobs are out of tries": {func(_ *post.Outlook, d *post.OpenDeadline, p *post.PartitionResult) {
			p.State = post.StateFailed
			other := *p
			other.Index = 1
			d.Partitions = append(d.Partitions, other)
		}, "JobFailed/" + id, "partitions 1, 3 failed", "`posthaste wdpost reset f01000-2460-7`"},

		"sectors are left out": {func(_ *post.Outlook, _ *post.OpenDeadline, p *post.PartitionResult) {
			p.Skipped = []post.Skipped{{Sector: 4, Reason: "cannot be read"}}
		}, "SectorsSkipped/" + id, "f01000/7: 1 sector is left out of the post of partition 3", "posthaste wdpost reset " + id},
		"they were left out of a post that landed": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Completed", post.PartitionResult{State: post.StatePosted, Skipped: []post.Skipped{{Sector: 4}}, SkippedCount: 9})
		}, "SectorsSkipped/f01001-2460-2", "f01001/2: 9 sectors are left out of the post of partition 0", "posthaste proving recover --miner f01001"},

		"a partition was missed": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Failed", post.PartitionResult{State: post.StateMissed, Reason: "no card"}, post.PartitionResult{Index: 1, State: post.StatePosted})
		}, "PartitionMissed/f01001-2460-2", "f01001/2: partition 0 was missed: not on the chain when it closed at epoch 2890", "posthaste wdpost show f01001-2460-2"},
		"a whole deadline was, before its partitions were known": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Failed")
			o.Closed[0].State, o.Closed[0].Reason = post.StateMissed, "the chain did not answer"
		}, "PartitionMissed/f01001-2460-2", "the deadline was missed", ""},
		"it was missed a day ago": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Failed", post.PartitionResult{State: post.StateMissed})
			o.Closed[0].ClosedAt = lookedAt.Add(-24 * time.Hour)
		}},
		"its workflow was terminated and not issued again until Close": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Terminated", post.PartitionResult{State: post.StateProving}, post.PartitionResult{Index: 1, State: post.StateLanded})
		}, "PartitionMissed/f01001-2460-2", "partition 0 was missed", ""},
		"its workflow was terminated, and there is time": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Terminated", post.PartitionResult{State: post.StateProving})
			o.Closed[0].Deadline.Close = 2901
		}},
		"a run of it failed, and another one completed": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Failed", post.PartitionResult{State: post.StateMissed})
			again := o.Closed[0]
			again.RunID, again.Status, again.ClosedAt, again.Partitions, again.State = "b", "Completed", again.ClosedAt.Add(time.Second), []post.PartitionResult{{State: post.StatePosted}}, post.StatePosted
			o.Closed = append(o.Closed, again)
		}},
		"it runs again": {change: func(o *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) {
			closed(o, "Failed", post.PartitionResult{State: post.StateMissed})
			o.Closed[0].WorkflowID = d.WorkflowID
		}},

		"a workflow does not go on": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Failing = []post.FailingWorkflow{{WorkflowID: "miner-f01000", Attempt: 3}}
		}, "WorkflowTaskFailing/miner-f01000", "workflow miner-f01000 does not go on: its task fails, attempt 3", "temporal workflow reset --workflow-id miner-f01000"},

		"a miner is watched": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1000, Taken: true}}
		}},
		"no daemon takes a miner": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1001, Taken: true}, {Miner: 1000, Untaken: true}}
		}, "MinerUnwatched/f01000", "miner f01000 is not watched: no daemon takes it", "systemctl start posthaste-daemon"},
		"a daemon has a miner, and cannot watch it": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1000, Taken: true, Problem: "the node has no state"}}
		}, "MinerUnwatched/f01000", "the daemon that watches it cannot: the node has no state", "`posthaste miner list`"},
		"a daemon took a miner and failed": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1000, Untaken: true, Problem: "panic"}}
		}, "MinerUnwatched/f01000", "panic", ""},
		"a miner's workflow runs and does nothing": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1000}}
		}, "MinerUnwatched/f01000", "does not watch the chain", "--workflow-id miner-f01000"},
		"a miner's workflow was terminated": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1000, Ended: "Terminated", EndedAt: lookedAt.Add(-time.Hour)}}
		}, "MinerUnwatched/f01000", "its workflow ended at 2026-03-01T02:00:00Z: Terminated", "`posthaste miner add f01000`"},
		"a miner is paused or removed": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1000, Idle: true}}
		}},
		"a removed miner's workflow was terminated": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Miners = []post.MinerOutlook{{Miner: 1000, Idle: true, Ended: "Terminated", EndedAt: lookedAt}}
		}},

		"no new head for 5 epochs": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Node.At = lookedAt.Add(-150 * time.Second)
		}, "NodeBehind/http://node/rpc/v1", "is 5 epochs behind: its head is epoch 2900", "lotus sync status"},
		"a second less than that": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Node.At = lookedAt.Add(-149 * time.Second)
		}},
		"heads come, but old ones": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Node.Timestamp = lookedAt.Add(-time.Hour)
		}, "NodeBehind/http://node/rpc/v1", "is 120 epochs behind", ""},
		"a chain ahead of the time": {change: func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Node.Timestamp = lookedAt.Add(time.Hour)
		}},
		"the node has never answered": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Node = post.NodeOutlook{Endpoint: "http://node/rpc/v1", Away: true, Since: lookedAt.Add(-3 * time.Minute)}
		}, "NodeBehind/http://node/rpc/v1", "it has given no head since this daemon started; it does not answer", ""},
		"the node has just refused the token": {func(o *post.Outlook, _ *post.OpenDeadline, _ *post.PartitionResult) {
			o.Node = post.NodeOutlook{Endpoint: "http://node/rpc/v1", Away: true, Refuses: true, Why: "http status 401", Since: lookedAt}
		}, "NodeBehind/http://node/rpc/v1", "does not accept the token: it has given no head since this daemon started", "lotus auth api-info"},
	} {
		t.Run(name, func(t *testing.T) {
			var found []post.Alert
			for _, a := range post.Judge(quietOutlook(c.change), limits) {
				assert.NotEmpty(t, a.Mend)
				assert.NotEmpty(t, a.Subject)
				assert.Contains(t, post.AlertKinds, a.Kind)
				assert.Contains(t, []post.Severity{post.Critical, post.Warning}, a.Severity)
				if c.want == "" || a.Key == c.want {
					found = append(found, a)
				}
			}
			if c.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Contains(t, found[0].Summary, c.says)
			assert.Contains(t, found[0].Mend, c.mend)
		})
	}
}

// A job that changes hands has no card for some seconds, which is no news.
func TestALateProofHasToHold(t *testing.T) {
	late := post.Judge(quietOutlook(func(o *post.Outlook, d *post.OpenDeadline, _ *post.PartitionResult) {
		o.Epoch, d.Jobs[0].Started = 2915, false
	}), limits)
	require.Len(t, late, 1)
	require.Equal(t, limits.Hold, late[0].Hold)
}

// Daemons start again within a minute what was ended, and another takes over from one that is lost.
func TestAMinerIsGivenTimeToBeTaken(t *testing.T) {
	for hold, want := range map[time.Duration]time.Duration{time.Second: 2 * time.Minute, 5 * time.Minute: 5 * time.Minute} {
		l := limits
		l.Hold = hold
		found := post.Judge(post.Outlook{At: lookedAt, Miners: []post.MinerOutlook{{Miner: 1000}}}, l)
		require.Len(t, found, 1)
		require.Equal(t, want, found[0].Hold)
	}
}

// What comes from elsewhere is cut to one line of bounded length.
func TestAlertsAreShort(t *testing.T) {
	long := ""
	for len(long) < 5000 {
		long += "a driver's error\n"
	}
	o := quietOutlook(func(o *post.Outlook, _ *post.OpenDeadline, p *post.PartitionResult) {
		o.Workers[0].Orders.Fences = []post.Fence{{Card: "card0", Reason: long}}
		p.State, p.Reason = post.StateFailed, long
	})
	for _, a := range post.Judge(o, limits) {
		assert.Less(t, len(a.Summary), 320)
		assert.Less(t, len(a.Details), 1020)
		assert.NotContains(t, a.Summary+a.Details, "\n")
	}
}

func TestTimeGone(t *testing.T) {
	d := post.OpenDeadline{Result: post.Result{Deadline: post.Deadline{Challenge: 2880, Close: 2960}}, Settings: post.Settings{SubmitReserve: 10}}
	for epoch, want := range map[abi.ChainEpoch]float64{2870: 0, 2880: 0, 2915: 0.5, 2950: 1, 2985: 1.5} {
		assert.InDelta(t, want, d.TimeGone(epoch), 1e-9, "epoch %d", epoch)
	}
	assert.Positive(t, post.OpenDeadline{}.TimeGone(1), "nothing is known of it: no division by zero")
}
