package workers

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// openDeadline is a deadline whose workflow runs: Challenge at epoch 980, Close at 1060, proofs by 1050.
func openDeadline(miner abi.ActorID, index uint64, partitions ...post.PartitionResult) post.OpenDeadline {
	d := post.Deadline{Miner: miner, Index: index, PeriodStart: 940, Challenge: 980, Open: 1000, Close: 1060}
	for i := range partitions {
		partitions[i].Index = uint64(i)
	}
	return post.OpenDeadline{
		Result: post.Result{Deadline: d, Partitions: partitions}, WorkflowID: d.WorkflowID(),
		Settings: post.Settings{SubmitReserve: 10, EpochDuration: 30 * time.Second, MaxTry: 2}, Left: 600 * time.Second,
	}
}

// openDeadlineIn is one in a state whose partitions are not known.
func openDeadlineIn(state post.State) post.OpenDeadline {
	d := openDeadline(1000, 1)
	d.State = state
	return d
}

// ended is the same deadline after its workflow.
func ended(d post.OpenDeadline, status string) post.ClosedDeadline {
	return post.ClosedDeadline{Result: d.Result, WorkflowID: d.WorkflowID, Status: status, ClosedAt: time.Unix(5000, 0)}
}

// busyOutlook has something of everything.
func busyOutlook() post.Outlook {
	d := openDeadline(1000, 1,
		post.PartitionResult{State: post.StateProving, Tries: 1}, post.PartitionResult{State: post.StateProving, Tries: 3}, post.PartitionResult{State: post.StateFailed, Tries: 2},
		post.PartitionResult{State: post.StateSubmitting, Asked: 1003, Skipped: []post.Skipped{{Sector: 4}}})
	d.Forecast = 700 * time.Second
	over := openDeadline(1001, 0, post.PartitionResult{State: post.StateMissed}, post.PartitionResult{State: post.StatePosted})
	fresh := ended(over, "Failed")
	fresh.Fresh = true
	return post.Outlook{
		At: time.Unix(6000, 0), Epoch: 1015, Deadlines: []post.OpenDeadline{d}, Closed: []post.ClosedDeadline{fresh},
		Queues: []post.Queue{{Name: "wdpost.gpu.a", Live: 2, Busy: 1}, {Name: "wdpost.gpu.b", Backlog: 1}},
		Stuck:  []post.Stuck{{Queue: "wdpost.gpu.b", Jobs: 1}, {Queue: post.QueueNobody, Why: "no rule", Jobs: 2}, {Queue: post.QueueNobody, Why: "no store", Jobs: 1}},
		Workers: []post.WorkerOutlook{
			{Alive: true, WorkerState: post.WorkerState{Report: post.WorkerReport{Name: "a", LostStores: []post.LostStore{{Name: "s1"}}}, Orders: post.Orders{Fences: []post.Fence{{Card: "card1"}}}}},
			{WorkerState: post.WorkerState{Report: post.WorkerReport{Name: "b", LostStores: []post.LostStore{{Name: "s1"}}}}},
		},
		LostStores: []post.LostStore{{Name: "s2"}},
		Failing:    []post.FailingWorkflow{{WorkflowID: "miner-f01000"}},
		Miners:     []post.MinerOutlook{{Miner: 1000, Taken: true}, {Miner: 1001, Untaken: true}, {Miner: 1002, Idle: true}},
		Recoveries: []post.RecoveryState{{Miner: 1000, Faulty: 5, Recovering: 2}, {Miner: 1001, Faulty: 1, Blocked: post.RecoveryObstacle{Owed: "7"}}, {Miner: 1002, Faulty: 3, Idle: "paused"}},
	}
}

func busyAlerts() []post.OpenAlert {
	return []post.OpenAlert{{Alert: post.Alert{Kind: post.AlertCardFenced}}, {Alert: post.Alert{Kind: post.AlertNoWorker}}, {Alert: post.Alert{Kind: post.AlertNoWorker}}}
}

