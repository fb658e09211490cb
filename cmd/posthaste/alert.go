package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/webhook"
	"posthaste/workers"
)

// newAlert is what people ask about alerts.
func newAlert(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "alert", Short: "See what needs somebody, and try the webhooks", Args: cobra.NoArgs}
	cmd.AddCommand(newAlertList(a), newAlertTest(a))
	return cmd
}

// newAlertList shows the open alerts.
func newAlertList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show what needs somebody: since when, and the command that mends it",
		Long: "Show what needs somebody: since when, and the command that mends it.\n\n" +
			"One daemon watches and tells the webhooks; this shows what it sees. It asks Temporal and nobody else, so that it works on any machine, and " +
			"says so when nobody watches.",
		Example: "  posthaste alert list\n  posthaste alert list --json | jq -r '.alerts[].mend'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), lookLimit)
			defer cancel()
			view, err := workers.ReadAlerts(ctx, c, time.Now())
			if err != nil {
				return c.explain(err)
			}
			if asJSON {
				return printJSON(a.stdout, view)
			}
			printAlerts(a.stdout, view, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// severityColours are those of the signs before alerts.
var severityColours = map[post.Severity]text.Color{post.Critical: text.FgRed, post.Warning: text.FgYellow}

// printAlerts is the list for people: sentences, since they are too long for a table.
func printAlerts(out io.Writer, view workers.AlertsView, now time.Time) {
	colours := colourful(out)
	for _, alert := range view.Alerts {
		fmt.Fprintf(out, "%s %s, since %s\n", paint(strings.ToUpper(string(alert.Severity)), severityColours[alert.Severity], colours), alert.Kind, when(alert.Since, now))
		fmt.Fprintf(out, "  %s\n", alert.Summary)
		if alert.Details != "" {
			fmt.Fprintf(out, "  %s\n", alert.Details)
		}
		if alert.Gone.IsZero() {
			fmt.Fprintf(out, "  mend: %s\n\n", alert.Mend)
		} else { // it stays in the list for half a minute, and who has mended it wants to know
			fmt.Fprintf(out, "  its cause is gone since %s: it is over when that stays so\n\n", when(alert.Gone, now))
		}
	}
	if view.Watcher == "" {
		fmt.Fprintf(out, "NOBODY WATCHES: %s.", view.Why)
		if !view.Heartbeat.IsZero() {
			fmt.Fprintf(out, " Somebody did until %s.", when(view.Heartbeat, now))
		}
		fmt.Fprintln(out, " What stands here is what was known then.")
		return
	}
	if len(view.Alerts) == 0 {
		fmt.Fprintln(out, "Nothing needs anybody.")
	}
	looked := "has not looked yet"
	if !view.Looked.IsZero() {
		looked = "looked last " + when(view.Looked, now)
	}
	fmt.Fprintf(out, "%s watches; it %s.\n", view.Watcher, looked)
	if view.Problem != "" {
		fmt.Fprintf(out, "The last look was not complete: %s\n", view.Problem)
	}
	for _, hook := range view.Webhooks {
		if hook.Problem != "" {
			fmt.Fprintf(out, "Webhook %s cannot be told since %s: %s\n", hook.Name, when(hook.Since, now), hook.Problem)
		}
	}
	if len(view.Webhooks) == 0 {
		fmt.Fprintln(out, "It tells only its log: there is no [[alerts.webhook]] in its posthaste.toml.")
	}
}

// hookTest is what a webhook answered.
type hookTest struct {
	Name  string       `json:"name"`
	Kind  webhook.Kind `json:"kind"`
	Host  string       `json:"host"`
	Error string       `json:"error,omitempty"`
}

// newAlertTest tries the webhooks.
func newAlertTest(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Send a test alert to the webhooks of this machine's posthaste.toml",
		Long: "Send a test alert to the webhooks of this machine's posthaste.toml, and tell what each answered. Nothing else is asked: no daemon, no Temporal. " +
			"An Alertmanager shows it as PosthasteTest for a minute.",
		Example: "  posthaste alert test --config /etc/posthaste/posthaste.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.load()
			if err != nil {
				return err
			}
			hooks, err := c.Alerts.Hooks()
			if err != nil {
				return fmt.Errorf("%s: %w", a.configPath, err)
			}
			if len(hooks) == 0 {
				return fmt.Errorf("%s has no [[alerts.webhook]]; docs/alerts.md says how one is written", a.configPath)
			}
			return a.testHooks(cmd.Context(), hooks, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list, a webhook an object")
	return cmd
}

// testHooks tries each webhook. The error says that one could not be told; which, stands in the answers.
func (a *app) testHooks(ctx context.Context, hooks []webhook.Hook, asJSON bool) error {
	var failed error
	tests := make([]hookTest, len(hooks))
	for i, hook := range hooks {
		tests[i] = hookTest{Name: hook.Name, Kind: hook.Kind, Host: hook.URL.String()}
		if err := hook.Send(ctx, webhook.Notice{Test: true, Now: time.Now()}); err != nil {
			tests[i].Error = err.Error()
			failed = errors.New("not every webhook could be told")
		}
	}
	if asJSON {
		return errors.Join(printJSON(a.stdout, tests), failed)
	}
	for _, t := range tests {
		if t.Error != "" {
			fmt.Fprintf(a.stdout, "%s\n", t.Error)
			continue
		}
		fmt.Fprintf(a.stdout, "webhook %s at %s took the test alert\n", t.Name, t.Host)
	}
	return failed
}
