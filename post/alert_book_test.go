package post_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// keys are those of alerts, in a line.
func keys(alerts []post.OpenAlert) string {
	var all []string
	for _, a := range alerts {
		all = append(all, a.Key)
	}
	return strings.Join(all, " ")
}

// A story is told look by look: what is there at a time, and what is raised and over then.
func TestAlertBook(t *testing.T) {
	type look struct {
		at           time.Duration
		there        string // keys: a is told at once, h has to hold for 30 s, s is kept for an hour after its deadline
		problem      bool   // the look is not complete
		shown        bool   // the deadline of s runs
		raised, over string
	}
	for name, story := range map[string][]look{
		"told at once, and once":     {{at: 0, there: "a", raised: "a"}, {at: 5, there: "a"}, {at: 3600, there: "a"}},
		"two causes are two alerts":  {{at: 0, there: "a", raised: "a"}, {at: 5, there: "a b", raised: "b"}},
		"over when it stayed away":   {{at: 0, there: "a", raised: "a"}, {at: 5}, {at: 34}, {at: 35, over: "a"}, {at: 40}},
		"it comes and goes: no news": {{at: 0, there: "a", raised: "a"}, {at: 5}, {at: 30, there: "a"}, {at: 35}, {at: 60, there: "a"}},
		"again after it was over":    {{at: 0, there: "a", raised: "a"}, {at: 5}, {at: 35, over: "a"}, {at: 40, there: "a", raised: "a"}},
		"what must hold, holds":      {{at: 0, there: "h"}, {at: 29, there: "h"}, {at: 30, there: "h", raised: "h"}},
		"it does not hold":           {{at: 0, there: "h"}, {at: 5}, {at: 35}, {at: 40, there: "h"}, {at: 69, there: "h"}, {at: 70, there: "h", raised: "h"}},
		"it flaps while it is young": {{at: 0, there: "h"}, {at: 10}, {at: 20, there: "h"}, {at: 25}, {at: 30, there: "h", raised: "h"}},
		"a look that saw not all ends nothing": {{at: 0, there: "a", raised: "a"}, {at: 5, problem: true}, {at: 600, problem: true}, {at: 605},
			{at: 635, over: "a"}},
		"nor when it was gone before":                             {{at: 0, there: "a", raised: "a"}, {at: 5}, {at: 35, problem: true}, {at: 40, over: "a"}},
		"a look that saw not all raises all the same":             {{at: 0, there: "a", problem: true, raised: "a"}},
		"kept for an hour after the deadline":                     {{at: 0, there: "s", shown: true, raised: "s"}, {at: 5}, {at: 3595}, {at: 3600}, {at: 3630, over: "s"}},
		"mended while the deadline runs: over like any other":     {{at: 0, there: "s", shown: true, raised: "s"}, {at: 5, shown: true}, {at: 35, shown: true, over: "s"}},
		"seen again and again, it is kept from the last time on ": {{at: 0, there: "s", shown: true, raised: "s"}, {at: 3000, there: "s", shown: true}, {at: 6000}, {at: 6600}, {at: 6630, over: "s"}},
	} {
		t.Run(name, func(t *testing.T) {
			var book post.AlertBook
			for _, l := range story {
				o := post.Outlook{At: lookedAt.Add(l.at * time.Second)}
				if l.problem {
					o.Problem = "Temporal is busy"
				}
				if l.shown {
					o.Deadlines = []post.OpenDeadline{{Result: post.Result{Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: 2460}}}}
				}
				var judged []post.Alert
				for key := range strings.FieldsSeq(l.there) {
					a := post.Alert{Key: key, Summary: "at " + o.At.String()}
					switch key {
					case "h":
						a.Hold = 30 * time.Second
					case "s":
						a.Until, a.Deadline = o.At.Add(time.Hour), "f01000-2460-7"
					}
					judged = append(judged, a)
				}
				var raised, over []post.OpenAlert
				book, raised, over = book.Look(judged, o, limits)
				require.Equal(t, l.raised, keys(raised), "raised after %d s", l.at)
				require.Equal(t, l.over, keys(over), "over after %d s", l.at)
			}
		})
	}
}

