package activities

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"posthaste/post"
	"posthaste/workflows"
)

// snapshot is the fleet at one moment, with what is behind its figures.
type snapshot struct {
	queues  []post.Queue
	asOf    []time.Time // of each queue: how old the oldest figure of Busy is
	retired []int       // of each queue: proofs on its places that came by another queue, which its workers have left
	workers []post.WorkerOutlook
}

func (s *snapshot) index(queue string) int {
	return slices.IndexFunc(s.queues, func(q post.Queue) bool { return q.Name == queue })
}

// fleet is the snapshot as Route takes it.
func (s *snapshot) fleet() post.Fleet { return post.Fleet{Queues: slices.Clone(s.queues)} }

func (s *snapshot) clone() snapshot {
	return snapshot{queues: slices.Clone(s.queues), asOf: slices.Clone(s.asOf), retired: slices.Clone(s.retired), workers: slices.Clone(s.workers)}
}

// settle counts in the jobs that this process has routed and that the figures do not show. Where jobs wait, no card is free and
// the backlog is right, but for those that were routed while it was read. Where none waits, those that the workers' last
// heartbeats could not know of have been taken.
func (s *snapshot) settle(jobs []routed, began time.Time) {
	for i := range s.queues {
		q := &s.queues[i]
		since := s.asOf[i]
		if q.Backlog > 0 {
			q.Busy, since = q.Live, began
		}
		for _, job := range jobs {
			if job.queue != q.Name || job.at.Before(since) {
				continue
			}
			if q.Busy < q.Live {
				q.Busy++
			} else if !job.at.Before(began) {
				q.Backlog++
			}
		}
	}
}

// pulses remember when the heartbeats of SDK workers came, by our own clock. Theirs may be wrong: what counts is that the heartbeats
// move.
type pulses map[string]pulse

type pulse struct {
	beat time.Time // by the worker's clock
	at   time.Time // when it was sent, by ours, as far as we can tell
	seen time.Time // when we looked last
}

const (
	usualBeat   = 5 * time.Second // between heartbeats, if a worker has sent only one
	missedBeats = 3               // after so many intervals without one a worker is taken for dead
)