func TestBoardMetrics(t *testing.T) {
	m := newMetrics("v1")
	newBoardMetrics(m, nil).observe(busyOutlook(), busyAlerts())
	of := `{deadline="f01000-940-1",miner="f01000"} `
	for name, want := range map[string][]string{
		"posthaste_watching": {"1"},
		"posthaste_deadline_partitions": {
			`{deadline="f01000-940-1",miner="f01000",state="Failed"} 1`, `{deadline="f01000-940-1",miner="f01000",state="Proving"} 2`,
			`{deadline="f01000-940-1",miner="f01000",state="Submitting"} 1`},
		"posthaste_deadline_epochs_left":       {of + "45"},
		"posthaste_deadline_time_gone_ratio":   {of + "0.5"},
		"posthaste_deadline_unbegun":           {of + "1"},
		"posthaste_deadline_forecast_seconds":  {of + "700"},
		"posthaste_deadline_left_seconds":      {of + "600"},
		"posthaste_deadline_message_epochs":    {of + "12"},
		"posthaste_deadline_skipped_sectors":   {of + "1"},
		"posthaste_deadline_out_of_tries":      {of + "2"},
		"posthaste_deadline_missed_partitions": {`{deadline="f01001-940-0",miner="f01001"} 1`},
		"posthaste_partitions_posted_total":    {`{miner="f01000"} 0`, `{miner="f01001"} 1`},
		"posthaste_partitions_missed_total":    {`{miner="f01000"} 0`, `{miner="f01001"} 1`},
		"posthaste_queue_jobs_waiting":         {`{queue="wdpost.gpu.a"} 0`, `{queue="wdpost.gpu.b"} 1`, `{queue="wdpost.nobody"} 3`},
		"posthaste_queue_jobs_stuck":           {`{queue="wdpost.gpu.a"} 0`, `{queue="wdpost.gpu.b"} 1`, `{queue="wdpost.nobody"} 3`},
		"posthaste_queue_live_cards":           {`{queue="wdpost.gpu.a"} 2`, `{queue="wdpost.gpu.b"} 0`, `{queue="wdpost.nobody"} 0`},
		"posthaste_queue_busy_cards":           {`{queue="wdpost.gpu.a"} 1`, `{queue="wdpost.gpu.b"} 0`, `{queue="wdpost.nobody"} 0`},
		"posthaste_worker_alive":               {`{worker="a"} 1`, `{worker="b"} 0`},
		"posthaste_worker_card_fenced":         {`{card="card1",worker="a"} 1`},
		"posthaste_store_lost":                 {`{by="daemon",store="s2"} 1`, `{by="worker a",store="s1"} 1`},
		"posthaste_workflow_tasks_failing":     {"1"},
		"posthaste_miner_faulty_sectors":       {`{miner="f01000"} 3`, `{miner="f01001"} 1`},
		"posthaste_miner_recovery_blocked":     {`{miner="f01000"} 0`, `{miner="f01001"} 1`},
		"posthaste_miner_watched":              {`{miner="f01000"} 1`, `{miner="f01001"} 0`},
	} {
		require.Equal(t, want, scrape(t, m, name), name)
	}
	alerts := scrape(t, m, "posthaste_alerts")
	require.Len(t, alerts, len(post.AlertKinds), "every kind has a series, so that a panel does not say that there is no data")
	require.Contains(t, alerts, `{alert="NoWorker"} 2`)
	require.Contains(t, alerts, `{alert="ProofLate"} 0`)
}

// What is not so any more is not told: series that stay would be alerts that never end.
func TestBoardMetricsVanish(t *testing.T) {
	const (
		left   = "posthaste_deadline_epochs_left"
		states = "posthaste_deadline_partitions"
		missed = "posthaste_deadline_missed_partitions"
		queue  = "posthaste_queue_live_cards"
	)
	proving := openDeadline(1000, 1, post.PartitionResult{State: post.StateProving})
	next := openDeadline(1000, 2, post.PartitionResult{State: post.StateWaiting})
	at := time.Unix(6000, 0)
	for _, tc := range []struct {
		name string
		then post.Outlook   // after a look at a proving deadline and a queue
		late time.Duration  // how long after the last look Prometheus asks
		has  map[string]int // series
	}{
		{"the deadline's workflow has ended, and the next one is there", post.Outlook{At: at, Epoch: 1010, Deadlines: []post.OpenDeadline{next}, Queues: []post.Queue{{Name: "q"}}}, 0,
			map[string]int{left: 1, states: 1, queue: 1}},
		{"Close has passed and its workflow goes on: what is about time is over", post.Outlook{At: at, Epoch: 1060, Deadlines: []post.OpenDeadline{proving}}, 0,
			map[string]int{states: 1}},
		{"the epoch is not known", post.Outlook{At: at, Deadlines: []post.OpenDeadline{proving}}, 0, map[string]int{states: 1}},
		{"a look that failed in part: what was known stays", post.Outlook{At: at, Problem: "Temporal is busy"}, 0, map[string]int{left: 1, states: 1, queue: 1}},
		{"there is a look, and it was long ago", post.Outlook{At: at, Epoch: 1010, Deadlines: []post.OpenDeadline{proving}}, boardFor, nil},
		{"the watch was handed over", post.Outlook{}, 0, nil},
		{"a deadline was missed", post.Outlook{At: at, Epoch: 1061, Closed: []post.ClosedDeadline{
			ended(openDeadline(1000, 1, post.PartitionResult{State: post.StateMissed}), "Failed")}}, 0, map[string]int{missed: 1}},
		{"a deadline was posted", post.Outlook{At: at, Epoch: 1061, Closed: []post.ClosedDeadline{
			ended(openDeadline(1000, 1, post.PartitionResult{State: post.StatePosted}), "Completed")}}, 0, nil},
		{"terminated, and there is time to issue it again", post.Outlook{At: at, Epoch: 1059, Closed: []post.ClosedDeadline{ended(proving, "Terminated")}}, 0, nil},
		{"terminated, and Close has passed", post.Outlook{At: at, Epoch: 1060, Closed: []post.ClosedDeadline{ended(proving, "Terminated")}}, 0, map[string]int{missed: 1}},
		{"missed before its partitions were known", post.Outlook{At: at, Epoch: 1061, Closed: []post.ClosedDeadline{
			ended(openDeadlineIn(post.StateMissed), "Failed")}}, 0, map[string]int{missed: 1}},
		{"terminated before its partitions were known, and Close has passed", post.Outlook{At: at, Epoch: 1061, Closed: []post.ClosedDeadline{
			ended(openDeadlineIn(post.StateWaiting), "Terminated")}}, 0, map[string]int{missed: 1}},
		{"its partitions are not known", post.Outlook{At: at, Epoch: 1010, Deadlines: []post.OpenDeadline{openDeadlineIn(post.StateWaiting)}}, 0,
			map[string]int{left: 1}},
		{"missed, and run again by an operator", post.Outlook{At: at, Epoch: 1061, Deadlines: []post.OpenDeadline{proving}, Closed: []post.ClosedDeadline{
			ended(openDeadline(1000, 1, post.PartitionResult{State: post.StateMissed}), "Failed")}}, 0, map[string]int{states: 1}},
		{"two runs of one workflow, as Temporal's lists have them for a moment", post.Outlook{At: at, Epoch: 1010, Deadlines: []post.OpenDeadline{proving, proving}}, 0,
			map[string]int{states: 1, left: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clock := time.Unix(7000, 0)
			m := newMetrics("v1")
			b := newBoardMetrics(m, func() time.Time { return clock })
			require.Equal(t, []string{"0"}, scrape(t, m, "posthaste_watching"))
			b.observe(post.Outlook{At: at, Epoch: 1010, Deadlines: []post.OpenDeadline{proving}, Queues: []post.Queue{{Name: "q", Live: 1}}}, nil)
			b.observe(tc.then, nil)
			clock = clock.Add(tc.late)
			for _, name := range []string{left, states, missed, queue} {
				require.Len(t, scrape(t, m, name), tc.has[name], name)
			}
			watching := "1"
			if tc.then.At.IsZero() || tc.late > 0 {
				watching = "0"
			}
			require.Equal(t, []string{watching}, scrape(t, m, "posthaste_watching"))
		})
	}
}

