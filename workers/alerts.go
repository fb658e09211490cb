package workers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/sdk/client"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/config"
	"posthaste/post"
	"posthaste/sectors"
)

// newAlerts makes what judges how things stand and tells people. Any daemon can do it, and one does.
func newAlerts(c *config.Config, node *chain.Nodes, index *sectors.Index, balance *activities.Balance, temporal client.Client, log *slog.Logger) (*activities.Alerts, error) {
	hooks, err := c.Alerts.Hooks()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config.DefaultFile, err)
	}
	outlooks := &activities.Outlooks{
		Balance: balance, Temporal: temporal, Node: node.Outlook, Log: log, Closed: min(time.Hour, c.Alerts.Limits.Keep),
		Stores: func() []post.LostStore { return lostStores(index.States()) },
	}
	return &activities.Alerts{
		Read: outlooks.Read, Temporal: temporal, Hooks: hooks, Limits: c.Alerts.Limits, Repeat: c.Alerts.Repeat, Log: log,
	}, nil
}

// lostStores are the stores that a daemon cannot list.
func lostStores(states []sectors.StoreState) []post.LostStore {
	var lost []post.LostStore
	for _, s := range states {
		if s.Err != nil {
			lost = append(lost, post.LostStore{Name: s.Store.Name, Path: s.Store.Path, Reason: s.Err.Error()})
		}
	}
	return lost
}

// nodeEvery is how often a daemon judges its own node. Whoever watches for alerts knows only his.
const nodeEvery = 5 * time.Second

// watchNode says in the log, once, that this daemon's node is behind, and when it follows again.
func watchNode(ctx context.Context, node func() post.NodeOutlook, limits post.Limits, every time.Duration, log *slog.Logger) error {
	var book post.AlertBook
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		now := time.Now()
		var judged []post.Alert
		if a, bad := post.JudgeNode(node(), now, limits); bad {
			judged = append(judged, a)
		}
		var raised, over []post.OpenAlert
		book, raised, over = book.Look(judged, post.Outlook{At: now}, limits)
		for _, a := range raised {
			log.Error("alert: "+a.Summary, "kind", a.Kind, "details", a.Details, "mend", a.Mend)
		}
		for _, a := range over {
			log.Info("alert is over: "+a.Summary, "kind", a.Kind)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
