package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/ipfs/go-cid"
	"go.temporal.io/sdk/temporal"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// Pool is what sending a message takes from a node.
type Pool interface {
	ChainHead(context.Context) (*chain.TipSet, error)
	ChainGetTipSet(context.Context, chain.TipSetKey) (*chain.TipSet, error)
	GasEstimateGasLimit(context.Context, *chain.Message, chain.TipSetKey) (int64, error)
	GasEstimateMessageGas(context.Context, *chain.Message, *chain.MessageSendSpec, chain.TipSetKey) (*chain.Message, error)
	MpoolGetNonce(context.Context, address.Address, uint64) (uint64, error)
	MpoolPending(context.Context, chain.TipSetKey) ([]*chain.SignedMessage, error)
	MpoolPush(context.Context, *chain.SignedMessage) (cid.Cid, error)
	WalletSignMessage(context.Context, address.Address, *chain.Message) (*chain.SignedMessage, error)
	StateGetActor(context.Context, address.Address, chain.TipSetKey) (*chain.Actor, error)
	StateSearchMsg(context.Context, chain.TipSetKey, cid.Cid, abi.ChainEpoch, bool) (*chain.MsgLookup, error)
	StateMinerDeadlines(context.Context, address.Address, chain.TipSetKey) ([]chain.Deadline, error)
	CommitRandomness(context.Context, abi.ChainEpoch, chain.TipSetKey) (abi.Randomness, error)
}

// Messages prepares, signs, pushes and follows a sender's messages.
type Messages struct {
	Node  Pool
	Heads Heads
}

// lookBack bounds the search for a message, in epochs: a day on mainnet, so that one which landed is still found after all daemons
// were away for a night. It costs nothing: a node stops where the sender's nonce was used.
const lookBack = 2880

// PrepareMessage estimates a message's gas on the head's state, which executes it: what the actor would refuse is refused
// here, before anything is paid. It also prices it and chooses its nonce.
func (m *Messages) PrepareMessage(ctx context.Context, in workflows.PrepareInput) (workflows.Prepared, error) {
	message, err := unsigned(in.Request)
	var out workflows.Prepared
	switch {
	case err != nil:
	case in.Priced:
		var at account
		if at, err = m.account(ctx, message.From); err == nil {
			out, err = m.priced(ctx, in, at, message, nil)
		}
	default:
		out, err = m.estimated(ctx, message)
	}
	if err != nil {
		return workflows.Prepared{}, refusal(fmt.Errorf("preparing message %s: %w", in.Request.ID, err))
	}
	return out, nil
}

// unsigned is the message that a request asks for, without nonce and gas.
func unsigned(r post.MessageRequest) (*chain.Message, error) {
	from, err := address.NewFromString(r.From)
	if err != nil {
		return nil, fmt.Errorf("sender %q: %w", r.From, err)
	}
	to, err := address.NewFromString(r.To)
	if err != nil {
		return nil, fmt.Errorf("receiver %q: %w", r.To, err)
	}
	return &chain.Message{
		From: from, To: to, Method: abi.MethodNum(r.Method), Params: r.Params,
		Value: big.Zero(), GasFeeCap: big.Zero(), GasPremium: big.Zero(),
	}, nil
}

// estimated is a message as the node prices it, with the nonce that it would give it.
func (m *Messages) estimated(ctx context.Context, message *chain.Message) (workflows.Prepared, error) {
	at, err := m.account(ctx, message.From)
	if err != nil {
		return workflows.Prepared{}, err
	}
	estimated, err := m.Node.GasEstimateMessageGas(ctx, message, nil, nil)
	if err != nil {
		return workflows.Prepared{}, err
	}
	nonce, err := m.Node.MpoolGetNonce(ctx, message.From, at.nonce)
	if err != nil {
		return workflows.Prepared{}, err
	}
	raw, err := json.Marshal(estimated)
	return workflows.Prepared{Message: raw, Nonce: nonce, Head: at.head.Height}, err
}

// SignMessage puts the nonce into a message and has the node's wallet sign it. It changes nothing anywhere.
func (m *Messages) SignMessage(ctx context.Context, in workflows.SignInput) (workflows.Signed, error) {
	signed, err := m.sign(ctx, in)
	if err != nil {
		return workflows.Signed{}, refusal(err)
	}
	return signed, nil
}

// sign has a message signed with a nonce.
func (m *Messages) sign(ctx context.Context, in workflows.SignInput) (workflows.Signed, error) {
	fail := func(err error) (workflows.Signed, error) {
		return workflows.Signed{}, fmt.Errorf("signing a message with nonce %d: %w", in.Nonce, err)
	}
	var message chain.Message
	if err := json.Unmarshal(in.Message, &message); err != nil {
		return fail(err)
	}
	message.Nonce = in.Nonce
	signed, err := m.Node.WalletSignMessage(ctx, message.From, &message)
	if err != nil {
		return fail(err)
	}
	if !sameMessage(signed.Message, message) {
		return fail(errors.New("the node signed another message than it was given"))
	}
	id, err := signed.Cid()
	if err != nil {
		return fail(err)
	}
	raw, err := json.Marshal(signed)
	if err != nil {
		return fail(err)
	}
	return workflows.Signed{Message: id.String(), Bytes: raw}, nil
}

