package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// theRequest asks for a post's message.
func theRequest() post.MessageRequest {
	return post.MessageRequest{ID: "wdpost-f01000-100-2/p0/1", From: keyAddress("worker").String(), To: idAddress(1000).String(),
		Method: 5, Params: []byte{1, 2, 3}, Expires: 130}
}

// Errors of a node, and whether the same call is worth another try.
func TestRefusals(t *testing.T) {
	calls := map[string]func(*activities.Messages) error{
		"GasEstimateMessageGas": func(m *activities.Messages) error {
			_, err := m.PrepareMessage(context.Background(), workflows.PrepareInput{Request: theRequest()})
			return err
		},
		"MpoolGetNonce": func(m *activities.Messages) error {
			_, err := m.PrepareMessage(context.Background(), workflows.PrepareInput{Request: theRequest()})
			return err
		},
		"WalletSignMessage": func(m *activities.Messages) error {
			_, err := m.SignMessage(context.Background(), workflows.SignInput{Message: prepared(t), Nonce: 7})
			return err
		},
		"MpoolPush": func(m *activities.Messages) error {
			return m.PushMessage(context.Background(), signed(t, 7))
		},
	}
	for method, call := range calls {
		for name, c := range map[string]struct {
			err   error
			final bool
		}{
			"the actor refuses it":       {errors.New("message execution failed: exit 16, reason: invalid post"), true},
			"too little balance":         {errors.New("not enough funds"), true},
			"the key is not there":       {errors.New("key not found"), true},
			"the node is away":           {fmt.Errorf("%s: %w", method, chain.ErrUnreachable), false},
			"the token is refused":       {fmt.Errorf("%s: %w", method, chain.ErrToken), false},
			"something else sits there":  {fmt.Errorf("%s: %w", method, chain.ErrNoRPC), false},
			"the worker stops":           {fmt.Errorf("%s: %w", method, context.Canceled), false},
			"the attempt's time is over": {fmt.Errorf("%s: %w", method, context.DeadlineExceeded), false},
		} {
			t.Run(method+"/"+name, func(t *testing.T) {
				n := newNode(t)
				n.fails(method, c.err)
				err := call(&activities.Messages{Node: n})
				if !c.final {
					retried(t, err)
					require.ErrorIs(t, err, c.err)
					return
				}
				final := application(t, err)
				assert.Equal(t, workflows.ErrorRefused, final.Type())
				assert.True(t, final.NonRetryable())
				assert.Contains(t, final.Message(), c.err.Error())
			})
		}
	}
}

// prepared is a message as PrepareMessage gives it.
func prepared(t *testing.T) []byte {
	out, err := (&activities.Messages{Node: newNode(t)}).PrepareMessage(t.Context(), workflows.PrepareInput{Request: theRequest()})
	require.NoError(t, err)
	return out.Message
}

// signed is that message with a nonce and a signature.
func signed(t *testing.T, nonce uint64) workflows.Signed {
	out, err := (&activities.Messages{Node: newNode(t)}).SignMessage(t.Context(), workflows.SignInput{Message: prepared(t), Nonce: nonce})
	require.NoError(t, err)
	return out
}

func TestPrepareMessage(t *testing.T) {
	n := newNode(t)
	n.nonces[keyAddress("worker")] = 42
	m := activities.Messages{Node: n}
	out, err := m.PrepareMessage(t.Context(), workflows.PrepareInput{Request: theRequest()})
	require.NoError(t, err)
	assert.EqualValues(t, 42, out.Nonce)
	assert.EqualValues(t, 112, out.Head)
	var message chain.Message
	require.NoError(t, json.Unmarshal(out.Message, &message))
	assert.Equal(t, keyAddress("worker"), message.From)
	assert.Equal(t, idAddress(1000), message.To)
	assert.Equal(t, abi.MethodNum(5), message.Method)
	assert.Equal(t, []byte{1, 2, 3}, message.Params)
	assert.EqualValues(t, 5_000_000, message.GasLimit, "as estimated")
	assert.True(t, message.Value.IsZero())

	for name, change := range map[string]func(*post.MessageRequest){
		"no sender":              func(r *post.MessageRequest) { r.From = "" },
		"a receiver that is not": func(r *post.MessageRequest) { r.To = "f0x" },
	} {
		request := theRequest()
		change(&request)
		_, err := m.PrepareMessage(t.Context(), workflows.PrepareInput{Request: request})
		final := application(t, err)
		assert.True(t, final.NonRetryable(), name)
		assert.Contains(t, final.Message(), "preparing message "+request.ID, name)
	}
}

