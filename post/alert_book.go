package post

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// AlertBook is what is remembered of alerts from look to look, and over daemons that die or hand over: which causes are open, since
// when, and who was told. Whoever has an older copy tells again, so the newer Count wins.
type AlertBook struct {
	Count  int         `json:"count"` // of changes; of two copies the one with the higher count is newer
	Alerts []OpenAlert `json:"alerts,omitempty"`
}

// OpenAlert is an alert with its story.
type OpenAlert struct {
	Alert
	Since  time.Time `json:"since"`           // its cause was first seen
	Raised time.Time `json:"raised,omitzero"` // it had held for long enough to be told; zero: not yet
	Gone   time.Time `json:"gone,omitzero"`   // its cause was seen no more; zero: it is there
	Over   time.Time `json:"over,omitzero"`   // it had stayed away for long enough; it is kept until those who were told know that, too
	Told   []Telling `json:"told,omitempty"`  // who was told that it is open
}

// Telling is that a webhook was told of an alert.
type Telling struct {
	Hook string    `json:"hook"` // its name
	At   time.Time `json:"at"`   // the last time, with reminders
}

// overFor is how long an alert that is over is kept for webhooks that were told of it and do not answer.
const overFor = time.Hour

// AlertState says how an alert stands, for people.
func (a OpenAlert) AlertState() string {
	switch {
	case !a.Over.IsZero():
		return "over"
	case a.Raised.IsZero():
		return "pending"
	default:
		return "open"
	}
}

// Open are the alerts that people have to know of, the most severe and then the oldest first.
func (b AlertBook) Open() []OpenAlert {
	open := slices.DeleteFunc(slices.Clone(b.Alerts), func(a OpenAlert) bool { return a.Raised.IsZero() || !a.Over.IsZero() })
	slices.SortStableFunc(open, func(a, b OpenAlert) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), a.Raised.Compare(b.Raised), strings.Compare(a.Key, b.Key)) // critical comes before warning
	})
	return open
}

// Look takes in what a look has found: it gives the book of after that, what is told now for the first time, and what is over. An alert
// that is not found in an outlook with a problem may only not have been seen.
func (b AlertBook) Look(judged []Alert, o Outlook, l Limits) (after AlertBook, raised, over []OpenAlert) {
	now := o.At
	shown := o.shown()
	after = AlertBook{Count: b.Count}
	found := map[string]bool{}
	for _, a := range judged {
		if found[a.Key] {
			continue
		}
		found[a.Key] = true
		open := OpenAlert{Since: now}
		if i := b.index(a.Key); i >= 0 {
			open = b.Alerts[i]
			open.Told = slices.Clone(open.Told)
		}
		open.Alert, open.Gone = a, time.Time{}
		if open.Raised.IsZero() && now.Sub(open.Since) >= a.Hold {
			open.Raised = now
			raised = append(raised, open)
		}
		after.Alerts = append(after.Alerts, open)
	}
	for _, a := range b.Alerts {
		if found[a.Key] && a.Over.IsZero() {
			continue // a new one of the same cause stands beside one that is over, until its end is told
		}
		a.Told = slices.Clone(a.Told)
		switch {
		case !a.Over.IsZero(), o.Problem != "", !a.Until.IsZero() && now.Before(a.Until) && !shown[a.Deadline]:
		case a.Gone.IsZero():
			a.Gone = now
		}
		if a.Over.IsZero() && !a.Gone.IsZero() && o.Problem == "" && now.Sub(a.Gone) >= l.Hold {
			if a.Raised.IsZero() {
				continue // nobody heard of it
			}
			a.Over = now
			over = append(over, a)
		}
		if a.done(now) {
			continue
		}
		after.Alerts = append(after.Alerts, a)
	}
	slices.SortFunc(after.Alerts, func(a, b OpenAlert) int { return cmp.Or(strings.Compare(a.Key, b.Key), a.Since.Compare(b.Since)) })
	if after.differs(b) {
		after.Count++
	}
	return after, raised, over
}

// done says whether an alert can be forgotten: it is over, and all who were told of it know.
func (a OpenAlert) done(now time.Time) bool {
	return !a.Over.IsZero() && (len(a.Told) == 0 || now.Sub(a.Over) >= overFor)
}

// shown are the deadlines whose workflow runs, so that what is not found there is not so.
func (o Outlook) shown() map[string]bool {
	shown := map[string]bool{}
	for _, d := range o.Deadlines {
		shown[d.Deadline.JobIDs().String()] = true
	}
	return shown
}

// index is where the entry of a cause is that is not over; -1: there is none.
func (b AlertBook) index(key string) int {
	return slices.IndexFunc(b.Alerts, func(a OpenAlert) bool { return a.Key == key && a.Over.IsZero() })
}

// differs says whether two books say different things to people. That texts change at every look (an attempt, a percentage) is none, and
// neither is what has not been told yet.
func (b AlertBook) differs(from AlertBook) bool {
	return !slices.EqualFunc(b.told(), from.told(), func(x, y OpenAlert) bool {
		return x.Key == y.Key && x.Raised.Equal(y.Raised) && x.Over.Equal(y.Over) && slices.Equal(x.Told, y.Told)
	})
}

