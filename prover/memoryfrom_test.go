package prover

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
)

func TestWhichTasksWaitForMemory(t *testing.T) {
	for situation, c := range map[string]struct {
		from  abi.SectorSize
		proof abi.RegisteredPoStProof
		waits bool
	}{
		"a size is given, and the sectors are smaller": {32 << 30, abi.RegisteredPoStProof_StackedDrgWindow512MiBV1_1, false},
		"of just that size":                            {32 << 30, abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1, true},
		"larger":                                       {32 << 30, abi.RegisteredPoStProof_StackedDrgWindow64GiBV1_1, true},
		"no size is given: all":                        {0, abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, true},
		"an unknown type, to be safe":                  {32 << 30, abi.RegisteredPoStProof(99), true},
	} {
		t.Run(situation, func(t *testing.T) {
			limits := Limits{MemoryFrom: c.from}
			require.Equal(t, c.waits, !limits.small(Task{ProofType: ProofType(c.proof)}))
		})
	}
}
