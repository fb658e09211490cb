package activities

import (
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/activity"

	"posthaste/post"
)

// Observed is the kind of an Observation.
type Observed string

// What is observed of proofs. Every attempt is seen at its start; each proof once, however many attempts shared it; and every
// attempt that ends without one.
const (
	ObservedStart   Observed = "start"
	ObservedProof   Observed = "proof"
	ObservedFailure Observed = "failure"
)

// Observation is something that happened to a proof on this worker, for its metrics.
type Observation struct {
	Kind    Observed
	Proof   string          // post.KindWindow or post.KindWinning
	Size    abi.SectorSize  // bytes of a sector
	Attempt int             // Temporal's count, from 1; of a start and a failure
	Waited  time.Duration   // from when the job was scheduled until a worker had it; of a first attempt's start, else 0
	Card    string          // worker/card; of a proof
	Phases  post.PhaseTimes // of a proof
	Skipped int             // sectors left out; of a proof
	Failure post.Failure    // of a failure
}

func (p *Prover) observe(o Observation) {
	if p.Observe != nil {
		o.Proof = post.KindWindow
		p.Observe(o)
	}
}

// waited is how long a job waited for a card. Of later attempts the SDK does not say when they were scheduled.
func waited(info activity.Info) time.Duration {
	if info.Attempt > 1 {
		return 0
	}
	return max(info.StartedTime.Sub(info.ScheduledTime), 0)
}

// sizeOf is the size of a job's sectors; 0 if its proof type is not known.
func sizeOf(job post.Job) abi.SectorSize {
	size, _ := job.ProofType.SectorSize()
	return size
}
