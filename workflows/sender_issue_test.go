package workflows_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

// early is a request whose message is to be sent from an epoch on. The test's chain begins at 100.
func early(id string, from abi.ChainEpoch) post.MessageRequest {
	r := priced(id)
	r.NotBefore = from
	return r
}

func TestMessagesWaitForTheirEpochEstimatedAndAreThenSignedTogether(t *testing.T) {
	s := newSending(t)
	s.quotes = 2
	s.ask(time.Second, early("a", 104))
	s.ask(time.Second, early("b", 104))
	s.start()
	require.ElementsMatch(t, []string{"a", "b"}, s.quoted, "each is estimated once")
	require.Equal(t, []string{"a nonce 0", "b nonce 1"}, s.signed)
	require.Len(t, s.issues, 1, "they are signed together")
	for _, w := range s.issues[0].Wanted {
		assert.Equal(t, int64(1), w.Quote.GasUsed)
		assert.True(t, w.Check, "the chain may have changed")
	}
	for _, m := range s.signed {
		assert.Equal(t, abi.ChainEpoch(104), s.firstAt[m], m)
	}
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
}

func TestMessageThatMayGoAtOnceIsNotEstimatedFirst(t *testing.T) {
	s := newSending(t)
	s.ask(time.Second, priced("a"))
	s.start()
	require.Empty(t, s.quoted)
	require.Nil(t, s.issues[0].Wanted[0].Quote)
	require.False(t, s.issues[0].Wanted[0].Check)
}

func TestMessageThatCannotBeEstimatedYetIsWhenItIsSigned(t *testing.T) {
	s := newSending(t)
	s.quote = func(post.MessageRequest) error { return errors.New("invalid deadline 3 at epoch 180, expected 2") }
	s.ask(time.Second, early("a", 104))
	s.start()
	require.Equal(t, []string{"a nonce 0"}, s.signed)
	require.Nil(t, s.issues[0].Wanted[0].Quote)
	require.Len(t, s.quoted, 1)
}

func TestMessageThatIsOutdatedAtItsEpochIsNotSigned(t *testing.T) {
	s := newSending(t)
	s.outdated = true
	s.ask(time.Second, early("a", 104))
	s.start()
	require.Empty(t, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeRefused}, s.outcomes())
	require.True(t, s.answers[0].Outdated)
}

// A message that may go at once does not wait behind one that may not, and has the lower nonce, though it was asked for later.
func TestWhatMayGoAtOnceGoesFirst(t *testing.T) {
	s := newSending(t)
	s.ask(time.Second, early("a", 110))
	s.askAt(102, priced("b"))
	s.start()
	require.Equal(t, []string{"b nonce 0", "a nonce 1"}, s.signed)
	assert.Equal(t, abi.ChainEpoch(102), s.firstAt["b nonce 0"])
	assert.Equal(t, abi.ChainEpoch(110), s.firstAt["a nonce 1"])
}

// The run of a deadline that was reset asks for the same with another proof: what it asks for last is sent.
func TestAskedForAgainBeforeItsEpoch(t *testing.T) {
	s := newSending(t)
	s.ask(time.Second, early("a", 110))
	again := early("a", 110)
	again.Params = []byte("another proof")
	s.askAt(102, again)
	s.askAt(103, again)
	s.start()
	require.Equal(t, []string{"a nonce 0"}, s.signed)
	require.Len(t, s.quoted, 2, "the same is not estimated again")
	require.Equal(t, again.Params, s.issues[0].Wanted[0].Request.Params)
}

// A reorg changed what a post must say while it waited.
func TestWhatTakesThePlaceOfAMessageThatWaits(t *testing.T) {
	s := newSending(t)
	s.ask(time.Second, early("a", 110))
	second := early("b", 110)
	second.Replaces = "a"
	s.askAt(102, second)
	s.start()
	require.Equal(t, []string{"b nonce 0"}, s.signed)
	require.Equal(t, abi.ChainEpoch(110), s.firstAt["b nonce 0"], "and waits as that did")
}

