package workers

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/client"
)

// temporalMetrics gives the Temporal SDK's metrics to Prometheus, under the names that the SDK's documentation uses for it: counters end
// in _total and timers in _seconds. The SDK uses a name with different sets of labels, so each set is a metric of its own,
// and they are collected without having been described.
type temporalMetrics struct {
	mu       sync.Mutex
	counters map[string]prometheus.Counter
	gauges   map[string]prometheus.Gauge
	timers   map[string]prometheus.Histogram
}

func newTemporalMetrics() *temporalMetrics {
	return &temporalMetrics{counters: map[string]prometheus.Counter{}, gauges: map[string]prometheus.Gauge{}, timers: map[string]prometheus.Histogram{}}
}

// handler is what a client is given.
func (t *temporalMetrics) handler() client.MetricsHandler { return tagged{all: t} }

// Describe says nothing: which labels there will be is the SDK's business.
func (t *temporalMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect gives what there is.
func (t *temporalMetrics) Collect(out chan<- prometheus.Metric) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.counters {
		out <- m
	}
	for _, m := range t.gauges {
		out <- m
	}
	for _, m := range t.timers {
		out <- m
	}
}

// tagged is the metrics with a set of labels.
type tagged struct {
	all  *temporalMetrics
	tags map[string]string // never changed
}

// timerBuckets, in seconds: requests take milliseconds, activities up to hours.
var timerBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}

// WithTags adds labels.
func (t tagged) WithTags(more map[string]string) client.MetricsHandler {
	tags := make(map[string]string, len(t.tags)+len(more))
	maps.Copy(tags, t.tags)
	for key, value := range more {
		tags[labelName(key)] = value
	}
	return tagged{t.all, tags}
}

// Counter is the counter of that name with these labels.
func (t tagged) Counter(name string) client.MetricsCounter {
	return sdkCounter{metric(t, t.all.counters, name, func() prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: labelName(name) + "_total", Help: sdkHelp, ConstLabels: t.tags})
	})}
}

// Gauge is the gauge of that name with these labels.
func (t tagged) Gauge(name string) client.MetricsGauge {
	return sdkGauge{metric(t, t.all.gauges, name, func() prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: labelName(name), Help: sdkHelp, ConstLabels: t.tags})
	})}
}

// Timer is the histogram of that name with these labels.
func (t tagged) Timer(name string) client.MetricsTimer {
	return sdkTimer{metric(t, t.all.timers, name, func() prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: labelName(name) + "_seconds", Help: sdkHelp, ConstLabels: t.tags, Buckets: timerBuckets})
	})}
}

const sdkHelp = "See the reference of Temporal's SDK metrics."

// metric finds or makes the metric of a name and a set of labels.
func metric[M any](t tagged, known map[string]M, name string, create func() M) M {
	var key strings.Builder
	key.WriteString(name)
	for _, tag := range slices.Sorted(maps.Keys(t.tags)) {
		key.WriteString("\x00" + tag + "\x00" + t.tags[tag])
	}
	t.all.mu.Lock()
	defer t.all.mu.Unlock()
	m, there := known[key.String()]
	if !there {
		m = create()
		known[key.String()] = m
	}
	return m
}

// labelName is a name as Prometheus allows it.
func labelName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

type sdkCounter struct{ prometheus.Counter }

// Inc adds.
func (c sdkCounter) Inc(n int64) { c.Add(float64(n)) }

type sdkGauge struct{ prometheus.Gauge }

// Update sets.
func (g sdkGauge) Update(v float64) { g.Set(v) }

type sdkTimer struct{ prometheus.Histogram }

// Record observes.
func (t sdkTimer) Record(d time.Duration) { t.Observe(d.Seconds()) }
