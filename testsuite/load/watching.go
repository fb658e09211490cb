package load

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// beatEvery is how often the watching of a load says where its chain is.
const beatEvery = 500 * time.Millisecond

// Watch starts the workflow of a miner, whose watching says where the chain is. It issues nothing: Issue does.
func (l *Load) Watch(ctx context.Context, m *Miner) error {
	settings := post.DefaultSettings()
	settings.EpochDuration = l.chain.epoch
	state := workflows.MinerState{WatchInput: workflows.WatchInput{Miner: m.ID, Settings: settings}}
	_, err := l.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "miner-" + post.MinerName(m.ID), TaskQueue: workflows.QueueChain},
		workflows.NameMinerWorkflow, state)
	if err != nil {
		return fmt.Errorf("watching miner %s: %w", post.MinerName(m.ID), err)
	}
	return nil
}

// watchDeadlines tells the chain's head until it is told to stop.
func (c *chain) watchDeadlines(ctx context.Context, _ workflows.WatchInput) error {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		activity.RecordHeartbeat(ctx, activities.Seen{Head: c.head()})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
