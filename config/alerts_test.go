package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/webhook"
)

func TestAlerts(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(secret, []byte("https://hooks.example.org/from-a-file\n"), 0o600))
	env := func(name string) string { return map[string]string{"HOOK": "http://127.0.0.1:9093"}[name] }
	c, err := build("posthaste.toml", fmt.Appendf(nil, `
[alerts]
proof_late = 0.25
message_epochs = 4
node_behind = 3
hold = "2s"
keep = "1h"
repeat = "0s"
[[alerts.webhook]]
kind = "slack"
url_file = %q
kinds = ["PartitionMissed"]
[[alerts.webhook]]
kind = "alertmanager"
name = "am"
url_env = "HOOK"
resolved = false
[[alerts.webhook]]
kind = "slack"
url = "https://chat.example.org/hooks/1"
`, secret), env, host)
	require.NoError(t, err)
	require.Equal(t, Alerts{
		Limits: post.Limits{ProofLate: 0.25, MessageEpochs: 4, NodeBehind: 3, Hold: 2 * time.Second, Keep: time.Hour},
		Webhooks: []Webhook{
			{Name: "slack-1", Kind: webhook.Slack, URL: "https://hooks.example.org/from-a-file", Resolved: true, Kinds: []post.AlertKind{post.AlertPartitionMissed}},
			{Name: "am", Kind: webhook.Alertmanager, URL: "http://127.0.0.1:9093/api/v2/alerts"},
			{Name: "slack-2", Kind: webhook.Slack, URL: "https://chat.example.org/hooks/1", Resolved: true, inFile: true},
		},
	}, c.Alerts)
	hooks, err := c.Alerts.Hooks()
	require.NoError(t, err)
	require.Len(t, hooks, 3)
	require.EqualValues(t, "https://hooks.example.org/from-a-file", string(hooks[0].URL))
}

func TestBadAlerts(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a share above 1":       {"[alerts]\nproof_late = 1.5", "posthaste.toml:2:1: alerts.proof_late: 1.5 must be between 0 and 1"},
		"a share as a string":   {"[alerts]\nproof_late = \"half\"", "posthaste.toml:2:1: alerts.proof_late: want a number such as 0.5"},
		"no epochs":             {"[alerts]\nmessage_epochs = 0", "posthaste.toml:2:1: alerts.message_epochs: 0 must be from 1 to 1048576"},
		"a node always behind":  {"[alerts]\nnode_behind = 1", "posthaste.toml:2:1: alerts.node_behind: 1 must be from 2 to 1048576"},
		"a negative repeat":     {"[alerts]\nrepeat = \"-1s\"", "posthaste.toml:2:1: alerts.repeat: -1s is below zero; \"0s\" is never"},
		"no kind":               {"[[alerts.webhook]]\nurl = \"http://a\"", "posthaste.toml:1:10: alerts.webhook[0].kind: \"\" is none of slack, alertmanager and json"},
		"an unknown kind":       {"[[alerts.webhook]]\nkind = \"pager\"\nurl = \"http://a\"", "posthaste.toml:2:1: alerts.webhook[0].kind: \"pager\" is none of slack, alertmanager and json"},
		"no URL":                {"[[alerts.webhook]]\nkind = \"slack\"", "posthaste.toml:1:10: alerts.webhook[0]: give one of url, url_file and url_env"},
		"two URLs":              {"[[alerts.webhook]]\nkind = \"slack\"\nurl = \"http://a\"\nurl_env = \"A\"", "posthaste.toml:1:10: alerts.webhook[0]: give one of url, url_file and url_env"},
		"two of the same name":  {"[[alerts.webhook]]\nkind = \"slack\"\nname = \"a\"\nurl = \"http://a\"\n[[alerts.webhook]]\nkind = \"json\"\nname = \"a\"\nurl = \"http://a\"", "posthaste.toml:7:1: alerts.webhook[1].name: \"a\" is the name of two webhooks"},
		"an alert of no kind":   {"[[alerts.webhook]]\nkind = \"slack\"\nurl = \"http://a\"\nkinds = [\"Fire\"]", "posthaste.toml:4:1: alerts.webhook[0].kinds: there is no alert \"Fire\"; there are [ProofLate ForecastBeyondClose NoWorker CardFenced StoreUnreadable MessageNotLanding JobFailed SectorsSkipped PartitionMissed WorkflowTaskFailing NodeBehind MinerUnwatched SectorsFaulty RecoveryBlocked]"},
		"not a URL, and secret": {"[[alerts.webhook]]\nkind = \"slack\"\nurl = \"hooks/secret\"", "posthaste.toml:3:1: alerts.webhook[0].url: want a URL such as https://hooks.slack.com/services/… or http://127.0.0.1:9093"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(c.text)
			require.EqualError(t, err, c.want)
		})
	}
}

// A worker reads the same file on a machine that has neither the secret nor a use for it.
func TestAWebhookWithoutItsURLStopsOnlyWhoSends(t *testing.T) {
	for _, where := range []string{`url_env = "HOOK"`, `url_file = "/no/such/file"`} {
		c, err := parse("[[alerts.webhook]]\nkind = \"slack\"\n" + where + "\n[[stores]]\nname = \"a\"\npath = \"/a\"\n")
		require.NoError(t, err)
		require.NoError(t, c.ForWorker())
		require.ErrorContains(t, c.ForDaemon(), "alerts.webhook[0] (slack-1)")
	}
}

func TestAWebhooksURLIsNotPrinted(t *testing.T) {
	c, err := parse("[[alerts.webhook]]\nkind = \"slack\"\nurl = \"https://chat.example.org/hooks/verysecret\"\n")
	require.NoError(t, err)
	hooks, err := c.Alerts.Hooks()
	require.NoError(t, err)
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("hooks", "config", c.Alerts.Webhooks[0].URL, "hook", hooks[0].URL)
	encoded, err := json.Marshal([]any{c.Alerts, hooks})
	require.NoError(t, err)
	for _, text := range []string{logged.String(), string(encoded), fmt.Sprintf("%v %+v %#v %v", c.Alerts, c.Alerts, c.Alerts, hooks)} {
		require.NotContains(t, text, "verysecret")
	}
}

func TestAnOpenFileWithAWebhookIsWarnedOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "posthaste.toml")
	require.NoError(t, os.WriteFile(path, []byte("[[alerts.webhook]]\nkind = \"slack\"\nurl = \"https://chat.example.org/hooks/1\"\n"), 0o644))
	c, err := Load(path)
	require.NoError(t, err)
	require.Len(t, c.Warnings, 1)
	require.Contains(t, c.Warnings[0], "webhook")
	require.NoError(t, os.Chmod(path, 0o600))
	c, err = Load(path)
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
}
