package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workers"
)

func TestAlertTest(t *testing.T) {
	good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer good.Close()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no_service", http.StatusNotFound) }))
	defer bad.Close()
	run := func(text string, args ...string) (string, error) {
		path := filepath.Join(t.TempDir(), "posthaste.toml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		var out bytes.Buffer
		root := newRoot(&app{stdout: &out, stderr: &out})
		root.SetArgs(append([]string{"alert", "test", "--config", path}, args...))
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	hook := func(url string) string {
		return "[[alerts.webhook]]\nkind = \"slack\"\nurl = \"" + url + "/hooks/verysecret\"\n"
	}

	out, err := run(hook(good.URL))
	require.NoError(t, err)
	require.Contains(t, out, "webhook slack-1 at 127.0.0.1:")
	require.Contains(t, out, "took the test alert")

	out, err = run(hook(good.URL) + hook(bad.URL))
	require.EqualError(t, err, "not every webhook could be told")
	require.Contains(t, out, "webhook slack-1")
	require.Contains(t, out, "it answered 404 Not Found: no_service")
	require.NotContains(t, out, "verysecret")

	out, err = run(hook(bad.URL), "--json")
	require.Error(t, err)
	var tests []hookTest
	require.NoError(t, json.Unmarshal([]byte(out), &tests))
	require.Len(t, tests, 1)
	require.NotEmpty(t, tests[0].Error)

	_, err = run("")
	require.ErrorContains(t, err, "has no [[alerts.webhook]]")
	_, err = run("[[alerts.webhook]]\nkind = \"slack\"\nurl_env = \"POSTHASTE_NO_SUCH_VARIABLE\"\n")
	require.ErrorContains(t, err, "the environment has no POSTHASTE_NO_SUCH_VARIABLE")
}

func TestAlertsArePrinted(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	open := []post.OpenAlert{{Since: now.Add(-time.Minute), Alert: post.Alert{
		Kind: post.AlertNoWorker, Severity: post.Critical, Summary: "2 jobs wait", Details: "f01000/7 first", Mend: "`posthaste worker resume w1`"}}}
	mended := []post.OpenAlert{open[0]}
	mended[0].Gone = now.Add(-5 * time.Second)
	for name, c := range map[string]struct {
		view  workers.AlertsView
		lines []string
	}{
		"mended a moment ago": {workers.AlertsView{Watcher: "daemon a@1", Alerts: mended}, []string{"CRITICAL NoWorker, since", "  its cause is gone since", "it is over when that stays so"}},
		"all is well": {workers.AlertsView{Watcher: "daemon a@1", Looked: now, Webhooks: []activities.HookState{{Name: "slack-1"}}},
			[]string{"Nothing needs anybody.", "daemon a@1 watches; it looked last"}},
		"trouble": {workers.AlertsView{Watcher: "daemon a@1", Looked: now, Alerts: open, Webhooks: []activities.HookState{{Name: "slack-1", Problem: "it answered 500", Since: now}}},
			[]string{"CRITICAL NoWorker, since", "  2 jobs wait", "  f01000/7 first", "  mend: `posthaste worker resume w1`", "Webhook slack-1 cannot be told since", "it answered 500"}},
		"nobody watches": {workers.AlertsView{Alerts: open, Why: "no daemon runs", Heartbeat: now}, []string{"NOBODY WATCHES: no daemon runs.", "What stands here is what was known then."}},
		"no webhooks":    {workers.AlertsView{Watcher: "daemon a@1"}, []string{"has not looked yet", "It tells only its log"}},
		"half a look":    {workers.AlertsView{Watcher: "daemon a@1", Problem: "Temporal is busy"}, []string{"The last look was not complete: Temporal is busy"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			printAlerts(&out, c.view, now)
			for _, line := range c.lines {
				require.Contains(t, out.String(), line)
			}
		})
	}
}
