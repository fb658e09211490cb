package post_test

import (
	"strings"
	"testing"

	"github.com/filecoin-project/go-bitfield"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestToProve(t *testing.T) {
	set := bitfield.NewFromSet
	for name, c := range map[string]struct{ live, faulty, recovering, want []uint64 }{
		"all healthy":                   {[]uint64{1, 2, 3}, nil, nil, []uint64{1, 2, 3}},
		"one faulty":                    {[]uint64{1, 2, 3}, []uint64{2}, nil, []uint64{1, 3}},
		"one faulty and recovering":     {[]uint64{1, 2, 3}, []uint64{2}, []uint64{2}, []uint64{1, 2, 3}},
		"two faulty, one of them back":  {[]uint64{1, 2, 3}, []uint64{2, 3}, []uint64{3}, []uint64{1, 3}},
		"all faulty":                    {[]uint64{1, 2}, []uint64{1, 2}, nil, nil},
		"all faulty and all recovering": {[]uint64{1, 2}, []uint64{1, 2}, []uint64{1, 2}, []uint64{1, 2}},
		"all terminated":                {nil, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := post.ToProve(set(c.live), set(c.faulty), set(c.recovering))
			require.NoError(t, err)
			all, err := got.All(100)
			require.NoError(t, err)
			assert.ElementsMatch(t, c.want, all)
		})
	}
}

func TestDeadlineState(t *testing.T) {
	for name, c := range map[string]struct {
		partitions []post.State
		want       post.State
	}{
		"no partitions":                            {nil, post.StateNothing},
		"nothing to prove in any":                  {[]post.State{post.StateNothing, post.StateNothing}, post.StateNothing},
		"all posted":                               {[]post.State{post.StatePosted, post.StatePosted}, post.StatePosted},
		"posted where there was something":         {[]post.State{post.StateNothing, post.StatePosted}, post.StatePosted},
		"one landed, not deep yet":                 {[]post.State{post.StatePosted, post.StateLanded}, post.StateLanded},
		"one being submitted":                      {[]post.State{post.StateSubmitting, post.StateLanded, post.StatePosted}, post.StateSubmitting},
		"one still proving":                        {[]post.State{post.StateSubmitting, post.StateProving, post.StatePosted}, post.StateProving},
		"one waiting, one proving":                 {[]post.State{post.StateWaiting, post.StateProving}, post.StateWaiting},
		"one out of tries, others proving":         {[]post.State{post.StateProving, post.StateFailed, post.StateWaiting}, post.StateFailed},
		"one missed, one out of tries":             {[]post.State{post.StateFailed, post.StateMissed}, post.StateMissed},
		"one missed, the others posted":            {[]post.State{post.StatePosted, post.StateMissed, post.StatePosted}, post.StateMissed},
		"one missed, another had nothing to prove": {[]post.State{post.StateMissed, post.StateNothing}, post.StateMissed},
	} {
		t.Run(name, func(t *testing.T) {
			var partitions []post.PartitionResult
			for i, s := range c.partitions {
				partitions = append(partitions, post.PartitionResult{Index: uint64(i), State: s})
			}
			assert.Equal(t, c.want, post.DeadlineState(partitions))
		})
	}
}

func TestFinalStates(t *testing.T) {
	for _, s := range []post.State{post.StatePosted, post.StateMissed, post.StateNothing} {
		assert.True(t, s.Final(), s)
	}
	for _, s := range []post.State{post.StateWaiting, post.StateProving, post.StateFailed, post.StateSubmitting, post.StateLanded} {
		assert.False(t, s.Final(), s)
	}
}

func TestReasons(t *testing.T) {
	r := post.Result{Partitions: []post.PartitionResult{
		{Index: 0, State: post.StatePosted, Reason: "a card died, once"},
		{Index: 1, State: post.StateMissed, Reason: "no store has any of its sectors"},
		{Index: 4, State: post.StateMissed, Reason: "out of time"},
	}}
	assert.Equal(t, "partition 1: no store has any of its sectors; partition 4: out of time", r.Reasons(), "those missed, only")
	r.Reason = "the node was away until Close"
	assert.True(t, strings.HasSuffix(r.Reasons(), "; the node was away until Close"))
	assert.Empty(t, post.Result{}.Reasons())
	assert.Equal(t, "the chain was away", post.Result{Reason: "the chain was away"}.Reasons(), "before any partition was known")
}
