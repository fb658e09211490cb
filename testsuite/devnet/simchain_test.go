package devnet

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

func TestStartLeavesEveryChallengeAhead(t *testing.T) {
	for miners := 1; miners <= 9; miners += 4 {
		c := testChain(t, func(cfg *Config) { cfg.Miners = miners })
		for i := range miners {
			m := c.head.after.miners[firstMiner+abi.ActorID(i)]
			open := c.cfg.firstOpen(i)
			require.Greater(t, open-c.cfg.Lookback, c.cfg.StartEpoch)
			di := c.cfg.deadlineInfo(m, c.cfg.StartEpoch)
			require.Equal(t, open, di.Close, "one deadline is open at the start, the first to prove follows it")
			require.Len(t, m.deadlines[di.Index].posted, len(m.deadlines[di.Index].partitions))
		}
		c.mineTo(c.cfg.StartEpoch + c.cfg.Window)
		for _, m := range c.head.after.miners {
			for _, d := range m.deadlines {
				for _, p := range d.partitions {
					require.Empty(t, p.faulty, "nothing turns faulty that could not be proven")
				}
			}
		}
	}
}

func TestClose(t *testing.T) {
	c := wide(t, nil)
	di := c.cfg.deadlineInfo(c.first(), c.head.height())
	p := c.goodPost()
	p.Partitions = []chain.PostPartition{{Index: 0, Skipped: []abi.SectorNumber{8}}}
	c.push(t, p, 0, 1000)
	c.mineTo(di.Last() - 1)
	require.Equal(t, map[uint64]bool{0: true}, c.first().deadlines[3].posted)
	c.mineTo(di.Last())
	require.Empty(t, c.first().deadlines[3].posted, "the cron of the last epoch clears the submissions")
	c.mineTo(di.Close)
	partitions := c.first().deadlines[3].partitions
	require.Equal(t, sectorSet{8}, partitions[0].faulty, "skipped")
	require.Equal(t, sectorSet{9, 10}, partitions[1].faulty, "missed")

	var r *DeadlineReport
	for _, d := range c.Report().Deadlines {
		if d.Miner == "f01000" && d.Index == 3 {
			r = &d
		}
	}
	require.NotNil(t, r)
	require.True(t, r.Closed)
	require.Equal(t, []abi.SectorNumber{8}, r.Partitions[0].Skipped)
	require.True(t, r.Partitions[0].Posted && r.Partitions[0].Verified)
	require.Equal(t, 1, r.Partitions[0].FaultyAfter)
	require.False(t, r.Partitions[1].Posted)
	require.Equal(t, 2, r.Partitions[1].FaultyAfter)
}

func TestRecoveringSectorsThatAreProvenAreGood(t *testing.T) {
	c := wide(t, nil)
	d := c.first().deadlines[3].clone()
	d.partitions[0].faulty, d.partitions[0].recovering = sectorSet{7, 8}, sectorSet{7}
	c.first().deadlines[3] = d
	c.push(t, c.goodPost(), 0, 1000)
	c.Mine()
	got := c.first().deadlines[3].partitions[0]
	require.Equal(t, sectorSet{8}, got.faulty)
	require.Empty(t, got.recovering)
}

func TestNonces(t *testing.T) {
	c := wide(t, nil)
	second := c.push(t, c.goodPost(), 1, 1000)
	c.mineTo(c.head.height() + 3)
	require.Nil(t, c.lookup(t, second), "a gap waits")
	first := c.push(t, c.goodPost(), 0, 1000)
	require.Len(t, c.pool.all(), 2)
	c.mineTo(c.head.height() + 2)
	require.Equal(t, exitcode.Ok, c.lookup(t, first).Receipt.ExitCode, "the lower nonce goes first")
	require.Equal(t, exitcode.ErrIllegalArgument, c.lookup(t, second).Receipt.ExitCode)
	require.EqualValues(t, 2, c.head.after.accounts[c.first().worker].nonce, "a failed message uses its nonce too")

	_, err := c.Push(c.message(t, c.goodPost(), 1, 1000))
	require.ErrorContains(t, err, "minimum expected nonce is 2: message nonce too low")
	_, err = c.Push(c.message(t, c.goodPost(), 2+maxNonceGap+1, 1000))
	require.ErrorContains(t, err, "nonce gap")
}

func TestReplacement(t *testing.T) {
	c := wide(t, nil)
	old := c.push(t, c.goodPost(), 0, 1000)
	_, err := c.Push(c.message(t, c.goodPost(), 0, 1000))
	require.ErrorContains(t, err, "already in mpool: message with nonce already exists")
	_, err = c.Push(c.message(t, c.goodPost(), 0, 1100))
	require.ErrorContains(t, err, "increase GasPremium to 1101 from 1100")
	replacement := c.push(t, c.goodPost(), 0, 1101)
	c.mineTo(c.head.height() + 2)
	found := c.lookup(t, old)
	require.Equal(t, replacement, found.Message, "the old message's lookup finds what replaced it")
	_, err = c.search(nil, old, -1, false)
	require.ErrorContains(t, err, "found message with equal nonce")
	require.Zero(t, c.Report().Messages.SentTwice, "a replacement is not a second message")
}

func TestLandingAndLookup(t *testing.T) {
	c := wide(t, func(cfg *Config) { cfg.InclusionDelay = 2 })
	pushed := c.head.height()
	name := c.push(t, c.goodPost(), 0, 1000)
	c.Mine()
	require.Len(t, c.pool.all(), 1, "not in the next tipset when the delay is 2")
	c.Mine()
	require.Nil(t, c.lookup(t, name), "included, but executed by the next tipset only")
	require.Empty(t, c.pool.all())
	c.Mine()
	found := c.lookup(t, name)
	require.Equal(t, pushed+3, found.Height)
	require.True(t, found.TipSet.Equal(c.head.tipset.Cids))
	c.Mine()
	limited, err := c.search(nil, name, 0, true)
	require.NoError(t, err)
	require.Nil(t, limited, "beyond the limit")
}

