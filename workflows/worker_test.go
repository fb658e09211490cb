package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
	"posthaste/workflows"
)

// attended is a WorkerWorkflow with its worker played by the test.
type attended struct {
	*testing.T
	env     *testsuite.TestWorkflowEnvironment
	report  post.WorkerReport
	apply   func(in workflows.OrdersInput) error
	memo    post.WorkerState
	state   string // the search attribute
	orders  []workflows.OrdersInput
	attends int
	queues  map[string]bool // of the worker's activities
	began   time.Time
	updates int

	mu sync.Mutex
}

func newAttended(t *testing.T) *attended {
	a := &attended{T: t, apply: func(workflows.OrdersInput) error { return nil }, queues: map[string]bool{}}
	admits := post.Admits{Pool: "a100", Stores: []string{"s1", "s2"}, Rules: []post.Rule{{Miners: []abi.ActorID{1000}, Sizes: []abi.SectorSize{2 << 10}}}}
	a.report = post.WorkerReport{
		Name: "w1", Instance: "worker w1@77", Host: "rack|7", Version: "v1", Started: time.Unix(1700000000, 0).UTC(),
		Groups: []post.Group{{Admits: admits, Kind: post.KindWindow, Queue: admits.Queue(post.KindWindow), Slots: 2,
			Cards: []post.Card{{Name: "gpu0", Device: "A100", Places: 1}, {Name: "gpu1", Places: 1}}}},
		LostStores: []post.LostStore{{Name: "s3", Path: "/mnt/s3", Reason: "not mounted"}},
	}
	var suite testsuite.WorkflowTestSuite
	a.env = suite.NewTestWorkflowEnvironment()
	a.env.SetTestTimeout(20 * time.Second)
	a.env.RegisterWorkflow(workflows.WorkerWorkflow)
	note := func(ctx context.Context) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.queues[activity.GetInfo(ctx).TaskQueue] = true
	}
	a.env.RegisterActivityWithOptions(func(ctx context.Context, name string) error { return nil }, activity.RegisterOptions{Name: workflows.ActivityAttendWorker})
	a.env.RegisterActivityWithOptions(func(ctx context.Context, in workflows.OrdersInput) error {
		note(ctx)
		err := a.apply(in)
		if err == nil {
			a.orders = append(a.orders, in)
		}
		return err
	}, activity.RegisterOptions{Name: workflows.ActivityApplyOrders})
	a.env.OnActivity(workflows.ActivityAttendWorker, mock.Anything, "w1").After(10 * time.Hour).Return(func(ctx context.Context, _ string) error {
		note(ctx)
		a.attends++
		return nil
	})
	a.env.OnUpsertMemo(mock.Anything).Run(func(args mock.Arguments) {
		a.memo = args.Get(0).(map[string]any)[workflows.MemoWorker].(post.WorkerState)
	}).Return(nil)
	a.env.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) {
		a.state, _ = args.Get(0).(temporal.SearchAttributes).GetKeyword(temporal.NewSearchAttributeKeyKeyword(workflows.AttributeState))
	}).Return(nil)
	return a
}

// run lets the workflow run until something ends it: at the latest, its history is said to be full after 20 hours.
func (a *attended) run(state post.WorkerState) post.WorkerState {
	a.began = a.env.Now()
	a.after(20*time.Hour, func() { a.env.SetContinueAsNewSuggested(true) })
	a.env.ExecuteWorkflow(workflows.WorkerWorkflow, state)
	require.True(a, a.env.IsWorkflowCompleted())
	var next *workflow.ContinueAsNewError
	require.ErrorAs(a, a.env.GetWorkflowError(), &next)
	var handed post.WorkerState
	require.NoError(a, converter.GetDefaultDataConverter().FromPayloads(next.Input, &handed))
	return handed
}

func (a *attended) after(d time.Duration, do func()) { a.env.RegisterDelayedCallback(do, d) }

// told is the answer to an order, when it is there.
type told struct {
	updated
	workflows.Told
	at time.Duration
	a  *attended
}

func (o *told) Complete(result any, err error) {
	o.failed, o.at = err, o.a.env.Now().Sub(o.a.began)
	if result != nil {
		o.Told = result.(workflows.Told)
	}
}

func (a *attended) order(name string, args ...any) *told {
	o := &told{a: a}
	a.updates++
	a.env.UpdateWorkflow(name, fmt.Sprint("order ", a.updates), o, args...)
	return o
}

