package devnet

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/stretchr/testify/require"
)

// changing is a chain in open deadline 3 of the first miner (sectors 7, 8 and 9, 10): 0, and all from 6 on may be changed.
func changing(t *testing.T) *Chain { return wide(t, nil) }

func TestTheWorkerIsAnother(t *testing.T) {
	c := changing(t)
	old := c.first().worker
	before := c.push(t, c.goodPost(), 0, 1) // of the worker of now; the change is faster
	key, err := c.ChangeKey(firstMiner, "worker", true)
	require.NoError(t, err)
	require.Equal(t, old, c.first().worker, "not before the next tipset")
	c.Mine()
	require.Equal(t, key, c.head.after.accounts[c.first().worker].key)
	c.Mine()
	require.Equal(t, exitcode.ErrForbidden, c.lookup(t, before).Receipt.ExitCode)
	after := c.push(t, c.goodPost(), 0, 1)
	c.Mine()
	c.Mine()
	require.Equal(t, exitcode.Ok, c.lookup(t, after).Receipt.ExitCode)

	stranger, err := c.ChangeKey(firstMiner, "owner", false)
	require.NoError(t, err)
	c.Mine()
	require.Equal(t, stranger, c.head.after.accounts[c.first().owner].key)
	_, has := c.wallet[stranger]
	require.False(t, has)
	_, err = c.ChangeKey(firstMiner, "cook", true)
	require.ErrorContains(t, err, `a miner has no "cook"`)
	_, err = c.ChangeKey(1, "owner", true)
	require.ErrorContains(t, err, "there is no miner f01")
}

func TestPartitionsComeAndMove(t *testing.T) {
	c := changing(t)
	was := c.head.after.clone()
	added, err := c.AddPartition(firstMiner, 7)
	require.NoError(t, err)
	more, err := c.AddPartition(firstMiner, 7)
	require.NoError(t, err)
	c.Mine()
	partitions := c.first().deadlines[7].partitions
	require.Len(t, partitions, 4)
	require.EqualValues(t, added, partitions[2].all)
	require.EqualValues(t, more, partitions[3].all)
	for _, n := range append(added, more...) {
		require.NotNil(t, c.first().sectors[n])
		require.Nil(t, was.miners[firstMiner].sectors[n], "the state before does not have it")
	}
	require.NoError(t, c.Compact(firstMiner, 7, 0))
	c.Mine()
	moved := c.first().deadlines[7].partitions
	require.Len(t, moved, 4)
	require.Equal(t, []partition{partitions[1], partitions[2], partitions[3], partitions[0]}, moved)

	for says, err := range map[string]error{
		"cannot be changed from": c.Compact(firstMiner, 3, 0),
		"has 4 partitions":       c.Compact(firstMiner, 7, 4),
		"has no deadline 12":     c.Compact(firstMiner, 12, 0),
	} {
		require.ErrorContains(t, err, says)
	}
	_, err = c.AddPartition(firstMiner, 4)
	require.ErrorContains(t, err, "deadline 4 of f01000 opens at epoch 1107: it cannot be changed from 1083")
}

func TestASectorIsUpgraded(t *testing.T) {
	c := testChain(t, func(cfg *Config) { cfg.UpgradedEvery = 3 })
	for n, info := range c.first().sectors {
		require.Equal(t, n%3 == 0, info.SectorKeyCID != nil, "sector %d", n)
	}
	sector := c.first().deadlines[7].partitions[0].all[0]
	before := *c.first().sectors[sector]
	require.Nil(t, before.SectorKeyCID)
	require.NoError(t, c.Upgrade(firstMiner, sector))
	c.Mine()
	now := c.first().sectors[sector]
	require.Equal(t, before.SealedCID, *now.SectorKeyCID)
	require.NotEqual(t, before.SealedCID, now.SealedCID)
	require.ErrorContains(t, c.Upgrade(firstMiner, 999), "has no sector 999")
	require.ErrorContains(t, c.Upgrade(firstMiner, abi.SectorNumber(1)), "cannot be changed")
}
