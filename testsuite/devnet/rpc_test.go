package devnet_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
	"posthaste/testsuite/devnet"
	"posthaste/testsuite/sealing"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start serves a chain with one miner and really sealed sectors that moves only by Mine.
func start(t *testing.T) (*devnet.Devnet, *chain.Node) {
	t.Helper()
	if os.Getenv("FIL_PROOFS_PARAMETER_CACHE") == "" {
		t.Fatal("this test makes and verifies a real proof: set FIL_PROOFS_PARAMETER_CACHE to the folder that build/parameters.sh prints")
	}
	cfg := devnet.DefaultConfig(t.TempDir())
	cfg.Miners, cfg.EpochDuration = 1, time.Hour
	d, err := devnet.Start(t.Context(), cfg, quiet())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Stop()) })
	node, err := chain.Dial(t.Context(), d.Ready.FullnodeAPIInfo, chain.Options{})
	require.NoError(t, err)
	t.Cleanup(node.Close)
	return d, node
}

// prove makes a real proof of the sectors of a partition.
func prove(t *testing.T, node *chain.Node, store string, miner address.Address, challenge abi.ChainEpoch, p chain.Partition) []byte {
	t.Helper()
	ctx := t.Context()
	randomness, err := node.ChallengeRandomness(ctx, miner, challenge, nil)
	require.NoError(t, err)
	randomness[31] &= 0x3f
	infos, err := node.StateMinerSectors(ctx, miner, &p.LiveSectors, nil)
	require.NoError(t, err)
	var private []ffi.PrivateSectorInfo
	for _, s := range infos {
		sector := ffi.PrivateSectorInfo{
			CacheDirPath: sealing.CacheDir(store, 1000, s.SectorNumber), PoStProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1,
			SealedSectorPath: sealing.SealedFile(store, 1000, s.SectorNumber),
		}
		sector.SealProof, sector.SectorNumber, sector.SealedCID = s.SealProof, s.SectorNumber, s.SealedCID
		private = append(private, sector)
	}
	proofs, faulty, err := ffi.GenerateWindowPoSt(1000, ffi.NewSortedPrivateSectorInfo(private...), abi.PoStRandomness(randomness))
	require.NoError(t, err)
	require.Empty(t, faulty)
	require.Len(t, proofs, 1)
	return proofs[0].ProofBytes
}

// One partition goes the whole way over the RPC, as a poster's daemon sends it; the other is left out.
func TestRealProofLandsAndTheMissedPartitionTurnsFaulty(t *testing.T) {
	d, node := start(t)
	ctx := t.Context()
	miner, err := chain.MinerAddress(1000)
	require.NoError(t, err)
	for range 11 + 3*24 + 1 { // one epoch into deadline 3, which has two partitions
		d.Mine()
	}
	di, err := node.StateMinerProvingDeadline(ctx, miner, nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, di.Index)
	require.True(t, di.IsOpen())
	partitions, err := node.StateMinerPartitions(ctx, miner, di.Index, nil)
	require.NoError(t, err)
	require.Len(t, partitions, 2)
	info, err := node.StateMinerInfo(ctx, miner, nil)
	require.NoError(t, err)
	commit, err := node.CommitRandomness(ctx, di.Challenge, nil)
	require.NoError(t, err)

	from, err := node.StateAccountKey(ctx, info.Worker, nil)
	require.NoError(t, err)
	has, err := node.WalletHas(ctx, from)
	require.NoError(t, err)
	require.True(t, has)
	m, err := chain.PostMessage(1000, from, chain.Post{
		Deadline: di.Index, Partitions: []chain.PostPartition{{Index: 0}}, ProofType: info.WindowPoStProofType,
		Proof: prove(t, node, d.Ready.Stores[0].Path, miner, di.Challenge, partitions[0]), CommitEpoch: di.Challenge, CommitRandomness: commit,
	})
	require.NoError(t, err)
	m, err = node.GasEstimateMessageGas(ctx, m, nil, nil)
	require.NoError(t, err)
	m.Nonce, err = node.MpoolGetNonce(ctx, from, 0)
	require.NoError(t, err)
	signed, err := node.WalletSignMessage(ctx, from, m)
	require.NoError(t, err)
	name, err := node.MpoolPush(ctx, signed)
	require.NoError(t, err)
	again, err := node.MpoolPush(ctx, signed)
	require.NoError(t, err, "the same bytes again are harmless")
	require.Equal(t, name, again)
	pending, err := node.MpoolPending(ctx, nil)
	require.NoError(t, err)
	require.Len(t, pending, 1)
	require.Equal(t, *signed, *pending[0])

	d.Mine()
	d.Mine()
	found, err := node.StateSearchMsg(ctx, nil, name, -1, true)
	require.NoError(t, err)
	require.NotNil(t, found)
	require.Equal(t, exitcode.Ok, found.Receipt.ExitCode)
	deadlines, err := node.StateMinerDeadlines(ctx, miner, nil)
	require.NoError(t, err)
	posted, err := deadlines[3].PostSubmissions.All(10)
	require.NoError(t, err)
	require.Equal(t, []uint64{0}, posted)

	for range di.Close - found.Height + 1 {
		d.Mine()
	}
	faults, err := node.StateMinerFaults(ctx, miner, nil)
	require.NoError(t, err)
	for i, p := range partitions {
		sectors, err := p.LiveSectors.All(10)
		require.NoError(t, err)
		for _, s := range sectors {
			faulty, err := faults.IsSet(s)
			require.NoError(t, err)
			require.Equal(t, i == 1, faulty, "sector %d of partition %d", s, i)
		}
	}
	report := d.Report()
	last := report.Deadlines[3]
	require.True(t, last.Partitions[0].Verified, "by the real library")
	require.Equal(t, name.String(), last.Partitions[0].Message)
	require.Equal(t, 2, last.Partitions[1].FaultyAfter)
	require.Zero(t, report.Messages.SentTwice)
}

