package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"

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

// IssueMessages waits until messages may be sent, prices each, gives it the next nonce and has it signed. It changes nothing anywhere: none
// of them is sent before it is recorded.
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
	out := workflows.Issued{Head: at.head.Height}
	held, truths := in.Held, m.truthsAt(at.head)
	for _, wanted := range in.Wanted {
		issued, err := m.issue(ctx, wanted, at, held, truths)
		switch {
		case err != nil && !answered(err):
			return fail(fmt.Errorf("%s: %w", wanted.Request.ID, err))
		case err != nil:
			issued = workflows.IssuedMessage{Refused: err.Error(), TooLarge: errors.Is(err, post.ErrTooLarge), Outdated: errors.Is(err, errOutdated)}
		default:
			held = append(held[:len(held):len(held)], post.Held{Nonce: issued.Nonce, Gas: issued.Gas})
		}
		out.Messages = append(out.Messages, issued)
	}
	return out, nil
}

// issue makes one message that can be pushed, beside those that hold a nonce already.
func (m *Messages) issue(ctx context.Context, wanted workflows.Wanted, at account, held []post.Held, now *truths) (workflows.IssuedMessage, error) {
	message, err := unsigned(wanted.Request)
	if err != nil {
		return workflows.IssuedMessage{}, err
	}
	if late := wanted.Request.TooLate(at.head.Height); late != "" {
		return workflows.IssuedMessage{}, errors.New(late)
	}
	if wanted.Check {
		if err := now.hold(ctx, *message); err != nil {
			return workflows.IssuedMessage{}, err
		}
	}
	in := workflows.PrepareInput{Request: wanted.Request, Held: held, ShortOf: wanted.ShortOf, At: wanted.At}
	prepared, err := m.priced(ctx, in, at, message, wanted.Quote)
	if err != nil {
		return workflows.IssuedMessage{}, fmt.Errorf("preparing it: %w", err)
	}
	issued := workflows.IssuedMessage{Nonce: prepared.Nonce, Gas: prepared.Gas, Before: prepared.Before}
	if prepared.Adopted != nil {
		issued.Signed, issued.Adopted = *prepared.Adopted, true
		return issued, nil
	}
	issued.Signed, err = m.sign(ctx, workflows.SignInput{Message: prepared.Message, Nonce: prepared.Nonce})
	return issued, err
}

// errOutdated is a message that the chain would not take any more, as it was built.
var errOutdated = errors.New("the chain has changed since the message was built")

// truths are what posts that were built a while ago are compared with: the chain's of one head, each read once for all of them.
type truths struct {
	node      Pool
	head      *chain.TipSet
	tickets   map[abi.ChainEpoch]abi.Randomness
	deadlines map[address.Address][]chain.Deadline
}

func (m *Messages) truthsAt(head *chain.TipSet) *truths {
	return &truths{m.Node, head, map[abi.ChainEpoch]abi.Randomness{}, map[address.Address][]chain.Deadline{}}
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
		if ticket, err = t.node.CommitRandomness(ctx, params.ChainCommitEpoch, t.head.Key()); err != nil {
			return err
		}
		t.tickets[params.ChainCommitEpoch] = ticket
	}
	if !bytes.Equal(ticket, params.ChainCommitRand) {
		return fmt.Errorf("%w: a reorg has given epoch %d another ticket", errOutdated, params.ChainCommitEpoch)
	}
	deadlines, known := t.deadlines[message.To]
	if !known {
		if deadlines, err = t.node.StateMinerDeadlines(ctx, message.To, t.head.Key()); err != nil {
			return err
		}
		t.deadlines[message.To] = deadlines
	}
	if params.Deadline >= uint64(len(deadlines)) {
		return fmt.Errorf("the miner has %d deadlines", len(deadlines))
	}
	for _, p := range params.Partitions {
		if posted, err := deadlines[params.Deadline].PostSubmissions.IsSet(p.Index); err != nil || posted {
			return errors.Join(err, fmt.Errorf("%w: it has a post of partition %d", errOutdated, p.Index))
		}
	}
	return nil
}
