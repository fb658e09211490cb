package activities

import "time"

// BeatEvery makes a prover's heartbeats quick enough for a test.
func BeatEvery(p *Prover, interval time.Duration) { p.every = interval }

// Decisions without Temporal, for tables.
var (
	MayRepeat  = mayRepeat
	AllAvoided = allAvoided
)
