package activities

import "time"

// BeatEvery makes a prover's heartbeats quick enough for a test.
func (p *Prover) BeatEvery(interval time.Duration) *Prover {
	p.every = interval
	return p
}
