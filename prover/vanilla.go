package prover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/proof"

	"posthaste/post"
)

// Vanillas is what lies between the halves of a proof: one vanilla proof (Merkle paths from the challenged leaves to CommR)
// per good sector, in ascending order, and the sectors that are not good. As JSON it can cross to another machine;
// a full 32 GiB partition is about 60 MB.
type Vanillas struct {
	Miner     abi.ActorID    `json:"miner"`
	ProofType ProofType      `json:"proof_type"`
	Seed      [32]byte       `json:"seed"` // masked
	Good      []SectorProof  `json:"good"`
	Skipped   []post.Skipped `json:"skipped"`
}

// SectorProof is the vanilla proof of one sector.
type SectorProof struct {
	Sector abi.SectorNumber `json:"sector"`
	Proof  []byte           `json:"proof"`
}

// Reading says how sectors are read.
type Reading struct {
	Parallel int           // sectors read at once; 0 means 32
	Limit    time.Duration // for each of a sector's two steps, probe and proof; 0 means DefaultReadLimit
	Patience time.Duration // how long a sector is read again whose read failed by something that may pass; 0 means DefaultPatience

	// OnSector is called as each sector is done, one call at a time, with how many are done of how many, and what is wrong
	// with this one, if anything. May be nil.
	OnSector func(done, of int, bad *post.Skipped)
	// OnAgain is called before a sector is read once more, from several goroutines, with what went wrong. May be nil.
	OnAgain func(sector abi.SectorNumber, why error)

	probe func(replica Replica, sectorSize uint64, challenges []uint64) error // nil: probe; a test's disk that fails
}

const (
	defaultParallel = 32
	// DefaultReadLimit is far above what ten small reads take on a busy disk, and short enough that a shelf of disks that
	// hangs does not cost the partition: so many at once, it is found out in a few of these.
	DefaultReadLimit = 60 * time.Second
	// DefaultPatience is for those who know no deadline, such as a check of sectors.
	DefaultPatience = 30 * time.Second
	// A probe that has not come back after this part of its limit is begun again beside it, which finds a file that was opened by a stale handle, or at a
	// server that is gone. So many at most: all sectors of a shelf that hangs need not be asked twice, each would keep a thread.
	secondProbeAfter = 4
	secondProbes     = 64
	// probesPerRead is how many more sectors are probed at once than proven: a probe costs next to nothing, and a hundred
	// sectors on a dead mount should run into the limit together, not one after another.
	probesPerRead = 8
)

// Vanilla is the first half: it reads the sectors of a window task, many at once, and makes the vanilla proof of each.
// A sector that cannot be read is named in Skipped with its reason; it costs no other sector anything. The error is about
// the task itself, or *AllBadError.
func Vanilla(ctx context.Context, task Task, how Reading) (*Vanillas, error) {
	if err := task.ProofType.checkWindow(); err != nil {
		return nil, err
	}
	return vanilla(ctx, task, how)
}

// vanilla is Vanilla for either kind of PoSt.
func vanilla(ctx context.Context, task Task, how Reading) (*Vanillas, error) {
	replicas, err := sortedReplicas(task)
	if err != nil {
		return nil, err
	}
	out := &Vanillas{Miner: abi.ActorID(task.MinerID), ProofType: task.ProofType, Seed: Mask(task.Seed)}
	numbers := make([]abi.SectorNumber, len(replicas))
	for i, r := range replicas {
		numbers[i] = abi.SectorNumber(r.SectorID)
	}
	challenges, err := ffi.GeneratePoStFallbackSectorChallenges(abi.RegisteredPoStProof(task.ProofType), out.Miner, out.Seed[:], numbers)
	if err != nil {
		return nil, fmt.Errorf("computing the challenges of %d sectors of f0%d: %w", len(numbers), task.MinerID, err)
	}
	reader := newReader(task.ProofType, challenges.Challenges, how)
	proofs, reasons := reader.readAll(ctx, replicas)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i, number := range numbers {
		if reasons[i] != nil {
			out.Skipped = append(out.Skipped, post.Skipped{Sector: number, Reason: reasons[i].Error()})
			continue
		}
		out.Good = append(out.Good, SectorProof{Sector: number, Proof: proofs[i]})
	}
	if len(out.Good) == 0 {
		return nil, &AllBadError{Miner: task.MinerID, Skipped: out.Skipped}
	}
	return out, nil
}

