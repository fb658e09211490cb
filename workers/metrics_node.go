package workers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"posthaste/post"
)

// nodeMetrics is what each daemon tells of its own node, asked at every scrape.
type nodeMetrics struct {
	node func() post.NodeOutlook
	now  func() time.Time
}

var (
	descHead   = prometheus.NewDesc("posthaste_node_head_epoch", "Height of the node's head.", nil, nil)
	descBehind = prometheus.NewDesc("posthaste_node_behind_epochs", "Epochs by which the head is behind, by the clock.", nil, nil)
	descAway   = prometheus.NewDesc("posthaste_node_away", "1 if the node does not answer.", nil, nil)

	// Only of several nodes.
	descUsed    = prometheus.NewDesc("posthaste_node_used", "1 for the node that is used.", []string{"node"}, nil)
	descVerdict = prometheus.NewDesc("posthaste_node_verdict", "1 for what is thought of the node.", []string{"node", "verdict"}, nil)
	descLatency = prometheus.NewDesc("posthaste_node_latency_seconds", "How long the node takes to tell its head.", []string{"node"}, nil)
)

// newNodeMetrics adds the metrics of a daemon's node.
func newNodeMetrics(m *metrics, node func() post.NodeOutlook) {
	m.registry.MustRegister(&nodeMetrics{node: node, now: time.Now})
}

// Describe says what Collect gives.
func (n *nodeMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descHead, descBehind, descAway, descUsed, descVerdict, descLatency} {
		descs <- d
	}
}

// Collect asks how the node is followed. Before its first answer there is no head to tell.
func (n *nodeMetrics) Collect(out chan<- prometheus.Metric) {
	o := n.node()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if !o.At.IsZero() {
		gauge(descHead, float64(o.Head))
	}
	gauge(descBehind, float64(o.Behind(n.now())))
	gauge(descAway, one(o.Away))
	for _, s := range o.Nodes {
		gauge(descUsed, one(s.Used), s.Endpoint)
		gauge(descVerdict, 1, s.Endpoint, s.Verdict)
		gauge(descLatency, s.Latency.Seconds(), s.Endpoint)
	}
}
