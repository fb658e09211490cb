package post_test

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"

	"posthaste/post"
)

func TestNextToIssue(t *testing.T) {
	for name, c := range map[string]struct {
		head      abi.ChainEpoch
		notBefore []abi.ChainEpoch // of those that wait
		next      []int
		from      abi.ChainEpoch
	}{
		"nothing waits":                   {},
		"one":                             {5, []abi.ChainEpoch{7}, []int{0}, 7},
		"two of an epoch":                 {5, []abi.ChainEpoch{7, 7}, []int{0, 1}, 7},
		"the earliest, if it came last":   {5, []abi.ChainEpoch{9, 7, 9, 7}, []int{1, 3}, 7},
		"what may go at once":             {5, []abi.ChainEpoch{9, 0}, []int{1}, 5},
		"more than go at once":            {5, []abi.ChainEpoch{7, 7, 7, 7}, []int{0, 1, 2}, 7},
		"all that are due, as they came":  {8, []abi.ChainEpoch{7, 9, 0, 8}, []int{0, 2, 3}, 8},
		"no head is known, and one waits": {0, []abi.ChainEpoch{7}, []int{0}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			var waiting []post.Waiting
			for _, from := range c.notBefore {
				waiting = append(waiting, post.Waiting{Request: post.MessageRequest{NotBefore: from}})
			}
			next, from := post.NextToIssue(waiting, 3, c.head)
			assert.Equal(t, c.next, next)
			assert.Equal(t, c.from, from)
		})
	}
}

// The node gave no answer about some: they come by themselves, after the others, the one first that was asked about least.
func TestNextToIssueOfThoseWithoutAnAnswer(t *testing.T) {
	waits := func(silent int, again abi.ChainEpoch) post.Waiting {
		return post.Waiting{Request: post.MessageRequest{NotBefore: 7}, Silent: silent, Again: again}
	}
	next, from := post.NextToIssue([]post.Waiting{waits(2, 9), waits(0, 0), waits(1, 9)}, 3, 9)
	assert.Equal(t, []int{1}, next)
	assert.Equal(t, abi.ChainEpoch(9), from)
	next, _ = post.NextToIssue([]post.Waiting{waits(2, 9), waits(1, 9)}, 3, 9)
	assert.Equal(t, []int{1}, next)
	next, from = post.NextToIssue([]post.Waiting{waits(2, 12), waits(1, 11)}, 3, 9)
	assert.Equal(t, []int{1}, next)
	assert.Equal(t, abi.ChainEpoch(11), from)
}

func TestTooLate(t *testing.T) {
	r := post.MessageRequest{Expires: 130}
	assert.Empty(t, r.TooLate(128), "the next tipset includes it")
	assert.Equal(t, "the head is at epoch 129, too late for a message before epoch 130", r.TooLate(129))
}
