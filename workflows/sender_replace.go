package workflows

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// replace has a message that does not land replaced at its nonce by one that says the same and pays more. It is recorded before it is pushed,
// as any other; both are followed from then on, and at most one of them lands.
func (s *sender) replace(ctx workflow.Context, sent *post.Sent) {
	logger := workflow.GetLogger(ctx)
	in := RepriceInput{Request: sent.Request, Signed: Signed{Message: sent.Message, Bytes: sent.Signed}, Gas: sent.Gas, Held: s.held()}
	in.Request.Params = nil // they are in the signed message
	var repriced Repriced
	err := workflow.ExecuteActivity(policyChainRead.apply(ctx, s.within(sent.Request), sent.Request.ID), ActivityRepriceMessage, in).Get(ctx, &repriced)
	if err != nil {
		repriced.Stuck = reason(err)
	}
	var signed Signed
	if repriced.Stuck == "" {
		if signed, err = s.sign(ctx, sent.Request, SignInput{Message: repriced.Message, Nonce: sent.Nonce}); err != nil {
			repriced.Stuck = reason(err)
		}
	}
	if repriced.Stuck != "" {
		s.stuck(ctx, sent, repriced.Stuck)
		return
	}
	before := *sent
	*sent = sent.Replace(signed.Message, signed.Bytes, repriced.Gas, s.Head)
	sent.Pushed = s.Head
	logger.Info("a message that did not land is replaced by one that pays more", "for", sent.Request.ID, "nonce", sent.Nonce,
		"message", sent.Message, "instead_of", before.Message, "premium", string(sent.Gas.Premium), "fee_cap", string(sent.Gas.FeeCap))
	err = s.pushOnce(ctx, *sent)
	var application *temporal.ApplicationError
	switch {
	case err == nil:
	case errors.As(err, &application) && application.Type() == ErrorRefused && !strings.Contains(err.Error(), "increase GasPremium"):
		// No pool has it, but who knows: it is followed, and what was there before is what is pushed again.
		before.Earlier = append(slices.Clone(before.Earlier), sent.Message)
		*sent = before
		s.stuck(ctx, sent, "pushing it: "+reason(err))
	default:
		logger.Warn("a replacement could not be pushed and will be again", "message", sent.Message, "for", sent.Request.ID, "error", err)
	}
}

// stuck notes that a message stays as it is, and tells who asked for it, once.
func (s *sender) stuck(ctx workflow.Context, sent *post.Sent, why string) {
	news := sent.Stuck == ""
	sent.Stuck, sent.Offered = why, s.Head // so that it is asked about again after the same time, and not at every tipset
	if !news {
		return
	}
	workflow.GetLogger(ctx).Error("a message does not land and is not replaced", "for", sent.Request.ID, "nonce", sent.Nonce, "message", sent.Message, "reason", why)
	if sent.Request.ReplyTo == "" {
		return
	}
	waits := post.MessageWaits{ID: sent.Request.ID, Message: sent.Message, Reason: why}
	if err := workflow.SignalExternalWorkflow(ctx, sent.Request.ReplyTo, "", SignalMessageWaits, waits).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("nobody waits for a message", "for", sent.Request.ID, "error", err)
	}
}

// supersede sends a message in the place of an earlier one, which must not land any more, unless it has landed.
func (s *sender) supersede(ctx workflow.Context, request post.MessageRequest) {
	s.unwait(request.Replaces)
	old, found := s.forget(request.Replaces)
	switch {
	case !found && issues(ctx, request):
		s.await(ctx, request)
		return
	case !found:
		s.send(ctx, request, nil)
		return
	}
	chain, err := s.ask(ctx, []post.Sent{old}, s.within(request))
	if err != nil {
		settled := post.Sent{Request: request}.Settle(post.OutcomeRefused, "looking for what it replaces: "+reason(err))
		s.settle(ctx, post.Sent{Request: request}, settled)
		s.abandon(&old, request)
		return
	}
	s.Head = laterHead(s.Head, chain.Head)
	look := chain.Looks[0]
	switch {
	case look.Found && look.ExitCode == 0:
		old.Request = request
		settled, _, _ := post.AfterLook(old, chain.Nonce, look, s.Head)
		s.settle(ctx, old, *settled)
	case look.Found, chain.Nonce > old.Nonce:
		s.send(ctx, request, nil) // its nonce is used
	default:
		s.send(ctx, request, &old)
	}
}

// forget takes the message of a request out of those that wait or are settled, if it may still land.
func (s *sender) forget(id string) (old post.Sent, found bool) {
	for i, p := range s.Pending {
		if p.Request.ID == id {
			s.Pending = slices.Delete(s.Pending, i, i+1)
			return p, true
		}
	}
	for i, d := range s.Done {
		if (d.Sent.Request.ID == id || d.Sent.Unwanted == id) && d.Settled.ExitCode == 0 && d.Settled.Outcome != post.OutcomeFailed {
			s.Done = slices.Delete(s.Done, i, i+1)
			return d.Sent, true
		}
	}
	return post.Sent{}, false
}

