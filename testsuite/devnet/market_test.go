package devnet

import (
	"testing"

	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/builtin"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

func TestBaseFeeThatRises(t *testing.T) {
	c := wide(t, nil)
	fee, err := c.SetBaseFee(20)
	require.NoError(t, err)
	require.Equal(t, "2000000", fee.String())
	first := c.push(t, c.goodPost(), 0, 1000) // its fee cap is 1,000,000
	c.mineTo(c.head.height() + 2)
	require.Nil(t, c.lookup(t, first), "it waits")
	require.Equal(t, "2000000", c.head.tipset.BaseFee().String())

	dearer := c.message(t, c.goodPost(), 0, 1100).Message
	dearer.GasFeeCap = big.NewInt(3_000_000)
	replace := func(premium int64) error {
		dearer.GasPremium = big.NewInt(premium)
		signed, err := c.wallet.sign(dearer.From, dearer)
		require.NoError(t, err)
		_, err = c.Push(signed)
		return err
	}
	require.ErrorContains(t, replace(1100), "increase GasPremium to 1101 from 1100 to trigger replace by fee")
	require.NoError(t, replace(1101))
	pool, err := c.Pool()
	require.NoError(t, err)
	require.Len(t, pool, 1)
	require.Equal(t, "1101", pool[0].Premium.String())
	c.mineTo(c.head.height() + 2)
	found := c.lookup(t, first)
	require.NotNil(t, found, "the replacement, by the name of the first")
	require.Equal(t, pool[0].Message, found.Message.String())

	for _, times := range []float64{0, -1, 1e13} {
		_, err := c.SetBaseFee(times)
		require.ErrorContains(t, err, "is not between")
	}
}

func TestDroppedMempool(t *testing.T) {
	c := wide(t, nil)
	first := c.push(t, c.goodPost(), 0, 1000)
	require.Equal(t, 1, c.DropMempool())
	require.Zero(t, c.DropMempool())
	c.mineTo(c.head.height() + 2)
	require.Nil(t, c.lookup(t, first))
	require.Equal(t, first, c.push(t, c.goodPost(), 0, 1000), "the same bytes have the same name")
	c.mineTo(c.head.height() + 2)
	require.NotNil(t, c.lookup(t, first))
}

// An empty message to oneself fills a nonce.
func TestEmptyMessage(t *testing.T) {
	c := wide(t, nil)
	from := c.head.after.accounts[c.first().worker].key
	m := chain.Message{From: from, To: from, Method: builtin.MethodSend, Value: big.Zero(), GasFeeCap: big.NewInt(1_000_000), GasPremium: big.NewInt(1), GasLimit: 100_000_000}
	used, err := c.gasLimit(m, nil)
	require.NoError(t, err)
	require.Positive(t, used)
	signed, err := c.wallet.sign(from, m)
	require.NoError(t, err)
	name, err := c.Push(signed)
	require.NoError(t, err)
	c.mineTo(c.head.height() + 2)
	require.Zero(t, c.lookup(t, name).Receipt.ExitCode)
	require.Equal(t, uint64(1), c.head.after.accounts[c.first().worker].nonce)
}
