package workflows

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// LoadInput asks for a deadline and who sends its posts.
type LoadInput struct {
	Deadline post.Deadline `json:"deadline"`
	Sender   string        `json:"sender,omitempty"` // empty: chosen among the miner's addresses
	Fees     post.Fees     `json:"fees,omitzero"`    // what a post may cost, which a chosen sender can pay; zero: the worker address is the sender
}

// AwaitInput asks for an epoch.
type AwaitInput struct {
	Target        abi.ChainEpoch `json:"target"`
	EpochDuration time.Duration  `json:"epoch_duration"`
}

// ConfirmInput asks what the canonical chain says of a message now.
type ConfirmInput struct {
	Message string `json:"message"`
}

// verdict is what became of a proof.
type verdict int

const (
	posted     verdict = iota // or its partitions go on alone
	proveAgain                // the chain's challenge is another one now, or an operator wants the job run again
	readAgain                 // the chain wants other sectors proven, or will not take this proof
)

// sending is what became of a message.
type sending int

const (
	sent    sending = iota // it is on the chain, deep enough
	setBack                // it came to nothing: see post.AfterMessage
	dropped                // it is not on the chain any more, or a reorg changed what it must say before it was
)

// timeToProve is how long a proof may take if its message is still to be sent in time.
func (d *deadline) timeToProve(ctx workflow.Context) time.Duration {
	return post.Until(d.epoch(ctx), d.Close-d.settings.SubmitReserve, d.settings.EpochDuration)
}

// timeToRead is how long the chain or the stores may take to answer before the deadline is lost anyway. It ends an epoch before
// Close does, so that the result has the reason and not just the end.
func (d *deadline) timeToRead(ctx workflow.Context) time.Duration {
	return max(post.Until(d.epoch(ctx), d.Close-1, d.settings.EpochDuration), time.Second)
}

// submit gets a proof onto the chain: build the message with the randomness of now, send it, follow it, and again if it
// failed or was lost, until it is deep enough. An error means that the deadline closed first.
func (d *deadline) submit(ctx, open workflow.Context, b *batch, proof post.Proof) (verdict, error) {
	from := d.Open + d.settings.SubmitConfidence
	if d.readies(ctx) {
		from = min(from, d.Open+1) // at Open itself an estimate may be of the epoch before
	}
	if err := d.awaitEpoch(open, from); err != nil {
		return posted, err
	}
	for {
		message, err := d.build(open, b, proof)
		switch built := builtAs(err); {
		case built == ErrorRandomnessChanged:
			return proveAgain, nil
		case built == ErrorSectorsChanged:
			b.Reason = fmt.Sprintf("the chain wants other sectors proven now: %v", plain(err))
			return readAgain, nil
		case temporal.IsCanceledError(err): // which does not say what the node answered so far
			text := "its message was still being built then; did the node answer?"
			if b.Reason != "" {
				text += " Before that: " + b.Reason
			}
			b.Reason = text
			return posted, err
		case err != nil:
			b.Reason = fmt.Sprintf("building the message: %v", plain(err))
			return posted, err
		case message.Posted:
			b.State, b.Reason = post.StatePosted, "the chain had this post already"
			d.changed()
			if !staysWith(open) || d.epoch(open) >= d.Close-lastStay {
				return posted, nil
			}
			if stays, err := d.stays(open, b); err != nil || stays {
				return posted, nil
			}
			continue
		case len(message.PostedOf) > 0:
			d.split(b, message.PostedOf, "the chain had a post of "+post.PartitionNames(message.PostedOf)+" already")
			return posted, nil
		}
		request := d.requestFor(b, message)
		became, settled, err := d.send(ctx, open, b, request, proof)
		for became == dropped && err == nil && !watches(ctx) {
			request.Lost++
			became, settled, err = d.send(ctx, open, b, request, proof)
		}
		switch {
		case err != nil || became == sent:
			return posted, err
		case became == dropped:
			b.earlier = &request
			continue // at once: what is left of the window is precious
		}
		if verdict, over, err := d.mend(open, b, settled); over || err != nil {
			return verdict, err
		}
	}
}