// PushMessage gives a signed message to the node's pool. Pushing the same bytes again is harmless, so a pool that has the
// message, and a chain that already used its nonce, are no errors: following it tells what became of it.
func (m *Messages) PushMessage(ctx context.Context, in workflows.Signed) error {
	var signed chain.SignedMessage
	if err := json.Unmarshal(in.Bytes, &signed); err != nil {
		return refusal(fmt.Errorf("pushing message %s: %w", in.Message, err))
	}
	_, err := m.Node.MpoolPush(ctx, &signed)
	if err == nil || hadAlready(err) {
		return nil
	}
	return refusal(fmt.Errorf("pushing message %s: %w", in.Message, err))
}

// hadAlready recognizes Lotus's answers for a message that is in the pool or on the chain.
func hadAlready(err error) bool {
	if strings.Contains(err.Error(), "increase GasPremium") {
		return false // another message has our nonce
	}
	for _, text := range []string{"already in mpool", "nonce too low", "minimum expected nonce"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// FollowMessages looks for a sender's messages on the canonical chain as of now.
func (m *Messages) FollowMessages(ctx context.Context, in workflows.FollowInput) (post.Sender, error) {
	fail := func(err error) (post.Sender, error) {
		return post.Sender{}, fmt.Errorf("following the messages of %s: %w", in.From, err)
	}
	from, err := address.NewFromString(in.From)
	if err != nil {
		return fail(err)
	}
	head, err := m.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	actor, err := m.Node.StateGetActor(ctx, from, head.Key())
	if err != nil {
		return fail(err)
	}
	out := post.Sender{Head: head.Height, Nonce: actor.Nonce, BaseFee: post.AttoOf(head.BaseFee().Int)}
	for i, text := range in.Messages {
		look, err := post.Look{}, error(nil)
		switch {
		case i >= len(in.CIDs) || i >= len(in.Nonces):
			look, err = m.find(ctx, head, []string{text})
			look.Message = ""
		case actor.Nonce > in.Nonces[i]: // else none of them can be there
			look, err = m.find(ctx, head, in.CIDs[i])
		}
		if err != nil {
			return fail(err)
		}
		out.Looks = append(out.Looks, look)
	}
	return out, nil
}

// find looks for the one of several messages with the same nonce that is on the chain. That of one it cannot be said is only an error if none of
// the others is there.
func (m *Messages) find(ctx context.Context, head *chain.TipSet, names []string) (post.Look, error) {
	var unclear error
	for _, name := range names {
		message, err := cid.Decode(name)
		if err != nil {
			return post.Look{}, fmt.Errorf("message %q: %w", name, err)
		}
		look, err := search(ctx, m.Node, head, message)
		unclear = cmp.Or(unclear, err)
		if look.Found {
			look.Message = name
			return look, nil
		}
	}
	return post.Look{}, unclear
}

// searcher finds messages and the tipsets that include them.
type searcher interface {
	ChainGetTipSet(context.Context, chain.TipSetKey) (*chain.TipSet, error)
	StateSearchMsg(context.Context, chain.TipSetKey, cid.Cid, abi.ChainEpoch, bool) (*chain.MsgLookup, error)
}

// search looks for one message below head. The node names the tipset that executed it; the one that includes it, whose
// epoch people mean by landed, is that one's parent.
func search(ctx context.Context, node searcher, head *chain.TipSet, message cid.Cid) (post.Look, error) {
	found, err := node.StateSearchMsg(ctx, head.Key(), message, lookBack, false)
	if chain.UnknownMessage(err) {
		return post.Look{}, nil // another node was given it, and it never came
	}
	if err != nil && answered(err) && strings.Contains(err.Error(), "found message with equal nonce") {
		return post.Look{}, nil // Lotus's word for: another message with its nonce is there, and it will never be
	}
	if err != nil {
		return post.Look{}, fmt.Errorf("searching message %s: %w", message, err)
	}
	if found == nil {
		return post.Look{}, nil
	}
	look := post.Look{Found: true, Epoch: found.Height, ExitCode: int64(found.Receipt.ExitCode)}
	executed, err := node.ChainGetTipSet(ctx, found.TipSet)
	if err == nil && len(executed.Blocks) > 0 {
		var including *chain.TipSet
		if including, err = node.ChainGetTipSet(ctx, executed.Blocks[0].Parents); err == nil {
			look.Epoch = including.Height
		}
	}
	if err != nil {
		return post.Look{}, fmt.Errorf("finding the tipset that includes message %s: %w", message, err)
	}
	return look, nil
}

// refusal makes an error final when the node understood the call and said no: trying the same again gives the same answer,
// and the workflow should build another message. A node that did not answer, or a refused token, is tried again.
func refusal(err error) error {
	if !answered(err) {
		return err
	}
	if errors.Is(err, post.ErrTooLarge) {
		return temporal.NewNonRetryableApplicationError(err.Error(), workflows.ErrorTooLarge, nil)
	}
	return temporal.NewNonRetryableApplicationError(err.Error(), workflows.ErrorRefused, nil)
}

// answered says whether an error is what the node answers to the call, not that the call did not get through.
func answered(err error) bool {
	for _, away := range []error{chain.ErrUnreachable, chain.ErrToken, chain.ErrNoRPC, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, away) {
			return false
		}
	}
	return true
}
