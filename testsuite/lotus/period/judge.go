package period

import (
	"fmt"
	"math/big"
	"slices"
)

// Injected is a fault that was done, or not.
type Injected struct {
	Fault
	Window
	Began int64 `json:"began"` // the chain's head when it began
	Ended int64 `json:"ended"` // and when it was over, files back in their place; 0: it is not over
	// What a reorg really did.
	Reorg *Reorg `json:"reorg,omitempty"`
	// Failed says why it could not be done; such a run proves nothing.
	Failed string `json:"failed,omitempty"`
}

// Line says what was done, for people who follow a run.
func (f Injected) Line() string {
	text := f.Fault.String()
	switch {
	case f.Failed != "":
		return text + ": NOT DONE: " + f.Failed
	case f.Reorg != nil:
		return text + fmt.Sprintf(": done at %d: forked at %d, mined anew up to %d", f.Reorg.From, f.Reorg.Fork, f.Reorg.To)
	}
	return text + fmt.Sprintf(": from %d to %d", f.Began, f.Ended)
}

// Trial is what is judged.
type Trial struct {
	Wanted []Window // deadlines that had to be proven, oldest first
	Size   uint64   // bytes of a sector
	Added  uint64   // sectors of these deadlines that came after the power at the start was read: proven, they add to it
	Faults []Injected
	Report Report
	Said   []Said // what posthaste says came of these deadlines
}

// Said is what the workflow of a deadline says of one partition.
type Said struct {
	Open      int64
	Partition uint64
	Posted    bool
	Message   string // CID
	Reason    string // if it was not posted
}

const (
	// recoverWithin epochs before a deadline's cutoff a file that is back is declared recovered: two deadlines, the latest routine
	// try of other posters.
	recoverWithin = 120
	// cutoff epochs before Open recoveries are taken no more.
	cutoff = 70
)

// Judge compares the chain's report with what may be expected of a poster that loses nothing which could be proven. Figures count;
// wrong says what was not as it had to be, nothing if all was.
func Judge(t Trial) (figures Figures, wrong []string) {
	j := &judging{Trial: t, Figures: Figures{Faults: map[Kind]int{}}}
	j.wereDone()
	deadlines := j.deadlines()
	for i, d := range deadlines {
		for _, p := range d.Partitions {
			j.partition(i, d, p)
		}
	}
	j.reorgs(deadlines)
	j.nullRounds()
	j.messages()
	j.recoveries()
	j.holdings(deadlines)
	return j.Figures, j.wrong
}

// judging is a judgement under way.
type judging struct {
	Trial
	Figures
	wrong []string
}

func (j *judging) say(bad bool, format string, args ...any) {
	if bad {
		j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
	}
}

// wereDone counts the faults. One that could not be done was not survived.
func (j *judging) wereDone() {
	for _, f := range j.Trial.Faults {
		j.Figures.Faults[f.Kind]++
		j.say(f.Failed != "", "%s: it could not be done: %s", f.Fault, f.Failed)
		j.say(f.Failed == "" && f.Ended == 0, "%s: it was never over", f.Fault)
	}
}

// deadlines are those that are judged, oldest first.
func (j *judging) deadlines() []Deadline {
	var out []Deadline
	for i, w := range j.Wanted {
		at := slices.IndexFunc(j.Report.Deadlines, func(d Deadline) bool { return d.Open == w.Open && d.Index == w.Index })
		if at < 0 {
			j.say(true, "deadline %d (index %d, open at %d) never came", i, w.Index, w.Open)
			continue
		}
		d := j.Report.Deadlines[at]
		out = append(out, d)
		j.Deadlines++
		j.say(!d.Closed, "deadline %d (index %d) is not closed, or a dispute of it is not answered", i, d.Index)
		j.say(len(d.Partitions) == 0, "deadline %d (index %d) has no partition", i, d.Index)
	}
	return out
}

// damage is what was wrong with a partition's files while its deadline was proven.
func (j *judging) damage(d Deadline, partition uint64) []uint64 {
	var bad []uint64
	for _, f := range j.Trial.Faults {
		if f.OfFiles() && f.Failed == "" && f.Open == d.Open && f.Partition == partition {
			bad = append(bad, f.Sectors...)
		}
	}
	slices.Sort(bad)
	return slices.Compact(bad)
}

