package workflows_test

import (
	"errors"
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
	s.ask(time.Second, early("a", 104))
	s.ask(time.Second, early("b", 104))
	s.start()
	require.Equal(t, []string{"a", "b"}, s.quoted, "each is estimated once")
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
		filled := false
		for name := range s.firstAt {
			filled = filled || strings.HasPrefix(name, "gap-0/")
		}
		return filled
	}
	s.ask(time.Second, early("a", 104))
	s.ask(time.Second, early("b", 104))
	s.start()
	require.ElementsMatch(t, []post.Outcome{post.OutcomeRefused, post.OutcomeLanded}, s.outcomes())
}
