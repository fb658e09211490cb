package activities

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/activity"

	"posthaste/post"
	"posthaste/prover"
)

// Cards proves on whichever card is free. avoid names cards by their names in the pool; "*" are all of them.
type Cards interface {
	Prove(ctx context.Context, task prover.Task, avoid []string, progress func(post.Progress)) (*prover.Result, error)
	Status() []prover.CardStatus
}

// Stores knows where the files of a sector are on this machine.
type Stores interface {
	Paths(store string, miner abi.ActorID, sector post.Sector) (sealedFile, cacheDir string, err error)
}

// StoreWatch knows which of this machine's stores can be read, and says why one cannot.
type StoreWatch interface {
	Reachable(ctx context.Context, store string) error // as it was at the last look
	Look(ctx context.Context, store string) error      // now; it may take some 15 s
}

// Prover makes proofs on one group of this worker's cards.
type Prover struct {
	Worker   string // its name, for people
	Cards    Cards
	Stores   Stores
	Watch    StoreWatch // nil: all stores can be read
	Temporal Attempts
	Log      *slog.Logger
	Proofs   *Proofs           // shared by the groups of a worker; nil: of this group alone
	Stopping <-chan struct{}   // closed when running proofs have to be handed over; nil: never
	Observe  func(Observation) // for metrics; nil: nobody watches

	every time.Duration // between heartbeats; 0 means beatEvery
	once  sync.Once
	own   *Proofs
}

func (p *Prover) proofs() *Proofs {
	p.once.Do(func() { p.own = cmp.Or(p.Proofs, NewProofs()) })
	return p.own
}

// GenerateWindowPoSt makes one proof. It outlives a Temporal that goes away: the proving does not hang on the activity's
// context, and nothing is returned before Temporal can hear it (see attempt). Attempts of the same job on this worker share one proof.
func (p *Prover) GenerateWindowPoSt(ctx context.Context, job post.Job) (proof post.Proof, err error) {
	info := activity.GetInfo(ctx)
	log := p.Log.With("deadline", job.Deadline.String(), "partitions", job.Partitions, "try", job.Try)
	defer func() { answer(ctx, p.Temporal, log, proof, err) }()
	p.observe(Observation{Kind: ObservedStart, Size: sizeOf(job), Waited: waited(info), Attempt: int(info.Attempt)})
	if proof, known := p.proofs().recall(job); known {
		log.Info("this proof was made before and is given again", "job", job.Key())
		return proof, nil
	}
	proof, err = p.prove(ctx, job, info, log)
	if err != nil {
		err = failure(p.Worker, err)
		p.observe(Observation{Kind: ObservedFailure, Size: sizeOf(job), Failure: failureOf(err), Attempt: int(info.Attempt)})
		log.Warn("no proof", "error", err)
	}
	return proof, err
}

// prove takes part in the making of the proof, and sees to it that Temporal hears of it.
func (p *Prover) prove(ctx context.Context, job post.Job, info activity.Info, log *slog.Logger) (post.Proof, error) {
	if job.Elsewhere && info.Attempt <= refusedAttempts && allAvoided(p.Cards.Status(), p.avoid(job)) {
		return post.Proof{}, errRefused
	}
	if err := p.reachable(context.WithoutCancel(ctx), job); err != nil {
		return post.Proof{}, err
	}
	leaving, leave := context.WithCancelCause(context.WithoutCancel(ctx))
	defer leave(nil)
	attempt := newAttempt(ctx, p.Temporal, job, log, leave, cmp.Or(p.every, beatEvery))
	flight, first := p.proofs().join(ctx, attempt)
	if first {
		log.Info("proving", "sectors", len(job.Sectors), "job", flight.key)
		go p.fly(ctx, flight, job, log)
	} else {
		log.Info("this proof is in the making here for an attempt before; sharing it", "job", flight.key)
	}
	finish := attempt.watch(flight, p.Stopping)
	select {
	case <-flight.done:
	case <-leaving.Done():
		if cause := context.Cause(leaving); !flight.leave(attempt, cause) {
			finish(nil)
			return post.Proof{}, cause
		}
		<-flight.done // so that the card is free when the attempt is over
	}
	if flight.err != nil {
		finish(nil)
		return post.Proof{}, flight.err
	}
	finish(&flight.proof)
	return flight.proof, nil
}

