package workflows_test

import (
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

// priced is a request whose fees are ours to choose.
func priced(id string) post.MessageRequest {
	r := request(id)
	r.Fees = post.DefaultFees()
	return r
}

// askAt signals a request when the chain is at an epoch.
func (s *sending) askAt(epoch abi.ChainEpoch, r post.MessageRequest) {
	s.at[epoch] = func() { s.env.SignalWorkflow(workflows.SignalSend, r) }
}

func TestWhatDoesNotLandIsReplacedUntilItDoes(t *testing.T) {
	s := newSending(t)
	s.landable = func(m string) bool { return strings.Contains(m, "at 175") }
	s.ask(time.Second, priced("a"))
	s.start()
	require.Equal(t, []string{"a nonce 0", "a at 125 nonce 0", "a at 150 nonce 0", "a at 175 nonce 0"}, s.signed, "all at one nonce")
	require.Equal(t, []post.Outcome{post.OutcomeLanded}, s.outcomes())
	assert.Equal(t, "a at 175 nonce 0", s.answers[0].Message)
	assert.Greater(t, s.firstAt["a at 125 nonce 0"], s.firstAt["a nonce 0"]+2, "it has its time first")
}

func TestTheReplacedMessageLandsAfterAll(t *testing.T) {
	s := newSending(t)
	s.landable = func(m string) bool { return m == "a nonce 0" && len(s.signed) == 3 }
	s.ask(time.Second, priced("a"))
	s.start()
	require.Equal(t, []post.Outcome{post.OutcomeLanded}, s.outcomes())
	assert.Equal(t, "a nonce 0", s.answers[0].Message, "every message of the nonce is followed")
}

func TestBaseFeeThatSpikesReplacesAtOnce(t *testing.T) {
	s := newSending(t)
	s.baseFee = "1001"
	s.landable = func(m string) bool { return strings.Contains(m, "at") }
	s.ask(time.Second, priced("a"))
	s.ask(time.Second, priced("b"))
	s.start()
	require.Equal(t, []string{"a nonce 0", "b nonce 1", "a at 125 nonce 0", "b at 125 nonce 1"}, s.signed[:4])
	assert.LessOrEqual(t, s.firstAt["b at 125 nonce 1"], s.firstAt["a nonce 0"]+2)
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
}

func TestTheLowestNonceIsReplacedFirst(t *testing.T) {
	s := newSending(t)
	s.landable = func(m string) bool { return s.firstAt["a at 125 nonce 0"] != 0 && !strings.HasPrefix(m, "a nonce") }
	s.ask(time.Second, priced("a"))
	s.ask(time.Second, priced("b"))
	s.start()
	require.Equal(t, []string{"a nonce 0", "b nonce 1", "a at 125 nonce 0"}, s.signed, "what waits behind it pays no more for it")
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
}

func TestAtTheLimitItStaysAndSaysSo(t *testing.T) {
	s := newSending(t)
	s.landable = func(string) bool { return false }
	reprice := s.reprice
	s.reprice = func(in workflows.RepriceInput) workflows.Repriced {
		if in.Gas.Premium == "125" {
			return workflows.Repriced{Stuck: "max_fee 5 FIL", Head: s.head}
		}
		return reprice(in)
	}
	s.ask(time.Second, priced("a"))
	s.start()
	require.Equal(t, []string{"a nonce 0", "a at 125 nonce 0"}, s.signed)
	require.Equal(t, []post.MessageWaits{{ID: "a", Message: "a at 125 nonce 0", Reason: "max_fee 5 FIL"}}, s.waits, "once")
	require.Equal(t, []post.Outcome{post.OutcomeExpired}, s.outcomes())
	assert.Contains(t, s.answers[0].Reason, "and was not replaced: max_fee 5 FIL")
	assert.Greater(t, s.pushed["a at 125 nonce 0"], 2, "it is pushed on")
}

func TestReplacementThatNoPoolTakes(t *testing.T) {
	for name, c := range map[string]struct {
		refused string
		again   string // what is pushed on
	}{
		"too little in the purse":                     {"not enough funds", "a nonce 0"},
		"somebody else has replaced it and pays more": {"already in mpool, increase GasPremium to 200", "a at 125 nonce 0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSending(t)
			s.landable = func(string) bool { return false }
			s.push = func(times int) error {
				if len(s.signed) == 2 && s.pushed["done"] == 0 {
					s.pushed["done"] = 1
					return temporal.NewNonRetryableApplicationError(c.refused, workflows.ErrorRefused, nil)
				}
				return nil
			}
			s.reprice = func(in workflows.RepriceInput) workflows.Repriced {
				if len(s.signed) >= 2 {
					return workflows.Repriced{Stuck: "enough", Head: s.head}
				}
				gas := in.Gas
				gas.Premium = "125"
				return workflows.Repriced{Message: []byte(`"a at 125"`), Gas: gas, Head: s.head}
			}
			s.ask(time.Second, priced("a"))
			s.start()
			require.Equal(t, []string{"a nonce 0", "a at 125 nonce 0"}, s.signed)
			assert.Greater(t, s.pushed[c.again], 1)
			require.Len(t, s.answers, 1, "it is settled at its end, whatever a pool said of it")
		})
	}
}

