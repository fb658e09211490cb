package post_test

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// waiting is a message that was signed at an epoch, for a deadline that closes at 160.
func waiting(nonce uint64, offered abi.ChainEpoch, premium, cap post.Atto) post.Sent {
	return post.Sent{Request: post.MessageRequest{ID: "wdpost-f01000-2880-7/p0/1", Expires: 160}, Nonce: nonce, Message: "m", First: offered, Offered: offered,
		Gas: post.Gas{Limit: 1, Premium: premium, FeeCap: cap}}
}

func TestToReplace(t *testing.T) {
	replaced := func(s post.Sent, times int) post.Sent {
		s.Earlier = make([]string, times)
		return s
	}
	for name, c := range map[string]struct {
		waiting []post.Sent
		chain   uint64
		base    post.Atto
		head    abi.ChainEpoch
		want    []int
	}{
		"nothing waits":                                  {nil, 7, "50", 110, nil},
		"it has its time":                                {[]post.Sent{waiting(7, 104, "10", "100")}, 7, "50", 108, nil},
		"its time is over":                               {[]post.Sent{waiting(7, 104, "10", "100")}, 7, "50", 109, []int{0}},
		"its time is shorter near Close":                 {[]post.Sent{waiting(7, 146, "10", "100")}, 7, "50", 148, []int{0}},
		"the last epoch that could include it has come":  {[]post.Sent{waiting(7, 140, "10", "100")}, 7, "50", 159, nil},
		"the base fee is above what it may pay: at once": {[]post.Sent{waiting(7, 104, "10", "100")}, 7, "101", 105, []int{0}},
		"but not in the tipset that it was signed in":    {[]post.Sent{waiting(7, 104, "10", "100")}, 7, "101", 104, nil},
		"the base fee is just what it may pay":           {[]post.Sent{waiting(7, 104, "10", "100")}, 7, "100", 105, nil},
		"its nonce is used":                              {[]post.Sent{waiting(7, 104, "10", "100")}, 8, "50", 120, nil},
		"its fees are not ours":                          {[]post.Sent{{Nonce: 7, Request: post.MessageRequest{Expires: 160}}}, 7, "50", 120, nil},
		"somebody else's message below it does not land": {[]post.Sent{waiting(8, 104, "10", "100")}, 7, "50", 120, nil},
		"a gap behind the lowest":                        {[]post.Sent{waiting(7, 119, "10", "100"), waiting(9, 104, "5", "60")}, 7, "70", 120, nil},
		"often enough":                                   {[]post.Sent{replaced(waiting(7, 104, "10", "100"), post.MaxReplaced)}, 7, "50", 120, nil},
		"the lowest alone, of several that pay the same": {[]post.Sent{waiting(7, 104, "10", "100"), waiting(8, 104, "10", "100"), waiting(9, 104, "10", "100")}, 7, "50", 110, []int{0}},
		"those behind follow it, up to what it pays":     {[]post.Sent{waiting(7, 109, "20", "100"), waiting(8, 104, "10", "100"), waiting(9, 104, "20", "100")}, 7, "50", 110, []int{1}},
		"all that the base fee has passed":               {[]post.Sent{waiting(7, 109, "20", "100"), waiting(8, 109, "10", "60"), waiting(9, 109, "20", "60")}, 7, "70", 110, []int{1, 2}},
		"the next one, when the lowest has landed":       {[]post.Sent{waiting(7, 104, "10", "100"), waiting(8, 104, "10", "100")}, 8, "50", 110, []int{1}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, post.ToReplace(c.waiting, c.chain, c.base, c.head)) })
	}
}

func TestGaps(t *testing.T) {
	for name, c := range map[string]struct {
		nonces []uint64
		chain  uint64
		want   []uint64
	}{
		"nothing waits":                       {nil, 7, nil},
		"in a row":                            {[]uint64{7, 8}, 7, nil},
		"the lowest are on the chain already": {[]uint64{7, 8}, 9, nil},
		"one that expired below it":           {[]uint64{8}, 7, []uint64{7}},
		"one in the middle, and two below":    {[]uint64{9, 11}, 7, []uint64{7, 8, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			var all []post.Sent
			for _, n := range c.nonces {
				all = append(all, post.Sent{Nonce: n})
			}
			assert.Equal(t, c.want, post.Gaps(all, c.chain))
		})
	}
}

