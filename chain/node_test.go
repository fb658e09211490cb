package chain_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/proof"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
	"posthaste/testsuite/devnet"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// serve starts a simulated chain whose proofs nobody looks at. With an epoch of an hour it moves only by Mine.
func serve(t *testing.T, epoch time.Duration) *devnet.Devnet {
	t.Helper()
	cfg := devnet.DefaultConfig(t.TempDir())
	cfg.Miners, cfg.EpochDuration, cfg.Deadlines, cfg.WideEvery = 1, epoch, 4, 0
	cfg.Verify = func(proof.WindowPoStVerifyInfo) (bool, error) { return true, nil }
	d, err := devnet.Start(t.Context(), cfg, quiet())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Stop()) })
	return d
}

func dial(t *testing.T, apiInfo string, options chain.Options) *chain.Node {
	t.Helper()
	n, err := chain.Dial(t.Context(), apiInfo, options)
	require.NoError(t, err)
	t.Cleanup(n.Close)
	return n
}

func minerAddress(t *testing.T, id abi.ActorID) address.Address {
	t.Helper()
	a, err := chain.MinerAddress(id)
	require.NoError(t, err)
	return a
}

func TestReads(t *testing.T) {
	d := serve(t, time.Hour)
	n := dial(t, d.Ready.FullnodeAPIInfo, chain.Options{})
	ctx := t.Context()
	miner := minerAddress(t, 1000)

	head, err := n.ChainHead(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1000, head.Height)
	require.Equal(t, "100000", head.BaseFee().String())
	require.Empty(t, head.Parents())

	next := d.Mine()
	got, err := n.ChainGetTipSet(ctx, next.Key())
	require.NoError(t, err)
	require.True(t, got.Parents().Equal(head.Key()))
	got, err = n.ChainGetTipSetAfterHeight(ctx, 1000, next.Key())
	require.NoError(t, err)
	require.True(t, got.Key().Equal(head.Key()))

	v, err := n.Version(ctx)
	require.NoError(t, err)
	require.Equal(t, "posthaste-devnet", v.Version)
	nv, err := n.StateNetworkVersion(ctx, nil)
	require.NoError(t, err)
	require.NotZero(t, nv)

	di, err := n.StateMinerProvingDeadline(ctx, miner, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1001, di.CurrentEpoch)
	require.EqualValues(t, 24, di.WPoStChallengeWindow)
	require.EqualValues(t, 4, di.WPoStPeriodDeadlines)

	partitions, err := n.StateMinerPartitions(ctx, miner, 1, nil)
	require.NoError(t, err)
	require.Len(t, partitions, 1)
	sectors, err := n.StateMinerSectors(ctx, miner, &partitions[0].LiveSectors, nil)
	require.NoError(t, err)
	require.Len(t, sectors, 2)
	require.EqualValues(t, 3, sectors[0].SectorNumber)
	require.True(t, sectors[0].SealedCID.Defined())
	require.Nil(t, sectors[0].SectorKeyCID)
	all, err := n.StateMinerSectors(ctx, miner, nil, nil)
	require.NoError(t, err)
	require.Len(t, all, 8)

	info, err := n.StateMinerInfo(ctx, miner, nil)
	require.NoError(t, err)
	require.Equal(t, []address.Address{info.ControlAddresses[0], info.Worker, info.Owner}, info.Senders())
	key, err := n.StateAccountKey(ctx, info.Worker, nil)
	require.NoError(t, err)
	require.Equal(t, address.BLS, key.Protocol())
	id, err := n.StateLookupID(ctx, key, nil)
	require.NoError(t, err)
	require.Equal(t, info.Worker, id)
	actor, err := n.StateGetActor(ctx, id, nil)
	require.NoError(t, err)
	balance, err := n.WalletBalance(ctx, key)
	require.NoError(t, err)
	require.Equal(t, actor.Balance, balance)
	nonce, err := n.MpoolGetNonce(ctx, id, 0)
	require.NoError(t, err)
	require.Zero(t, nonce)

	randomness, err := n.ChallengeRandomness(ctx, miner, 1001, nil)
	require.NoError(t, err)
	require.Len(t, randomness, 32)
	_, err = n.ChallengeRandomness(ctx, miner, 1002, nil)
	require.ErrorContains(t, err, "future")
	commit, err := n.CommitRandomness(ctx, 1001, nil)
	require.NoError(t, err)
	require.NotEqual(t, randomness, commit)
}

