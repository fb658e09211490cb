package workflows_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"posthaste/post"
	"posthaste/workflows"
)

// sending is a sender's workflow with a pool and a chain played by the test. An epoch passes with every AwaitEpoch.
type sending struct {
	*testing.T
	mu        sync.Mutex // activities run beside each other
	env       *testsuite.TestWorkflowEnvironment
	head      abi.ChainEpoch
	landAfter abi.ChainEpoch // epochs from the first push to landing
	takenAt   abi.ChainEpoch // when another message has used the nonce; 0: never
	prepare   func(r post.MessageRequest) error
	push      func(times int) error

	signed  []string // messages, as the workflow recorded them: "request nonce"
	pushed  map[string]int
	firstAt map[string]abi.ChainEpoch
	lost    map[string]bool // dropped by a reorg until pushed again
	answers []post.MessageSettled
	nonce   uint64 // of the chain
	pushes  int

	crashes  bool                      // every daemon dies when it has done something and before it says so; the next one does it again
	at       map[abi.ChainEpoch]func() // what happens at an epoch
	baseFee  post.Atto
	landable func(message string) bool // whether blocks take it
	exit     map[string]int64          // of messages that fail
	reprice  func(workflows.RepriceInput) workflows.Repriced
	waits    []post.MessageWaits
	inputs   []workflows.PrepareInput
	adopt    *workflows.Prepared // what is in the pool already
	quote    func(r post.MessageRequest) error
	quoted   []string // requests
	quotes   int      // that must be made before an epoch passes: what takes no time here happens in any order
	issues   []workflows.IssueInput
	later    map[string]int // how often the node does not answer about a message
	mute     bool           // then nor does it when the message is too late
	outdated bool           // what was built before its time is not true any more
}

func newSending(t *testing.T) *sending {
	s := &sending{T: t, head: 100, landAfter: 2, pushed: map[string]int{}, firstAt: map[string]abi.ChainEpoch{}, lost: map[string]bool{}, exit: map[string]int64{}, at: map[abi.ChainEpoch]func(){}, later: map[string]int{}}
	s.landable = func(string) bool { return true }
	s.prepare = func(post.MessageRequest) error { return nil }
	s.quote = func(post.MessageRequest) error { return nil }
	s.push = func(int) error { return nil }
	var suite testsuite.WorkflowTestSuite
	s.env = suite.NewTestWorkflowEnvironment()
	s.env.SetTestTimeout(20 * time.Second)
	s.env.RegisterWorkflow(workflows.SenderWorkflow)
	s.env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, workflows.SignalMessageSettled, mock.Anything).Return(
		func(_, _, _, _ string, arg any) error {
			s.answers = append(s.answers, arg.(post.MessageSettled))
			return nil
		})
	s.env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, workflows.SignalMessageWaits, mock.Anything).Return(
		func(_, _, _, _ string, arg any) error {
			s.waits = append(s.waits, arg.(post.MessageWaits))
			return nil
		})
	register := func(name string, f any) { s.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register(workflows.ActivityAwaitEpoch, func(context.Context, workflows.AwaitInput) (abi.ChainEpoch, error) {
		s.awaitQuotes()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pass()
		return s.head, nil
	})
	prepare := func(in workflows.PrepareInput) (workflows.Prepared, error) {
		if err := s.prepare(in.Request); err != nil {
			return workflows.Prepared{}, err
		}
		s.inputs = append(s.inputs, in)
		raw, err := json.Marshal(in.Request.ID)
		out := workflows.Prepared{Message: raw, Nonce: s.nonce, Head: s.head}
		if in.Priced {
			out.Gas = post.Gas{Limit: 1, Premium: "100", FeeCap: "1000"}
			out.Nonce, _ = post.ChooseNonce(s.nonce, s.nonce, in.Held)
			if in.At != nil {
				out.Nonce = in.At.Nonce
			}
		}
		if s.adopt != nil {
			out.Nonce, out.Gas, out.Adopted = s.adopt.Nonce, s.adopt.Gas, s.adopt.Adopted
		}
		return out, err
	}
	sign := func(in workflows.SignInput) (workflows.Signed, error) {
		var id string
		if err := json.Unmarshal(in.Message, &id); err != nil {
			return workflows.Signed{}, err
		}
		name := fmt.Sprintf("%s nonce %d", id, in.Nonce)
		s.signed = append(s.signed, name)
		return workflows.Signed{Message: name, Bytes: []byte(name)}, nil
	}
	register(workflows.ActivityPrepareMessage, func(ctx context.Context, in workflows.PrepareInput) (workflows.Prepared, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err := prepare(in)
		return out, cmp.Or(err, s.crash(ctx))
	})
	register(workflows.ActivityQuoteMessage, func(ctx context.Context, r post.MessageRequest) (workflows.Quoted, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.quoted = append(s.quoted, r.ID)
		return workflows.Quoted{Quote: post.Quote{GasUsed: 1}, Head: s.head}, s.quote(r)
	})
	register(workflows.ActivityIssueMessages, func(ctx context.Context, in workflows.IssueInput) (workflows.Issued, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.head < in.NotBefore {
			s.pass()
		}
		out := workflows.Issued{Head: s.head, Early: s.head < in.NotBefore}
		if out.Early {
			return out, nil
		}
		s.issues = append(s.issues, in)
		for _, w := range in.Wanted {
			if s.later[w.Request.ID] > 0 && (s.mute || w.Request.TooLate(s.head) == "") {
				s.later[w.Request.ID]--
				out.Messages = append(out.Messages, workflows.IssuedMessage{Later: true, Why: "timeout"})
				continue
			}
			prepared, err := prepare(workflows.PrepareInput{Request: w.Request, Priced: true, Held: in.Held, ShortOf: w.ShortOf, At: w.At})
			var application *temporal.ApplicationError
			if late := w.Request.TooLate(s.head); late != "" {
				err = errors.New(late)
			}
			if w.Check && s.outdated {
				err = errors.New("the chain has changed")
			}
			if err != nil {
				tooLarge := errors.As(err, &application) && application.Type() == workflows.ErrorTooLarge
				out.Messages = append(out.Messages, workflows.IssuedMessage{Refused: err.Error(), TooLarge: tooLarge, Outdated: w.Check && s.outdated})
				continue
			}
			m := workflows.IssuedMessage{Nonce: prepared.Nonce, Gas: prepared.Gas}
			if prepared.Adopted != nil {
				m.Signed, m.Adopted = *prepared.Adopted, true
			} else if m.Signed, err = sign(workflows.SignInput{Message: prepared.Message, Nonce: prepared.Nonce}); err != nil {
				return out, err
			}
			in.Held = append(in.Held, post.Held{Nonce: m.Nonce, Gas: m.Gas})
			out.Messages = append(out.Messages, m)
		}
		return out, s.crash(ctx)
	})
	s.reprice = func(in workflows.RepriceInput) workflows.Repriced {
		gas := in.Gas
		gas.Premium = post.AttoOf(new(big.Int).Add(gas.Premium.Int(), big.NewInt(25)))
		raw, _ := json.Marshal(in.Request.ID + " at " + string(gas.Premium))
		return workflows.Repriced{Message: raw, Gas: gas, Head: s.head}
	}
	register(workflows.ActivityRepriceMessage, func(ctx context.Context, in workflows.RepriceInput) (workflows.Repriced, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.reprice(in), s.crash(ctx)
	})
	register(workflows.ActivitySignMessage, func(ctx context.Context, in workflows.SignInput) (workflows.Signed, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err := sign(in)
		return out, cmp.Or(err, s.crash(ctx))
	})
	register(workflows.ActivityPushMessage, func(ctx context.Context, in workflows.Signed) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pushes++
		if err := s.push(s.pushes); err != nil {
			return err
		}
		require.Equal(t, in.Message, string(in.Bytes), "other bytes than were recorded")
		if s.pushed[in.Message]++; s.pushed[in.Message] == 1 {
			s.firstAt[in.Message] = s.head
		}
		delete(s.lost, in.Message)
		return s.crash(ctx)
	})
	register(workflows.ActivityFollowMessages, func(_ context.Context, in workflows.FollowInput) (post.Sender, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := post.Sender{Head: s.head, Nonce: s.nonce, BaseFee: s.baseFee}
		if s.takenAt != 0 && s.head >= s.takenAt {
			out.Nonce++
		}
		for i := range in.Messages {
			var look post.Look
			for _, m := range in.CIDs[i] {
				at, pushed := s.firstAt[m]
				if pushed && !s.lost[m] && s.head >= at+s.landAfter && s.landable(m) && !look.Found {
					look = post.Look{Found: true, Message: m, Epoch: at + s.landAfter, ExitCode: s.exit[m]}
				}
			}
			out.Looks = append(out.Looks, look)
		}
		return out, nil
	})
	return s
}

