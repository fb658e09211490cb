package post

import (
	"fmt"
	"slices"

	"github.com/filecoin-project/go-state-types/abi"
)

// RecoveryBook is what is remembered of a miner's faulty sectors between two looks at the chain.
type RecoveryBook struct {
	Miner    abi.ActorID    `json:"miner"`
	Declared []Declaration  `json:"declared,omitempty"` // until their window has closed
	Waits    []RecoveryWait `json:"waits,omitempty"`
}

// RecoveryWait is faulty sectors that were looked at and cannot be declared recovered now.
type RecoveryWait struct {
	Deadline  uint64         `json:"deadline"`
	Partition uint64         `json:"partition"`
	Sectors   Numbers        `json:"sectors"`
	Of        int            `json:"of,omitempty"`      // how many they are, where Sectors is cut short to be shown
	AtPost    bool           `json:"at_post,omitempty"` // they were declared, and failed at the post; else at the check before
	Times     int            `json:"times"`             // in a row
	Until     abi.ChainEpoch `json:"until"`             // they are not looked at before
	Reason    string         `json:"reason"`
}

// checkPause is how long a sector that has failed the check so often in a row is not looked at, unless it is the last try before its cutoff:
// up to 6 rounds. Looking costs a listing, or the reading that a proof would do.
func checkPause(times int) abi.ChainEpoch {
	return RecoverEvery * abi.ChainEpoch(min(times, 6))
}

// postPause is for how many proving periods a sector is left alone that passed the check, was declared and failed at the post so often in a
// row: none, then 1, 3 and 7. A recovery that fails costs a fault fee each time; the chain keeps a faulty sector for 42 days.
func postPause(times int, period abi.ChainEpoch) abi.ChainEpoch {
	return period * abi.ChainEpoch(1<<min(times-1, 3)-1)
}

// Learn takes in what the chain says now: of the declarations whose window has closed, the sectors that are faulty again have failed.
// What is not faulty any more is forgotten.
func (b *RecoveryBook) Learn(f Faults) {
	var open []Declaration
	for _, d := range b.Declared {
		if d.UnderWay() || f.Head < d.Deadline.Close {
			open = append(open, d)
			continue
		}
		for _, p := range d.Partitions {
			if d.State == DeclarationConfirmed {
				b.failed(d.Deadline.Index, p.Index, p.Sectors.And(f.faulty(d.Deadline.Index, p.Index)), f)
			}
		}
	}
	b.Declared = open
	var waits []RecoveryWait
	for _, w := range b.Waits {
		if !f.Cut && !slices.Contains(f.Passed, w.Deadline) {
			w.Sectors = w.Sectors.And(f.faulty(w.Deadline, w.Partition).Or(b.declared(w.Deadline, w.Partition)))
		}
		if len(w.Sectors) > 0 {
			waits = append(waits, w)
		}
	}
	b.Waits = waits
}

// faulty are the sectors of a partition that can be declared.
func (f Faults) faulty(deadline, partition uint64) Numbers {
	for _, d := range f.Deadlines {
		for _, p := range d.Partitions {
			if d.Deadline.Index == deadline && p.Index == partition {
				return p.Sectors
			}
		}
	}
	return nil
}

// declared are the sectors of a partition in declarations that have not failed.
func (b *RecoveryBook) declared(deadline, partition uint64) (all Numbers) {
	for _, d := range b.Declared {
		for _, p := range d.Partitions {
			if d.State != DeclarationFailed && d.Deadline.Index == deadline && p.Index == partition {
				all = all.Or(p.Sectors)
			}
		}
	}
	return all
}

// underWay are the sectors of a partition in messages that may still land.
func (b *RecoveryBook) underWay(deadline, partition uint64) (all Numbers) {
	for _, d := range b.Declared {
		for _, p := range d.Partitions {
			if d.UnderWay() && d.Deadline.Index == deadline && p.Index == partition {
				all = all.Or(p.Sectors)
			}
		}
	}
	return all
}

// take takes sectors out of a partition's waits of one kind, and gives them by how often they had failed before: never is last.
func (b *RecoveryBook) take(deadline, partition uint64, atPost bool, sectors Numbers) (had []RecoveryWait) {
	var rest []RecoveryWait
	for _, w := range b.Waits {
		if w.Deadline == deadline && w.Partition == partition && w.AtPost == atPost {
			if common := w.Sectors.And(sectors); len(common) > 0 {
				had = append(had, RecoveryWait{Sectors: common, Times: w.Times})
				w.Sectors, sectors = w.Sectors.Minus(common), sectors.Minus(common)
			}
		}
		if len(w.Sectors) > 0 {
			rest = append(rest, w)
		}
	}
	b.Waits = rest
	if len(sectors) > 0 {
		had = append(had, RecoveryWait{Sectors: sectors})
	}
	return had
}

// put adds sectors to a wait that says the same, or a new one.
func (b *RecoveryBook) put(w RecoveryWait) {
	for i, o := range b.Waits {
		if o.Deadline == w.Deadline && o.Partition == w.Partition && o.AtPost == w.AtPost && o.Times == w.Times && o.Until == w.Until && o.Reason == w.Reason {
			b.Waits[i].Sectors = o.Sectors.Or(w.Sectors)
			return
		}
	}
	b.Waits = append(b.Waits, w)
}

