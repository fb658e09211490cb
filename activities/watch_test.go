package activities_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// id is the workflow of a deadline of the period from epoch 100.
func id(index uint64) string { return deadlineOf(index).WorkflowID() }

const nextPeriod = "wdpost-f01000-140-0"

func TestAWholePeriod(t *testing.T) {
	s := newStarter()
	r := watch(t, newNode(t), s)
	r.through(101, 113)
	assert.Equal(t, []string{id(0)}, s.starts(), "deadline 1 has nothing to prove, the challenge of 2 is not there yet")
	r.through(114, 115)
	assert.Equal(t, []string{id(0)}, s.starts(), "the challenge of 2 is there but not one epoch deep")
	r.head(116, 116)
	assert.Equal(t, []string{id(0), id(2)}, s.starts())
	r.through(117, 139)
	require.NoError(t, r.finish())
	assert.Equal(t, []string{id(0), id(2), id(3), nextPeriod}, s.starts(), "each once, the next period's first too")

	settings := post.DefaultSettings()
	settings.EpochDuration = 30 * time.Second // the node's, since nobody has said another
	assert.Equal(t, workflows.DeadlineInput{Deadline: deadlineOf(2), Head: 116, Settings: settings}, s.inputs[id(2)])
	options := s.options[id(2)]
	assert.Equal(t, workflows.QueueChain, options.TaskQueue)
	assert.Equal(t, workflows.DeadlineReusePolicy, options.WorkflowIDReusePolicy)
	assert.Equal(t, workflows.DeadlineConflictPolicy, options.WorkflowIDConflictPolicy)
	assert.Equal(t, "f01000 deadline 2: 2 partitions, epochs 120 to 130", options.StaticSummary)
	assert.Equal(t, 3, options.TypedSearchAttributes.Size())
}

func TestHeadsThatAreSkipped(t *testing.T) {
	s := newStarter()
	r := watch(t, newNode(t), s)
	r.head(101, 129) // 28 null rounds, or a node that was away
	require.NoError(t, r.finish())
	assert.Equal(t, []string{id(0), id(2), id(3), nextPeriod}, s.starts(), "late is better than never")
	t.Run("over the period's end", func(t *testing.T) {
		r := watch(t, newNode(t), newStarter())
		r.head(101, 170)
		require.NoError(t, r.wait())
		assert.Equal(t, []string{id(0), "wdpost-f01000-140-3"}, r.temporal.starts())
	})
}

func TestDeadlinesThatHaveAWorkflow(t *testing.T) {
	for name, c := range map[string]struct {
		status enums.WorkflowExecutionStatus
		again  bool
	}{
		"running":               {running, false},
		"going on in a new run": {enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, false},
		"completed":             {enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, false},
		"failed":                {enums.WORKFLOW_EXECUTION_STATUS_FAILED, true},
		"terminated by hand":    {enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, true},
		"cancelled by hand":     {enums.WORKFLOW_EXECUTION_STATUS_CANCELED, true},
		"out of its own time":   {enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStarter()
			s.ends(id(2), c.status, pause/2)
			r := watch(t, newNode(t), s)
			r.head(121, 121)
			assert.Empty(t, s.starts(), "not at once")
			require.NoError(t, r.finish())

			s = newStarter()
			s.ends(id(2), c.status, 2*pause)
			r = watch(t, newNode(t), s)
			r.head(121, 121)
			if c.again {
				assert.Equal(t, []string{id(2)}, s.starts(), "there is time")
			} else {
				assert.Empty(t, s.starts())
			}
			s.ends(id(2), c.status, 0)
			before := s.starts()
			r.head(122, 122)
			s.ends(id(2), c.status, 100*pause)
			r.head(130, 130)
			assert.NotContains(t, s.starts()[len(before):], id(2), "after Close it is not issued again")
			require.NoError(t, r.finish())
		})
	}
}

// The pauses grow, since something ends it over and over.
func TestADeadlineThatIsEndedTwice(t *testing.T) {
	for name, c := range map[string]struct {
		ago    time.Duration // its second end
		starts int
	}{
		"long enough ago":                    {2*pause + time.Second, 3},
		"long enough ago for the first time": {pause + time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStarter()
			r := watch(t, newNode(t), s)
			r.head(121, 121)
			require.Equal(t, []string{id(2)}, s.starts())
			s.ends(id(2), enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, pause+time.Second)
			r.head(122, 122)
			require.Len(t, s.starts(), 2)
			s.ends(id(2), enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, c.ago)
			r.head(123, 123)
			require.Len(t, s.starts(), c.starts)
			if c.starts == 2 {
				r.seen("what becomes of it", func(s activities.Seen) bool {
					return len(s.Active) == 1 && s.Active[0] == "2: Terminated, to be issued again"
				})
			}
			require.NoError(t, r.finish())
		})
	}
}

