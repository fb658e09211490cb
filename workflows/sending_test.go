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
	s := &sending{
		T: t, head: 100, landAfter: 2, pushed: map[string]int{}, firstAt: map[string]abi.ChainEpoch{}, lost: map[string]bool{},
		exit: map[string]int64{}, at: map[abi.ChainEpoch]func(){}, later: map[string]int{},
		landable: func(string) bool { return true },
		prepare:  func(post.MessageRequest) error { return nil },
		quote:    func(post.MessageRequest) error { return nil },
		push:     func(int) error { return nil },
	}
	s.reprice = s.payMore
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
	s.register()
	return s
}

// register has the workflow's activities done by the test, one at a time.
func (s *sending) register() {
	register := func(name string, f any) { s.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	register(workflows.ActivityAwaitEpoch, func(context.Context, workflows.AwaitInput) (abi.ChainEpoch, error) {
		s.awaitQuotes()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pass()
		return s.head, nil
	})
	register(workflows.ActivityPrepareMessage, func(ctx context.Context, in workflows.PrepareInput) (workflows.Prepared, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err := s.prepared(in)
		return out, cmp.Or(err, s.crash(ctx))
	})
	register(workflows.ActivityQuoteMessage, func(_ context.Context, r post.MessageRequest) (workflows.Quoted, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.quoted = append(s.quoted, r.ID)
		return workflows.Quoted{Quote: post.Quote{GasUsed: 1}, Head: s.head}, s.quote(r)
	})
	register(workflows.ActivityIssueMessages, func(ctx context.Context, in workflows.IssueInput) (workflows.Issued, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err := s.issued(in)
		return out, cmp.Or(err, s.crash(ctx))
	})
	register(workflows.ActivityRepriceMessage, func(ctx context.Context, in workflows.RepriceInput) (workflows.Repriced, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.reprice(in), s.crash(ctx)
	})
	register(workflows.ActivitySignMessage, func(ctx context.Context, in workflows.SignInput) (workflows.Signed, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err := s.sign(in)
		return out, cmp.Or(err, s.crash(ctx))
	})
	register(workflows.ActivityPushMessage, func(ctx context.Context, in workflows.Signed) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return cmp.Or(s.taken(in), s.crash(ctx))
	})
	register(workflows.ActivityFollowMessages, func(_ context.Context, in workflows.FollowInput) (post.Sender, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.looks(in), nil
	})
}

// prepared is a message ready to be signed.
func (s *sending) prepared(in workflows.PrepareInput) (workflows.Prepared, error) {
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

// sign gives a message the name under which the test knows it.
func (s *sending) sign(in workflows.SignInput) (workflows.Signed, error) {
	var id string
	if err := json.Unmarshal(in.Message, &id); err != nil {
		return workflows.Signed{}, err
	}
	name := fmt.Sprintf("%s nonce %d", id, in.Nonce)
	s.signed = append(s.signed, name)
	return workflows.Signed{Message: name, Bytes: []byte(name)}, nil
}

// issued is what comes of messages whose epoch has come: signed, refused, or kept for later.
func (s *sending) issued(in workflows.IssueInput) (workflows.Issued, error) {
	if s.head < in.NotBefore {
		s.pass()
	}
	out := workflows.Issued{Head: s.head, Early: s.head < in.NotBefore}
	if out.Early {
		return out, nil
	}
	s.issues = append(s.issues, in)
	for _, w := range in.Wanted {
		m, err := s.issue(w, in.Held)
		if err != nil {
			return out, err
		}
		if m.Signed.Message != "" {
			in.Held = append(in.Held, post.Held{Nonce: m.Nonce, Gas: m.Gas})
		}
		out.Messages = append(out.Messages, m)
	}
	return out, nil
}

func (s *sending) issue(w workflows.Wanted, held []post.Held) (workflows.IssuedMessage, error) {
	late := w.Request.TooLate(s.head)
	if s.later[w.Request.ID] > 0 && (s.mute || late == "") {
		s.later[w.Request.ID]--
		return workflows.IssuedMessage{Later: true, Why: "timeout"}, nil
	}
	prepared, err := s.prepared(workflows.PrepareInput{Request: w.Request, Priced: true, Held: held, ShortOf: w.ShortOf, At: w.At})
	outdated := w.Check && s.outdated
	switch {
	case outdated:
		err = errors.New("the chain has changed")
	case late != "":
		err = errors.New(late)
	}
	var application *temporal.ApplicationError
	switch {
	case err != nil:
		tooLarge := errors.As(err, &application) && application.Type() == workflows.ErrorTooLarge
		return workflows.IssuedMessage{Refused: err.Error(), TooLarge: tooLarge, Outdated: outdated}, nil
	case prepared.Adopted != nil:
		return workflows.IssuedMessage{Nonce: prepared.Nonce, Gas: prepared.Gas, Signed: *prepared.Adopted, Adopted: true}, nil
	}
	signed, err := s.sign(workflows.SignInput{Message: prepared.Message, Nonce: prepared.Nonce})
	return workflows.IssuedMessage{Nonce: prepared.Nonce, Gas: prepared.Gas, Signed: signed}, err
}

// payMore is how a message is priced anew unless a test says otherwise.
func (s *sending) payMore(in workflows.RepriceInput) workflows.Repriced {
	gas := in.Gas
	gas.Premium = post.AttoOf(new(big.Int).Add(gas.Premium.Int(), big.NewInt(25)))
	raw, _ := json.Marshal(in.Request.ID + " at " + string(gas.Premium))
	return workflows.Repriced{Message: raw, Gas: gas, Head: s.head}
}

// taken is what the pool says of a pushed message.
func (s *sending) taken(in workflows.Signed) error {
	s.pushes++
	if err := s.push(s.pushes); err != nil {
		return err
	}
	require.Equal(s, in.Message, string(in.Bytes), "other bytes than were recorded")
	if s.pushed[in.Message]++; s.pushed[in.Message] == 1 {
		s.firstAt[in.Message] = s.head
	}
	delete(s.lost, in.Message)
	return nil
}

// looks is what the chain says of messages.
func (s *sending) looks(in workflows.FollowInput) post.Sender {
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
	return out
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
