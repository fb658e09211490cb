package workflows

import (
	"cmp"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// MinerState is a MinerWorkflow's input, what it hands to its next run at the period's end, and its memo.
type MinerState struct {
	WatchInput
	Paused  string `json:"paused,omitempty"`  // why, if it is: no new deadlines are issued; those under way go on
	Removed string `json:"removed,omitempty"` // why, if it is: as Paused, whatever daemons' files say, until it is added again
}

// AddMiner lifts a miner's removal.
type AddMiner struct {
	Settings *post.Settings `json:"settings,omitempty"` // from now on; nil: those that it had
}

// State is how a miner stands, in one word: what its AttributeState says.
func (s MinerState) State() string {
	switch {
	case s.Removed != "":
		return "Removed"
	case s.Paused != "":
		return "Paused"
	}
	return "Watching"
}

// Issues says whether deadlines are issued.
func (s MinerState) Issues() bool { return s.Removed == "" && s.Paused == "" }

// MinerWorkflow keeps one miner actor's deadlines going: it runs WatchDeadlines until the proving period ends, then goes on
// in a new run. Daemons make sure that it exists and tell it its configuration.
func MinerWorkflow(ctx workflow.Context, state MinerState) error {
	m := &miner{MinerState: state}
	if err := m.listen(ctx); err != nil {
		return err
	}
	for !full(ctx) {
		m.show(ctx)
		shown := m.MinerState
		if err := workflow.Await(ctx, func() bool { return m.Issues() || m.Removed != shown.Removed || full(ctx) }); err != nil {
			return err
		}
		if !m.Issues() {
			continue // removed since it was paused, or paused for longer than one history holds
		}
		// Before that version, a miner that was resumed went on to be shown as paused.
		if m.MinerState != shown && workflow.GetVersion(ctx, "shown when resumed", workflow.DefaultVersion, 1) > workflow.DefaultVersion {
			continue
		}
		periodOver, err := m.watch(ctx)
		if err != nil {
			return err
		}
		if periodOver {
			break
		}
	}
	m.configure.drain(m)
	return workflow.NewContinueAsNewError(ctx, MinerWorkflow, m.MinerState)
}

// full says that this run should end: every daemon sends its configuration once a minute, and a history that gets too long is
// ended by the server, together with what only it knows: that the miner is paused or removed.
func full(ctx workflow.Context) bool { return workflow.GetInfo(ctx).GetContinueAsNewSuggested() }

// miner is the state of one run of a MinerWorkflow.
type miner struct {
	MinerState
	changed   bool // the running WatchDeadlines does not know the latest settings, or must pause
	configure configureChannel
}

// configureChannel brings daemons' configurations.
type configureChannel struct{ workflow.ReceiveChannel }

// drain takes what has come before the run ends, so that no configuration is lost to a continue-as-new.
func (c configureChannel) drain(m *miner) {
	var in WatchInput
	for c.ReceiveAsync(&in) {
		m.WatchInput = in
	}
}

// byOperator is the reason of whoever gives none.
const byOperator = "by an operator"

// pause stops issuing deadlines for a reason, or goes on for none.
func (m *miner) pause(reason string) error {
	if m.Removed != "" {
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf("it was removed (%s); `posthaste miner add %s` lifts that", m.Removed, post.MinerName(m.Miner)), ErrorMinerRemoved, nil)
	}
	m.Paused, m.changed = reason, true
	return nil
}

func (m *miner) remove(reason string) error {
	m.Removed, m.changed = reason, true
	return nil
}

// add makes the miner watched whatever it was before: paused, too, since that is what whoever adds it wants.
func (m *miner) add(in AddMiner) error {
	was := m.MinerState
	m.Removed, m.Paused = "", ""
	if in.Settings != nil {
		m.Settings = *in.Settings
	}
	m.changed = m.changed || m.MinerState != was
	return nil
}

// listen takes operators' updates and daemons' configurations.
func (m *miner) listen(ctx workflow.Context) error {
	updates := map[string]any{
		UpdatePause:  func(_ workflow.Context, reason string) error { return m.pause(cmp.Or(reason, byOperator)) },
		UpdateResume: func(workflow.Context) error { return m.pause("") },
		UpdateRemove: func(_ workflow.Context, reason string) error { return m.remove(cmp.Or(reason, byOperator)) },
		UpdateAdd:    func(_ workflow.Context, in AddMiner) error { return m.add(in) },
	}
	for _, name := range workflow.DeterministicKeys(updates) {
		if err := workflow.SetUpdateHandler(ctx, name, updates[name]); err != nil {
			return err
		}
	}
	m.configure = configureChannel{workflow.GetSignalChannel(ctx, SignalConfigure)}
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var in WatchInput
			if !m.configure.Receive(ctx, &in) {
				return
			}
			if in != m.WatchInput {
				m.WatchInput, m.changed = in, true
			}
		}
	})
	return nil
}

// watch runs WatchDeadlines until the period is over (true), or until something changed for it or the history is full (false).
func (m *miner) watch(ctx workflow.Context) (periodOver bool, err error) {
	m.changed = false
	watching, stop := workflow.WithCancel(ctx)
	defer stop()
	running := workflow.ExecuteActivity(policyWatch.apply(watching, 0, post.MinerName(m.Miner)), ActivityWatchDeadlines, m.WatchInput)
	if err := workflow.Await(ctx, func() bool { return running.IsReady() || m.changed || full(ctx) }); err != nil {
		return false, err
	}
	if !running.IsReady() {
		return false, nil
	}
	if err := running.Get(ctx, nil); err != nil {
		return false, err
	}
	return true, nil
}

// show keeps the memo and the attributes true.
func (m *miner) show(ctx workflow.Context) {
	state := m.State()
	logger := workflow.GetLogger(ctx)
	if err := workflow.UpsertTypedSearchAttributes(ctx, temporal.NewSearchAttributeKeyKeyword(AttributeState).ValueSet(state)); err != nil {
		logger.Error("setting the state attribute", "miner", post.MinerName(m.Miner), "error", err)
	}
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoMiner: m.MinerState}); err != nil {
		logger.Error("setting the memo", "miner", post.MinerName(m.Miner), "error", err)
	}
	workflow.SetCurrentDetails(ctx, m.markdown())
}