// abandon notes that what should have taken the place of a message could not be sent. That is not sent again, and whatever is sent next takes
// its nonce.
func (s *sender) abandon(old *post.Sent, request post.MessageRequest) {
	if old == nil {
		return
	}
	old.Unwanted, old.Request.Params = request.ID, nil
	s.Done = append(s.Done, Done{Sent: *old, Settled: old.Settle(post.OutcomeExpired, "it is to be replaced by "+request.ID)})
}

// wait adds to the messages that wait, which are in the order of their nonces.
func (s *sender) wait(sent post.Sent) {
	s.Pending = append(s.Pending, sent)
	slices.SortFunc(s.Pending, func(a, b post.Sent) int { return cmp.Compare(a.Nonce, b.Nonce) })
}

// fillAfter epochs, a nonce that is missing below a message that waits is filled. Until then it may be on its way to this node.
const fillAfter abi.ChainEpoch = 3

// fillAtOnce gaps are filled at a tipset, the lowest: what waits to be sent does not wait for hundreds of them.
const fillAtOnce = 8

// fill closes gaps below messages that wait, at the cost of an empty message to the sender itself: what was to have those nonces has
// expired, or was lost. Nothing behind a gap can land.
func (s *sender) fill(ctx workflow.Context, chainNonce uint64) {
	gaps := post.Gaps(s.Pending, chainNonce)
	for _, nonce := range gaps[:min(len(gaps), fillAtOnce)] {
		at := slices.IndexFunc(s.Pending, func(p post.Sent) bool { return p.Nonce > nonce })
		behind := s.Pending[at]
		if s.refill(ctx, nonce) {
			continue
		}
		if behind.Gas == (post.Gas{}) || s.Head-behind.First < fillAfter {
			continue
		}
		request := post.MessageRequest{
			ID: fmt.Sprintf("gap-%d/%d", nonce, s.Head), From: s.From, To: s.From, Expires: behind.Request.Expires,
			EpochDuration: behind.Request.EpochDuration, Fees: behind.Request.Fees,
		}
		in := PrepareInput{Request: request, Priced: true, Held: s.held(), At: &post.Held{Nonce: nonce}, Fill: true}
		for _, h := range in.Held {
			if h.Free && h.Nonce == nonce {
				in.At = &h
			}
		}
		var prepared Prepared
		err := workflow.ExecuteActivity(policyChainRead.apply(ctx, s.within(request), request.ID), ActivityPrepareMessage, in).Get(ctx, &prepared)
		if err != nil || prepared.Filled || prepared.Nonce != nonce {
			continue
		}
		signed, err := s.sign(ctx, request, SignInput{Message: prepared.Message, Nonce: nonce})
		if err != nil {
			workflow.GetLogger(ctx).Error("a gap in the sender's nonces could not be filled", "from", s.From, "nonce", nonce, "error", err)
			continue
		}
		workflow.GetLogger(ctx).Warn("a gap in the sender's nonces is filled, so that what is behind it lands", "from", s.From, "nonce", nonce, "message", signed.Message)
		s.push(ctx, post.Sent{
			Request: request, Nonce: nonce, Message: signed.Message, Signed: signed.Bytes, First: s.Head, Offered: s.Head, Gas: prepared.Gas,
		})
	}
}

// refill pushes the message again that landed with a nonce which the chain does not have any more: a reorg dropped it, and whoever asked for it
// has not noticed yet. Its nonce is not for another message. It says whether there is one, worth pushing.
func (s *sender) refill(ctx workflow.Context, nonce uint64) bool {
	at := slices.IndexFunc(s.Done, func(d Done) bool {
		return d.Sent.Nonce == nonce && d.Settled.Outcome == post.OutcomeLanded && len(d.Sent.Signed) > 0 && d.Sent.Request.TooLate(s.Head) == ""
	})
	if at < 0 || workflow.GetVersion(ctx, "refill", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return false
	}
	done := s.Done[at]
	err := s.pushOnce(ctx, done.Sent)
	workflow.GetLogger(ctx).Warn("a message that a reorg dropped is pushed again", "for", done.Sent.Request.ID, "nonce", nonce, "message", done.Settled.Message, "error", err)
	var application *temporal.ApplicationError
	return !errors.As(err, &application) || application.Type() != ErrorRefused
}

// hearWaits puts on the board why a message does not land, for those who are told that it does not.
func (d *deadline) hearWaits(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalMessageWaits)
	for {
		var waits post.MessageWaits
		if !channel.Receive(ctx, &waits) {
			return
		}
		for _, b := range d.batches {
			mine := strings.HasPrefix(waits.ID, fmt.Sprintf("%s/p%d/", d.WorkflowID(), b.first()))
			if mine && b.State != post.StateLanded && b.State != post.StatePosted {
				b.Reason = fmt.Sprintf("message %s does not land and is not replaced: %s", waits.Message, waits.Reason)
				d.changed()
			}
		}
		d.wake(ctx)
	}
}
