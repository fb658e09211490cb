package post

import (
	"fmt"
	"slices"
	"strings"
)

// fleet judges the workers, their cards and stores, and the jobs that nobody can take.
func (j *judge) fleet() {
	for _, s := range j.Stuck {
		j.stuck(s)
	}
	for _, w := range j.Workers {
		for _, f := range w.Orders.Fences {
			j.fenced(w, f)
		}
		if !w.Alive {
			continue // what it could read when it was last there says nothing
		}
		for _, s := range w.Report.LostStores {
			j.unreadable("worker "+w.Report.Name, w.Report.Host, s)
		}
	}
	for _, s := range j.LostStores {
		j.unreadable("the daemon", "its machine", s)
	}
}

// stuck judges jobs that nobody can take.
func (j *judge) stuck(s Stuck) {
	key, subject := s.Queue, "queue "+s.Queue
	if s.Queue == QueueNobody {
		key, subject = s.Queue+"/"+s.Why, "jobs that no worker admits"
	}
	wait := map[bool]string{true: "waits and nobody can take it", false: "wait and nobody can take them"}[s.Jobs == 1]
	j.add(AlertNoWorker, key, Critical, Alert{
		Subject: subject, Hold: j.limits.Hold, Miner: MinerName(s.First.Miner), Deadline: s.First.JobIDs().String(),
		Summary: fmt.Sprintf("%s %s: %s", Count(s.Jobs, "job"), wait, s.Why),
		Details: fmt.Sprintf("The most urgent is of %s, which closes at epoch %d.", s.First, s.First.Close),
		Mend:    j.mendQueue(s.Queue),
	})
}

// wake says how to get cards to take a deadline's jobs.
func (j *judge) wake(d OpenDeadline, which []uint64) string {
	look := fmt.Sprintf("`posthaste wdpost list --detail --miner %s --deadline %d` and `posthaste worker list` show what they wait for", MinerName(d.Deadline.Miner), d.Deadline.Index)
	for _, p := range d.Partitions {
		if p.Waits != "" && p.Queue != "" && slices.Contains(which, p.Index) {
			return j.mendQueue(p.Queue) + "; " + look
		}
	}
	return look + "; more cards take them sooner: `posthaste worker run` on another machine"
}

// mendQueue says what brings live cards to a queue: one command for each worker that should serve it.
func (j *judge) mendQueue(queue string) string {
	var steps []string
	for _, w := range j.Workers {
		for _, g := range w.Report.Groups {
			if g.Queue == queue {
				steps = append(steps, j.mendWorker(w, g))
				break
			}
		}
	}
	if len(steps) == 0 {
		return "start a worker that may take them (`posthaste worker run`, with their stores under [[attached]] and no rule against their miner); `posthaste worker list` shows what each takes"
	}
	const shown = 3
	if more := len(steps) - shown; more > 0 {
		steps = append(steps[:shown], fmt.Sprintf("and %s more: `posthaste worker list`", Count(more, "worker")))
	}
	return strings.Join(steps, "; or ")
}

// mendWorker says what makes a worker take jobs again.
func (j *judge) mendWorker(w WorkerOutlook, g Group) string {
	name := w.Report.Name
	fenced := slices.IndexFunc(w.Orders.Fences, func(f Fence) bool {
		return slices.ContainsFunc(g.Cards, func(c Card) bool { return c.Name == f.Card })
	})
	switch {
	case !w.Alive:
		return fmt.Sprintf("start worker %s on %s: `systemctl start posthaste-worker`, or `posthaste worker run` there", name, w.Report.Host)
	case w.Orders.Paused != "":
		return "`posthaste worker resume " + name + "`"
	case fenced >= 0:
		return fmt.Sprintf("mend card %s of %s, then `posthaste worker unfence %s %s`", w.Orders.Fences[fenced].Card, name, name, w.Orders.Fences[fenced].Card)
	case w.Report.Draining:
		return fmt.Sprintf("start worker %s on %s again when it has drained", name, w.Report.Host)
	default:
		return fmt.Sprintf("see why worker %s on %s takes nothing: `posthaste worker info %s`", name, w.Report.Host, name)
	}
}

// fenced judges a card that was taken out of use.
func (j *judge) fenced(w WorkerOutlook, f Fence) {
	card := w.Report.Name + "/" + f.Card
	j.add(AlertCardFenced, card, Warning, Alert{
		Subject: "card " + card,
		Summary: fmt.Sprintf("card %s on %s is fenced: %s", card, w.Report.Host, f.Reason),
		Details: "It takes no jobs until somebody lifts the fence.",
		Mend:    fmt.Sprintf("mend the card, then `posthaste worker unfence %s %s`", w.Report.Name, f.Card),
	})
}

// unreadable judges a store that cannot be read where it should be.
func (j *judge) unreadable(who, host string, s LostStore) {
	j.add(AlertStoreUnreadable, who+"/"+s.Name, Warning, Alert{
		Subject: "store " + s.Name, Hold: j.limits.Hold,
		Summary: fmt.Sprintf("%s cannot read store %q: %s", who, s.Name, s.Reason),
		Details: "Sectors that nobody can read are left out of posts.",
		Mend:    fmt.Sprintf("mount it at %s on %s; it is used again by itself", s.Path, host),
	})
}