// feel decides who is alive. A worker that is seen for the first time is judged by its own clock; from the second time on by
// whether its heartbeat has moved.
func (p pulses) feel(now time.Time, beats []beat) {
	present := map[string]bool{}
	for i := range beats {
		b := &beats[i]
		present[b.key] = true
		old, known := p[b.key]
		at := old.at
		switch {
		case !known:
			at = earlier(b.at, now)
		case !b.at.Equal(old.beat):
			at = earlier(later(old.at.Add(b.at.Sub(old.beat)), old.seen), now)
		}
		p[b.key] = pulse{beat: b.at, at: at, seen: now}
		every := usualBeat
		if b.every > 0 {
			every = min(max(b.every, time.Second), 2*usualBeat)
		}
		b.felt, b.fresh = at, now.Sub(at) <= missedBeats*every
		b.alive = b.fresh && !b.stopping
	}
	for key := range p {
		if !present[key] {
			delete(p, key)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pollerFor is how long ago a live worker may have polled: a poll lasts up to a minute.
const pollerFor = 70 * time.Second

// muster makes the fleet of what the workers say of themselves, who is alive, and what waits.
func muster(kind string, states []post.WorkerState, beats []beat, queues map[string]queueFacts, now time.Time) snapshot {
	var s snapshot
	for _, name := range queuesOf(kind, states) {
		s.queues = append(s.queues, post.Queue{Name: name, Backlog: queues[name].backlog})
		s.asOf, s.retired = append(s.asOf, now), append(s.retired, 0)
	}
	asleep := make([][]string, len(s.queues))
	for _, state := range states {
		left := leftBehind(kind, state, beats)
		alive := slices.ContainsFunc(beats, func(b beat) bool { return b.identity == state.Report.Instance && b.alive })
		for _, g := range state.Report.Groups {
			if g.Kind != kind {
				continue
			}
			i := s.index(g.Queue)
			q := &s.queues[i]
			q.Admits = g.Admits
			sight := look(state, g, beats, queues, now)
			alive = alive || sight.there
			asleep[i] = append(asleep[i], sight.asleep...)
			if !sight.live {
				continue
			}
			q.Live += g.Slots
			q.Busy += min(sight.used+left, g.Slots)
			q.Cards = append(q.Cards, usableCards(state, g)...)
			s.retired[i] += min(left, g.Slots)
			s.asOf[i] = earlier(s.asOf[i], sight.felt)
			left = 0
		}
		s.workers = append(s.workers, post.WorkerOutlook{WorkerState: state, Alive: alive})
	}
	for i := range s.queues {
		slices.Sort(s.queues[i].Cards)
		slices.Sort(asleep[i])
		s.queues[i].Asleep = strings.Join(asleep[i], "; ")
	}
	return s
}

// sight is how a worker's group of cards looks from here.
type sight struct {
	live   bool
	there  bool      // its process is alive
	used   int       // places taken by jobs of its queue
	felt   time.Time // as of when
	asleep []string  // why it, or some of its cards, cannot take jobs
}

// look finds out whether a group takes jobs, and if not, why.
func look(state post.WorkerState, g post.Group, beats []beat, queues map[string]queueFacts, now time.Time) sight {
	name := "worker " + state.Report.Name
	s := sight{felt: now}
	there := false
	for _, b := range beats {
		if b.identity != state.Report.Instance {
			continue
		}
		there = there || b.alive
		if b.queue != g.Queue {
			continue
		}
		if b.fresh {
			s.used += b.used
		}
		if b.alive {
			s.live, s.felt = true, earlier(s.felt, b.felt)
		}
	}
	if !listed(beats, g.Queue) {
		for _, name := range []string{g.Queue, workflows.WorkerQueue(state.Report.Name)} {
			if last, polls := queues[name].pollers[state.Report.Instance]; polls && now.Sub(last) <= pollerFor {
				s.live, there = true, true
			}
		}
	}
	for _, store := range state.Report.LostStores {
		s.asleep = append(s.asleep, fmt.Sprintf("%s cannot read store %q: %s", name, store.Name, store.Reason))
	}
	for _, fence := range state.Orders.Fences {
		if slices.ContainsFunc(g.Cards, func(c post.Card) bool { return c.Name == fence.Card }) {
			s.asleep = append(s.asleep, fmt.Sprintf("%s: card %s is fenced: %s", name, fence.Card, fence.Reason))
		}
	}
	s.there = there
	fenced := len(s.asleep) > len(state.Report.LostStores)
	switch {
	case !there && !s.live:
		s.asleep = []string{name + " is not running"}
	case state.Orders.Paused != "":
		s.asleep = append(s.asleep, name+" is paused: "+state.Orders.Paused)
		s.live = false
	case state.Report.Draining:
		s.asleep = append(s.asleep, name+" is draining")
		s.live = false
	case g.Slots == 0 && !fenced:
		s.asleep = append(s.asleep, name+" has no card that starts")
		s.live = false
	case g.Slots > 0 && !s.live:
		s.asleep = append(s.asleep, name+" runs, but does not poll its queue")
	}
	s.live = s.live && g.Slots > 0
	return s
}

// leftBehind is how many proofs a worker makes of queues that it has left since, because its stores changed: they take places of
// cards that poll another queue now.
func leftBehind(kind string, state post.WorkerState, beats []beat) int {
	used := 0
	for _, b := range beats {
		if b.fresh && b.identity == state.Report.Instance && strings.HasPrefix(b.queue, kind+".") &&
			!slices.ContainsFunc(state.Report.Groups, func(g post.Group) bool { return g.Queue == b.queue }) {
			used += b.used
		}
	}
	return used
}

// usableCards are the cards of a group that are not fenced, as the fleet knows them.
func usableCards(state post.WorkerState, g post.Group) []string {
	var cards []string
	for _, card := range g.Cards {
		if !slices.ContainsFunc(state.Orders.Fences, func(f post.Fence) bool { return f.Card == card.Name }) {
			cards = append(cards, state.Report.Name+"/"+card.Name)
		}
	}
	return cards
}
