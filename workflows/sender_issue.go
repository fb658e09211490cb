package workflows

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// issueAtOnce messages are signed by one activity at most. With the proofs of the largest that a pool takes its result is 930 KB, of 2 MiB.
const issueAtOnce = 8

// issues is whether a message is priced, given its nonce and signed in one step, which may wait for the message's epoch. A run that began before
// there was that goes on as it did, as in pricesOf; but nobody asked it to wait then.
func issues(ctx workflow.Context, request post.MessageRequest) bool {
	return request.NotBefore > 0 || pricesOf(ctx, request) && workflow.GetVersion(ctx, "issue", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// await has a new message wait to be signed. One that must wait is estimated meanwhile, which takes longer than all the rest.
func (s *sender) await(ctx workflow.Context, request post.MessageRequest) {
	at := slices.IndexFunc(s.Waiting, func(w post.Waiting) bool { return w.Request.ID == request.ID })
	if at >= 0 && bytes.Equal(s.Waiting[at].Request.Params, request.Params) {
		s.Waiting[at].Request = request // asked once more
		return
	}
	s.unwait(request.ID)
	s.Waiting = append(s.Waiting, post.Waiting{Request: request})
	if request.NotBefore > s.Head {
		workflow.Go(ctx, func(ctx workflow.Context) { s.quote(ctx, request) })
	}
}

// quote estimates a message that waits. One that cannot be estimated is when it is signed: the next tipset may say something else.
func (s *sender) quote(ctx workflow.Context, request post.MessageRequest) {
	var quoted Quoted
	if err := workflow.ExecuteActivity(policyQuote.apply(ctx, 0, request.ID), ActivityQuoteMessage, request).Get(ctx, &quoted); err != nil {
		workflow.GetLogger(ctx).Info("a message could not be estimated before its time", "for", request.ID, "error", err)
		return
	}
	for i, w := range s.Waiting {
		if w.Request.ID == request.ID && bytes.Equal(w.Request.Params, request.Params) {
			s.Waiting[i].Quote = &quoted.Quote
		}
	}
}

// unwait takes a request out of those that wait to be signed, if it is there.
func (s *sender) unwait(id string) (was post.Waiting) {
	s.Waiting = slices.DeleteFunc(s.Waiting, func(w post.Waiting) bool {
		if w.Request.ID == id {
			was = w
		}
		return w.Request.ID == id
	})
	return was
}

// later has the node asked again, at the next tipset, about a message about which it gave no answer.
func (s *sender) later(ctx workflow.Context, id, why string) {
	workflow.GetLogger(ctx).Warn("the node does not answer about a message, and is asked again", "for", id, "error", why)
	for i, w := range s.Waiting {
		if w.Request.ID == id {
			s.Waiting[i].Silent, s.Waiting[i].Again, s.Waiting[i].Why = w.Silent+1, s.Head+1, why
		}
	}
}

// issueWaiting has messages signed as soon as they may be sent, and pushes them.
func (s *sender) issueWaiting(ctx workflow.Context) error {
	var wanted []Wanted
	next, from := post.NextToIssue(s.Waiting, issueAtOnce, s.Head)
	for _, i := range next {
		wanted = append(wanted, s.wanted(s.Waiting[i]))
	}
	waiting, stop := workflow.WithCancel(ctx)
	defer stop()
	future := s.issue(waiting, wanted, from)
	silent := s.Waiting[next[0]].Silent > 0 // it may be so again, for long
	for (silent || from > s.Head) && !future.IsReady() {
		if err := workflow.Await(ctx, func() bool { return future.IsReady() || s.requests.Len() > 0 }); err != nil {
			return err
		}
		s.drain()
		first := func(r post.MessageRequest) bool { return silent || r.NotBefore < from }
		if !future.IsReady() && slices.ContainsFunc(s.Queue, first) {
			return nil // what waits is asked for again
		}
	}
	var issued Issued
	err := future.Get(ctx, &issued)
	if temporal.IsCanceledError(err) {
		return err
	}
	followed := len(s.Pending) > 0
	s.Head = laterHead(s.Head, issued.Head)
	if err != nil || !issued.Early {
		s.dispatch(ctx, wanted, issued, err, nil)
	}
	if _, from = post.NextToIssue(s.Waiting, issueAtOnce, s.Head); followed && (len(s.Waiting) == 0 || from > s.Head) {
		s.look(ctx) // what was on its way is not kept waiting
	}
	return nil
}

// wanted is a message that waits as it is asked for. An estimate knows nothing of what was sent after it was made: beside another message of
// the same deadline it is made again, and sees that one in the pool.
func (s *sender) wanted(w post.Waiting) Wanted {
	out := Wanted{Request: w.Request, Quote: w.Quote, ShortOf: s.shortOf(w.Request), Check: w.Request.NotBefore > 0 || w.Silent > 0}
	if slices.ContainsFunc(s.Pending, func(p post.Sent) bool { return p.Request.ReplyTo == w.Request.ReplyTo }) {
		out.Quote = nil
	}
	return out
}

// issueNow has one message signed and pushes it: in the place of an old one, if one is given.
func (s *sender) issueNow(ctx workflow.Context, request post.MessageRequest, old *post.Sent) {
	wanted := Wanted{Request: request, ShortOf: s.shortOf(request)}
	wanted.Request.NotBefore = 0
	if old != nil {
		wanted.At = &post.Held{Nonce: old.Nonce, Gas: old.Gas}
	}
	var issued Issued
	err := s.issue(ctx, []Wanted{wanted}, 0).Get(ctx, &issued)
	s.Head = laterHead(s.Head, issued.Head)
	for i, m := range issued.Messages {
		if m.Later { // its deadline builds it anew, and the old one's nonce is free until then
			issued.Messages[i] = IssuedMessage{Refused: "preparing it: " + m.Why}
		}
	}
	s.dispatch(ctx, []Wanted{wanted}, issued, err, old)
}

// issue begins to have messages signed, when the head is at an epoch.
func (s *sender) issue(ctx workflow.Context, wanted []Wanted, from abi.ChainEpoch) workflow.Future {
	within := s.within(wanted[0].Request)
	if from <= s.Head {
		from = 0 // it was there, and a reorg that takes it back is no reason to wait
	}
	for _, w := range wanted {
		within, from = max(within, s.within(w.Request)), max(from, w.Request.NotBefore)
	}
	in := IssueInput{From: s.From, NotBefore: from, EpochDuration: wanted[0].Request.EpochDuration, Held: s.held(), Wanted: wanted}
	return workflow.ExecuteActivity(policyIssue.apply(ctx, within, fmt.Sprintf("%d of them, %s first", len(wanted), wanted[0].Request.ID)), ActivityIssueMessages, in)
}

// dispatch pushes what was signed, all at once, and answers who asked for what was refused. What is neither goes on waiting.
func (s *sender) dispatch(ctx workflow.Context, wanted []Wanted, issued Issued, err error, old *post.Sent) {
	type push struct {
		sent post.Sent
		done workflow.Future
	}
	var pushes []push
	var refused []post.MessageSettled
	for i, w := range wanted {
		m := IssuedMessage{}
		switch {
		case err != nil:
			m = IssuedMessage{Refused: "preparing it: " + reason(err), TooLarge: isTooLarge(err)}
		case i >= len(issued.Messages):
			continue
		case issued.Messages[i].Later && w.Request.TooLate(s.Head) == "":
			s.later(ctx, w.Request.ID, issued.Messages[i].Why)
			continue
		case issued.Messages[i].Later:
			m.Refused = w.Request.TooLate(s.Head)
		default:
			m = issued.Messages[i]
		}
		before := s.unwait(w.Request.ID)
		sent := post.Sent{
			Request: w.Request, Nonce: m.Nonce, Message: m.Signed.Message, Signed: m.Signed.Bytes, Pushed: s.Head, First: s.Head, Offered: s.Head,
			Gas: m.Gas, Before: m.Before,
		}
		switch {
		case m.Refused != "":
			settled := sent.Settle(post.OutcomeRefused, m.Refused)
			if before.Why != "" {
				settled.Reason += "; before that the node did not answer: " + before.Why
			}
			settled.TooLarge, settled.Outdated = m.TooLarge, m.Outdated
			refused = append(refused, settled)
			continue
		case m.Adopted:
			workflow.GetLogger(ctx).Info("a message that was sent already is followed", "message", sent.Message, "for", w.Request.ID)
		case old != nil && old.Nonce == sent.Nonce:
			sent.Before = old.CIDs()
		}
		pushes = append(pushes, push{sent, s.startPush(ctx, sent)})
	}
	for _, settled := range refused {
		at := slices.IndexFunc(wanted, func(w Wanted) bool { return w.Request.ID == settled.ID })
		s.settle(ctx, post.Sent{Request: wanted[at].Request}, settled)
		s.abandon(old, wanted[at].Request)
	}
	for _, p := range pushes {
		s.hasPushed(ctx, p.sent, p.done.Get(ctx, nil))
	}
}