// The message of an earlier deadline has expired and lies in the pool: what comes next would wait behind it for ever.
func TestNonceOfAnExpiredMessageIsTakenOver(t *testing.T) {
	s := newSending(t)
	s.landable = func(m string) bool { return strings.HasPrefix(m, "b") }
	s.reprice = func(workflows.RepriceInput) workflows.Repriced {
		return workflows.Repriced{Stuck: "enough", Head: s.head}
	}
	s.ask(time.Second, priced("a"))
	next := priced("b")
	next.Expires = 400
	s.ask(time.Hour, next)
	s.start()
	require.Equal(t, []string{"a nonce 0", "b nonce 0"}, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeExpired, post.OutcomeLanded}, s.outcomes())
	last := s.inputs[len(s.inputs)-1]
	require.Equal(t, []post.Held{{Nonce: 0, Gas: post.Gas{Limit: 1, Premium: "100", FeeCap: "1000"}, Free: true}}, last.Held)
}

// As above, and a message with a later Close was signed before: nobody asks for another one, so the gap is filled.
func TestGapBelowAMessageIsFilled(t *testing.T) {
	s := newSending(t)
	s.landable = func(m string) bool {
		return strings.HasPrefix(m, "gap-0/") || strings.HasPrefix(m, "b") && s.pushed["gap"] != 0
	}
	s.push = func(int) error {
		for _, m := range s.signed {
			if strings.HasPrefix(m, "gap-0/") {
				s.pushed["gap"] = 1
			}
		}
		return nil
	}
	s.reprice = func(workflows.RepriceInput) workflows.Repriced {
		return workflows.Repriced{Stuck: "enough", Head: s.head}
	}
	s.ask(time.Second, priced("a"))
	late := priced("b")
	late.Expires = 400
	s.askAt(101, late)
	s.start()
	require.Equal(t, []post.Outcome{post.OutcomeExpired, post.OutcomeLanded}, s.outcomes())
	require.Len(t, s.signed, 3)
	assert.Equal(t, []string{"a nonce 0", "b nonce 1"}, s.signed[:2])
	assert.Regexp(t, `^gap-0/\d+ nonce 0$`, s.signed[2])
	last := s.inputs[len(s.inputs)-1]
	assert.True(t, last.Fill)
	assert.Equal(t, "f3sender", last.Request.To, "an empty message to itself")
	assert.Equal(t, post.Atto("100"), last.At.Gas.Premium, "what expired may still be in the pool")
}

func TestWhatThePoolHasIsAdopted(t *testing.T) {
	s := newSending(t)
	s.adopt = &workflows.Prepared{Nonce: 4, Gas: post.Gas{Limit: 1, Premium: "90", FeeCap: "1000"}, Adopted: &workflows.Signed{Message: "theirs", Bytes: []byte("theirs")}}
	s.ask(time.Second, priced("a"))
	s.start()
	require.Empty(t, s.signed, "a second message was signed")
	require.Equal(t, []post.Outcome{post.OutcomeLanded}, s.outcomes())
	assert.Equal(t, "theirs", s.answers[0].Message)
}

