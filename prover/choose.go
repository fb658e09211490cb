package prover

import (
	"slices"
	"time"
)

// choose is the card that the next job should have, nil if none is free. Never one that is fenced or without a process; one to avoid
// only if there is no other; then the one with the largest part of its places free; among equals the one whose turn it is by
// their weights, and then the one that has waited longest. The mutex is held.
func (p *Pool) choose(avoid []string) *card {
	var best *card
	for _, c := range p.cards {
		if c.free() && (best == nil || p.better(c, best, avoid)) {
			best = c
		}
	}
	return best
}

// free says whether a card can be given a job.
func (c *card) free() bool {
	return c.fenced == "" && c.child != nil && !c.child.dying.Load() && len(c.slots) < c.capacity()
}

// better says whether a rather than b should have a job.
func (p *Pool) better(a, b *card, avoid []string) bool {
	if avoidA, avoidB := avoids(avoid, a), avoids(avoid, b); avoidA != avoidB {
		return avoidB
	}
	// used places: a's len/capacity against b's, without fractions
	if usedA, usedB := len(a.slots)*b.capacity(), len(b.slots)*a.capacity(); usedA != usedB {
		return usedA < usedB
	}
	if a.turns != b.turns {
		return a.turns < b.turns
	}
	return a.used < b.used
}

// avoids says whether a list of this worker's cards, where "*" is all of them, has a card.
func avoids(avoid []string, c *card) bool {
	return slices.Contains(avoid, c.config.Name) || slices.Contains(avoid, "*")
}

// occupy gives a card to a job, and counts its turn: a card of weight 3 has had its turn when it got three jobs where one
// of weight 1 gets one. The mutex is held.
func (p *Pool) occupy(c *card, job string) *slot {
	p.count++
	c.used = p.count
	p.turn = max(p.turn, c.turns)
	c.turns += 1 / float64(max(c.config.Weight, 1))
	s := &slot{card: c, child: c.child, job: job, since: time.Now()}
	c.slots = append(c.slots, s)
	return s
}

// catchUp is for a card that can be given jobs again. What it missed while it could not is not made up for: it would be given every job
// for a long time. The mutex is held.
func (p *Pool) catchUp(c *card) { c.turns = max(c.turns, p.turn) }

// usable says whether jobs can reckon with a card: it is neither fenced nor dead, nor did its last start fail.
func (c *card) usable() bool { return c.fenced == "" && !c.unready && !c.dead() }

// dead says that nobody should wait for a card. One bad start may be chance.
func (c *card) dead() bool { return c.child == nil && c.state == StateDead }

// Usable is how many jobs can be proven at once on cards that are neither fenced nor dead. One that is starting counts, until its
// first start fails.
func (p *Pool) Usable() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usable()
}

func (p *Pool) usable() int {
	places := 0
	for _, c := range p.cards {
		if c.usable() {
			places += c.capacity()
		}
	}
	return places
}

// hopeless says whether there is no card to wait for. The mutex is held.
func (p *Pool) hopeless() bool {
	return !slices.ContainsFunc(p.cards, func(c *card) bool { return c.fenced == "" && !c.dead() })
}
