package devnet

import (
	"testing"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/filecoin-project/go-state-types/proof"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

// wide is a chain in an open deadline with two partitions of two sectors: 7, 8 and 9, 10.
func wide(t *testing.T, change func(*Config)) *Chain {
	t.Helper()
	c := testChain(t, change)
	c.mineTo(c.cfg.firstOpen(0) + 3*c.cfg.Window + 2)
	require.Len(t, c.first().deadlines[3].partitions, 2)
	return c
}

func TestActorJudgesPosts(t *testing.T) {
	two := func(p *chain.Post) { p.Partitions = []chain.PostPartition{{Index: 0}, {Index: 1}} }
	for _, c := range []struct {
		name   string
		change func(*chain.Post)
		from   func(*minerState) address.Address
		code   exitcode.ExitCode
		says   string
	}{
		{name: "one partition"},
		{name: "both partitions in one message", change: two},
		{name: "one of two sectors skipped", change: func(p *chain.Post) { p.Partitions[0].Skipped = []abi.SectorNumber{8} }},
		{name: "from the owner", from: func(m *minerState) address.Address { return m.owner }},
		{name: "from the control address", from: func(m *minerState) address.Address { return m.control }},
		{name: "commit epoch between challenge and now", change: func(p *chain.Post) { p.CommitEpoch++ }, code: exitcode.ErrIllegalArgument, says: "post commit randomness mismatched"},
		{name: "from a stranger", from: func(*minerState) address.Address { a, _ := address.NewIDAddress(104); return a }, code: exitcode.ErrForbidden, says: "not one of supported"},
		{name: "the deadline before", change: func(p *chain.Post) { p.Deadline-- }, code: exitcode.ErrIllegalArgument, says: "invalid deadline 2 at epoch"},
		{name: "the deadline after", change: func(p *chain.Post) { p.Deadline++ }, code: exitcode.ErrIllegalArgument, says: "expected 3"},
		{name: "a deadline that no period has", change: func(p *chain.Post) { p.Deadline = 12 }, code: exitcode.ErrIllegalArgument, says: "invalid deadline 12 of 12"},
		{name: "no partition", change: func(p *chain.Post) { p.Partitions = nil }, code: exitcode.ErrIllegalArgument, says: "no active sectors"},
		{name: "unknown partition", change: func(p *chain.Post) { p.Partitions[0].Index = 2 }, code: exitcode.ErrNotFound, says: "no such partition 2"},
		{name: "the same partition twice", change: func(p *chain.Post) { two(p); p.Partitions[1].Index = 0 }, code: exitcode.ErrIllegalArgument, says: "duplicate partitions"},
		{name: "four partitions", change: func(p *chain.Post) { p.Partitions = make([]chain.PostPartition, 4) }, code: exitcode.ErrIllegalArgument, says: "too many partitions 4, limit 3"},
		{name: "commit epoch before the challenge", change: func(p *chain.Post) { p.CommitEpoch-- }, code: exitcode.ErrIllegalArgument, says: "to be after"},
		{name: "commit epoch is now", change: func(p *chain.Post) { p.CommitEpoch = 1085 }, code: exitcode.ErrIllegalArgument, says: "must be less than the current epoch 1085"},
		{name: "randomness of another chain", change: func(p *chain.Post) { p.CommitRandomness = make([]byte, 32) }, code: exitcode.ErrIllegalArgument, says: "randomness mismatched"},
		{name: "randomness too long", change: func(p *chain.Post) { p.CommitRandomness = make([]byte, 33) }, code: exitcode.ErrIllegalArgument, says: "at most 32 bytes"},
		{name: "winning proof type", change: func(p *chain.Post) { p.ProofType = abi.RegisteredPoStProof_StackedDrgWinning2KiBV1 }, code: exitcode.ErrIllegalArgument, says: "expected proof of type"},
		{name: "proof too big", change: func(p *chain.Post) { p.Proof = make([]byte, 193) }, code: exitcode.ErrIllegalArgument, says: "smaller than 192"},
		{name: "every sector skipped", change: func(p *chain.Post) { p.Partitions[0].Skipped = []abi.SectorNumber{7, 8} }, code: exitcode.ErrIllegalArgument, says: "no active sectors"},
		{name: "another partition's sector skipped", change: func(p *chain.Post) { p.Partitions[0].Skipped = []abi.SectorNumber{9} }, code: exitcode.ErrIllegalArgument, says: "outside partition"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim := wide(t, nil)
			p := sim.goodPost()
			if c.change != nil {
				c.change(&p)
			}
			st := sim.head.before.clone()
			m := st.miners[firstMiner]
			from := m.worker
			if c.from != nil {
				from = c.from(m)
			}
			raw, err := chain.PostParams(p)
			require.NoError(t, err)
			outcome, abort := sim.runtimeAt(sim.head).submitPost(st, m, from, raw)
			if c.code == exitcode.Ok {
				require.Nil(t, abort)
				require.Len(t, outcome.skipped, len(p.Partitions))
				require.True(t, m.deadlines[3].posted[0])
				return
			}
			require.NotNil(t, abort)
			require.Equal(t, c.code, abort.code, abort.reason)
			require.Contains(t, abort.reason, c.says)
			require.Empty(t, m.deadlines[3].posted, "a refused post changes nothing")
		})
	}
}

