package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// SenderState is a SenderWorkflow's input and what it hands to its next run.
type SenderState struct {
	From    string                `json:"from"` // key address
	Queue   []post.MessageRequest `json:"queue,omitempty"`
	Waiting []post.Waiting        `json:"waiting,omitempty"` // not signed yet: it is not their time
	Pending []post.Sent           `json:"pending,omitempty"` // signed, not settled; by nonce
	Done    []Done                `json:"done,omitempty"`    // settled, until they expire: asked again, they are not sent again
	Head    abi.ChainEpoch        `json:"head"`
}

// Done is a settled message.
type Done struct {
	Sent    post.Sent           `json:"sent"`
	Settled post.MessageSettled `json:"settled"`
	Said    string              `json:"said,omitempty"` // digest of the parameters, which are dropped; empty in those from before
}

// SenderWorkflow orders the messages of one address over all daemons: each request is prepared, given a nonce, signed and
// recorded here before it is pushed, so that a crash between any two steps sends the same bytes again and nothing else. What does not land is
// replaced at its nonce by a message that pays more, until it lands or is worth nothing any more.
func SenderWorkflow(ctx workflow.Context, state SenderState) error {
	s := &sender{SenderState: state, requests: workflow.GetSignalChannel(ctx, SignalSend)}
	for {
		s.drain()
		for len(s.Queue) > 0 {
			request := s.Queue[0]
			s.Queue = s.Queue[1:]
			s.take(ctx, request)
			s.drain()
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			s.drain()
			return workflow.NewContinueAsNewError(ctx, SenderWorkflow, s.SenderState)
		}
		workflow.SetCurrentDetails(ctx, s.markdown())
		if err := s.follow(ctx); err != nil {
			return err
		}
	}
}

// sender is the state of one run of a SenderWorkflow.
type sender struct {
	SenderState
	requests workflow.ReceiveChannel
	refused  []refusal
}

// refusal is an answer that is given again for an epoch: whoever asked twice goes on after the first answer, with another message.
type refusal struct {
	settled post.MessageSettled
	until   time.Time
}

// drain moves what was asked into the queue.
func (s *sender) drain() {
	var request post.MessageRequest
	for s.requests.ReceiveAsync(&request) {
		s.Queue = append(s.Queue, request)
		request = post.MessageRequest{}
	}
}

// take handles one request: new ones are signed and pushed; one that is known is answered again, or, if a reorg dropped it,
// pushed and followed again with the bytes that it had.
func (s *sender) take(ctx workflow.Context, request post.MessageRequest) {
	s.refused = slices.DeleteFunc(s.refused, func(r refusal) bool { return workflow.Now(ctx).After(r.until) })
	for _, r := range s.refused {
		if r.settled.Key() == request.Key() {
			s.answer(ctx, request, r.settled)
			return
		}
	}
	for i := range s.Pending {
		if s.Pending[i].Request.ID == request.ID {
			s.Pending[i].Request = request // answered when it is settled, to whoever asked last
			return
		}
	}
	for i, done := range s.Done {
		if done.Sent.Request.ID != request.ID || saysElse(ctx, done, request) {
			continue
		}
		if request.Lost <= done.Settled.Lost {
			s.answer(ctx, request, done.Settled)
			return
		}
		s.Done = slices.Delete(s.Done, i, i+1)
		done.Sent.Request, done.Sent.Taken, done.Sent.Offered = request, 0, s.Head
		s.push(ctx, done.Sent)
		return
	}
	switch {
	case request.Replaces != "":
		s.supersede(ctx, request)
	case issues(ctx, request):
		s.await(ctx, request)
	default:
		s.send(ctx, request, nil)
	}
}