// partition judges one partition of the i-th deadline.
func (j *judging) partition(i int, d Deadline, p Partition) {
	name := fmt.Sprintf("deadline %d (index %d) partition %d", i, d.Index, p.Index)
	bad := j.damage(d, p.Index)
	back := j.backBefore(d, p.Index)
	skipped := slices.Sorted(slices.Values(p.Skipped))
	j.Partitions++
	if p.Posted {
		j.Posted++
		j.Skipped += len(skipped)
	}
	if p.Verified {
		j.Verified++
	}
	if uint64(len(bad)) >= p.Sectors {
		j.Unprovable++
		j.say(j.said(d, p.Index).Posted, "%s: none of its files was good, and posthaste says that it is posted", name)
		j.say(p.Posted, "%s: posted, though none of its files was good", name)
		j.say(p.FaultyAfter != p.Sectors, "%s: %d sectors faulty after Close, and all %d files were bad", name, p.FaultyAfter, p.Sectors)
		return
	}
	said := j.said(d, p.Index)
	if !p.Posted {
		j.Missed++
		j.say(true, "%s: missed; posthaste says: %s", name, said.Reason)
		return
	}
	j.say(!said.Posted, "%s: posted, and posthaste does not know: %s", name, said.Reason)
	j.say(said.Posted && said.Message != p.Message, "%s: posted by message %s, and posthaste says %s", name, p.Message, said.Message)
	j.say(!p.Verified, "%s: posted, but its proof does not stand", name)
	j.say(!slices.Equal(skipped, bad), "%s: skipped sectors %v, and those with bad files were %v", name, skipped, bad)
	j.say(p.FaultyAfter != uint64(len(bad)), "%s: %d sectors faulty after Close, and %d files were bad", name, p.FaultyAfter, len(bad))
	if len(back) > 0 && p.FaultyAfter == 0 {
		j.Recovered += len(back)
	}
	for _, sector := range back {
		j.say(!j.declared(d, p.Index, sector), "%s: sector %d was never declared recovered after its file was back and before the cutoff", name, sector)
	}
}

// said is what posthaste says of a partition.
func (j *judging) said(d Deadline, partition uint64) Said {
	for _, s := range j.Trial.Said {
		if s.Open == d.Open && s.Partition == partition {
			return s
		}
	}
	return Said{Reason: "nothing; no workflow had it"}
}

// backBefore are the sectors of a partition that an earlier deadline found bad and whose files were back in time to recover for this one.
func (j *judging) backBefore(d Deadline, partition uint64) []uint64 {
	var back []uint64
	for _, f := range j.Trial.Faults {
		if f.OfFiles() && f.Failed == "" && f.Index == d.Index && f.Open < d.Open && f.Partition == partition && f.Ended > 0 && f.Ended+recoverWithin <= d.Open-cutoff {
			back = append(back, f.Sectors...)
		}
	}
	slices.Sort(back)
	return slices.Compact(back)
}

// declared says whether a recovery of a sector landed between its file's return and the deadline's cutoff.
func (j *judging) declared(d Deadline, partition, sector uint64) bool {
	for _, r := range j.Report.Recoveries {
		if r.Deadline == d.Index && r.Partition == partition && r.LandedEpoch < d.Open-cutoff && slices.Contains(r.Sectors, sector) {
			return true
		}
	}
	return false
}

// recoveries checks that nothing was declared recovered that was not: a sector nobody touched, or one whose file was away.
func (j *judging) recoveries() {
	for _, r := range j.Report.Recoveries {
		for _, sector := range r.Sectors {
			at := slices.IndexFunc(j.Trial.Faults, func(f Injected) bool {
				return f.OfFiles() && f.Index == r.Deadline && f.Partition == r.Partition && slices.Contains(f.Sectors, sector)
			})
			if at < 0 {
				j.say(true, "sector %d of deadline %d partition %d was declared recovered, and nothing was wrong with it", sector, r.Deadline, r.Partition)
				continue
			}
			f := j.Trial.Faults[at]
			j.say(f.Ended == 0 || r.LandedEpoch < f.Ended, "sector %d was declared recovered at %d, when its file was away (until %d)", sector, r.LandedEpoch, f.Ended)
		}
	}
}

