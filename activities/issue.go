package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// QuoteMessage estimates a message on the head's state, which executes it, before it may be sent.
func (m *Messages) QuoteMessage(ctx context.Context, request post.MessageRequest) (workflows.Quoted, error) {
	fail := func(err error) (workflows.Quoted, error) {
		return workflows.Quoted{}, refusal(fmt.Errorf("estimating the message of %s: %w", request.ID, err))
	}
	message, err := unsigned(request)
	if err != nil {
		return fail(err)
	}
	head, err := m.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	actor, err := m.Node.StateGetActor(ctx, message.From, head.Key())
	if err != nil {
		return fail(err)
	}
	message.Nonce = actor.Nonce
	quote, err := m.quote(ctx, message)
	if err != nil {
		return fail(err)
	}
	return workflows.Quoted{Quote: quote, Head: head.Height}, nil
}

// issueWithin bounds for how long messages are begun: those that are done are to be pushed, and a node that hangs is not asked about all.
const issueWithin = 3 * time.Second

// IssueMessages waits until messages may be sent, prices each, gives it the next nonce and has it signed. It changes nothing anywhere: none
// of them is sent before it is recorded. It is an error, and tried again, only if the node does not answer at all.
func (m *Messages) IssueMessages(ctx context.Context, in workflows.IssueInput) (workflows.Issued, error) {
	fail := func(err error) (workflows.Issued, error) {
		return workflows.Issued{}, refusal(fmt.Errorf("signing messages of %s: %w", in.From, err))
	}
	if in.NotBefore > 0 {
		if head, err := awaitEpoch(ctx, m.Heads, m.Node, in.NotBefore, in.EpochDuration); err != nil || head < in.NotBefore {
			return workflows.Issued{Head: head, Early: true}, err
		}
	}
	from, err := address.NewFromString(in.From)
	if err != nil {
		return fail(err)
	}
	at, err := m.account(ctx, from)
	if err != nil {
		return fail(err)
	}
	if at.head.Height < in.NotBefore { // another node's head, or after a reorg
		return workflows.Issued{}, fmt.Errorf("signing messages of %s: the node's head is at epoch %d, before %d", in.From, at.head.Height, in.NotBefore)
	}
	out := workflows.Issued{Head: at.head.Height}
	batch := issuing{Messages: m, account: at, held: in.Held, truths: m.truthsAt(at.head)}
	for i, began := 0, time.Now(); i < len(in.Wanted) && (i == 0 || time.Since(began) < issueWithin); i++ {
		issued, err := batch.issue(ctx, in.Wanted[i])
		switch {
		case ctx.Err() != nil:
			return workflows.Issued{}, ctx.Err()
		case err != nil && !answered(err):
			issued = workflows.IssuedMessage{Later: true, Why: err.Error()}
		case err != nil:
			issued = workflows.IssuedMessage{Refused: err.Error(), TooLarge: errors.Is(err, post.ErrTooLarge), Outdated: errors.Is(err, errOutdated)}
		}
		out.Messages = append(out.Messages, issued)
	}
	return out, nil
}

// issuing is the messages of one activity, made one after the other at one head.
type issuing struct {
	*Messages
	account
	*truths
	held []post.Held     // nonces that were given out, here or before
	done []chain.Message // here
}

// issue makes one message that can be pushed.
func (b *issuing) issue(ctx context.Context, wanted workflows.Wanted) (workflows.IssuedMessage, error) {
	message, err := unsigned(wanted.Request)
	if err != nil {
		return workflows.IssuedMessage{}, err
	}
	if wanted.Check {
		if err := b.hold(ctx, *message); err != nil {
			return workflows.IssuedMessage{}, err
		}
	}
	for _, other := range b.done {
		if samePost(other, *message) {
			return workflows.IssuedMessage{}, fmt.Errorf("%w: another post of the same partition is sent with nonce %d", errOutdated, other.Nonce)
		}
	}
	in := workflows.PrepareInput{Request: wanted.Request, Held: b.held, ShortOf: wanted.ShortOf, At: wanted.At}
	prepared, err := b.priced(ctx, in, b.account, message, wanted.Quote)
	if err != nil {
		return workflows.IssuedMessage{}, fmt.Errorf("preparing it: %w", err)
	}
	issued := workflows.IssuedMessage{Nonce: prepared.Nonce, Gas: prepared.Gas, Before: prepared.Before}
	if prepared.Adopted != nil {
		issued.Signed, issued.Adopted = *prepared.Adopted, true
		return issued, nil
	}
	if issued.Signed, err = b.sign(ctx, workflows.SignInput{Message: prepared.Message, Nonce: prepared.Nonce}); err != nil {
		return workflows.IssuedMessage{}, err
	}
	message.Nonce = prepared.Nonce
	b.held = append(b.held[:len(b.held):len(b.held)], post.Held{Nonce: issued.Nonce, Gas: issued.Gas})
	b.done = append(b.done, *message)
	return issued, nil
}

// errOutdated is a message that the chain would not take any more, as it was built.
var errOutdated = errors.New("the chain has changed since the message was built")

// truths are what posts that were built a while ago are compared with: the chain's of one head, each read once for all of them.
type truths struct {
	node      Pool
	at        chain.TipSetKey
	tickets   map[abi.ChainEpoch]abi.Randomness
	deadlines map[address.Address][]chain.Deadline
}

func (m *Messages) truthsAt(head *chain.TipSet) *truths {
	return &truths{m.Node, head.Key(), map[abi.ChainEpoch]abi.Randomness{}, map[address.Address][]chain.Deadline{}}
}

// hold says whether the chain would still take a post that was built a while ago. Its randomness is that of now as long as the tipset of
// the challenge is the same, and with that also the challenge and the sectors, which are settled before it.
func (t *truths) hold(ctx context.Context, message chain.Message) (err error) {
	if message.Method != chain.MethodSubmitWindowedPoSt {
		return nil
	}
	params, err := chain.ParsePostParams(message.Params)
	if err != nil {
		return err
	}
	ticket, known := t.tickets[params.ChainCommitEpoch]
	if !known {
		if ticket, err = t.node.CommitRandomness(ctx, params.ChainCommitEpoch, t.at); err != nil {
			return err
		}
		t.tickets[params.ChainCommitEpoch] = ticket
	}
	if !bytes.Equal(ticket, params.ChainCommitRand) {
		return fmt.Errorf("%w: a reorg has given epoch %d another ticket", errOutdated, params.ChainCommitEpoch)
	}
	deadlines, known := t.deadlines[message.To]
	if !known {
		if deadlines, err = t.node.StateMinerDeadlines(ctx, message.To, t.at); err != nil {
			return err
		}
		t.deadlines[message.To] = deadlines
	}
	if params.Deadline >= uint64(len(deadlines)) {
		return fmt.Errorf("the miner has %d deadlines", len(deadlines))
	}
	for _, p := range params.Partitions {
		posted, err := deadlines[params.Deadline].PostSubmissions.IsSet(p.Index)
		switch {
		case err != nil:
			return fmt.Errorf("the posts of deadline %d: %w", params.Deadline, err)
		case posted:
			return fmt.Errorf("%w: it has a post of partition %d", errOutdated, p.Index)
		}
	}
	return nil
}
