package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBeyondCapacity(t *testing.T) {
	zero := time.Unix(1000, 0)
	at := func(seconds ...float64) (out []time.Time) {
		for _, s := range seconds {
			out = append(out, zero.Add(time.Duration(s*float64(time.Second))))
		}
		return out
	}
	for name, tt := range map[string]struct {
		scheduled, started []time.Time
		want               []float64
	}{
		"free cards begin at once":                        {at(0, 0), at(0, 0.5), []float64{0, 0.5}},
		"the third waits for a card, which is no delay":   {at(0, 0, 0), at(0, 0, 10), []float64{0, 0, 0}},
		"time lost between two jobs adds up":              {at(0, 0, 0, 0, 0), at(0, 0, 11, 11, 22), []float64{0, 0, 1, 1, 2}},
		"a card that was idle is free when its job comes": {at(0, 0, 30), at(0, 0, 31), []float64{0, 0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			late, err := beyondCapacity(tt.scheduled, tt.started, 2, 10*time.Second)
			require.NoError(t, err)
			var seconds []float64
			for _, l := range late {
				seconds = append(seconds, l.Seconds())
			}
			assert.Equal(t, tt.want, seconds)
		})
	}
	_, err := beyondCapacity(at(0, 0), at(0), 2, time.Second)
	assert.ErrorContains(t, err, "2 jobs were scheduled and 1 begun")
}
