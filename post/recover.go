package post

import (
	"cmp"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
)

// What the miner actor takes in one DeclareFaultsRecovered message (builtin-actors, runtime/src/runtime/policy.rs: addressed_partitions_max,
// addressed_sectors_max; go-state-types, builtin/v16/miner/policy.go).
const (
	MaxRecoveryPartitions = 3_000
	MaxRecoverySectors    = 25_000
)

const (
	// RecoverEvery epochs, faulty sectors are looked at: 10 minutes on mainnet.
	RecoverEvery abi.ChainEpoch = 20
	// RecoverMargin epochs before a deadline's fault cutoff nothing is sent for it any more: a message lands two or three epochs after it is
	// pushed, and fails from the cutoff on.
	RecoverMargin abi.ChainEpoch = 4
	// lastTry epochs before the cutoff every faulty sector is looked at, whatever pause it has: on mainnet that is when the deadline is two
	// deadlines ahead, as in Lotus.
	lastTry = 3 * RecoverEvery
)

// RecoveryWindow is the window of a deadline into which recoveries can be declared.
type RecoveryWindow struct {
	Deadline Deadline       `json:"deadline"`
	Cutoff   abi.ChainEpoch `json:"cutoff"` // the first epoch at which the actor takes none
}

// RecoveryWindows are a miner's windows that are not cut off at the head of di, the nearest cutoff first, and the deadlines, by index, that
// have to close first.
func RecoveryWindows(miner abi.ActorID, di *dline.Info) (windows []RecoveryWindow, passed []uint64) {
	for i := range di.WPoStPeriodDeadlines {
		next := dline.NewInfo(di.PeriodStart, i, di.CurrentEpoch, di.WPoStPeriodDeadlines, di.WPoStProvingPeriod,
			di.WPoStChallengeWindow, di.WPoStChallengeLookback, di.FaultDeclarationCutoff).NextNotElapsed()
		if di.CurrentEpoch+RecoverMargin >= next.FaultCutoff {
			passed = append(passed, i)
			continue
		}
		windows = append(windows, RecoveryWindow{Deadline: NewDeadline(miner, next), Cutoff: next.FaultCutoff})
	}
	slices.SortFunc(windows, func(a, b RecoveryWindow) int { return cmp.Compare(a.Cutoff, b.Cutoff) })
	return windows, passed
}

// FaultyPartition is sectors of a partition that are faulty and not declared recovered.
type FaultyPartition struct {
	Index   uint64  `json:"index"`
	Sectors Numbers `json:"sectors"`
	Of      int     `json:"of,omitempty"` // how many they are, where Sectors is cut short to be shown
}

// FaultyDeadline is a deadline with such partitions.
type FaultyDeadline struct {
	RecoveryWindow
	Recovering int               `json:"recovering,omitempty"` // its sectors that are declared recovered already
	Partitions []FaultyPartition `json:"partitions"`
}

// Faults is what the chain has of a miner's faulty sectors, and whether they may be declared recovered.
type Faults struct {
	Head          abi.ChainEpoch          `json:"head"`
	EpochDuration time.Duration           `json:"epoch_duration"`
	Period        abi.ChainEpoch          `json:"period"` // length of a proving period
	ProofType     abi.RegisteredPoStProof `json:"proof_type,omitempty"`
	Settings      Settings                `json:"settings"`
	Faulty        int                     `json:"faulty"`               // in all deadlines
	Recovering    int                     `json:"recovering,omitempty"` // of these, declared recovered
	Blocked       RecoveryObstacle        `json:"blocked,omitzero"`
	Deadlines     []FaultyDeadline        `json:"deadlines,omitempty"` // that are not cut off, the nearest cutoff first
	Passed        []uint64                `json:"passed,omitempty"`    // deadlines that have to close first, by index
	Cut           bool                    `json:"cut,omitempty"`       // there are so many that those of later deadlines are left out
	Idle          string                  `json:"idle,omitempty"`      // why nothing was read: the miner is paused, or removed
	Gone          bool                    `json:"gone,omitempty"`      // the miner is removed
}

// RecoveryObstacle is why the actor takes no recoveries at all.
type RecoveryObstacle struct {
	Owed  Atto           `json:"owed,omitempty"`  // so much must be paid into the miner actor first: it has fee debt
	Until abi.ChainEpoch `json:"until,omitempty"` // the last epoch of a consensus fault
}

// Any says that there is one.
func (o RecoveryObstacle) Any() bool { return o != RecoveryObstacle{} }

// DeclarationState is how far a declaration is.
type DeclarationState string

// States of a declaration.
const (
	DeclarationAsked     DeclarationState = "asked"     // the sender has it
	DeclarationLanded    DeclarationState = "landed"    // on the chain, not deep enough yet
	DeclarationConfirmed DeclarationState = "confirmed" // deep enough: the next post has to cover the sectors
	DeclarationFailed    DeclarationState = "failed"
)

// Declaration is one DeclareFaultsRecovered message for one deadline.
type Declaration struct {
	RecoveryWindow
	Number     int               `json:"number"` // of its window's messages, from 1
	ID         string            `json:"id"`     // of the request to the sender: recover-f01000-2880/7/1
	State      DeclarationState  `json:"state"`
	Partitions []FaultyPartition `json:"partitions,omitempty"`
	Of         int               `json:"of"`                // partitions
	Message    string            `json:"message,omitempty"` // CID
	Landed     abi.ChainEpoch    `json:"landed,omitempty"`
	Reason     string            `json:"reason,omitempty"` // of a failure
}

// Sectors counts those of all partitions.
func (d Declaration) Sectors() (n int) {
	for _, p := range d.Partitions {
		n += max(len(p.Sectors), p.Of)
	}
	return n
}

// UnderWay says that its message may still land, or be lost.
func (d Declaration) UnderWay() bool {
	return d.State == DeclarationAsked || d.State == DeclarationLanded
}

// BatchRecoveries shares partitions of a deadline out to messages: no more sectors than room, in the order given, and in each message no more
// partitions than most allows (0: what the network does) and no more sectors than the network does. A partition is never split.
func BatchRecoveries(partitions []FaultyPartition, most, room int) [][]FaultyPartition {
	if most <= 0 || most > MaxRecoveryPartitions {
		most = MaxRecoveryPartitions
	}
	var batches [][]FaultyPartition
	inLast := 0
	for _, p := range partitions {
		sectors := p.Sectors[:min(len(p.Sectors), max(room, 0), MaxRecoverySectors)]
		if len(sectors) == 0 {
			continue
		}
		room -= len(sectors)
		last := len(batches) - 1
		if last < 0 || len(batches[last]) >= most || inLast+len(sectors) > MaxRecoverySectors {
			batches, inLast = append(batches, nil), 0
			last++
		}
		batches[last] = append(batches[last], FaultyPartition{Index: p.Index, Sectors: sectors})
		inLast += len(sectors)
	}
	return batches
}

// Room is how many more sectors of a deadline may be declared, of which so many are declared already. Without a limit it is more than any
// deadline has.
func (r Recovery) Room(declared int) int {
	if r.MaxSectors <= 0 {
		return maxNumbers
	}
	return max(r.MaxSectors-declared, 0)
}
