package post

import (
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
)

// Survey is a miner's deadlines as the chain has them at one head.
type Survey struct {
	Miner         abi.ActorID        `json:"miner"`
	Head          abi.ChainEpoch     `json:"head"`
	At            time.Time          `json:"at"` // when it was read, by the daemon's clock
	EpochDuration time.Duration      `json:"epoch_duration"`
	Size          abi.SectorSize     `json:"size"`              // bytes of the miner's sectors
	Current       uint64             `json:"current"`           // index of the deadline that is open
	Places        int                `json:"places"`            // proofs at once on the live cards that may take the miner's jobs, if they can read its sectors
	Problem       string             `json:"problem,omitempty"` // why Places is not known
	Deadlines     []SurveyedDeadline `json:"deadlines"`         // by index
}

// SurveyedDeadline is one deadline of a survey. Its epochs are those of the window that matters: see Windows.
type SurveyedDeadline struct {
	Deadline   `json:"deadline"`
	Partitions []Partition `json:"partitions"` // as they are now; Posted is of the window that is open
}

// When is the local time at which the chain should be at an epoch.
func (s Survey) When(epoch abi.ChainEpoch) time.Time {
	return s.At.Add(time.Duration(epoch-s.Head) * s.EpochDuration)
}

// Count adds up something of all partitions.
func (d SurveyedDeadline) Count(what func(Partition) uint64) (sum uint64) {
	for _, p := range d.Partitions {
		sum += what(p)
	}
	return sum
}

// Windows are the windows of all of a miner's deadlines in the proving period of di, by index. A deadline that is closed and whose next
// window has its challenge already, in the next period, is there with that one.
func Windows(miner abi.ActorID, di *dline.Info) []Deadline {
	all := make([]Deadline, di.WPoStPeriodDeadlines)
	for i := range all {
		current := *di
		current.Index = 0
		all[i] = nth(miner, &current, uint64(i))
		if next := nth(miner, &current, uint64(i)+di.WPoStPeriodDeadlines); di.CurrentEpoch >= max(all[i].Close, next.Challenge) {
			all[i] = next
		}
	}
	return all
}