// awaitQuotes waits until as many messages were estimated as must be.
func (s *sending) awaitQuotes() {
	for made := -1; made < s.quotes; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		made = len(s.quoted)
		s.mu.Unlock()
	}
}

// pass lets an epoch pass.
func (s *sending) pass() {
	s.head++
	if now := s.at[s.head]; now != nil {
		now()
	}
}

// crash is how the first attempt at anything ends if daemons die in it.
func (s *sending) crash(ctx context.Context) error {
	if s.crashes && activity.GetInfo(ctx).Attempt == 1 {
		return errors.New("the daemon died")
	}
	return nil
}

func request(id string) post.MessageRequest {
	return post.MessageRequest{ID: id, ReplyTo: "wdpost-" + id, From: "f3sender", To: "f01000", Method: 5, Params: []byte("p"), Expires: 130, EpochDuration: epoch}
}

// ask signals a request some time after the start.
func (s *sending) ask(after time.Duration, r post.MessageRequest) {
	s.env.RegisterDelayedCallback(func() { s.env.SignalWorkflow(workflows.SignalSend, r) }, after)
}

// run lets the workflow go until nothing happens any more; it waits for requests for ever, so the end is a cancellation.
func (s *sending) run(state workflows.SenderState) {
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, 48*time.Hour)
	s.env.ExecuteWorkflow(workflows.SenderWorkflow, state)
	require.True(s, s.env.IsWorkflowCompleted())
	require.True(s, temporal.IsCanceledError(s.env.GetWorkflowError()), "%v", s.env.GetWorkflowError())
}

func (s *sending) start() { s.run(workflows.SenderState{From: "f3sender"}) }

func (s *sending) outcomes() (all []post.Outcome) {
	for _, a := range s.answers {
		all = append(all, a.Outcome)
	}
	return all
}

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
