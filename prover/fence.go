package prover

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxStrikes is how often in a row a card may prove false, crash or hang before it is fenced.
const maxStrikes = 3

// errFenced is why an idle process of a fenced card is stopped. It is no failure.
var errFenced = errors.New("its card is fenced")

// fenceNews is a fence that the pool itself has put up.
type fenceNews struct{ card, reason string }

// Fence takes a card out of use until Unfence: it is given no job any more, and its process is stopped as soon as the jobs
// that it has are done. The reason is shown in its status. OnFence is not called: whoever calls this knows. The error is for a card
// that there is not.
func (p *Pool) Fence(name, reason string) error {
	p.mu.Lock()
	defer p.unlock()
	c, err := p.named(name)
	if err != nil {
		return err
	}
	if reason = cmp.Or(reason, "no reason was given"); reason != c.fenced {
		p.fence(c, reason)
	}
	return nil
}

// Unfence puts a card, or all if the name is empty, into use again, with a clean slate. A dead one is started again at once. To a card
// that is in use it does nothing. The error is for a card that there is not.
func (p *Pool) Unfence(name string) error {
	p.mu.Lock()
	defer p.unlock()
	cards := p.cards
	if name != "" {
		c, err := p.named(name)
		if err != nil {
			return err
		}
		cards = []*card{c}
	}
	for _, c := range cards {
		p.unfence(c)
	}
	p.dispatch()
	return nil
}

// named finds a card. The mutex is held.
func (p *Pool) named(name string) (*card, error) {
	var known []string
	for _, c := range p.cards {
		if c.config.Name == name {
			return c, nil
		}
		known = append(known, c.config.Name)
	}
	return nil, fmt.Errorf("there is no card %q; there are %s", name, strings.Join(known, ", "))
}

// fence takes a card out of use. The mutex is held.
func (p *Pool) fence(c *card, reason string) {
	c.fenced = reason
	p.log.Error("card is fenced", "card", c.config.Name, "reason", reason)
	p.stopIfFenced(c)
	p.dispatch()
}

// fenceItself is fence when it is the pool's own decision. The mutex is held.
func (p *Pool) fenceItself(c *card, reason string) {
	if c.fenced != "" {
		return
	}
	p.fences = append(p.fences, fenceNews{c.config.Name, reason})
	p.fence(c, reason)
}

// unfence puts a card that is fenced or dead into use again. The mutex is held.
func (p *Pool) unfence(c *card) {
	if c.fenced == "" && !c.dead() {
		return
	}
	p.log.Info("card is put into use again", "card", c.config.Name, "fenced", c.fenced)
	c.fenced, c.strikes, c.blamed, c.streak, c.err = "", 0, nil, 0, nil
	c.stays, c.unready, c.next, c.said = false, false, time.Time{}, said{}
	if c.process == nil { // else it is about to end, or cannot
		c.state = StateStarting
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// strike counts a failure that is the card's own, with the jobs that it had. One job alone does not fence a card: it may be the job that
// kills whoever takes it, and it would go through the whole fleet that way. The mutex is held.
func (p *Pool) strike(c *card, err error, had ...*slot) {
	c.strikes++
	for _, s := range had {
		if s.id == "" || !slices.Contains(c.blamed, s.id) {
			c.blamed = append(c.blamed, s.id)
		}
	}
	if c.strikes >= maxStrikes && len(c.blamed) > 1 {
		p.fenceItself(c, fmt.Sprintf("failed %d jobs in a row, the last with: %v", c.strikes, err))
	}
}

// stopIfFenced ends the process of a fenced card that has no job. The mutex is held.
func (p *Pool) stopIfFenced(c *card) {
	if c.fenced == "" || c.process == nil || len(c.slots) > 0 {
		return
	}
	c.process.kill(errFenced)
	if c.child != nil {
		c.child, c.state = nil, StateRestarting
	}
}
