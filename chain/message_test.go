package chain

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/stretchr/testify/require"
)

func idAddress(t *testing.T, id uint64) address.Address {
	t.Helper()
	a, err := address.NewIDAddress(id)
	require.NoError(t, err)
	return a
}

func sample(t *testing.T) Message {
	return Message{
		To: idAddress(t, 4), From: idAddress(t, 0), Nonce: 34, Value: abi.NewTokenAmount(0), GasLimit: 123,
		GasFeeCap: abi.NewTokenAmount(234), GasPremium: abi.NewTokenAmount(234), Method: 6, Params: []byte("hai"),
	}
}

// The message and its CID are those of Lotus's own test of its JSON (chain/types/message_test.go, TestMessageJson).
func TestMessageHasLotusCIDAndJSON(t *testing.T) {
	m := sample(t)
	got, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, `{"Version":0,"To":"f04","From":"f00","Nonce":34,"Value":"0","GasLimit":123,"GasFeeCap":"234","GasPremium":"234","Method":6,"Params":"aGFp",
		"CID":{"/":"bafy2bzaced5rdpz57e64sc7mdwjn3blicglhpialnrph2dlbufhf6iha63dmc"}}`, string(got))
	var back Message
	require.NoError(t, json.Unmarshal(got, &back))
	require.Equal(t, m, back)
}

func TestCBORRoundTrips(t *testing.T) {
	m := sample(t)
	var buf bytes.Buffer
	require.NoError(t, m.MarshalCBOR(&buf))
	var back Message
	require.NoError(t, back.UnmarshalCBOR(bytes.NewReader(buf.Bytes())))
	require.Equal(t, m, back)

	signed := SignedMessage{Message: m, Signature: crypto.Signature{Type: crypto.SigTypeSecp256k1, Data: bytes.Repeat([]byte{7}, 65)}}
	var signedBuf bytes.Buffer
	require.NoError(t, signed.MarshalCBOR(&signedBuf))
	var signedBack SignedMessage
	require.NoError(t, signedBack.UnmarshalCBOR(&signedBuf))
	require.Equal(t, signed, signedBack)

	t.Run("cut short", func(t *testing.T) {
		require.Error(t, back.UnmarshalCBOR(bytes.NewReader(buf.Bytes()[:buf.Len()-1])))
	})
	t.Run("not a message", func(t *testing.T) {
		require.ErrorContains(t, back.UnmarshalCBOR(bytes.NewReader([]byte{0x82, 0, 0})), "tuple of 10")
	})
}

// Blocks aggregate BLS signatures, so a message signed so is known by the CID of the message alone.
func TestSignedCidDependsOnTheSignatureType(t *testing.T) {
	m := sample(t)
	unsigned, err := m.Cid()
	require.NoError(t, err)
	for _, c := range []struct {
		kind crypto.SigType
		same bool
	}{{crypto.SigTypeBLS, true}, {crypto.SigTypeSecp256k1, false}, {crypto.SigTypeDelegated, false}} {
		signed := SignedMessage{Message: m, Signature: crypto.Signature{Type: c.kind, Data: []byte{1, 2, 3}}}
		got, err := signed.Cid()
		require.NoError(t, err)
		require.Equal(t, c.same, got == unsigned, "signature type %d", c.kind)
	}
}

func TestPostParamsRoundTrip(t *testing.T) {
	raw, err := PostParams(Post{
		Deadline: 7, Partitions: []PostPartition{{Index: 0}, {Index: 2, Skipped: []abi.SectorNumber{5, 9}}},
		ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Proof: []byte("proof"),
		CommitEpoch: 100, CommitRandomness: bytes.Repeat([]byte{1}, 32),
	})
	require.NoError(t, err)
	p, err := ParsePostParams(raw)
	require.NoError(t, err)
	require.EqualValues(t, 7, p.Deadline)
	require.Len(t, p.Partitions, 2)
	require.EqualValues(t, 2, p.Partitions[1].Index)
	skipped, err := p.Partitions[1].Skipped.All(10)
	require.NoError(t, err)
	require.Equal(t, []uint64{5, 9}, skipped)
	require.EqualValues(t, 100, p.ChainCommitEpoch)
	require.Equal(t, []byte("proof"), p.Proofs[0].ProofBytes)

	_, err = ParsePostParams([]byte("not CBOR"))
	require.ErrorContains(t, err, "SubmitWindowedPoSt")
}
