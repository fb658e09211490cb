package activities

import "time"

// BeatEvery makes a prover's heartbeats quick enough for a test.
func BeatEvery(p *Prover, interval time.Duration) { p.every = interval }

// Decisions without Temporal, for tables, and one look of a Balance.
var (
	MayRepeat   = mayRepeat
	AllAvoided  = allAvoided
	PartitionOf = partitionOf
	Look        = (*Balance).look
)
