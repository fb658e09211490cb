package post_test

import (
	"fmt"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"

	"posthaste/post"
)

// counted are the failures that use up a try.
var counted = []post.Failure{
	post.FailureProve, post.FailureCard, post.FailureFalseProof, post.FailureAllBad, post.FailureLostWorkers, post.FailureSetup,
}

func TestCounted(t *testing.T) {
	for _, f := range counted {
		assert.True(t, f.Counted(), f)
	}
	for _, f := range []post.Failure{post.FailureNoStore, post.FailureNoCard, post.FailureHandOver, post.FailureOutOfTime, post.FailureMoved} {
		assert.False(t, f.Counted(), f)
	}
	assert.True(t, post.Failure("SomethingNew").Counted(), "what an older workflow does not know must not be tried for ever for free")
}

func TestAfterFailure(t *testing.T) {
	for _, f := range counted {
		for name, c := range map[string]struct {
			tries, maxTry int
			untilClose    bool
			want          post.Next
		}{
			"the first of two tries: at once":           {1, 2, true, post.Next{Again: true}},
			"the first of two, and then it would stop":  {1, 2, false, post.Next{Again: true}},
			"out of tries: listed, and on after a rest": {2, 2, true, post.Next{Again: true, Alert: true, Pause: 1}},
			"out of tries, to stop there":               {2, 2, false, post.Next{Alert: true}},
			"one try only, to stop there":               {1, 1, false, post.Next{Alert: true}},
			"one more than allowed":                     {3, 2, true, post.Next{Again: true, Alert: true, Pause: 2}},
			"two more":                                  {4, 2, true, post.Next{Again: true, Alert: true, Pause: 4}},
			"three more":                                {5, 2, true, post.Next{Again: true, Alert: true, Pause: 8}},
			"four more: the pause grows no further":     {6, 2, true, post.Next{Again: true, Alert: true, Pause: 8}},
			"a thousand":                                {1000, 2, true, post.Next{Again: true, Alert: true, Pause: 8}},
			"a thousand, to stop":                       {1000, 2, false, post.Next{Alert: true}},
			"no tries configured":                       {1, 0, false, post.Next{Alert: true}},
		} {
			t.Run(fmt.Sprintf("%s/%s", f, name), func(t *testing.T) {
				assert.Equal(t, c.want, post.AfterFailure(f, c.tries, 0, c.maxTry, c.untilClose))
			})
		}
	}
	for _, tries := range []int{0, 1, 2, 50} {
		for _, untilClose := range []bool{true, false} {
			assert.Equal(t, post.Next{Again: true, Pause: 1}, post.AfterFailure(post.FailureHandOver, tries, 0, 2, untilClose), "a hand-over costs nothing, after %d tries", tries)
			assert.Equal(t, post.Next{Alert: true}, post.AfterFailure(post.FailureOutOfTime, tries, 0, 2, untilClose), "out of time is final")
			assert.Equal(t, post.Next{Again: true}, post.AfterFailure(post.FailureMoved, tries, 0, 2, untilClose), "a job that was moved has lost enough time")
		}
	}
}

func TestAfterRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		refusals int
		want     post.Next
	}{
		"the first worker refuses: ask another at once": {1, post.Next{Again: true}},
		"the second, too": {2, post.Next{Again: true}},
		"the third, too":  {3, post.Next{Again: true}},
		"the fourth: what is known of the fleet is not true": {4, post.Next{Again: true, Pause: 1}},
		"a hundred: still at no cost":                        {100, post.Next{Again: true, Pause: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range []post.Failure{post.FailureNoStore, post.FailureNoCard} {
				assert.True(t, f.Refusal(), f)
				for _, tries := range []int{0, 1, 2, 50} {
					for _, untilClose := range []bool{true, false} {
						assert.Equal(t, c.want, post.AfterFailure(f, tries, c.refusals, 2, untilClose), "%s after %d tries", f, tries)
					}
				}
			}
		})
	}
	for _, f := range append(counted, post.FailureHandOver, post.FailureOutOfTime) {
		assert.False(t, f.Refusal(), f)
	}
}

