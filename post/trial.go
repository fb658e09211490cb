package post

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
)

// PriorityTrial is the priority of a trial's jobs, the last in Temporal's scale: whatever a deadline needs goes first.
const PriorityTrial = 5

// Trial is what came of proving a deadline without sending anything.
type Trial struct {
	Deadline   Deadline                `json:"deadline"` // the one whose challenge was answered; its window may be over
	Head       abi.ChainEpoch          `json:"head"`     // at which the partitions were read
	Answered   abi.ChainEpoch          `json:"answered"` // epoch of the randomness: the deadline's challenge, or the head while the chain is too young for it
	ProofType  abi.RegisteredPoStProof `json:"proof_type"`
	Size       abi.SectorSize          `json:"size"` // bytes of a sector
	Pool       string                  `json:"pool,omitempty"`
	Window     time.Duration           `json:"window"` // from the challenge to Close less the reserve for submitting: what a real proof has
	DryRun     bool                    `json:"dry_run,omitempty"`
	Partitions []TrialPartition        `json:"partitions"`
	Of         int                     `json:"of"` // partitions of the deadline that have something to prove
}

// TrialPartition is one partition of a trial.
type TrialPartition struct {
	PartitionResult        // Proven, Failed or Nothing in the end; Waiting after a dry run
	Live            int    `json:"live"`                      // sectors that the chain has in it
	Faulty          int    `json:"faulty"`                    // of these, declared faulty and not recovering: a post does not cover them
	SkippedSectors  string `json:"skipped_sectors,omitempty"` // all of them, as 1-3,7; Skipped has reasons of the first
	Undecided       string `json:"undecided,omitempty"`       // why what is missing may be there after all
	Verified        bool   `json:"verified"`
	Proof           []byte `json:"proof,omitempty"`
}

// Slowest is how long the slowest of the partitions was in the making, from reading its sectors to the check of the proof. 0: none was proven.
func (t Trial) Slowest() (slowest time.Duration) {
	for _, p := range t.Partitions {
		if p.State == StateProven {
			slowest = max(slowest, p.Phases.Vanilla+p.Phases.Snark+p.Phases.Verify)
		}
	}
	return slowest
}

// Forecast is how long all the deadline's partitions would take, if each took as long as the slowest that was tried, on so many cards
// that may take them. 0: not known.
func (t Trial) Forecast(places int) time.Duration {
	if places <= 0 {
		return 0
	}
	rounds := (max(t.Of, len(t.Partitions)) + places - 1) / places
	return time.Duration(rounds) * t.Slowest()
}

// Failed says whether a partition could not be proven; of a dry run, whether one would not be, or nobody is there to take it.
func (p TrialPartition) Failed(dryRun bool) bool {
	if dryRun {
		return p.State == StateFailed || p.Waits != ""
	}
	return p.State != StateProven && p.State != StateNothing
}

// trialSkipped is how many skipped sectors of a partition a trial names with their reasons: at most some 24 KB.
const trialSkipped = 100

// Leave takes in which sectors are left out, in any order.
func (p *TrialPartition) Leave(skipped []Skipped) {
	skipped = slices.Clone(skipped)
	slices.SortFunc(skipped, func(a, b Skipped) int { return cmp.Compare(a.Sector, b.Sector) })
	numbers := make([]abi.SectorNumber, len(skipped))
	for i, s := range skipped {
		numbers[i] = s.Sector
	}
	p.SkippedSectors, p.Skipped, p.SkippedCount = FormatNumbers(numbers), skipped, 0
	if len(skipped) > trialSkipped {
		p.SkippedCount, p.Skipped = len(skipped), skipped[:trialSkipped]
	}
}

// Board is the trial as the balancing of the fleet sees deadlines.
func (t Trial) Board() Result {
	r := Result{Deadline: t.Deadline, Size: t.Size, Pool: t.Pool, Partitions: make([]PartitionResult, len(t.Partitions))}
	for i, p := range t.Partitions {
		r.Partitions[i] = p.Short()
	}
	r.State = DeadlineState(r.Partitions)
	if r.State == StateNothing && slices.ContainsFunc(r.Partitions, func(p PartitionResult) bool { return p.State == StateProven }) {
		r.State = StateProven
	}
	return r
}

// LastChallenged is a miner's deadline of an index, in the latest proving period in which its challenge is known at the head that di was
// read at. Until the chain has seen one (known is false), it is the deadline of the present period.
func LastChallenged(miner abi.ActorID, di *dline.Info, index uint64) (d Deadline, known bool) {
	in := func(start abi.ChainEpoch) Deadline {
		return NewDeadline(miner, dline.NewInfo(start, index, di.CurrentEpoch,
			di.WPoStPeriodDeadlines, di.WPoStProvingPeriod, di.WPoStChallengeWindow, di.WPoStChallengeLookback, di.FaultDeclarationCutoff))
	}
	// The first deadlines of the next period may have been challenged in this one.
	for start := di.PeriodStart + di.WPoStProvingPeriod; start >= di.PeriodStart-di.WPoStProvingPeriod; start -= di.WPoStProvingPeriod {
		if d := in(start); d.Challenge >= 0 && d.Challenge <= di.CurrentEpoch {
			return d, true
		}
	}
	return in(di.PeriodStart), false
}

// Markdown is the trial as the Web UI shows it: a table as narrow as that of a deadline, and below it why things are as they are.
func (t Trial) Markdown() string {
	var b strings.Builder
	b.WriteString(fmt.Sprintf("A trial of **%s**: nothing is sent.\n\n", t.Deadline))
	b.WriteString("| partition | state | sectors | card |\n|--|--|--|--|\n")
	for _, p := range t.Partitions {
		b.WriteString(fmt.Sprintf("| %d | %s | %s | %s |\n", p.Index, p.State, p.sectorsText(), inCell(p.Card)))
	}
	for _, p := range t.Partitions {
		if p.Reason != "" {
			b.WriteString(fmt.Sprintf("\nPartition %d: %s\n", p.Index, inCell(p.Reason)))
		}
		if p.Waits != "" {
			b.WriteString(fmt.Sprintf("\nPartition %d: nobody can take it: %s\n", p.Index, inCell(p.Waits)))
		}
	}
	return b.String()
}