// told are the entries that people were, or are to be, told of.
func (b AlertBook) told() []OpenAlert {
	return slices.DeleteFunc(slices.Clone(b.Alerts), func(a OpenAlert) bool { return a.Raised.IsZero() })
}

// Due is what a webhook has to be told now: alerts that it does not know of, those of which it is to be reminded, and those of which it
// does not know yet that they are over.
type Due struct {
	Open     []OpenAlert
	Reminder []OpenAlert
	Over     []OpenAlert
}

// Empty says that there is nothing to tell.
func (d Due) Empty() bool { return len(d.Open)+len(d.Reminder)+len(d.Over) == 0 }

// Due is what there is to tell a webhook. What came and went while it did not answer is never told. wants is the kinds that it is to be
// told of, none: all; repeat is after how long it is reminded, 0: never.
func (b AlertBook) Due(hook string, wants []AlertKind, repeat time.Duration, now time.Time) (due Due) {
	for _, a := range b.Alerts {
		if a.Raised.IsZero() || len(wants) > 0 && !slices.Contains(wants, a.Kind) {
			continue
		}
		told, at := a.told(hook)
		switch {
		case !a.Over.IsZero():
			if told {
				due.Over = append(due.Over, a)
			}
		case !a.Gone.IsZero(): // it may be over soon
		case !told:
			due.Open = append(due.Open, a)
		case repeat > 0 && now.Sub(at) >= repeat:
			due.Reminder = append(due.Reminder, a)
		}
	}
	return due
}

func (a OpenAlert) told(hook string) (told bool, at time.Time) {
	for _, t := range a.Told {
		if t.Hook == hook {
			return true, t.At
		}
	}
	return false, time.Time{}
}

// Tell notes that a webhook was told what was due.
func (b AlertBook) Tell(hook string, due Due, now time.Time) AlertBook {
	after := AlertBook{Count: b.Count + 1}
	has := func(list []OpenAlert, a OpenAlert) bool {
		return slices.ContainsFunc(list, func(d OpenAlert) bool { return d.Key == a.Key && d.Raised.Equal(a.Raised) })
	}
	for _, a := range b.Alerts {
		others := slices.DeleteFunc(slices.Clone(a.Told), func(t Telling) bool { return t.Hook == hook })
		switch {
		case has(due.Over, a):
			a.Told = others
		case has(due.Open, a), has(due.Reminder, a):
			a.Told = append(others, Telling{Hook: hook, At: now})
		}
		if !a.done(now) {
			after.Alerts = append(after.Alerts, a)
		}
	}
	return after
}

// Forget drops webhooks that are not configured any more: nobody tells them the end.
func (b AlertBook) Forget(known []string) AlertBook {
	after := AlertBook{Count: b.Count}
	changed := false
	for _, a := range b.Alerts {
		told := slices.DeleteFunc(slices.Clone(a.Told), func(t Telling) bool { return !slices.Contains(known, t.Hook) })
		changed = changed || len(told) != len(a.Told)
		a.Told = told
		after.Alerts = append(after.Alerts, a)
	}
	if changed {
		after.Count++
	}
	return after
}

// bookLimit is how large a book may get as JSON, in bytes. It is in every change's signal, in the memo that follows from it, and in a heartbeat
// every few seconds: each change makes the history of the workflow that keeps it longer by twice that.
const bookLimit = 128 << 10

// Fit cuts a book so that it can be kept in Temporal, beginning with the least severe and then the newest: first what is said beyond one line,
// then all that is said (whoever watches finds it again at his next look), then whole alerts, of which people may be told once more when
// another daemon watches. With hundreds of open alerts nobody reads the rest.
func (b AlertBook) Fit() AlertBook {
	size := jsonSize(b)
	if size <= bookLimit {
		return b
	}
	b.Alerts = slices.Clone(b.Alerts)
	order := make([]int, len(b.Alerts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int {
		x, y := b.Alerts[k], b.Alerts[i]
		return cmp.Or(cmp.Compare(x.Severity, y.Severity), x.Since.Compare(y.Since))
	})
	gone := map[int]bool{}
	for _, shorten := range []func(*OpenAlert){
		func(a *OpenAlert) { a.Details = "" },
		func(a *OpenAlert) { a.Summary, a.Mend = a.Subject+": the log of the daemon that watches says what", "" },
		nil, // without it
	} {
		for _, i := range order {
			if size <= bookLimit {
				break
			}
			size -= jsonSize(b.Alerts[i])
			if shorten == nil {
				gone[i] = true
				continue
			}
			shorten(&b.Alerts[i])
			size += jsonSize(b.Alerts[i])
		}
	}
	left := b.Alerts[:0]
	for i, a := range b.Alerts {
		if !gone[i] {
			left = append(left, a)
		}
	}
	b.Alerts = left
	return b
}

// jsonSize is how many bytes something of a book is as JSON.
func jsonSize(of any) int {
	text, err := json.Marshal(of)
	if err != nil {
		panic(err) // plain data
	}
	return len(text)
}