// Mask makes a valid field element of the chain's randomness: the library refuses anything with the two top bits set.
func Mask(seed [32]byte) [32]byte {
	seed[31] &= 0x3f
	return seed
}

// sortedReplicas are the task's replicas in the order of the network's verifier, which is that of their numbers.
func sortedReplicas(task Task) ([]Replica, error) {
	if len(task.Replicas) == 0 {
		return nil, fmt.Errorf("the task for f0%d has no sectors", task.MinerID)
	}
	replicas := slices.Clone(task.Replicas)
	slices.SortFunc(replicas, func(a, b Replica) int { return cmp.Compare(a.SectorID, b.SectorID) })
	for i := 1; i < len(replicas); i++ {
		if replicas[i].SectorID == replicas[i-1].SectorID {
			return nil, fmt.Errorf("sector %d of f0%d is in the task twice", replicas[i].SectorID, task.MinerID)
		}
	}
	return replicas, nil
}

// reader reads the sectors of one task.
type reader struct {
	proofType  abi.RegisteredPoStProof
	challenges map[abi.SectorNumber][]uint64
	limit      time.Duration
	patience   time.Duration
	probes     chan struct{} // a place for each sector being probed
	seconds    chan struct{} // a place for each probe that was begun again
	reads      chan struct{} // a place for each sector being proven
	probe      func(replica Replica, sectorSize uint64, challenges []uint64) error
	onSector   func(done, of int, bad *post.Skipped)
	onAgain    func(sector abi.SectorNumber, why error)
}

func newReader(proofType ProofType, challenges map[abi.SectorNumber][]uint64, how Reading) *reader {
	parallel := cmp.Or(how.Parallel, defaultParallel)
	r := &reader{
		proofType: abi.RegisteredPoStProof(proofType), challenges: challenges,
		limit: cmp.Or(how.Limit, DefaultReadLimit), patience: cmp.Or(how.Patience, DefaultPatience),
		probes: make(chan struct{}, parallel*probesPerRead), seconds: make(chan struct{}, secondProbes), reads: make(chan struct{}, parallel),
		probe: how.probe, onSector: how.OnSector, onAgain: how.OnAgain,
	}
	if r.probe == nil {
		r.probe = probe
	}
	if r.onSector == nil {
		r.onSector = func(int, int, *post.Skipped) {}
	}
	if r.onAgain == nil {
		r.onAgain = func(abi.SectorNumber, error) {}
	}
	return r
}

// readAll returns, for each replica, its vanilla proof or what is wrong with it.
func (r *reader) readAll(ctx context.Context, replicas []Replica) ([][]byte, []error) {
	proofs, reasons := make([][]byte, len(replicas)), make([]error, len(replicas))
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i, replica := range replicas {
		wg.Go(func() {
			proofs[i], reasons[i] = r.readOne(ctx, replica)
			if ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			var bad *post.Skipped
			if reasons[i] != nil {
				bad = &post.Skipped{Sector: abi.SectorNumber(replica.SectorID), Reason: reasons[i].Error()}
			}
			r.onSector(done, len(replicas), bad)
		})
	}
	wg.Wait()
	return proofs, reasons
}