func TestActorRefusesWhatIsNotCBOR(t *testing.T) {
	c := wide(t, nil)
	st := c.head.before.clone()
	m := st.miners[firstMiner]
	_, abort := c.runtimeAt(c.head).submitPost(st, m, m.worker, []byte("junk"))
	require.NotNil(t, abort)
	require.Equal(t, exitcode.ErrSerialization, abort.code)
}

func TestPartitionIsProvenOnceAWindow(t *testing.T) {
	c := wide(t, nil)
	first := c.push(t, c.goodPost(), 0, 1000)
	c.Mine()
	again := c.push(t, c.goodPost(), 1, 1000)
	c.mineTo(c.head.height() + 2)
	require.Equal(t, exitcode.Ok, c.lookup(t, first).Receipt.ExitCode)
	require.Equal(t, exitcode.ErrIllegalArgument, c.lookup(t, again).Receipt.ExitCode)
	report := c.Report()
	require.Equal(t, MessageCounts{Posts: 2, Failed: 1, SentTwice: 1}, report.Messages)
}

// The verifier sees each sector that is not skipped once, in order, under the beacon's randomness as a field element.
func TestVerifierSeesTheUnionOfGoodSectors(t *testing.T) {
	var seen proof.WindowPoStVerifyInfo
	c := wide(t, func(cfg *Config) {
		cfg.Verify = func(info proof.WindowPoStVerifyInfo) (bool, error) { seen = info; return true, nil }
	})
	p := c.goodPost()
	p.Partitions = []chain.PostPartition{{Index: 1, Skipped: []abi.SectorNumber{9}}, {Index: 0}}
	c.push(t, p, 0, 1000)
	c.Mine()
	var numbers []abi.SectorNumber
	for _, s := range seen.ChallengedSectors {
		numbers = append(numbers, s.SectorNumber)
	}
	require.Equal(t, []abi.SectorNumber{7, 8, 10}, numbers)
	require.Equal(t, firstMiner, seen.Prover)
	require.Zero(t, seen.Randomness[31]&0xc0)
	want, err := c.beaconRandomness(4, p.CommitEpoch, entropyOf(t, firstMiner), nil)
	require.NoError(t, err)
	require.Equal(t, []byte(want[:31]), []byte(seen.Randomness[:31]))
}

func TestInvalidProof(t *testing.T) {
	refuse := func(cfg *Config) {
		cfg.Verify = func(proof.WindowPoStVerifyInfo) (bool, error) { return false, nil }
	}
	t.Run("is taken on trust, and reported", func(t *testing.T) {
		c := wide(t, refuse)
		c.push(t, c.goodPost(), 0, 1000)
		c.Mine()
		deadlines := c.Report().Deadlines
		p := deadlines[len(deadlines)-1].Partitions[0]
		require.True(t, p.Posted)
		require.False(t, p.Verified)
	})
	t.Run("with a recovering sector is refused at once", func(t *testing.T) {
		c := wide(t, refuse)
		st := c.head.before.clone()
		m := st.miners[firstMiner]
		d := m.deadlines[3].clone()
		d.partitions[0].faulty, d.partitions[0].recovering = sectorSet{7}, sectorSet{7}
		m.deadlines[3] = d
		raw, err := chain.PostParams(c.goodPost())
		require.NoError(t, err)
		_, abort := c.runtimeAt(c.head).submitPost(st, m, m.worker, raw)
		require.NotNil(t, abort)
		require.Contains(t, abort.reason, "window post failed")
	})
}
