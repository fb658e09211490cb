package activities_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// pricedInput asks for a post's message within the default limits. The node of the tests estimates 4 M gas, a premium of 100 and a fee cap of 200.
func pricedInput(t *testing.T, n *node) workflows.PrepareInput {
	r := theRequest()
	r.Fees = post.DefaultFees()
	r.Params = postParams(t, n, 1, 2)
	return workflows.PrepareInput{Request: r, Priced: true}
}

// postParams are those of a post of partition 0; the proof tells two of them apart.
func postParams(t *testing.T, n *node, deadline uint64, proof byte) []byte {
	t.Helper()
	params, err := chain.PostParams(chain.Post{Deadline: deadline, Partitions: []chain.PostPartition{{Index: 0}}, ProofType: n.info.WindowPoStProofType,
		Proof: []byte{proof}, CommitEpoch: 105, CommitRandomness: n.commit})
	require.NoError(t, err)
	return params
}

func messageIn(t *testing.T, raw []byte) chain.Message {
	t.Helper()
	var m chain.Message
	require.NoError(t, json.Unmarshal(raw, &m))
	return m
}

func TestPricedMessage(t *testing.T) {
	n := newNode(t)
	n.nonces[keyAddress("worker")] = 7
	in := pricedInput(t, n)
	in.Held = []post.Held{{Nonce: 7, Gas: post.Gas{Limit: 100, FeeCap: "10"}}}
	out, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, uint64(8), out.Nonce)
	assert.Equal(t, post.Gas{Limit: 5_000_000, FeeCap: "1000000000000", Premium: "100"}, out.Gas, "a quarter more gas than used, and 5 FIL at most")
	m := messageIn(t, out.Message)
	assert.Equal(t, int64(5_000_000), m.GasLimit)
	assert.Equal(t, "1000000000000", m.GasFeeCap.String())
	assert.Equal(t, uint64(8), m.Nonce)
	assert.Equal(t, in.Request.Params, m.Params)

	in.ShortOf = 2
	out, err = (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, int64(7_812_500), out.Gas.Limit)

	for _, method := range []string{"ChainHead", "StateGetActor", "MpoolGetNonce", "GasEstimateGasLimit", "GasEstimateMessageGas"} {
		n.fails(method, errAway)
		_, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
		retried(t, err)
		n.fails(method, errors.New("odd"))
		_, err = (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
		if method != "ChainHead" {
			assert.Equal(t, workflows.ErrorRefused, application(t, err).Type(), method)
		}
		n.fails(method, nil)
	}
}

func TestMessageThatNoBlockHasRoomFor(t *testing.T) {
	for name, change := range map[string]func(*node, *workflows.PrepareInput){
		"it runs out of a block's gas": func(n *node, _ *workflows.PrepareInput) {
			n.fails("GasEstimateGasLimit", errors.New("gas estimation failed: call ran out of gas"))
		},
		"it has too many bytes": func(_ *node, in *workflows.PrepareInput) { in.Request.Params = make([]byte, 64<<10) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			in := pricedInput(t, n)
			change(n, &in)
			_, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
			final := application(t, err)
			assert.Equal(t, workflows.ErrorTooLarge, final.Type())
			assert.True(t, final.NonRetryable())
			assert.Contains(t, final.Message(), "message too large for a block")
		})
	}
}

func TestSenderThatHasTooLittle(t *testing.T) {
	n := newNode(t)
	n.balances = map[address.Address]int64{keyAddress("worker"): 1}
	n.baseFee = 3e11 // 1.5 FIL for the message
	_, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), pricedInput(t, n))
	final := application(t, err)
	assert.Equal(t, workflows.ErrorRefused, final.Type())
	assert.Contains(t, final.Message(), "not enough funds: a gas limit of 5000000 at the base fee of 300 nanoFIL costs 1.5 FIL at least, and the sender has 1 FIL left")
	n.baseFee = 2e12
	n.balances = nil
	_, err = (&activities.Messages{Node: n}).PrepareMessage(t.Context(), pricedInput(t, n))
	assert.Contains(t, application(t, err).Message(), "no block can include it: the base fee is 2000 nanoFIL")
}