func TestAfterLook(t *testing.T) {
	request := post.MessageRequest{ID: "wdpost-f01000-2880-7/p0/1", From: "f3abc", Expires: 3360, Lost: 1}
	sent := post.Sent{Request: request, Nonce: 7, Message: "bafy1", Pushed: 3310}
	found := func(exit int64) post.Look { return post.Look{Found: true, Epoch: 3312, ExitCode: exit} }
	for name, c := range map[string]struct {
		taken   int
		nonce   uint64 // the chain's
		look    post.Look
		head    abi.ChainEpoch
		outcome post.Outcome // "" goes on
		again   bool
		after   int // taken
	}{
		"just pushed":                                      {0, 7, post.Look{}, 3310, "", false, 0},
		"two epochs later: wait":                           {0, 7, post.Look{}, 3312, "", false, 0},
		"three epochs later: push again":                   {0, 7, post.Look{}, 3313, "", true, 0},
		"an earlier message of the sender is stuck":        {0, 5, post.Look{}, 3320, "", true, 0},
		"the head went back below the push":                {0, 7, post.Look{}, 3305, "", false, 0},
		"landed":                                           {0, 8, found(0), 3313, post.OutcomeLanded, false, 0},
		"landed, and the chain's nonce is read before":     {0, 7, found(0), 3313, post.OutcomeLanded, false, 0},
		"landed after looks that saw the nonce only":       {2, 8, found(0), 3313, post.OutcomeLanded, false, 0},
		"landed in the last epoch and seen at Close":       {0, 8, found(0), 3360, post.OutcomeLanded, false, 0},
		"failed on the chain":                              {0, 8, found(16), 3313, post.OutcomeFailed, false, 0},
		"nonce used, message nowhere: first look":          {0, 8, post.Look{}, 3312, "", false, 1},
		"nonce used, message nowhere: second look":         {1, 8, post.Look{}, 3312, "", false, 2},
		"nonce used, message nowhere: third look":          {2, 8, post.Look{}, 3312, post.OutcomeFailed, false, 3},
		"nonce used was a mistake: a reorg took that back": {2, 7, post.Look{}, 3312, "", false, 0},
		"Close":                                 {0, 7, post.Look{}, 3360, post.OutcomeExpired, false, 0},
		"long past Close":                       {0, 7, post.Look{}, 9999, post.OutcomeExpired, false, 0},
		"the last epoch: still wanted, so push": {0, 7, post.Look{}, 3359, "", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := sent
			s.Taken = c.taken
			settled, again, taken := post.AfterLook(s, c.nonce, c.look, c.head)
			assert.Equal(t, c.after, taken)
			assert.Equal(t, c.again, again)
			if c.outcome == "" {
				assert.Nil(t, settled)
				return
			}
			if assert.NotNil(t, settled) {
				assert.Equal(t, c.outcome, settled.Outcome)
				assert.Equal(t, request.Key(), settled.Key(), "the answer is known by the request's key")
				assert.Equal(t, "bafy1", settled.Message)
				assert.Equal(t, c.look.Epoch, settled.Landed)
				assert.Equal(t, c.look.ExitCode, settled.ExitCode)
				assert.Equal(t, c.outcome == post.OutcomeLanded, settled.Reason == "", "whatever went wrong has a reason: %q", settled.Reason)
			}
		})
	}
}

func TestRequestKeys(t *testing.T) {
	first := post.MessageRequest{ID: "wdpost-f01000-2880-7/p0/1"}
	lost, rebuilt := first, first
	lost.Lost, rebuilt.ID = 1, "wdpost-f01000-2880-7/p0/2"
	assert.NotEqual(t, first.Key(), lost.Key(), "a message that a reorg dropped waits for an answer of its own")
	assert.NotEqual(t, first.Key(), rebuilt.Key())
}

func TestNextNonce(t *testing.T) {
	for name, c := range map[string]struct {
		pool uint64
		used []uint64
		want uint64
	}{
		"nothing of ours is under way":                   {12, nil, 12},
		"the pool knows ours":                            {14, []uint64{12, 13}, 14},
		"the node restarted and forgot its pool":         {12, []uint64{12, 13}, 14},
		"somebody else sends from the address, too":      {20, []uint64{12}, 20},
		"landed ones that a reorg may bring back, mixed": {12, []uint64{13, 11, 12}, 14},
		"a gap that a later message waits behind":        {12, []uint64{13, 14}, 12},
		"two gaps: the lower one first":                  {12, []uint64{12, 14, 16}, 13},
		"a new account":                                  {0, nil, 0},
		"a new account's second message":                 {0, []uint64{0}, 1},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, post.NextNonce(c.pool, c.used)) })
	}
}

func TestDefaultSettings(t *testing.T) {
	s := post.DefaultSettings()
	assert.Zero(t, s.EpochDuration, "nobody may guess it")
	assert.Equal(t, 2, s.MaxTry)
	assert.True(t, s.RetryUntilClose)
	assert.NotEmpty(t, s.ProveQueue)
}
