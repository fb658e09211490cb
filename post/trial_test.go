package post

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/stretchr/testify/assert"
)

func TestLastChallenged(t *testing.T) {
	// Periods of 48 deadlines of 60 epochs, the challenge 20 before Open.
	di := func(start, now abi.ChainEpoch) *dline.Info { return dline.NewInfo(start, 0, now, 48, 2880, 60, 20, 70) }
	for situation, c := range map[string]struct {
		start, now abi.ChainEpoch
		index      uint64
		want       abi.ChainEpoch // the period's start
		known      bool
	}{
		"open now":                              {2880, 2890, 0, 2880, true},
		"challenged and not open":               {2880, 2930, 1, 2880, true},
		"its challenge is the head":             {2880, 2920, 1, 2880, true},
		"not challenged yet: a period ago":      {2880, 2919, 1, 0, true},
		"of the next period, challenged now":    {2880, 5745, 0, 5760, true},
		"the chain is younger than it":          {-100, 10, 5, -100, false},
		"its last challenge was before epoch 0": {0, 5, 0, 0, false},
	} {
		t.Run(situation, func(t *testing.T) {
			d, known := LastChallenged(1000, di(c.start, c.now), c.index)
			assert.Equal(t, c.want, d.PeriodStart)
			assert.Equal(t, c.known, known)
			assert.Equal(t, c.index, d.Index)
		})
	}
}

func TestTrialForecast(t *testing.T) {
	proven := func(vanilla, snark time.Duration) TrialPartition {
		return TrialPartition{PartitionResult: PartitionResult{State: StateProven, Phases: PhaseTimes{Wait: time.Hour, Vanilla: vanilla, Snark: snark}}}
	}
	trial := Trial{Of: 5, Partitions: []TrialPartition{proven(time.Minute, time.Minute), proven(2*time.Minute, 3*time.Minute),
		{PartitionResult: PartitionResult{State: StateFailed, Phases: PhaseTimes{Snark: time.Hour}}}}}
	assert.Equal(t, 5*time.Minute, trial.Slowest(), "waiting for a card is no work")
	assert.Equal(t, 15*time.Minute, trial.Forecast(2), "three rounds, since the deadline has five")
	assert.Equal(t, 5*time.Minute, trial.Forecast(9))
	assert.Zero(t, trial.Forecast(0))
}

func TestTrialNamesTheFirstOfManySkipped(t *testing.T) {
	var many []Skipped
	for n := abi.SectorNumber(300); n > 0; n-- {
		many = append(many, Skipped{Sector: n, Reason: "gone"})
	}
	var p TrialPartition
	p.Leave(many)
	assert.Equal(t, "1-300", p.SkippedSectors)
	assert.Equal(t, 300, p.CountSkipped())
	assert.Len(t, p.Skipped, trialSkipped)
	assert.EqualValues(t, 1, p.Skipped[0].Sector)
	p.Leave(many[:1])
	assert.Equal(t, 1, p.CountSkipped())
}

func TestCheckupKeepsToWhatAPayloadHolds(t *testing.T) {
	finding := Finding{Reason: "gone", Sectors: make([]abi.SectorNumber, 2349)}
	var c Checkup
	for range 60 {
		c.Add(CheckedPartition{Bad: 2349, News: 2349, Findings: []Finding{finding}})
	}
	assert.True(t, c.Cut)
	assert.Len(t, c.Partitions, 60)
	assert.NotEmpty(t, c.Partitions[0].Findings)
	assert.Empty(t, c.Partitions[59].Findings)
	assert.True(t, c.Bad(), "they are counted")
	assert.Empty(t, c.Short().Partitions[0].Findings)
	assert.NotEmpty(t, c.Partitions[0].Findings, "Short changed what it was made of")
}
