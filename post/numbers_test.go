package post

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbersAsText(t *testing.T) {
	for text, want := range map[string]Numbers{
		"": nil, "7": {7}, "1-3,7": {1, 2, 3, 7}, "0-1": {0, 1},
	} {
		t.Run(text, func(t *testing.T) {
			raw, err := json.Marshal(want)
			require.NoError(t, err)
			require.JSONEq(t, `"`+text+`"`, string(raw))
			var back Numbers
			require.NoError(t, json.Unmarshal(raw, &back))
			require.Equal(t, want, back)
		})
	}
	for situation, text := range map[string]string{
		"descending": "7,3", "a double": "3,3", "a range that ends before it begins": "9-3", "ranges that overlap": "1-4,3-5", "words": "all",
		"nothing between commas": "1,,2", "more than any miner has": "0-9999999999999", "negative": "-3",
	} {
		t.Run(situation, func(t *testing.T) {
			var n Numbers
			require.ErrorContains(t, n.UnmarshalText([]byte(text)), "as in 1-3,7")
		})
	}
}

func FuzzNumbers(f *testing.F) {
	for _, seed := range []string{"", "1-3,7", "0", "9-3", "18446744073709551615", "1-18446744073709551615"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var n Numbers
		if n.UnmarshalText([]byte(text)) != nil {
			return
		}
		var again Numbers
		if err := again.UnmarshalText([]byte(n.String())); err != nil || again.String() != n.String() {
			t.Fatalf("%q was read as %s, which is not read back: %v", text, n, err)
		}
	})
}

func TestNumbersAsSets(t *testing.T) {
	a, b := Numbers{1, 2, 5}, Numbers{2, 3}
	require.Equal(t, Numbers{1, 5}, a.Minus(b))
	require.Equal(t, Numbers{2}, a.And(b))
	require.Equal(t, Numbers{1, 2, 3, 5}, a.Or(b))
	require.Empty(t, a.And(nil))
	require.Equal(t, a, a.Minus(nil))
}
