package webhook

import (
	"fmt"
	"strings"
	"time"

	"posthaste/post"
)

// shownAtOnce bounds the alerts of one message: after an outage there may be hundreds, and chats refuse what is too long.
const shownAtOnce = 15

// slackText is a message for people: what is new, what is over, and what is still so.
func slackText(n Notice) string {
	var b strings.Builder
	if n.Test {
		b.WriteString("*posthaste*: this is a test. Alerts arrive here.\n")
	}
	section := func(alerts []post.OpenAlert, say func(post.OpenAlert) string) {
		for _, a := range alerts[:min(shownAtOnce, len(alerts))] {
			b.WriteString(say(a))
		}
		if more := len(alerts) - shownAtOnce; more > 0 {
			b.WriteString(fmt.Sprintf("… and %d more: `posthaste alert list`\n", more))
		}
	}
	section(n.Open, func(a post.OpenAlert) string { return trouble(a, "") })
	section(n.Reminder, func(a post.OpenAlert) string {
		return trouble(a, fmt.Sprintf(" (still so, since %s)", a.Raised.UTC().Format("2006-01-02 15:04 MST")))
	})
	section(n.Over, func(a post.OpenAlert) string {
		return fmt.Sprintf(":white_check_mark: *over* %s after %s: %s\n", a.Kind, lasted(a), plain(a.Summary))
	})
	return strings.TrimSuffix(b.String(), "\n")
}

// trouble is an alert that is open.
func trouble(a post.OpenAlert, since string) string {
	sign := map[post.Severity]string{post.Critical: ":rotating_light:", post.Warning: ":warning:"}[a.Severity]
	text := fmt.Sprintf("%s *%s* %s%s\n", sign, a.Kind, plain(a.Summary), since)
	if a.Details != "" {
		text += "> " + plain(a.Details) + "\n"
	}
	return text + "> mend: " + plain(a.Mend) + "\n"
}

// plain keeps what comes from elsewhere (a driver's error, say) from being read as Slack's markup, or calling everybody.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b")

func plain(text string) string { return escape.Replace(text) }

// lasted is how long an alert was open.
func lasted(a post.OpenAlert) time.Duration {
	end := a.Gone
	if end.IsZero() {
		end = a.Over
	}
	return max(end.Sub(a.Since), 0).Round(time.Second)
}
