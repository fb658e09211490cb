package webhook_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/webhook"
)

var now = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// fenced is an alert with text from elsewhere in it.
func fenced(change func(*post.OpenAlert)) post.OpenAlert {
	a := post.OpenAlert{
		Alert: post.Alert{
			Kind: post.AlertCardFenced, Key: "CardFenced/w1/card0", Subject: "card w1/card0", Severity: post.Warning,
			Summary: "card w1/card0 on box is fenced: <!channel> & @here fell back", Mend: "mend the card, then `posthaste worker unfence w1 card0`",
		},
		Since: now.Add(-time.Minute), Raised: now.Add(-time.Minute),
	}
	if change != nil {
		change(&a)
	}
	return a
}

// hook gives a webhook and what it receives.
func hook(t *testing.T, kind webhook.Kind, answer http.HandlerFunc) (webhook.Hook, func() []string) {
	t.Helper()
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		bodies = append(bodies, r.URL.Path+" "+string(body))
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(server.Close)
	url, err := webhook.ParseURL(kind, server.URL+"/secret/path")
	require.NoError(t, err)
	return webhook.Hook{Name: "h", Kind: kind, URL: url, Resolved: true}, func() []string { return bodies }
}

func TestSlack(t *testing.T) {
	h, received := hook(t, webhook.Slack, nil)
	over := fenced(func(a *post.OpenAlert) {
		a.Kind, a.Summary, a.Gone, a.Over = post.AlertNoWorker, "2 jobs wait", now, now
	})
	reminder := fenced(func(a *post.OpenAlert) { a.Severity, a.Details = post.Critical, "more of it" })
	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: now, Due: post.Due{
		Open: []post.OpenAlert{fenced(nil)}, Over: []post.OpenAlert{over}, Reminder: []post.OpenAlert{reminder},
	}}))
	require.Len(t, received(), 1, "one message, however many alerts")
	_, body, _ := strings.Cut(received()[0], " ")
	var message map[string]string
	require.NoError(t, json.Unmarshal([]byte(body), &message))
	require.Equal(t, map[string]string{"text": ":warning: *CardFenced* card w1/card0 on box is fenced: &lt;!channel&gt; &amp; @\u200bhere fell back\n" +
		"> mend: mend the card, then `posthaste worker unfence w1 card0`\n" +
		":rotating_light: *CardFenced* card w1/card0 on box is fenced: &lt;!channel&gt; &amp; @\u200bhere fell back (still so, since 2026-03-01 02:59 UTC)\n" +
		"> more of it\n> mend: mend the card, then `posthaste worker unfence w1 card0`\n" +
		":white_check_mark: *over* NoWorker after 1m0s: 2 jobs wait"}, message)
}

func TestSlackIsNotFlooded(t *testing.T) {
	h, received := hook(t, webhook.Slack, nil)
	var open []post.OpenAlert
	for i := range 500 {
		open = append(open, fenced(func(a *post.OpenAlert) { a.Summary = fmt.Sprintf("card %d", i) }))
	}
	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: now, Due: post.Due{Open: open}}))
	require.Len(t, received(), 1)
	require.Contains(t, received()[0], "and 485 more: `posthaste alert list`")
	require.Less(t, len(received()[0]), 30_000, "Slack takes 40,000 characters")
}

func TestAlertmanagerForm(t *testing.T) {
	h, received := hook(t, webhook.Alertmanager, nil)
	over := fenced(func(a *post.OpenAlert) {
		a.Kind, a.Key, a.Miner, a.Deadline, a.Details = post.AlertJobFailed, "JobFailed/d", "f01000", "f01000-2460-7", "why"
	})
	known := fenced(func(a *post.OpenAlert) { a.Key = "CardFenced/w2/card0" })
	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: now, Due: post.Due{Open: []post.OpenAlert{fenced(nil)}, Over: []post.OpenAlert{over}}, Refresh: []post.OpenAlert{known}}))
	require.Len(t, received(), 1)
	path, body, _ := strings.Cut(received()[0], " ")
	require.Equal(t, "/secret/path/api/v2/alerts", path)
	var sent []struct {
		Labels, Annotations map[string]string
		StartsAt, EndsAt    time.Time
	}
	require.NoError(t, json.Unmarshal([]byte(body), &sent))
	require.Len(t, sent, 3)
	require.Equal(t, map[string]string{"summary": over.Summary, "mend": over.Mend, "description": "why"}, sent[0].Annotations, "what is over comes first")
	require.Equal(t, "f01000", sent[0].Labels["miner"])
	require.Equal(t, now, sent[0].EndsAt, "it is over")
	require.Equal(t, map[string]string{"alertname": "PosthasteCardFenced", "severity": "warning", "source": "posthaste", "subject": "card w1/card0", "cause": "CardFenced/w1/card0"}, sent[1].Labels)
	require.Equal(t, now.Add(-time.Minute), sent[1].StartsAt)
	require.True(t, sent[1].EndsAt.After(now.Add(5*webhook.Refresh)), "a few refreshes may be lost")
	require.Equal(t, "CardFenced/w2/card0", sent[2].Labels["cause"], "what it knows is told again")
}

