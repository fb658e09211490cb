package workers_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/workers"
)

var (
	jobsNow  = time.Unix(100_000, 0)
	jobsHead = workers.Head{Epoch: 210, At: jobsNow, EpochDuration: 30 * time.Second}
	deadline = post.Deadline{Miner: 1000, PeriodStart: 96, Index: 7, Challenge: 180, Open: 200, Close: 260}
)

// row is a running deadline with the given partitions.
func row(partitions ...post.PartitionResult) workers.Row {
	return workers.Row{
		WorkflowID: deadline.WorkflowID(), RunID: "r", Status: "Running", Started: jobsNow.Add(-time.Hour),
		Board: post.Result{Deadline: deadline, State: post.DeadlineState(partitions), Partitions: partitions},
	}
}

func proving(tries int) post.PartitionResult {
	return post.PartitionResult{Index: 3, State: post.StateProving, Sectors: 5, Tries: tries, Queue: "wdpost.gpu.1"}
}

func TestJobs(t *testing.T) {
	begun := workers.RunningJob{Partition: 3, Started: true, Attempt: 2, Worker: "worker w1@7-abc", Since: jobsNow.Add(-90 * time.Second), Heartbeat: jobsNow.Add(-time.Second),
		Progress: post.Progress{Partition: 3, Card: "w1/card0", Phase: post.PhaseSnark}, LastError: "the worker was lost"}
	with := func(r workers.Row, jobs ...workers.RunningJob) workers.Row { r.Jobs = jobs; return r }
	ended := func(r workers.Row, status string) workers.Row { r.Status = status; return r }
	stuck := func(r workers.Row) workers.Row { r.TaskAttempt = 9; return r }
	proven := post.PartitionResult{Index: 3, State: post.StateSubmitting, Sectors: 5, Tries: 2, Card: "w2/card1", Proven: jobsNow.Add(-time.Minute), Asked: 205,
		Phases: post.PhaseTimes{Vanilla: 10 * time.Second, Snark: 20 * time.Second}}
	faulty, posted := proven, proven
	faulty.Skipped = []post.Skipped{{Sector: 8, Reason: "unreadable"}, {Sector: 9}}
	posted.State, posted.Message, posted.Landed, posted.Reason = post.StatePosted, "bafy", 207, "the chain had this post already"
	for situation, c := range map[string]struct {
		row   workers.Row
		check func(*testing.T, workers.Job)
	}{
		"waits in a queue": {with(row(proving(1)), workers.RunningJob{Partition: 3, Attempt: 1}), func(t *testing.T, j workers.Job) {
			require.Equal(t, "f01000-96-7-3", j.ID.String())
			require.Equal(t, workers.JobReady, j.State)
			require.Equal(t, "wdpost.gpu.1", j.Queue)
			require.Empty(t, j.Worker)
			require.Equal(t, jobsNow.Add(-time.Hour), j.Created, "its workflow's start, when no more is known")
			require.EqualValues(t, 50, *j.EpochsLeft)
			require.False(t, j.OutOfTries())
		}},
		"on a card, after a lost worker": {with(row(proving(1)), begun), func(t *testing.T, j workers.Job) {
			require.Equal(t, workers.JobRunning, j.State)
			require.Equal(t, "w1", j.Worker)
			require.Equal(t, "w1/card0", j.Card)
			require.Equal(t, post.PhaseSnark, j.Phase)
			require.InDelta(t, 90, j.Elapsed, 0.1)
			require.EqualValues(t, 2, j.Attempt)
			require.Equal(t, "the worker was lost", j.Error)
		}},
		"an earlier activity is being cancelled": {with(row(proving(1)), workers.RunningJob{Partition: 3}, begun, workers.RunningJob{Partition: 3}, workers.RunningJob{Partition: 4, Started: true}),
			func(t *testing.T, j workers.Job) { require.Equal(t, workers.JobRunning, j.State) }},
		"another partition's card": {with(row(proving(1)), workers.RunningJob{Partition: 4, Started: true}), func(t *testing.T, j workers.Job) {
			require.Equal(t, workers.JobReady, j.State)
		}},
		"a worker that has not said anything yet": {with(row(proving(1)), workers.RunningJob{Partition: 3, Started: true, Worker: "worker gpu-1@7-abc"}),
			func(t *testing.T, j workers.Job) { require.Equal(t, "gpu-1", j.Worker) }},
		"paused with Temporal's commands": {with(row(proving(1)), workers.RunningJob{Partition: 3, Paused: true}), func(t *testing.T, j workers.Job) {
			require.Contains(t, j.Waits, "temporal activity unpause")
		}},
		"its last try": {with(row(proving(2)), begun), func(t *testing.T, j workers.Job) { require.True(t, j.OutOfTries()) }},
		"out of tries": {row(post.PartitionResult{Index: 3, State: post.StateFailed, Tries: 2, Reason: "ProveFailed: no"}), func(t *testing.T, j workers.Job) {
			require.Equal(t, workers.JobFailed, j.State)
			require.Equal(t, "ProveFailed: no", j.Error)
			require.True(t, j.OutOfTries())
			require.True(t, j.Is("failed"))
		}},
		"proven": {row(proven), func(t *testing.T, j workers.Job) {
			require.Equal(t, workers.JobSucceed, j.State)
			require.True(t, j.Unsettled())
			require.True(t, j.Is("submitting"))
			require.Equal(t, "w2", j.Worker)
			require.InDelta(t, 30, j.Elapsed, 0.1)
			require.Equal(t, jobsNow.Add(-90*time.Second), j.Started)
			require.EqualValues(t, 205, j.Asked)
			require.False(t, j.OutOfTries(), "it needs none any more")
		}},
		"proven without two sectors": {row(faulty), func(t *testing.T, j workers.Job) {
			require.Equal(t, "Faults(2)", j.State)
			require.True(t, j.Is("faults"))
			require.False(t, j.Is("fault"))
		}},
		"posted": {row(posted), func(t *testing.T, j workers.Job) {
			require.Equal(t, workers.JobSucceed, j.State)
			require.False(t, j.Unsettled())
			require.Empty(t, j.Error)
			require.Equal(t, "the chain had this post already", j.Note)
		}},
		"missed": {ended(row(post.PartitionResult{Index: 3, State: post.StateMissed, Reason: "not proven"}), "Failed"), func(t *testing.T, j workers.Job) {
			require.Equal(t, workers.JobMissed, j.State)
			require.Equal(t, "not proven", j.Error)
		}},
		"terminated while it was proven": {ended(row(proving(1)), "Terminated"), func(t *testing.T, j workers.Job) {
			require.Equal(t, workers.JobFailed, j.State)
			require.Equal(t, "its workflow was ended (Terminated) before the deadline was over", j.Error)
			require.False(t, j.OutOfTries())
		}},
		"terminated while its message was on its way": {ended(row(proven), "Terminated"), func(t *testing.T, j workers.Job) { require.Equal(t, workers.JobFailed, j.State) }},
		"a workflow whose tasks fail": {stuck(row(proving(1))), func(t *testing.T, j workers.Job) {
			require.Contains(t, j.Error, "attempt 9")
		}},
		"partitions not known yet": {row(), func(t *testing.T, j workers.Job) {
			require.Equal(t, "f01000-96-7", j.ID.String())
			require.Equal(t, workers.JobReady, j.State)
		}},
	} {
		t.Run(situation, func(t *testing.T) {
			if len(c.row.Board.Partitions) == 0 {
				c.row.Board.State = post.StateWaiting
			}
			jobs := workers.JobsOf(c.row, jobsHead, 2, jobsNow)
			require.Len(t, jobs, 1)
			c.check(t, jobs[0])
		})
	}
}

