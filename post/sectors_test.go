package post_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// random makes count sectors, gap numbers apart at most, in stores by turns. CommRs are random, as real ones look.
func random(count int, gap uint64, stores ...string) post.Sectors {
	source := rand.NewChaCha8([32]byte{1})
	r := rand.New(source)
	out := make(post.Sectors, count)
	number := uint64(1_000_000)
	for i := range out {
		number += 1 + r.Uint64N(gap)
		out[i].Number = abi.SectorNumber(number)
		_, _ = source.Read(out[i].CommR[:])
		out[i].Upgraded = i%3 == 0
		if len(stores) > 0 {
			out[i].Store = stores[i%len(stores)]
		}
	}
	return out
}

func TestSectorsRoundTrip(t *testing.T) {
	for name, s := range map[string]post.Sectors{
		"none":                        {},
		"sector 0":                    {{Number: 0, CommR: [32]byte{1}, Store: "a"}},
		"the highest sector number":   {{Number: abi.MaxSectorNumber - 1}, {Number: abi.MaxSectorNumber}},
		"not looked up yet":           random(9, 3),
		"one store":                   random(9, 3, "big"),
		"several stores":              random(100, 30, "a", "b", "c"),
		"more than 127 stores":        random(300, 30, names(200)...),
		"no store first, then one":    {{Number: 1}, {Number: 2, Store: "a"}},
		"a store, then none":          {{Number: 1, Store: "a"}, {Number: 2}},
		"eight sectors, a full byte":  random(8, 3),
		"the last of nine upgraded":   {{Number: 1}, {Number: 2}, {Number: 3}, {Number: 4}, {Number: 5}, {Number: 6}, {Number: 7}, {Number: 8}, {Number: 9, Upgraded: true}},
		"a store with an odd name":    {{Number: 1, Store: `a "b", \ü`}},
		"a full partition of 32 GiB":  random(2349, 40, "a", "b", "c", "d"),
		"upgraded and others by turn": random(33, 1, "a"),
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(s)
			require.NoError(t, err)
			var back post.Sectors
			require.NoError(t, json.Unmarshal(raw, &back))
			assert.Equal(t, s, back)
			again, err := json.Marshal(back)
			require.NoError(t, err)
			assert.Equal(t, string(raw), string(again), "the same set is always packed the same way")
		})
	}
}

func names(count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = "store-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	return out
}