// raised is a book in which alerts have just been raised.
func raised(keys ...string) post.AlertBook {
	var judged []post.Alert
	for _, key := range keys {
		judged = append(judged, post.Alert{Key: key, Kind: post.AlertKind(key)})
	}
	book, _, _ := post.AlertBook{}.Look(judged, post.Outlook{At: lookedAt}, limits)
	return book
}

// without is the book of later, when nothing is there any more and all is over.
func without(b post.AlertBook, later time.Duration) post.AlertBook {
	b, _, _ = b.Look(nil, post.Outlook{At: lookedAt.Add(later)}, limits)
	b, _, _ = b.Look(nil, post.Outlook{At: lookedAt.Add(later + limits.Hold)}, limits)
	return b
}

func TestAWebhookIsToldOnce(t *testing.T) {
	book := raised("a", "b")
	due := book.Due("slack", nil, time.Hour, lookedAt)
	require.Equal(t, "a b", keys(due.Open))

	told := book.Tell("slack", due, lookedAt)
	require.Greater(t, told.Count, book.Count, "the newer one of two copies counts")
	require.True(t, told.Due("slack", nil, time.Hour, lookedAt.Add(59*time.Minute)).Empty())
	require.Equal(t, "a b", keys(told.Due("other", nil, time.Hour, lookedAt).Open), "another one has heard nothing")

	reminder := told.Due("slack", nil, time.Hour, lookedAt.Add(time.Hour))
	require.Equal(t, "a b", keys(reminder.Reminder))
	require.Empty(t, reminder.Open)
	told = told.Tell("slack", reminder, lookedAt.Add(time.Hour))
	require.True(t, told.Due("slack", nil, time.Hour, lookedAt.Add(119*time.Minute)).Empty())
	require.True(t, told.Due("slack", nil, 0, lookedAt.Add(1000*time.Hour)).Empty(), "no reminders wanted")

	over := without(told, 2*time.Hour)
	due = over.Due("slack", nil, time.Hour, lookedAt.Add(3*time.Hour))
	require.Equal(t, "a b", keys(due.Over))
	require.Empty(t, due.Open)
	require.True(t, over.Due("other", nil, time.Hour, lookedAt).Empty(), "who never heard of it does not hear of its end")
	require.Empty(t, over.Tell("slack", due, lookedAt.Add(3*time.Hour)).Alerts, "all know: it is forgotten")
}

func TestAWebhookThatWasAwayHearsWhatIsOpenThen(t *testing.T) {
	book := without(raised("gone"), time.Minute)
	require.Empty(t, book.Alerts, "nobody was told of it: nobody is told of its end")
	book, _, _ = book.Look([]post.Alert{{Key: "there"}}, post.Outlook{At: lookedAt.Add(time.Hour)}, limits)
	require.Equal(t, "there", keys(book.Due("slack", nil, time.Hour, lookedAt.Add(time.Hour)).Open))
}

func TestAWebhookThatDoesNotAnswerIsNotWaitedForForever(t *testing.T) {
	book := raised("a")
	book = without(book.Tell("slack", book.Due("slack", nil, 0, lookedAt), lookedAt), time.Minute)
	require.Len(t, book.Alerts, 1, "it has to hear that it is over")
	book, _, _ = book.Look(nil, post.Outlook{At: lookedAt.Add(3 * time.Hour)}, limits)
	require.Empty(t, book.Alerts)
}

// The cause comes back while a webhook has not heard of the end yet: it hears of both.
func TestTheSameCauseAgainBeforeItsEndWasTold(t *testing.T) {
	book := raised("a")
	book = without(book.Tell("slack", book.Due("slack", nil, 0, lookedAt), lookedAt), time.Minute)
	at := lookedAt.Add(10 * time.Minute)
	book, again, _ := book.Look([]post.Alert{{Key: "a"}}, post.Outlook{At: at}, limits)
	require.Equal(t, "a", keys(again))
	due := book.Due("slack", nil, 0, at)
	require.Equal(t, "a", keys(due.Open))
	require.Equal(t, "a", keys(due.Over))
	book = book.Tell("slack", due, at)
	require.Equal(t, "a", keys(book.Open()))
	require.True(t, book.Due("slack", nil, 0, at).Empty())
}

func TestAWebhookHearsOfItsKindsOnly(t *testing.T) {
	require.Equal(t, "NoWorker", keys(raised("NoWorker", "CardFenced").Due("slack", []post.AlertKind{post.AlertNoWorker}, 0, lookedAt).Open))
}

