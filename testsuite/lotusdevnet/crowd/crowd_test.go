package crowd

import (
	"testing"

	"github.com/filecoin-project/go-state-types/big"
	"github.com/stretchr/testify/require"
)

// next is FIP-0115's rule: the base fee after a block whose gas, 80% of the limit of it, offers at least this premium.
func next(baseFee, premium big.Int) big.Int {
	step := big.Div(big.Add(baseFee, big.NewInt(7)), big.NewInt(8))
	return big.Max(big.NewInt(100), big.Add(baseFee, big.Min(step, big.Sub(premium, step))))
}

func TestTheBaseFeeIsDrivenToWhatIsWantedAndStaysThere(t *testing.T) {
	for _, want := range []int64{100, 101, 1000, 12_345, 1_000_000_000} {
		p := Plan{BaseFee: big.NewInt(want)}
		fee, epochs := big.NewInt(100), 0
		for ; !fee.Equals(p.BaseFee) && epochs < 200; epochs++ {
			_, gas, premium := p.Block(fee, nil)
			require.GreaterOrEqual(t, gas, BlockGas*80/100)
			fee = next(fee, premium)
		}
		require.Equal(t, p.BaseFee, fee, "after %d epochs", epochs)
		_, _, premium := p.Block(fee, nil)
		require.Equal(t, p.BaseFee, next(fee, premium))
	}
}

func TestABaseFeeThatIsTooHighFalls(t *testing.T) {
	_, _, premium := Plan{BaseFee: big.NewInt(100)}.Block(big.NewInt(1000), nil)
	require.Equal(t, big.NewInt(875), next(big.NewInt(1000), premium))
}

func TestBlock(t *testing.T) {
	const post = 60_000_000
	offered := []Message{
		{"f3worker", post, big.NewInt(100)},
		{"f1rich", post, big.NewInt(900)},
		{"f3worker", post, big.NewInt(950)}, // behind a cheaper one of the same sender
		{"f1huge", 2_000_000_000, big.NewInt(950)},
	}
	cases := []struct {
		name string
		plan Plan
		kept []int
		gas  int64
	}{
		{"nobody else", Plan{}, []int{0, 1, 2, 3}, 0},
		{"raising the base fee leaves room for posts", Plan{BaseFee: big.NewInt(1000)}, []int{0, 1, 2}, raisingGas},
		{"others pay more than all", Plan{Premium: big.NewInt(1000)}, []int{}, BlockGas},
		{"as much is not more", Plan{Premium: big.NewInt(950)}, []int{}, BlockGas},
		{"one offers more", Plan{Premium: big.NewInt(800)}, []int{1, 3}, BlockGas - post - 2_000_000_000},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			kept, gas, _ := c.plan.Block(big.NewInt(100), offered)
			require.Equal(t, c.kept, kept)
			require.Equal(t, c.gas, gas)
		})
	}
}