// Epochs of half a minute, or a node that is away: what an operator has ended is issued again without a head, and without asking the node.
func TestBetweenHeads(t *testing.T) {
	n, s := newNode(t), newStarter()
	r := watchAgain(t, n, s, time.Millisecond)
	r.head(121)
	r.seen("it runs", func(s activities.Seen) bool { return len(s.Active) == 1 && s.Active[0] == "2: running" })
	asked := n.calls()

	s.ends(id(2), enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, pause/2)
	r.looksAgain(3)
	assert.Equal(t, []string{id(2)}, s.starts(), "the pause is not over")
	r.seen("that it will be", func(s activities.Seen) bool { return s.Active[0] == "2: Terminated, to be issued again" })

	s.ends(id(2), running, 0) // an operator has reset it meanwhile
	r.looksAgain(3)
	s.ends(id(2), enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, pause+time.Second)
	r.seen("it runs again", func(s activities.Seen) bool { return s.Active[0] == "2: running" && len(r.temporal.starts()) == 2 })
	assert.Equal(t, []string{id(2), id(2)}, s.starts(), "once")

	s.ends(id(2), enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, 0)
	r.seen("the end", func(s activities.Seen) bool { return s.Active[0] == "2: completed" })
	assert.Equal(t, asked, n.calls(), "nothing of this asks the node")
	require.NoError(t, r.finish())
}

// A Temporal that was away when a head came is asked again before the next.
func TestTroubleBetweenHeads(t *testing.T) {
	s := newStarter()
	s.fails(serviceerror.NewUnavailable("no"), nil)
	r := watchAgain(t, newNode(t), s, time.Millisecond)
	r.head(121)
	r.seen("the problem", func(s activities.Seen) bool { return s.Problem != "" })
	s.fails(nil, nil)
	r.seen("it runs", func(s activities.Seen) bool { return len(s.Active) == 1 && s.Active[0] == "2: running" })
	assert.Equal(t, []string{id(2)}, s.starts())
	require.NoError(t, r.finish())
}

// After its Close, as far as the time since the last head tells, a deadline is left alone.
func TestCloseWithoutAHead(t *testing.T) {
	settings := post.DefaultSettings()
	settings.EpochDuration = time.Millisecond
	s := newStarter()
	r := watchWith(t, newNode(t), s, time.Millisecond, settings)
	r.head(121) // deadline 2 closes 9 ms later
	r.seen("it runs", func(s activities.Seen) bool { return len(s.Active) == 1 })
	time.Sleep(20 * time.Millisecond)
	before := len(s.starts())
	s.ends(id(2), enums.WORKFLOW_EXECUTION_STATUS_FAILED, 2*pause)
	time.Sleep(20 * time.Millisecond) // twenty looks
	assert.Len(t, s.starts(), before)
	require.NoError(t, r.finish())
}

func TestTroubleWithOneDeadline(t *testing.T) {
	n, s := newNode(t), newStarter()
	n.fails("StateMinerPartitions 2", errAway)
	r := watch(t, n, s)
	r.head(126, 126)
	assert.Equal(t, []string{id(3)}, s.starts(), "the other one does not wait")
	seen := r.seen("the problem", func(s activities.Seen) bool { return s.Problem != "" && s.Active[1] == "3: running" })
	assert.Contains(t, seen.Problem, "deadline f01000/2: ChainHead on http://127.0.0.1:1234: the node cannot be reached")
	assert.Equal(t, activities.Seen{Head: 126, PeriodEnd: 140, Active: []string{"2: new", "3: running"}, Problem: seen.Problem, EpochDuration: 30 * time.Second}, seen)
	n.fails("StateMinerPartitions 2", nil)
	r.head(127, 127)
	assert.Equal(t, []string{id(3), id(2)}, s.starts())
	r.seen("no problem any more", func(s activities.Seen) bool { return s.Head == 127 && s.Problem == "" })
	require.NoError(t, r.finish())
}

func TestTroubleWithTemporal(t *testing.T) {
	s := newStarter()
	s.fails(serviceerror.NewUnavailable("no"), nil)
	r := watch(t, newNode(t), s)
	r.head(121, 121)
	assert.Empty(t, s.starts(), "without an answer nothing is known")
	seen := r.seen("the problem", func(s activities.Seen) bool { return s.Problem != "" })
	assert.Contains(t, seen.Problem, "asking Temporal about workflow "+id(2))
	s.fails(nil, serviceerror.NewUnavailable("no"))
	r.head(122, 122)
	seen = r.seen("the problem", func(s activities.Seen) bool { return s.Head == 122 })
	assert.Contains(t, seen.Problem, "starting workflow "+id(2))
	s.fails(nil, serviceerror.NewWorkflowExecutionAlreadyStarted("another daemon was faster", "", ""))
	r.head(123, 123)
	seen = r.seen("no problem", func(s activities.Seen) bool { return s.Head == 123 })
	assert.Empty(t, seen.Problem)
	require.NoError(t, r.finish())
}