func TestAWebhookThatIsNotConfiguredAnyMoreIsForgotten(t *testing.T) {
	book := raised("a")
	book = book.Tell("old", book.Due("old", nil, 0, lookedAt), lookedAt)
	forgotten := book.Forget([]string{"new"})
	require.Greater(t, forgotten.Count, book.Count)
	require.Empty(t, without(forgotten, time.Minute).Alerts, "nobody is left who would have to hear of the end")
	require.Equal(t, book, book.Forget([]string{"old", "new"}))
}

func TestWhatIsOpenIsOrdered(t *testing.T) {
	book, _, _ := post.AlertBook{}.Look([]post.Alert{
		{Key: "b", Severity: post.Warning}, {Key: "c", Severity: post.Critical}, {Key: "a", Severity: post.Critical}, {Key: "young", Severity: post.Critical, Hold: time.Minute},
	}, post.Outlook{At: lookedAt}, limits)
	require.Equal(t, "a c b", keys(book.Open()), "the most severe first; what has not held long enough is not open")
}

// Only what people would be told changes a book: a text that says another percentage at every look does not.
func TestABookChangesWithWhatIsToldOnly(t *testing.T) {
	book := raised("a")
	again, _, _ := book.Look([]post.Alert{{Key: "a", Kind: "a", Summary: "51 %"}}, post.Outlook{At: lookedAt.Add(5 * time.Second)}, limits)
	assert.Equal(t, book.Count, again.Count)
	assert.Equal(t, "51 %", again.Alerts[0].Summary, "but the newest is shown")
	pending, _, _ := again.Look([]post.Alert{{Key: "a", Kind: "a"}, {Key: "h", Hold: time.Hour}}, post.Outlook{At: lookedAt.Add(10 * time.Second)}, limits)
	assert.Equal(t, book.Count, pending.Count, "nobody is told of what has not held for long enough")
	over, _, _ := book.Look(nil, post.Outlook{At: lookedAt}, post.Limits{})
	assert.Greater(t, over.Count, book.Count)
}

func TestABookFitsIntoTemporal(t *testing.T) {
	const limit = 128 << 10
	book := func(n int) post.AlertBook {
		var judged []post.Alert
		for i := range n {
			judged = append(judged, post.Alert{
				Key: fmt.Sprintf("PartitionMissed/f0%04d", i), Subject: fmt.Sprintf("f0%04d", i), Severity: post.Critical,
				Summary: strings.Repeat("s", 300), Details: strings.Repeat("d", 1000), Mend: strings.Repeat("m", 200),
			})
		}
		judged[0].Severity = post.Warning
		book, _, _ := post.AlertBook{}.Look(judged, post.Outlook{At: lookedAt}, limits)
		return book
	}
	for name, c := range map[string]struct {
		alerts, kept int // of them; 0: fewer than all
		says         func(first, last post.OpenAlert)
	}{
		"a few: nothing is cut": {50, 50, func(first, last post.OpenAlert) {
			require.NotEmpty(t, first.Details)
			require.NotEmpty(t, last.Details)
		}},
		"more: the least severe say less": {100, 100, func(first, last post.OpenAlert) {
			require.Empty(t, first.Details)
			require.NotEmpty(t, first.Mend)
			require.NotEmpty(t, last.Details)
		}},
		"hundreds: of all it is known that they were told": {300, 300, func(first, last post.OpenAlert) {
			require.Empty(t, first.Mend)
			require.Contains(t, first.Summary, "f00000")
			require.NotEmpty(t, last.Mend)
		}},
		"thousands: the least severe are left out": {3000, 0, func(first, _ post.OpenAlert) {
			require.Equal(t, post.Critical, first.Severity)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			whole := book(c.alerts)
			before := whole.Alerts[0].Details
			fit := whole.Fit()
			text, err := json.Marshal(fit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(text), limit)
			require.Equal(t, whole.Count, fit.Count)
			require.Equal(t, before, whole.Alerts[0].Details, "the whole book stays whole")
			if c.kept > 0 {
				require.Len(t, fit.Alerts, c.kept)
			} else {
				require.Greater(t, len(fit.Alerts), 300)
			}
			c.says(fit.Alerts[0], fit.Alerts[len(fit.Alerts)-1])
		})
	}
}