func TestControlPort(t *testing.T) {
	d, node := start(t)
	post := func(path, body string) int {
		t.Helper()
		resp, err := http.Post(d.Ready.Control+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	resp, err := http.Get(d.Ready.Control + "/report")
	require.NoError(t, err)
	var report devnet.Report
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&report))
	require.NoError(t, resp.Body.Close())
	require.EqualValues(t, 1000, report.Epoch)
	require.NotNil(t, report.Deadlines)

	require.Equal(t, http.StatusBadRequest, post("/pause-rpc", `{}`))
	require.Equal(t, http.StatusNotFound, post("/nothing", ``))
	require.Equal(t, http.StatusOK, post("/pause-rpc", `{"seconds":0.3}`))
	_, err = node.ChainHead(t.Context())
	require.ErrorIs(t, err, chain.ErrUnreachable)
	require.Eventually(t, func() bool { _, err := node.ChainHead(t.Context()); return err == nil }, 5*time.Second, 50*time.Millisecond)
	require.Equal(t, http.StatusOK, post("/stop-mining", ``))
	require.Equal(t, http.StatusOK, post("/resume-mining", ``))
	require.Equal(t, http.StatusOK, post("/shutdown", ``))
	require.Equal(t, http.StatusOK, post("/shutdown", ``), "twice does no harm")
	select {
	case <-d.ShutdownAsked():
	case <-time.After(time.Second):
		t.Fatal("nobody was told")
	}
}

func TestStartRefuses(t *testing.T) {
	base := func() devnet.Config { return devnet.DefaultConfig(t.TempDir()) }
	for _, c := range []struct {
		name   string
		change func(*devnet.Config)
		says   string
	}{
		{"no folder", func(c *devnet.Config) { c.Dir = "" }, "--dir is empty"},
		{"no miner", func(c *devnet.Config) { c.Miners = 0 }, "--miners is 0"},
		{"no time", func(c *devnet.Config) { c.EpochDuration = 0 }, "--epoch is 0s"},
		{"window shorter than the lookback", func(c *devnet.Config) { c.Window = 11 }, "--window is 11"},
		{"cutoff after the challenge", func(c *devnet.Config) { c.FaultCutoff = 8 }, "--fault-cutoff is 8"},
		{"partition too big", func(c *devnet.Config) { c.SectorsPerPartition = 3 }, "--sectors is 3"},
		{"same-epoch inclusion", func(c *devnet.Config) { c.InclusionDelay = 0 }, "--inclusion-delay is 0"},
		{"start within the first period", func(c *devnet.Config) { c.StartEpoch = 100 }, "--start-epoch is 100"},
		{"address that is no address", func(c *devnet.Config) { c.Listen = "127.0.0.1:99999" }, "--listen 127.0.0.1:99999"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := base()
			c.change(&cfg)
			_, err := devnet.Start(t.Context(), cfg, quiet())
			require.ErrorContains(t, err, c.says)
		})
	}
	t.Run("parameters not there", func(t *testing.T) {
		t.Setenv("FIL_PROOFS_PARAMETER_CACHE", filepath.Join(t.TempDir(), "none"))
		_, err := devnet.Start(t.Context(), base(), quiet())
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorContains(t, err, "build/parameters.sh")
	})
	t.Run("parameters not named", func(t *testing.T) {
		t.Setenv("FIL_PROOFS_PARAMETER_CACHE", "")
		_, err := devnet.Start(t.Context(), base(), quiet())
		require.ErrorContains(t, err, "FIL_PROOFS_PARAMETER_CACHE is not set")
	})
	t.Run("cancelled while sealing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := devnet.Start(ctx, base(), quiet())
		require.True(t, errors.Is(err, context.Canceled), err)
	})
}
