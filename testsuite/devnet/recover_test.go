package devnet

import (
	"testing"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

// faulty is a chain in whose deadline 3 the sectors 7 and 9 of the first miner are faulty, two windows before it opens.
func faulty(t *testing.T) *Chain {
	t.Helper()
	c := testChain(t, nil)
	c.mineTo(c.cfg.firstOpen(0) + c.cfg.Window + 2)
	c.spoil(3, 7, 9)
	return c
}

// spoil makes sectors of a deadline of the first miner faulty.
func (c *Chain) spoil(index uint64, sectors ...abi.SectorNumber) {
	st := c.head.after.clone()
	m := st.miners[firstMiner]
	d := m.deadlines[index].clone()
	for i, p := range d.partitions {
		bad := p.all.minus(p.all.minus(sectors))
		d.partitions[i] = partition{all: p.all, faulty: p.faulty.union(bad), recovering: p.recovering}
	}
	m.deadlines[index] = d
	c.head.before, c.head.applied, c.head.after = st, st, st
}

func TestActorJudgesRecoveries(t *testing.T) {
	one := func(sectors ...abi.SectorNumber) []chain.RecoveredPartition {
		return []chain.RecoveredPartition{{Deadline: 3, Partition: 0, Sectors: sectors}}
	}
	for _, c := range []struct {
		name   string
		say    []chain.RecoveredPartition
		change func(*minerState)
		from   func(*minerState) address.Address
		at     func(Config, abi.ChainEpoch) abi.ChainEpoch // given the deadline's Open; nil: long before
		code   exitcode.ExitCode
		says   string
		made   sectorSet // recovering afterwards, of both partitions
	}{
		{name: "one sector", say: one(7), made: sectorSet{7}},
		{name: "two partitions", say: append(one(7), chain.RecoveredPartition{Deadline: 3, Partition: 1, Sectors: []abi.SectorNumber{9}}), made: sectorSet{7, 9}},
		{name: "one that is not faulty is ignored", say: one(7, 8), made: sectorSet{7}},
		{name: "the same partition twice", say: append(one(7), one(7)...), made: sectorSet{7}},
		{name: "from the owner", say: one(7), from: func(m *minerState) address.Address { return m.owner }, made: sectorSet{7}},
		{name: "fee debt that can be paid", say: one(7), change: func(m *minerState) { m.funds.FeeDebt = big.NewInt(5) }, made: sectorSet{7}},
		{name: "the last epoch before the cutoff", say: one(7), at: func(c Config, open abi.ChainEpoch) abi.ChainEpoch { return open - c.FaultCutoff - 1 }, made: sectorSet{7}},
		{name: "at the cutoff", say: one(7), at: func(c Config, open abi.ChainEpoch) abi.ChainEpoch { return open - c.FaultCutoff }, code: exitcode.ErrIllegalArgument, says: "late fault or recovery"},
		{name: "in the open deadline", say: one(7), at: func(_ Config, open abi.ChainEpoch) abi.ChainEpoch { return open }, code: exitcode.ErrIllegalArgument, says: "late fault or recovery"},
		{name: "when it has closed", say: one(7), at: func(c Config, open abi.ChainEpoch) abi.ChainEpoch { return open + c.Window }, made: sectorSet{7}},
		{name: "unknown partition", say: []chain.RecoveredPartition{{Deadline: 3, Partition: 2, Sectors: []abi.SectorNumber{7}}}, code: exitcode.ErrNotFound, says: "no such partition 2"},
		{name: "another partition's sector", say: one(9), code: exitcode.ErrIllegalArgument, says: "assigned to the partition"},
		{name: "a deadline that no period has", say: []chain.RecoveredPartition{{Deadline: 12}}, code: exitcode.ErrIllegalArgument, says: "invalid deadline 12"},
		{name: "from a stranger", say: one(7), from: func(*minerState) address.Address { a, _ := address.NewIDAddress(104); return a }, code: exitcode.ErrForbidden, says: "not one of supported"},
		{name: "fee debt beyond what is free", say: one(7), change: func(m *minerState) { m.funds.FeeDebt, m.funds.Bound = big.NewInt(5), m.funds.Balance }, code: exitcode.ErrInsufficientFunds, says: "can not repay fee debt"},
		{name: "active consensus fault", say: one(7), change: func(m *minerState) { m.consensusFault = 1 << 40 }, code: exitcode.ErrForbidden, says: "consensus fault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim := faulty(t)
			st := sim.head.after.clone()
			m := st.miners[firstMiner]
			if c.change != nil {
				c.change(m)
			}
			from := m.worker
			if c.from != nil {
				from = c.from(m)
			}
			run := sim.runtimeAt(sim.head)
			if c.at != nil {
				run.epoch = c.at(sim.cfg, sim.cfg.nthDeadline(sim.cfg.periodStart(m, run.epoch), 3, run.epoch).Open)
			}
			raw, err := chain.RecoveryParams(c.say)
			require.NoError(t, err)
			abort := run.declareRecovered(m, from, raw)
			var made sectorSet
			for _, p := range m.deadlines[3].partitions {
				made = made.union(p.recovering)
			}
			require.Equal(t, c.made, made)
			if c.code == exitcode.Ok {
				require.Nil(t, abort)
				require.Zero(t, m.funds.FeeDebt.Sign(), "its debt is paid first")
				return
			}
			require.NotNil(t, abort)
			require.Equal(t, c.code, abort.code, abort.reason)
			require.Contains(t, abort.reason, c.says)
		})
	}
}

func TestActorRefusesRecoveriesThatAreNotCBOR(t *testing.T) {
	c := faulty(t)
	m := c.first()
	abort := c.runtimeAt(c.head).declareRecovered(m, m.worker, []byte("junk"))
	require.NotNil(t, abort)
	require.Equal(t, exitcode.ErrSerialization, abort.code)
}

// What is recovering is in the next post, which the actor verifies itself, and is healthy after it; without a post it is faulty again.
func TestRecoveringSectorsAreHealthyAfterTheirPost(t *testing.T) {
	for situation, posted := range map[string]bool{"posted": true, "missed": false} {
		t.Run(situation, func(t *testing.T) {
			c := faulty(t)
			c.declare(t, []chain.RecoveredPartition{{Deadline: 3, Partition: 0, Sectors: []abi.SectorNumber{7}}})
			c.Mine()
			require.Equal(t, sectorSet{7}, c.first().deadlines[3].partitions[0].recovering)
			require.Equal(t, Recoveries{Messages: 1}, c.Report().Recoveries)
			c.mineTo(c.cfg.firstOpen(0) + 3*c.cfg.Window + 2)
			if posted {
				c.push(t, c.goodPost(), 1, 1000)
			}
			c.mineTo(c.cfg.firstOpen(0) + 4*c.cfg.Window + 1)
			p := c.first().deadlines[3].partitions[0]
			require.Empty(t, p.recovering)
			if posted {
				require.Empty(t, p.faulty)
			} else {
				require.Equal(t, sectorSet{7, 8}, p.faulty)
			}
		})
	}
}

// declare pushes a message of the first miner's worker, with nonce 0.
func (c *Chain) declare(t *testing.T, say []chain.RecoveredPartition) {
	t.Helper()
	params, err := chain.RecoveryParams(say)
	require.NoError(t, err)
	m := c.message(t, c.goodPost(), 0, 1000).Message
	m.Method, m.Params = chain.MethodDeclareFaultsRecovered, params
	signed, err := c.wallet.sign(m.From, m)
	require.NoError(t, err)
	_, err = c.Push(signed)
	require.NoError(t, err)
}