// There are messages of the sender in the pool that its workflow knows nothing of: an operator ended it, and it began anew.
func TestWhatThePoolHas(t *testing.T) {
	theirs := func(n *node, nonce uint64, params []byte, premium int64) {
		n.pending = append(n.pending, &chain.SignedMessage{Message: chain.Message{From: keyAddress("worker"), To: idAddress(1000), Method: 5, Nonce: nonce, Params: params,
			Value: abi.NewTokenAmount(0), GasLimit: 1, GasPremium: abi.NewTokenAmount(premium), GasFeeCap: abi.NewTokenAmount(premium)}})
	}
	prepare := func(t *testing.T, n *node, in workflows.PrepareInput) workflows.Prepared {
		n.nonces[keyAddress("worker")], n.nextNonce = 7, 9
		out, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
		require.NoError(t, err)
		return out
	}
	t.Run("this very message", func(t *testing.T) {
		n := newNode(t)
		in := pricedInput(t, n)
		theirs(n, 7, []byte{1}, 10)
		theirs(n, 8, in.Request.Params, 10)
		out := prepare(t, n, in)
		require.NotNil(t, out.Adopted)
		name, err := n.pending[1].Cid()
		require.NoError(t, err)
		assert.Equal(t, name.String(), out.Adopted.Message)
		assert.Equal(t, uint64(8), out.Nonce)
		assert.Equal(t, post.Gas{Limit: 1, FeeCap: "10", Premium: "10"}, out.Gas)
		assert.Empty(t, out.Message)
	})
	t.Run("another post of the same partition", func(t *testing.T) {
		n := newNode(t)
		theirs(n, 8, postParams(t, n, 1, 99), 1000)
		out := prepare(t, n, pricedInput(t, n))
		require.Nil(t, out.Adopted)
		assert.Equal(t, uint64(8), out.Nonce, "it takes its place")
		assert.Equal(t, post.Atto("1250"), out.Gas.Premium)
		name, err := n.pending[0].Cid()
		require.NoError(t, err)
		assert.Equal(t, []string{name.String()}, out.Before, "and is settled by it if that lands")
	})
	t.Run("something else", func(t *testing.T) {
		n := newNode(t)
		theirs(n, 7, []byte{1}, 10)
		theirs(n, 8, postParams(t, n, 3, 2), 10)
		out := prepare(t, n, pricedInput(t, n))
		assert.Equal(t, uint64(9), out.Nonce)
	})
	t.Run("nothing below the nonce that a node gives: what is sent after a gap lands nowhere", func(t *testing.T) {
		n := newNode(t)
		theirs(n, 7, []byte{1}, 10)
		assert.Equal(t, uint64(8), prepare(t, n, pricedInput(t, n)).Nonce)
		n.pending = nil
		assert.Equal(t, uint64(7), prepare(t, n, pricedInput(t, n)).Nonce)
	})
	t.Run("nothing that is not known: it is not asked for", func(t *testing.T) {
		n := newNode(t)
		n.fails("MpoolPending", errors.New("megabytes"))
		in := pricedInput(t, n)
		in.Held = []post.Held{{Nonce: 7}, {Nonce: 8}}
		out := prepare(t, n, in)
		assert.Equal(t, uint64(9), out.Nonce)
	})
	t.Run("one with the nonce that was to be filled", func(t *testing.T) {
		n := newNode(t)
		theirs(n, 7, []byte{1}, 10)
		in := pricedInput(t, n)
		in.Request.To, in.Request.Method, in.Request.Params = in.Request.From, 0, nil
		in.At, in.Fill = &post.Held{Nonce: 7}, true
		assert.True(t, prepare(t, n, in).Filled)
		n.pending = nil
		out := prepare(t, n, in)
		assert.False(t, out.Filled)
		assert.Equal(t, uint64(7), out.Nonce)
	})
}

// What takes the place of an earlier message is a replacement: its limit is that of replacements, also when it says something else.
func TestWhatTakesAnothersPlaceMayCostWhatAReplacementMay(t *testing.T) {
	n := newNode(t)
	n.baseFee = 5e11 // 2.5 FIL for the message
	in := pricedInput(t, n)
	in.Request.Fees.MaxFee, in.Request.Fees.ReplaceMaxFee = post.Atto("500000000000000000"), post.Atto("5000000000000000000")
	_, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
	assert.Contains(t, application(t, err).Message(), "no block can include it", "a new one may cost half a FIL")
	in.At = &post.Held{Nonce: n.nonces[keyAddress("worker")], Gas: post.Gas{Limit: 5_000_000, Premium: "100", FeeCap: "1000000000000"}}
	out, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, post.Gas{Limit: 5_000_000, FeeCap: "1000000000000", Premium: "125"}, out.Gas)
	in.Request.Fees.ReplaceMaxFee = "1000000000000000000"
	_, err = (&activities.Messages{Node: n}).PrepareMessage(t.Context(), in)
	assert.Contains(t, application(t, err).Message(), "replace_max_fee 1 FIL")
}

