package workers

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/prometheus/client_golang/prometheus"

	"posthaste/post"
)

// boardFor is for how long what was seen last is told: a daemon that has handed the watch over to another, or cannot read Temporal any
// more, must not go on telling what may have changed. The watch looks every 5 s.
const boardFor = 30 * time.Second

// boardMetrics is what the daemon that watches for alerts tells of deadlines, queues and workers. Gauges are made anew at every scrape of
// what was seen last, so that those of a deadline that is over are gone with it.
type boardMetrics struct {
	now     func() time.Time
	posted  *prometheus.CounterVec
	missed  *prometheus.CounterVec
	mu      sync.Mutex
	outlook post.Outlook
	alerts  []post.OpenAlert
	seen    time.Time // when; zero: nothing is to be told
}

// newBoardMetrics adds the board's metrics to a daemon's. now is nil but in tests.
func newBoardMetrics(m *metrics, now func() time.Time) *boardMetrics {
	if now == nil {
		now = time.Now
	}
	b := &boardMetrics{
		now: now,
		posted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "posthaste_partitions_posted_total", Help: "Partitions whose post was on the chain when their deadline's workflow ended.",
		}, []string{"miner"}),
		missed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "posthaste_partitions_missed_total", Help: "Partitions whose post was not on the chain at Close.",
		}, []string{"miner"}),
	}
	m.registry.MustRegister(b.posted, b.missed, b)
	return b
}

// observe takes note of a look of the watch with the alerts that are open, or of its end: a zero outlook. Of a look that is not complete the
// parts are taken that it has.
func (b *boardMetrics) observe(o post.Outlook, open []post.OpenAlert) {
	b.count(o)
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.At.IsZero() {
		b.outlook, b.alerts, b.seen = post.Outlook{}, nil, time.Time{}
		return
	}
	if o.Problem != "" && b.watching() {
		o = patched(o, b.outlook)
	}
	b.outlook, b.alerts, b.seen = o, open, b.now()
}

// patched fills what an incomplete outlook does not have with what was seen before.
func patched(o, before post.Outlook) post.Outlook {
	if len(o.Deadlines) == 0 {
		o.Deadlines = before.Deadlines
	}
	if len(o.Closed) == 0 {
		o.Closed = before.Closed
	}
	if len(o.Queues) == 0 {
		o.Queues = before.Queues
	}
	if len(o.Workers) == 0 {
		o.Workers = before.Workers
	}
	if len(o.Miners) == 0 {
		o.Miners = before.Miners
	}
	if o.Epoch == 0 {
		o.Epoch = before.Epoch
	}
	return o
}

// count counts the partitions of deadlines that have just ended. A miner's counters begin at 0 with its first deadline: Prometheus
// does not see a counter grow that begins at 1.
func (b *boardMetrics) count(o post.Outlook) {
	for _, d := range o.Deadlines {
		name := post.MinerName(d.Deadline.Miner)
		b.posted.WithLabelValues(name).Add(0)
		b.missed.WithLabelValues(name).Add(0)
	}
	for _, d := range o.Closed {
		// A run that somebody terminated or reset tells nothing: the next one does.
		if !d.Fresh || d.Status != "Completed" && d.Status != "Failed" {
			continue
		}
		name := post.MinerName(d.Deadline.Miner)
		b.posted.WithLabelValues(name).Add(float64(len(d.In(post.StatePosted))))
		b.missed.WithLabelValues(name).Add(float64(countMissed(d, o.Epoch)))
	}
}

// watching says whether what was seen last is told. The mutex is held.
func (b *boardMetrics) watching() bool { return !b.seen.IsZero() && b.now().Sub(b.seen) < boardFor }

// boardGauge is one of the gauges that the board is told by.
type boardGauge struct{ *prometheus.Desc }

func newBoardGauge(name, help string, labels ...string) boardGauge {
	return boardGauge{prometheus.NewDesc(name, help, labels, nil)}
}

