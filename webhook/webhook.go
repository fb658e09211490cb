// Package webhook tells people of alerts over HTTP: in a chat that takes Slack's webhooks, in an Alertmanager, or as JSON to whatever takes
// that. A webhook's URL is a secret: who knows it can write there. It stands in no log and in no error.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"posthaste/post"
)

// Kind is what a webhook speaks.
type Kind string

// Kinds of webhooks.
const (
	Slack        Kind = "slack"        // Slack's incoming webhooks; Mattermost and Discord (…/slack) take them too
	Alertmanager Kind = "alertmanager" // POST /api/v2/alerts
	JSON         Kind = "json"         // one object, with the alerts as `posthaste alert list --json` has them
)

// Kinds are all kinds.
var Kinds = []Kind{Slack, Alertmanager, JSON}

// Hook is one webhook.
type Hook struct {
	Name     string // by which it is known in what is remembered of alerts, and in logs
	Kind     Kind
	URL      URL
	Resolved bool             // it is told when an alert is over
	Kinds    []post.AlertKind // that it is told of; none: all
	Client   *http.Client     // nil: a usual one that follows no redirects
}

// URL is where a webhook is. It prints as its host alone.
type URL string

// String is the host, for people.
func (u URL) String() string {
	parsed, err := url.Parse(string(u))
	if err != nil || parsed.Host == "" {
		return "(secret)"
	}
	return parsed.Host
}

// GoString keeps the rest out of %#v.
func (u URL) GoString() string { return u.String() }

// MarshalText keeps the rest out of encoders.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// ParseURL checks a URL that is configured for a webhook of a kind. An Alertmanager's may be its root. The error does not repeat it.
func ParseURL(kind Kind, text string) (URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("want a URL such as https://hooks.slack.com/services/… or http://127.0.0.1:9093")
	}
	if kind == Alertmanager && !strings.HasSuffix(u.Path, alertsPath) {
		u.Path = strings.TrimSuffix(u.Path, "/") + alertsPath
	}
	return URL(u.String()), nil
}

// Notice is what a webhook is told at once.
type Notice struct {
	post.Due
	Refresh []post.OpenAlert // what it knows to be open already: only an Alertmanager wants to hear it again
	Test    bool             // somebody wants to know whether it arrives
	Now     time.Time
}

const (
	// sendWithin bounds one request. It is below the time after which a daemon that does not answer is taken for dead.
	sendWithin = 8 * time.Second
	// answerShown is how much of an answer that refuses is told, in bytes.
	answerShown = 200
)

// Refused is an answer that says no.
type Refused struct {
	Status     int           // of HTTP
	Text       string        // the beginning of the answer
	RetryAfter time.Duration // it wants not to be asked again before; 0: it does not say
}

// Error says what was answered.
func (r *Refused) Error() string {
	text := fmt.Sprintf("it answered %d %s", r.Status, http.StatusText(r.Status))
	if r.Text != "" {
		text += ": " + r.Text
	}
	return text
}

// Send tells a webhook. There is one request, or none if there is nothing that this webhook wants to hear. An error names the webhook and
// its host, never the rest of its URL.
func (h Hook) Send(ctx context.Context, n Notice) error {
	if !h.Resolved {
		n.Over = nil
	}
	if h.Kind != Alertmanager {
		n.Refresh = nil
	}
	if n.Empty() && len(n.Refresh) == 0 && !n.Test {
		return nil
	}
	body, err := h.body(n)
	if err != nil {
		return fmt.Errorf("webhook %s: %w", h.Name, err)
	}
	if err := h.post(ctx, body); err != nil {
		return fmt.Errorf("webhook %s at %s: %w", h.Name, h.URL, err)
	}
	return nil
}

func (h Hook) body(n Notice) ([]byte, error) {
	switch h.Kind {
	case Slack:
		return json.Marshal(map[string]string{"text": slackText(n)})
	case Alertmanager:
		return json.Marshal(alertmanagerAlerts(n))
	case JSON:
		return json.Marshal(jsonNotice(n))
	default:
		return nil, fmt.Errorf("there is no kind %q", h.Kind)
	}
}

// client follows no redirects: a webhook that moved would get a GET without the alerts, and somebody else the secret.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (h Hook) post(ctx context.Context, body []byte) error {
	limited, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, http.MethodPost, string(h.URL), bytes.NewReader(body))
	if err != nil {
		return errors.New("its URL is not one that can be asked")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "posthaste")
	with := h.Client
	if with == nil {
		with = client
	}
	response, err := with.Do(request)
	if err != nil {
		return h.clean(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what is not read is not told
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return nil
	}
	refused := &Refused{Status: response.StatusCode, Text: h.brief(string(answer))}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		refused.RetryAfter = time.Duration(seconds) * time.Second
	}
	return refused
}

// clean takes the URL out of what the HTTP client says.
func (h Hook) clean(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("it did not answer within %s", sendWithin)
	}
	text := h.without(err.Error())
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// brief is the beginning of an answer, in one line, without what is secret.
func (h Hook) brief(answer string) string {
	answer = strings.Join(strings.Fields(h.without(answer)), " ")
	if len(answer) > answerShown {
		answer = strings.ToValidUTF8(answer[:answerShown], "") + "…"
	}
	return answer
}

// without takes the parts of the URL out of a text that nobody may see.
func (h Hook) without(text string) string {
	text = strings.ReplaceAll(text, string(h.URL), h.URL.String())
	parsed, err := url.Parse(string(h.URL))
	if err != nil {
		return text
	}
	password, _ := parsed.User.Password()
	for _, secret := range []string{parsed.RequestURI(), parsed.Path, parsed.RawQuery, password} {
		if len(secret) > len("/api/") {
			text = strings.ReplaceAll(text, secret, "(secret)")
		}
	}
	return text
}