// readies is whether a message is built and estimated before it may be sent, so that then it only has to be signed. Deadlines from before that
// build it when it may be sent, and so do those whose fees are the node's to choose: their messages are sent step by step.
func (d *deadline) readies(ctx workflow.Context) bool {
	return d.settings.Fees != (post.Fees{}) && workflow.GetVersion(ctx, "ready early", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// staysWith is whether a post that the chain turns out to have when its message is built is watched until it is deep, as one is that it has from
// the start. Deadlines from before that believe it at once.
func staysWith(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "stays", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// lastStay epochs before Close nothing can be done about a post that is dropped any more.
const lastStay abi.ChainEpoch = 3

// builtAs is the type of the error that building a message ended with, if it says what to do.
func builtAs(err error) string {
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		return application.Type()
	}
	return ""
}

// requestFor asks the sender for a message. One that says what an earlier one said, which a reorg dropped, is that one again; one that says
// something else takes its place.
func (d *deadline) requestFor(b *batch, message BuiltPost) post.MessageRequest {
	if e := b.earlier; e != nil && e.Method == message.Method && e.To == message.To && bytes.Equal(e.Params, message.Params) {
		again := *e
		again.Lost++
		again.NotBefore = 0
		return again
	}
	// Counted over all of the batch's proofs: a message of another proof is another message to the sender.
	b.built++
	b.sender = cmp.Or(b.sender, d.sender)
	request := post.MessageRequest{
		ID: fmt.Sprintf("%s/p%d/%d", d.WorkflowID(), b.first(), b.built), ReplyTo: d.WorkflowID(),
		From: b.sender, To: message.To, Method: message.Method, Params: message.Params, Expires: d.Close,
		EpochDuration: d.settings.EpochDuration, Fees: d.settings.Fees,
	}
	if b.earlier != nil {
		request.Replaces = b.earlier.ID
	}
	if from := d.Open + d.settings.SubmitConfidence; d.head < from && d.settings.Fees != (post.Fees{}) {
		request.NotBefore = from
	}
	return request
}

// build makes the message's parameters. The commit randomness is the chain's of now: it moves in reorgs.
func (d *deadline) build(ctx workflow.Context, b *batch, proof post.Proof) (BuiltPost, error) {
	in := BuildInput{Deadline: d.Deadline, Partitions: b.indexes(), Randomness: b.job.Randomness, Proof: proof}
	for _, p := range b.parts {
		in.Sets = append(in.Sets, post.SetDigest(p.wanted.Numbers()))
		if len(b.parts) == 1 {
			in.Skipped = p.skipped
		} else {
			in.SkippedOf = append(in.SkippedOf, p.skippedNumbers())
		}
	}
	var message BuiltPost
	err := d.run(policyChainRead.apply(ctx, d.timeToRead(ctx), b.summary()), ActivityBuildPost, &message, in)
	if message.Head > 0 {
		d.sawHead(ctx, message.Head)
	}
	return message, err
}

// mend decides what follows a message that came to nothing, and waits as long as that says, or until an operator resets the job. Over: another
// message of this proof will not do.
func (d *deadline) mend(ctx workflow.Context, b *batch, settled post.MessageSettled) (next verdict, over bool, err error) {
	b.setbacks++
	remedy := post.Remedy{Pause: abi.ChainEpoch(min(b.built, 5))}
	if mends(ctx) {
		remedy = post.AfterMessage(post.Setback{
			Outcome: settled.Outcome, ExitCode: settled.ExitCode, Reason: settled.Reason, Partitions: len(b.parts), Times: b.setbacks,
			Outdated: settled.Outdated,
		})
	}
	switch {
	case settled.Outcome != post.OutcomeRefused:
		b.earlier = nil // what the chain has it has; a refused one was never sent, and does not concern the one before
	case b.earlier != nil && workflow.GetVersion(ctx, "hear again", workflow.DefaultVersion, 1) != workflow.DefaultVersion:
		delete(d.settled, settled.Key()) // the same is asked for again, under the same name
	}
	switch {
	case remedy.Split:
		d.split(b, nil, "proven with other partitions first; "+b.Reason)
		return posted, true, nil
	case remedy.Prove:
		return readAgain, true, nil
	case remedy.Alert:
		b.State = post.StateFailed
		workflow.GetLogger(ctx).Error("messages come to nothing", "deadline", d.String(), "partitions", b.indexes(), "times", b.setbacks, "reason", b.Reason)
	}
	d.changed()
	if remedy == (post.Remedy{}) {
		return posted, false, nil
	}
	// Later the chain may say something else; soon at first, and not at every epoch for ever.
	reset := func() bool { return b.reset }
	if _, err := awaitFor(ctx, post.Until(0, remedy.Pause, d.settings.EpochDuration), "then build the message anew", reset); err != nil {
		return posted, true, err
	}
	d.wake(ctx)
	if b.reset {
		d.runAgain(b)
		return readAgain, true, nil
	}
	if remedy.Payer && b.earlier == nil {
		if loaded, err := d.read(ctx); err == nil {
			b.sender = loaded.Sender
		}
	}
	return posted, false, nil
}

// mends is whether what follows a message that came to nothing depends on why it did. Deadlines from before that build it anew.
func mends(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "mend", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// send has the sender get a message onto the chain and stays with it until it is deep enough, or has failed, or is there no more.
func (d *deadline) send(ctx, open workflow.Context, b *batch, request post.MessageRequest, proof post.Proof) (sending, post.MessageSettled, error) {
	settled, changed, err := d.request(ctx, open, b, request, proof)
	switch {
	case err != nil:
		return setBack, settled, err
	case changed:
		b.Reason = "a reorg changed what its message must say; another one takes its place"
		d.changed()
		return dropped, settled, nil
	case settled.Outcome != post.OutcomeLanded:
		if b.State != post.StateFailed {
			b.State = post.StateSubmitting
		}
		b.Reason = fmt.Sprintf("message %s %s: %s", settled.Message, settled.Outcome, settled.Reason)
		d.changed()
		if settled.Outcome == post.OutcomeExpired {
			return setBack, settled, errors.New(b.Reason)
		}
		return setBack, settled, nil
	}
	b.State, b.Message, b.Landed = post.StateLanded, settled.Message, settled.Landed
	d.changed()
	return d.confirm(ctx, b, settled)
}

// confirm watches a message that has landed until it is deep enough.
func (d *deadline) confirm(ctx workflow.Context, b *batch, settled post.MessageSettled) (sending, post.MessageSettled, error) {
	watched := watches(ctx)
	looks := []abi.ChainEpoch{settled.Landed + d.settings.Confidence}
	if watched {
		looks = post.LandingLooks(settled.Landed, d.settings.Confidence, d.Close)
	}
	for len(looks) > 0 {
		if err := d.awaitEpoch(ctx, looks[0]); err != nil {
			return setBack, settled, err
		}
		looks = looks[1:]
		var receipt Receipt
		if err := d.run(policyChainRead.apply(ctx, 0, b.summary()), ActivityConfirmMessage, &receipt, ConfirmInput{Message: settled.Message}); err != nil {
			return setBack, settled, err
		}
		switch {
		case receipt.Found && receipt.ExitCode == 0:
			if deep := receipt.Epoch + d.settings.Confidence; watched && len(looks) == 0 && receipt.Epoch > b.Landed && receipt.Epoch < d.Close && deep > d.head {
				looks = []abi.ChainEpoch{deep} // a reorg took it out, and another tipset has it now
			}
			b.Landed = receipt.Epoch
		case receipt.Found:
			b.State, b.Reason = post.StateSubmitting, fmt.Sprintf("message %s failed on the canonical chain with %s", receipt.Message, post.ReadExit(receipt.ExitCode))
			d.changed()
			settled.Outcome, settled.ExitCode, settled.Reason = post.OutcomeFailed, receipt.ExitCode, b.Reason
			return setBack, settled, nil
		case d.epoch(ctx) >= d.Close:
			return setBack, settled, fmt.Errorf("message %s was dropped by a reorg and the deadline is closed", settled.Message)
		default:
			b.State, b.Reason = post.StateSubmitting, fmt.Sprintf("message %s was dropped by a reorg; sent again", settled.Message)
			d.changed()
			return dropped, settled, nil
		}
	}
	b.State, b.Reason = post.StatePosted, ""
	d.changed()
	return sent, settled, nil
}

// watches is whether a message is looked for more than once after it has landed, and is built anew when a reorg has dropped it or while it
// does not land. Deadlines from before that look once and send the same bytes.
func watches(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "watch landing", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// request hands a message to the sender's workflow and waits for its answer, which comes at Expires at the latest while that runs.
// The answer's name carries how often the message was lost, so that an old answer is not taken for a new one. Changed: while there was no
// answer a reorg changed what the message must say, so that it would fail if it landed.
func (d *deadline) request(ctx, open workflow.Context, b *batch, request post.MessageRequest, proof post.Proof) (settled post.MessageSettled, changed bool, err error) {
	key := request.Key()
	if b.Asked == 0 {
		b.Asked = max(d.epoch(ctx), request.NotBefore)
		if showsAsked(ctx) {
			d.changed()
		}
	}
	for {
		if err := d.run(policySignal.apply(ctx, 0, b.summary()), ActivityRequestMessage, nil, request); err != nil {
			return settled, false, err
		}
		patience := askAgainAfter + max(0, request.NotBefore-d.epoch(ctx))
		wait, last := post.Until(0, patience, d.settings.EpochDuration), d.epoch(ctx)+patience >= d.Close
		if last {
			wait = post.Until(d.epoch(ctx), d.Close+d.settings.Confidence, d.settings.EpochDuration) + time.Minute
		}
		answered, err := awaitFor(ctx, wait, "for the sender's answer", func() bool { return d.settled[key] != nil })
		d.wake(ctx)
		switch {
		case err != nil:
			return settled, false, err
		case answered:
			return *d.settled[key], false, nil
		case last:
			return settled, false, fmt.Errorf("the sender %s did not answer until %v after Close; is its workflow running?", request.From, time.Minute)
		case watches(ctx) && d.outdated(open, b, request, proof) && d.settled[key] == nil:
			return settled, true, nil
		}
	}
}

// outdated says whether the chain would refuse a message that has not landed, because a reorg changed the randomness that it carries.
func (d *deadline) outdated(ctx workflow.Context, b *batch, request post.MessageRequest, proof post.Proof) bool {
	message, err := d.build(ctx, b, proof)
	switch builtAs(err) {
	case ErrorRandomnessChanged, ErrorSectorsChanged:
		return true
	}
	return err == nil && !message.Posted && len(message.PostedOf) == 0 && !bytes.Equal(message.Params, request.Params)
}

// showsAsked is whether the board says at once that the sender was asked, and not only when the message has landed: what it has not landed
// for, people are told of. Deadlines from before that go on without.
func showsAsked(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "show asked", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// askAgainAfter epochs without an answer, the sender is asked again: an operator may have ended its workflow, and what it knew. One
// that runs sends once, however often it is asked; a message lands, and is answered, in two or three epochs.
const askAgainAfter abi.ChainEpoch = 5

// hearSender keeps the sender's answers.
func (d *deadline) hearSender(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalMessageSettled)
	for {
		var settled post.MessageSettled
		if !channel.Receive(ctx, &settled) {
			return
		}
		d.settled[settled.Key()] = &settled
		d.wake(ctx)
	}
}