// A job must stay far below Temporal's warning at 512 KiB for a payload. The sizes here are those that the comment at
// Sectors speaks of.
func TestSectorsPacked(t *testing.T) {
	for name, c := range map[string]struct {
		sectors post.Sectors
		below   int // bytes
	}{
		"numbered in a row, not looked up yet":   {random(2349, 1), 110_000},
		"numbered in a row, in one store":        {random(2349, 1, "big"), 110_000},
		"small gaps, four stores":                {random(2349, 3, "a", "b", "c", "d"), 130_000},
		"wide gaps, four stores":                 {random(2349, 10_000, "a", "b", "c", "d"), 130_000},
		"gaps of a thousand million, two stores": {spread(random(2349, 1000, "a", "b"), 1_000_000_000), 160_000},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(c.sectors)
			require.NoError(t, err)
			type plain post.Sector
			unpacked := make([]plain, len(c.sectors))
			for i, s := range c.sectors {
				unpacked[i] = plain(s)
			}
			long, err := json.Marshal(unpacked)
			require.NoError(t, err)
			t.Logf("2,349 sectors: %d bytes instead of %d", len(raw), len(long))
			assert.Less(t, len(raw), c.below)
		})
	}
	raw, err := json.Marshal(post.Sectors{{Number: 1}, {Number: 2}, {Number: 3}, {Number: 7}})
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"sectors":"1-3,7"`, "people can read which sectors they are")
	assert.NotContains(t, string(raw), "upgraded")
	assert.NotContains(t, string(raw), "stores")
}

// spread moves sectors apart.
func spread(s post.Sectors, by abi.SectorNumber) post.Sectors {
	for i := range s {
		s[i].Number += by * abi.SectorNumber(i)
	}
	return s
}

func TestPackingRefuses(t *testing.T) {
	for name, s := range map[string]post.Sectors{
		"a double":   {{Number: 3}, {Number: 3}},
		"descending": {{Number: 3}, {Number: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := json.Marshal(s)
			require.ErrorContains(t, err, "must ascend without doubles")
			raw, err := json.Marshal(s.Sort())
			require.NoError(t, err, "sorted they can be packed")
			require.NotEmpty(t, raw)
		})
	}
}

// b64 is a field of a payload.
func b64(b ...byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestUnpackingRefusesDamage(t *testing.T) {
	commRs := b64(make([]byte, 64)...)
	good := func(change map[string]any) map[string]any {
		p := map[string]any{"count": 2, "sectors": "1-2", "numbers": b64(1, 1), "comm_rs": commRs,
			"upgraded": b64(1), "stores": []string{"a", "b"}, "at": b64(0, 1)}
		for k, v := range change {
			if p[k] = v; v == nil {
				delete(p, k)
			}
		}
		return p
	}
	for name, c := range map[string]struct {
		change map[string]any
		say    string
	}{
		"whole":                             {nil, ""},
		"count too high":                    {map[string]any{"count": 3}, "3 sectors but 64 bytes of CommR"},
		"count too low":                     {map[string]any{"count": 1}, "1 sectors but 64 bytes of CommR"},
		"count negative":                    {map[string]any{"count": -2}, "-2 sectors"},
		"count that overflows times 32":     {map[string]any{"count": math.MaxInt/16 + 1, "comm_rs": "", "numbers": "", "upgraded": nil}, "sectors but 0 bytes of CommR"},
		"a CommR cut short":                 {map[string]any{"comm_rs": b64(make([]byte, 63)...)}, "63 bytes of CommR"},
		"CommRs that are no base64":         {map[string]any{"comm_rs": "*"}, "illegal base64"},
		"numbers cut short":                 {map[string]any{"numbers": b64(1)}, "sector 2 of 2 is cut short"},
		"a number cut inside":               {map[string]any{"numbers": b64(1, 0x80)}, "sector 2 of 2 is cut short"},
		"a double":                          {map[string]any{"numbers": b64(1, 0)}, "doubled"},
		"a number that goes round":          {map[string]any{"numbers": b64(2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)}, "too high"},
		"a number of more than 64 bits":     {map[string]any{"numbers": b64(2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2)}, "cut short"},
		"too many numbers":                  {map[string]any{"numbers": b64(1, 1, 1)}, "1 bytes too many"},
		"too many upgrade bits":             {map[string]any{"upgraded": b64(1, 1)}, "2 of upgrade bits"},
		"a store that is not in the table":  {map[string]any{"at": b64(0, 2)}, "sector 2 is in store 2 of 2"},
		"stores' places cut short":          {map[string]any{"at": b64(0)}, "store of sector 2 is cut short"},
		"too many stores' places":           {map[string]any{"at": b64(0, 1, 0)}, "1 bytes too many"},
		"places but no table of stores":     {map[string]any{"stores": nil}, "sector 1 is in store 0 of 0"},
		"a table of stores, but no places":  {map[string]any{"at": nil}, "2 stores but not which sector is in which"},
		"a field of another type":           {map[string]any{"numbers": 5}, "unpacking sectors"},
		"an unpacked list, as others do it": {map[string]any{"count": []int{1, 2}}, "unpacking sectors"},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(good(c.change))
			require.NoError(t, err)
			before := post.Sectors{{Number: 99}}
			got := before
			err = json.Unmarshal(raw, &got)
			if c.say == "" {
				require.NoError(t, err)
				assert.Equal(t, post.Sectors{{Number: 1, Upgraded: true, Store: "a"}, {Number: 2, Store: "b"}}, got)
				return
			}
			require.ErrorContains(t, err, "unpacking sectors")
			require.ErrorContains(t, err, c.say)
			assert.Equal(t, before, got, "what was there is left alone")
		})
	}
}

// Whatever a payload holds, unpacking ends with sectors in order or an error.
func FuzzUnpackSectors(f *testing.F) {
	for _, s := range []post.Sectors{{}, random(1, 1), random(9, 3, "a"), random(40, 500, "a", "b", "c")} {
		raw, err := json.Marshal(s)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte(`{"count":576460752303423488}`))
	f.Add([]byte(`{"count":-1,"numbers":"AAA="}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s post.Sectors
		if err := s.UnmarshalJSON(raw); err != nil {
			return
		}
		packed, err := json.Marshal(s)
		require.NoError(t, err, "what unpacks is in order, so it packs")
		var back post.Sectors
		require.NoError(t, json.Unmarshal(packed, &back))
		require.Equal(t, len(s), len(back))
		for i := range s {
			require.Equal(t, s[i], back[i])
		}
	})
}

