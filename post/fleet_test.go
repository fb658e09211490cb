package post

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNeedsOfAJob(t *testing.T) {
	job := Job{
		Deadline: Deadline{Miner: 1000}, ProofType: abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1, Pool: "a100",
		Sectors: Sectors{{Number: 1, Store: "s2"}, {Number: 2, Store: "s1"}, {Number: 3, Store: "s2"}},
	}
	needs, err := job.Needs()
	require.NoError(t, err)
	assert.Equal(t, Needs{Miner: 1000, Size: big32, Stores: []string{"s1", "s2"}, Pool: "a100"}, needs)

	job.ProofType = 99
	_, err = job.Needs()
	assert.Error(t, err)
}

func TestAvoids(t *testing.T) {
	assert.True(t, Avoids([]string{"w1/c0"}, "w1/c0"))
	assert.False(t, Avoids([]string{"w1/c0"}, "w1/c1"))
	assert.True(t, Avoids([]string{AllCards("w1")}, "w1/c1"))
	assert.False(t, Avoids([]string{AllCards("w1")}, "w10/c1"))
}
