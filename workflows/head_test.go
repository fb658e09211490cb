package workflows

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
)

func TestLaterHead(t *testing.T) {
	for situation, c := range map[string]struct{ known, head, want abi.ChainEpoch }{
		"the next one":                      {5000, 5001, 5001},
		"a reorg":                           {5000, 4990, 5000},
		"the deepest reorg that there is":   {5000, 4100, 5000},
		"what was known before cannot be":   {10_000, 5000, 5000},
		"nothing is known":                  {5000, 0, 5000},
		"nothing was known before":          {0, 5000, 5000},
		"a chain that is younger than that": {300, 12, 300},
	} {
		t.Run(situation, func(t *testing.T) { require.Equal(t, c.want, laterHead(c.known, c.head)) })
	}
}