var (
	gaugeWatching   = newBoardGauge("posthaste_watching", "1 if this daemon watches for alerts.")
	gaugePartitions = newBoardGauge("posthaste_deadline_partitions", "Partitions of a deadline in a state.", "miner", "deadline", "state")
	gaugeEpochsLeft = newBoardGauge("posthaste_deadline_epochs_left", "Epochs until Close.", "miner", "deadline")
	gaugeTimeGone   = newBoardGauge("posthaste_deadline_time_gone_ratio", "Share of the time for proving that is over.", "miner", "deadline")
	gaugeUnbegun    = newBoardGauge("posthaste_deadline_unbegun", "Partitions that no card has begun.", "miner", "deadline")
	gaugeForecast   = newBoardGauge("posthaste_deadline_forecast_seconds", "How long until all proofs will be made.", "miner", "deadline")
	gaugeLeft       = newBoardGauge("posthaste_deadline_left_seconds", "How long until they must be.", "miner", "deadline")
	gaugeMessage    = newBoardGauge("posthaste_deadline_message_epochs", "How long the longest waiting message has not landed.", "miner", "deadline")
	gaugeSkipped    = newBoardGauge("posthaste_deadline_skipped_sectors", "Sectors that posts leave out.", "miner", "deadline")
	gaugeTries      = newBoardGauge("posthaste_deadline_out_of_tries", "Partitions that have failed their last try.", "miner", "deadline")
	gaugeMissed     = newBoardGauge("posthaste_deadline_missed_partitions", "Partitions that were missed lately.", "miner", "deadline")
	gaugeWaiting    = newBoardGauge("posthaste_queue_jobs_waiting", "Jobs that wait on a queue.", "queue")
	gaugeStuck      = newBoardGauge("posthaste_queue_jobs_stuck", "Of those, the ones that nobody can take.", "queue")
	gaugeLive       = newBoardGauge("posthaste_queue_live_cards", "Places on the live cards of a queue.", "queue")
	gaugeBusy       = newBoardGauge("posthaste_queue_busy_cards", "Of those, the ones that work.", "queue")
	gaugeAlive      = newBoardGauge("posthaste_worker_alive", "1 if a worker's process is there.", "worker")
	gaugeFence      = newBoardGauge("posthaste_worker_card_fenced", "1 for each fenced card of each worker.", "worker", "card")
	gaugeLost       = newBoardGauge("posthaste_store_lost", "1 for each store that cannot be read where it should be.", "by", "store")
	gaugeFailing    = newBoardGauge("posthaste_workflow_tasks_failing", "Workflows that do not go on because their code fails.")
	gaugeMiner      = newBoardGauge("posthaste_miner_watched", "1 if deadlines are issued for a miner that is neither paused nor removed, 0 if not.", "miner")
	gaugeFaulty     = newBoardGauge("posthaste_miner_faulty_sectors", "Faulty sectors that are not declared recovered.", "miner")
	gaugeRecovery   = newBoardGauge("posthaste_miner_recovery_blocked", "1 if faulty sectors could not be declared recovered at the last try: the actor takes none, or the message failed.", "miner")
	gaugeAlerts     = newBoardGauge("posthaste_alerts", "Open alerts of a kind.", "alert")

	boardGauges = []boardGauge{
		gaugeWatching, gaugePartitions, gaugeEpochsLeft, gaugeTimeGone, gaugeUnbegun, gaugeForecast, gaugeLeft, gaugeMessage, gaugeSkipped, gaugeTries,
		gaugeMissed, gaugeWaiting, gaugeStuck, gaugeLive, gaugeBusy, gaugeAlive, gaugeFence, gaugeLost, gaugeFailing, gaugeMiner, gaugeFaulty, gaugeRecovery, gaugeAlerts,
	}
)

// Describe says what Collect gives.
func (b *boardMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, g := range boardGauges {
		descs <- g.Desc
	}
}

// Collect tells what was seen last, if that is not too old.
func (b *boardMetrics) Collect(out chan<- prometheus.Metric) {
	b.mu.Lock()
	o, alerts, watching := b.outlook, b.alerts, b.watching()
	b.mu.Unlock()
	t := telling{out: out, told: map[string]bool{}}
	t.gauge(gaugeWatching, one(watching))
	if !watching {
		return
	}
	for _, d := range o.Deadlines {
		t.open(d, o.Epoch)
	}
	for _, d := range o.Closed {
		t.closed(d, o)
	}
	t.queues(o)
	t.workers(o)
	t.gauge(gaugeFailing, float64(len(o.Failing)))
	for _, m := range o.Miners {
		if !m.Idle {
			t.gauge(gaugeMiner, one(m.Watched()), post.MinerName(m.Miner))
		}
	}
	for _, s := range o.Recoveries {
		if s.Idle == "" {
			t.gauge(gaugeFaulty, float64(s.Left()), post.MinerName(s.Miner))
			t.gauge(gaugeRecovery, one(s.Blocks() != ""), post.MinerName(s.Miner))
		}
	}
	t.alerts(alerts)
}

// telling is one scrape. Each gauge is told once for the same labels: Prometheus refuses everything if one comes twice, and for a moment
// Temporal's lists may have two runs of a workflow.
type telling struct {
	out  chan<- prometheus.Metric
	told map[string]bool
}

func (t telling) gauge(g boardGauge, value float64, labels ...string) {
	key := g.String() + "\x00" + strings.Join(labels, "\x00")
	if t.told[key] {
		return
	}
	t.told[key] = true
	t.out <- prometheus.MustNewConstMetric(g.Desc, prometheus.GaugeValue, value, labels...)
}

