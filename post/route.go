package post

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Refuses says why a job may not go to cards that admit this, in words that follow the name of whoever has them; empty: it may.
func (a Admits) Refuses(n Needs) string {
	if n.Pool != "" && n.Pool != a.Pool {
		return fmt.Sprintf("is in pool %q, not %q", a.Pool, n.Pool)
	}
	if a.MaxSize != 0 && n.Size > a.MaxSize {
		return fmt.Sprintf("takes no sectors of %s without a GPU", n.Size.ShortString())
	}
	if len(a.Rules) > 0 && !slices.ContainsFunc(a.Rules, func(r Rule) bool { return r.fits(n) }) {
		return fmt.Sprintf("is not allowed %s with sectors of %s", MinerName(n.Miner), n.Size.ShortString())
	}
	var missing []string
	for _, store := range n.Stores {
		if !slices.Contains(a.Stores, store) {
			missing = append(missing, fmt.Sprintf("%q", store))
		}
	}
	if len(missing) > 0 {
		stores := map[bool]string{true: "store ", false: "stores "}[len(missing) == 1]
		return "cannot read " + stores + strings.Join(missing, ", ")
	}
	return ""
}

// fits says whether a job is of the kind that a rule is about.
func (r Rule) fits(n Needs) bool {
	return (len(r.Miners) == 0 || slices.Contains(r.Miners, n.Miner)) && (len(r.Sizes) == 0 || slices.Contains(r.Sizes, n.Size))
}

// Route chooses the queue on which a job should wait for a card: one that admits it, with live cards that have not failed it, with a free
// place; else where the wait is shortest. current is the queue that it waits on now (and is counted in), empty if none: it
// stays there unless another queue would start it clearly sooner, so that jobs do not wander.
//
// Of several free queues it takes the one that can read the fewest stores: the others are kept for jobs that nobody else can take.
// If all who admit it are asleep, it goes to them all the same, and waits there; if nobody admits it, it goes to QueueNobody.
func Route(n Needs, avoid []string, fleet Fleet, current string) Choice {
	var admitting, live []Queue
	for _, q := range fleet.Queues {
		if q.Refuses(n) != "" {
			continue
		}
		if q.Name == current && q.Backlog > 0 {
			q.Backlog-- // the job itself
		}
		admitting = append(admitting, q)
		if q.Live > 0 {
			live = append(live, q)
		}
	}
	switch {
	case len(admitting) == 0:
		return Choice{Queue: QueueNobody, Waits: whatIsMissing(n, fleet), Lost: lostStores(n, fleet)}
	case len(live) == 0:
		best := slices.MinFunc(admitting, func(a, b Queue) int {
			return cmp.Or(falseFirst(a.Name != current, b.Name != current), cmp.Compare(a.Name, b.Name))
		})
		return Choice{Queue: best.Name, Waits: whoSleeps(admitting), Lost: lostStores(n, fleet)}
	}
	best := slices.MinFunc(live, func(a, b Queue) int { return better(a, b, avoid, current) })
	return Choice{Queue: best.Name, Elsewhere: len(avoid) > 0 && best.fresh(avoid)}
}

// better orders two live queues that admit a job.
func better(a, b Queue, avoid []string, current string) int {
	if c := falseFirst(!a.fresh(avoid), !b.fresh(avoid)); c != 0 {
		return c
	}
	if c := falseFirst(a.Free() <= 0, b.Free() <= 0); c != 0 {
		return c
	}
	here := falseFirst(a.Name != current, b.Name != current)
	if a.Free() > 0 {
		return cmp.Or(here, cmp.Compare(len(a.Stores), len(b.Stores)), falseFirst(len(a.Rules) == 0, len(b.Rules) == 0),
			cmp.Compare(b.freeShare(), a.freeShare()), cmp.Compare(a.Name, b.Name))
	}
	// A queue whose line is a whole proof shorter is worth the move: else its cards would be free for a moment after each of theirs.
	return cmp.Or(cmp.Compare(a.rounds(current), b.rounds(current)), here, cmp.Compare(a.Name, b.Name))
}

