package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const miner = "f01000"

var period = Key{Miner: miner, PeriodStart: -2222, Index: 39}

// opened returns a ledger with one deadline, from 118 to 178, with partitions 0 and 1 of two sectors each.
func opened() *Ledger {
	l := NewLedger()
	l.Opened(Window{Key: period, Challenge: 98, Open: 118, Close: 178, Live: map[uint64]uint64{0: 2, 1: 2}})
	return l
}

func post(nonce uint64, ok bool, partitions ...uint64) Post {
	return Post{
		Miner: miner, Deadline: 39, CommitEpoch: 98, Landed: 120 + int64(nonce), Sender: "f0102", Nonce: nonce,
		Message: "post", OK: ok, Partitions: partitions,
	}
}

func TestPartitions(t *testing.T) {
	valid := Dispute{Message: "dispute", Partitions: []uint64{0}, ForValidity: true}
	cases := []struct {
		name     string
		posts    []Post
		disputes []Dispute
		refused  bool // what the chain says to the message "dispute"
		want     Partition
	}{
		{name: "nothing was posted", want: Partition{}},
		{
			name: "posted and the dispute refused", posts: []Post{post(1, true, 0)}, disputes: []Dispute{valid}, refused: true,
			want: Partition{Posted: true, Verified: true, LandedEpoch: 121, Message: "post"},
		},
		{
			name: "posted and the dispute taken", posts: []Post{post(1, true, 0)},
			disputes: []Dispute{{Message: "dispute", Partitions: []uint64{0}}},
			want:     Partition{Posted: true, LandedEpoch: 121, Message: "post"},
		},
		{
			name: "the dispute was refused for another reason", posts: []Post{post(1, true, 0)},
			disputes: []Dispute{{Message: "dispute", Partitions: []uint64{0}}}, refused: true,
			want: Partition{Posted: true, LandedEpoch: 121, Message: "post"},
		},
		{
			name: "the dispute could not be sent", posts: []Post{post(1, true, 0)},
			disputes: []Dispute{{Partitions: []uint64{0}, ForValidity: true}},
			want:     Partition{Posted: true, LandedEpoch: 121, Message: "post"},
		},
		{
			name: "recovering sectors: verified at landing, no proof kept", posts: []Post{post(1, true, 0)},
			want: Partition{Posted: true, Verified: true, LandedEpoch: 121, Message: "post"},
		},
		{
			name: "refused at landing", posts: []Post{post(1, false, 0)}, want: Partition{},
		},
		{
			name: "a second message after an accepted one changes nothing", posts: []Post{post(1, true, 0), post(2, false, 0)},
			disputes: []Dispute{valid}, refused: true,
			want: Partition{Posted: true, Verified: true, LandedEpoch: 121, Message: "post"},
		},
		{
			name: "only the other partition was posted", posts: []Post{post(1, true, 1)}, want: Partition{},
		},
		{
			name: "of another period", posts: []Post{{Miner: miner, Deadline: 39, CommitEpoch: 98 + 2880, OK: true, Partitions: []uint64{0}}},
			want: Partition{},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := opened()
			for _, p := range c.posts {
				l.Landed(p)
			}
			l.Settled(period, 178, nil, c.disputes)
			l.Answered("dispute", 181, c.refused)
			c.want.Sectors, c.want.Skipped = 2, []uint64{}
			d := l.Report().Deadlines[0]
			require.True(t, d.Closed)
			require.Equal(t, c.want, d.Partitions[0])
		})
	}
}

func TestSkippedAndFaulty(t *testing.T) {
	l := opened()
	p := post(1, true, 0, 1)
	p.Skipped = map[uint64][]uint64{1: {7}}
	l.Landed(p)
	l.Settled(period, 178, map[uint64]uint64{1: 1}, nil)
	parts := l.Report().Deadlines[0].Partitions
	require.Equal(t, []uint64{}, parts[0].Skipped)
	require.Equal(t, []uint64{7}, parts[1].Skipped)
	require.Equal(t, uint64(0), parts[0].FaultyAfter)
	require.Equal(t, uint64(1), parts[1].FaultyAfter)
}