// Nobody knows how many partitions it has, but none of them was begun.
func TestBoardMetricsOfADeadlineThatCannotBeRead(t *testing.T) {
	m := newMetrics("v1")
	newBoardMetrics(m, nil).observe(post.Outlook{At: time.Unix(6000, 0), Epoch: 1010, Deadlines: []post.OpenDeadline{openDeadlineIn(post.StateWaiting)}}, nil)
	require.Equal(t, []string{`{deadline="f01000-940-1",miner="f01000"} 1`}, scrape(t, m, "posthaste_deadline_unbegun"))
}

// A deadline's partitions are counted when its run is first seen to have ended, unless somebody ended that: then the next run's are.
func TestBoardMetricsCountOnce(t *testing.T) {
	m := newMetrics("v1")
	b := newBoardMetrics(m, nil)
	look := func(status string, fresh bool) {
		d := ended(openDeadline(1000, 1, post.PartitionResult{State: post.StatePosted}, post.PartitionResult{State: post.StateMissed}), status)
		d.Fresh = fresh
		b.observe(post.Outlook{At: time.Unix(6000, 0), Epoch: 1061, Closed: []post.ClosedDeadline{d}}, nil)
	}
	look("Terminated", true)
	require.Empty(t, scrape(t, m, "posthaste_partitions_posted_total"))
	look("Failed", true)
	look("Failed", false)
	require.Equal(t, []string{`{miner="f01000"} 1`}, scrape(t, m, "posthaste_partitions_posted_total"))
	require.Equal(t, []string{`{miner="f01000"} 1`}, scrape(t, m, "posthaste_partitions_missed_total"))
}

func TestNodeMetrics(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name               string
		node               post.NodeOutlook
		head, behind, away []string
	}{
		{"it follows", post.NodeOutlook{Head: 1000, At: now, Since: now, EpochDuration: 30 * time.Second}, []string{"1000"}, []string{"0"}, []string{"0"}},
		{"its head is old", post.NodeOutlook{Head: 1000, At: now.Add(-200 * time.Second), EpochDuration: 30 * time.Second}, []string{"1000"}, []string{"6"}, []string{"0"}},
		{"it was never there", post.NodeOutlook{Since: now.Add(-time.Hour), Away: true}, nil, []string{"120"}, []string{"1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMetrics("v1")
			newNodeMetrics(m, func() post.NodeOutlook { return tc.node })
			require.Equal(t, tc.head, scrape(t, m, "posthaste_node_head_epoch"))
			require.Equal(t, tc.behind, scrape(t, m, "posthaste_node_behind_epochs"))
			require.Equal(t, tc.away, scrape(t, m, "posthaste_node_away"))
		})
	}
}
