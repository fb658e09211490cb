package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/webhook"
)

// Alerts is when people are told of trouble, and how.
type Alerts struct {
	Limits   post.Limits
	Repeat   time.Duration // after which a webhook is reminded of what is open; 0: never
	Webhooks []Webhook
}

// Webhook is where people are told.
type Webhook struct {
	Name     string
	Kind     webhook.Kind
	URL      Secret
	Resolved bool             // it is told when an alert is over
	Kinds    []post.AlertKind // that it is told of; none: all

	missing string // why there is no URL on this machine; only who sends needs one
	inFile  bool   // the URL stands in posthaste.toml itself
}

// Hooks are the webhooks, ready to be used. The error names what is missing on this machine.
func (a Alerts) Hooks() ([]webhook.Hook, error) {
	var missing []string
	hooks := make([]webhook.Hook, len(a.Webhooks))
	for i, w := range a.Webhooks {
		if w.missing != "" {
			missing = append(missing, fmt.Sprintf("alerts.webhook[%d] (%s): %s", i, w.Name, w.missing))
		}
		hooks[i] = webhook.Hook{Name: w.Name, Kind: w.Kind, URL: webhook.URL(w.URL.Reveal()), Resolved: w.Resolved, Kinds: w.Kinds}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("a webhook has no URL: %s", strings.Join(missing, "; "))
	}
	return hooks, nil
}

// alertsFile is [alerts] as written.
type alertsFile struct {
	ProofLate     *float64      `toml:"proof_late" is:"a number such as 0.5"`
	MessageEpochs *int64        `toml:"message_epochs" is:"a whole number of epochs"`
	NodeBehind    *int64        `toml:"node_behind" is:"a whole number of epochs"`
	Hold          *duration     `toml:"hold"`
	Keep          *duration     `toml:"keep"`
	Repeat        *duration     `toml:"repeat"`
	Webhook       []webhookFile `toml:"webhook"`
}

type webhookFile struct {
	Kind     string   `toml:"kind" is:"a string: \"slack\", \"alertmanager\" or \"json\""`
	Name     *string  `toml:"name" is:"a string"`
	URL      string   `toml:"url" is:"a string such as \"https://hooks.slack.com/services/…\""`
	URLFile  string   `toml:"url_file" is:"a string, the path of a file"`
	URLEnv   string   `toml:"url_env" is:"a string, the name of an environment variable"`
	Resolved *bool    `toml:"resolved"`
	Kinds    []string `toml:"kinds" is:"a list of alerts such as [\"PartitionMissed\", \"NoWorker\"]"`
}

// defaultRepeat is how often somebody who did nothing about an alert hears of it again.
const defaultRepeat = 4 * time.Hour

func (d *document) alerts(f *file, getenv func(string) string) Alerts {
	a := Alerts{Limits: post.DefaultLimits(), Repeat: defaultRepeat}
	if f.Alerts.ProofLate != nil {
		if a.Limits.ProofLate = *f.Alerts.ProofLate; a.Limits.ProofLate <= 0 || a.Limits.ProofLate >= 1 {
			d.complain("alerts.proof_late", "%v must be between 0 and 1", a.Limits.ProofLate)
		}
	}
	a.Limits.MessageEpochs = abi.ChainEpoch(d.atLeast("alerts.message_epochs", f.Alerts.MessageEpochs, 1, int(a.Limits.MessageEpochs)))
	a.Limits.NodeBehind = abi.ChainEpoch(d.atLeast("alerts.node_behind", f.Alerts.NodeBehind, 2, int(a.Limits.NodeBehind)))
	a.Limits.Hold = d.positive("alerts.hold", f.Alerts.Hold, a.Limits.Hold)
	a.Limits.Keep = d.positive("alerts.keep", f.Alerts.Keep, a.Limits.Keep)
	if f.Alerts.Repeat != nil {
		if a.Repeat = time.Duration(*f.Alerts.Repeat); a.Repeat < 0 {
			d.complain("alerts.repeat", "%s is below zero; \"0s\" is never", a.Repeat)
		}
	}
	seen := map[string]bool{}
	counts := map[string]int{}
	for i, written := range f.Alerts.Webhook {
		key := fmt.Sprintf("alerts.webhook[%d]", i)
		counts[written.Kind]++
		w := Webhook{Kind: webhook.Kind(written.Kind), Resolved: or(written.Resolved, true), Name: or(written.Name, fmt.Sprintf("%s-%d", written.Kind, counts[written.Kind]))}
		if !slices.Contains(webhook.Kinds, w.Kind) {
			d.complain(key+".kind", "%q is none of slack, alertmanager and json", written.Kind)
			continue
		}
		d.checkName(key+".name", w.Name)
		if seen[w.Name] {
			d.complain(key+".name", "%q is the name of two webhooks", w.Name)
		}
		seen[w.Name] = true
		for _, kind := range written.Kinds {
			if !slices.Contains(post.AlertKinds, post.AlertKind(kind)) {
				d.complain(key+".kinds", "there is no alert %q; there are %v", kind, post.AlertKinds)
			}
			w.Kinds = append(w.Kinds, post.AlertKind(kind))
		}
		d.webhookURL(key, written, &w, getenv)
		a.Webhooks = append(a.Webhooks, w)
	}
	return a
}

// webhookURL finds a webhook's URL: in the file, in a file of its own, or in the environment. What is missing on this machine concerns only
// whoever sends.
func (d *document) webhookURL(key string, written webhookFile, w *Webhook, getenv func(string) string) {
	given := 0
	for _, way := range []string{written.URL, written.URLFile, written.URLEnv} {
		if way != "" {
			given++
		}
	}
	if given != 1 {
		d.complain(key, "give one of url, url_file and url_env")
		return
	}
	text, at := written.URL, key+".url"
	switch {
	case written.URLFile != "":
		at = key + ".url_file"
		path := d.home(at, written.URLFile)
		data, err := os.ReadFile(path)
		if err != nil {
			w.missing = fmt.Sprintf("url_file: %v", err)
			return
		}
		text = string(data)
	case written.URLEnv != "":
		at = key + ".url_env"
		if text = getenv(written.URLEnv); text == "" {
			w.missing = fmt.Sprintf("the environment has no %s (url_env)", written.URLEnv)
			return
		}
	default:
		w.inFile = true
	}
	u, err := webhook.ParseURL(w.Kind, text)
	if err != nil {
		d.complain(at, "%v", err) // the value is not repeated: it is a secret
		return
	}
	w.URL = Secret(u)
}