func TestOrdersAreRecordedAndToldToTheWorker(t *testing.T) {
	a := newAttended(t)
	var paused, pausedAgain, resumed *told
	a.after(time.Minute, func() { paused = a.order(workflows.UpdatePause, "moving racks") })
	a.after(2*time.Minute, func() {
		require.Equal(t, "Paused", a.state)
		require.Equal(t, "moving racks", a.memo.Orders.Paused)
		pausedAgain = a.order(workflows.UpdatePause, "")
	})
	a.after(3*time.Minute, func() { resumed = a.order(workflows.UpdateResume) })
	next := a.run(post.WorkerState{Report: a.report})
	for _, o := range []*told{paused, pausedAgain, resumed} {
		require.NoError(t, errors.Join(o.rejected, o.failed))
		require.True(t, o.Reached)
		require.Empty(t, o.Why)
	}
	require.Equal(t, "moving racks", paused.Orders.Paused)
	require.Equal(t, "by an operator", pausedAgain.Orders.Paused)
	var told []string
	for _, in := range a.orders {
		told = append(told, in.Orders.Paused)
	}
	require.Equal(t, []string{"", "moving racks", "by an operator", ""}, told, "the first are those that stood at the start")
	require.Equal(t, map[string]bool{"worker.w1": true}, a.queues)
	require.Equal(t, post.WorkerState{Report: a.report}, next)
	require.Equal(t, "Running", a.state)
}

func TestOrderThatDoesNotReachTheWorkerStands(t *testing.T) {
	a := newAttended(t)
	a.apply = func(workflows.OrdersInput) error { return errors.New("not now") }
	var paused *told
	a.after(time.Minute, func() { paused = a.order(workflows.UpdatePause, "moving racks") })
	next := a.run(post.WorkerState{Report: a.report})
	require.NoError(t, paused.failed)
	require.False(t, paused.Reached)
	require.Contains(t, paused.Why, "not now")
	require.Less(t, paused.at, time.Minute+11*time.Second, "a person waits for it")
	require.Equal(t, "moving racks", next.Orders.Paused)
}

func TestWorkerThatIsAwaySaysNothing(t *testing.T) {
	a := newAttended(t)
	a.env.OnActivity(workflows.ActivityApplyOrders, mock.Anything, mock.Anything).Return(temporal.NewTimeoutError(2 /* schedule to start */, nil))
	var paused *told
	a.after(time.Minute, func() { paused = a.order(workflows.UpdatePause, "moving racks") })
	a.run(post.WorkerState{Report: a.report})
	require.False(t, paused.Reached)
	require.Contains(t, paused.Why, "worker w1")
}

// Attempts of an old order are made again for up to 10 s: they must not undo the next one.
func TestOrdersArriveOneAfterTheOther(t *testing.T) {
	a := newAttended(t)
	failures := 0
	a.apply = func(in workflows.OrdersInput) error {
		if in.Orders.Paused != "" && failures < 3 {
			failures++
			return errors.New("not now")
		}
		return nil
	}
	var paused, resumed *told
	a.after(time.Minute, func() { paused = a.order(workflows.UpdatePause, "oops") })
	a.after(time.Minute+time.Millisecond, func() { resumed = a.order(workflows.UpdateResume) })
	a.run(post.WorkerState{Report: a.report})
	require.True(t, paused.Reached && resumed.Reached)
	var told []string
	for _, in := range a.orders {
		told = append(told, in.Orders.Paused)
	}
	require.Equal(t, []string{"", "oops", ""}, told)
}

func TestFencesStandUntilTheyAreLifted(t *testing.T) {
	a := newAttended(t)
	fence := func(card, reason string) {
		a.env.SignalWorkflow(workflows.SignalFence, post.Fence{Card: card, Reason: reason, At: time.Unix(1700000001, 0).UTC()})
	}
	var typo, one, all *told
	a.after(time.Minute, func() { fence("gpu0", "three false proofs") })
	a.after(2*time.Minute, func() { fence("gpu1", "fell back to the CPU") })
	a.after(3*time.Minute, func() { fence("w1/gpu0", "three crashes") })
	a.after(4*time.Minute, func() {
		require.Len(t, a.memo.Orders.Fences, 2, "the same card was fenced twice")
		require.Equal(t, "three crashes", a.memo.Orders.Fences[1].Reason)
		require.Len(t, a.orders[len(a.orders)-1].Orders.Fences, 2, "an order from before may have undone it")
		typo = a.order(workflows.UpdateUnfence, "gpu7")
	})
	a.after(5*time.Minute, func() { one = a.order(workflows.UpdateUnfence, "w1/gpu1") })
	a.after(6*time.Minute, func() { all = a.order(workflows.UpdateUnfence, "") })
	next := a.run(post.WorkerState{Report: a.report})
	require.EqualError(t, typo.rejected, `worker w1 has no card "gpu7"; it has: gpu0, gpu1`)
	require.Len(t, one.Orders.Fences, 1)
	require.Equal(t, "gpu0", one.Orders.Fences[0].Card)
	require.True(t, all.Reached)
	require.Empty(t, next.Orders.Fences)
	require.Empty(t, a.orders[len(a.orders)-1].Orders.Fences)
}

