package workflows

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// batch is what is proven as one and sent as one: a partition, or several of a deadline (see post.GroupPartitions).
type batch struct {
	// What its partitions have in common. Index, Sectors and Skipped are each partition's own.
	post.PartitionResult
	parts   []*part
	sectors post.Sectors // of all its partitions, those that a store has: in the order in which the chain sees them
	located bool         // where its sectors are is known

	job    post.Job  // the current one; its Key tells late proofs apart
	key    string    // its Key
	issued int       // activities for its proof in this run
	until  time.Time // when the time of the last of these is over
	avoid  []string  // cards that failed it

	refused  []string // cards, or workers, that refused it since something else happened to it
	refusals int      // how often that was
	claims   claims   // of cards that make the proof although their attempt is gone

	lost    []string // stores that keep the job waiting because nobody can read them, while its other sectors could be proven
	leaving bool     // it is watched how long they stay lost
	leave   bool     // long enough: go without their sectors

	reset  bool        // an operator wants it run again, now
	again  int         // how often one did
	resets int         // the deadline's resets when its last attempt began
	found  *post.Proof // a proof that came by signal and verified

	built    int                  // messages asked of the sender
	sender   string               // that was asked; its messages may still land
	earlier  *post.MessageRequest // whose message may come back, although it is not on the chain now
	setbacks int                  // messages that came to nothing, in a row
}

// part is one partition of a batch.
type part struct {
	index   uint64
	count   int            // of the sectors that its post covers, by the chain
	wanted  post.Sectors   // these
	sectors post.Sectors   // of these, the ones that a store has
	missing []post.Skipped // the others
	skipped []post.Skipped // left out of its post: what is missing, and what the proof found bad
	located post.Located   // as the sectors were found
	batch   *batch         // that it is in now

	shown   string // how it was shown last, without Updated
	updated time.Time
}

// newBatch is a batch of partitions, in order.
func newBatch(parts ...*part) *batch {
	b := &batch{PartitionResult: post.PartitionResult{State: post.StateWaiting}, parts: parts}
	for _, p := range parts {
		p.batch = b
	}
	return b
}

// indexes are those of its partitions, in order.
func (b *batch) indexes() []uint64 {
	indexes := make([]uint64, len(b.parts))
	for i, p := range b.parts {
		indexes[i] = p.index
	}
	return indexes
}

// first is the partition that names its activities and messages.
func (b *batch) first() uint64 { return b.parts[0].index }

// has says whether a partition is in it.
func (b *batch) has(index uint64) bool { return slices.Contains(b.indexes(), index) }

// summary names it for people: partition 0, or partitions 0, 1 and 2.
func (b *batch) summary() string { return post.PartitionNames(b.indexes()) }

// have takes in what a lookup found of a partition.
func (p *part) have(located post.Located) {
	p.located = located
	p.sectors, p.missing, p.skipped = located.Sectors, located.Missing, located.Missing
}

// unite makes the batch's sectors those of its partitions: a set in the order of their numbers, whichever partition they are in.
func (b *batch) unite() {
	if len(b.parts) == 1 {
		b.sectors = b.parts[0].sectors
		return
	}
	b.sectors = nil
	for _, p := range b.parts {
		b.sectors = append(b.sectors, p.sectors...)
	}
	b.sectors = b.sectors.Sort()
}

// covered takes in which sectors a proof does not cover. The chain checks it against those that the message does not skip, partition by partition.
func (b *batch) covered(proof post.Proof) {
	if len(b.parts) == 1 {
		b.parts[0].skipped = slices.Concat(b.parts[0].missing, proof.Skipped)
		return
	}
	for _, p := range b.parts {
		p.skipped = slices.Clone(p.missing)
		for _, s := range proof.Skipped {
			if p.wants(s.Sector) {
				p.skipped = append(p.skipped, s)
			}
		}
	}
}

