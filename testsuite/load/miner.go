package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/prover"
	"posthaste/testsuite/rig"
	"posthaste/testsuite/sealing"
	"posthaste/testsuite/stub"
)

// proofType of all sectors here.
const proofType = abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1

// sectorsEach is how many sectors a partition has: as many as fit into one of 2 KiB sectors.
const sectorsEach = 2

// randomness is every deadline's challenge, so that a proof made once answers them all.
var randomness = []byte("posthaste's load has one challenge"[:32])

// Miner is a miner actor with really sealed sectors in a store of its own.
type Miner struct {
	ID    abi.ActorID
	Store rig.Store
	Sets  []post.Sectors // what a partition may consist of; a proof of each has been made
}

// Stores is the miner's store as a worker attaches it.
func (m *Miner) Stores() []rig.Store { return []rig.Store{m.Store} }

// made are the proofs that this process has had made so far: they depend on miner, sectors and randomness only, all of which are the
// same in every rig.
var made struct {
	sync.Mutex
	proofs map[string][]byte
}

// NewMiner seals sets of two sectors into a new store, and has the library prove each set once, a second or so each.
func (l *Load) NewMiner(ctx context.Context, id abi.ActorID, sets int) (*Miner, error) {
	m := &Miner{ID: id, Store: rig.Store{Name: "store-" + post.MinerName(id), Path: filepath.Join(l.rig.Dir, "store-"+post.MinerName(id))}}
	if err := sealing.NewStore(m.Store.Path, m.Store.Name); err != nil {
		return nil, err
	}
	sealed, err := sealing.SealMany(ctx, m.Store.Path, id, 1, sets*sectorsEach)
	if err != nil {
		return nil, err
	}
	for i := range sets {
		set := make(post.Sectors, sectorsEach)
		for j := range set {
			s := sealed[i*sectorsEach+j]
			set[j] = post.Sector{Number: s.Number, CommR: s.CommR, Store: m.Store.Name}
		}
		m.Sets = append(m.Sets, set)
		if err := l.prove(ctx, m, set); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// prove puts the proof of a set into the folder of the stubs.
func (l *Load) prove(ctx context.Context, m *Miner, set post.Sectors) error {
	numbers := make([]uint64, len(set))
	for i, s := range set {
		numbers[i] = uint64(s.Number)
	}
	key := stub.Key(uint64(m.ID), randomness, numbers)
	made.Lock()
	defer made.Unlock()
	if made.proofs[key] == nil {
		task := prover.Task{MinerID: uint64(m.ID), ProofType: prover.ProofType(proofType), Seed: prover.Bytes32(randomness)}
		for _, s := range set {
			task.Replicas = append(task.Replicas, prover.Replica{SectorID: uint64(s.Number), CommR: s.CommR,
				CacheDir: sealing.CacheDir(m.Store.Path, m.ID, s.Number), SealedFile: sealing.SealedFile(m.Store.Path, m.ID, s.Number)})
		}
		vanillas, err := prover.Vanilla(ctx, task, prover.Reading{})
		if err != nil {
			return fmt.Errorf("proving beforehand: %w", err)
		}
		proof, _, err := prover.Snark(ctx, vanillas)
		if err != nil {
			return fmt.Errorf("proving beforehand: %w", err)
		}
		if made.proofs == nil {
			made.proofs = map[string][]byte{}
		}
		made.proofs[key] = proof
	}
	return os.WriteFile(filepath.Join(l.proofs, key+".proof"), made.proofs[key], 0o644)
}

// Key is how the record of the stubs knows a set of the miner's sectors.
func (m *Miner) Key(set int) string {
	numbers := make([]uint64, len(m.Sets[set]))
	for i, s := range m.Sets[set] {
		numbers[i] = uint64(s.Number)
	}
	return stub.Key(uint64(m.ID), randomness, numbers)
}
