package workflows

import (
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
	posted     verdict = iota
	proveAgain         // the chain's challenge is another one now
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
func (d *deadline) submit(ctx, open workflow.Context, p *partition, proof post.Proof) (verdict, error) {
	if err := d.awaitEpoch(open, d.Open+d.settings.SubmitConfidence); err != nil {
		return posted, err
	}
	for {
		message, err := d.build(open, p, proof)
		var application *temporal.ApplicationError
		switch {
		case errors.As(err, &application) && application.Type() == ErrorRandomnessChanged:
			return proveAgain, nil
		case temporal.IsCanceledError(err): // which does not say what the node answered so far
			p.Reason = "its message was still being built then; did the node answer?"
			return posted, err
		case err != nil:
			p.Reason = fmt.Sprintf("building the message: %v", plain(err))
			return posted, err
		case message.Posted:
			p.State, p.Reason = post.StatePosted, "the chain had this post already"
			d.changed()
			return posted, nil
		}
		// Counted over all of the partition's proofs: a message of another proof is another message to the sender.
		p.built++
		request := post.MessageRequest{
			ID: fmt.Sprintf("%s/p%d/%d", d.WorkflowID(), p.Index, p.built), ReplyTo: d.WorkflowID(),
			From: d.sender, To: message.To, Method: message.Method, Params: message.Params, Expires: d.Close,
			EpochDuration: d.settings.EpochDuration, Fees: d.settings.Fees,
		}
		done, err := d.send(ctx, p, request)
		if done || err != nil {
			return posted, err
		}
		// Later the chain may say something else; soon at first, and not at every epoch for ever.
		if err := sleep(open, time.Duration(min(p.built, 5))*d.settings.EpochDuration, "then build the message anew"); err != nil {
			return posted, err
		}
	}
}

// build makes the message's parameters. The commit randomness is the chain's of now: it moves in reorgs.
func (d *deadline) build(ctx workflow.Context, p *partition, proof post.Proof) (BuiltPost, error) {
	var message BuiltPost
	err := d.run(policyChainRead.apply(ctx, d.timeToRead(ctx), p.summary()), ActivityBuildPost, &message, BuildInput{
		Deadline: d.Deadline, Partitions: p.job.Partitions, Randomness: p.job.Randomness, Proof: proof, Skipped: p.Skipped,
	})
	return message, err
}

// send has the sender get a message onto the chain and stays with it until it is deep enough (true) or has failed (false).
// A message that a reorg dropped is given to the sender once more, under the same ID: it pushes the same bytes again.
func (d *deadline) send(ctx workflow.Context, p *partition, request post.MessageRequest) (bool, error) {
	for ; ; request.Lost++ {
		settled, err := d.request(ctx, p, request)
		if err != nil {
			return false, err
		}
		if settled.Outcome != post.OutcomeLanded {
			p.State, p.Reason = post.StateSubmitting, fmt.Sprintf("message %s %s: %s", settled.Message, settled.Outcome, settled.Reason)
			d.changed()
			if settled.Outcome == post.OutcomeExpired {
				return false, errors.New(p.Reason)
			}
			return false, nil
		}
		p.State, p.Message, p.Landed = post.StateLanded, settled.Message, settled.Landed
		d.changed()
		if err := d.awaitEpoch(ctx, settled.Landed+d.settings.Confidence); err != nil {
			return false, err
		}
		var receipt Receipt
		if err := d.run(policyChainRead.apply(ctx, 0, p.summary()), ActivityConfirmMessage, &receipt, ConfirmInput{Message: settled.Message}); err != nil {
			return false, err
		}
		switch {
		case receipt.Found && receipt.ExitCode == 0:
			p.State, p.Landed, p.Reason = post.StatePosted, receipt.Epoch, ""
			d.changed()
			return true, nil
		case receipt.Found:
			p.State, p.Reason = post.StateSubmitting, fmt.Sprintf("message %s failed on the canonical chain with exit code %d", receipt.Message, receipt.ExitCode)
			d.changed()
			return false, nil
		case d.epoch(ctx) >= d.Close:
			return false, fmt.Errorf("message %s was dropped by a reorg and the deadline is closed", settled.Message)
		}
		p.State, p.Reason = post.StateSubmitting, fmt.Sprintf("message %s was dropped by a reorg; sent again", settled.Message)
		d.changed()
	}
}

// request hands a message to the sender's workflow and waits for its answer, which comes at Expires at the latest while that runs.
// The answer's name carries how often the message was lost, so that an old answer is not taken for a new one.
func (d *deadline) request(ctx workflow.Context, p *partition, request post.MessageRequest) (post.MessageSettled, error) {
	key := request.Key()
	if p.Asked == 0 {
		p.Asked = d.epoch(ctx)
		if showsAsked(ctx) {
			d.changed()
		}
	}
	for {
		if err := d.run(policySignal.apply(ctx, 0, p.summary()), ActivityRequestMessage, nil, request); err != nil {
			return post.MessageSettled{}, err
		}
		wait, last := post.Until(0, askAgainAfter, d.settings.EpochDuration), d.epoch(ctx)+askAgainAfter >= d.Close
		if last {
			wait = post.Until(d.epoch(ctx), d.Close+d.settings.Confidence, d.settings.EpochDuration) + time.Minute
		}
		answered, err := awaitFor(ctx, wait, "for the sender's answer", func() bool { return d.settled[key] != nil })
		d.wake(ctx)
		switch {
		case err != nil:
			return post.MessageSettled{}, err
		case answered:
			return *d.settled[key], nil
		case last:
			return post.MessageSettled{}, fmt.Errorf("the sender %s did not answer until %v after Close; is its workflow running?", request.From, time.Minute)
		}
	}
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