// failed notes sectors that were declared recovered and are faulty after their window.
func (b *RecoveryBook) failed(deadline, partition uint64, sectors Numbers, f Faults) {
	for _, had := range b.take(deadline, partition, true, sectors) {
		times := had.Times + 1
		b.put(RecoveryWait{
			Deadline: deadline, Partition: partition, Sectors: had.Sectors, AtPost: true, Times: times, Until: f.Head + postPause(times, f.Period),
			Reason: fmt.Sprintf("they passed the check, were declared recovered, and were not in the post (%s in a row)", Count(times, "time")),
		})
	}
}

// reasonsKept is how many reasons of one partition are remembered: each is a text, and every sector may have its own.
const reasonsKept = 5

// Checked notes the outcome of a look at sectors of a partition: those that are bad, and why. The others are good.
func (b *RecoveryBook) Checked(deadline, partition uint64, sectors Numbers, bad []Skipped, head abi.ChainEpoch) (good Numbers) {
	had := b.take(deadline, partition, false, sectors)
	type group struct {
		times  int
		reason string
	}
	var groups []group
	var in []Numbers
	good = sectors
	for _, s := range bad {
		good = good.Minus(Numbers{s.Sector})
		g := group{1, s.Reason}
		for _, before := range had {
			if before.Sectors.has(s.Sector) {
				g.times += before.Times
			}
		}
		if len(groups) >= reasonsKept && !slices.Contains(groups, g) {
			g.reason = fmt.Sprintf("`posthaste proving check --strict --miner %s --deadline %d --partition %d` says why", MinerName(b.Miner), deadline, partition)
		}
		i := slices.Index(groups, g)
		if i < 0 {
			i = len(groups)
			groups, in = append(groups, g), append(in, nil)
		}
		in[i] = in[i].Or(Numbers{s.Sector})
	}
	for i, g := range groups {
		b.put(RecoveryWait{Deadline: deadline, Partition: partition, Sectors: in[i], Times: g.times, Until: head + checkPause(g.times), Reason: g.reason})
	}
	return good
}

// lookedAtOnce bounds the partitions that one round looks at: the rest comes in the next ones, the nearest cutoff first.
const lookedAtOnce = 48

// Choose says which faulty sectors to look at now: not those in messages under way, and not those that wait, unless an operator asks for all.
func (b *RecoveryBook) Choose(f Faults, all bool) (look []FaultyDeadline) {
	partitions := 0
	for _, d := range f.Deadlines {
		last := d.Cutoff-f.Head <= lastTry
		chosen := FaultyDeadline{RecoveryWindow: d.RecoveryWindow, Recovering: d.Recovering}
		for _, p := range d.Partitions {
			sectors := p.Sectors.Minus(b.underWay(d.Deadline.Index, p.Index))
			for _, w := range b.Waits {
				waits := w.Until > f.Head && !all && (w.AtPost || !last)
				if waits && w.Deadline == d.Deadline.Index && w.Partition == p.Index {
					sectors = sectors.Minus(w.Sectors)
				}
			}
			if len(sectors) > 0 && partitions < lookedAtOnce {
				partitions++
				chosen.Partitions = append(chosen.Partitions, FaultyPartition{Index: p.Index, Sectors: sectors})
			}
		}
		if len(chosen.Partitions) > 0 {
			look = append(look, chosen)
		}
	}
	return look
}

// Batch shares good sectors of a deadline out to messages, within the operator's limits. When the last message of this window failed, the next
// ones are half as large: it may have been too large.
func (b *RecoveryBook) Batch(d FaultyDeadline, good []FaultyPartition, limits Recovery) []Declaration {
	most, number, declared := limits.MaxPartitions, 0, d.Recovering
	for _, before := range b.Declared {
		if before.Deadline != d.Deadline {
			continue
		}
		number = max(number, before.Number)
		switch {
		case before.State == DeclarationAsked: // what has landed, the chain counts
			declared += before.Sectors()
		case before.State == DeclarationFailed && before.Of > 1 && (most == 0 || before.Of/2 < most):
			most = before.Of / 2
		}
	}
	var out []Declaration
	for _, batch := range BatchRecoveries(good, most, limits.Room(declared)) {
		number++
		out = append(out, Declaration{
			RecoveryWindow: d.RecoveryWindow, Number: number, State: DeclarationAsked, Partitions: batch, Of: len(batch),
			ID: fmt.Sprintf("recover-%s-%d/%d/%d", MinerName(b.Miner), d.Deadline.PeriodStart, d.Deadline.Index, number),
		})
	}
	return out
}

// Note keeps a declaration as it stands now. Of a window's failed ones the last is kept, without its sectors.
func (b *RecoveryBook) Note(d Declaration) {
	if d.State == DeclarationFailed {
		d.Partitions = nil
	}
	b.Declared = slices.DeleteFunc(slices.Clone(b.Declared), func(old Declaration) bool {
		return old.ID == d.ID || old.Deadline == d.Deadline && old.State == DeclarationFailed && old.Number < d.Number
	})
	b.Declared = append(b.Declared, d)
}

// Busy says whether any message may still land.
func (b *RecoveryBook) Busy() bool { return slices.ContainsFunc(b.Declared, Declaration.UnderWay) }
