package lotus

import (
	"context"
	"fmt"
	"os"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/proof"

	"posthaste/testsuite/sealing"
)

const (
	// paceOf is how many epochs a proof of a partition takes that has the machine for itself. A deadline is open for 60 of them, and its challenge is
	// known 20 before; a chain with two nodes and two cards slow a proof down to three times that. With epochs half as
	// long, deadlines of three partitions were missed; with these, and cards killed in the middle, none.
	paceOf = 7
	// paceLeast and paceMost bound it: a chain of two nodes does not mine faster, and a run is to end.
	paceLeast = 150 * time.Millisecond
	paceMost  = 900 * time.Millisecond
)

// Pace is how long an epoch has to be on this machine, so that what is missed on the chain is not missed for want of cores: it proves a
// partition of two sectors twice, and takes the time of the second, whose parameters are read.
func Pace(ctx context.Context) (epoch, took time.Duration, err error) {
	fail := func(err error) (time.Duration, time.Duration, error) {
		return 0, 0, fmt.Errorf("trying how long a proof takes on this machine: %w", err)
	}
	dir, err := os.MkdirTemp("", "posthaste-pace-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	const miner = 1000
	sealed, err := sealing.SealMany(ctx, dir, miner, 1, 2)
	if err != nil {
		return fail(err)
	}
	infos := make([]ffi.PrivateSectorInfo, len(sealed))
	for i, s := range sealed {
		infos[i] = ffi.PrivateSectorInfo{
			SectorInfo:   proof.SectorInfo{SealProof: s.SealProof, SectorNumber: s.Number, SealedCID: s.SealedCID},
			CacheDirPath: sealing.CacheDir(dir, miner, s.Number), PoStProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1,
			SealedSectorPath: sealing.SealedFile(dir, miner, s.Number),
		}
	}
	for range 2 {
		began := time.Now()
		if _, faulty, err := ffi.GenerateWindowPoSt(miner, ffi.NewSortedPrivateSectorInfo(infos...), make(abi.PoStRandomness, 32)); err != nil {
			return fail(fmt.Errorf("faulty sectors %v: %w", faulty, err))
		}
		took = time.Since(began)
	}
	return epochFor(took), took, nil
}

// epochFor is the epoch of a machine that takes so long for a proof, in whole hundredths of a second.
func epochFor(proof time.Duration) time.Duration {
	return min(max((proof/paceOf).Round(10*time.Millisecond), paceLeast), paceMost)
}