// fly makes the proof of a flight.
func (p *Prover) fly(ctx context.Context, f *flight, job post.Job, log *slog.Logger) {
	until := closes(ctx)
	defer func() {
		if broken := recover(); broken != nil { // the SDK's own net is in another goroutine
			log.Error("proving panicked", "panic", broken, "stack", string(debug.Stack()))
			f.land(post.Proof{}, fmt.Errorf("proving panicked: %v", broken), until)
		}
	}()
	task, err := p.task(job)
	if err != nil {
		f.land(post.Proof{}, err, until)
		return
	}
	task.Until = until
	began := time.Now()
	result, err := p.Cards.Prove(f.ctx, task, p.avoid(job), func(progress post.Progress) {
		progress.Card = cardName(p.Worker, progress.Card)
		f.tell(progress)
	})
	if err == nil {
		err = p.trustSkipped(f.ctx, job, result.Skipped, mayRepeat(until, time.Since(began)))
	} else if lost := p.trustAllBad(f.ctx, job, err); lost != nil {
		err = lost
	}
	if err != nil {
		if cause := context.Cause(f.ctx); cause != nil {
			err = cause
		}
		f.land(post.Proof{}, err, until)
		return
	}
	proof := post.Proof{
		JobKey: f.key, ProofType: result.ProofType, Bytes: result.Proof, Skipped: post.Brief(result.Skipped),
		Card: cardName(p.Worker, result.Card), Phases: result.Phases,
	}
	log.Info("proven", "card", proof.Card, "vanilla", result.Phases.Vanilla, "snark", result.Phases.Snark, "skipped", len(result.Skipped))
	p.observe(Observation{Kind: ObservedProof, Size: sizeOf(job), Card: proof.Card, Phases: result.Phases, Skipped: len(result.Skipped)})
	f.land(proof, nil, until)
}

// mayRepeat says whether there is time to make a proof once more that took so long. Without a deadline there always is.
func mayRepeat(until time.Time, took time.Duration) bool {
	return until.IsZero() || time.Until(until) > 2*took
}

// cardName is how the fleet knows a card: worker/card.
func cardName(worker, card string) string {
	if card == "" {
		return worker
	}
	return worker + "/" + card
}

// avoid are the cards of this worker among those that a job should avoid, by the names that the cards have here; "*" for all.
func (p *Prover) avoid(job post.Job) []string {
	var here []string
	for _, name := range job.AvoidCards {
		if card, ok := strings.CutPrefix(name, p.Worker+"/"); ok {
			here = append(here, card)
		}
	}
	return here
}

// refusedAttempts is how many attempts of an activity a worker refuses, if all its cards have failed the job and the queue has
// another one. After that the other worker is busy or gone, and a card that failed is better than none.
const refusedAttempts = 2

// allAvoided says whether a job should avoid every card that could take it.
func allAvoided(cards []prover.CardStatus, avoid []string) bool {
	if len(avoid) == 0 {
		return false
	}
	for _, card := range cards {
		if usable(card) && !slices.Contains(avoid, card.Name) && !slices.Contains(avoid, "*") {
			return false
		}
	}
	return true
}

// usable says whether a card would take a job, now or when it has done what it does.
func usable(card prover.CardStatus) bool {
	return card.State != prover.StateDead && card.State != prover.StateFenced
}

// task finds the files of a job's sectors.
func (p *Prover) task(job post.Job) (prover.Task, error) {
	if len(job.Randomness) != 32 {
		return prover.Task{}, typed(post.FailureProve, "", fmt.Errorf("the challenge of deadline %s has %d bytes instead of 32", job.Deadline, len(job.Randomness)))
	}
	task := prover.Task{
		MinerID: uint64(job.Deadline.Miner), ProofType: prover.ProofType(job.ProofType), Seed: prover.Bytes32(job.Randomness),
		Label: labelOf(job),
	}
	replicas, err := replicas(p.Worker, p.Stores, job.Deadline.Miner, job.Sectors)
	task.Replicas = replicas
	return task, err
}

// replicas finds the files of sectors. A store that is not attached here concerns the place, not the job: it costs no try.
func replicas(worker string, stores Stores, miner abi.ActorID, sectors post.Sectors) ([]prover.Replica, error) {
	found := make([]prover.Replica, len(sectors))
	for i, sector := range sectors {
		sealed, cache, err := stores.Paths(sector.Store, miner, sector)
		if err != nil {
			return nil, noStore(worker, fmt.Errorf("sector %d of %s: %w", sector.Number, post.MinerName(miner), err))
		}
		found[i] = prover.Replica{SectorID: uint64(sector.Number), CommR: sector.CommR, SealedFile: sealed, CacheDir: cache}
	}
	return found, nil
}

// labelOf is what people call a job.
func labelOf(job post.Job) string {
	trial := ""
	if job.Trial != "" {
		trial = " (trial)"
	}
	if len(job.Partitions) == 1 {
		return fmt.Sprintf("%s partition %d%s", job.Deadline, job.Partitions[0], trial)
	}
	return fmt.Sprintf("%s partitions %v%s", job.Deadline, job.Partitions, trial)
}
