package workflows_test

import (
	"context"
	"errors"
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

// patient is a miner on a chain of 30 s epochs, with one deadline: what is faulty in it, what is there of that, and what became of messages.
type patient struct {
	t     *testing.T
	env   *testsuite.TestWorkflowEnvironment
	began time.Time

	faulty     post.Numbers // of partition 0, not declared
	recovering post.Numbers
	gone       post.Numbers // of these, whose files are missing
	broken     post.Numbers // that fail the strict check
	blocked    post.RecoveryObstacle
	settings   post.Settings
	idle       string
	removed    bool
	unread     error
	refuses    int  // so many messages fail on the chain
	lost       bool // the first message is dropped by a reorg
	late       bool // building a message takes until it is too late for it

	looks    int
	checked  []post.Numbers
	requests []post.MessageRequest
	shown    post.RecoveryState
}

const patientStart abi.ChainEpoch = 2900

func (p *patient) head() abi.ChainEpoch {
	return patientStart + abi.ChainEpoch(p.env.Now().Sub(p.began)/(30*time.Second))
}

func patientWindow() post.RecoveryWindow {
	return post.RecoveryWindow{Deadline: post.Deadline{Miner: 1000, Index: 7, PeriodStart: 2880, Challenge: 3280, Open: 3300, Close: 3360}, Cutoff: 3230}
}

func newPatient(t *testing.T) *patient {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	env.RegisterWorkflow(workflows.RecoveryWorkflow)
	settings := post.DefaultSettings()
	settings.EpochDuration = 30 * time.Second
	p := &patient{t: t, env: env, settings: settings}
	for name, f := range map[string]any{
		workflows.ActivityReadFaults:     p.readFaults,
		workflows.ActivityReadSectors:    p.readSectors,
		workflows.ActivityLookupSectors:  p.lookup,
		workflows.ActivityCheckSectors:   p.check,
		workflows.ActivityBuildRecovery:  p.build,
		workflows.ActivityRequestMessage: p.request,
		workflows.ActivityAwaitEpoch: func(_ context.Context, in workflows.AwaitInput) (abi.ChainEpoch, error) {
			return max(p.head(), in.Target), nil
		},
		workflows.ActivityConfirmMessage: func(_ context.Context, in workflows.ConfirmInput) (workflows.Receipt, error) {
			if p.lost && len(p.requests) == 1 {
				p.recovering, p.faulty = nil, p.recovering
				return workflows.Receipt{}, nil
			}
			return workflows.Receipt{Found: true, Message: in.Message, Epoch: p.head() - 10}, nil
		},
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	env.OnUpsertMemo(mock.Anything).Run(func(args mock.Arguments) {
		p.shown = args.Get(0).(map[string]any)[workflows.MemoRecovery].(post.RecoveryState)
	}).Return(nil)
	p.began = env.Now()
	return p
}

func (p *patient) readFaults(_ context.Context, miner abi.ActorID) (post.Faults, error) {
	p.looks++
	if p.unread != nil {
		return post.Faults{}, p.unread
	}
	if p.idle != "" {
		return post.Faults{Idle: p.idle, Gone: p.removed}, nil
	}
	f := post.Faults{Head: p.head(), EpochDuration: p.settings.EpochDuration, Period: 2880, Settings: p.settings, Blocked: p.blocked,
		Faulty: len(p.faulty) + len(p.recovering), Recovering: len(p.recovering)}
	w := patientWindow()
	switch {
	case f.Head >= w.Deadline.Close:
		w.Deadline.PeriodStart, w.Deadline.Close, w.Cutoff = 5760, w.Deadline.Close+2880, w.Cutoff+2880
	case f.Head >= w.Cutoff:
		f.Passed = []uint64{7}
		return f, nil
	}
	if len(p.faulty) > 0 {
		f.Deadlines = []post.FaultyDeadline{{RecoveryWindow: w, Recovering: len(p.recovering), Partitions: []post.FaultyPartition{{Index: 0, Sectors: p.faulty}}}}
	}
	return f, nil
}

func (p *patient) readSectors(_ context.Context, in workflows.ReadSectorsInput) (sectors post.Sectors, err error) {
	for _, n := range in.Sectors {
		sectors = append(sectors, post.Sector{Number: n})
	}
	return sectors, nil
}

func (p *patient) lookup(_ context.Context, in workflows.PartitionInput) (located post.Located, err error) {
	for _, s := range in.Sectors {
		if len(p.gone.And(post.Numbers{s.Number})) > 0 {
			located.Missing = append(located.Missing, post.Skipped{Sector: s.Number, Reason: "in no store"})
			continue
		}
		s.Store = "store-1"
		located.Sectors = append(located.Sectors, s)
	}
	return located, nil
}

func (p *patient) check(_ context.Context, in workflows.CheckSectorsInput) (checked workflows.CheckedSectors, err error) {
	require.True(p.t, in.Strict, "a vanilla proof of each")
	p.checked = append(p.checked, in.Sectors.Numbers())
	for _, n := range p.broken.And(in.Sectors.Numbers()) {
		checked.Bad = append(checked.Bad, post.BadSector{Skipped: post.Skipped{Sector: n, Reason: "is invalid"}, Store: "store-1"})
	}
	return checked, nil
}

func (p *patient) build(_ context.Context, in workflows.RecoveryInput) (workflows.BuiltRecovery, error) {
	built := workflows.BuiltRecovery{Head: p.head(), Late: p.late || p.head() >= in.Window.Cutoff, From: "f3sender", To: "f01000", Method: 11}
	if still := in.Partitions[0].Sectors.And(p.faulty); len(still) > 0 {
		built.Partitions = []post.FaultyPartition{{Index: 0, Sectors: still}}
		built.Params, _ = still.MarshalText()
	}
	return built, nil
}

// request lands a message two epochs later.
func (p *patient) request(_ context.Context, request post.MessageRequest) error {
	p.requests = append(p.requests, request)
	settled := post.MessageSettled{ID: request.ID, Lost: request.Lost, Outcome: post.OutcomeLanded, Message: "bafy-" + request.ID, Landed: p.head() + 2}
	if len(p.requests) <= p.refuses {
		settled.Outcome, settled.ExitCode = post.OutcomeFailed, 7
	}
	p.env.RegisterDelayedCallback(func() {
		if settled.Outcome == post.OutcomeLanded {
			var said post.Numbers
			require.NoError(p.t, said.UnmarshalText(request.Params))
			p.recovering, p.faulty = p.recovering.Or(said), p.faulty.Minus(said)
		}
		p.env.SignalWorkflow(workflows.SignalMessageSettled, settled)
	}, time.Minute)
	return nil
}

// after runs f so many epochs after the start.
func (p *patient) after(epochs abi.ChainEpoch, f func()) {
	p.env.RegisterDelayedCallback(f, time.Duration(epochs)*30*time.Second+time.Second)
}

// run runs the workflow for so many epochs.
func (p *patient) run(epochs abi.ChainEpoch) {
	p.after(epochs, p.env.CancelWorkflow)
	p.env.ExecuteWorkflow(workflows.RecoveryWorkflow, post.RecoveryBook{Miner: 1000})
	require.True(p.t, p.env.IsWorkflowCompleted())
}

func TestASectorWhoseFileIsBackIsDeclaredRecovered(t *testing.T) {
	p := newPatient(t)
	p.faulty, p.gone, p.broken = post.Numbers{3, 4, 5}, post.Numbers{4}, post.Numbers{5}
	p.settings.Fees = post.Fees{MaxFee: "7"}
	p.after(15, func() {
		require.Len(t, p.requests, 1)
		require.Equal(t, post.MessageRequest{
			ID: "recover-f01000-2880/7/1", ReplyTo: "recover-f01000", From: "f3sender", To: "f01000", Method: 11, Params: []byte("3"), Expires: 3230,
			EpochDuration: 30 * time.Second, Fees: post.Fees{MaxFee: "7"},
		}, p.requests[0])
		require.Equal(t, post.DeclarationConfirmed, p.shown.Declared[0].State)
		require.Len(t, p.shown.Waits, 2)
		p.gone = nil
	})
	p.after(50, func() {
		require.Len(t, p.requests, 2)
		require.Equal(t, "4", string(p.requests[1].Params))
		require.Equal(t, "recover-f01000-2880/7/2", p.requests[1].ID)
		require.Equal(t, post.Numbers{3, 4}, p.recovering)
	})
	p.run(60)
	require.Equal(t, []post.Numbers{{3, 5}}, p.checked[:1], "what is not there is not read")
}

func TestAMinerWithoutFaultsIsAskedAboutEveryTwentyEpochs(t *testing.T) {
	p := newPatient(t)
	p.run(100)
	require.Equal(t, 6, p.looks)
	require.Empty(t, p.checked)
	require.Empty(t, p.requests)
}

func TestAnOperatorWhoHasMendedADiskNeedNotWait(t *testing.T) {
	p := newPatient(t)
	p.faulty, p.gone = post.Numbers{3}, post.Numbers{3}
	answer := &answered{}
	p.after(5, func() { // its pause is 20 epochs
		p.gone = nil
		p.env.UpdateWorkflow(workflows.UpdateRecover, "1", answer)
	})
	p.after(6, func() {
		require.Len(t, p.requests, 1)
		require.NoError(t, answer.failed)
		state := answer.result.(post.RecoveryState)
		require.Equal(t, "deadline 7, sector 3 of partition 0", state.Declared[0].String())
		require.Equal(t, post.DeclarationAsked, state.Declared[0].State)
		require.Empty(t, state.Waits)
	})
	p.run(10)
	require.Len(t, p.requests, 1)
}

// answered is an update with its result.
type answered struct {
	updated
	result any
}

func (a *answered) Complete(result any, err error) { a.result, a.failed = result, err }

func TestNothingIsDeclared(t *testing.T) {
	for situation, c := range map[string]struct {
		change func(*patient)
		shows  func(*testing.T, post.RecoveryState)
	}{
		"while there is fee debt": {
			func(p *patient) { p.blocked = post.RecoveryObstacle{Owed: "5"} },
			func(t *testing.T, s post.RecoveryState) { require.Equal(t, post.Atto("5"), s.Blocked.Owed) },
		},
		"during a consensus fault": {
			func(p *patient) { p.blocked = post.RecoveryObstacle{Until: 4000} },
			func(t *testing.T, s post.RecoveryState) { require.EqualValues(t, 4000, s.Blocked.Until) },
		},
		"where the operator does it": {
			func(p *patient) { p.settings.Recovery.Off = true },
			func(t *testing.T, s post.RecoveryState) { require.True(t, s.Off) },
		},
		"for a miner that is paused": {
			func(p *patient) { p.idle = "the miner is paused (moving racks)" },
			func(t *testing.T, s post.RecoveryState) {
				require.Equal(t, "the miner is paused (moving racks)", s.Idle)
			},
		},
		"when the chain cannot be read": {
			func(p *patient) {
				p.unread = temporal.NewNonRetryableApplicationError("no such miner", workflows.ErrorNoSuchMiner, nil)
			},
			func(t *testing.T, s post.RecoveryState) {
				require.Equal(t, "the chain could not be read: no such miner", s.Problem)
			},
		},
	} {
		t.Run(situation, func(t *testing.T) {
			p := newPatient(t)
			p.faulty = post.Numbers{3}
			c.change(p)
			p.run(50)
			require.Empty(t, p.checked)
			require.Empty(t, p.requests)
			require.GreaterOrEqual(t, p.looks, 3)
			c.shows(t, p.shown)
		})
	}
}

func TestARemovedMinerIsLookedAfterNoLonger(t *testing.T) {
	p := newPatient(t)
	p.after(30, func() { p.idle, p.removed = "the miner is removed (sold)", true })
	p.env.ExecuteWorkflow(workflows.RecoveryWorkflow, post.RecoveryBook{Miner: 1000})
	require.True(t, p.env.IsWorkflowCompleted())
	require.NoError(t, p.env.GetWorkflowError())
	require.Equal(t, 3, p.looks)
}

func TestAMessageThatFailedIsUnderstoodAndSentAnew(t *testing.T) {
	p := newPatient(t)
	p.faulty, p.refuses = post.Numbers{3}, 1
	p.after(10, func() {
		require.Len(t, p.requests, 1)
		require.Equal(t, post.DeclarationFailed, p.shown.Declared[0].State)
		require.Contains(t, p.shown.Declared[0].Reason, "exit code 7 (out of gas)")
	})
	p.run(50)
	require.Len(t, p.requests, 2)
	require.Equal(t, "recover-f01000-2880/7/2", p.requests[1].ID)
	require.Len(t, p.shown.Declared, 1)
	require.Equal(t, post.DeclarationConfirmed, p.shown.Declared[0].State)
}

func TestAMessageThatAReorgDroppedIsAskedForAgain(t *testing.T) {
	p := newPatient(t)
	p.faulty, p.lost = post.Numbers{3}, true
	p.run(60)
	require.Len(t, p.requests, 2)
	require.Equal(t, p.requests[0].ID, p.requests[1].ID, "the same bytes again")
	require.Equal(t, 1, p.requests[1].Lost)
	require.Equal(t, post.DeclarationConfirmed, p.shown.Declared[0].State)
}

func TestASectorThatFailsAtEachPostIsDeclaredLessOften(t *testing.T) {
	p := newPatient(t)
	p.faulty = post.Numbers{3}
	p.after(455, func() { // the post left it out
		require.Len(t, p.requests, 1)
		p.recovering, p.faulty = nil, post.Numbers{3}
	})
	p.after(500, func() {
		require.Len(t, p.requests, 2, "after Close once more")
		require.Contains(t, p.shown.Waits[0].Reason, "1 time in a row")
	})
	p.run(600)
	require.Equal(t, "recover-f01000-5760/7/1", p.requests[1].ID)
}

func TestRecoveriesGoOnInANewRunWithWhatIsKnown(t *testing.T) {
	p := newPatient(t)
	p.faulty, p.gone = post.Numbers{3, 4}, post.Numbers{4}
	p.after(1, func() { p.env.SetContinueAsNewSuggested(true) }) // while the message is under way
	p.env.ExecuteWorkflow(workflows.RecoveryWorkflow, post.RecoveryBook{Miner: 1000})
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, p.env.GetWorkflowError(), &next)
	var book post.RecoveryBook
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &book))
	require.Equal(t, post.DeclarationConfirmed, book.Declared[0].State, "it was seen through first")
	require.Equal(t, post.Numbers{4}, book.Waits[0].Sectors)
}

