package chain

import (
	"bytes"
	"encoding/json"
	"runtime"
	"testing"

	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/stretchr/testify/require"
)

// The seeds lie in testdata/fuzz and are run as tests; `go test ./chain -run '^$' -fuzz FuzzPartitions` looks for more.

// fuzz feeds a decoder. Whatever it is given it must neither panic nor take much more memory than it was given; what it takes for right,
// sound is asked about.
func fuzz[T any](f *testing.F, decode func(json.RawMessage) (T, error), sound func(t *testing.T, v T)) {
	f.Add([]byte("null"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v, err := decode(raw)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20+400*len(raw)), "bytes for an answer of %d", len(raw))
		if err == nil && sound != nil {
			sound(t, v)
		}
	})
}

// count is how many numbers a set has: going through them must be cheap.
func count(t *testing.T, set bitfield.BitField) int {
	all, err := set.All(maxSectors)
	require.NoError(t, err)
	return len(all)
}

func FuzzTipSet(f *testing.F) {
	fuzz(f, decodeTipSet, func(t *testing.T, ts *TipSet) {
		require.NotEmpty(t, ts.Key())
		require.GreaterOrEqual(t, int64(ts.Height), int64(0))
		ts.Parents()
		ts.BaseFee()
		ts.time()
		_ = ts.Key().String()
	})
}

func FuzzHeadChanges(f *testing.F) {
	fuzz(f, decodeHeadChanges, func(t *testing.T, changes []*HeadChange) {
		for _, c := range changes {
			require.True(t, c.Type == HeadRevert || c.Val != nil)
		}
	})
}

func FuzzFrame(f *testing.F) {
	fuzz(f, func(raw json.RawMessage) ([]*HeadChange, error) {
		step, _, err := new(subscription).step(raw)
		return step, err
	}, nil)
}

func FuzzPartitions(f *testing.F) {
	fuzz(f, decodePartitions, func(t *testing.T, partitions []Partition) {
		for _, p := range partitions {
			all := count(t, p.AllSectors)
			require.LessOrEqual(t, all, maxAddressed)
			require.LessOrEqual(t, count(t, p.LiveSectors), all)
			require.LessOrEqual(t, count(t, p.RecoveringSectors), count(t, p.FaultySectors))
		}
	})
}

func FuzzDeadlines(f *testing.F) {
	fuzz(f, decodeDeadlines, func(t *testing.T, deadlines []Deadline) {
		require.NotEmpty(t, deadlines)
		for _, d := range deadlines {
			require.LessOrEqual(t, count(t, d.PostSubmissions), maxPartitions)
		}
	})
}

func FuzzFaults(f *testing.F) {
	fuzz(f, func(raw json.RawMessage) (bitfield.BitField, error) {
		return decodeBitfield("faults", raw, maxAddressed)
	},
		func(t *testing.T, set bitfield.BitField) { require.LessOrEqual(t, count(t, set), maxAddressed) })
}

func FuzzSectors(f *testing.F) {
	asked := bitfield.NewFromSet([]uint64{3, 4, 5})
	fuzz(f, func(raw json.RawMessage) ([]*SectorOnChainInfo, error) { return decodeSectors(raw, &asked) },
		func(t *testing.T, sectors []*SectorOnChainInfo) { require.LessOrEqual(t, len(sectors), 3) })
}

func FuzzMinerInfo(f *testing.F) {
	fuzz(f, decodeMinerInfo, func(t *testing.T, m MinerInfo) {
		require.NotZero(t, m.WindowPoStPartitionSectors)
		require.GreaterOrEqual(t, len(m.Senders()), 2)
	})
}

func FuzzDline(f *testing.F) {
	fuzz(f, decodeDline, func(t *testing.T, d *dline.Info) {
		require.Positive(t, int64(d.WPoStChallengeWindow))
		require.NotZero(t, d.WPoStPeriodDeadlines)
	})
}

func FuzzMsgLookup(f *testing.F) {
	fuzz(f, decodeLookup, func(t *testing.T, l *MsgLookup) {
		if l != nil {
			require.NotEmpty(t, l.TipSet)
		}
	})
}

func FuzzMessage(f *testing.F) {
	fuzz(f, decodeMessage, func(t *testing.T, m *Message) {
		_, err := m.Cid()
		require.NoError(t, err)
		again, err := json.Marshal(m)
		require.NoError(t, err)
		back, err := decodeMessage(again)
		require.NoError(t, err)
		require.True(t, sameCall(m, back))
	})
}

func FuzzSigned(f *testing.F) {
	fuzz(f, decodeSigned, func(t *testing.T, s *SignedMessage) {
		_, err := s.Cid()
		require.NoError(t, err)
	})
}

func FuzzActor(f *testing.F) {
	fuzz(f, decodeActor, func(t *testing.T, a *Actor) { require.GreaterOrEqual(t, a.Balance.Sign(), 0) })
}

func FuzzRandomness(f *testing.F) {
	fuzz(f, decodeRandomness, func(t *testing.T, r abi.Randomness) { require.Len(t, r, 32) })
}

func FuzzNetworkParams(f *testing.F) {
	fuzz(f, decodeParams, func(t *testing.T, p *NetworkParams) { require.GreaterOrEqual(t, int64(p.EpochDuration()), int64(0)) })
}

func FuzzActorState(f *testing.F) {
	fuzz(f, decodeActorState, func(t *testing.T, a *ActorState) { require.GreaterOrEqual(t, a.State.FeeDebt.Sign(), 0) })
}

func FuzzGas(f *testing.F)     { fuzz(f, decodeGas, nil) }
func FuzzAddress(f *testing.F) { fuzz(f, decodeAddress, nil) }
func FuzzAmount(f *testing.F)  { fuzz(f, decodeAmount, nil) }
func FuzzCID(f *testing.F)     { fuzz(f, decodeCID, nil) }

// FuzzMessageCBOR reads what the chain itself holds.
func FuzzMessageCBOR(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s SignedMessage
		if s.UnmarshalCBOR(bytes.NewReader(raw)) == nil {
			var again bytes.Buffer
			require.NoError(t, s.MarshalCBOR(&again))
		}
		_, _ = ParsePostParams(raw)
	})
}
