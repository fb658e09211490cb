package post

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
)

// deadline7 is deadline 7 of the period from 2880 on: cutoff 3230, open 3300, closed at 3360.
func deadline7() RecoveryWindow {
	return RecoveryWindow{Deadline: Deadline{Miner: 1000, Index: 7, PeriodStart: 2880, Challenge: 3280, Open: 3300, Close: 3360}, Cutoff: 3230}
}

// nextDeadline7 is that of the next period.
func nextDeadline7() RecoveryWindow {
	w := deadline7()
	w.Deadline.PeriodStart, w.Deadline.Challenge, w.Deadline.Open, w.Deadline.Close, w.Cutoff = 5760, 6160, 6180, 6240, 6110
	return w
}

// at are faulty sectors of partition 0 of a window of deadline 7, at a head.
func at(head abi.ChainEpoch, w RecoveryWindow, sectors ...abi.SectorNumber) Faults {
	f := Faults{Head: head, Period: 2880, Faulty: len(sectors)}
	if len(sectors) > 0 {
		f.Deadlines = []FaultyDeadline{{RecoveryWindow: w, Partitions: []FaultyPartition{{Index: 0, Sectors: sectors}}}}
	}
	return f
}

// chosen are the sectors of partition 0 that are looked at.
func chosen(b *RecoveryBook, f Faults, all bool) (sectors Numbers) {
	for _, d := range b.Choose(f, all) {
		for _, p := range d.Partitions {
			sectors = sectors.Or(p.Sectors)
		}
	}
	return sectors
}

func missing(sectors ...abi.SectorNumber) (out []Skipped) {
	for _, s := range sectors {
		out = append(out, Skipped{Sector: s, Reason: "in none of the stores"})
	}
	return out
}

func TestASectorThatFailsTheCheckIsLookedAtWithGrowingPauses(t *testing.T) {
	b := &RecoveryBook{Miner: 1000}
	head := abi.ChainEpoch(2890)
	for _, pause := range []abi.ChainEpoch{20, 40, 60} {
		f := at(head, deadline7(), 7, 8)
		b.Learn(f)
		require.Equal(t, Numbers{7, 8}, chosen(b, f, false))
		require.Equal(t, Numbers{8}, b.Checked(7, 0, Numbers{7, 8}, missing(7), head))
		early := at(head+pause-1, deadline7(), 7)
		require.Empty(t, chosen(b, early, false), "before its pause of %d is over", pause)
		require.Equal(t, Numbers{7}, chosen(b, early, true), "an operator asks")
		head += pause
	}
	require.Len(t, b.Waits, 1)
	require.Equal(t, "deadline 7 partition 0, sector 7: in none of the stores", b.Waits[0].String())
	t.Run("but shortly before the cutoff it is", func(t *testing.T) {
		b := &RecoveryBook{}
		b.Checked(7, 0, Numbers{7}, missing(7), 3169)
		require.Empty(t, chosen(b, at(3169, deadline7(), 7), false))
		require.Equal(t, Numbers{7}, chosen(b, at(3170, deadline7(), 7), false))
	})
	t.Run("and one that is good is forgotten", func(t *testing.T) {
		require.Equal(t, Numbers{7}, b.Checked(7, 0, Numbers{7}, nil, head))
		require.Empty(t, b.Waits)
	})
}

func TestPauseOfTheCheckIsBounded(t *testing.T) {
	require.Equal(t, 6*RecoverEvery, checkPause(1000))
}

func TestASectorThatFailsAtThePostIsNotDeclaredForEver(t *testing.T) {
	require.Zero(t, postPause(1, 2880))
	require.EqualValues(t, 2880, postPause(2, 2880))
	require.EqualValues(t, 3*2880, postPause(3, 2880))
	require.EqualValues(t, 7*2880, postPause(4, 2880))
	require.EqualValues(t, 7*2880, postPause(99, 2880))

	b := &RecoveryBook{Miner: 1000}
	b.Note(Declaration{RecoveryWindow: deadline7(), Number: 1, ID: "1", State: DeclarationConfirmed, Partitions: []FaultyPartition{{Sectors: Numbers{7, 8}}}})
	open := at(3310, nextDeadline7())
	open.Passed = []uint64{7}
	b.Learn(open)
	require.Len(t, b.Declared, 1, "its window is open")

	f := at(3370, nextDeadline7(), 7, 9)
	b.Learn(f)
	require.Empty(t, b.Declared)
	require.Len(t, b.Waits, 1)
	require.Equal(t, Numbers{7}, b.Waits[0].Sectors, "8 is healthy, and 9 was not declared")
	require.Equal(t, Numbers{7, 9}, chosen(b, f, false), "declared again at once, the first time")

	b.Note(Declaration{RecoveryWindow: nextDeadline7(), Number: 1, ID: "2", State: DeclarationConfirmed, Partitions: []FaultyPartition{{Sectors: Numbers{7}}}})
	b.Learn(at(4000, nextDeadline7(), 9))
	require.Len(t, b.Waits, 1, "it recovers, and how often it has failed is still known")
	third := nextDeadline7()
	third.Deadline.PeriodStart += 2880
	third.Cutoff += 2880
	f = at(6250, third, 7, 9)
	b.Learn(f)
	require.Equal(t, 2, b.Waits[0].Times)
	require.Equal(t, Numbers{9}, chosen(b, f, false), "not for a period")
	require.Equal(t, Numbers{9}, chosen(b, at(third.Cutoff-lastTry, third, 7, 9), false), "even shortly before the cutoff")
	require.Equal(t, Numbers{7, 9}, chosen(b, at(6250+2880, third, 7, 9), false))
	require.Contains(t, b.Waits[0].String(), "2 times in a row")

	b.Learn(at(6260, third))
	require.Empty(t, b.Waits, "healthy: forgotten")
}