func TestRestartedWorkerKeepsItsFencesAndDoesNotDrain(t *testing.T) {
	a := newAttended(t)
	fences := []post.Fence{{Card: "gpu0", Reason: "three crashes"}, {Card: "gpu1", Reason: "three crashes"}}
	a.after(time.Minute, func() { a.order(workflows.UpdateDrain) })
	a.after(2*time.Minute, func() {
		require.Equal(t, "Draining", a.state)
		late := a.report // from before it knew of it
		a.env.SignalWorkflow(workflows.SignalReport, late)
	})
	restarted := a.report
	restarted.Instance, restarted.Groups = "worker w1@78", []post.Group{a.report.Groups[0]}
	restarted.Groups[0].Cards = restarted.Groups[0].Cards[:1] // gpu1 was taken out
	a.after(3*time.Minute, func() {
		require.Equal(t, "Draining", a.state)
		require.True(t, a.orders[len(a.orders)-1].Drain)
		a.env.SignalWorkflow(workflows.SignalReport, restarted)
	})
	next := a.run(post.WorkerState{Report: a.report, Orders: post.Orders{Fences: fences}})
	require.Equal(t, "Running", a.state)
	require.Equal(t, restarted, next.Report)
	require.Equal(t, fences[:1], next.Orders.Fences, "a card that is gone stays fenced for ever")
	last := a.orders[len(a.orders)-1]
	require.False(t, last.Drain, "the new process would end at once")
	require.Equal(t, fences[:1], last.Orders.Fences)
}

// A worker is started anew while its last process still ends: what that one says does not hide the new one.
func TestReportOfAnOldProcessDoesNotHideTheNewOne(t *testing.T) {
	restarted := newAttended(t).report
	restarted.Instance = "worker w1@78"
	ends, works := newAttended(t).report, newAttended(t).report
	ends.Draining = true
	works.Instance = "worker w1@79"
	for name, c := range map[string]struct{ late, stays post.WorkerReport }{
		"the old one, which ends": {ends, restarted},
		"the next one":            {works, works},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttended(t)
			a.after(time.Minute, func() { a.env.SignalWorkflow(workflows.SignalReport, restarted) })
			a.after(2*time.Minute, func() { a.env.SignalWorkflow(workflows.SignalReport, c.late) })
			next := a.run(post.WorkerState{Report: a.report})
			require.Equal(t, c.stays, next.Report)
		})
	}
}

// A drained worker is started again while it is told of something else: that is not for the new process to end.
func TestAnOldDrainNamesItsProcess(t *testing.T) {
	a := newAttended(t)
	a.after(time.Minute, func() { a.order(workflows.UpdateDrain) })
	a.after(2*time.Minute, func() { a.order(workflows.UpdatePause, "") })
	next := a.run(post.WorkerState{Report: a.report})
	require.True(t, next.Report.Draining)
	require.Len(t, a.orders, 3)
	require.Equal(t, workflows.OrdersInput{Drain: true}, a.orders[1])
	require.Equal(t, workflows.OrdersInput{Drain: true, Process: "worker w1@77", Orders: post.Orders{Paused: "by an operator"}}, a.orders[2])
}

func TestADrainThatIsTriedAgainIsADrain(t *testing.T) {
	a := newAttended(t)
	failures := 0
	a.apply = func(in workflows.OrdersInput) error {
		if in.Drain && failures < 4 {
			failures++
			return errors.New("not now")
		}
		return nil
	}
	var first, second *told
	a.after(time.Minute, func() { first = a.order(workflows.UpdateDrain) })
	a.after(time.Minute+time.Millisecond, func() { second = a.order(workflows.UpdateDrain) })
	next := a.run(post.WorkerState{Report: a.report})
	require.False(t, first.Reached)
	require.True(t, second.Reached)
	require.True(t, a.orders[len(a.orders)-1].Drain)
	require.True(t, next.Report.Draining)
}