// A run that began before messages could wait has no version of it; what asks it to wait still waits.
func TestARunFromBeforeMessagesCouldWait(t *testing.T) {
	s := newSending(t)
	s.env.OnGetVersion("issue", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	s.env.OnGetVersion("fees", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.Version(1))
	s.ask(time.Second, priced("a"))
	s.ask(time.Hour, early("b", 110))
	s.start()
	require.Equal(t, []string{"a nonce 0", "b nonce 1"}, s.signed)
	require.Len(t, s.issues, 1)
	require.Equal(t, abi.ChainEpoch(110), s.firstAt["b nonce 1"])
}

// The node does not answer about one of them: the others go, and it is asked about again.
func TestOneThatTheNodeDoesNotAnswerAboutGoesOnWaiting(t *testing.T) {
	s := newSending(t)
	s.later["a"] = 2
	s.ask(time.Second, early("a", 104))
	s.ask(time.Second, early("b", 104))
	s.start()
	require.Equal(t, []string{"b nonce 0", "a nonce 1"}, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
}

// It never answers about one: that one is asked about at every tipset until it is too late, and holds up neither those that are signed nor those
// that come.
func TestOneThatTheNodeNeverAnswersAboutHoldsUpNobody(t *testing.T) {
	for _, mute := range []bool{false, true} {
		t.Run(fmt.Sprintf("not even when it is too late: %v", mute), func(t *testing.T) { holdsUpNobody(t, mute) })
	}
}

func holdsUpNobody(t *testing.T, mute bool) {
	s := newSending(t)
	s.later["a"], s.mute = 1000, mute
	s.ask(time.Second, early("a", 104))
	s.askAt(106, early("b", 110))
	s.askAt(115, priced("c"))
	s.start()
	require.Equal(t, []string{"b nonce 0", "c nonce 1"}, s.signed)
	assert.Equal(t, abi.ChainEpoch(110), s.firstAt["b nonce 0"])
	assert.LessOrEqual(t, s.firstAt["c nonce 1"], abi.ChainEpoch(116))
	require.Len(t, s.answers, 3)
	var asked []abi.ChainEpoch
	for _, in := range s.issues {
		if in.Wanted[0].Request.ID == "a" {
			require.Len(t, in.Wanted, 1, "it is asked about by itself")
			asked = append(asked, in.NotBefore)
		}
	}
	require.Greater(t, len(asked), 20, "at every tipset")
	require.Equal(t, post.OutcomeRefused, s.answers[2].Outcome)
	require.Equal(t, "the head is at epoch 129, too late for a message before epoch 130; before that the node did not answer: timeout", s.answers[2].Reason)
}

// A reorg changed what a post must say, and about what takes its place the node does not answer: its deadline builds it anew.
func TestSilenceAboutWhatTakesThePlaceOfAnother(t *testing.T) {
	s := newSending(t)
	s.later["b"] = 1
	s.landable = func(m string) bool { return strings.HasPrefix(m, "c") }
	s.ask(time.Second, priced("a"))
	second, third := priced("b"), priced("c")
	second.Replaces, third.Replaces = "a", "b"
	s.askAt(102, second)
	s.ask(time.Hour, third)
	s.start()
	require.Equal(t, "a nonce 0", s.signed[0])
	require.Equal(t, "c nonce 0", s.signed[len(s.signed)-1], "the nonce is free for it")
	require.Equal(t, []post.Outcome{post.OutcomeRefused, post.OutcomeLanded}, s.outcomes())
	require.Equal(t, "preparing it: timeout", s.answers[0].Reason)
}

// Beside a message of the same deadline that has not landed an estimate from before that is worth nothing.
func TestEstimatedAgainBesideAnotherMessageOfTheDeadline(t *testing.T) {
	s := newSending(t)
	s.landable = func(m string) bool { return s.head > 112 }
	first, second := priced("a"), early("b", 106)
	second.ReplyTo = first.ReplyTo
	s.ask(time.Second, second)
	s.askAt(102, first)
	s.start()
	require.Equal(t, []string{"b"}, s.quoted)
	require.Equal(t, "b", s.issues[1].Wanted[0].Request.ID)
	require.Nil(t, s.issues[1].Wanted[0].Quote)
}

func TestMessagesThatWaitGoOnInTheNextRun(t *testing.T) {
	s := newSending(t)
	s.run(workflows.SenderState{From: "f3sender", Head: 100, Waiting: []post.Waiting{{Request: early("a", 104), Quote: &post.Quote{GasUsed: 7}}}})
	require.Equal(t, []string{"a nonce 0"}, s.signed)
	require.Empty(t, s.quoted)
	require.Equal(t, int64(7), s.issues[0].Wanted[0].Quote.GasUsed)
}

func TestDaemonsThatDieWhileMessagesWait(t *testing.T) {
	s := newSending(t)
	s.crashes = true
	s.ask(time.Second, early("a", 104))
	s.ask(time.Second, early("b", 104))
	s.start()
	pushed := map[string]bool{}
	for m := range s.pushed {
		pushed[m] = true
	}
	require.Equal(t, map[string]bool{"a nonce 0": true, "b nonce 1": true}, pushed, "whatever was signed, each is sent once")
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
}

// The others were pushed beside it, and are behind a nonce that is missing until that is filled.
func TestAPushThatIsRefusedBesideOthers(t *testing.T) {
	s := newSending(t)
	s.push = func(times int) error {
		if times == 1 {
			return temporal.NewNonRetryableApplicationError("not enough funds", workflows.ErrorRefused, nil)
		}
		return nil
	}
	s.landable = func(m string) bool { // in the order of their nonces
		_, there := s.firstAt["a nonce 0"] // the pushes are side by side: either may be the first
		for name := range s.firstAt {
			there = there || strings.HasPrefix(name, "gap-0/")
		}
		return there
	}
	s.ask(time.Second, early("a", 104))
	s.ask(time.Second, early("b", 104))
	s.start()
	require.ElementsMatch(t, []post.Outcome{post.OutcomeRefused, post.OutcomeLanded}, s.outcomes())
}
