package activities

import (
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
	GasEstimateMessageGas(context.Context, *chain.Message, *chain.MessageSendSpec, chain.TipSetKey) (*chain.Message, error)
	MpoolGetNonce(context.Context, address.Address) (uint64, error)
	MpoolPush(context.Context, *chain.SignedMessage) (cid.Cid, error)
	WalletSignMessage(context.Context, address.Address, *chain.Message) (*chain.SignedMessage, error)
	StateGetActor(context.Context, address.Address, chain.TipSetKey) (*chain.Actor, error)
	StateSearchMsg(context.Context, chain.TipSetKey, cid.Cid, abi.ChainEpoch, bool) (*chain.MsgLookup, error)
}

// Messages prepares, signs, pushes and follows a sender's messages.
type Messages struct {
	Node Pool
}

// lookBack bounds the search for a message, in epochs: a day on mainnet, so that one which landed is still found after all daemons
// were away for a night. It costs nothing: a node stops where the sender's nonce was used.
const lookBack = 2880

// PrepareMessage estimates a message's gas on the head's state, which executes it: what the actor would refuse is refused
// here, before anything is paid. It also asks for the nonce that the node would give.
func (m *Messages) PrepareMessage(ctx context.Context, in workflows.PrepareInput) (workflows.Prepared, error) {
	r := in.Request
	fail := func(err error) (workflows.Prepared, error) {
		return workflows.Prepared{}, refusal(fmt.Errorf("preparing message %s: %w", r.ID, err))
	}
	from, err := address.NewFromString(r.From)
	if err != nil {
		return fail(fmt.Errorf("sender %q: %w", r.From, err))
	}
	to, err := address.NewFromString(r.To)
	if err != nil {
		return fail(fmt.Errorf("receiver %q: %w", r.To, err))
	}
	message := &chain.Message{
		From: from, To: to, Method: abi.MethodNum(r.Method), Params: r.Params,
		Value: big.Zero(), GasFeeCap: big.Zero(), GasPremium: big.Zero(),
	}
	head, err := m.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	estimated, err := m.Node.GasEstimateMessageGas(ctx, message, nil, nil)
	if err != nil {
		return fail(err)
	}
	nonce, err := m.Node.MpoolGetNonce(ctx, from)
	if err != nil {
		return fail(err)
	}
	raw, err := json.Marshal(estimated)
	if err != nil {
		return fail(err)
	}
	return workflows.Prepared{Message: raw, Nonce: nonce, Head: head.Height}, nil
}

// SignMessage puts the nonce into a message and has the node's wallet sign it. It changes nothing anywhere.
func (m *Messages) SignMessage(ctx context.Context, in workflows.SignInput) (workflows.Signed, error) {
	fail := func(err error) (workflows.Signed, error) {
		return workflows.Signed{}, refusal(fmt.Errorf("signing a message with nonce %d: %w", in.Nonce, err))
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
	if signed.Message.Nonce != in.Nonce || signed.Message.From != message.From || signed.Message.To != message.To {
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
	out := post.Sender{Head: head.Height, Nonce: actor.Nonce}
	for _, text := range in.Messages {
		message, err := cid.Decode(text)
		if err != nil {
			return fail(fmt.Errorf("message %q: %w", text, err))
		}
		look, err := search(ctx, m.Node, head, message)
		if err != nil {
			return fail(err)
		}
		out.Looks = append(out.Looks, look)
	}
	return out, nil
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
