package workers

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/fx"

	"posthaste/activities"
	"posthaste/post"
)

// metrics is what a process tells Prometheus. docs/metrics.md describes each; a test compares the two.
type metrics struct {
	registry *prometheus.Registry
	temporal *temporalMetrics
}

// newMetrics has what every process tells: Go's runtime, the process, its build, and the Temporal SDK.
func newMetrics(version string) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), temporal: newTemporalMetrics()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "posthaste_build_info", Help: "Always 1; the label says what runs here.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, m.temporal)
	return m
}

// serveMetrics answers GET /metrics at an address for as long as the process runs. Nothing else hangs on it: if the port is taken, the
// process goes on without. No address: nothing is served.
func serveMetrics(lc fx.Lifecycle, address string, m *metrics, log *slog.Logger) {
	if address == "" {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	lc.Append(fx.Hook{
		OnStart: func(ctx context.Context) error {
			var listen net.ListenConfig
			l, err := listen.Listen(ctx, "tcp", address)
			if err != nil {
				log.Warn("no metrics are served; another process may have the port: give each its own, or \"off\", under [metrics]", "address", address, "error", err)
				return nil
			}
			log.Info("serving metrics", "url", "http://"+l.Addr().String()+"/metrics")
			go func() {
				if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
					log.Warn("metrics are served no longer", "error", err)
				}
			}()
			return nil
		},
		OnStop: func(context.Context) error { return server.Close() },
	})
}

// proofBuckets, in seconds, go from a proof of 2 KiB sectors to an hour, which none may take: a deadline is open for half of one.
var proofBuckets = []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 240, 480, 900, 1800, 3600}

// workerMetrics is what a worker tells of its proofs and cards.
type workerMetrics struct {
	seconds  *prometheus.HistogramVec
	queued   *prometheus.HistogramVec
	attempts *prometheus.HistogramVec
	failures *prometheus.CounterVec
	skipped  *prometheus.CounterVec
}

// newWorkerMetrics adds a worker's metrics. What its cards and stores are at is asked at every scrape.
func newWorkerMetrics(m *metrics, now func() workerGauges) *workerMetrics {
	w := &workerMetrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "posthaste_proof_seconds", Help: "How long the phases of a proof took.", Buckets: proofBuckets,
		}, []string{"kind", "phase"}),
		queued: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "posthaste_queue_wait_seconds", Help: "How long a job waited in task queues until a worker had it first.", Buckets: proofBuckets,
		}, []string{"kind"}),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "posthaste_attempt", Help: "Which attempt was begun, by Temporal's count, from 1.", Buckets: []float64{1, 2, 3, 5, 10, 20},
		}, []string{"kind"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "posthaste_failures_total", Help: "Attempts that ended without a proof.",
		}, []string{"kind", "type"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "posthaste_skipped_sectors_total", Help: "Sectors that proofs left out because they could not be proven.",
		}, []string{"kind"}),
	}
	m.registry.MustRegister(w.seconds, w.queued, w.attempts, w.failures, w.skipped, &workerCollector{now: now})
	return w
}

// observe takes note of what an activity has seen.
func (w *workerMetrics) observe(o activities.Observation) {
	switch o.Kind {
	case activities.ObservedStart:
		if o.Attempt <= 1 { // of later ones it is not known, and zeros would hide a long line
			w.queued.WithLabelValues(o.Proof).Observe(o.Waited.Seconds())
		}
		w.attempts.WithLabelValues(o.Proof).Observe(float64(o.Attempt))
	case activities.ObservedFailure:
		w.failures.WithLabelValues(o.Proof, string(o.Failure)).Inc()
	case activities.ObservedProof:
		for phase, took := range map[string]time.Duration{
			"wait": o.Phases.Wait, "vanilla": o.Phases.Vanilla, "snark": o.Phases.Snark, "verify": o.Phases.Verify,
		} {
			w.seconds.WithLabelValues(o.Proof, phase).Observe(took.Seconds())
		}
		w.skipped.WithLabelValues(o.Proof).Add(float64(o.Skipped))
	}
}

// workerGauges is what a worker is at.
type workerGauges struct {
	cards    []post.CardNow
	paused   bool
	readable []string // stores
	lost     []post.LostStore
}

// cardStates are all states in which a card can be, so that the one that it has left shows 0.
var cardStates = []string{"starting", "idle", "proving", "restarting", "dead", "fenced"}

// workerCollector reads the cards and stores when Prometheus asks.
type workerCollector struct{ now func() workerGauges }

var (
	descProofs   = prometheus.NewDesc("posthaste_proofs_total", "Jobs that a card ended, with a proof or as a failure.", []string{"card", "result"}, nil)
	descState    = prometheus.NewDesc("posthaste_card_state", "1 for the state that a card is in, 0 for the others.", []string{"card", "state"}, nil)
	descRestarts = prometheus.NewDesc("posthaste_card_restarts_total", "How often a card's process was started again.", []string{"card"}, nil)
	descFenced   = prometheus.NewDesc("posthaste_card_fenced", "1 if a card is fenced.", []string{"card"}, nil)
	descStore    = prometheus.NewDesc("posthaste_store_readable", "1 if a configured store can be read here.", []string{"store"}, nil)
	descPaused   = prometheus.NewDesc("posthaste_worker_paused", "1 if an operator has paused the worker.", nil, nil)
)

// Describe says what Collect gives.
func (c *workerCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descProofs, descState, descRestarts, descFenced, descStore, descPaused} {
		descs <- d
	}
}

// Collect reads the worker.
func (c *workerCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, is bool, labels ...string) {
		value := 0.0
		if is {
			value = 1
		}
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	now := c.now()
	for _, card := range now.cards {
		counter(descProofs, card.Proofs, card.Name, "proof")
		counter(descProofs, card.Failures, card.Name, "failure")
		counter(descRestarts, card.Restarts, card.Name)
		gauge(descFenced, card.State == "fenced", card.Name)
		for _, state := range cardStates {
			gauge(descState, card.State == state, card.Name, state)
		}
	}
	for _, store := range now.readable {
		gauge(descStore, true, store)
	}
	for _, store := range now.lost {
		gauge(descStore, false, store.Name)
	}
	gauge(descPaused, now.paused)
}

// daemonMetrics is what a daemon tells of the fleet. Only the daemon that balances it at the moment knows: sum over all.
type daemonMetrics struct {
	waiting prometheus.Gauge
	running prometheus.Gauge
	nobody  prometheus.Gauge
	moved   prometheus.Counter
}

func newDaemonMetrics(m *metrics) *daemonMetrics {
	d := &daemonMetrics{
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "posthaste_jobs_waiting", Help: "Jobs that no card has begun."}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "posthaste_jobs_running", Help: "Jobs that a card works on."}),
		nobody:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "posthaste_jobs_nobody", Help: "Waiting jobs that nobody can take as things are."}),
		moved:   prometheus.NewCounter(prometheus.CounterOpts{Name: "posthaste_jobs_moved_total", Help: "Waiting jobs that were moved to another queue."}),
	}
	m.registry.MustRegister(d.waiting, d.running, d.nobody, d.moved)
	return d
}

// look is what a pass over the jobs that wait has seen.
type look struct {
	waiting, running, moved, nobody int
	incomplete                      bool
}

// observe takes note of a look. One that is not complete says only what it has moved.
func (d *daemonMetrics) observe(l look) {
	d.moved.Add(float64(l.moved))
	if l.incomplete {
		return
	}
	d.waiting.Set(float64(l.waiting))
	d.running.Set(float64(l.running))
	d.nobody.Set(float64(l.nobody))
}