func TestSignMessage(t *testing.T) {
	one, again := signed(t, 7), signed(t, 7)
	assert.Equal(t, one, again)
	assert.NotEqual(t, one.Message, signed(t, 8).Message)
	var message chain.SignedMessage
	require.NoError(t, json.Unmarshal(one.Bytes, &message))
	assert.EqualValues(t, 7, message.Message.Nonce)
	id, err := message.Cid()
	require.NoError(t, err)
	assert.Equal(t, id.String(), one.Message, "the name under which the chain will find it")

	for name, change := range map[string]func(*chain.SignedMessage){
		"another nonce":    func(s *chain.SignedMessage) { s.Message.Nonce++ },
		"another sender":   func(s *chain.SignedMessage) { s.Message.From = keyAddress("mallory") },
		"another receiver": func(s *chain.SignedMessage) { s.Message.To = idAddress(1001) },
	} {
		t.Run("the node signs "+name, func(t *testing.T) {
			n := newNode(t)
			n.sign = change
			_, err := (&activities.Messages{Node: n}).SignMessage(t.Context(), workflows.SignInput{Message: prepared(t), Nonce: 7})
			assert.Contains(t, application(t, err).Message(), "signed another message than it was given")
		})
	}
	t.Run("a BLS signature gives the bare message's name", func(t *testing.T) {
		n := newNode(t)
		n.sign = func(s *chain.SignedMessage) { s.Signature.Type = crypto.SigTypeBLS }
		out, err := (&activities.Messages{Node: n}).SignMessage(t.Context(), workflows.SignInput{Message: prepared(t), Nonce: 7})
		require.NoError(t, err)
		id, err := message.Message.Cid()
		require.NoError(t, err)
		assert.Equal(t, id.String(), out.Message)
	})
	_, err = (&activities.Messages{Node: newNode(t)}).SignMessage(t.Context(), workflows.SignInput{Message: []byte("{"), Nonce: 7})
	assert.True(t, application(t, err).NonRetryable(), "bytes that are no message do not become one")
}

func TestPushMessage(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		ok     bool
	}{
		"taken":                                {"", true},
		"in the pool already":                  {"message from f1abc with nonce 7 already in mpool", true},
		"another message has the nonce":        {"message from f1abc with nonce 7 already in mpool, increase GasPremium to 100 from 50 to trigger replace by fee", false},
		"on the chain already":                 {"message nonce too low", true},
		"on the chain already, in other words": {"minimum expected nonce is 8", true},
		"refused":                              {"gas fee cap too low", false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			if c.answer != "" {
				n.fails("MpoolPush", errors.New(c.answer))
			}
			in := signed(t, 7)
			err := (&activities.Messages{Node: n}).PushMessage(t.Context(), in)
			require.Len(t, n.pushed, 1)
			id, _ := n.pushed[0].Cid()
			assert.Equal(t, in.Message, id.String(), "the bytes that were recorded")
			if c.ok {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, workflows.ErrorRefused, application(t, err).Type())
		})
	}
	err := (&activities.Messages{Node: newNode(t)}).PushMessage(t.Context(), workflows.Signed{Message: "bafy", Bytes: []byte("{")})
	assert.True(t, application(t, err).NonRetryable())
}