// wants says whether a sector is one of the partition's.
func (p *part) wants(number abi.SectorNumber) bool {
	_, found := slices.BinarySearchFunc(p.wanted, number, func(s post.Sector, n abi.SectorNumber) int { return cmp.Compare(s.Number, n) })
	return found
}

// skippedNumbers are the sectors left out of the partition's post so far.
func (p *part) skippedNumbers() []abi.SectorNumber {
	numbers := make([]abi.SectorNumber, len(p.skipped))
	for i, s := range p.skipped {
		numbers[i] = s.Sector
	}
	return numbers
}

// allBad says that no sector of the partition is left to prove.
func (p *part) allBad() bool { return len(p.sectors.Without(p.skippedNumbers())) == 0 }

// result is the partition as people see it.
func (p *part) result() post.PartitionResult {
	r := p.batch.PartitionResult
	r.Index, r.Sectors, r.Skipped, r.Updated = p.index, p.count, p.skipped, time.Time{}
	for _, other := range p.batch.parts {
		if other != p {
			r.With = append(r.With, other.index)
		}
	}
	return r
}

// stamped is the partition for the memo, with the time of its last change.
func (p *part) stamped(now time.Time) post.PartitionResult {
	short := p.result().Short()
	if shown := fmt.Sprintf("%+v", short); shown != p.shown { // which sees every field, there will be more
		p.shown, p.updated = shown, now
	}
	short.Updated = p.updated
	return short
}

// begin sees a batch through, beside the others.
func (d *deadline) begin(b *batch) {
	d.running++
	workflow.Go(d.main, func(ctx workflow.Context) {
		d.seeThrough(ctx, b)
		d.running--
	})
}

// takeOut makes batches of their own of those partitions that a batch should go without, and begins them. One stays in any case.
func (d *deadline) takeOut(b *batch, why string, which func(*part) bool) {
	stay, leave := []*part{}, []*part{}
	for _, p := range b.parts {
		if which(p) {
			leave = append(leave, p)
		} else {
			stay = append(stay, p)
		}
	}
	if len(stay) == 0 && len(leave) > 0 {
		stay, leave = leave[:1], leave[1:]
	}
	if len(leave) == 0 {
		return
	}
	b.parts = stay
	b.unite()
	for _, p := range leave {
		d.alone(b, p, why)
	}
	d.changed()
}

// alone goes on with one partition of a batch by itself. IDs of its activities and messages go on where the batch's were.
func (d *deadline) alone(of *batch, p *part, why string) *batch {
	single := newBatch(p)
	single.Issued, single.Reason, single.located = of.Issued, why, true
	single.issued, single.built, single.again, single.sender = of.issued, of.built, of.again, of.sender
	p.sectors, p.missing, p.skipped = p.located.Sectors, p.located.Missing, p.located.Missing
	single.unite()
	d.batches = append(d.batches, single)
	d.begin(single)
	return single
}

// split ends a batch of several partitions: each goes on alone, with a proof of its own, because proofs are of sets and cannot be taken apart.
// Those that the chain has already are done.
func (d *deadline) split(b *batch, posted []uint64, why string) {
	kept := make([]*batch, 0, len(d.batches)+len(b.parts)) // others may be in the middle of the old list
	for _, one := range d.batches {
		if one != b {
			kept = append(kept, one)
		}
	}
	d.batches = kept
	earlier := b.earlier
	for _, p := range b.parts {
		if slices.Contains(posted, p.index) {
			done := newBatch(p)
			done.PartitionResult = b.PartitionResult
			done.State, done.Reason = post.StatePosted, cmp.Or(why, "the chain had this post already")
			d.batches = append(d.batches, done)
			continue
		}
		single := d.alone(b, p, why)
		single.earlier, earlier = earlier, nil // one message takes the nonce
	}
	d.changed()
}

// nothingLeft ends a partition of which the chain wants nothing proven any more, although it did when the deadline was read.
func (d *deadline) nothingLeft(p *part) {
	done := newBatch(p)
	done.State, done.Reason = post.StateNothing, "the chain had nothing to prove in it any more when its sectors were read"
	d.changed()
}