func TestJSONForm(t *testing.T) {
	h, received := hook(t, webhook.JSON, nil)
	told := fenced(func(a *post.OpenAlert) { a.Told = []post.Telling{{Hook: "other", At: now}} })
	require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: now, Due: post.Due{Over: []post.OpenAlert{told}}}))
	require.Len(t, received(), 1)
	require.Contains(t, received()[0], `{"version":1,"at":"2026-03-01T03:00:00Z","alerts":[{"status":"over","kind":"CardFenced","key":"CardFenced/w1/card0"`)
	require.NotContains(t, received()[0], "other")
}

func TestNothingIsSentForNothing(t *testing.T) {
	for _, kind := range webhook.Kinds {
		h, received := hook(t, kind, nil)
		require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: now}))
		h.Resolved = false
		require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: now, Due: post.Due{Over: []post.OpenAlert{fenced(nil)}}}))
		require.Empty(t, received(), kind)
		require.NoError(t, h.Send(t.Context(), webhook.Notice{Now: now, Test: true}))
		require.Len(t, received(), 1, "a test is sent to a %s", kind)
	}
}

// Nobody who reads a log learns where to write.
func TestTroubleWithoutTheSecret(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		url    string
		want   string
	}{
		"it fails": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no\nwebhook at "+r.URL.Path, http.StatusInternalServerError)
		}, "", "it answered 500 Internal Server Error: no webhook at (secret)"},
		"it is not there":    {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no_service", http.StatusNotFound) }, "", "it answered 404 Not Found: no_service"},
		"it sends elsewhere": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/secret/path/2", http.StatusFound) }, "", "it answered 302 Found"},
		"it hangs up": {func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = c.Close()
			}
		}, "", "EOF"},
		"nobody listens":   {nil, "http://127.0.0.1:1/secret/path", "connection refused"},
		"no such host":     {nil, "https://nowhere.invalid/secret/path", "nowhere.invalid"},
		"a URL of another": {nil, "http://user:hunter2-hunter2@127.0.0.1:1/secret/path", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := hook(t, webhook.Slack, c.answer)
			if c.url != "" {
				h.URL = webhook.URL(c.url)
			}
			err := h.Send(t.Context(), webhook.Notice{Now: now, Test: true})
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "webhook h at ")
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, h)} {
				require.NotContains(t, text, "secret/path")
				require.NotContains(t, text, "hunter2")
			}
		})
	}
}

func TestAHookThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	done := make(chan struct{})
	h, _ := hook(t, webhook.Slack, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	h.Client = &http.Client{Timeout: 50 * time.Millisecond}
	require.ErrorContains(t, h.Send(t.Context(), webhook.Notice{Now: now, Test: true}), "did not answer")
}

func TestRetryAfter(t *testing.T) {
	h, _ := hook(t, webhook.Slack, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	var refused *webhook.Refused
	require.ErrorAs(t, h.Send(t.Context(), webhook.Notice{Now: now, Test: true}), &refused)
	require.Equal(t, 30*time.Second, refused.RetryAfter)
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://am:9093":                    "http://am:9093/api/v2/alerts",
		"http://am:9093/":                   "http://am:9093/api/v2/alerts",
		"https://proxy/am/api/v2/alerts":    "https://proxy/am/api/v2/alerts",
		" https://user:word@proxy/prefix\n": "https://user:word@proxy/prefix/api/v2/alerts",
	} {
		u, err := webhook.ParseURL(webhook.Alertmanager, text)
		require.NoError(t, err)
		require.Equal(t, want, string(u))
	}
	for _, bad := range []string{"", "hooks/secret", "ftp://host/secret", "http:///secret", "://secret"} {
		_, err := webhook.ParseURL(webhook.Slack, bad)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "secret")
	}
}