func TestWhatIsUnderWayIsNotDeclaredTwice(t *testing.T) {
	for state, looked := range map[DeclarationState]Numbers{
		DeclarationAsked: {8}, DeclarationLanded: {8},
		DeclarationConfirmed: {7, 8}, // the chain still has it faulty and not recovering: a reorg took it back
		DeclarationFailed:    {7, 8},
	} {
		t.Run(string(state), func(t *testing.T) {
			b := &RecoveryBook{Miner: 1000}
			b.Note(Declaration{RecoveryWindow: deadline7(), Number: 1, ID: "1", State: state, Partitions: []FaultyPartition{{Sectors: Numbers{7}}}})
			f := at(2900, deadline7(), 7, 8)
			b.Learn(f)
			require.Equal(t, looked, chosen(b, f, false))
			require.Equal(t, looked, chosen(b, f, true).And(looked), "not even when an operator asks")
		})
	}
}

func TestDeclarationsOfAWindowAreNumbered(t *testing.T) {
	b := &RecoveryBook{Miner: 1000}
	d := FaultyDeadline{RecoveryWindow: deadline7()}
	good := []FaultyPartition{{Index: 0, Sectors: row(1, 3)}, {Index: 1, Sectors: row(10, 3)}, {Index: 2, Sectors: row(20, 3)}, {Index: 4, Sectors: row(40, 3)}}
	all := b.Batch(d, good, Recovery{})
	require.Len(t, all, 1)
	require.Equal(t, "recover-f01000-2880/7/1", all[0].ID)
	require.Equal(t, 12, all[0].Sectors())
	b.Note(all[0])

	all[0].State, all[0].Reason = DeclarationFailed, "out of gas"
	b.Note(all[0])
	require.Empty(t, b.Declared[0].Partitions, "its sectors are not kept")
	again := b.Batch(d, good, Recovery{})
	require.Len(t, again, 2, "half as large, since the first was perhaps too large")
	require.Equal(t, "recover-f01000-2880/7/2", again[0].ID)
	require.Equal(t, "recover-f01000-2880/7/3", again[1].ID)
	b.Note(again[0])
	require.Len(t, b.Declared, 1, "the failed one is told of no more")

	t.Run("within the operator's limit, with what is declared already", func(t *testing.T) {
		d := d
		d.Recovering = 2
		limited := b.Batch(d, good, Recovery{MaxSectors: 10}) // 6 are asked for
		require.Len(t, limited, 1)
		require.Equal(t, 2, limited[0].Sectors())
	})
	t.Run("another window begins anew", func(t *testing.T) {
		require.Equal(t, "recover-f01000-5760/7/1", b.Batch(FaultyDeadline{RecoveryWindow: nextDeadline7()}, good, Recovery{})[0].ID)
	})
}

func TestWaitsOfADeadlineThatIsCutOffAreKept(t *testing.T) {
	b := &RecoveryBook{Miner: 1000}
	b.Checked(7, 0, Numbers{7}, missing(7), 3200)
	f := at(3250, nextDeadline7())
	f.Faulty, f.Passed = 1, []uint64{7}
	b.Learn(f)
	require.Len(t, b.Waits, 1)
	f.Passed = nil
	b.Learn(f)
	require.Empty(t, b.Waits)
}

func TestManyReasonsOfAPartitionAreFew(t *testing.T) {
	b := &RecoveryBook{Miner: 1000}
	var bad []Skipped
	for i := range 2000 {
		bad = append(bad, Skipped{Sector: abi.SectorNumber(i), Reason: fmt.Sprintf("sector %d is invalid", i)})
	}
	require.Empty(t, b.Checked(7, 3, row(0, 2000), bad, 3000))
	require.Len(t, b.Waits, reasonsKept+1)
	require.Contains(t, b.Waits[reasonsKept].Reason, "`posthaste proving check --strict --miner f01000 --deadline 7 --partition 3`")
	raw, err := json.Marshal(b)
	require.NoError(t, err)
	require.Less(t, len(raw), 2000)
	var back RecoveryBook
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, *b, back)
}

func TestARoundLooksAtSoManyPartitions(t *testing.T) {
	f := Faults{Head: 2900, Deadlines: []FaultyDeadline{{RecoveryWindow: deadline7()}, {RecoveryWindow: nextDeadline7()}}}
	for i := range uint64(30) {
		for d := range f.Deadlines {
			f.Deadlines[d].Partitions = append(f.Deadlines[d].Partitions, FaultyPartition{Index: i, Sectors: Numbers{abi.SectorNumber(i)}})
		}
	}
	look := (&RecoveryBook{}).Choose(f, false)
	require.Len(t, look[0].Partitions, 30, "the nearest cutoff first")
	require.Len(t, look[1].Partitions, lookedAtOnce-30)
}
