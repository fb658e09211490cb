package activities

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/activity"

	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// CheckedStores are the stores of the machine that looks.
type CheckedStores interface {
	Stores
	Readable(ctx context.Context, store string) error
	Provable(store string, miner abi.ActorID, sector post.Sector, size abi.SectorSize) error
}

// VanillaReader makes the vanilla proofs of a task's sectors: prover.Vanilla.
type VanillaReader func(ctx context.Context, task prover.Task, how prover.Reading) (*prover.Vanillas, error)

// SectorCheck looks whether sectors can be proven on this machine.
type SectorCheck struct {
	Stores   CheckedStores
	Read     VanillaReader
	Stopping <-chan struct{} // closed when the process ends; nil: never
	Every    time.Duration   // between heartbeats; 0 means 2 s
}

// checkedAtOnce is how many sectors are looked at at the same time, shared out between the stores, so that a store that hangs holds none of the
// others' places. 128 in all is damocles's figure; a store has at least fewestAtOnce.
const (
	checkedAtOnce = 128
	fewestAtOnce  = 4
)

// CheckSectors looks at each sector's files, and if it is to be strict reads it as a proof would: a vanilla proof, of challenges that nobody
// knows before. Each look has a time limit (15 s for the files, prover.DefaultReadLimit for each step of reading).
func (c *SectorCheck) CheckSectors(ctx context.Context, in workflows.CheckSectorsInput) (workflows.CheckedSectors, error) {
	size, err := in.ProofType.SectorSize()
	if err != nil {
		return workflows.CheckedSectors{}, fmt.Errorf("checking sectors of %s: proof type %d: %w", post.MinerName(in.Miner), in.ProofType, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := &looking{SectorCheck: c, in: in, size: size, said: post.CheckProgress{Deadline: in.Deadline, Partition: in.Partition, Of: len(in.Sectors)}}
	if in.Strict {
		_, _ = rand.Read(l.seed[:]) // it never fails
	}
	var beside sync.WaitGroup
	done := make(chan struct{})
	beside.Go(func() { c.beat(ctx, l.progress, cancel, done) })
	bad := l.all(ctx)
	close(done)
	beside.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return workflows.CheckedSectors{}, cause
	}
	return workflows.CheckedSectors{Bad: bad}, nil
}

// beat says how far it is until done is closed, and ends the work when the process ends.
func (c *SectorCheck) beat(ctx context.Context, progress func() post.CheckProgress, end func(error), done <-chan struct{}) {
	every := c.Every
	if every == 0 {
		every = nowEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		activity.RecordHeartbeat(ctx, progress())
		select {
		case <-ticker.C:
		case <-c.Stopping:
			end(errors.New("this machine's process is stopping"))
			return
		case <-activity.GetWorkerStopChannel(ctx):
			end(errors.New("this machine's process is stopping"))
			return
		case <-ctx.Done():
			return
		case <-done:
			return
		}
	}
}

// looking is one look at the sectors of a partition.
type looking struct {
	*SectorCheck
	in   workflows.CheckSectorsInput
	size abi.SectorSize
	seed prover.Bytes32

	mu   sync.Mutex
	said post.CheckProgress
	bad  []post.BadSector
}

func (l *looking) progress() post.CheckProgress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said
}

// done counts a sector, which is bad if there is a reason.
func (l *looking) done(sector abi.SectorNumber, store string, reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said.Done++
	if reason == nil {
		return
	}
	l.said.Bad++
	brief := post.Brief([]post.Skipped{{Sector: sector, Reason: reason.Error()}})
	l.bad = append(l.bad, post.BadSector{Skipped: brief[0], Store: store})
}

// all looks at every sector, the stores side by side.
func (l *looking) all(ctx context.Context) []post.BadSector {
	in := map[string]post.Sectors{}
	for _, s := range l.in.Sectors {
		in[s.Store] = append(in[s.Store], s)
	}
	places := max(checkedAtOnce/max(len(in), 1), fewestAtOnce)
	var stores sync.WaitGroup
	for store, sectors := range in {
		stores.Go(func() { l.store(ctx, store, sectors, places) })
	}
	stores.Wait()
	return l.bad
}

// store looks at the sectors of one store, so many at once. One that cannot be read at all is not asked for each of them.
func (l *looking) store(ctx context.Context, store string, sectors post.Sectors, places int) {
	if err := l.Stores.Readable(ctx, store); err != nil {
		for _, s := range sectors {
			l.done(s.Number, store, err)
		}
		return
	}
	there := make([]bool, len(sectors))
	free := make(chan struct{}, places)
	var group sync.WaitGroup
	for i, s := range sectors {
		if ctx.Err() != nil {
			break
		}
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			err := l.Stores.Provable(store, l.in.Miner, s, l.size)
			if there[i] = err == nil; err != nil || !l.in.Strict {
				l.done(s.Number, store, err)
			}
		})
	}
	group.Wait()
	if !l.in.Strict || ctx.Err() != nil {
		return
	}
	var whole post.Sectors
	for i, s := range sectors {
		if there[i] {
			whole = append(whole, s)
		}
	}
	if len(whole) > 0 {
		l.read(ctx, store, whole, places)
	}
}

// read makes the vanilla proof of each sector.
func (l *looking) read(ctx context.Context, store string, sectors post.Sectors, places int) {
	files, err := replicas("", l.Stores, l.in.Miner, sectors)
	if err == nil {
		task := prover.Task{MinerID: uint64(l.in.Miner), ProofType: prover.ProofType(l.in.ProofType), Seed: l.seed, Replicas: files}
		// The reader says one at a time that a sector is done, and which are bad, but not which are good.
		_, err = l.Read(ctx, task, prover.Reading{Parallel: min(places, readAtOnce), OnSector: func(_, _ int, bad *post.Skipped) {
			if bad != nil {
				l.done(bad.Sector, store, errors.New(bad.Reason))
				return
			}
			l.mu.Lock()
			l.said.Done++
			l.mu.Unlock()
		}})
		if err == nil || errors.Is(err, prover.ErrAllBad) || ctx.Err() != nil {
			return
		}
	}
	for _, s := range sectors {
		l.done(s.Number, store, fmt.Errorf("it could not be read: %w", err))
	}
}

// readAtOnce bounds the vanilla proofs in the making per store: they cost the machine's CPUs, too, as the cards' do.
const readAtOnce = 32
