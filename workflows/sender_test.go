package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

func TestTwoRequestsGetTwoNonces(t *testing.T) {
	s := newSending(t)
	s.ask(time.Second, request("a"))
	s.ask(time.Second, request("b"))
	s.start()
	require.Equal(t, []string{"a nonce 0", "b nonce 1"}, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
}

func TestAskedTwiceSendsOnceAndAnswersTwice(t *testing.T) {
	s := newSending(t)
	s.ask(time.Second, request("a"))
	s.ask(time.Hour, request("a"))
	s.start()
	require.Equal(t, []string{"a nonce 0"}, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
	require.Equal(t, 1, s.pushed["a nonce 0"])
}

func TestDroppedByAReorgIsPushedAgainWithTheSameBytes(t *testing.T) {
	s := newSending(t)
	s.ask(time.Second, request("a"))
	s.env.RegisterDelayedCallback(func() { s.lost["a nonce 0"] = true }, time.Hour)
	again := request("a")
	again.Lost = 1
	s.ask(2*time.Hour, again)
	s.start()
	require.Equal(t, []string{"a nonce 0"}, s.signed, "a second message was signed")
	require.Equal(t, 2, s.pushed["a nonce 0"])
	require.Equal(t, 1, s.answers[1].Lost)
	require.Equal(t, post.OutcomeLanded, s.answers[1].Outcome)
}

func TestRefusedRequestSignsNothing(t *testing.T) {
	s := newSending(t)
	s.prepare = func(post.MessageRequest) error {
		return temporal.NewNonRetryableApplicationError("exit code 16", workflows.ErrorRefused, nil)
	}
	s.ask(time.Second, request("a"))
	s.start()
	require.Empty(t, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeRefused}, s.outcomes())
	require.Contains(t, s.answers[0].Reason, "exit code 16")
}

// A deadline that waits for long asks again, and may do so just when it is answered: then it is about to build another message.
func TestRequestThatWasJustRefusedIsNotSentAfterAll(t *testing.T) {
	s := newSending(t)
	times := 0
	s.prepare = func(post.MessageRequest) error {
		if times++; times == 1 {
			return temporal.NewNonRetryableApplicationError("exit code 16", workflows.ErrorRefused, nil)
		}
		return nil
	}
	s.ask(time.Second, request("a"))
	s.ask(2*time.Second, request("a"))
	s.env.RegisterDelayedCallback(func() {
		require.Empty(t, s.signed)
		require.Equal(t, []post.Outcome{post.OutcomeRefused, post.OutcomeRefused}, s.outcomes())
	}, time.Hour)
	s.ask(2*time.Hour, request("a"))
	s.start()
	require.Equal(t, []string{"a nonce 0"}, s.signed, "a new run of the deadline asks under the same name")
}

func TestPushThatFailsIsMadeAgainLater(t *testing.T) {
	s := newSending(t)
	s.push = func(times int) error {
		if times < 20 {
			return errors.New("the node is away")
		}
		return nil
	}
	s.ask(time.Second, request("a"))
	s.start()
	require.Equal(t, []string{"a nonce 0"}, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeLanded}, s.outcomes())
}

func TestMessageThatDoesNotLandExpires(t *testing.T) {
	s := newSending(t)
	s.landAfter = 1000
	s.ask(time.Second, request("a"))
	s.start()
	require.Equal(t, []post.Outcome{post.OutcomeExpired}, s.outcomes())
	require.Greater(t, s.pushed["a nonce 0"], 3, "a pool may have forgotten it")
}

func TestNonceTakenBySomebodyElse(t *testing.T) {
	s := newSending(t)
	s.landAfter = 1000
	s.takenAt = 103
	s.ask(time.Second, request("a"))
	s.start()
	require.Equal(t, []post.Outcome{post.OutcomeFailed}, s.outcomes())
	require.Contains(t, s.answers[0].Reason, "does something else send from that address")
}

func TestPendingMessagesGoOnInTheNextRun(t *testing.T) {
	s := newSending(t)
	s.firstAt["a nonce 4"], s.pushed["a nonce 4"] = 100, 1
	pending := post.Sent{Request: request("a"), Nonce: 4, Message: "a nonce 4", Signed: []byte("a nonce 4"), Pushed: 100}
	s.ask(time.Second, request("b"))
	s.nonce = 4
	s.run(workflows.SenderState{From: "f3sender", Pending: []post.Sent{pending}, Head: 100})
	require.Equal(t, []string{"b nonce 5"}, s.signed, "the pending message's nonce was given out again")
	require.Len(t, s.answers, 2)
}

// A deadline or a recovery that begins anew, in a run that knows nothing of the one before, asks under the same names.
func TestAnotherMessageUnderANameThatWasUsed(t *testing.T) {
	declared := priced("r")
	declared.Method = 11
	for situation, c := range map[string]struct {
		first  post.MessageRequest
		fails  bool
		params string // of the second
		signed int
	}{
		"what failed, with another proof":          {priced("a"), true, "q", 2},
		"what failed, the same again":              {priced("a"), true, "p", 1},
		"a post that landed, with another proof":   {priced("a"), false, "q", 1},
		"a declaration that landed, of others":     {declared, false, "q", 2},
		"a declaration that landed, of these":      {declared, false, "p", 1},
		"without prices: as before there were any": {request("a"), true, "q", 2},
	} {
		t.Run(situation, func(t *testing.T) {
			s := newSending(t)
			if c.fails {
				s.exit[c.first.ID+" nonce 0"] = 16
			}
			s.ask(time.Second, c.first)
			second := c.first
			second.Params = []byte(c.params)
			s.ask(time.Minute, second)
			s.ask(2*time.Minute, second) // and once more, while it is on its way or settled
			s.start()
			require.Len(t, s.signed, c.signed)
			last := s.answers[len(s.answers)-1]
			if c.signed == 2 {
				require.Equal(t, post.OutcomeLanded, last.Outcome)
				require.Equal(t, c.first.ID+" nonce 1", last.Message)
				return
			}
			require.Equal(t, s.answers[0], last)
		})
	}
}