func TestOutOfGasIsEstimatedWithMore(t *testing.T) {
	s := newSending(t)
	s.exit["wdpost-f01000-2880-7/p0/1 nonce 0"] = 7
	first, again, other := priced("wdpost-f01000-2880-7/p0/1"), priced("wdpost-f01000-2880-7/p0/2"), priced("wdpost-f01000-2880-7/p1/1")
	s.ask(time.Second, first)
	s.ask(time.Hour, again)
	s.ask(2*time.Hour, other)
	s.start()
	require.Equal(t, []post.Outcome{post.OutcomeFailed, post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
	assert.Equal(t, "it failed on the chain with exit code 7 (out of gas)", s.answers[0].Reason)
	assert.Equal(t, []int{0, 1, 0}, []int{s.inputs[0].ShortOf, s.inputs[1].ShortOf, s.inputs[2].ShortOf})
}

// The next tipset is the first that can hold a message; at Close the actor refuses it, and it is paid for.
func TestTooLateIsNotSent(t *testing.T) {
	s := newSending(t)
	s.head = 129
	s.ask(time.Second, priced("a"))
	s.start()
	require.Empty(t, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeRefused}, s.outcomes())
	assert.Equal(t, "the head is at epoch 129, too late for a message before epoch 130", s.answers[0].Reason)
}

func TestTooLargeIsSaid(t *testing.T) {
	s := newSending(t)
	s.prepare = func(post.MessageRequest) error {
		return temporal.NewNonRetryableApplicationError(post.ErrTooLarge.Error(), workflows.ErrorTooLarge, nil)
	}
	s.ask(time.Second, priced("a"))
	s.start()
	require.Equal(t, []post.Outcome{post.OutcomeRefused}, s.outcomes())
	assert.True(t, s.answers[0].TooLarge)
}

// A reorg changed what a post must say: the second message takes the place of the first.
func TestReplacesAnEarlierRequest(t *testing.T) {
	second := priced("b")
	second.Replaces = "a"
	t.Run("which has not landed", func(t *testing.T) {
		s := newSending(t)
		s.landable = func(m string) bool { return strings.HasPrefix(m, "b") }
		s.ask(time.Second, priced("a"))
		s.askAt(102, second)
		s.start()
		assert.Equal(t, "a nonce 0", s.signed[0])
		assert.Equal(t, "b nonce 0", s.signed[len(s.signed)-1])
		require.Equal(t, []post.Outcome{post.OutcomeLanded}, s.outcomes(), "nobody waits for the first one's answer")
		last := s.inputs[len(s.inputs)-1]
		require.NotNil(t, last.At)
		assert.Equal(t, uint64(0), last.At.Nonce)
		assert.NotEmpty(t, last.At.Gas.Premium)
	})
	t.Run("which lands in spite of it", func(t *testing.T) {
		s := newSending(t)
		s.landable = func(m string) bool { return m == "a nonce 0" && s.firstAt["b nonce 0"] != 0 }
		s.ask(time.Second, priced("a"))
		s.askAt(102, second)
		s.start()
		require.Equal(t, []string{"a nonce 0", "b nonce 0"}, s.signed)
		require.Equal(t, []post.Outcome{post.OutcomeLanded}, s.outcomes())
		assert.Equal(t, "a nonce 0", s.answers[0].Message)
		assert.Equal(t, "b", s.answers[0].ID)
	})
	t.Run("which lands in spite of it and fails: it gets a nonce of its own", func(t *testing.T) {
		s := newSending(t)
		s.exit["a nonce 0"] = 16
		s.landable = func(m string) bool { return m == "a nonce 0" && s.firstAt["b nonce 0"] != 0 || m == "b nonce 1" }
		s.push = func(int) error {
			if len(s.signed) > 1 {
				s.nonce = 1
			}
			return nil
		}
		s.ask(time.Second, priced("a"))
		s.askAt(102, second)
		s.start()
		require.Equal(t, []string{"a nonce 0", "b nonce 0", "b nonce 1"}, s.signed)
		require.Equal(t, []post.Outcome{post.OutcomeLanded}, s.outcomes())
		assert.Equal(t, "b nonce 1", s.answers[0].Message)
	})
	t.Run("which has landed: that is the answer", func(t *testing.T) {
		s := newSending(t)
		s.ask(time.Second, priced("a"))
		s.ask(time.Hour, second)
		s.start()
		require.Equal(t, []string{"a nonce 0"}, s.signed)
		require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
		assert.Equal(t, "b", s.answers[1].ID)
		assert.Equal(t, "a nonce 0", s.answers[1].Message)
	})
	t.Run("which had landed until a reorg", func(t *testing.T) {
		s := newSending(t)
		s.ask(time.Second, priced("a"))
		s.env.RegisterDelayedCallback(func() { s.lost["a nonce 0"] = true }, time.Hour)
		s.ask(2*time.Hour, second)
		s.start()
		require.Equal(t, []string{"a nonce 0", "b nonce 0"}, s.signed)
		require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
	})
	t.Run("which nobody knows", func(t *testing.T) {
		s := newSending(t)
		s.ask(time.Second, second)
		s.start()
		require.Equal(t, []string{"b nonce 0"}, s.signed)
	})
	t.Run("and is refused: the next one takes that nonce, and the first is not sent again", func(t *testing.T) {
		s := newSending(t)
		s.landable = func(m string) bool { return strings.HasPrefix(m, "c") }
		s.prepare = func(r post.MessageRequest) error {
			if r.ID == "b" {
				return temporal.NewNonRetryableApplicationError("exit code 16", workflows.ErrorRefused, nil)
			}
			return nil
		}
		third := priced("c")
		third.Replaces = "b"
		s.ask(time.Second, priced("a"))
		s.askAt(102, second)
		s.ask(time.Hour, third)
		s.start()
		require.Equal(t, []string{"a nonce 0", "c nonce 0"}, s.signed)
		require.Equal(t, []post.Outcome{post.OutcomeRefused, post.OutcomeLanded}, s.outcomes())
		assert.Equal(t, 1, s.pushed["a nonce 0"], "pushed again")
	})
}

// Requests of deadlines that began before there was a choice.
func TestWithoutLimitsNothingIsReplaced(t *testing.T) {
	s := newSending(t)
	s.landAfter, s.baseFee = 1000, "100000"
	s.ask(time.Second, request("a"))
	s.start()
	require.Equal(t, []string{"a nonce 0"}, s.signed)
	require.Equal(t, []post.Outcome{post.OutcomeExpired}, s.outcomes())
	assert.False(t, s.inputs[0].Priced)
}

// What is replaced goes on in the next run as it was.
func TestReplacedMessagesGoOnInTheNextRun(t *testing.T) {
	s := newSending(t)
	s.landable = func(m string) bool { return m == "a nonce 4" }
	s.firstAt["a nonce 4"], s.pushed["a nonce 4"] = 100, 1
	first := post.Sent{Request: priced("a"), Nonce: 4, Message: "a nonce 4", Signed: []byte("a nonce 4"), Pushed: 100, First: 100, Offered: 100,
		Gas: post.Gas{Limit: 1, Premium: "100", FeeCap: "1000"}}
	second := first.Replace("a at 125 nonce 4", []byte("a at 125 nonce 4"), post.Gas{Limit: 1, Premium: "125", FeeCap: "1000"}, 100)
	s.run(workflows.SenderState{From: "f3sender", Pending: []post.Sent{second}, Head: 100})
	require.Empty(t, s.signed)
	require.Equal(t, "a nonce 4", s.answers[0].Message)
}

// Whatever was done and not told of is done again: the same message at the same nonce, and the same bytes to the pool.
func TestCrashAfterEachStep(t *testing.T) {
	s := newSending(t)
	s.crashes = true
	s.landable = func(m string) bool { return strings.Contains(m, "at 150") || strings.HasPrefix(m, "b") }
	s.ask(time.Second, priced("a"))
	s.askAt(101, priced("b"))
	s.start()
	require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
	signed := map[string]int{}
	for _, m := range s.signed {
		signed[m]++
	}
	require.Equal(t, map[string]int{"a nonce 0": 2, "b nonce 1": 2, "a at 125 nonce 0": 2, "a at 150 nonce 0": 2}, signed)
	for m := range signed {
		assert.GreaterOrEqual(t, s.pushed[m], 2, m)
	}
	for _, answer := range s.answers {
		assert.Equal(t, map[string]string{"a": "a at 150 nonce 0", "b": "b nonce 1"}[answer.ID], answer.Message)
	}
}

// A reorg drops a message that had landed, and pools have lost it, too. What is behind it waits; its nonce is its own.
func TestGapOfADroppedMessageIsFilledWithItself(t *testing.T) {
	for situation, refused := range map[string]bool{"pools take it": false, "no pool takes it": true} {
		t.Run(situation, func(t *testing.T) {
			s := newSending(t)
			behind := priced("b")
			behind.Expires = 400
			s.landable = func(m string) bool {
				gone := s.lost["a nonce 0"]
				return m == "a nonce 0" || strings.HasPrefix(m, "gap-0/") || s.head > 106 && (!gone || s.pushed["filled"] > 0)
			}
			s.push = func(times int) error {
				for _, m := range s.signed {
					if strings.HasPrefix(m, "gap-0/") {
						s.pushed["filled"] = 1
					}
				}
				if refused && s.lost["a nonce 0"] && s.pushed["filled"] == 0 {
					return temporal.NewNonRetryableApplicationError("gas premium too low", workflows.ErrorRefused, nil)
				}
				return nil
			}
			s.reprice = func(workflows.RepriceInput) workflows.Repriced {
				return workflows.Repriced{Stuck: "enough", Head: s.head}
			}
			s.ask(time.Second, priced("a"))
			s.env.RegisterDelayedCallback(func() {
				s.nonce = 1
				s.env.SignalWorkflow(workflows.SignalSend, behind)
			}, time.Hour)
			s.at[106] = func() { s.lost["a nonce 0"], s.nonce = true, 0 }
			s.start()
			require.Equal(t, []string{"a nonce 0", "b nonce 1"}, s.signed[:2])
			require.Equal(t, []post.Outcome{post.OutcomeLanded, post.OutcomeLanded}, s.outcomes())
			if refused {
				require.Len(t, s.signed, 3)
				require.Regexp(t, `^gap-0/\d+ nonce 0$`, s.signed[2])
				return
			}
			require.Len(t, s.signed, 2, "its nonce was given to another")
			require.Equal(t, 2, s.pushed["a nonce 0"])
		})
	}
}
