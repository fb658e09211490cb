package devnet

import (
	"bytes"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/proof"
	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func accept(proof.WindowPoStVerifyInfo) (bool, error) { return true, nil }

// testChain is a chain without servers whose sectors are made out of thin air: for rules that look at no proof.
// Nothing moves but by Mine.
func testChain(t *testing.T, change func(*Config)) *Chain {
	t.Helper()
	cfg := DefaultConfig(t.TempDir())
	cfg.EpochDuration = time.Hour
	cfg.Verify = accept
	if change != nil {
		change(&cfg)
	}
	require.NoError(t, cfg.Check())
	w := wallet{}
	source := func(miner abi.ActorID, n abi.SectorNumber, upgraded bool) (*chain.SectorOnChainInfo, error) {
		commR := func(of string) (cid.Cid, error) {
			sum := cfg.derive(of, number(miner), number(n))
			sum[31] &= 0x3f
			return commcid.ReplicaCommitmentV1ToCID(sum[:])
		}
		sealed, err := commR("commr")
		info := &chain.SectorOnChainInfo{SectorNumber: n, SealProof: abi.RegisteredSealProof_StackedDrg2KiBV1_1, SealedCID: sealed}
		if upgraded && err == nil {
			info.SectorKeyCID = &sealed
			info.SealedCID, err = commR("upgraded")
		}
		return info, err
	}
	st, err := genesisState(cfg, w, source)
	require.NoError(t, err)
	return newChain(cfg, quiet(), w, source, st)
}

func (c *Chain) mineTo(epoch abi.ChainEpoch) {
	for c.head.height() < epoch {
		c.Mine()
	}
}

func (c *Chain) first() *minerState { return c.head.after.miners[firstMiner] }

// goodPost is a post of partition 0 of the current deadline of the first miner that the actor takes.
func (c *Chain) goodPost() chain.Post {
	di := c.cfg.deadlineInfo(c.first(), c.head.height())
	return chain.Post{
		Deadline: di.Index, Partitions: []chain.PostPartition{{Index: 0}}, ProofType: proofType, Proof: make([]byte, maxProofSize),
		CommitEpoch:      di.Challenge,
		CommitRandomness: c.runtimeAt(c.head).ticket(crypto.DomainSeparationTag_PoStChainCommit, di.Challenge, nil),
	}
}

// message is a signed message of a post by the first miner's worker, with gas that lands.
func (c *Chain) message(t *testing.T, p chain.Post, nonce uint64, premium int64) *chain.SignedMessage {
	t.Helper()
	from := c.head.after.accounts[c.first().worker].key
	m, err := chain.PostMessage(firstMiner, from, p)
	require.NoError(t, err)
	m.Nonce, m.GasLimit, m.GasPremium, m.GasFeeCap = nonce, 100_000_000, big.NewInt(premium), big.NewInt(1_000_000)
	signed, err := c.wallet.sign(from, *m)
	require.NoError(t, err)
	return signed
}

func (c *Chain) push(t *testing.T, p chain.Post, nonce uint64, premium int64) cid.Cid {
	t.Helper()
	name, err := c.Push(c.message(t, p, nonce, premium))
	require.NoError(t, err)
	return name
}

// lookup finds a message on the chain; nil if it is not there.
func (c *Chain) lookup(t *testing.T, name cid.Cid) *chain.MsgLookup {
	t.Helper()
	found, err := c.search(nil, name, -1, true)
	require.NoError(t, err)
	return found
}

func entropyOf(t *testing.T, miner abi.ActorID) []byte {
	t.Helper()
	a, err := address.NewIDAddress(uint64(miner))
	require.NoError(t, err)
	var buf bytes.Buffer
	require.NoError(t, a.MarshalCBOR(&buf))
	return buf.Bytes()
}
