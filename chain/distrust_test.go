package chain_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/gorilla/websocket"
	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

// Pieces of answers as Lotus writes them.
const (
	aCID    = `{"/":"bafy2bzaced5rdpz57e64sc7mdwjn3blicglhpialnrph2dlbufhf6iha63dmc"}`
	aTipSet = `{"Cids":[` + aCID + `],"Blocks":[{"Miner":"f01000","Parents":[` + aCID + `],"Height":1000,"Timestamp":1700000000,"ParentWeight":"7","ParentBaseFee":"100"}],"Height":1000}`
	noSets  = `"FaultySectors":[0],"RecoveringSectors":[0],"LiveSectors":[0],"ActiveSectors":[0]`
)

// liar is a node that answers every call with the same bytes.
func liar(t *testing.T, answer func(w http.ResponseWriter)) *chain.Node {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w)
	}))
	t.Cleanup(s.Close)
	return dial(t, "eyJsecret:"+s.URL, chain.Options{})
}

func says(text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { _, _ = io.WriteString(w, text) }
}

// result is an answer that go-jsonrpc takes: calls are numbered from 1.
func result(value string) func(http.ResponseWriter) {
	return says(`{"jsonrpc":"2.0","id":1,"result":` + value + `}`)
}

// repeated writes without end, as far as anybody reads.
func repeated(before, again string, times int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, before)
		chunk := strings.Repeat(again, 1000)
		for range times / 1000 {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	}
}

type ask func(context.Context, *chain.Node) error

func head(ctx context.Context, n *chain.Node) error { _, err := n.ChainHead(ctx); return err }

