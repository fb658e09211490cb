package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/testsuite/stub"
)

// Two cards, three measured jobs of 2 s: one card waits half a second for its first, the other a second between two, the first is then
// idle while the third job waits, and at the end there is nothing left to be idle for.
func TestCardTime(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Unix(100, 0).Add(time.Duration(seconds * float64(time.Second)))
	}
	use, err := cardTime([]stub.Event{
		{Event: stub.EventStart, PID: 1, At: at(0), Miner: 7},
		{Event: stub.EventStart, PID: 2, At: at(0), Miner: 7},
		{Event: stub.EventEnd, PID: 1, At: at(2), Miner: 7, Outcome: stub.OK},
		{Event: stub.EventStart, PID: 1, At: at(2), Miner: 1},
		{Event: stub.EventEnd, PID: 2, At: at(2), Miner: 7, Outcome: stub.OK},
		{Event: stub.EventStart, PID: 2, At: at(2.5), Miner: 1},
		{Event: stub.EventEnd, PID: 1, At: at(4), Miner: 1, Outcome: stub.OK},
		{Event: stub.EventEnd, PID: 2, At: at(4.5), Miner: 1, Outcome: stub.OK},
		{Event: stub.EventStart, PID: 1, At: at(5), Miner: 1},
		{Event: stub.EventEnd, PID: 1, At: at(7), Miner: 1, Outcome: stub.OK},
	}, 1)
	require.NoError(t, err)
	assert.Equal(t, 3, use.jobs)
	assert.Equal(t, 2, use.cards)
	assert.Equal(t, 5*time.Second, use.whole)
	assert.Equal(t, []time.Duration{0, 500 * time.Millisecond, time.Second, 500 * time.Millisecond}, use.gaps)
	assert.InDelta(t, 6.0/8, use.share, 1e-9)
}
