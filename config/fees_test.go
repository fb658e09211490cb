package config

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestFees(t *testing.T) {
	read := func(text string) (*Config, error) {
		return build("posthaste.toml", []byte(text), func(string) string { return "" }, os.Hostname)
	}
	c, err := read("[policy]\nmax_fee = \"2 FIL\"\ngas_over_premium = 2\n[[miners]]\nid = \"f01000\"\n" +
		"[[miners]]\nid = \"f01001\"\ngas_fee_cap = \"5 nanoFIL\"\ngas_over_estimation = 1.2\nreplace_max_fee = \"4 FIL\"\nmax_fee = \"3 FIL\"\n")
	require.NoError(t, err)
	require.Equal(t, post.Fees{MaxFee: "2000000000000000000", GasOverEstimation: 1.25, GasOverPremium: 2}, c.Miners[0].Settings.Fees)
	require.Equal(t, post.Fees{MaxFee: "3000000000000000000", GasFeeCap: "5000000000", GasOverEstimation: 1.2, GasOverPremium: 2, ReplaceMaxFee: "4000000000000000000"},
		c.Miners[1].Settings.Fees)
	for text, wants := range map[string]string{
		"max_fee = \"5\"":                "posthaste.toml:2:1: policy.max_fee: \"5\" is no amount such as \"5 FIL\", \"0.05 FIL\" or \"5 nanoFIL\"",
		"max_fee = 5":                    "posthaste.toml:2:1: policy.max_fee: want a string such as \"5 FIL\"",
		"max_fee = \"\"":                 "posthaste.toml:2:1: policy.max_fee: \"\" is no amount such as \"5 FIL\", \"0.05 FIL\" or \"5 nanoFIL\"",
		"gas_fee_cap = \"0 FIL\"":        "posthaste.toml:2:1: policy.gas_fee_cap: \"0 FIL\": with that, nothing could be sent",
		"gas_over_estimation = 0.9":      "posthaste.toml:2:1: policy.gas_over_estimation: 0.9 must be from 1 to 10",
		"gas_over_estimation = nan":      "posthaste.toml:2:1: policy.gas_over_estimation: NaN must be from 1 to 10",
		"gas_over_premium = \"1\"":       "posthaste.toml:2:1: policy.gas_over_premium: want a number such as 1.25",
		"replace_max_fee = \"0.05 FIL\"": "posthaste.toml:2:1: policy.replace_max_fee: replace_max_fee (0.05 FIL) is below max_fee (5 FIL): what does not land could not be replaced",
	} {
		_, err := read("[policy]\n" + text + "\n")
		require.EqualError(t, err, wants, text)
	}
}