func TestDrainThatDoesNotReachTheWorkerIsNotKept(t *testing.T) {
	a := newAttended(t)
	a.apply = func(in workflows.OrdersInput) error {
		if in.Drain {
			return errors.New("not now")
		}
		return nil
	}
	var drained *told
	a.after(time.Minute, func() { drained = a.order(workflows.UpdateDrain) })
	a.after(time.Hour, func() { a.order(workflows.UpdatePause, "") })
	next := a.run(post.WorkerState{Report: a.report})
	require.False(t, drained.Reached)
	require.False(t, next.Report.Draining, "nothing would be sent to a worker that goes on")
	require.False(t, a.orders[len(a.orders)-1].Drain)
}

func TestWorkerIsAttendedForEver(t *testing.T) {
	a := newAttended(t)
	a.run(post.WorkerState{Report: a.report})
	require.Equal(t, 1, a.attends, "after the first, of 10 hours, there is another one pending")
}

// A new run must know what came while the old one was about to end, and answer whoever waits for an answer.
func TestNothingIsLostBetweenTwoRuns(t *testing.T) {
	a := newAttended(t)
	a.apply = func(in workflows.OrdersInput) error {
		if in.Orders.Paused != "" {
			return errors.New("not now")
		}
		return nil
	}
	var paused *told
	changed := a.report
	changed.LostStores = nil
	a.after(time.Hour, func() {
		paused = a.order(workflows.UpdatePause, "moving racks")
		a.env.SignalWorkflow(workflows.SignalFence, post.Fence{Card: "gpu1", Reason: "three crashes"})
	})
	a.after(time.Hour+time.Millisecond, func() { a.env.SetContinueAsNewSuggested(true) })
	a.after(time.Hour+time.Second, func() { a.env.SignalWorkflow(workflows.SignalReport, changed) })
	next := a.run(post.WorkerState{Report: a.report})
	require.NoError(t, paused.failed)
	require.NotZero(t, paused.at, "the run ended before the order was answered")
	require.Less(t, paused.at, 2*time.Hour)
	require.Equal(t, "moving racks", next.Orders.Paused)
	require.Equal(t, "gpu1", next.Orders.Fences[0].Card)
	require.Equal(t, changed, next.Report)
}

// A worker that crashes every second reports every second, and never takes its orders.
func TestHistoryOfAWorkerThatCrashesAllTheTimeEnds(t *testing.T) {
	a := newAttended(t)
	a.env.OnActivity(workflows.ActivityApplyOrders, mock.Anything, mock.Anything).After(11 * time.Second).Return(errors.New("it has crashed"))
	var crash func()
	crash = func() {
		a.report.Instance += "'"
		a.env.SignalWorkflow(workflows.SignalReport, a.report)
		if a.env.Now().Sub(a.began) < time.Hour {
			a.after(time.Second, crash)
		}
	}
	a.after(time.Second, crash)
	a.after(time.Minute, func() { a.env.SetContinueAsNewSuggested(true) })
	a.after(2*time.Minute, func() { a.env.SetCurrentHistoryLength(20_001) })
	a.run(post.WorkerState{Report: a.report})
	require.InDelta(t, 2, a.env.Now().Sub(a.began).Minutes(), 1)
}

func TestFleetIsBalancedForEver(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	env.RegisterWorkflow(workflows.FleetWorkflow)
	began, times := env.Now(), 0
	env.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: workflows.ActivityBalanceFleet})
	env.OnActivity(workflows.ActivityBalanceFleet, mock.Anything).After(10 * time.Hour).Return(func(context.Context) error {
		if times++; times == 1 {
			return temporal.NewNonRetryableApplicationError("a bug", "Bug", nil)
		}
		return nil
	})
	env.RegisterDelayedCallback(func() { env.SetContinueAsNewSuggested(true) }, 25*time.Hour)
	env.ExecuteWorkflow(workflows.FleetWorkflow)
	require.True(t, workflow.IsContinueAsNewError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.Equal(t, 3, times)
	require.Greater(t, env.Now().Sub(began), 30*time.Hour)
}