func TestChooseNonce(t *testing.T) {
	gas := post.Gas{Limit: 1, Premium: "10", FeeCap: "100"}
	for name, c := range map[string]struct {
		chain, pool uint64
		held        []post.Held
		want        uint64
		instead     bool
	}{
		"nothing of ours is under way":                              {7, 7, nil, 7, false},
		"behind what waits":                                         {7, 8, []post.Held{{Nonce: 7, Gas: gas}}, 8, false},
		"the node forgot its pool":                                  {7, 7, []post.Held{{Nonce: 7, Gas: gas}}, 8, false},
		"a node whose pool is behind the chain":                     {9, 7, nil, 9, false},
		"one that expired keeps its place in the pool: take it":     {7, 8, []post.Held{{Nonce: 7, Gas: gas, Free: true}}, 7, true},
		"and below another that waits":                              {7, 9, []post.Held{{Nonce: 8, Gas: gas}, {Nonce: 7, Gas: gas, Free: true}}, 7, true},
		"of two that expired the lowest":                            {7, 9, []post.Held{{Nonce: 8, Gas: gas, Free: true}, {Nonce: 7, Gas: gas, Free: true}}, 7, true},
		"the lowest was taken since: the other":                     {7, 9, []post.Held{{Nonce: 7, Gas: gas, Free: true}, {Nonce: 8, Gas: gas, Free: true}, {Nonce: 7, Gas: gas}}, 8, true},
		"one that expired landed after all":                         {8, 8, []post.Held{{Nonce: 7, Gas: gas, Free: true}}, 8, false},
		"one that expired, and the pool has forgotten those before": {5, 5, []post.Held{{Nonce: 7, Gas: gas, Free: true}}, 5, false},
	} {
		t.Run(name, func(t *testing.T) {
			nonce, instead := post.ChooseNonce(c.chain, c.pool, c.held)
			assert.Equal(t, c.want, nonce)
			require.Equal(t, c.instead, instead != nil)
			if instead != nil {
				assert.Equal(t, post.Held{Nonce: c.want, Gas: gas, Free: true}, *instead)
			}
		})
	}
}

func TestFirstGap(t *testing.T) {
	for name, c := range map[string]struct {
		chain, next uint64
		held        []post.Held
		pools       []uint64
		want        uint64
	}{
		"nothing is under way":                      {7, 7, nil, nil, 7},
		"what is before it is ours":                 {7, 9, []post.Held{{Nonce: 7}, {Nonce: 8, Free: true}}, nil, 9},
		"what is before it is in pools":             {7, 9, []post.Held{{Nonce: 8}}, []uint64{7}, 9},
		"nobody has what is before it":              {7, 307, nil, nil, 7},
		"nobody has what is in the middle":          {7, 10, []post.Held{{Nonce: 7}}, []uint64{9}, 8},
		"a pool that is behind the chain by itself": {7, 5, nil, nil, 5},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, post.FirstGap(c.chain, c.next, c.held, c.pools)) })
	}
}

func TestReplacedMessagesAreAllFollowed(t *testing.T) {
	first := waiting(7, 104, "10", "100")
	first.Message, first.Stuck, first.Before = "m1", "too dear", []string{"old1", "old2"}
	second := first.Replace("m2", []byte("2"), post.Gas{Limit: 1, Premium: "13", FeeCap: "100"}, 109)
	third := second.Replace("m3", []byte("3"), post.Gas{Limit: 1, Premium: "17", FeeCap: "100"}, 114)
	assert.Equal(t, []string{"m3", "m2", "m1", "old2", "old1"}, third.CIDs())
	assert.Equal(t, []string{"m2", "m1", "old2", "old1"}, second.CIDs(), "nothing is shared")
	assert.Empty(t, third.Stuck)
	assert.Equal(t, abi.ChainEpoch(114), third.Offered)
	assert.Equal(t, abi.ChainEpoch(104), third.First)
	assert.Equal(t, "3", string(third.Signed))

	settled, _, _ := post.AfterLook(third, 8, post.Look{Found: true, Message: "m1", Epoch: 115}, 117)
	require.NotNil(t, settled)
	assert.Equal(t, "m1", settled.Message, "whichever landed")
	assert.Equal(t, post.OutcomeLanded, settled.Outcome)
	settled, _, _ = post.AfterLook(third, 8, post.Look{Found: true, Message: "m2", Epoch: 115, ExitCode: 7}, 117)
	assert.Equal(t, "it failed on the chain with exit code 7 (out of gas)", settled.Reason)
	third.Stuck = "too dear"
	settled, _, _ = post.AfterLook(third, 7, post.Look{}, 160)
	assert.Equal(t, "it had not landed at epoch 160, and was not replaced: too dear", settled.Reason)
}

func TestPurpose(t *testing.T) {
	assert.Equal(t, "wdpost-f01000-2880-7/p0", post.MessageRequest{ID: "wdpost-f01000-2880-7/p0/12"}.Purpose())
	assert.Equal(t, "odd", post.MessageRequest{ID: "odd"}.Purpose())
}
