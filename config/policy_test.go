package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/config"
	"posthaste/post"
)

func TestPolicyOnACommandLine(t *testing.T) {
	s, err := config.PolicySettings(post.DefaultSettings(), []string{"max_try=7", "retry_until_close = false", "pool=big", "job_lifetime=2h", "submit_confidence=0", "max_fee=0.5 FIL", "gas_over_premium=2", "gas_over_estimation=1.5", "gas_fee_cap=5 nanoFIL"})
	require.NoError(t, err)
	want := post.DefaultSettings()
	want.MaxTry, want.RetryUntilClose, want.Pool, want.JobLifetime, want.SubmitConfidence = 7, false, "big", 2*time.Hour, 0
	want.Fees = post.Fees{MaxFee: "500000000000000000", GasFeeCap: "5000000000", GasOverEstimation: 1.5, GasOverPremium: 2}
	require.Equal(t, want, s)
	for pair, wants := range map[string]string{
		"max_try":               `"max_try" is not KEY=VALUE, such as max_try=3`,
		"max_try=0":             "policy.max_try: 0 must be from 1 to 1048576",
		"partitions_per_post=4": "policy.partitions_per_post: 4 must be from 1 to 3, what the network takes in one message",
		"partitions_per_post=0": "policy.partitions_per_post: 0 must be from 1 to 3, what the network takes in one message",
		"max_tri=1":             "policy.max_tri: unknown key (did you mean max_try?); in policy there may be sender, challenge_confidence, submit_confidence, confidence, submit_reserve, max_try, retry_until_close, job_lifetime, pool, partitions_per_post, recover_alone, max_fee, gas_fee_cap, gas_over_estimation, gas_over_premium, replace_max_fee, recover, max_recover_sectors, max_recover_partitions",
		"sender=bob":            `policy.sender: "bob" is neither "auto" (chosen among the miner's addresses) nor an address`,
		"pool=\"]\n[miners":     `policy.pool: "\"]\n[miners": a name is made of letters, digits, '.', '_' and '-'`,
	} {
		_, err := config.PolicySettings(post.DefaultSettings(), []string{pair})
		require.EqualError(t, err, wants)
	}
}

func TestRecoveryPolicy(t *testing.T) {
	s, err := config.PolicySettings(post.DefaultSettings(), []string{"recover=false", "max_recover_sectors=100", "max_recover_partitions=1"})
	require.NoError(t, err)
	require.Equal(t, post.Recovery{Off: true, MaxSectors: 100, MaxPartitions: 1}, s.Recovery)
	s, err = config.PolicySettings(s, []string{"recover=true", "max_recover_sectors=0"}) // a miner's, put over those of all
	require.NoError(t, err)
	require.Equal(t, post.Recovery{MaxPartitions: 1}, s.Recovery)
	_, err = config.PolicySettings(s, []string{"max_recover_sectors=-1"})
	require.EqualError(t, err, "policy.max_recover_sectors: -1 must be from 0 to 1048576")
}

// What posthaste.toml says of the least and the most that a key may be is what is taken.
func TestBoundsAreToldInTheFile(t *testing.T) {
	for key, bounds := range map[string][2]int{
		"challenge_confidence": {0, 59}, "submit_confidence": {0, 50}, "confidence": {1, 900}, "submit_reserve": {0, 59},
		"gas_over_estimation": {1, 10}, "gas_over_premium": {0, 1000},
	} {
		before, _, found := strings.Cut(config.Commented(), "\n#"+key+" = ")
		require.True(t, found, key)
		assert.Contains(t, before[max(0, len(before)-300):], fmt.Sprintf("%d to %d", bounds[0], bounds[1]), key)
		for value, taken := range map[int]bool{bounds[0]: true, bounds[1]: true, bounds[0] - 1: false, bounds[1] + 1: false} {
			_, err := config.PolicySettings(post.DefaultSettings(), []string{fmt.Sprintf("%s=%d", key, value)})
			assert.Equal(t, taken, err == nil, "%s = %d: %v", key, value, err)
		}
	}
}