// Whatever a node answers gives a clear error, of one line and without the token, and takes little memory.
func TestAnswersAreDistrusted(t *testing.T) {
	miner := minerAddress(t, 1000)
	partitions := func(ctx context.Context, n *chain.Node) error {
		_, err := n.StateMinerPartitions(ctx, miner, 0, nil)
		return err
	}
	deadlines := func(ctx context.Context, n *chain.Node) error {
		_, err := n.StateMinerDeadlines(ctx, miner, nil)
		return err
	}
	faults := func(ctx context.Context, n *chain.Node) error {
		_, err := n.StateMinerFaults(ctx, miner, nil)
		return err
	}
	sectors := func(ctx context.Context, n *chain.Node) error {
		asked := bitfield.NewFromSet([]uint64{3})
		_, err := n.StateMinerSectors(ctx, miner, &asked, nil)
		return err
	}
	info := func(ctx context.Context, n *chain.Node) error {
		_, err := n.StateMinerInfo(ctx, miner, nil)
		return err
	}
	deadline := func(ctx context.Context, n *chain.Node) error {
		_, err := n.StateMinerProvingDeadline(ctx, miner, nil)
		return err
	}
	random := func(ctx context.Context, n *chain.Node) error { _, err := n.CommitRandomness(ctx, 5, nil); return err }
	after := func(ctx context.Context, n *chain.Node) error {
		_, err := n.ChainGetTipSetAfterHeight(ctx, 2000, nil)
		return err
	}
	actor := func(ctx context.Context, n *chain.Node) error { _, err := n.StateGetActor(ctx, miner, nil); return err }
	nonce := func(ctx context.Context, n *chain.Node) error { _, err := n.MpoolGetNonce(ctx, miner, 0); return err }
	pending := func(ctx context.Context, n *chain.Node) error { _, err := n.MpoolPending(ctx, nil); return err }
	epoch := func(ctx context.Context, n *chain.Node) error { _, err := n.EpochDuration(ctx); return err }
	message := &chain.Message{To: miner, From: minerAddress(t, 101), Value: big.Zero(), GasFeeCap: big.Zero(), GasPremium: big.Zero(), Method: 5}
	other := *message
	other.To = minerAddress(t, 666)
	otherJSON, err := json.Marshal(other)
	require.NoError(t, err)
	name, err := message.Cid()
	require.NoError(t, err)
	sign := func(ctx context.Context, n *chain.Node) error {
		_, err := n.WalletSignMessage(ctx, message.From, message)
		return err
	}
	estimate := func(ctx context.Context, n *chain.Node) error {
		_, err := n.GasEstimateMessageGas(ctx, message, nil, nil)
		return err
	}
	push := func(ctx context.Context, n *chain.Node) error {
		_, err := n.MpoolPush(ctx, &chain.SignedMessage{Message: *message})
		return err
	}
	search := func(ctx context.Context, n *chain.Node) error {
		_, err := n.StateSearchMsg(ctx, nil, name, 10, false)
		return err
	}
	signed := `{"Message":` + string(otherJSON) + `,"Signature":{"Type":2,"Data":"AAAA"}}`
	partition := func(all string) string { return `[{"AllSectors":` + all + `,` + noSets + `}]` }

	for _, c := range []struct {
		situation string
		ask       ask
		answer    func(http.ResponseWriter)
		is        error
		says      string
	}{
		{"an empty body", head, says(""), chain.ErrUnreachable, "cut short"},
		{"cut short", head, says(`{"jsonrpc":"2.0","id":1,"result":{"Cids":[`), chain.ErrUnreachable, "cut short"},
		{"neither result nor error", head, says(`{"jsonrpc":"2.0","id":1}`), chain.ErrAnswer, "the answer is empty"},
		{"null", head, result("null"), chain.ErrAnswer, "the answer is null"},
		{"of the wrong type", head, result(`"a head"`), chain.ErrAnswer, "cannot unmarshal string"},
		{"a list instead of an answer", head, says(`[]`), chain.ErrAnswer, "cannot unmarshal array"},
		{"the answer to another call", head, says(`{"jsonrpc":"2.0","id":99,"result":null}`), chain.ErrAnswer, "id didn't match"},
		{"no JSON", head, says(`head: 5`), chain.ErrNoRPC, "invalid character"},
		{"nested without end", head, repeated(`{"jsonrpc":"2.0","id":1,"result":`, "[", 20_000), chain.ErrNoRPC, "exceeded max depth"},
		{"longer than any tipset", head, repeated(`{"jsonrpc":"2.0","id":1,"result":"`, "a", 3_000_000), chain.ErrAnswer, "longer than 1048576 bytes"},
		{"an endless list of sectors", sectors, repeated(`{"jsonrpc":"2.0","id":1,"result":[`, "{}, ", 100_000_000), chain.ErrAnswer, "longer than 67108864 bytes"},
		{"packed a thousandfold", head, func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(bytes.Repeat([]byte(" "), 50<<20))
			_ = z.Close()
		}, chain.ErrAnswer, "longer than 1048576 bytes"},
		{"an error of a megabyte", head, says(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"` + strings.Repeat("no\\n", 200_000) + `"}}`), nil, "no no no"},
		{"an error that is none", head, says(`{"jsonrpc":"2.0","id":1,"error":"no"}`), chain.ErrAnswer, "cannot unmarshal string"},
		{"a gateway's limit", head, func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) }, chain.ErrUnreachable, "429"},

		{"a tipset without blocks", head, result(`{"Cids":[],"Blocks":[],"Height":0}`), chain.ErrAnswer, "no head yet"},
		{"a tipset of null blocks", head, result(`{"Cids":[` + aCID + `],"Blocks":[null],"Height":5}`), chain.ErrAnswer, "is null"},
		{"a negative height", head, result(strings.ReplaceAll(aTipSet, "\"Height\":1000", "\"Height\":-1000")), chain.ErrAnswer, "no chain has"},
		{"an absurd height", head, result(strings.ReplaceAll(aTipSet, "\"Height\":1000", "\"Height\":4611686018427387904")), chain.ErrAnswer, "no chain has"},
		{"a number of a million digits", head, result(strings.ReplaceAll(aTipSet, `"100"`, `"`+strings.Repeat("9", 1_000_000)+`"`)), chain.ErrAnswer, "a number has 1000000 digits"},
		{"digits written as escapes", head, result(strings.ReplaceAll(aTipSet, `"100"`, `"`+strings.Repeat(`\u0039`, 100_000)+`"`)), chain.ErrAnswer, "digits"},
		{"a CID of a million characters", head, result(strings.ReplaceAll(aTipSet, `"bafy`, `"z`+strings.Repeat("1", 300_000)+`bafy`)), chain.ErrAnswer, "a CID has"},
		{"another tipset than the one asked for", after, result(aTipSet), chain.ErrAnswer, "before epoch 2000"},

		{"a partition of 2^62 sectors", partitions, result(partition(`[0,4611686018427387904]`)), chain.ErrAnswer, "more than 25000"},
		{"a set beyond 64 bits", partitions, result(partition(`[18446744073709551615,18446744073709551615,7]`)), chain.ErrAnswer, "AllSectors"},
		{"a set of a million runs", partitions, result(partition("[" + strings.Repeat("1,", 1_000_000) + "1]")), chain.ErrAnswer, "written in 2000003 bytes"},
		{"a partition without its sets", partitions, result(`[{}]`), chain.ErrAnswer, "AllSectors"},
		{"faulty sectors that are not live", partitions, result(`[{"AllSectors":[1,2],"LiveSectors":[1,2],"FaultySectors":[5,1],"RecoveringSectors":[0],"ActiveSectors":[0]}]`), chain.ErrAnswer, "FaultySectors"},
		{"more partitions than a deadline can have", partitions, result("[" + strings.Repeat(partition("[0]")[1:len(partition("[0]"))-1]+",", 3000) + "{}]"), chain.ErrAnswer, "more than 3000 entries"},
		{"an object in place of partitions", partitions, result(`{"0":{}}`), chain.ErrAnswer, "not a list"},
		{"no deadlines", deadlines, result(`[]`), chain.ErrAnswer, "every miner has deadlines"},
		{"null for deadlines", deadlines, result(`null`), chain.ErrAnswer, "every miner has deadlines"},
		{"faults without end", faults, result(`[0,9223372036854775807]`), chain.ErrAnswer, "numbers, more than"},
		{"no faults at all", faults, result(`null`), chain.ErrAnswer, "null"},
		{"a sector nobody asked for", sectors, result(`[{"SectorNumber":4,"SealedCID":` + aCID + `}]`), chain.ErrAnswer, "sector 4 was not asked for"},
		{"a sector twice", sectors, result(`[{"SectorNumber":3,"SealedCID":` + aCID + `},{"SectorNumber":3,"SealedCID":` + aCID + `}]`), chain.ErrAnswer, "there twice"},
		{"a sector without its CID", sectors, result(`[{"SectorNumber":3}]`), chain.ErrAnswer, "no sealed CID"},
		{"null for a sector", sectors, result(`[null]`), chain.ErrAnswer, "entry 0"},
		{"a miner of an unknown proof type", info, result(`{"Owner":"f01","Worker":"f02","WindowPoStProofType":99}`), chain.ErrAnswer, "proof type 99"},
		{"proofs of another sector size", info, result(`{"Owner":"f01","Worker":"f02","WindowPoStProofType":13,"SectorSize":2048,"WindowPoStPartitionSectors":2}`), chain.ErrAnswer, "its sectors have 2048 bytes"},
		{"a period without deadlines", deadline, result(`{"WPoStChallengeWindow":60,"WPoStProvingPeriod":2880}`), chain.ErrAnswer, "has 0 deadlines"},
		{"a period of 2^60 deadlines", deadline, result(`{"WPoStPeriodDeadlines":1152921504606846976,"WPoStChallengeWindow":60,"WPoStProvingPeriod":2880}`), chain.ErrAnswer, "1152921504606846976 deadlines"},
		{"a deadline at absurd epochs", deadline, result(`{"WPoStPeriodDeadlines":48,"WPoStChallengeWindow":60,"WPoStProvingPeriod":2880,"Open":-9223372036854775808}`), chain.ErrAnswer, "Open is epoch"},
		{"a deadline that does not add up", deadline, result(`{"WPoStPeriodDeadlines":48,"WPoStChallengeWindow":60,"WPoStProvingPeriod":2880,"Index":3,"Open":7,"Close":8}`), chain.ErrAnswer, "deadline 3 has"},
		{"randomness of three bytes", random, result(`"AAAA"`), chain.ErrAnswer, "3 bytes instead of 32"},
		{"an actor without a balance", actor, result(`{"Nonce":1}`), chain.ErrAnswer, "balance"},
		{"a negative nonce", nonce, result(`-1`), chain.ErrAnswer, "cannot unmarshal number -1"},
		{"a signed message without a signature", pending, result(`[{"Message":` + string(otherJSON) + `}]`), chain.ErrAnswer, "signature has 0 bytes"},
		{"an epoch of ages", epoch, result(`{"BlockDelaySecs":18446744073709551615}`), chain.ErrAnswer, "an epoch of"},

		{"another message signed", sign, result(signed), chain.ErrAnswer, "another message"},
		{"another message estimated", estimate, result(string(otherJSON)), chain.ErrAnswer, "another message"},
		{"another name for a message", push, result(aCID), chain.ErrAnswer, "it calls the message"},
		{"the receipt of another message", search, result(`{"Message":` + aCID + `,"TipSet":[` + aCID + `],"Height":5}`), chain.ErrAnswer, "it is about message"},
	} {
		t.Run(c.situation, func(t *testing.T) {
			n := liar(t, c.answer)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := c.ask(t.Context(), n)
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), "eyJsecret")
			require.Less(t, len(err.Error()), 4000)
			// The longest answer that is read has 64 MiB; with the server's own part and the decoder's copies it is some times that.
			require.Less(t, (after.TotalAlloc-before.TotalAlloc)>>20, uint64(1000), "MiB")
		})
	}
}

// What is odd and right is taken: deadlines without partitions, messages that are not found, deadlines fewer than 48.
func TestOddAnswersAreTaken(t *testing.T) {
	miner := minerAddress(t, 1000)
	partitions, err := liar(t, result("null")).StateMinerPartitions(t.Context(), miner, 0, nil)
	require.NoError(t, err)
	require.Empty(t, partitions)
	found, err := liar(t, result("null")).StateSearchMsg(t.Context(), nil, mustCID(t), 10, false)
	require.NoError(t, err)
	require.Nil(t, found)
	di, err := liar(t, result(`{"CurrentEpoch":5,"WPoStPeriodDeadlines":4,"WPoStChallengeWindow":60,"WPoStProvingPeriod":240,"Open":0,"Close":60}`)).
		StateMinerProvingDeadline(t.Context(), miner, nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, di.WPoStPeriodDeadlines)
	ts, err := liar(t, result(aTipSet)).ChainHead(t.Context())
	require.NoError(t, err)
	require.Equal(t, "7", ts.Blocks[0].ParentWeight.String())
}

// Calls that a node answers minutes late end with their limit.
func TestLateAnswers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0",`) // it begins, and does not go on
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	_, err := dial(t, s.URL, chain.Options{CallTimeout: 100 * time.Millisecond}).ChainHead(t.Context())
	require.ErrorIs(t, err, chain.ErrUnreachable)
	require.ErrorContains(t, err, "deadline exceeded")
}