func TestRepriceMessage(t *testing.T) {
	n := newNode(t)
	first, err := (&activities.Messages{Node: n}).PrepareMessage(t.Context(), pricedInput(t, n))
	require.NoError(t, err)
	signed, err := (&activities.Messages{Node: n}).SignMessage(t.Context(), workflows.SignInput{Message: first.Message, Nonce: first.Nonce})
	require.NoError(t, err)
	in := workflows.RepriceInput{Request: theRequest(), Signed: signed, Gas: first.Gas, Held: []post.Held{{Nonce: first.Nonce, Gas: first.Gas}}}
	in.Request.Fees = post.DefaultFees()
	out, err := (&activities.Messages{Node: n}).RepriceMessage(t.Context(), in)
	require.NoError(t, err)
	assert.Empty(t, out.Stuck)
	assert.Equal(t, post.Gas{Limit: 5_000_000, FeeCap: "1000000000000", Premium: "125"}, out.Gas)
	old, again := messageIn(t, first.Message), messageIn(t, out.Message)
	assert.Equal(t, out.Gas.Premium.Int(), again.GasPremium.Int)
	old.GasPremium, old.GasFeeCap = again.GasPremium, again.GasFeeCap
	assert.Equal(t, old, again, "nothing else changes")

	n.baseFee = 2e12
	out, err = (&activities.Messages{Node: n}).RepriceMessage(t.Context(), in)
	require.NoError(t, err)
	assert.Contains(t, out.Stuck, "the base fee is 2000 nanoFIL, and max_fee 5 FIL allows a fee cap of 1000 nanoFIL at a gas limit of 5000000; 12.7 FIL would be needed")
	assert.Empty(t, out.Message)

	n.nonces[keyAddress("worker")] = 1
	out, err = (&activities.Messages{Node: n}).RepriceMessage(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, "its nonce is used on the chain", out.Stuck)

	n.fails("StateGetActor", errAway)
	_, err = (&activities.Messages{Node: n}).RepriceMessage(t.Context(), in)
	retried(t, err)
	in.Signed.Bytes = []byte("{")
	_, err = (&activities.Messages{Node: n}).RepriceMessage(t.Context(), in)
	assert.True(t, application(t, err).NonRetryable())
}

// Of several messages with a nonce any may land, and a node may not know all of them.
func TestFollowingReplacedMessages(t *testing.T) {
	n := newNode(t)
	first, second := newCid("first"), newCid("second")
	n.nonces[keyAddress("worker")] = 8
	in := workflows.FollowInput{From: keyAddress("worker").String(), Messages: []string{second.String()}, Nonces: []uint64{7}, CIDs: [][]string{{second.String(), first.String()}}}
	follow := func() post.Look {
		out, err := (&activities.Messages{Node: n}).FollowMessages(t.Context(), in)
		require.NoError(t, err)
		return out.Looks[0]
	}
	assert.False(t, follow().Found)
	n.landed[first] = &chain.MsgLookup{TipSet: tipset(109).Cids, Height: 109}
	assert.Equal(t, post.Look{Found: true, Message: first.String(), Epoch: 108}, follow())
	for name, answer := range map[string]string{
		"a Lotus node has never seen it":      "failed to load message: ipld: could not find",
		"a Venus node has never seen it":      "failed to get bls message bafy2: blockstore: block not found",
		"another one with its nonce is there": "found message with equal nonce as the one we are looking for (F:a n 7, TS: b n7)",
	} {
		n.searches[second] = &chain.CallError{Method: "StateSearchMsg", Err: errors.New(answer)}
		assert.Equal(t, first.String(), follow().Message, "%s: the other one is", name)
		n.searches[first] = n.searches[second]
		assert.False(t, follow().Found, name)
		delete(n.searches, first)
	}
	n.searches[second] = errAway
	assert.Equal(t, first.String(), follow().Message, "what is not known of one does not keep the other from being found")
	n.searches[first] = errAway
	_, err := (&activities.Messages{Node: n}).FollowMessages(t.Context(), in)
	retried(t, err)
	clear(n.searches)
	n.nonces[keyAddress("worker")] = 7
	n.fails("StateSearchMsg", errors.New("it must not be asked"))
	assert.False(t, follow().Found, "its nonce is not used: it cannot be there")
}
