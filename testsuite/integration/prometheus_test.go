package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
	"posthaste/testsuite/stub"
	"posthaste/workflows"
)

// prometheus is the real one, with our rules, reading a daemon and a worker.
type prometheus struct {
	url   string
	began time.Time

	mu    sync.Mutex
	fired map[string]map[string]string // the alerts that have fired, with the labels of the first time
}

// startPrometheus runs Prometheus until the test ends. Its rules are deploy's with one change: what they wait for before they fire (for)
// is a second each, as the chain's deadlines are half a minute long. It reads and judges once a second.
func startPrometheus(ctx context.Context, t *testing.T, dir, daemon, work string) *prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed: build/debian.sh test")
	}
	rules, err := os.ReadFile("../../deploy/prometheus/posthaste.rules.yml")
	require.NoError(t, err)
	quick := regexp.MustCompile(`(?m)^(\s+for: )\S+$`).ReplaceAll(rules, []byte("${1}1s"))
	require.NotEqual(t, rules, quick)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.yml"), quick, 0o600))
	config := fmt.Sprintf(`{global: {scrape_interval: 1s, evaluation_interval: 1s}, rule_files: [rules.yml], scrape_configs: [
  {job_name: posthaste-daemon, static_configs: [{targets: [%q]}]}, {job_name: posthaste-worker, static_configs: [{targets: [%q]}]}]}`, daemon, work)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600))
	address := localAddress(t)
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "tsdb"),
		"--web.listen-address="+address, "--log.level=warn")
	log, err := os.Create(filepath.Join(dir, "prometheus.log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	p := &prometheus{url: "http://" + address, began: time.Now(), fired: map[string]map[string]string{}}
	eventually(ctx, t, "Prometheus is ready", func() bool {
		var info map[string]any
		return p.get(ctx, "/api/v1/status/buildinfo", nil, &info) == nil
	})
	go p.follow(ctx)
	return p
}

// localAddress is a free one.
func localAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// get asks Prometheus's API.
func (p *prometheus) get(ctx context.Context, path string, query url.Values, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// follow keeps every alert that fires, until the context ends.
func (p *prometheus) follow(ctx context.Context) {
	for ctx.Err() == nil {
		var now struct {
			Alerts []struct {
				Labels map[string]string `json:"labels"`
				State  string            `json:"state"`
			} `json:"alerts"`
		}
		if p.get(ctx, "/api/v1/alerts", nil, &now) == nil {
			p.mu.Lock()
			for _, a := range now.Alerts {
				if name := a.Labels["alertname"]; a.State == "firing" && p.fired[name] == nil {
					p.fired[name] = a.Labels
				}
			}
			p.mu.Unlock()
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// soFar are the alerts that have fired.
func (p *prometheus) soFar() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.fired {
		names = append(names, strings.TrimPrefix(name, "Posthaste"))
	}
	slices.Sort(names)
	return names
}

// forget has an alert count as one that has not fired yet.
func (p *prometheus) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fired, "Posthaste"+name)
}

// fires waits until alerts have fired, and gives the labels of the last.
func (p *prometheus) fires(ctx context.Context, t *testing.T, names ...string) (labels map[string]string) {
	t.Helper()
	for _, name := range names {
		eventually(ctx, t, "Posthaste"+name+" fires", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			labels = p.fired["Posthaste"+name]
			return labels != nil
		})
		t.Logf("%5.1f s: %s fires: %v", time.Since(p.began).Seconds(), name, labels)
	}
	return labels
}

// until waits until a query has a result.
func (p *prometheus) until(ctx context.Context, t *testing.T, expr string) {
	t.Helper()
	eventually(ctx, t, expr, func() bool {
		var answer struct {
			Result []any `json:"result"`
		}
		return p.get(ctx, "/api/v1/query", url.Values{"query": {expr}}, &answer) == nil && len(answer.Result) > 0
	})
}

// lacks gives the queries that had no data at any time.
func (p *prometheus) lacks(ctx context.Context, t *testing.T, exprs []string) (empty []string) {
	t.Helper()
	for _, expr := range exprs {
		var answer struct {
			Result []any `json:"result"`
		}
		span := url.Values{"query": {expr}, "start": {fmt.Sprint(p.began.Unix())}, "end": {fmt.Sprint(time.Now().Unix())}, "step": {"1"}}
		require.NoError(t, p.get(ctx, "/api/v1/query_range", span, &answer), expr)
		if len(answer.Result) == 0 {
			empty = append(empty, expr)
		}
	}
	return empty
}

// dashboardQueries are those of deploy's dashboard, with Grafana's variables filled in.
func dashboardQueries(t *testing.T) (exprs []string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/grafana/posthaste.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	fill := strings.NewReplacer("$__rate_interval", "10s", "$miner", ".*")
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			exprs = append(exprs, fill.Replace(target.Expr))
		}
	}
	return exprs
}

// slow is a card that waits before each proof, and then makes it.
func slow(name string, bin string, sleep time.Duration) rig.Card {
	script := fmt.Sprintf(`while read -r task; do sleep %.0f; printf '%%s\n' "$task"; done | exec %q processor window_post`, sleep.Seconds(), bin)
	return rig.Card{Name: name, Bin: "/bin/sh", Args: []string{"-c", script}, ReadyTimeout: 30 * time.Second}
}

