package workflows

import (
	"bytes"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// issueAtOnce messages are signed by one activity at most: with their proofs they are 720 KB of its result, of 2 MiB.
const issueAtOnce = 8

// issues is whether a sender has a message priced, given its nonce and signed in one step, which may wait for the message's epoch. What began
// before that goes on as it did, as with pricesOf.
func issues(ctx workflow.Context, request post.MessageRequest) bool {
	return pricesOf(ctx, request) && workflow.GetVersion(ctx, "issue", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// await has a new message wait to be signed. What its epoch leaves time for is done now: estimating it, which takes longer than all the rest.
func (s *sender) await(ctx workflow.Context, request post.MessageRequest) {
	waits := post.Waiting{Request: request}
	at := slices.IndexFunc(s.Waiting, func(w post.Waiting) bool { return w.Request.ID == request.ID })
	if at >= 0 && bytes.Equal(s.Waiting[at].Request.Params, request.Params) {
		s.Waiting[at].Request = request // asked once more
		return
	}
	if request.NotBefore > 0 {
		var quoted Quoted
		err := workflow.ExecuteActivity(policyQuote.apply(ctx, 0, request.ID), ActivityQuoteMessage, request).Get(ctx, &quoted)
		switch {
		case err == nil:
			s.Head, waits.Quote = max(s.Head, quoted.Head), &quoted.Quote
		case isTooLarge(err):
			settled := post.Sent{Request: request}.Settle(post.OutcomeRefused, "estimating it: "+reason(err))
			settled.TooLarge = true
			s.settle(ctx, post.Sent{Request: request}, settled)
			s.unwait(request.ID)
			return
		default: // the next tipset may say something else: it is estimated again when it is signed
			workflow.GetLogger(ctx).Info("a message could not be estimated before its time", "for", request.ID, "error", err)
		}
	}
	s.unwait(request.ID)
	s.Waiting = append(s.Waiting, waits)
}

// unwait takes a request out of those that wait to be signed.
func (s *sender) unwait(id string) {
	s.Waiting = slices.DeleteFunc(s.Waiting, func(w post.Waiting) bool { return w.Request.ID == id })
}

// issueWaiting has messages signed as soon as they may be sent, and pushes them. A request that comes before goes first: it may belong to them.
func (s *sender) issueWaiting(ctx workflow.Context) error {
	next, notBefore := post.NextToIssue(s.Waiting, issueAtOnce)
	var wanted []Wanted
	for _, i := range next {
		w := s.Waiting[i]
		wanted = append(wanted, Wanted{Request: w.Request, Quote: w.Quote, ShortOf: s.shortOf(w.Request), Check: w.Request.NotBefore > 0})
	}
	waiting, stop := workflow.WithCancel(ctx)
	defer stop()
	future := s.issue(waiting, wanted)
	if notBefore > s.Head {
		if err := workflow.Await(ctx, func() bool { return future.IsReady() || s.requests.Len() > 0 }); err != nil {
			return err
		}
		if !future.IsReady() {
			return nil
		}
	}
	var issued Issued
	err := future.Get(ctx, &issued)
	if temporal.IsCanceledError(err) {
		return err
	}
	followed := len(s.Pending) > 0
	s.Head = max(s.Head, issued.Head)
	if err != nil || !issued.Early {
		for _, w := range wanted {
			s.unwait(w.Request.ID)
		}
		s.dispatch(ctx, wanted, issued, err, nil)
	}
	if followed { // what was on its way is not kept waiting
		s.look(ctx)
	}
	return nil
}

// issueNow has one message signed and pushes it: in the place of an old one, if one is given.
func (s *sender) issueNow(ctx workflow.Context, request post.MessageRequest, old *post.Sent) {
	wanted := Wanted{Request: request, ShortOf: s.shortOf(request)}
	wanted.Request.NotBefore = 0
	if old != nil {
		wanted.At = &post.Held{Nonce: old.Nonce, Gas: old.Gas}
	}
	var issued Issued
	err := s.issue(ctx, []Wanted{wanted}).Get(ctx, &issued)
	s.Head = max(s.Head, issued.Head)
	s.dispatch(ctx, []Wanted{{Request: request}}, issued, err, old)
}

// issue begins to have messages signed.
func (s *sender) issue(ctx workflow.Context, wanted []Wanted) workflow.Future {
	first := wanted[0].Request
	within := s.within(first)
	for _, w := range wanted[1:] {
		within = max(within, s.within(w.Request))
	}
	in := IssueInput{From: s.From, NotBefore: first.NotBefore, EpochDuration: first.EpochDuration, Held: s.held(), Wanted: wanted}
	return workflow.ExecuteActivity(policyIssue.apply(ctx, within, first.ID), ActivityIssueMessages, in)
}

// dispatch pushes what was signed, all at once, and answers who asked for the rest.
func (s *sender) dispatch(ctx workflow.Context, wanted []Wanted, issued Issued, err error, old *post.Sent) {
	var signed []post.Sent
	var pushes []workflow.Future
	for i, w := range wanted {
		if err != nil || i >= len(issued.Messages) || issued.Messages[i].Refused != "" {
			continue
		}
		m := issued.Messages[i]
		sent := post.Sent{
			Request: w.Request, Nonce: m.Nonce, Message: m.Signed.Message, Signed: m.Signed.Bytes, Pushed: s.Head, First: s.Head, Offered: s.Head,
			Gas: m.Gas, Before: m.Before,
		}
		switch {
		case m.Adopted:
			workflow.GetLogger(ctx).Info("a message that was sent already is followed", "message", sent.Message, "for", w.Request.ID)
		case old != nil && old.Nonce == sent.Nonce:
			sent.Before = old.CIDs()
		}
		signed, pushes = append(signed, sent), append(pushes, s.startPush(ctx, sent))
	}
	for i, sent := range signed {
		s.hasPushed(ctx, sent, pushes[i].Get(ctx, nil))
	}
	for i, w := range wanted {
		sent, why := post.Sent{Request: w.Request}, IssuedMessage{}
		switch {
		case err != nil:
			why = IssuedMessage{Refused: "preparing it: " + reason(err), TooLarge: isTooLarge(err)}
		case i >= len(issued.Messages):
			why.Refused = "it was not prepared"
		default:
			why = issued.Messages[i]
		}
		if why.Refused == "" {
			continue
		}
		settled := sent.Settle(post.OutcomeRefused, why.Refused)
		settled.TooLarge, settled.Outdated = why.TooLarge, why.Outdated
		s.settle(ctx, sent, settled)
		s.abandon(old, w.Request)
	}
}
