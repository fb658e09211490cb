package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// FleetWorkflow, of which there is one, keeps the activity running that looks after the jobs that wait for a card: it moves them to queues
// where they start sooner, and raises their priority as Close nears. Daemons make sure that it exists.
func FleetWorkflow(ctx workflow.Context) error {
	workflow.SetCurrentDetails(ctx, "Moves jobs that wait for a card to where they start sooner. The pending activity's heartbeat says what it did last.")
	for !full(ctx) {
		err := workflow.ExecuteActivity(policyBalance.apply(ctx, 0, "the fleet"), ActivityBalanceFleet).Get(ctx, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			workflow.GetLogger(ctx).Error("balancing the fleet ended; it begins again", "error", plain(err))
		}
		if err := sleep(ctx, time.Second, "before balancing the fleet again"); err != nil {
			return err
		}
	}
	return workflow.NewContinueAsNewError(ctx, FleetWorkflow)
}
