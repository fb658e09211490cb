package webhook_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/webhook"
)

// alertmanager starts a real one (Debian's prometheus-alertmanager) and gives its root.
func alertmanager(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("there is no prometheus-alertmanager here; Debian has it in the package of that name")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "am.yml")
	require.NoError(t, os.WriteFile(config, []byte("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	cmd := exec.CommandContext(t.Context(), program, "--config.file", config, "--storage.path", dir, "--web.listen-address", address, "--cluster.listen-address=")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it says that it was signalled
		_ = log.Close()
	})
	root := "http://" + address
	require.Eventually(t, func() bool {
		answer, err := http.Get(root + "/-/ready")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, 30*time.Second, 100*time.Millisecond, "the Alertmanager starts")
	return root
}

// active are the names of the alerts that an Alertmanager shows as active, by cause.
func active(t *testing.T, root string) map[string]string {
	t.Helper()
	answer, err := http.Get(root + "/api/v2/alerts?active=true")
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	var alerts []struct{ Labels, Annotations map[string]string }
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&alerts))
	found := map[string]string{}
	for _, a := range alerts {
		found[a.Labels["cause"]] = fmt.Sprintf("%s: %s", a.Labels["alertname"], a.Annotations["mend"])
	}
	return found
}

func TestARealAlertmanager(t *testing.T) {
	root := alertmanager(t)
	url, err := webhook.ParseURL(webhook.Alertmanager, root)
	require.NoError(t, err)
	h := webhook.Hook{Name: "am", Kind: webhook.Alertmanager, URL: url, Resolved: true}
	open := fenced(func(a *post.OpenAlert) { a.Since = time.Now().Add(-time.Minute) })
	shown := map[string]string{"CardFenced/w1/card0": "PosthasteCardFenced: " + open.Mend}

	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: time.Now(), Due: post.Due{Open: []post.OpenAlert{open}}}))
	require.Eventually(t, func() bool { return len(active(t, root)) == 1 }, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, shown, active(t, root))

	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: time.Now(), Refresh: []post.OpenAlert{open}}))
	require.Equal(t, shown, active(t, root), "told again, it is the same alert")

	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: time.Now(), Due: post.Due{Over: []post.OpenAlert{open}}}))
	require.Eventually(t, func() bool { return len(active(t, root)) == 0 }, 10*time.Second, 50*time.Millisecond, "it has ended")

	again := fenced(func(a *post.OpenAlert) { a.Since = time.Now() })
	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: time.Now(), Due: post.Due{Open: []post.OpenAlert{again}, Over: []post.OpenAlert{open}}}))
	require.Eventually(t, func() bool { return len(active(t, root)) == 1 }, 5*time.Second, 50*time.Millisecond, "it is there again, though its end is told only now")
}