// The machine of the Temporal server may be minutes ahead of ours, or behind.
func TestWhenADeadlineIsIssuedAgain(t *testing.T) {
	now := time.Now()
	assert.Equal(t, now.Add(time.Second), activities.IssueAgainAt(now.Add(-4*time.Second), now, 5*time.Second), "it ended four seconds ago")
	assert.Equal(t, now.Add(5*time.Second), activities.IssueAgainAt(now.Add(10*time.Minute), now, 5*time.Second), "it ended in ten minutes")
}

// A Temporal that is away when a deadline is to be issued again must not make the pause before it longer.
func TestTroubleWithIssuingAgain(t *testing.T) {
	s := newStarter()
	s.ends(id(2), enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, pause+time.Second)
	s.fails(nil, serviceerror.NewUnavailable("no"))
	r := watch(t, newNode(t), s)
	r.head(121, 122, 123, 123)
	assert.Empty(t, s.starts())
	s.fails(nil, nil)
	r.head(124, 124)
	assert.Equal(t, []string{id(2)}, s.starts())
	require.NoError(t, r.finish())
}

func TestTroubleWithTheNode(t *testing.T) {
	n, s := newNode(t), newStarter()
	n.fails("StateMinerProvingDeadline", errAway)
	r := watch(t, n, s)
	r.head(121, 121)
	r.seen("the problem", func(s activities.Seen) bool { return s.Head == 121 && s.Problem == errAway.Error() })
	n.fails("StateMinerProvingDeadline", nil)
	r.head(122, 122)
	assert.Equal(t, []string{id(2)}, s.starts())
	require.NoError(t, r.finish())
}

// Which deadline is current follows from what the node says once a period.
func TestTheNodeIsAskedForTheDeadlineOnceAPeriod(t *testing.T) {
	n, s := newNode(t), newStarter()
	r := watch(t, n, s)
	r.head(101, 102)
	n.fails("StateMinerProvingDeadline", errAway)
	r.head(110, 121, 122)
	assert.Contains(t, s.starts(), id(2))
	r.head(99) // a reorg back into the period before
	r.seen("the problem", func(s activities.Seen) bool { return s.Head == 99 && s.Problem == errAway.Error() })
	n.fails("StateMinerProvingDeadline", nil)
	require.NoError(t, r.finish())
}

func TestNothingIsIssuedBeforeItIsKnownHowLongAnEpochIs(t *testing.T) {
	n := newNode(t)
	n.fails("EpochDuration", fmt.Errorf("the node at 1.2.3.4 does not say how long an epoch is"))
	r := watch(t, n, newStarter())
	r.head(121, 122)
	r.seen("the trouble", func(s activities.Seen) bool { return strings.Contains(s.Problem, "does not say how long an epoch is") })
	assert.Empty(t, r.temporal.starts())
	n.fails("EpochDuration", nil)
	r.head(123, 124)
	assert.Equal(t, 30*time.Second, r.temporal.inputs[id(2)].Settings.EpochDuration)
	require.NoError(t, r.finish())
}

func TestAMinerThatDoesNotExist(t *testing.T) {
	n := newNode(t)
	n.fails("StateMinerProvingDeadline", fmt.Errorf("miner f01000: %w", chain.ErrNoActor))
	r := watch(t, n, newStarter())
	r.head(121)
	final := application(t, r.wait())
	assert.Equal(t, workflows.ErrorNoSuchMiner, final.Type())
	assert.True(t, final.NonRetryable())
	assert.Equal(t, "the chain has no miner actor f01000; correct its number in [[miners]] of posthaste.toml, or where it was added", final.Message())
}

func TestRequestMessage(t *testing.T) {
	s := newStarter()
	w := activities.Watch{Temporal: s}
	require.NoError(t, w.RequestMessage(t.Context(), theRequest()))
	assert.Equal(t, []post.MessageRequest{theRequest()}, s.signals)
	assert.Equal(t, "sender-f1x", activities.SenderWorkflowID("f1x"))
	s.fails(nil, serviceerror.NewUnavailable("no"))
	err := w.RequestMessage(t.Context(), theRequest())
	retried(t, err)
	require.ErrorContains(t, err, "to send message "+theRequest().ID)
}
