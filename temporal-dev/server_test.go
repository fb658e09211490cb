package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const testQueue = "test"

// doubleAfterSignal waits for the signal "go" and returns twice its argument, which an activity computes.
func doubleAfterSignal(ctx workflow.Context, n int) (int, error) {
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var twice int
	err := workflow.ExecuteActivity(ctx, double, n).Get(ctx, &twice)
	return twice, err
}

func double(_ context.Context, n int) (int, error) { return 2 * n, nil }

func dial(t testing.TB, p *program) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: p.info.Address, Namespace: p.info.Namespace,
		Logger:                  sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
		WorkerHeartbeatInterval: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func work(t *testing.T, c client.Client) {
	t.Helper()
	w := worker.New(c, testQueue, worker.Options{})
	w.RegisterWorkflow(doubleAfterSignal)
	w.RegisterActivity(double)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func startWaiting(t *testing.T, c client.Client, id string, n int) {
	t.Helper()
	_, err := c.ExecuteWorkflow(testContext(t), client.StartWorkflowOptions{ID: id, TaskQueue: testQueue}, doubleAfterSignal, n)
	if err != nil {
		t.Fatal(err)
	}
}

func finish(t *testing.T, c client.Client, id string, want int) {
	t.Helper()
	ctx := testContext(t)
	if err := c.SignalWorkflow(ctx, id, "", "go", nil); err != nil {
		t.Fatal(err)
	}
	var got int
	if err := c.GetWorkflow(ctx, id, "").Get(ctx, &got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("workflow %s returned %d, want %d", id, got, want)
	}
}

func TestWorkflowsOutliveStopAndKill(t *testing.T) {
	db := dbPath(t)

	p := start(t, db)
	c := dial(t, p)
	startWaiting(t, c, "over-stop", 1)
	startWaiting(t, c, "over-kill", 2)
	if took := p.stop(); took > 5*time.Second {
		t.Errorf("a clean stop took %s", took)
	}
	if out := p.stderr.String(); out != "" {
		t.Errorf("noise on stderr in a quiet life:\n%s", out)
	}
	if info, err := os.Stat(db + "-wal"); err == nil && info.Size() > 0 {
		t.Errorf("a clean stop left %d bytes in the log", info.Size())
	}

	p = start(t, db)
	c = dial(t, p)
	work(t, c)
	finish(t, c, "over-stop", 2)
	p.kill()

	p = start(t, db)
	c = dial(t, p)
	work(t, c)
	finish(t, c, "over-kill", 4)
}

func TestTellsWhereItIs(t *testing.T) {
	db := dbPath(t)
	p := start(t, db, "--namespace", "proofs", "--retention", "48h")
	if p.info.PID != p.cmd.Process.Pid || p.info.ServerVersion != serverVersion || p.info.Namespace != "proofs" {
		t.Errorf("told %+v, is pid %d", p.info, p.cmd.Process.Pid)
	}
	for _, address := range []string{p.info.Address, strings.TrimPrefix(p.info.UI, "http://")} {
		if !strings.HasPrefix(address, "127.0.0.1:") {
			t.Errorf("%q is not on 127.0.0.1", address)
		}
	}
	var locked instance
	b, err := os.ReadFile(db + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &locked); err != nil || locked != p.info {
		t.Errorf("the lock file says %q, stdout %+v", b, p.info)
	}

	described, err := dial(t, p).WorkflowService().DescribeNamespace(testContext(t),
		&workflowservice.DescribeNamespaceRequest{Namespace: "proofs"})
	if err != nil {
		t.Fatal(err)
	}
	if got := described.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration(); got != 48*time.Hour {
		t.Errorf("retention is %s", got)
	}
}

func TestWebUIAnswers(t *testing.T) {
	p := start(t, dbPath(t))
	for path, want := range map[string]string{
		"/":                          "<html",
		"/api/v1/settings":           `"DisableNewsFetch":true`,
		"/api/v1/namespaces/default": `"default"`,
	} {
		if body := get(t, p.info.UI+path); !strings.Contains(body, want) {
			t.Errorf("%s does not have %s: %.400s", path, want, body)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s: %s", url, resp.Status, body)
	}
	return string(body)
}

func TestTwoSideBySide(t *testing.T) {
	one, other := start(t, dbPath(t), "--headless"), start(t, dbPath(t), "--headless")
	if one.info.UI != "" {
		t.Errorf("headless, yet told a Web UI at %s", one.info.UI)
	}
	startWaiting(t, dial(t, one), "here", 1)
	_, err := dial(t, other).DescribeWorkflowExecution(testContext(t), "here", "")
	if err == nil {
		t.Error("the workflow of one server is known to the other")
	}
}

func TestSecondOnTheSameFile(t *testing.T) {
	db := dbPath(t)
	p := start(t, db, "--headless")
	line := refused(t, exitFailed, "--db-file", db, "--port", "0", "--ui-port", "0")
	wantIn(t, line, db, "pid "+strconv.Itoa(p.info.PID), p.info.Address)
	startWaiting(t, dial(t, p), "undisturbed", 1)
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, taken, _ := net.SplitHostPort(l.Addr().String())
	for flag, other := range map[string]string{"--port": "--ui-port", "--ui-port": "--port"} {
		line := refused(t, exitFailed, "--db-file", dbPath(t), flag, taken, other, "0")
		wantIn(t, line, "port "+taken, "taken", flag+" ")
	}
}

// The Web UI's port is taken between the look at it and its start: standard output stays for the ready line.
func TestPortTakenAtTheLastMoment(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asUI+"="+strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err == nil {
		t.Error("it goes on without the Web UI")
	}
	if out.Len() > 0 {
		t.Errorf("on standard output stands %q", out.String())
	}
	wantIn(t, errOut.String(), "address already in use")
}

func TestOddFileName(t *testing.T) {
	db := filepath.Join(t.TempDir(), "what? 100% of #7", "temporal & co.db")
	p := start(t, db, "--headless")
	startWaiting(t, dial(t, p), "here", 1)
	p.stop()
	if info, err := os.Stat(db); err != nil || info.Size() == 0 {
		t.Errorf("the database is not at %s: %v", db, err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
