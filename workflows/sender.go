package workflows

import (
	"cmp"
	"errors"
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
	Pending []post.Sent           `json:"pending,omitempty"` // signed, not settled; by nonce
	Done    []Done                `json:"done,omitempty"`    // settled, until they expire: asked again, they are not sent again
	Head    abi.ChainEpoch        `json:"head"`
}

// Done is a settled message.
type Done struct {
	Sent    post.Sent           `json:"sent"`
	Settled post.MessageSettled `json:"settled"`
}

// PrepareInput asks for the gas and the nonce of a message.
type PrepareInput struct {
	Request post.MessageRequest `json:"request"`
}

// Prepared is a message with its gas, and the nonce that the node would give it.
type Prepared struct {
	Message []byte         `json:"message"` // JSON, as the node's RPC has it
	Nonce   uint64         `json:"nonce"`
	Head    abi.ChainEpoch `json:"head"`
}

// SignInput is a message and the nonce that it gets.
type SignInput struct {
	Message []byte `json:"message"`
	Nonce   uint64 `json:"nonce"`
}

// Signed is what goes to the nodes, byte for byte, however often.
type Signed struct {
	Message string `json:"message"` // CID
	Bytes   []byte `json:"bytes"`   // JSON of the signed message
}

// FollowInput asks what became of a sender's messages.
type FollowInput struct {
	From     string   `json:"from"`
	Messages []string `json:"messages"`
}

// SenderWorkflow orders the messages of one address over all daemons: each request is prepared, given a nonce, signed and
// recorded here before it is pushed, so that a crash between any two steps sends the same bytes again and nothing else.
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
		if done.Sent.Request.ID != request.ID {
			continue
		}
		if request.Lost <= done.Settled.Lost {
			s.answer(ctx, request, done.Settled)
			return
		}
		s.Done = slices.Delete(s.Done, i, i+1)
		done.Sent.Request, done.Sent.Taken = request, 0
		s.push(ctx, done.Sent)
		return
	}
	s.send(ctx, request)
}

// send prepares, signs, records and pushes a new message.
func (s *sender) send(ctx workflow.Context, request post.MessageRequest) {
	within := post.Until(s.Head, request.Expires, request.EpochDuration) + time.Minute
	if s.Head == 0 {
		within = 0
	}
	sent := post.Sent{Request: request}
	var prepared Prepared
	err := workflow.ExecuteActivity(policyChainRead.apply(ctx, within, request.ID), ActivityPrepareMessage, PrepareInput{Request: request}).Get(ctx, &prepared)
	if err != nil {
		s.settle(ctx, sent, sent.Settle(post.OutcomeRefused, "preparing it: "+reason(err)))
		return
	}
	s.Head = max(s.Head, prepared.Head)
	sent.Nonce, sent.Pushed = post.NextNonce(prepared.Nonce, s.used()), s.Head
	var signed Signed
	err = workflow.ExecuteActivity(policyChainRead.apply(ctx, within, request.ID), ActivitySignMessage, SignInput{Message: prepared.Message, Nonce: sent.Nonce}).Get(ctx, &signed)
	if err != nil {
		s.settle(ctx, sent, sent.Settle(post.OutcomeRefused, "signing it: "+reason(err)))
		return
	}
	sent.Message, sent.Signed = signed.Message, signed.Bytes
	s.push(ctx, sent)
}

// used are the nonces of messages that may still land, or come back after a reorg.
func (s *sender) used() []uint64 {
	var nonces []uint64
	for _, p := range s.Pending {
		nonces = append(nonces, p.Nonce)
	}
	for _, d := range s.Done {
		if d.Settled.Outcome == post.OutcomeLanded || d.Settled.ExitCode != 0 {
			nonces = append(nonces, d.Sent.Nonce)
		}
	}
	return nonces
}