func TestAStoreThatCannotBeLookedIntoIsToldOf(t *testing.T) {
	p := newPatient(t)
	p.faulty = post.Numbers{3}
	p.env.OnActivity(workflows.ActivityLookupSectors, mock.Anything, mock.Anything).Return(post.Located{}, errors.New("no store could be listed"))
	p.after(45, func() { require.Contains(t, p.shown.Problem, "deadline 7 partition 0 could not be looked at") })
	p.run(50)
	require.Empty(t, p.requests)
}

// endingRun is a run whose history becomes full while a message is under way, and which an operator asks for a look then. It gives his answer.
func (p *patient) endingRun(events int) *answered {
	answer := &answered{}
	p.after(3, func() { p.env.UpdateWorkflow(workflows.UpdateRecover, "1", answer) })
	p.faulty = post.Numbers{3}
	p.after(1, func() {
		p.env.SetContinueAsNewSuggested(true)
		p.env.SetCurrentHistoryLength(events)
	})
	p.env.ExecuteWorkflow(workflows.RecoveryWorkflow, post.RecoveryBook{Miner: 1000})
	var next *workflow.ContinueAsNewError
	require.ErrorAs(p.t, p.env.GetWorkflowError(), &next)
	var book post.RecoveryBook
	require.NoError(p.t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &book))
	require.Equal(p.t, post.DeclarationConfirmed, book.Declared[0].State)
	return answer
}