// readOne reads a sector, and again while what goes wrong may pass and there is patience. It takes nobody's place in between.
func (r *reader) readOne(ctx context.Context, replica Replica) ([]byte, error) {
	times, began := 0, time.Now()
	for {
		times++
		vanilla, second, err := r.readOnce(ctx, replica)
		if second {
			times++
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errTimeLimit) || !mayPass(err) {
			return vanilla, counted(err, times)
		}
		pause, again := readAgain(r.patience, times, time.Since(began))
		if !again {
			return nil, counted(err, times)
		}
		r.onAgain(abi.SectorNumber(replica.SectorID), err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// readOnce probes a sector's files and then makes its vanilla proof. second says whether the probe was begun a second time.
//
// The probe reads the same parts with plain Go first. Besides good reasons ("holds 1024 bytes instead of 2048"),
// this keeps hanging disks away from the library: its reads run on one pool of threads for the whole process, and a few that
// never return would stop the proofs of all other sectors and the SNARK. The library then finds the blocks in the page cache.
func (r *reader) readOnce(ctx context.Context, replica Replica) (vanilla []byte, second bool, err error) {
	challenges := r.challenges[abi.SectorNumber(replica.SectorID)]
	size, err := r.proofType.SectorSize()
	if err != nil {
		return nil, false, err
	}
	if second, err = r.probed(ctx, replica, uint64(size), challenges); err != nil {
		return nil, second, err
	}
	sealed, err := commcid.ReplicaCommitmentV1ToCID(replica.CommR[:])
	if err != nil {
		return nil, second, fmt.Errorf("CommR: %w", err)
	}
	vanilla, err = limited(ctx, r.reads, r.limit, func() ([]byte, error) {
		// The library compares each path's root with the CommRLast in p_aux, so a replica or tree with a wrong bit in a
		// challenged place fails here and not later.
		vanilla, err := ffi.GenerateSingleVanillaProof(ffi.PrivateSectorInfo{
			SectorInfo:       proof.SectorInfo{SectorNumber: abi.SectorNumber(replica.SectorID), SealedCID: sealed},
			CacheDirPath:     replica.CacheDir,
			PoStProofType:    r.proofType,
			SealedSectorPath: replica.SealedFile,
		}, challenges)
		if err != nil {
			return nil, fmt.Errorf("vanilla proof: %s (replica %s, cache %s)", oneLine(err), replica.SealedFile, replica.CacheDir)
		}
		return vanilla, nil
	})
	return vanilla, second, err
}

// probed probes a sector's files, and begins a second time if they take long; which of the two comes back first is taken.
func (r *reader) probed(ctx context.Context, replica Replica, size uint64, challenges []uint64) (second bool, err error) {
	var begun atomic.Bool // a second time
	_, err = limited(ctx, r.probes, r.limit, func() (struct{}, error) {
		result := make(chan error, 2)
		look := func() { result <- r.probe(replica, size, challenges) }
		go look()
		slow := time.NewTimer(r.limit / secondProbeAfter)
		defer slow.Stop()
		select {
		case err := <-result:
			return struct{}{}, err
		case <-slow.C:
		}
		select {
		case r.seconds <- struct{}{}:
			begun.Store(true)
			r.onAgain(abi.SectorNumber(replica.SectorID), errSlow)
			go func() { look(); <-r.seconds }()
		default:
		}
		return struct{}{}, <-result
	})
	return begun.Load(), err
}

// errSlow is why a probe is begun again beside one that has not come back.
var errSlow = errors.New("reading takes long")

// errTimeLimit is the reason of a sector that was given up.
var errTimeLimit = errors.New("reading did not finish within the time limit")

// limited runs f when there is a place for it, and gives it up after the limit: a read that hangs cannot be cancelled, so its
// goroutine stays behind, and its result, should it ever come, is dropped. Its place goes to the next sector.
func limited[T any](ctx context.Context, places chan struct{}, limit time.Duration, f func() (T, error)) (T, error) {
	var none T
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	type outcome struct {
		value T
		err   error
	}
	result := make(chan outcome, 1)
	go func() {
		value, err := f()
		result <- outcome{value, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case o := <-result:
		return o.value, o.err
	case <-timer.C:
		return none, fmt.Errorf("%w of %v", errTimeLimit, limit)
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