// open tells of a deadline whose workflow runs; what is about time only until Close, and only if the epoch is known.
func (t telling) open(d post.OpenDeadline, epoch abi.ChainEpoch) {
	miner, id := post.MinerName(d.Deadline.Miner), d.Deadline.JobIDs().String()
	states := map[post.State]int{}
	outOfTries := 0
	for _, p := range d.Partitions {
		states[p.State]++
		if p.State == post.StateFailed || p.State == post.StateProving && d.Settings.MaxTry > 0 && p.Tries > d.Settings.MaxTry {
			outOfTries++
		}
	}
	for state, n := range states {
		t.gauge(gaugePartitions, float64(n), miner, id, string(state))
	}
	t.gauge(gaugeSkipped, float64(d.CountSkipped()), miner, id)
	t.gauge(gaugeTries, float64(outOfTries), miner, id)
	t.missed(states[post.StateMissed], miner, id)
	if epoch == 0 || epoch >= d.Deadline.Close {
		return
	}
	_, longest := d.Sending(epoch)
	t.gauge(gaugeEpochsLeft, float64(d.Deadline.Close-epoch), miner, id)
	t.gauge(gaugeTimeGone, d.TimeGone(epoch), miner, id)
	unbegun := len(d.Unbegun())
	if d.Unloaded() {
		unbegun = 1 // at least
	}
	t.gauge(gaugeUnbegun, float64(unbegun), miner, id)
	t.gauge(gaugeLeft, d.Left.Seconds(), miner, id)
	t.gauge(gaugeMessage, float64(longest), miner, id)
	if d.Forecast > 0 {
		t.gauge(gaugeForecast, d.Forecast.Seconds(), miner, id)
	}
}

// missed tells of missed partitions, if there are any: otherwise every deadline would be told of for an hour longer.
func (t telling) missed(n int, miner, id string) {
	if n > 0 {
		t.gauge(gaugeMissed, float64(n), miner, id)
	}
}

// closed tells what was missed of a deadline that is over, unless its workflow runs again.
func (t telling) closed(d post.ClosedDeadline, o post.Outlook) {
	if slices.ContainsFunc(o.Deadlines, func(open post.OpenDeadline) bool { return open.WorkflowID == d.WorkflowID }) {
		return
	}
	if slices.ContainsFunc(o.Closed, func(c post.ClosedDeadline) bool { return c.WorkflowID == d.WorkflowID && c.ClosedAt.After(d.ClosedAt) }) {
		return
	}
	t.missed(countMissed(d, o.Epoch), post.MinerName(d.Deadline.Miner), d.Deadline.JobIDs().String())
}

// countMissed is how many partitions of a deadline were missed: one, if how many it has was never known.
func countMissed(d post.ClosedDeadline, epoch abi.ChainEpoch) int {
	which, missed := d.Missed(epoch)
	if missed && len(which) == 0 {
		return 1
	}
	return len(which)
}

// queues tells of the cards' queues, and of jobs that wait where nobody polls.
func (t telling) queues(o post.Outlook) {
	stuck := map[string]int{}
	for _, s := range o.Stuck {
		stuck[s.Queue] += s.Jobs
	}
	for _, q := range o.Queues {
		t.gauge(gaugeWaiting, float64(max(q.Backlog, stuck[q.Name])), q.Name)
		t.gauge(gaugeStuck, float64(stuck[q.Name]), q.Name)
		t.gauge(gaugeLive, float64(q.Live), q.Name)
		t.gauge(gaugeBusy, float64(q.Busy), q.Name)
	}
	for queue, n := range stuck {
		t.gauge(gaugeWaiting, float64(n), queue)
		t.gauge(gaugeStuck, float64(n), queue)
		t.gauge(gaugeLive, 0, queue)
		t.gauge(gaugeBusy, 0, queue)
	}
}

// workers tells who is there, and what operators have to mend on their machines.
func (t telling) workers(o post.Outlook) {
	for _, w := range o.Workers {
		t.gauge(gaugeAlive, one(w.Alive), w.Report.Name)
		for _, f := range w.Orders.Fences {
			t.gauge(gaugeFence, 1, w.Report.Name, f.Card)
		}
		if !w.Alive {
			continue // what it could read when it was last there says nothing
		}
		for _, s := range w.Report.LostStores {
			t.gauge(gaugeLost, 1, "worker "+w.Report.Name, s.Name)
		}
	}
	for _, s := range o.LostStores {
		t.gauge(gaugeLost, 1, "daemon", s.Name)
	}
}

// alerts tells how many are open of each kind.
func (t telling) alerts(open []post.OpenAlert) {
	count := map[post.AlertKind]int{}
	for _, a := range open {
		count[a.Kind]++
	}
	for _, kind := range post.AlertKinds {
		t.gauge(gaugeAlerts, float64(count[kind]), string(kind))
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