// A subscription over which a node says what makes no sense ends, and the head is asked for: the process goes on.
func TestSubscriptionsAreDistrusted(t *testing.T) {
	for situation, frames := range map[string][]string{
		"no parameters":       {`{"jsonrpc":"2.0","method":"xrpc.ch.val","params":[]}`},
		"one parameter":       {`{"jsonrpc":"2.0","method":"xrpc.ch.val","params":[1]}`},
		"null":                {`{"jsonrpc":"2.0","method":"xrpc.ch.val","params":null}`},
		"no JSON":             {`head`},
		"a head that is none": {`{"jsonrpc":"2.0","method":"xrpc.ch.val","params":[1,[{"Type":"apply","Val":{"Height":-5}}]]}`},
		"a frame of 40 MB":    {strings.Repeat(" ", 40<<20)},
		"other frames first":  {`{"jsonrpc":"2.0","id":1,"result":1}`, `{"jsonrpc":"2.0","id":5,"method":"Filecoin.Shutdown","params":[]}`, `[]`},
	} {
		t.Run(situation, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") == "" {
					var call struct{ ID int64 }
					_ = json.NewDecoder(r.Body).Decode(&call)
					_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,"result":%s}`, call.ID, aTipSet)
					return
				}
				conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				_, _, _ = conn.ReadMessage()
				for _, frame := range append([]string{`{"jsonrpc":"2.0","id":1,"result":1}`}, frames...) {
					_ = conn.WriteMessage(websocket.TextMessage, []byte(frame))
				}
				_, _, _ = conn.ReadMessage() // until the client goes
			}))
			t.Cleanup(s.Close)
			f, log := follow(t, s.URL)
			got, err := f.WaitEpoch(within(t, 10*time.Second), 1000)
			require.NoError(t, err)
			require.EqualValues(t, 1000, got.Height)
			require.NotZero(t, log.count("by=polling"))
		})
	}
}

func mustCID(t *testing.T) cid.Cid {
	t.Helper()
	var c cid.Cid
	require.NoError(t, json.Unmarshal([]byte(aCID), &c))
	return c
}
