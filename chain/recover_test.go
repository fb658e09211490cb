package chain_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/builtin"
	"github.com/filecoin-project/go-state-types/builtin/v16/miner"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

func TestRecoveryParamsAreReadAsTheActorDoes(t *testing.T) {
	require.Equal(t, builtin.MethodsMiner.DeclareFaultsRecovered, chain.MethodDeclareFaultsRecovered)
	raw, err := chain.RecoveryParams([]chain.RecoveredPartition{
		{Deadline: 7, Partition: 0, Sectors: []abi.SectorNumber{3, 5}}, {Deadline: 7, Partition: 2, Sectors: []abi.SectorNumber{9}},
	})
	require.NoError(t, err)
	var params miner.DeclareFaultsRecoveredParams
	require.NoError(t, params.UnmarshalCBOR(bytes.NewReader(raw)))
	require.Len(t, params.Recoveries, 2)
	require.EqualValues(t, 2, params.Recoveries[1].Partition)
	sectors, err := params.Recoveries[0].Sectors.All(10)
	require.NoError(t, err)
	require.Equal(t, []uint64{3, 5}, sectors)
}

func TestOwedIsWhatTheFreeFundsDoNotPay(t *testing.T) {
	for situation, c := range map[string]struct{ balance, bound, debt, owed int64 }{
		"no debt":                           {balance: 10, bound: 4},
		"a debt that is paid from the rest": {balance: 10, bound: 4, debt: 6},
		"a debt beyond the rest":            {balance: 10, bound: 4, debt: 7, owed: 1},
		"nothing is free":                   {balance: 10, bound: 10, debt: 7, owed: 7},
		"pledge that is not covered":        {balance: 10, bound: 12, debt: 7, owed: 9},
		// repay_debts aborts as soon as what is free is negative, debt or none.
		"pledge that is not covered, no debt": {balance: 10, bound: 12, owed: 2},
	} {
		t.Run(situation, func(t *testing.T) {
			funds := chain.MinerFunds{Balance: big.NewInt(c.balance), Bound: big.NewInt(c.bound), FeeDebt: big.NewInt(c.debt)}
			require.Equal(t, big.NewInt(c.owed), funds.Owed())
		})
	}
}

func TestFundsOfAMiner(t *testing.T) {
	ctx := t.Context()
	d := serve(t, time.Hour)
	n := dial(t, d.Ready.FullnodeAPIInfo, chain.Options{})
	funds, err := n.StateMinerFunds(ctx, minerAddress(t, 1000), nil)
	require.NoError(t, err)
	require.Positive(t, funds.Balance.Sign())
	require.Zero(t, funds.Owed().Sign())
	_, err = n.StateMinerFunds(ctx, minerAddress(t, 77), nil)
	require.ErrorIs(t, err, chain.ErrNoActor)
}
