package post

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
)

// Deadline is one deadline of one miner actor in one proving period: the thing that a DeadlineWorkflow sees through.
// All its bounds come from the chain's dline.Info, never from constants, because test networks have others.
type Deadline struct {
	Miner       abi.ActorID    `json:"miner"`        // the number of the miner actor: 1000 for f01000
	Index       uint64         `json:"index"`        // which deadline of the proving period, from 0
	PeriodStart abi.ChainEpoch `json:"period_start"` // first epoch of the proving period; may be negative near genesis
	Challenge   abi.ChainEpoch `json:"challenge"`    // epoch whose randomness the proof answers (before Open)
	Open        abi.ChainEpoch `json:"open"`         // first epoch at which a post may be included
	Close       abi.ChainEpoch `json:"close"`        // first epoch at which it may not any more
}

// NewDeadline takes what posthaste needs from the chain's own description of a deadline.
func NewDeadline(miner abi.ActorID, di *dline.Info) Deadline {
	return Deadline{
		Miner: miner, Index: di.Index, PeriodStart: di.PeriodStart,
		Challenge: di.Challenge, Open: di.Open, Close: di.Close,
	}
}

// InfoAt is the chain's description of the deadline that is current at an epoch, given that of another epoch of the same miner: its periods follow
// each other without a gap, from the one on in which it began to prove. Nil for an epoch before di's period, about which di says nothing.
func InfoAt(di *dline.Info, epoch abi.ChainEpoch) *dline.Info {
	if epoch < di.PeriodStart || di.WPoStProvingPeriod <= 0 || di.WPoStChallengeWindow <= 0 {
		return nil
	}
	into := (epoch - di.PeriodStart) % di.WPoStProvingPeriod
	return dline.NewInfo(epoch-into, uint64(into/di.WPoStChallengeWindow), epoch, di.WPoStPeriodDeadlines, di.WPoStProvingPeriod,
		di.WPoStChallengeWindow, di.WPoStChallengeLookback, di.FaultDeclarationCutoff).NextNotElapsed()
}

// Upcoming lists the deadlines of a miner whose challenge is known confidence epochs deep at the head that di was read
// at and that are not closed: the current one and those that follow it closely enough. At most one period is looked at.
func Upcoming(miner abi.ActorID, di *dline.Info, confidence abi.ChainEpoch) []Deadline {
	var active []Deadline
	for i := uint64(0); i < di.WPoStPeriodDeadlines; i++ {
		d := nth(miner, di, i)
		if di.CurrentEpoch < d.Challenge+confidence {
			break
		}
		if di.CurrentEpoch < d.Close {
			active = append(active, d)
		}
	}
	return active
}

// nth is the deadline ahead places after the one in di, which may be in the next proving period.
func nth(miner abi.ActorID, di *dline.Info, ahead uint64) Deadline {
	index, start := di.Index+ahead, di.PeriodStart
	for index >= di.WPoStPeriodDeadlines {
		index -= di.WPoStPeriodDeadlines
		start += di.WPoStProvingPeriod
	}
	return NewDeadline(miner, dline.NewInfo(start, index, di.CurrentEpoch,
		di.WPoStPeriodDeadlines, di.WPoStProvingPeriod, di.WPoStChallengeWindow, di.WPoStChallengeLookback, di.FaultDeclarationCutoff))
}

// WorkflowID names the deadline's workflow. It is the same on every daemon and after every restart, so that however many
// start it there is one.
func (d Deadline) WorkflowID() string {
	return fmt.Sprintf("wdpost-%s-%d-%d", MinerName(d.Miner), d.PeriodStart, d.Index)
}

// String is how logs and errors name a deadline: f01000/7.
func (d Deadline) String() string { return fmt.Sprintf("%s/%d", MinerName(d.Miner), d.Index) }

// ParseWorkflowID reads the miner, period start and index back out of a WorkflowID.
func ParseWorkflowID(id string) (miner abi.ActorID, periodStart abi.ChainEpoch, index uint64, err error) {
	rest, ok := strings.CutPrefix(id, "wdpost-")
	name, rest, ok2 := strings.Cut(rest, "-")
	cut := strings.LastIndexByte(rest, '-')
	if !ok || !ok2 || cut < 0 {
		return 0, 0, 0, fmt.Errorf("%q is not the ID of a deadline's workflow; one looks like wdpost-f01000-2880-7", id)
	}
	miner, err = ParseMiner(name)
	if err != nil {
		return 0, 0, 0, err
	}
	start, err1 := strconv.ParseInt(rest[:cut], 10, 64)
	index, err2 := strconv.ParseUint(rest[cut+1:], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, 0, 0, fmt.Errorf("%q is not the ID of a deadline's workflow; one looks like wdpost-f01000-2880-7", id)
	}
	return miner, abi.ChainEpoch(start), index, nil
}

// MinerName is the ID address of a miner actor as people write it. Test networks print t0; one spelling everywhere is
// worth more than theirs.
func MinerName(miner abi.ActorID) string { return "f0" + strconv.FormatUint(uint64(miner), 10) }

// ParseMiner reads f01000, t01000 or 1000.
func ParseMiner(s string) (abi.ActorID, error) {
	digits := s
	if len(s) > 2 && (s[0] == 'f' || s[0] == 't') && s[1] == '0' {
		digits = s[2:]
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || digits == "" {
		return 0, fmt.Errorf("%q is not a miner actor; write its ID address, such as f01000", s)
	}
	return abi.ActorID(n), nil
}

// Until is the wall-clock time in which the chain goes from epoch now to epoch then, zero if it is there already.
// Time limits are always made this way, never from a constant of 30 seconds: a test chain mines far faster.
func Until(now, then abi.ChainEpoch, epochDuration time.Duration) time.Duration {
	if then <= now {
		return 0
	}
	return time.Duration(then-now) * epochDuration
}