func TestSentTwice(t *testing.T) {
	other := post(1, true, 0)
	other.Sender = "f0200"
	cases := []struct {
		name  string
		posts []Post
		want  int
	}{
		{"one message", []Post{post(1, true, 0, 1)}, 0},
		{"one message for each partition", []Post{post(1, true, 0), post(2, true, 1)}, 0},
		{"a second nonce, refused", []Post{post(1, true, 0), post(2, false, 0)}, 1},
		{"a second nonce for both partitions", []Post{post(1, true, 0, 1), post(2, false, 0, 1)}, 2},
		{"a second sender with the same nonce", []Post{post(1, true, 0), other}, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := opened()
			for _, p := range c.posts {
				l.Landed(p)
			}
			require.Equal(t, c.want, l.Report().Messages.SentTwice)
		})
	}
}

func TestMessages(t *testing.T) {
	l := opened()
	l.Landed(post(1, true, 0))
	l.Landed(post(2, false, 0))
	stray := post(3, false, 0)
	stray.Deadline = 12
	l.Landed(stray)
	require.Equal(t, Messages{Posts: 3, Failed: 2, SentTwice: 1, Methods: []Method{}}, l.Report().Messages)
}

func TestRevertedPostsAreForgottenAndMayLandAgain(t *testing.T) {
	l := opened()
	l.Landed(post(1, true, 0)) // at 121
	l.Reverted(122)
	require.True(t, l.Report().Deadlines[0].Partitions[0].Posted)
	l.Reverted(121)
	require.False(t, l.Report().Deadlines[0].Partitions[0].Posted)
	require.Zero(t, l.Report().Messages.Posts)
	l.Landed(post(1, true, 0))
	require.Equal(t, Messages{Posts: 1, Methods: []Method{}}, l.Report().Messages)
}

func TestARevertedEndIsDueAgain(t *testing.T) {
	l := opened()
	l.Landed(post(1, true, 0))
	l.Settled(period, 178, map[uint64]uint64{1: 2}, []Dispute{{Message: "dispute", Partitions: []uint64{0}, ForValidity: true}})
	l.Answered("dispute", 181, true)
	require.True(t, l.Report().Deadlines[0].Closed)

	l.Reverted(181)
	require.False(t, l.Report().Deadlines[0].Closed, "the answer is gone")
	require.Empty(t, l.Due(178))
	l.Answered("dispute", 183, true)
	require.True(t, l.Report().Deadlines[0].Closed)

	l.Reverted(178)
	require.Equal(t, []Key{period}, l.Due(178), "the end is gone")
	require.Equal(t, Disputes{}, l.Report().Disputes)
	require.Zero(t, l.Report().Deadlines[0].Partitions[1].FaultyAfter)
	require.True(t, l.Report().Deadlines[0].Partitions[0].Posted, "what landed before stays")
}

func TestADeadlineIsDueOnceItsEndWasExecuted(t *testing.T) {
	l := opened()
	require.Empty(t, l.Due(177))
	require.Equal(t, []Key{period}, l.Due(178))
	l.Settled(period, 178, nil, nil)
	require.Empty(t, l.Due(178))
}

func TestADeadlineIsClosedOnceItsDisputesAreAnswered(t *testing.T) {
	l := opened()
	l.Landed(post(1, true, 0))
	l.Settled(period, 178, nil, []Dispute{{Message: "dispute", Partitions: []uint64{0}, ForValidity: true}})
	d := l.Report().Deadlines[0]
	require.False(t, d.Closed)
	require.False(t, d.Partitions[0].Verified)
	require.Equal(t, Disputes{Tried: 1}, l.Report().Disputes)

	l.Answered("dispute", 181, true)
	d = l.Report().Deadlines[0]
	require.True(t, d.Closed)
	require.True(t, d.Partitions[0].Verified)
	require.Equal(t, Disputes{Tried: 1, Refused: 1}, l.Report().Disputes)
}

func TestAnAnswerMayComeBeforeTheDisputeIsRecorded(t *testing.T) {
	l := opened()
	l.Answered("dispute", 181, true)
	l.Settled(period, 178, nil, []Dispute{{Message: "dispute", ForValidity: true}})
	require.True(t, l.Report().Deadlines[0].Closed)
}