func TestFormatNumbers(t *testing.T) {
	for want, numbers := range map[string][]abi.SectorNumber{
		"":              nil,
		"7":             {7},
		"0":             {0},
		"1-3,7":         {1, 2, 3, 7},
		"1-2":           {1, 2},
		"1,3,5":         {1, 3, 5},
		"0-1,3,8-10,99": {0, 1, 3, 8, 9, 10, 99},
	} {
		assert.Equal(t, want, post.FormatNumbers(numbers))
	}
}

func TestSetOperations(t *testing.T) {
	s := post.Sectors{{Number: 1, Store: "a"}, {Number: 2}, {Number: 5}, {Number: 9}}
	assert.Equal(t, []abi.SectorNumber{1, 2, 5, 9}, s.Numbers())
	assert.Equal(t, []abi.SectorNumber{1, 5, 9}, s.Without([]abi.SectorNumber{2, 77}).Numbers())
	assert.Equal(t, []abi.SectorNumber{1, 2, 5, 9}, s.Without(nil).Numbers(), "nothing bad")
	assert.Empty(t, s.Without(s.Numbers()), "all bad")
	assert.Len(t, s, 4, "the set itself is left alone")
	assert.Equal(t, []abi.SectorNumber{2, 9}, s.Among([]abi.SectorNumber{9, 3, 2}), "in the set's order")
	assert.Empty(t, s.Among(nil))
	assert.Empty(t, post.Sectors(nil).Among([]abi.SectorNumber{1}))

	sorted := post.Sectors{{Number: 9}, {Number: 1}, {Number: 9}, {Number: math.MaxInt64}, {Number: 0}}.Sort()
	assert.Equal(t, []abi.SectorNumber{0, 1, 9, math.MaxInt64}, sorted.Numbers())
	assert.Empty(t, post.Sectors{}.Sort())
}

func TestJobKey(t *testing.T) {
	job := func(change func(*post.Job)) string {
		j := post.Job{
			Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: 2880, Challenge: 3280, Open: 3300, Close: 3360}, Partitions: []uint64{0},
			Randomness: bytes.Repeat([]byte{5}, 32), Sectors: random(5, 2, "a"), Try: 1,
		}
		change(&j)
		return j.Key()
	}
	same := job(func(*post.Job) {})
	assert.Len(t, same, 16)
	for name, change := range map[string]func(*post.Job){
		"another miner":                 func(j *post.Job) { j.Deadline.Miner++ },
		"another period":                func(j *post.Job) { j.Deadline.PeriodStart += 2880 },
		"another deadline":              func(j *post.Job) { j.Deadline.Index++ },
		"another partition":             func(j *post.Job) { j.Partitions = []uint64{1} },
		"one partition more":            func(j *post.Job) { j.Partitions = []uint64{0, 1} },
		"other randomness":              func(j *post.Job) { j.Randomness = bytes.Repeat([]byte{6}, 32) },
		"a sector less":                 func(j *post.Job) { j.Sectors = j.Sectors[:4] },
		"another sector":                func(j *post.Job) { j.Sectors[4].Number++ },
		"another replica of a sector":   func(j *post.Job) { j.Sectors[0].CommR[31]++ },
		"no sectors, and no randomness": func(j *post.Job) { j.Sectors, j.Randomness = nil, nil },
	} {
		assert.NotEqual(t, same, job(change), name)
	}
	for name, change := range map[string]func(*post.Job){
		"the next try":          func(j *post.Job) { j.Try = 2 },
		"cards to avoid":        func(j *post.Job) { j.AvoidCards = []string{"w/0"} },
		"a sector moved":        func(j *post.Job) { j.Sectors[0].Store = "elsewhere" },
		"bounds follow from it": func(j *post.Job) { j.Deadline.Close++ },
	} {
		assert.Equal(t, same, job(change), name)
	}
}