// reorgs counts those after which every deadline that they touched was posted whole.
func (j *judging) reorgs(deadlines []Deadline) {
	for _, f := range j.Trial.Faults {
		if !f.OfReorg() || f.Failed != "" {
			continue
		}
		if f.Reorg == nil {
			j.say(true, "%s: the chain did not say what it did", f.Fault)
			continue
		}
		whole := true
		for _, d := range deadlines {
			if d.Open-20 > f.Reorg.From || d.Close < f.Reorg.Fork {
				continue
			}
			for _, p := range d.Partitions {
				bad := j.damage(d, p.Index)
				whole = whole && (p.Posted && p.Verified || uint64(len(bad)) >= p.Sectors)
			}
		}
		if whole {
			j.Reorgs++
			j.ReorgEpochs += f.Reorg.From - f.Reorg.Fork
		}
		crossed := f.crosses()
		j.say(crossed != 0 && f.Reorg.Fork >= crossed, "%s: it forked at %d, which does not cross %d", f.Fault, f.Reorg.Fork, crossed)
	}
}

// crosses is the epoch that has to be among those of a reorg that are forgotten; 0: it is not known from the plan.
func (f Injected) crosses() int64 {
	switch f.Kind {
	case ReorgChallenge:
		return f.Challenge
	case ReorgOpen:
		return f.Open
	}
	return 0
}

// nullRounds checks that the epochs that were to stay empty did.
func (j *judging) nullRounds() {
	j.NullRounds = len(j.Report.NullRounds)
	for _, f := range j.Trial.Faults {
		for _, h := range f.Heights(f.Window) {
			j.say(f.Failed == "" && !slices.Contains(j.Report.NullRounds, h), "%s: epoch %d has a block", f.Fault, h)
		}
	}
}

// messages judges what came into blocks.
func (j *judging) messages() {
	m := j.Report.Messages
	j.Methods, j.SentTwice = m.Methods, m.SentTwice
	j.say(m.SentTwice > 0, "%d partitions were sent twice", m.SentTwice)
	j.say(m.Failed > 0, "%d posts failed on the chain", m.Failed)
	for _, method := range m.Methods {
		if method.Name == "DisputeWindowedPoSt" {
			continue // not ours, and to be refused
		}
		j.say(method.ExitCode != 0, "%d messages %s ended with exit code %d", method.Count, method.Name, method.ExitCode)
	}
	j.Disputes = j.Report.Disputes
	j.say(j.Disputes.Tried == 0 && j.Posted > 0, "nothing was disputed, so nothing is known of the proofs")
	j.say(j.Disputes.Tried != j.Disputes.Refused, "%d of %d disputes were not refused", j.Disputes.Tried-j.Disputes.Refused, j.Disputes.Tried)
}

// holdings compares power and faults at the end with those at the start: what was not to recover yet may lack, and nothing else.
func (j *judging) holdings(deadlines []Deadline) {
	var away uint64
	for _, f := range j.Trial.Faults {
		if !f.OfFiles() || f.Failed != "" {
			continue
		}
		again := slices.ContainsFunc(deadlines, func(d Deadline) bool {
			return slices.Equal(j.backBefore(d, f.Partition), f.Sectors) && d.Index == f.Index
		})
		if !again {
			away += uint64(len(f.Sectors))
		}
	}
	j.Power, j.FaultyNow = j.Report.Power, j.Report.Faults
	j.say(j.FaultyNow != away, "%d sectors are faulty at the end, and %d cannot have recovered yet", j.FaultyNow, away)
	start, ok1 := new(big.Int).SetString(j.Power.Start, 10)
	now, ok2 := new(big.Int).SetString(j.Power.Now, 10)
	if !ok1 || !ok2 {
		j.say(true, "the report has no power: %q and %q", j.Power.Start, j.Power.Now)
		return
	}
	lacks := new(big.Int).Mul(new(big.Int).SetUint64(away), new(big.Int).SetUint64(j.Size))
	gained := new(big.Int).Mul(new(big.Int).SetUint64(j.Added), new(big.Int).SetUint64(j.Size))
	want := new(big.Int).Add(new(big.Int).Sub(start, lacks), gained)
	j.say(want.Cmp(now) != 0, "the power is %s bytes, was %s at the start and should be %s", now, start, want)
	j.say(away == 0 && j.Added == 0 && j.Power.QualityNow != j.Power.QualityStart, "the power by quality is %s, and was %s", j.Power.QualityNow, j.Power.QualityStart)
}
