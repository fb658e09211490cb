package chain

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// lookEvery is how often endpoints are compared: twice an epoch.
func (s *Nodes) lookEvery() time.Duration {
	return min(max(s.epoch()/2, 250*time.Millisecond), 15*time.Second)
}

// lookLimit is how long an endpoint may take to tell its head before it counts as one that does not answer.
const lookLimit = 5 * time.Second

// networkEvery looks, ten epochs, an endpoint is asked of which network it is: another node may answer there by now.
const networkEvery = 20

// look asks each endpoint for its head, to know how quickly it answers, and for its chain some epochs below, to know whether it is the others'.
func (s *Nodes) look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, min(lookLimit, s.options.CallTimeout))
	defer cancel()
	at := abi.ChainEpoch(-1)
	for _, m := range s.members {
		if head := m.follower.Head(); head != nil {
			at = max(at, head.Height-forkDepth)
		}
	}
	var asked sync.WaitGroup
	olds := make([]TipSetKey, len(s.members))
	for i, m := range s.members {
		asked.Go(func() { olds[i] = s.lookAt(ctx, limited, m, at) })
	}
	asked.Wait()
	if ctx.Err() == nil {
		for i, m := range s.members {
			m.mu.Lock()
			m.old, m.oldAt = olds[i], at
			m.mu.Unlock()
		}
		s.compare()
		s.mu.Lock()
		s.looked = true
		s.mu.Unlock()
		s.settle()
		s.publish()
	}
}

// lookAt asks one endpoint, and gives its tipset at an epoch, if it tells.
func (s *Nodes) lookAt(ctx, limited context.Context, m *member, at abi.ChainEpoch) (old TipSetKey) {
	began := time.Now()
	head, err := m.ChainHead(limited)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil && limited.Err() != nil {
		err = fmt.Errorf("%w: it did not tell its head within %v", ErrUnreachable, time.Since(began).Round(time.Millisecond))
	}
	m.note(err)
	if err != nil {
		return nil
	}
	slowest, asked := time.Since(began), "ChainHead"
	s.learn(m, head.Key())
	if at >= 0 && head.Height >= at {
		began = time.Now()
		if below, err := m.ChainGetTipSetAfterHeight(limited, at, head.Key()); err == nil {
			old = below.Key()
		}
		if took := time.Since(began); took > slowest { // a node has its head at hand even when it can hardly read anything
			slowest, asked = took, "ChainGetTipSetAfterHeight"
		}
	}
	m.mu.Lock()
	if m.latency == 0 {
		m.latency = slowest
	}
	known := m.network != nil && m.looks%networkEvery != 0
	m.looks++
	m.mu.Unlock()
	m.took(asked, slowest)
	if known {
		return old
	}
	if network, err := m.StateGetNetworkParams(limited); err == nil {
		m.mu.Lock()
		m.network = network
		m.mu.Unlock()
	}
	return old
}

// took remembers how long an endpoint took for a call, or has been at it without an answer. One that stands out is soon forgotten.
func (m *member) took(method string, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d > m.latency {
		m.slowest = method
	}
	m.latency = (m.latency + d) / 2
}

// compare finds endpoints of other networks, by the time at which these began: names differ between node programs. What the first in the
// order of preference says that says it is what is meant.
func (s *Nodes) compare() {
	var first *member
	var meant *NetworkParams
	for _, m := range s.members {
		m.mu.Lock()
		network, before := m.network, m.foreign
		if network != nil && network.GenesisTimestamp != 0 {
			if m.foreign = ""; meant == nil {
				first, meant = m, network
			} else if network.GenesisTimestamp != meant.GenesisTimestamp {
				m.foreign = fmt.Sprintf("it is of another network, %s, than %s, %s", network, first.Endpoint(), meant)
			}
		}
		now := m.foreign
		m.mu.Unlock()
		if now != "" && now != before {
			s.log.Error("a node is not used, whatever becomes of the others", "node", m.Endpoint(), "why", now,
				"mend", "take it out of [chain] nodes, or the other one")
		}
	}
}