// push gives a signed message to the node and follows it. A push that fails is tried again at the next look; only a node
// that understood it and will never take it settles it.
func (s *sender) push(ctx workflow.Context, sent post.Sent) {
	sent.Pushed = s.Head
	err := s.pushOnce(ctx, sent)
	var application *temporal.ApplicationError
	if errors.As(err, &application) && application.Type() == ErrorRefused {
		s.settle(ctx, sent, sent.Settle(post.OutcomeRefused, "pushing it: "+reason(err)))
		return
	}
	if err != nil {
		workflow.GetLogger(ctx).Warn("a message could not be pushed and will be again", "message", sent.Message, "for", sent.Request.ID, "error", err)
	}
	s.Pending = append(s.Pending, sent)
	slices.SortFunc(s.Pending, func(a, b post.Sent) int { return cmp.Compare(a.Nonce, b.Nonce) })
}

func (s *sender) pushOnce(ctx workflow.Context, sent post.Sent) error {
	in := Signed{Message: sent.Message, Bytes: sent.Signed}
	return workflow.ExecuteActivity(policyPush.apply(ctx, policyPush.attempt, sent.Request.ID), ActivityPushMessage, in).Get(ctx, nil)
}

// follow waits for the next tipset, or a request, and looks after what is pending. With nothing pending it waits for a
// request alone.
func (s *sender) follow(ctx workflow.Context) error {
	if len(s.Pending) == 0 {
		return workflow.Await(ctx, func() bool { return s.requests.Len() > 0 })
	}
	waiting, stop := workflow.WithCancel(ctx)
	defer stop()
	in := AwaitInput{Target: s.Head + 1, EpochDuration: s.Pending[0].Request.EpochDuration}
	next := workflow.ExecuteActivity(policyAwaitEpoch.apply(waiting, 0, "next tipset"), ActivityAwaitEpoch, in)
	if err := workflow.Await(ctx, func() bool { return next.IsReady() || s.requests.Len() > 0 }); err != nil {
		return err
	}
	if !next.IsReady() {
		return nil // the request first
	}
	if err := next.Get(ctx, &s.Head); err != nil {
		return err
	}
	s.look(ctx)
	return nil
}

// look asks the chain about everything pending and settles, or pushes again, as post.AfterLook decides.
func (s *sender) look(ctx workflow.Context) {
	in := FollowInput{From: s.From}
	for _, p := range s.Pending {
		in.Messages = append(in.Messages, p.Message)
	}
	var chain post.Sender
	err := workflow.ExecuteActivity(policyChainRead.apply(ctx, 0, "pending messages"), ActivityFollowMessages, in).Get(ctx, &chain)
	if err != nil || len(chain.Looks) != len(s.Pending) {
		workflow.GetLogger(ctx).Error("pending messages could not be followed", "from", s.From, "error", err)
		return
	}
	s.Head = max(s.Head, chain.Head)
	pending := s.Pending
	s.Pending = nil
	for i, sent := range pending {
		settled, again, taken := post.AfterLook(sent, chain.Nonce, chain.Looks[i], s.Head)
		sent.Taken = taken
		switch {
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
	s.Done = slices.DeleteFunc(s.Done, func(d Done) bool { return s.Head > d.Sent.Request.Expires+keepDone })
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
	s.Done = append(s.Done, Done{Sent: sent, Settled: settled})
	s.answer(ctx, request, settled)
}

// answer signals the outcome. A workflow that is gone needs none.
func (s *sender) answer(ctx workflow.Context, request post.MessageRequest, settled post.MessageSettled) {
	settled.Lost = request.Lost
	err := workflow.SignalExternalWorkflow(ctx, request.ReplyTo, "", SignalMessageSettled, settled).Get(ctx, nil)
	if err != nil {
		workflow.GetLogger(ctx).Warn("nobody waits for a message's outcome", "for", request.ID, "outcome", string(settled.Outcome), "error", err)
	}
}

// reason is an activity's error in one line, without the SDK's frame around it.
func reason(err error) string { return plain(err).Error() }
