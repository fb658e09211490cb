package webhook

import (
	"time"

	"posthaste/post"
)

// alertsPath is where an Alertmanager takes alerts.
const alertsPath = "/api/v2/alerts"

const (
	// Refresh is how often an Alertmanager is told again what is open, as Prometheus does.
	Refresh = time.Minute
	// endsAfter is how long it believes that without hearing it again: a daemon that takes over needs some seconds, one that is
	// started by hand some minutes.
	endsAfter = 10 * time.Minute
)

// alertmanagerAlert is an alert as POST /api/v2/alerts takes it. Two with the same labels are the same.
type alertmanagerAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// alertmanagerAlerts are all alerts of a notice, open and over.
func alertmanagerAlerts(n Notice) []alertmanagerAlert {
	all := []alertmanagerAlert{}
	for _, a := range n.Over { // before the open ones: a cause may be there again, with the same labels, and the last word counts
		all = append(all, newAlertmanagerAlert(a, n.Now))
	}
	for _, open := range [][]post.OpenAlert{n.Open, n.Reminder, n.Refresh} {
		for _, a := range open {
			all = append(all, newAlertmanagerAlert(a, n.Now.Add(endsAfter)))
		}
	}
	if n.Test {
		test := post.OpenAlert{Since: n.Now, Alert: post.Alert{
			Kind: "Test", Key: "Test", Subject: "alert test", Severity: post.Warning, Summary: "this is a test: posthaste's alerts arrive here", Mend: "nothing: it ends by itself",
		}}
		all = append(all, newAlertmanagerAlert(test, n.Now.Add(time.Minute)))
	}
	return all
}

// newAlertmanagerAlert has the labels of the Prometheus rules of the same name, and the cause.
func newAlertmanagerAlert(a post.OpenAlert, ends time.Time) alertmanagerAlert {
	labels := map[string]string{
		"alertname": "Posthaste" + string(a.Kind), "severity": string(a.Severity), "source": "posthaste", "subject": a.Subject, "cause": a.Key,
	}
	if a.Miner != "" {
		labels["miner"] = a.Miner
	}
	if a.Deadline != "" {
		labels["deadline"] = a.Deadline
	}
	annotations := map[string]string{"summary": a.Summary, "mend": a.Mend}
	if a.Details != "" {
		annotations["description"] = a.Details
	}
	return alertmanagerAlert{Labels: labels, Annotations: annotations, StartsAt: a.Since.UTC(), EndsAt: ends.UTC()}
}