func TestJobsOfOthers(t *testing.T) {
	nothing := post.PartitionResult{Index: 0, State: post.StateNothing}
	require.Empty(t, workers.JobsOf(row(nothing), jobsHead, 2, jobsNow), "nothing to prove is no job")
	require.Len(t, workers.JobsOf(row(nothing, proving(1)), jobsHead, 2, jobsNow), 1)
	lost := row()
	lost.Board.State, lost.Board.Reason, lost.Status = post.StateMissed, "the node was away", "Failed"
	jobs := workers.JobsOf(lost, workers.Head{}, 0, jobsNow)
	require.Len(t, jobs, 1)
	require.Equal(t, workers.JobMissed, jobs[0].State)
	require.Equal(t, "the node was away", jobs[0].Error)
	require.Nil(t, jobs[0].EpochsLeft, "the head is not known")
	require.True(t, jobs[0].Open(), "then nobody says that it is closed")
}

func TestCanReset(t *testing.T) {
	late := jobsHead
	late.Epoch = 263
	landed := post.PartitionResult{Index: 3, State: post.StateLanded, Message: "bafy", Landed: 207}
	posted := landed
	posted.State = post.StatePosted
	for situation, c := range map[string]struct {
		stage  post.PartitionResult
		status string
		head   workers.Head
		way    workers.ResetWay
		err    string
	}{
		"being proven":                 {proving(1), "Running", jobsHead, workers.ResetJob, ""},
		"out of tries":                 {post.PartitionResult{Index: 3, State: post.StateFailed}, "Running", jobsHead, workers.ResetJob, ""},
		"out of tries, head not known": {post.PartitionResult{Index: 3, State: post.StateFailed}, "Running", workers.Head{}, workers.ResetJob, ""},
		"not begun": {post.PartitionResult{Index: 3, State: post.StateWaiting}, "Running", jobsHead, workers.ResetNot,
			"it has not begun: its deadline is still being read from the chain and its sectors are looked for"},
		"on its way": {post.PartitionResult{Index: 3, State: post.StateSubmitting}, "Running", jobsHead, workers.ResetNot,
			"it is proven, and its sender has the post: to prove it again would not bring it to the chain sooner. What it leaves out is declared recovered by itself when it is back"},
		"landed":                        {landed, "Running", jobsHead, workers.ResetNot, "it is on the chain (message bafy, epoch 207) and is only waited for until it is deep enough: there is nothing to run again"},
		"posted":                        {posted, "Running", jobsHead, workers.ResetNot, "it is posted (message bafy, epoch 207): there is nothing to run again"},
		"posted, and the deadline over": {posted, "Completed", late, workers.ResetNot, "it is posted (message bafy, epoch 207): there is nothing to run again"},
		"given up while open": {post.PartitionResult{Index: 3, State: post.StateMissed, Reason: "no sectors"}, "Running", jobsHead, workers.ResetNot,
			"this run of its deadline's workflow has given it up (no sectors); `posthaste wdpost remove f01000-96-7` ends the run, and the deadline is issued afresh"},
		"after Close":           {proving(1), "Running", late, workers.ResetNot, "its deadline closed at epoch 260, 3 epochs ago: the chain takes no proof any more"},
		"missed":                {post.PartitionResult{Index: 3, State: post.StateMissed}, "Failed", late, workers.ResetNot, "its deadline closed at epoch 260, 3 epochs ago: the chain takes no proof any more"},
		"terminated while open": {proving(1), "Terminated", jobsHead, workers.ResetNewRun, ""},
		"failed while open":     {post.PartitionResult{Index: 3, State: post.StateFailed}, "Failed", jobsHead, workers.ResetNewRun, ""},
		"missed, and the head that is known is behind": {post.PartitionResult{Index: 3, State: post.StateMissed}, "Failed", jobsHead, workers.ResetNot,
			"its deadline closed at epoch 260, as its workflow saw: the chain takes no proof any more"},
		"terminated, after Close": {proving(1), "Terminated", late, workers.ResetNot, "its deadline closed at epoch 260, 3 epochs ago: the chain takes no proof any more"},
	} {
		t.Run(situation, func(t *testing.T) {
			r := row(c.stage)
			r.Status = c.status
			way, err := workers.JobsOf(r, c.head, 2, jobsNow)[0].CanReset()
			require.Equal(t, c.way, way)
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.err)
		})
	}
}