func TestARunWhoseHistoryIsFullStillLooksWhileAMessageIsUnderWay(t *testing.T) {
	p := newPatient(t)
	answer := p.endingRun(12_000)
	require.NoError(t, answer.failed)
	require.Equal(t, 2, p.looks, "and the operator is answered after another look")
}

// Nobody who asks keeps a run from ending that has no room for another round.
func TestWhoAsksARunThatOnlySeesItsMessageThroughIsAnswered(t *testing.T) {
	p := newPatient(t)
	answer := p.endingRun(40_000)
	require.NoError(t, answer.failed)
	require.NotNil(t, answer.result)
	require.Equal(t, 1, p.looks)
}

func TestWhatComesBackTooLateBeforeTheCutoffIsToldOf(t *testing.T) {
	t.Run("no time to look at it", func(t *testing.T) {
		p := newPatient(t)
		p.faulty, p.gone = post.Numbers{3}, post.Numbers{3}
		p.after(324, func() { // the cutoff is 330 after the start
			p.gone = nil
			p.env.UpdateWorkflow(workflows.UpdateRecover, "1", &answered{})
		})
		p.run(325)
		require.Contains(t, p.shown.Problem, "deadline 7 partition 0 could not be looked at: no time was left before the cutoff")
		require.Empty(t, p.checked)
		require.Empty(t, p.requests)
	})
	t.Run("no time to send it", func(t *testing.T) {
		p := newPatient(t)
		p.faulty, p.late = post.Numbers{3}, true
		p.run(10)
		require.Contains(t, p.shown.Problem, "deadline 7: what passed was found too late before the cutoff")
		require.Len(t, p.checked, 1)
		require.Empty(t, p.requests)
	})
}