// saysElse says whether a request is for another message than the one that was settled under its name: whoever asks began anew, in a run that
// knows nothing of that one. What failed then is no answer now. A post that landed is: there can be no other of its window.
func saysElse(ctx workflow.Context, done Done, request post.MessageRequest) bool {
	if done.Said == "" || done.Said == post.Digest(request.Params) || done.Settled.Outcome == post.OutcomeLanded && request.Method == post.MethodSubmitWindowedPoSt {
		return false
	}
	return workflow.GetVersion(ctx, "says else", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// send prepares, signs, records and pushes a new message, in the place of an old one, if one is given: step by step in runs from before messages
// were issued, and those whose fees are the node's to choose.
func (s *sender) send(ctx workflow.Context, request post.MessageRequest, old *post.Sent) {
	if issues(ctx, request) {
		s.issueNow(ctx, request, old)
		return
	}
	sent := post.Sent{Request: request}
	prepared, err := s.prepare(ctx, request, old)
	if err != nil {
		settled := sent.Settle(post.OutcomeRefused, "preparing it: "+reason(err))
		settled.TooLarge = isTooLarge(err)
		s.settle(ctx, sent, settled)
		s.abandon(old, request)
		return
	}
	s.Head = laterHead(s.Head, prepared.Head)
	sent.Nonce, sent.Pushed = prepared.Nonce, s.Head
	sent.First, sent.Offered, sent.Gas, sent.Before = s.Head, s.Head, prepared.Gas, prepared.Before
	if prepared.Adopted != nil {
		workflow.GetLogger(ctx).Info("a message that was sent already is followed", "message", prepared.Adopted.Message, "for", request.ID)
		sent.Message, sent.Signed = prepared.Adopted.Message, prepared.Adopted.Bytes
		s.push(ctx, sent)
		return
	}
	if late := request.TooLate(s.Head); sent.Gas != (post.Gas{}) && late != "" {
		s.settle(ctx, sent, sent.Settle(post.OutcomeRefused, late))
		s.abandon(old, request)
		return
	}
	signed, err := s.sign(ctx, request, SignInput{Message: prepared.Message, Nonce: sent.Nonce})
	if err != nil {
		s.settle(ctx, sent, sent.Settle(post.OutcomeRefused, "signing it: "+reason(err)))
		s.abandon(old, request)
		return
	}
	sent.Message, sent.Signed = signed.Message, signed.Bytes
	if old != nil && old.Nonce == sent.Nonce {
		sent.Before = old.CIDs()
	}
	s.push(ctx, sent)
}

// prepare has a message estimated, priced and given a nonce.
func (s *sender) prepare(ctx workflow.Context, request post.MessageRequest, old *post.Sent) (Prepared, error) {
	in, nonces := PrepareInput{Request: request}, s.used()
	if in.Priced = pricesOf(ctx, request); in.Priced {
		in.Held, in.ShortOf = s.held(), s.shortOf(request)
		if old != nil {
			in.At = &post.Held{Nonce: old.Nonce, Gas: old.Gas}
		}
	}
	var prepared Prepared
	err := workflow.ExecuteActivity(policyChainRead.apply(ctx, s.within(request), request.ID), ActivityPrepareMessage, in).Get(ctx, &prepared)
	if !in.Priced {
		prepared.Nonce, prepared.Gas, prepared.Adopted = post.NextNonce(prepared.Nonce, nonces), post.Gas{}, nil
	}
	return prepared, err
}

// sign has a message signed.
func (s *sender) sign(ctx workflow.Context, request post.MessageRequest, in SignInput) (Signed, error) {
	var signed Signed
	err := workflow.ExecuteActivity(policyChainRead.apply(ctx, s.within(request), request.ID), ActivitySignMessage, in).Get(ctx, &signed)
	return signed, err
}

// within is how long preparing or signing a message may take before it is worth nothing; 0 is not known yet.
func (s *sender) within(request post.MessageRequest) time.Duration {
	if s.Head == 0 {
		return 0
	}
	return post.Until(s.Head, request.Expires, request.EpochDuration) + time.Minute
}

// pricesOf is whether a request's fees are ours to choose. Requests without limits are those of deadlines that began before there were any, and
// a sender that was under way then goes on as it did until its next run.
func pricesOf(ctx workflow.Context, request post.MessageRequest) bool {
	return request.Fees != (post.Fees{}) && workflow.GetVersion(ctx, "fees", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// used are the nonces of messages that may still land, or come back after a reorg.
func (s *sender) used() []uint64 {
	var nonces []uint64
	for _, h := range s.held() {
		if !h.Free {
			nonces = append(nonces, h.Nonce)
		}
	}
	return nonces
}

// held are the nonces that were given out. Those of messages that expired may still be in pools.
func (s *sender) held() []post.Held {
	var held []post.Held
	for _, p := range s.Pending {
		held = append(held, post.Held{Nonce: p.Nonce, Gas: p.Gas})
	}
	for _, d := range s.Done {
		switch {
		case d.Settled.Outcome == post.OutcomeLanded || d.Settled.ExitCode != 0:
			held = append(held, post.Held{Nonce: d.Sent.Nonce})
		case d.Settled.Outcome == post.OutcomeExpired && d.Sent.Gas != (post.Gas{}):
			held = append(held, post.Held{Nonce: d.Sent.Nonce, Gas: d.Sent.Gas, Free: true})
		}
	}
	return held
}

// shortOf is how many messages for the same purpose ran out of gas.
func (s *sender) shortOf(request post.MessageRequest) (n int) {
	for _, d := range s.Done {
		if post.ReadExit(d.Settled.ExitCode).Mend == post.MendGas && d.Sent.Request.Purpose() == request.Purpose() {
			n++
		}
	}
	return n
}

// push gives a signed message to the node and follows it. A push that fails is tried again at the next look; only a node
// that understood it and will never take it settles it.
func (s *sender) push(ctx workflow.Context, sent post.Sent) {
	sent.Pushed = s.Head
	s.hasPushed(ctx, sent, s.pushOnce(ctx, sent))
}

// hasPushed takes what came of pushing a message for the first time.
func (s *sender) hasPushed(ctx workflow.Context, sent post.Sent, err error) {
	var application *temporal.ApplicationError
	if errors.As(err, &application) && application.Type() == ErrorRefused {
		s.settle(ctx, sent, sent.Settle(post.OutcomeRefused, "pushing it: "+reason(err)))
		return
	}
	if err != nil {
		workflow.GetLogger(ctx).Warn("a message could not be pushed and will be again", "message", sent.Message, "for", sent.Request.ID, "error", err)
	}
	s.wait(sent)
}

func (s *sender) pushOnce(ctx workflow.Context, sent post.Sent) error {
	return s.startPush(ctx, sent).Get(ctx, nil)
}

func (s *sender) startPush(ctx workflow.Context, sent post.Sent) workflow.Future {
	in := Signed{Message: sent.Message, Bytes: sent.Signed}
	return workflow.ExecuteActivity(policyPush.apply(ctx, policyPush.attempt, sent.Request.ID), ActivityPushMessage, in)
}

// follow waits for what comes first: a request, the epoch of messages that wait to be signed, or the next tipset, at which it looks after what
// is pending.
func (s *sender) follow(ctx workflow.Context) error {
	switch _, from := post.NextToIssue(s.Waiting, issueAtOnce, s.Head); {
	case len(s.Waiting) > 0 && from <= s.Head+1:
		return s.issueWaiting(ctx)
	case len(s.Pending) > 0:
		return s.pass(ctx, s.Head+1, s.Pending[0].Request.EpochDuration)
	case len(s.Waiting) > 0:
		// By the epoch before, all that is to be sent then is here and estimated, and is signed together.
		return s.pass(ctx, from-1, s.Waiting[0].Request.EpochDuration)
	default:
		return workflow.Await(ctx, func() bool { return s.requests.Len() > 0 })
	}
}

// pass lets the chain go on to an epoch, or until there is a request, which comes first.
func (s *sender) pass(ctx workflow.Context, target abi.ChainEpoch, epoch time.Duration) error {
	waiting, stop := workflow.WithCancel(ctx)
	defer stop()
	in := AwaitInput{Target: target, EpochDuration: epoch}
	there := workflow.ExecuteActivity(policyAwaitEpoch.apply(waiting, 0, fmt.Sprintf("epoch %d", target)), ActivityAwaitEpoch, in)
	if err := workflow.Await(ctx, func() bool { return there.IsReady() || s.requests.Len() > 0 }); err != nil || !there.IsReady() {
		return err
	}
	if err := there.Get(ctx, &s.Head); err != nil {
		return err
	}
	s.look(ctx)
	return nil
}

// look asks the chain about everything pending and settles, pushes again or replaces, as post decides.
func (s *sender) look(ctx workflow.Context) {
	if len(s.Pending) == 0 {
		return
	}
	chain, err := s.ask(ctx, s.Pending, lookFor)
	if err != nil {
		workflow.GetLogger(ctx).Error("pending messages could not be followed", "from", s.From, "error", err)
		return
	}
	s.Head = laterHead(s.Head, chain.Head)
	pending := s.Pending
	s.Pending = nil
	for i, sent := range pending {
		settled, again, taken := post.AfterLook(sent, chain.Nonce, chain.Looks[i], s.Head)
		sent.Taken = taken
		switch {
		case settled != nil && settled.ExitCode != 0 && slices.Contains(sent.Before, settled.Message):
			sent.Request.Replaces = "" // what it took the place of came first, and failed
			s.Queue = append(s.Queue, sent.Request)
		case settled != nil:
			s.settle(ctx, sent, *settled)
		case again:
			// What the node says now of bytes that a pool may hold already settles nothing.
			sent.Pushed = s.Head
			if err := s.pushOnce(ctx, sent); err != nil {
				workflow.GetLogger(ctx).Warn("a message could not be pushed again and will be later", "message", sent.Message, "for", sent.Request.ID, "error", err)
			}
			s.Pending = append(s.Pending, sent)
		default:
			s.Pending = append(s.Pending, sent)
		}
	}
	for _, i := range post.ToReplace(s.Pending, chain.Nonce, chain.BaseFee, s.Head) {
		s.replace(ctx, &s.Pending[i])
	}
	s.fill(ctx, chain.Nonce)
	s.Done = slices.DeleteFunc(s.Done, func(d Done) bool { return s.Head > d.Sent.Request.Expires+keepDone })
}

// lookFor is how long a look may take: two attempts. The next tipset has it done again, and what waits to be sent does not wait for it.
const lookFor = 2 * time.Minute

// ask has the chain looked at for messages.
func (s *sender) ask(ctx workflow.Context, about []post.Sent, within time.Duration) (post.Sender, error) {
	in := FollowInput{From: s.From}
	for _, sent := range about {
		in.Messages, in.Nonces, in.CIDs = append(in.Messages, sent.Message), append(in.Nonces, sent.Nonce), append(in.CIDs, sent.CIDs())
	}
	var chain post.Sender
	err := workflow.ExecuteActivity(policyChainRead.apply(ctx, within, "pending messages"), ActivityFollowMessages, in).Get(ctx, &chain)
	if err == nil && len(chain.Looks) != len(about) {
		err = fmt.Errorf("%d answers for %d messages", len(chain.Looks), len(about))
	}
	return chain, err
}

// keepDone epochs after a message expired nobody asks about it any more.
const keepDone abi.ChainEpoch = 30

// settle remembers the outcome and tells who asked.
func (s *sender) settle(ctx workflow.Context, sent post.Sent, settled post.MessageSettled) {
	request := sent.Request
	sent.Request.Params = nil // no longer needed; proofs are the bulk of the state
	if settled.Outcome == post.OutcomeRefused {
		// Nothing was sent: the same request may be tried again, later.
		s.refused = append(s.refused, refusal{settled, workflow.Now(ctx).Add(request.EpochDuration)})
		s.answer(ctx, request, settled)
		return
	}
	s.Done = append(s.Done, Done{Sent: sent, Settled: settled, Said: post.Digest(request.Params)})
	s.answer(ctx, request, settled)
}

// answer signals the outcome. A workflow that is gone needs none.
func (s *sender) answer(ctx workflow.Context, request post.MessageRequest, settled post.MessageSettled) {
	if request.ReplyTo == "" {
		return // it was the sender's own
	}
	settled.Lost = request.Lost
	err := workflow.SignalExternalWorkflow(ctx, request.ReplyTo, "", SignalMessageSettled, settled).Get(ctx, nil)
	if err != nil {
		workflow.GetLogger(ctx).Warn("nobody waits for a message's outcome", "for", request.ID, "outcome", string(settled.Outcome), "error", err)
	}
}

// isTooLarge says whether no block has room for a message.
func isTooLarge(err error) bool {
	var application *temporal.ApplicationError
	return errors.As(err, &application) && application.Type() == ErrorTooLarge
}

// reason is an activity's error in one line, without the SDK's frame around it.
func reason(err error) string { return plain(err).Error() }