func TestJobQueryFilter(t *testing.T) {
	miner, index := abi.ActorID(1000), uint64(7)
	id, err := post.ParseJobID("f01000-96-7-3")
	require.NoError(t, err)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for situation, c := range map[string]struct {
		q    workers.JobQuery
		want string
	}{
		"by default":         {workers.JobQuery{}, "(ExecutionStatus = 'Running' OR (ExecutionStatus != 'Completed' AND CloseTime > '2026-01-01T03:04:05Z'))"},
		"everything":         {workers.JobQuery{All: true, Deadline: &index}, ""},
		"a miner":            {workers.JobQuery{All: true, Miner: &miner}, "WorkflowId STARTS_WITH 'wdpost-f01000-'"},
		"what was proven":    {workers.JobQuery{State: "succeed"}, ""},
		"what failed":        {workers.JobQuery{State: "Failed"}, "(ExecutionStatus = 'Running' OR (ExecutionStatus != 'Completed' AND CloseTime > '2026-01-01T03:04:05Z'))"},
		"a job, named twice": {workers.JobQuery{Of: []post.JobID{id, id}}, "WorkflowId IN ('wdpost-f01000-96-7')"},
	} {
		t.Run(situation, func(t *testing.T) { require.Equal(t, c.want, c.q.Filter(now)) })
	}
}
