package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/workers"
	"posthaste/workflows"
)

// chat is a webhook of Slack's kind. It counts what it was told.
type chat struct {
	mu    sync.Mutex
	lines []string // one an alert
}

func (c *chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var message struct{ Text string }
	if json.NewDecoder(r.Body).Decode(&message) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range strings.Lines(message.Text) {
		if !strings.HasPrefix(line, ">") {
			c.lines = append(c.lines, strings.TrimSpace(line))
		}
	}
}

// overLine is how the end of an alert is told.
var overLine = regexp.MustCompile(`\*over\* (\w+) after \S+: (.*)`)

// openLine is how an alert is told.
var openLine = regexp.MustCompile(`\*(\w+)\* (.*)`)

// heard is how often each alert was told, and how often its end, by kind and, of missed deadlines, by which it was.
func (c *chat) heard() (open, over map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	open, over = map[string]int{}, map[string]int{}
	for _, line := range c.lines {
		in, match := over, overLine.FindStringSubmatch(line)
		if match == nil {
			in, match = open, openLine.FindStringSubmatch(line)
		}
		if match == nil {
			in["? "+line]++
			continue
		}
		key := match[1]
		if key == string(post.AlertPartitionMissed) {
			key += " " + match[2]
		}
		in[key]++
	}
	return open, over
}

// count is how many alerts of a kind were told.
func count(told map[string]int, kind post.AlertKind) (n int) {
	for key, times := range told {
		if strings.HasPrefix(key, string(kind)) {
			n += times
		}
	}
	return n
}

// The only card is fenced, so that nobody takes the jobs, and deadlines are missed; in the middle of it the daemon is killed. People are told
// of each cause once, and once that it is over.
func TestAlertsOnceOverAKill(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	told := &chat{}
	server := httptest.NewServer(told)
	defer server.Close()
	r := rig.New(t, rig.Options{Chain: []string{"--miners", "2", "--epoch", "500ms", "--window", "36", "--lookback", "12", "--fault-cutoff", "14", "--deadlines", "8", "--wide-every", "0"}, Cards: 1,
		Before: func(r *rig.Rig) {
			r.Config.Alerts = fmt.Sprintf("[alerts]\nhold = \"6s\"\nkeep = \"20s\"\n[[alerts.webhook]]\nkind = \"slack\"\nurl = %q\nkinds = [%q, %q, %q]",
				server.URL, post.AlertCardFenced, post.AlertNoWorker, post.AlertPartitionMissed)
		}})
	worker := r.Config.Workers[0]
	name, card := worker.Name, worker.Cards[0].Name
	hears := func(what string, holds func(open, over map[string]int) bool) {
		t.Helper()
		eventually(ctx, t, what, func() bool { return holds(told.heard()) })
	}

	_, err := r.WaitForRunningProof(ctx, nil)
	require.NoError(t, err)
	// As a worker does it when the card fails; the order that follows stops the card.
	require.NoError(t, r.Client().SignalWorkflow(ctx, workflows.WorkerWorkflowID(name), "", workflows.SignalFence, post.Fence{Card: card, Reason: "a test wants it", At: time.Now()}))
	hears("the card is fenced", func(open, _ map[string]int) bool { return open[string(post.AlertCardFenced)] > 0 })
	hears("nobody takes the jobs", func(open, _ map[string]int) bool { return open[string(post.AlertNoWorker)] > 0 })
	r.Daemon.Kill()
	require.NoError(t, r.Daemon.Start(ctx))
	hears("a deadline was missed", func(open, _ map[string]int) bool { return count(open, post.AlertPartitionMissed) > 0 })

	view, err := workers.ReadAlerts(ctx, r.Client(), time.Now())
	require.NoError(t, err)
	require.Contains(t, view.Watcher, "daemon")
	kinds := map[post.AlertKind]string{}
	for _, a := range view.Alerts {
		kinds[a.Kind] = a.Mend
	}
	require.Contains(t, kinds[post.AlertCardFenced], "posthaste worker unfence "+name+" "+card)
	require.Contains(t, kinds[post.AlertNoWorker], "posthaste worker unfence "+name+" "+card)

	_, err = workers.Order(ctx, r.Client(), name, workflows.UpdateUnfence, card)
	require.NoError(t, err)
	hears("all is over", func(open, over map[string]int) bool {
		return over[string(post.AlertCardFenced)] > 0 && over[string(post.AlertNoWorker)] > 0 && len(over) == len(open)
	})
	open, over := told.heard()
	for what, n := range open {
		assert.Equal(t, 1, n, "told: %s", what)
		assert.Equal(t, 1, over[what], "over: %s", what)
	}
	assert.Len(t, over, len(open))
	record(ctx, t, r, workflows.AlertWorkflowID, "", "alerts-over-a-kill")

	// Nobody watches any more, and people can see that.
	r.Daemon.Stop()
	eventually(ctx, t, "nobody watches", func() bool {
		view, err := workers.ReadAlerts(context.WithoutCancel(ctx), r.Client(), time.Now())
		return err == nil && view.Watcher == "" && view.Why != ""
	})
}
