package webhook

import (
	"time"

	"posthaste/post"
)

// jsonMessage is what a webhook of kind json is sent.
type jsonMessage struct {
	Version int         `json:"version"` // of this form: 1
	Test    bool        `json:"test,omitempty"`
	At      time.Time   `json:"at"`
	Alerts  []jsonAlert `json:"alerts"`
}

// jsonAlert is an alert and why it is told now.
type jsonAlert struct {
	Status string `json:"status"` // open, reminder or over
	post.OpenAlert
}

func jsonNotice(n Notice) jsonMessage {
	m := jsonMessage{Version: 1, Test: n.Test, At: n.Now.UTC(), Alerts: []jsonAlert{}}
	add := func(status string, alerts []post.OpenAlert) {
		for _, a := range alerts {
			a.Told = nil // others' business
			m.Alerts = append(m.Alerts, jsonAlert{Status: status, OpenAlert: a})
		}
	}
	add("open", n.Open)
	add("reminder", n.Reminder)
	add("over", n.Over)
	return m
}