// fresh says whether the queue has a card that has not failed the job.
func (q Queue) fresh(avoid []string) bool {
	return len(q.Cards) == 0 || slices.ContainsFunc(q.Cards, func(card string) bool { return !Avoids(avoid, card) })
}

func (q Queue) freeShare() float64 { return float64(q.Free()) / float64(q.Live) }

// rounds is how many proofs a card of the queue makes before one more job gets its turn; one less where the job waits already.
func (q Queue) rounds(current string) float64 {
	rounds := float64(q.Busy+q.Backlog) / float64(q.Live)
	if q.Name == current {
		rounds--
	}
	return rounds
}

func falseFirst(a, b bool) int {
	number := map[bool]int{true: 1}
	return cmp.Compare(number[a], number[b])
}

// whatIsMissing says why nobody admits a job, and names what nobody has at all rather than what each lacks.
func whatIsMissing(n Needs, fleet Fleet) string {
	if len(fleet.Queues) == 0 {
		return "no worker is known; start one with `posthaste worker run`"
	}
	nobody := func(part Needs) bool {
		return !slices.ContainsFunc(fleet.Queues, func(q Queue) bool { return q.Refuses(part) == "" })
	}
	var missing []string
	if n.Pool != "" && !slices.ContainsFunc(fleet.Queues, func(q Queue) bool { return q.Pool == n.Pool }) {
		missing = append(missing, fmt.Sprintf("no worker is in pool %q", n.Pool))
	} else if nobody(Needs{Miner: n.Miner, Size: n.Size, Pool: n.Pool}) {
		missing = append(missing, fmt.Sprintf("no worker is allowed %s with sectors of %s", MinerName(n.Miner), n.Size.ShortString()))
	}
	for _, store := range n.Stores {
		if !slices.ContainsFunc(fleet.Queues, func(q Queue) bool { return slices.Contains(q.Stores, store) }) {
			missing = append(missing, fmt.Sprintf("no worker can read store %q", store))
		}
	}
	if len(missing) > 0 {
		return strings.Join(missing, "; ")
	}
	return "no worker has all it needs: " + each(fleet.Queues, func(q Queue) string { return q.Name + " " + q.Refuses(n) })
}

// lostStores are the stores of a job that no live worker who may have it can read, if there is one who could take the job without them.
func lostStores(n Needs, fleet Fleet) []string {
	awake := slices.DeleteFunc(slices.Clone(fleet.Queues), func(q Queue) bool {
		return q.Live == 0 || q.Refuses(Needs{Miner: n.Miner, Size: n.Size, Pool: n.Pool}) != ""
	})
	var lost []string
	rest := n
	rest.Stores = nil
	for _, store := range n.Stores {
		if slices.ContainsFunc(awake, func(q Queue) bool { return slices.Contains(q.Stores, store) }) {
			rest.Stores = append(rest.Stores, store)
		} else {
			lost = append(lost, store)
		}
	}
	if len(rest.Stores) == 0 || !slices.ContainsFunc(awake, func(q Queue) bool { return q.Refuses(rest) == "" }) {
		return nil
	}
	return lost
}

// whoSleeps says what keeps those who admit a job from taking it.
func whoSleeps(admitting []Queue) string {
	return "nobody who may take it is awake: " + each(admitting, func(q Queue) string {
		if q.Asleep == "" {
			return q.Name + " has no live card"
		}
		return q.Asleep
	})
}

// each joins what there is to say of some queues, the first few.
func each(queues []Queue, say func(Queue) string) string {
	const shown = 3
	var said []string
	for _, q := range queues[:min(shown, len(queues))] {
		said = append(said, say(q))
	}
	if more := len(queues) - shown; more > 0 {
		said = append(said, fmt.Sprintf("and %s more", Count(more, "queue")))
	}
	return strings.Join(said, "; ")
}

// Priority is a job's in Temporal's scale, where 1 is served first and 3 is usual: 1 if less than twice the forecast is left until it
// must be proven (a proof that is begun later does not get in), 2 if it was tried before (most failures are somebody's
// last chance), else 3. forecast is how long a proof of its kind takes; 0: not known.
func Priority(try int, left, forecast time.Duration) int {
	switch {
	case forecast > 0 && left < 2*forecast:
		return 1
	case try > 1:
		return 2
	default:
		return 3
	}
}
