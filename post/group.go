package post

import (
	"encoding/binary"
	"slices"

	"github.com/filecoin-project/go-state-types/abi"
)

// What the actor takes in one post (go-state-types builtin/v16/miner/policy.go: PoStedPartitionsMax, AddressedSectorsMax).
const (
	MaxPartitionsPerPost = 3
	MaxSectorsPerPost    = 25_000
)

// GroupPartitions says which partitions of a deadline are proven as one set and sent as one message: those that have something to prove and are not
// posted, in order, up to perPost of them (0 is 1), within what the actor takes. With recoverAlone one with recovering sectors is by itself:
// the chain verifies its post at once, which costs gas.
func GroupPartitions(partitions []Partition, perPost int, recoverAlone bool) [][]uint64 {
	perPost = min(max(perPost, 1), MaxPartitionsPerPost)
	var groups [][]uint64
	var open bool // the last group takes more
	var sectors uint64
	for _, p := range partitions {
		if p.Posted || p.ToProve == 0 {
			continue
		}
		alone := recoverAlone && p.Recovering > 0
		if last := len(groups) - 1; open && !alone && len(groups[last]) < perPost && sectors+p.Live <= MaxSectorsPerPost {
			groups[last] = append(groups[last], p.Index)
			sectors += p.Live
			continue
		}
		groups, open, sectors = append(groups, []uint64{p.Index}), !alone, p.Live
	}
	return groups
}

// SetDigest tells sets of sectors apart: what a proof covers, and what the chain wants proven when its message is built.
func SetDigest(numbers []abi.SectorNumber) string {
	sorted := slices.Sorted(slices.Values(numbers))
	var words []byte
	for _, n := range sorted {
		words = binary.BigEndian.AppendUint64(words, uint64(n))
	}
	return Digest(words)
}

// LandingLooks are the epochs at which the chain is asked whether a message that landed is still there: soon, since a reorg seldom goes back
// further and the rest of the window is precious then; when a message could still be sent in its place for the last time; and when it is
// confidence deep, in this order.
func LandingLooks(landed, confidence, closes abi.ChainEpoch) []abi.ChainEpoch {
	var looks []abi.ChainEpoch
	final := landed + confidence
	for _, look := range []abi.ChainEpoch{landed + soonAfterLanding, closes - lastChance} {
		if look > landed && look < final && (len(looks) == 0 || look > looks[0]) {
			looks = append(looks, look)
		}
	}
	return append(looks, final)
}

const (
	// soonAfterLanding: on mainnet reorgs of more than three epochs are rare.
	soonAfterLanding abi.ChainEpoch = 3
	// lastChance epochs before Close a message is still taken: the next tipset can have it, and the one after.
	lastChance abi.ChainEpoch = 3
)
