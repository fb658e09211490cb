package period

import (
	"math/rand/v2"
	"slices"
)

// Shape is what a plan is made for.
type Shape struct {
	// Sectors of each followed deadline of the first period, by partition. Deadlines come again in the same order after len(Sectors).
	Sectors [][][]uint64
	Kinds   []Kind // that may happen
	Daemons int
	Workers int
	Nodes   int
}

// filesFor is how many deadlines at the start have files go wrong. The same deadlines come again at the end, when the sectors must
// have recovered: a run is as much longer than a period.
const filesFor = 2

// Whole plans a proving period and the deadlines after it in which what was faulty is proven again. From the seed come the order of
// the faults, their deadlines and their depths. What happens to one deadline is over before the next thing happens, one to three
// deadlines later.
func Whole(seed uint64, s Shape) Plan {
	random := rand.New(rand.NewPCG(seed, 0))
	p := Plan{Seed: seed, Deadlines: len(s.Sectors)}
	var ofFiles, others []Kind
	for _, k := range s.Kinds {
		switch {
		case (Fault{Kind: k}).OfFiles():
			ofFiles = append(ofFiles, k)
		case s.Nodes > 1 || !ofNode(k):
			others = append(others, k)
		}
	}
	at := 1
	if len(ofFiles) > 0 {
		p.Deadlines += filesFor
		p.Faults = files(random, s, ofFiles)
		at += filesFor
	}
	for bag := []Kind(nil); at < len(s.Sectors)-1 && len(others) > 0; at += 1 + random.IntN(3) {
		if len(bag) == 0 {
			bag = shuffled(random, others)
		}
		p.Faults = append(p.Faults, other(random, s, bag[0], at))
		bag = bag[1:]
	}
	p.Faults = inOrder(p.Faults)
	return p
}

// Interleaved plans for the deadlines whose partitions' sectors are not in the order of their numbers, up to the last of them: in the first, a
// sector of its first partition is hidden.
func Interleaved(s Shape) Plan {
	var p Plan
	for i, partitions := range s.Sectors {
		if !interleave(partitions) {
			continue
		}
		if p.Deadlines == 0 {
			p.Faults = []Fault{{Kind: SectorHidden, Deadline: i, Sectors: partitions[0][:1]}}
		}
		p.Deadlines = i + 1
	}
	return p
}

// Grown plans for a miner that has got sectors with this number and higher ones, up to the first deadline that has any; without, for none.
func Grown(s Shape, from uint64) Plan {
	for i, partitions := range s.Sectors {
		if slices.Max(slices.Concat(partitions...)) >= from {
			return Plan{Deadlines: i + 1}
		}
	}
	return Plan{}
}

// interleave says whether partitions have sectors that, put in order, would not keep to their partitions.
func interleave(partitions [][]uint64) bool {
	var all []uint64
	for _, sectors := range partitions {
		all = append(all, sectors...)
	}
	return !slices.IsSorted(all)
}

// shuffled is a copy in another order.
func shuffled(random *rand.Rand, kinds []Kind) []Kind {
	out := append([]Kind(nil), kinds...)
	random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// files damages the first deadlines, a kind for each partition: one of its sectors, and of the last one all.
func files(random *rand.Rand, s Shape, kinds []Kind) []Fault {
	kinds = shuffled(random, kinds)
	slices.SortStableFunc(kinds, func(a, b Kind) int { return whole(a) - whole(b) })
	var faults []Fault
	for deadline := 0; deadline < filesFor && deadline < len(s.Sectors); deadline++ {
		for partition, sectors := range s.Sectors[deadline] {
			if len(kinds) == 0 || partition > 1 || len(sectors) < 2 {
				continue
			}
			f := Fault{Kind: kinds[0], Deadline: deadline, Partition: uint64(partition), Sectors: sectors}
			if f.Kind != PartitionHidden {
				f.Sectors = []uint64{sectors[random.IntN(len(sectors))]}
			}
			faults, kinds = append(faults, f), kinds[1:]
		}
	}
	return faults
}

// ofNode says whether a kind makes sense only where there is another node.
func ofNode(k Kind) bool { return k == NodeStopped || k == NodeBehind || k == NodeForked }

// whole is 1 if a kind takes a whole partition away.
func whole(k Kind) int {
	if k == PartitionHidden {
		return 1
	}
	return 0
}

// other is one fault that is not of files.
func other(random *rand.Rand, s Shape, kind Kind, deadline int) Fault {
	f := Fault{Kind: kind, Deadline: deadline}
	between := func(least, most int64) int64 { return least + random.Int64N(most-least+1) }
	switch kind {
	case NullChallenge, NullOpen, NullLast:
		f.Epochs = between(1, 3)
	case ReorgChallenge, ReorgOpen:
		f.Epochs = between(1, 5)
	case ReorgLanded, ReorgDropped:
		// Not so deep that the post could come before Open: it goes out 4 epochs after that.
		f.Epochs = between(1, 2)
	case RPCPaused:
		f.Epochs = between(10, 25)
	case NodeStopped:
		f.Epochs, f.Which = between(10, 25), random.IntN(max(s.Nodes, 1))
	case NodeBehind, NodeForked:
		f.Epochs, f.Which = between(15, 30), 1 // the first node has the chain that counts
	case NothingTaken:
		f.Epochs = between(8, 20)
	case BaseFeeUp:
		f.Epochs = between(15, 25)
	case DaemonKilled:
		f.Which = random.IntN(max(s.Daemons, 1))
	case WorkerKilled:
		f.Which = random.IntN(max(s.Workers, 1))
	}
	return f
}

// Brief are the kinds that a deadline of a few seconds can stand.
var Brief = []Kind{
	SectorHidden, SectorTruncated, SectorFlipped, PartitionHidden,
	NullChallenge, NullOpen, NullLast, ReorgChallenge, ReorgOpen, ReorgLanded, ReorgDropped, RPCPaused, NodeStopped, NodeBehind, NodeForked, PoolDropped,
	NothingTaken, BaseFeeUp, DaemonKilled, WorkerKilled, CardKilled, TemporalKilled,
}

// All kinds. That a worker is gone in the middle of a proof is noticed after 15 s without a heartbeat: on mainnet half an epoch.
var All = append(slices.Clone(Brief), WorkerLost)