func TestBlocksWithoutMessages(t *testing.T) {
	c := wide(t, nil)
	c.SetIncluding(false)
	c.push(t, c.goodPost(), 0, 1000)
	c.Mine()
	c.Mine()
	require.Len(t, c.pool.all(), 1, "it waits")
	c.SetIncluding(true)
	c.Mine()
	require.Empty(t, c.pool.all())
}

func TestGas(t *testing.T) {
	c := wide(t, nil)
	good := c.message(t, c.goodPost(), 0, 1000).Message
	good.GasLimit, good.GasPremium, good.GasFeeCap = 0, big.Zero(), big.Zero()
	m, err := c.estimate(good, nil, nil)
	require.NoError(t, err)
	require.Greater(t, m.GasLimit, gasUsed(good))
	require.True(t, m.GasFeeCap.GreaterThan(c.cfg.BaseFee))

	t.Run("max fee bounds the fee cap", func(t *testing.T) {
		maxFee := big.Mul(big.NewInt(150_000), big.NewInt(m.GasLimit))
		capped, err := c.estimate(good, &chain.MessageSendSpec{MaxFee: maxFee}, nil)
		require.NoError(t, err)
		require.Equal(t, "150000", capped.GasFeeCap.String())
	})
	t.Run("a message that fails cannot be estimated", func(t *testing.T) {
		p := c.goodPost()
		p.Deadline++
		bad := c.message(t, p, 0, 1000).Message
		bad.GasLimit = 0
		_, err := c.estimate(bad, nil, nil)
		require.ErrorContains(t, err, "message execution failed (exit=[ErrIllegalArgument(16)]")
		require.ErrorContains(t, err, "invalid deadline 4")
	})
	t.Run("gas is paid", func(t *testing.T) {
		before := c.head.after.accounts[c.first().worker].balance
		c.push(t, c.goodPost(), 0, 1000)
		c.Mine()
		require.True(t, c.head.after.accounts[c.first().worker].balance.LessThan(before))
	})
	t.Run("too low a limit", func(t *testing.T) {
		short := c.message(t, c.goodPost(), 1, 1000).Message
		short.GasLimit = 1000
		signed, err := c.wallet.sign(short.From, short)
		require.NoError(t, err)
		name, err := c.Push(signed)
		require.NoError(t, err)
		c.mineTo(c.head.height() + 2)
		require.Equal(t, exitcode.SysErrOutOfGas, c.lookup(t, name).Receipt.ExitCode)
	})
	t.Run("more than the balance", func(t *testing.T) {
		costly := c.message(t, c.goodPost(), 2, 1000).Message
		costly.GasFeeCap = big.NewInt(1 << 60)
		signed, err := c.wallet.sign(costly.From, costly)
		require.NoError(t, err)
		_, err = c.Push(signed)
		require.ErrorContains(t, err, "not enough funds")
	})
	t.Run("fee cap below the base fee waits", func(t *testing.T) {
		cheap := c.message(t, c.goodPost(), 2, 1000).Message
		cheap.GasFeeCap = big.NewInt(50_000)
		signed, err := c.wallet.sign(cheap.From, cheap)
		require.NoError(t, err)
		_, err = c.Push(signed)
		require.NoError(t, err)
		c.mineTo(c.head.height() + 2)
		require.Len(t, c.pool.all(), 1)
	})
}

func TestSignaturesAreChecked(t *testing.T) {
	c := wide(t, nil)
	good := c.message(t, c.goodPost(), 0, 1000)
	t.Run("message changed after signing", func(t *testing.T) {
		changed := *good
		changed.Message.Nonce = 1
		_, err := c.Push(&changed)
		require.ErrorContains(t, err, "failed to verify")
	})
	t.Run("ID address as sender", func(t *testing.T) {
		changed := *good
		changed.Message.From = c.first().worker
		_, err := c.Push(&changed)
		require.ErrorContains(t, err, "must resolve ID addresses")
	})
}

func TestRandomness(t *testing.T) {
	c, same := testChain(t, nil), testChain(t, nil)
	other := testChain(t, func(cfg *Config) { cfg.Seed = "other" })
	const tag = crypto.DomainSeparationTag_PoStChainCommit
	draw := func(c *Chain, epoch abi.ChainEpoch) string {
		out, err := c.ticketRandomness(tag, epoch, nil, nil)
		require.NoError(t, err)
		return string(out)
	}
	for _, chain := range []*Chain{c, same, other} {
		chain.mineTo(1005)
	}
	require.Equal(t, draw(c, 1003), draw(same, 1003))
	require.NotEqual(t, draw(c, 1003), draw(other, 1003))
	require.NotEqual(t, draw(c, 1003), draw(c, 1004))
	_, err := c.ticketRandomness(tag, 1006, nil, nil)
	require.ErrorIs(t, err, errFuture)
}

func TestOldTipsetsAreLetGo(t *testing.T) {
	c := testChain(t, nil)
	first := c.head.tipset
	c.mineTo(c.cfg.StartEpoch + keepEpochs + 100)
	require.Len(t, c.blocks, keepEpochs)
	_, err := c.at(first.Cids)
	require.ErrorContains(t, err, "not found")
	oldest, err := c.tipsetAt(c.cfg.StartEpoch, nil, true)
	require.NoError(t, err)
	require.Equal(t, c.head.height()-keepEpochs+1, oldest.Height)
}
