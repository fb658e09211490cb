package workers

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx/fxtest"

	"posthaste/activities"
	"posthaste/post"
)

// busyMetrics are a worker's and a daemon's after something of everything has happened.
func busyMetrics() *metrics {
	m := newMetrics("v1")
	w := newWorkerMetrics(m, func() workerGauges {
		return workerGauges{
			cards:    []post.CardNow{{Name: "card0", State: "proving", Proofs: 3, Failures: 1, Restarts: 1}, {Name: "card1", State: "fenced"}},
			readable: []string{"a"}, lost: []post.LostStore{{Name: "b"}}, paused: true,
		}
	})
	w.observe(activities.Observation{Kind: activities.ObservedStart, Proof: post.KindWindow, Waited: 2 * time.Second, Attempt: 1})
	w.observe(activities.Observation{Kind: activities.ObservedStart, Proof: post.KindWindow, Attempt: 2})
	w.observe(activities.Observation{Kind: activities.ObservedFailure, Proof: post.KindWindow, Failure: post.FailureNoStore})
	w.observe(activities.Observation{Kind: activities.ObservedProof, Proof: post.KindWindow, Card: "w/card0", Skipped: 2,
		Phases: post.PhaseTimes{Vanilla: time.Second, Snark: 90 * time.Second}})
	d := newDaemonMetrics(m)
	d.observe(look{waiting: 5, running: 2, moved: 3, nobody: 3})
	d.observe(look{moved: 1, incomplete: true})
	newBoardMetrics(m, nil).observe(busyOutlook(), busyAlerts())
	newNodeMetrics(m, func() post.NodeOutlook {
		return post.NodeOutlook{Head: 1000, At: time.Now(), EpochDuration: 30 * time.Second, Nodes: []post.NodeStanding{
			{Endpoint: "http://a", Verdict: "behind", Latency: 20 * time.Millisecond}, {Endpoint: "http://b", Used: true, Verdict: "good"},
		}}
	})
	return m
}

// scrape is what Prometheus gets: the lines of a name.
func scrape(t *testing.T, m *metrics, name string) (lines []string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
	for line := range strings.Lines(recorder.Body.String()) {
		if after, found := strings.CutPrefix(line, name); found && (after[0] == '{' || after[0] == ' ') {
			lines = append(lines, strings.TrimSpace(after))
		}
	}
	return lines
}

func TestMetrics(t *testing.T) {
	m := busyMetrics()
	for name, want := range map[string][]string{
		"posthaste_build_info":          {`{version="v1"} 1`},
		"posthaste_card_fenced":         {`{card="card0"} 0`, `{card="card1"} 1`},
		"posthaste_card_restarts_total": {`{card="card0"} 1`, `{card="card1"} 0`},
		"posthaste_proofs_total": {`{card="card0",result="failure"} 1`, `{card="card0",result="proof"} 3`,
			`{card="card1",result="failure"} 0`, `{card="card1",result="proof"} 0`},
		"posthaste_failures_total":           {`{kind="wdpost",type="StoreNotAttached"} 1`},
		"posthaste_proof_seconds_sum":        {`{kind="wdpost",phase="snark"} 90`, `{kind="wdpost",phase="vanilla"} 1`, `{kind="wdpost",phase="verify"} 0`, `{kind="wdpost",phase="wait"} 0`},
		"posthaste_queue_wait_seconds_sum":   {`{kind="wdpost"} 2`},
		"posthaste_queue_wait_seconds_count": {`{kind="wdpost"} 1`},
		"posthaste_attempt_count":            {`{kind="wdpost"} 2`},
		"posthaste_skipped_sectors_total":    {`{kind="wdpost"} 2`},
		"posthaste_store_readable":           {`{store="a"} 1`, `{store="b"} 0`},
		"posthaste_worker_paused":            {`1`},
		"posthaste_node_used":                {`{node="http://a"} 0`, `{node="http://b"} 1`},
		"posthaste_node_verdict":             {`{node="http://a",verdict="behind"} 1`, `{node="http://b",verdict="good"} 1`},
		"posthaste_node_latency_seconds":     {`{node="http://a"} 0.02`, `{node="http://b"} 0`},
		"posthaste_jobs_waiting":             {`5`},
		"posthaste_jobs_running":             {`2`},
		"posthaste_jobs_nobody":              {`3`},
		"posthaste_jobs_moved_total":         {`4`},
	} {
		require.Equal(t, want, scrape(t, m, name), name)
	}
	states := scrape(t, m, "posthaste_card_state")
	require.Len(t, states, 12)
	require.Contains(t, states, `{card="card0",state="proving"} 1`)
	require.Contains(t, states, `{card="card0",state="idle"} 0`)
}

// TestMetricsAreDocumented compares names, types and labels with docs/metrics.md, both ways.
func TestMetricsAreDocumented(t *testing.T) {
	families, err := busyMetrics().registry.Gather()
	require.NoError(t, err)
	var registered []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "posthaste_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		registered = append(registered, f.GetName()+" "+strings.ToLower(f.GetType().String())+" "+strings.Join(labels, ","))
	}
	text, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(posthaste_[a-z_]+)` \\| ([a-z]+) \\| ([^|]+) \\| [^|]+ \\| [^|]{10,} \\|$").FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		documented = append(documented, row[1]+" "+row[2]+" "+strings.Join(labels, ","))
	}
	require.ElementsMatch(t, registered, documented)
}

func TestTemporalMetrics(t *testing.T) {
	m := newMetrics("v1")
	h := m.temporal.handler().WithTags(map[string]string{"namespace": "default", "client-name": "go"})
	h.Counter("temporal_request").Inc(2)
	h.Counter("temporal_request").Inc(1)
	h.WithTags(map[string]string{"task_queue": "q"}).Counter("temporal_request").Inc(5) // the same name with more labels
	h.Gauge("temporal_num_pollers").Update(4)
	h.Timer("temporal_request_latency").Record(20 * time.Millisecond)
	require.Equal(t, []string{`{client_name="go",namespace="default"} 4`}, scrape(t, m, "temporal_num_pollers"))
	require.Equal(t, []string{`{client_name="go",namespace="default"} 3`, `{client_name="go",namespace="default",task_queue="q"} 5`}, scrape(t, m, "temporal_request_total"))
	require.Equal(t, []string{`{client_name="go",namespace="default"} 1`}, scrape(t, m, "temporal_request_latency_seconds_count"))
}

func TestMetricsAreServed(t *testing.T) {
	address := freeAddress(t)
	lc := fxtest.NewLifecycle(t)
	serveMetrics(lc, address, busyMetrics(), slog.New(slog.DiscardHandler))
	lc.RequireStart()
	response, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Contains(t, string(body), "posthaste_jobs_waiting 5\n")
	require.Contains(t, string(body), "go_goroutines")

	var log bytes.Buffer
	second := fxtest.NewLifecycle(t)
	serveMetrics(second, address, newMetrics("v1"), slog.New(slog.NewTextHandler(&log, nil)))
	second.RequireStart()
	second.RequireStop()
	require.Contains(t, log.String(), "no metrics are served", "a taken port is said, and stops nothing")
	lc.RequireStop()

	off := fxtest.NewLifecycle(t)
	serveMetrics(off, "", newMetrics("v1"), slog.New(slog.DiscardHandler))
	off.RequireStart().RequireStop()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