// Each alert is made to fire by what it tells of, in a story of three deadlines: one in which all is well; one whose worker is gone and comes
// back too late, with a bad card and without a store; and one with lost sectors, whose messages do not land. Nothing fires before its cause.
// The real Prometheus says so, and at the end has had data for each of the dashboard's panels.
func TestPrometheusAlerts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("prometheus is not installed: build/debian.sh test")
	}
	ctx := within(t, 5*time.Minute)
	bin, err := filepath.Abs("../../bin/posthaste")
	require.NoError(t, err)
	const sleep = 14 * time.Second // of the 45 s that there are for proving: a busy machine needs some 16 s more for the proof itself
	daemon, work := localAddress(t), localAddress(t)
	r := rig.New(t, rig.Options{
		// Of each deadline 5 s from Challenge to Open and 45 s to Close; proofs must be made 5 s before that.
		Chain:  []string{"--miners", "1", "--deadlines", "4", "--window", "90", "--lookback", "10", "--fault-cutoff", "12", "--partitions", "2", "--wide-every", "0"},
		Policy: []string{"max_try = 1"},
		Before: func(r *rig.Rig) {
			otherCode(ctx, t, r)
			r.Config.Metrics = daemon
			w := &r.Config.Workers[0]
			w.Metrics, w.Cards = work, []rig.Card{slow("card0", bin, sleep), slow("card1", bin, sleep)}
		},
	})
	p := startPrometheus(ctx, t, r.Dir, daemon, work)

	waitBoard(ctx, t, r, "f01000", 0, "on the chain", func(row boardRow) bool {
		return len(row.Board.Partitions) == 2 && !slices.ContainsFunc(row.Board.Partitions, func(p post.PartitionResult) bool {
			return p.State != post.StateLanded && p.State != post.StatePosted
		})
	})
	early := slices.DeleteFunc(p.soFar(), func(name string) bool {
		return name == "NoDaemon" || name == "WorkflowTaskFailing" || name == "MinerUnwatched" // so it was while the daemon started, and so it is
	})
	assert.Empty(t, early, "nothing fires while all is well")

	require.NoError(t, r.PauseRPC(ctx, 8*time.Second))
	p.fires(ctx, t, "NodeBehind")
	r.Worker.Kill()
	p.fires(ctx, t, "WorkerDown", "NoWorker")
	late := p.fires(ctx, t, "ProofLate")
	assert.Equal(t, "f01000", late["miner"])
	assert.NotEmpty(t, late["deadline"])
	p.until(ctx, t, fmt.Sprintf("posthaste_deadline_time_gone_ratio{deadline=%q} >= 0.7", late["deadline"])) // less than a proof takes is left, and two looks

	require.NoError(t, r.StopIncluding(ctx))
	for _, number := range []abi.SectorNumber{9, 11, 13, 15} { // one of each partition, from the third deadline on
		require.NoError(t, sealing.Delete(r.Stores()[0].Path, 1000, number))
	}
	bad := r.Stub("bad", "--mode", string(stub.Fallback), "--sleep", "30s")
	bad.Keys = []string{"gpu = true"}
	w := &r.Config.Workers[0]
	w.Cards = []rig.Card{w.Cards[0], bad}
	w.Attached = append(w.Attached, rig.Store{Name: "gone", Path: filepath.Join(r.Dir, "gone")})
	require.NoError(t, r.Worker.Start(ctx))
	p.fires(ctx, t, "ForecastBeyondClose")
	assert.Equal(t, "bad", p.fires(ctx, t, "CardFenced")["card"])
	assert.Equal(t, "gone", p.fires(ctx, t, "StoreUnreadable")["store"])
	p.fires(ctx, t, "JobFailed", "PartitionMissed")

	// Quick cards from now on, so that there are proofs to be sent also on a busy machine.
	w.Cards = []rig.Card{{Name: "card0", ReadyTimeout: 30 * time.Second}, {Name: "card1", ReadyTimeout: 30 * time.Second}}
	require.NoError(t, r.Worker.Restart(ctx))
	p.fires(ctx, t, "SectorsSkipped", "MessageNotLanding", "WorkflowTaskFailing", "MinerUnwatched")
	assert.Empty(t, p.lacks(ctx, t, []string{`posthaste_miner_watched{miner="f09999"} == 0`, `posthaste_miner_watched{miner="f01000"} == 1`}))

	r.Daemon.Stop()
	p.forget("NoDaemon")
	p.fires(ctx, t, "NoDaemon")
	assert.Empty(t, p.lacks(ctx, t, dashboardQueries(t)), "panels without data")
}

// otherCode has a workflow begun by daemons whose code is another, so that ours does not fit its history.
func otherCode(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	other := worker.New(r.Client(), workflows.QueueChain, worker.Options{})
	other.RegisterWorkflowWithOptions(func(ctx workflow.Context, _ workflows.MinerState) error {
		return workflow.Sleep(ctx, 2*time.Second)
	}, workflow.RegisterOptions{Name: workflows.NameMinerWorkflow})
	require.NoError(t, other.Start())
	run, err := r.Client().ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "miner-f09999", TaskQueue: workflows.QueueChain},
		workflows.NameMinerWorkflow, workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 9999}})
	require.NoError(t, err)
	eventually(ctx, t, "the other code has begun it", func() bool {
		described, err := r.Client().DescribeWorkflowExecution(ctx, run.GetID(), run.GetRunID())
		return err == nil && described.GetWorkflowExecutionInfo().GetHistoryLength() >= 5 // the timer was started
	})
	other.Stop()
}
