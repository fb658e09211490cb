package workers

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/workflows"
)

func actor(n uint64) abi.ActorID { return abi.ActorID(n) }

// window is a deadline of 60 epochs that opens at open.
func window(index uint64, open abi.ChainEpoch, partitions ...post.Partition) post.SurveyedDeadline {
	return post.SurveyedDeadline{
		Deadline:   post.Deadline{Miner: 1000, Index: index, Challenge: open - 20, Open: open, Close: open + 60},
		Partitions: partitions,
	}
}

// row is the workflow of a deadline.
func row(d post.SurveyedDeadline, partitions ...post.PartitionResult) Row {
	return Row{WorkflowID: d.WorkflowID(), Status: "Running", Board: post.Result{Deadline: d.Deadline, State: post.DeadlineState(partitions), Partitions: partitions, Size: 32 << 30}}
}

func TestDeadlinesOfAMiner(t *testing.T) {
	full := func(index uint64) post.Partition { return post.Partition{Index: index, Live: 100, ToProve: 100} }
	posted := func(p post.Partition) post.Partition {
		p.Posted = true
		return p
	}
	over := window(0, 1000, full(0), post.Partition{Index: 1, Live: 100, Faulty: 100})
	open := window(1, 1060, full(0), posted(full(1)), full(2), post.Partition{Index: 3, Live: 5, Faulty: 5})
	next := window(2, 1120, full(0), full(1), full(2))
	empty := window(3, 1180)
	// Epoch 1100: the challenge of next, at 1100, is there.
	survey := post.Survey{Miner: 1000, Head: 1100, At: time.Unix(50_000, 0), EpochDuration: 30 * time.Second, Size: 32 << 30, Current: 1, Places: 2,
		Deadlines: []post.SurveyedDeadline{over, open, next, empty}}
	done := post.PartitionResult{State: post.StatePosted, Sectors: 100, Phases: post.PhaseTimes{Vanilla: 100 * time.Second, Snark: 200 * time.Second}}
	missed := post.PartitionResult{Index: 1, State: post.StateMissed}
	proving := row(open, post.PartitionResult{Index: 0, State: post.StateProving}, post.PartitionResult{Index: 2, State: post.StateSubmitting})
	proving.Jobs = []RunningJob{{Partition: 0, Started: true, Progress: post.Progress{Card: "w1/card0", Seconds: 60}}}
	m := workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000, Settings: post.DefaultSettings()}}

	out := viewDeadlines(survey, m, []Row{row(over, done, missed), proving})
	require.Equal(t, "f01000", out.Miner)
	require.Equal(t, "Watching", out.State)
	require.Len(t, out.Deadlines, 4)

	d := out.Deadlines[0]
	require.Equal(t, post.StateMissed, d.State)
	require.Equal(t, [2]int{1, 2}, [2]int{d.Posted, d.Due}, "what the chain forgets at Close stands in the workflow")
	require.Zero(t, d.Unproven, "it is too late for the other one")
	require.False(t, d.Current)
	require.Equal(t, time.Unix(50_000-3000, 0), d.OpenAt)

	d = out.Deadlines[1]
	require.True(t, d.Current)
	require.Equal(t, post.StateProving, d.State)
	require.Equal(t, [2]int{1, 3}, [2]int{d.Posted, d.Due}, "a partition without a good sector is not due")
	require.EqualValues(t, 305, d.Sectors)
	require.EqualValues(t, 300, d.ToProve)
	require.EqualValues(t, 5, d.Faulty)
	require.Equal(t, 1, d.Unproven, "one is posted, one is proven")
	require.True(t, d.Known)
	require.Equal(t, 4*time.Minute, d.Forecast, "five minutes, of which one is over")
	require.Equal(t, 5*time.Minute, d.Left, "ten epochs until the reserve for submitting")
	require.False(t, d.Late())

	d = out.Deadlines[2]
	require.Empty(t, d.State)
	require.Equal(t, 3, d.Unproven)
	require.Equal(t, 10*time.Minute, d.Forecast, "three proofs on two cards")
	require.Equal(t, (1170-1101)*30*time.Second, d.Left, "from its challenge, one epoch deep")
	require.Zero(t, out.Deadlines[3].Due)

	survey.Head = 1105
	require.True(t, viewDeadlines(survey, m, []Row{row(over, done), proving}).Deadlines[1].Late(), "five epochs left, and four minutes to go")
	survey.Places = 0
	require.False(t, viewDeadlines(survey, m, []Row{row(over, done)}).Deadlines[2].Known, "no card")
	survey.Places = 2
	require.False(t, viewDeadlines(survey, m, nil).Deadlines[2].Known, "nothing was measured yet")
}

func TestAnEndedAndReissuedDeadlineIsItsLatestRun(t *testing.T) {
	d := window(0, 1000, post.Partition{Live: 1, ToProve: 1})
	first := row(d, post.PartitionResult{State: post.StateFailed})
	first.Status, first.Started = "Terminated", time.Unix(100, 0)
	second := row(d, post.PartitionResult{State: post.StateProving})
	second.Started = time.Unix(200, 0)
	survey := post.Survey{Miner: 1000, Head: 1010, EpochDuration: time.Second, Deadlines: []post.SurveyedDeadline{d}}
	out := viewDeadlines(survey, workflows.MinerState{}, []Row{second, first})
	require.Equal(t, "Running", out.Deadlines[0].Status)
	require.Equal(t, post.StateProving, out.Deadlines[0].State)
}
