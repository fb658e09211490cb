package chain

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
)

const genesis = 1_598_306_400 // mainnet's

// headOf is a head of an epoch, by whose timestamp it is of another.
func headOf(epoch, byTime abi.ChainEpoch) *TipSet {
	return &TipSet{Height: epoch, Blocks: []*BlockHeader{{Height: epoch, Timestamp: uint64(genesis + 30*int64(byTime))}}}
}

func TestHeadsThatCannotBe(t *testing.T) {
	const before = abi.ChainEpoch(5_000_000)
	mainnet := &NetworkParams{NetworkName: "mainnet", BlockDelaySecs: 30, GenesisTimestamp: genesis}
	clock := func(epoch abi.ChainEpoch) time.Time { return time.Unix(genesis+30*int64(epoch), 0) }
	for situation, c := range map[string]struct {
		params *NetworkParams
		epoch  time.Duration // configured
		last   abi.ChainEpoch
		after  time.Duration // between that head and the next
		now    time.Time     // of the next
		head   *TipSet
		cannot string
	}{
		"the next one":                                           {mainnet, 0, before, 30 * time.Second, clock(before + 1), headOf(before+1, before+1), ""},
		"one that goes backwards":                                {mainnet, 0, before, 30 * time.Second, clock(before + 1), headOf(before-900, before-900), ""},
		"the node was away, and has caught up":                   {mainnet, 0, before, 30 * time.Second, clock(before + 9000), headOf(before+9000, before+9000), ""},
		"the same, by a clock that is slow":                      {mainnet, 0, before, 30 * time.Second, clock(before + 9000).Add(-4 * time.Minute), headOf(before+9000, before+9000), ""},
		"another epoch than its timestamp's":                     {mainnet, 0, before, 30 * time.Second, clock(before + 1), headOf(before+5001, before+1), "by that head's timestamp it is epoch 5000001"},
		"an epoch below its timestamp's":                         {mainnet, 0, before, 30 * time.Second, clock(before + 1), headOf(before-5001, before+1), "by that head's timestamp"},
		"far in the future":                                      {mainnet, 0, before, 30 * time.Second, clock(before + 1), headOf(before+5001, before+5001), "was epoch 5000000 when 5000 epochs less had passed"},
		"the very first head, in the future":                     {mainnet, 0, 0, 0, clock(before), headOf(before+5001, before+5001), ""},
		"the first contradicts: of another genesis than it says": {mainnet, 0, 0, 0, clock(before), headOf(before+5001, before), ""},
		"nothing is known of the network":                        {nil, 0, before, 30 * time.Second, clock(before + 1), headOf(before+5001, before+1), ""},
		"a test chain that mines fast":                           {mainnet, time.Second, before, 90 * time.Second, clock(before), headOf(before+90, before+90), ""},
		"a test chain that stalled, and goes on":                 {mainnet, time.Second, before, time.Hour, clock(before), headOf(before+3600, before+3600), ""},
		"a test chain's wild head":                               {mainnet, time.Second, before, time.Second, clock(before), headOf(before+5000, before+5000), "4999 epochs less"},
	} {
		t.Run(situation, func(t *testing.T) {
			var believes credibility
			if c.params != nil {
				believes.learn(c.params)
			}
			if c.last > 0 {
				require.NoError(t, believes.check(headOf(c.last, c.last), c.epoch, c.now.Add(-c.after)))
			}
			err := believes.check(c.head, c.epoch, c.now)
			if c.cannot == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.cannot)
			require.NoError(t, believes.check(headOf(c.last+1, c.last+1), c.epoch, c.now), "it tells the truth again")
			require.Error(t, believes.check(c.head, c.epoch, c.now))
			err = believes.check(c.head, c.epoch, c.now.Add(insistEpochs*believes.epoch(c.epoch)))
			require.Equal(t, strings.Contains(c.cannot, "timestamp"), err != nil, "it insists on a leap: what is known here is wrong")
		})
	}
}

// The token goes nowhere but where it is for.
func TestNoRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was followed") }))
	t.Cleanup(elsewhere.Close)
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	n, err := Dial(t.Context(), "eyJtoken:"+s.URL, Options{})
	require.NoError(t, err)
	t.Cleanup(n.Close)
	_, err = n.ChainHead(t.Context())
	require.ErrorContains(t, err, "it redirects to "+elsewhere.URL)
	require.ErrorIs(t, err, ErrUnreachable)
	require.NotContains(t, err.Error(), "eyJtoken")
}
