package post_test

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin/v16/miner"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestGroupPartitions(t *testing.T) {
	part := func(index uint64) post.Partition { return post.Partition{Index: index, Live: 2349, ToProve: 2349} }
	recovering := func(index uint64) post.Partition { p := part(index); p.Recovering = 1; return p }
	posted := func(index uint64) post.Partition { p := part(index); p.Posted = true; return p }
	for name, c := range map[string]struct {
		of      []post.Partition
		perPost int
		alone   bool
		want    [][]uint64
	}{
		"as before there was a choice":              {of: []post.Partition{part(0), part(1)}, want: [][]uint64{{0}, {1}}},
		"one a post":                                {of: []post.Partition{part(0), part(1)}, perPost: 1, want: [][]uint64{{0}, {1}}},
		"two a post, and one is left":               {of: []post.Partition{part(0), part(1), part(2)}, perPost: 2, want: [][]uint64{{0, 1}, {2}}},
		"three a post":                              {of: []post.Partition{part(0), part(1), part(2), part(3)}, perPost: 3, want: [][]uint64{{0, 1, 2}, {3}}},
		"more than the actor takes":                 {of: []post.Partition{part(0), part(1), part(2), part(3)}, perPost: 9, want: [][]uint64{{0, 1, 2}, {3}}},
		"posted ones and empty ones are not in it":  {of: []post.Partition{part(0), posted(1), {Index: 2, Live: 4, Faulty: 4}, part(3)}, perPost: 3, want: [][]uint64{{0, 3}}},
		"nothing to prove":                          {of: []post.Partition{{Index: 0}}, perPost: 3},
		"recoveries alone, between others":          {of: []post.Partition{part(0), recovering(1), part(2), part(3)}, perPost: 3, alone: true, want: [][]uint64{{0}, {1}, {2, 3}}},
		"recoveries alone, all of them":             {of: []post.Partition{recovering(0), recovering(1)}, perPost: 3, alone: true, want: [][]uint64{{0}, {1}}},
		"recoveries with the others":                {of: []post.Partition{part(0), recovering(1), part(2)}, perPost: 3, want: [][]uint64{{0, 1, 2}}},
		"more sectors than a message may speak of":  {of: []post.Partition{{Index: 0, Live: 20_000, ToProve: 1}, {Index: 1, Live: 5_001, ToProve: 1}, {Index: 2, Live: 5, ToProve: 5}}, perPost: 3, want: [][]uint64{{0}, {1, 2}}},
		"exactly as many as a message may speak of": {of: []post.Partition{{Index: 0, Live: 20_000, ToProve: 1}, {Index: 1, Live: 5_000, ToProve: 1}}, perPost: 3, want: [][]uint64{{0, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, post.GroupPartitions(c.of, c.perPost, c.alone))
		})
	}
	require.EqualValues(t, miner.PoStedPartitionsMax, post.MaxPartitionsPerPost)
	require.EqualValues(t, miner.AddressedSectorsMax, post.MaxSectorsPerPost)
}

func TestSetDigest(t *testing.T) {
	set := post.SetDigest([]abi.SectorNumber{1, 2, 300})
	require.Equal(t, set, post.SetDigest([]abi.SectorNumber{300, 1, 2}), "a set has no order")
	require.NotEqual(t, set, post.SetDigest([]abi.SectorNumber{1, 2}))
	require.NotEqual(t, set, post.SetDigest([]abi.SectorNumber{1, 2, 301}))
}

func TestLandingLooks(t *testing.T) {
	for name, c := range map[string]struct {
		landed, confidence abi.ChainEpoch
		want               []abi.ChainEpoch
	}{
		"early in the window":                      {185, 10, []abi.ChainEpoch{188, 195}},
		"so late that it is deep only after Close": {232, 10, []abi.ChainEpoch{235, 237, 242}},
		"in the last epochs":                       {236, 10, []abi.ChainEpoch{239, 246}},
		"a chain that needs little depth":          {185, 2, []abi.ChainEpoch{187}},
		"no depth at all":                          {185, 0, []abi.ChainEpoch{185}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, post.LandingLooks(c.landed, c.confidence, 240))
		})
	}
}
