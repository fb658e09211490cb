package post_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// Four deadlines of 10 epochs in a period from 100; the challenge is 5 epochs before Open.
func TestWindowsOfAPeriod(t *testing.T) {
	for situation, c := range map[string]struct {
		epoch abi.ChainEpoch
		opens []abi.ChainEpoch
	}{
		"at its begin":  {100, []abi.ChainEpoch{100, 110, 120, 130}},
		"in its middle": {121, []abi.ChainEpoch{100, 110, 120, 130}},
		"at its end":    {134, []abi.ChainEpoch{100, 110, 120, 130}},
		"the first deadline's next challenge is there": {135, []abi.ChainEpoch{140, 110, 120, 130}},
	} {
		t.Run(situation, func(t *testing.T) {
			index := uint64(c.epoch-100) / 10
			windows := post.Windows(1000, dline.NewInfo(100, index, c.epoch, 4, 40, 10, 5, 7))
			require.Len(t, windows, 4)
			for i, d := range windows {
				require.EqualValues(t, i, d.Index)
				require.Equal(t, c.opens[i], d.Open)
				require.Equal(t, d.Open-5, d.Challenge)
				require.Equal(t, d.Open+10, d.Close)
				require.EqualValues(t, 1000, d.Miner)
			}
			require.Equal(t, c.opens[0], windows[0].PeriodStart)
		})
	}
}

func TestSurveyTellsLocalTime(t *testing.T) {
	at := time.Unix(10_000, 0)
	s := post.Survey{Head: 500, At: at, EpochDuration: 30 * time.Second}
	require.Equal(t, at.Add(5*time.Minute), s.When(510))
	require.Equal(t, at.Add(-time.Minute), s.When(498), "what was, too")
}