func TestDeadlinesAreListedOldestFirstAndOnlyWithSectors(t *testing.T) {
	l := NewLedger()
	l.Opened(Window{Key: Key{miner, 0, 1}, Open: 60, Close: 120, Live: map[uint64]uint64{0: 2}})
	l.Opened(Window{Key: Key{miner, 0, 2}, Open: 120, Close: 180})
	l.Opened(Window{Key: Key{miner, 0, 0}, Open: 0, Close: 60, Live: map[uint64]uint64{0: 2}})
	l.Opened(Window{Key: Key{miner, 0, 0}, Open: 0, Close: 60, Live: map[uint64]uint64{0: 2}})
	var indices []uint64
	for _, d := range l.Report().Deadlines {
		indices = append(indices, d.Index)
	}
	require.Equal(t, []uint64{0, 1}, indices)
}

func TestPowerKeepsItsStart(t *testing.T) {
	l := NewLedger()
	l.At(11, "100", "196608", "1966080", 0)
	l.At(229, "107", "192512", "1925120", 2)
	r := l.Report()
	require.Equal(t, int64(229), r.Epoch)
	require.Equal(t, uint64(2), r.Faults)
	require.Equal(t, "107", r.BaseFee)
	require.Equal(t, Power{Start: "196608", Now: "192512", QualityStart: "1966080", QualityNow: "1925120"}, r.Power)
}

func TestMessagesAreCountedByMethodAndExitCode(t *testing.T) {
	l := NewLedger()
	l.Executed(Executed{Landed: 5, Method: "SubmitWindowedPoSt"})
	l.Executed(Executed{Landed: 6, Method: "DeclareFaultsRecovered", Recoveries: []Recovery{{Deadline: 3, Sectors: []uint64{7}, LandedEpoch: 6}}})
	l.Executed(Executed{Landed: 7, Method: "SubmitWindowedPoSt", ExitCode: 16})
	l.Executed(Executed{Landed: 8, Method: "SubmitWindowedPoSt"})
	r := l.Report()
	require.Equal(t, []Method{{"DeclareFaultsRecovered", 0, 1}, {"SubmitWindowedPoSt", 0, 2}, {"SubmitWindowedPoSt", 16, 1}}, r.Messages.Methods)
	require.Equal(t, []Recovery{{Deadline: 3, Sectors: []uint64{7}, LandedEpoch: 6}}, r.Recoveries)

	l.Reverted(6)
	r = l.Report()
	require.Equal(t, []Method{{"SubmitWindowedPoSt", 0, 1}}, r.Messages.Methods)
	require.Empty(t, r.Recoveries)
}

func TestNullRoundsAreThoseOfTheChainAsItIs(t *testing.T) {
	l := NewLedger()
	l.Grew(10, 11)
	l.Grew(11, 14)
	require.Equal(t, []int64{12, 13}, l.Report().NullRounds)
	l.Reverted(11) // the tipset at 14
	require.Empty(t, l.Report().NullRounds)
	l.Grew(11, 13)
	l.Reorged(Reorg{From: 14, Fork: 11, To: 13})
	require.Equal(t, []int64{12}, l.Report().NullRounds)
	require.Equal(t, []Reorg{{14, 11, 13}}, l.Report().Reorgs)
}

func TestSecondsAreFromTheChallengeToTheTipsetThatHoldsThePost(t *testing.T) {
	l := opened()
	start := time.Unix(1000, 0)
	l.Saw(97, start)
	l.Saw(100, start.Add(3*time.Second)) // null rounds at 98, the challenge, and 99
	l.Saw(121, start.Add(10*time.Second))
	l.Saw(120, start.Add(20*time.Second)) // after a reorg: what was seen is known
	l.Saw(121, start.Add(21*time.Second))
	l.Landed(post(1, true, 0)) // at 121
	parts := l.Report().Deadlines[0].Partitions
	require.Equal(t, 7.0, parts[0].Seconds)
	require.Zero(t, parts[1].Seconds)
}