func TestFollowMessages(t *testing.T) {
	n := newNode(t)
	m := activities.Messages{Node: n}
	landed, pending := newCid("landed"), newCid("pending")
	n.nonces[keyAddress("worker")] = 8
	n.landed[landed] = &chain.MsgLookup{TipSet: tipset(109).Cids, Height: 109}
	in := workflows.FollowInput{From: keyAddress("worker").String(), Messages: []string{pending.String(), landed.String()}}
	out, err := m.FollowMessages(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, post.Sender{Head: 112, Nonce: 8, BaseFee: "0", Looks: []post.Look{{}, {Found: true, Epoch: 108}}}, out, "in the order asked for")

	for _, method := range []string{"ChainHead", "StateGetActor", "StateSearchMsg", "ChainGetTipSet"} {
		n.fails(method, errors.New("odd"))
		_, err = m.FollowMessages(t.Context(), in)
		retried(t, err)
		require.ErrorContains(t, err, "following the messages of "+in.From, method)
		n.fails(method, nil)
	}
	in.Messages = []string{"bafy"}
	_, err = m.FollowMessages(t.Context(), in)
	require.ErrorContains(t, err, `message "bafy"`)
}

// index is a daemon's index as a test wants it.
type index func(post.Sectors) (post.Sectors, []post.Skipped, error)

func (index) Unlisted() []string { return nil }

func (i index) Find(_ context.Context, _ abi.ActorID, s post.Sectors) (post.Sectors, []post.Skipped, error) {
	return i(s)
}

func TestLookupSectors(t *testing.T) {
	s := activities.Sectors{Index: index(func(s post.Sectors) (post.Sectors, []post.Skipped, error) {
		return s[:1], []post.Skipped{{Sector: 5, Reason: "in no store"}}, nil
	})}
	in := workflows.PartitionInput{Deadline: deadlineOf(2), Partition: 1, Sectors: theJob().Sectors}
	located, err := s.LookupSectors(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, []abi.SectorNumber{3}, located.Sectors.Numbers())
	assert.Equal(t, []post.Skipped{{Sector: 5, Reason: "in no store"}}, located.Missing)

	s.Index = index(func(post.Sectors) (post.Sectors, []post.Skipped, error) {
		return nil, nil, errors.New("the store hangs")
	})
	_, err = s.LookupSectors(t.Context(), in)
	require.EqualError(t, err, "looking up the sectors of partition 1 of deadline f01000/2: the store hangs")
}

func TestVerifyProof(t *testing.T) {
	job := theJob()
	proof := post.Proof{JobKey: job.Key(), ProofType: job.ProofType, Bytes: []byte("proof"), Skipped: []post.Skipped{{Sector: 5}}}
	asked := 0
	verdict, failure := true, error(nil)
	s := activities.Sectors{Verify: func(_ context.Context, miner abi.ActorID, kind abi.RegisteredPoStProof, randomness []byte, sectors post.Sectors, raw []byte) (bool, error) {
		asked++
		assert.Equal(t, abi.ActorID(1000), miner)
		assert.Equal(t, job.ProofType, kind)
		assert.Equal(t, job.Randomness, randomness)
		assert.Equal(t, []abi.SectorNumber{3}, sectors.Numbers(), "without those skipped")
		assert.Equal(t, []byte("proof"), raw)
		return verdict, failure
	}}
	good, err := s.VerifyProof(t.Context(), workflows.VerifyInput{Job: job, Proof: proof})
	require.NoError(t, err)
	assert.True(t, good)
	verdict = false
	good, err = s.VerifyProof(t.Context(), workflows.VerifyInput{Job: job, Proof: proof})
	require.NoError(t, err, "a false proof is an answer, not an error")
	assert.False(t, good)
	failure = errors.New("no verifying key")
	_, err = s.VerifyProof(t.Context(), workflows.VerifyInput{Job: job, Proof: proof})
	require.EqualError(t, err, "checking the proof of partitions [1] of deadline f01000/7: no verifying key")

	proof.JobKey = "of another job"
	verdict, failure = true, nil
	good, err = s.VerifyProof(t.Context(), workflows.VerifyInput{Job: job, Proof: proof})
	require.NoError(t, err)
	assert.False(t, good)
	assert.Equal(t, 3, asked, "a proof of another job needs no look")
}