func TestEpochDuration(t *testing.T) {
	d := serve(t, time.Hour)
	network, err := dial(t, d.Ready.FullnodeAPIInfo, chain.Options{}).EpochDuration(t.Context())
	require.NoError(t, err)
	require.Equal(t, time.Hour, network)
	configured, err := dial(t, d.Ready.FullnodeAPIInfo, chain.Options{EpochDuration: time.Second}).EpochDuration(t.Context())
	require.NoError(t, err)
	require.Equal(t, time.Second, configured)
}

func TestUnknownMinerIsNamed(t *testing.T) {
	d := serve(t, time.Hour)
	n := dial(t, d.Ready.FullnodeAPIInfo, chain.Options{})
	_, err := n.StateMinerInfo(t.Context(), minerAddress(t, 1005), nil)
	require.ErrorContains(t, err, "f01005")
	require.ErrorContains(t, err, "actor not found")
	require.NotErrorIs(t, err, chain.ErrUnreachable)
}

func TestTokens(t *testing.T) {
	d := serve(t, time.Hour)
	ctx := t.Context()
	const wrong = "eyJwrongtoken"
	_, address, _ := strings.Cut(d.Ready.FullnodeAPIInfo, ":")

	_, err := dial(t, wrong+":"+address, chain.Options{}).ChainHead(ctx)
	require.ErrorIs(t, err, chain.ErrToken)
	require.ErrorContains(t, err, "FULLNODE_API_INFO")
	require.ErrorContains(t, err, "ChainHead on http://127.0.0.1:")
	require.NotContains(t, err.Error(), wrong)

	perms, err := dial(t, d.APIInfo("sign"), chain.Options{}).Permissions(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"read", "write", "sign"}, perms)

	reader := dial(t, d.APIInfo("read"), chain.Options{})
	_, err = reader.ChainHead(ctx)
	require.NoError(t, err)
	_, err = reader.WalletSignMessage(ctx, minerAddress(t, 101), &chain.Message{
		To: minerAddress(t, 1000), From: minerAddress(t, 101), Value: big.Zero(), GasFeeCap: big.Zero(), GasPremium: big.Zero(),
	})
	require.ErrorIs(t, err, chain.ErrToken)
	require.ErrorContains(t, err, "need 'sign'")
}

func TestNodeThatDoesNotAnswer(t *testing.T) {
	const token = "eyJsecret"
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the caller went
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	status := func(code int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	for _, c := range []struct {
		name, url string
		is        error
		says      string
	}{
		{"nobody listens", "http://" + free.Addr().String(), chain.ErrUnreachable, free.Addr().String()},
		{"no such path", status(http.StatusNotFound, "404"), chain.ErrNoRPC, "no Filecoin JSON-RPC there"},
		{"a web page", status(http.StatusOK, "<html>"), chain.ErrNoRPC, "check the address"},
		{"a proxy without its node", status(http.StatusBadGateway, ""), chain.ErrUnreachable, "cannot be reached"},
		{"forbidden", status(http.StatusForbidden, ""), chain.ErrToken, "refused the token"},
		{"silence", silent.URL, chain.ErrUnreachable, "deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := dial(t, token+":"+c.url, chain.Options{CallTimeout: 200 * time.Millisecond})
			_, err := n.ChainHead(t.Context())
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), token)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	t.Run("the caller gave up", func(t *testing.T) {
		n := dial(t, silent.URL, chain.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := n.ChainHead(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, chain.ErrUnreachable)
	})
}

func TestDialRefusesABadAddress(t *testing.T) {
	_, err := chain.Dial(t.Context(), "token", chain.Options{})
	require.ErrorContains(t, err, "FULLNODE_API_INFO")
}
