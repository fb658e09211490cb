package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// MinerState is a MinerWorkflow's input, what it hands to its next run at the period's end, and its memo.
type MinerState struct {
	WatchInput
	Paused string `json:"paused,omitempty"` // why, if it is: no new deadlines are issued; those under way go on
}

// MinerWorkflow keeps one miner actor's deadlines going: it runs WatchDeadlines until the proving period ends, then goes on
// in a new run. Daemons make sure that it exists and tell it its configuration.
func MinerWorkflow(ctx workflow.Context, state MinerState) error {
	m := &miner{MinerState: state}
	if err := m.listen(ctx); err != nil {
		return err
	}
	for !full(ctx) {
		m.show(ctx)
		if err := workflow.Await(ctx, func() bool { return m.Paused == "" || full(ctx) }); err != nil {
			return err
		}
		if m.Paused != "" {
			break // paused for longer than one history holds
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
// ended by the server, together with what only it knows: that the miner is paused.
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

// listen takes operators' updates and daemons' configurations.
func (m *miner) listen(ctx workflow.Context) error {
	err := workflow.SetUpdateHandler(ctx, UpdatePause, func(_ workflow.Context, reason string) error {
		if reason == "" {
			reason = "by an operator"
		}
		m.Paused, m.changed = reason, true
		return nil
	})
	if err != nil {
		return err
	}
	err = workflow.SetUpdateHandler(ctx, UpdateResume, func(workflow.Context) error {
		m.Paused, m.changed = "", true
		return nil
	})
	if err != nil {
		return err
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
	state := "Watching"
	if m.Paused != "" {
		state = "Paused"
	}
	logger := workflow.GetLogger(ctx)
	if err := workflow.UpsertTypedSearchAttributes(ctx, temporal.NewSearchAttributeKeyKeyword(AttributeState).ValueSet(state)); err != nil {
		logger.Error("setting the state attribute", "miner", post.MinerName(m.Miner), "error", err)
	}
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoMiner: m.MinerState}); err != nil {
		logger.Error("setting the memo", "miner", post.MinerName(m.Miner), "error", err)
	}
}
