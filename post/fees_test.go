package post_test

import (
	"fmt"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestParseFIL(t *testing.T) {
	for text, want := range map[string]post.Atto{
		"5 FIL": "5000000000000000000", "0.05 FIL": "50000000000000000", "5 nanoFIL": "5000000000", "5nFIL": "5000000000",
		"0 FIL": "0", "007 attoFIL": "7", "1.5 milliFIL": "1500000000000000", "2 μFIL": "2000000000000", "  100 aFIL ": "100", "1.500 femtofil": "1500",
	} {
		got, err := post.ParseFIL(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, wants := range map[string]string{
		"5": "is no amount", "": "is no amount", "FIL": "is no amount", "-5 FIL": "is no amount", "5 FIL please": "is no amount", "1e3 FIL": "is no amount",
		"5 BTC": "no unit that is known", "0.5 attoFIL": "not a whole number of attoFIL", "1.0000000000000000001 FIL": "not a whole number",
	} {
		_, err := post.ParseFIL(text)
		require.ErrorContains(t, err, wants, text)
	}
}

func TestAmountsForPeople(t *testing.T) {
	for amount, want := range map[post.Atto]string{"5000000000000000000": "5 FIL", "50000000000000000": "0.05 FIL", "1": "0.000000000000000001 FIL", "0": "0 FIL", "": "none"} {
		assert.Equal(t, want, amount.String())
		if amount != "" {
			again, err := post.ParseFIL(amount.String())
			require.NoError(t, err)
			assert.Equal(t, amount, again)
		}
	}
	assert.Equal(t, "0.1 nanoFIL", post.Atto("100000000").PerGas())
	assert.True(t, post.Atto("10").Above("9"))
	assert.False(t, post.Atto("9").Above("10"))
	assert.False(t, post.Atto("10").Above("10"))
	assert.True(t, post.Atto("0").Above(""))
}

// fil is an amount as people write it.
func fil(t *testing.T, text string) post.Atto {
	t.Helper()
	if text == "" {
		return ""
	}
	a, err := post.ParseFIL(text)
	require.NoError(t, err)
	return a
}

// market is a quiet chain and a rich sender: a message of 100 M gas at a base fee of 0.1 nanoFIL costs 0.01 FIL.
func market(t *testing.T) post.Market {
	return post.Market{
		GasUsed: 80_000_000, Premium: fil(t, "0.1 picoFIL"), BaseFee: fil(t, "0.1 nanoFIL"), FeeCap: fil(t, "1.05 nanoFIL"), Available: fil(t, "100 FIL"),
	}
}

func TestOffer(t *testing.T) {
	type change func(*post.Fees, *post.Market)
	for name, c := range map[string]struct {
		change               change
		limit                int64
		feeCap, premium, say string
	}{
		"the default: the fee cap is the highest that 5 FIL allow": {nil, 100_000_000, "50 nanoFIL", "0.1 picoFIL", ""},
		"damocles's fee cap":                         {func(f *post.Fees, _ *post.Market) { f.GasFeeCap = fil(t, "5 nanoFIL") }, 100_000_000, "5 nanoFIL", "0.1 picoFIL", ""},
		"a fee cap that max_fee does not allow":      {func(f *post.Fees, _ *post.Market) { f.GasFeeCap = fil(t, "60 nanoFIL") }, 100_000_000, "50 nanoFIL", "0.1 picoFIL", ""},
		"no limit at all: the node's fee cap":        {func(f *post.Fees, _ *post.Market) { *f = post.Fees{GasOverPremium: 2} }, 80_000_000, "1.05 nanoFIL", "0.2 picoFIL", ""},
		"only a fee cap":                             {func(f *post.Fees, _ *post.Market) { *f = post.Fees{GasFeeCap: fil(t, "2 nanoFIL")} }, 80_000_000, "2 nanoFIL", "0.1 picoFIL", ""},
		"damocles's factors":                         {func(f *post.Fees, _ *post.Market) { f.GasOverEstimation, f.GasOverPremium = 1.2, 0 }, 96_000_000, "52.083333333 nanoFIL", "0.1 picoFIL", ""},
		"a premium above the fee cap is the fee cap": {func(_ *post.Fees, m *post.Market) { m.Premium = fil(t, "1 microFIL") }, 100_000_000, "50 nanoFIL", "50 nanoFIL", ""},
		"no premium is estimated":                    {func(_ *post.Fees, m *post.Market) { m.Premium = "0" }, 100_000_000, "50 nanoFIL", "1 attoFIL", ""},
		"one ran out of gas":                         {func(_ *post.Fees, m *post.Market) { m.ShortOf = 1 }, 125_000_000, "40 nanoFIL", "0.1 picoFIL", ""},
		"more gas than a block has, with its factor": {func(f *post.Fees, m *post.Market) { m.GasUsed, f.MaxFee = 9_000_000_000, "5000000000000000000" },
			10_000_000_000, "0.5 nanoFIL", "0.1 picoFIL", ""},
		"more gas than a block has": {func(_ *post.Fees, m *post.Market) { m.GasUsed = 10_000_000_001 }, 0, "", "", "message too large for a block: executing it takes 10000000001 gas of 10000000000"},
		"a sender that is short of funds keeps most for its other messages": {func(_ *post.Fees, m *post.Market) { m.Available = fil(t, "8 FIL") },
			100_000_000, "20 nanoFIL", "0.1 picoFIL", ""},
		"and gives what lets the base fee rise as the node has it": {func(_ *post.Fees, m *post.Market) { m.Available = fil(t, "0.2 FIL") }, 100_000_000, "1.05 nanoFIL", "0.1 picoFIL", ""},
		"and the last of it": {func(_ *post.Fees, m *post.Market) { m.Available = fil(t, "0.02 FIL") }, 100_000_000, "0.2 nanoFIL", "0.1 picoFIL", ""},
		"a sender that has too little": {func(_ *post.Fees, m *post.Market) { m.Available = fil(t, "0.009 FIL") }, 0, "", "",
			"not enough funds: a gas limit of 100000000 at the base fee of 0.1 nanoFIL costs 0.01 FIL at least, and the sender has 0.009 FIL left"},
		"the base fee is above what max_fee allows": {func(_ *post.Fees, m *post.Market) { m.BaseFee = fil(t, "60 nanoFIL") }, 0, "", "",
			"the base fee is 60 nanoFIL, and max_fee 5 FIL allows a fee cap of 50 nanoFIL at a gas limit of 100000000; with max_fee at 7.62 FIL it could be sent now"},
		"the base fee is above damocles's fee cap": {func(f *post.Fees, m *post.Market) { f.GasFeeCap, m.BaseFee = fil(t, "5 nanoFIL"), fil(t, "6 nanoFIL") }, 0, "", "",
			"with gas_fee_cap 5 nanoFIL allows a fee cap of 5 nanoFIL"},
		"the base fee is just what max_fee allows": {func(_ *post.Fees, m *post.Market) { m.BaseFee = fil(t, "50 nanoFIL") }, 100_000_000, "50 nanoFIL", "0.1 picoFIL", ""},
	} {
		t.Run(name, func(t *testing.T) {
			fees, market := post.DefaultFees(), market(t)
			if c.change != nil {
				c.change(&fees, &market)
			}
			gas, err := fees.Offer(market)
			if c.say != "" {
				require.ErrorContains(t, err, c.say)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, post.Gas{Limit: c.limit, FeeCap: fil(t, c.feeCap), Premium: fil(t, c.premium)}, gas)
			if fees.MaxFee != "" {
				assert.False(t, gas.Most().Above(fees.MaxFee), "it costs %s at most", gas.Most())
			}
		})
	}
}

func TestRaise(t *testing.T) {
	type change func(*post.Fees, *post.Gas, *post.Market)
	for name, c := range map[string]struct {
		change               change
		feeCap, premium, say string
	}{
		"a quarter more, and all that max_fee allows": {nil, "50 nanoFIL", "0.125 picoFIL", ""},
		"the market is higher than that":              {func(_ *post.Fees, _ *post.Gas, m *post.Market) { m.Premium = fil(t, "3 picoFIL") }, "50 nanoFIL", "3 picoFIL", ""},
		"a premium of 1 becomes what pools take":      {func(_ *post.Fees, g *post.Gas, m *post.Market) { g.Premium, m.Premium = "1", "1" }, "50 nanoFIL", "3 attoFIL", ""},
		"more may be paid for replacing":              {func(f *post.Fees, _ *post.Gas, _ *post.Market) { f.ReplaceMaxFee = fil(t, "10 FIL") }, "100 nanoFIL", "0.125 picoFIL", ""},
		"less may be paid for replacing":              {func(f *post.Fees, _ *post.Gas, _ *post.Market) { f.ReplaceMaxFee = fil(t, "1 FIL") }, "10 nanoFIL", "0.125 picoFIL", ""},
		"damocles's fee cap stays":                    {func(f *post.Fees, _ *post.Gas, _ *post.Market) { f.GasFeeCap = fil(t, "5 nanoFIL") }, "5 nanoFIL", "0.125 picoFIL", ""},
		"but not where more may be paid for replacing": {func(f *post.Fees, _ *post.Gas, _ *post.Market) {
			f.GasFeeCap, f.ReplaceMaxFee = fil(t, "5 nanoFIL"), fil(t, "6 FIL")
		}, "60 nanoFIL", "0.125 picoFIL", ""},
		"the sender has less": {func(_ *post.Fees, _ *post.Gas, m *post.Market) { m.Available = fil(t, "0.5 FIL") }, "5 nanoFIL", "0.125 picoFIL", ""},
		"between what pools take and a quarter more: the fee cap": {func(_ *post.Fees, g *post.Gas, _ *post.Market) { g.Premium = fil(t, "42 nanoFIL") }, "50 nanoFIL", "50 nanoFIL", ""},
		"at the limit": {func(_ *post.Fees, g *post.Gas, _ *post.Market) { g.Premium = fil(t, "46 nanoFIL") }, "", "",
			"its premium would have to be 50.600000001 nanoFIL for a pool to take another one, and max_fee 5 FIL allows a fee cap of 50 nanoFIL"},
		"the base fee is above the limit": {func(_ *post.Fees, _ *post.Gas, m *post.Market) { m.BaseFee = fil(t, "80 nanoFIL") }, "", "",
			"the base fee is 80 nanoFIL, and max_fee 5 FIL allows a fee cap of 50 nanoFIL at a gas limit of 100000000; 10.16 FIL would be needed"},
		"the base fee is above what the sender has": {func(_ *post.Fees, _ *post.Gas, m *post.Market) { m.Available = fil(t, "0.005 FIL") }, "", "",
			"what the sender has left beside its other messages (0.005 FIL) allows a fee cap of 0.05 nanoFIL"},
	} {
		t.Run(name, func(t *testing.T) {
			fees, market := post.DefaultFees(), market(t)
			old := post.Gas{Limit: 100_000_000, FeeCap: fil(t, "10 nanoFIL"), Premium: fil(t, "0.1 picoFIL")}
			if c.change != nil {
				c.change(&fees, &old, &market)
			}
			gas, err := fees.Raise(old, market)
			if c.say != "" {
				require.ErrorContains(t, err, c.say)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, post.Gas{Limit: old.Limit, FeeCap: fil(t, c.feeCap), Premium: fil(t, c.premium)}, gas)
			assert.False(t, post.Replacing(old.Premium).Above(gas.Premium), "a pool does not take it")
		})
	}
}

// A message that never lands climbs until the limit, and says so.
func TestRaisingEnds(t *testing.T) {
	fees, market := post.DefaultFees(), market(t)
	gas, err := fees.Offer(market)
	require.NoError(t, err)
	steps := 0
	for ; err == nil && steps <= 1000; steps++ {
		last := gas
		gas, err = fees.Raise(gas, market)
		if err == nil {
			require.False(t, gas.Premium.Above(gas.FeeCap))
			require.False(t, gas.Most().Above(fees.MaxFee))
			require.True(t, gas.Premium.Above(last.Premium))
		}
	}
	require.ErrorContains(t, err, "max_fee 5 FIL")
	assert.InDelta(t, 60, steps, 3, "ln(500,000) / ln(1.25)")
}

func TestReplaceAfter(t *testing.T) {
	for left, want := range map[abi.ChainEpoch]abi.ChainEpoch{56: 5, 30: 5, 29: 4, 24: 4, 18: 3, 12: 2, 11: 1, 6: 1, 1: 1, 0: 1, -4: 1} {
		assert.Equal(t, want, post.ReplaceAfter(left), "%d epochs left", left)
	}
	// What is sent at Open + 4 and lands nowhere, until the epoch before Close.
	steps := 0
	for left := abi.ChainEpoch(56); left > 1; left -= post.ReplaceAfter(left) {
		steps++
	}
	assert.Equal(t, 21, steps)
}

func TestReadExit(t *testing.T) {
	for code, mend := range map[exitcode.ExitCode]post.Mend{
		exitcode.SysErrSenderInvalid: post.MendNone, exitcode.SysErrSenderStateInvalid: post.MendRebuild, exitcode.SysErrIllegalInstruction: post.MendNone,
		exitcode.SysErrInvalidReceiver: post.MendNone, exitcode.SysErrInsufficientFunds: post.MendFunds, exitcode.SysErrOutOfGas: post.MendGas,
		exitcode.SysErrIllegalExitCode: post.MendNone, exitcode.SysErrFatal: post.MendNone, exitcode.SysErrMissingReturn: post.MendNone,
		exitcode.ErrIllegalArgument: post.MendRebuild, exitcode.ErrNotFound: post.MendRebuild, exitcode.ErrForbidden: post.MendNone,
		exitcode.ErrInsufficientFunds: post.MendFunds, exitcode.ErrIllegalState: post.MendRebuild, exitcode.ErrSerialization: post.MendNone,
		exitcode.ErrUnhandledMessage: post.MendNone, exitcode.ErrUnspecified: post.MendRebuild, exitcode.ErrAssertionFailed: post.MendRebuild,
		exitcode.ErrReadOnly: post.MendNone, exitcode.ErrNotPayable: post.MendNone, 1000: post.MendNone,
	} {
		exit := post.ReadExit(int64(code))
		assert.Equal(t, mend, exit.Mend, code)
		assert.NotContains(t, exit.String(), "unknown", code)
		assert.Contains(t, exit.String(), fmt.Sprintf("exit code %d (", int64(code)))
	}
	assert.Equal(t, "exit code 77 (unknown to posthaste)", post.ReadExit(77).String())
	assert.Equal(t, post.MendRebuild, post.ReadExit(77).Mend)
}
