package workflows

import (
	"fmt"
	"strconv"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
)

// DeadlineOptions is how the workflow of a deadline is started, by whoever starts it, with so many partitions to prove; 0: that is not
// known.
func DeadlineOptions(d post.Deadline, partitions int) client.StartWorkflowOptions {
	summary := fmt.Sprintf("%s deadline %d: ", post.MinerName(d.Miner), d.Index)
	if partitions > 0 {
		summary += post.Count(partitions, "partition") + ", "
	}
	return client.StartWorkflowOptions{
		ID: d.WorkflowID(), TaskQueue: QueueChain,
		WorkflowIDConflictPolicy:                 DeadlineConflictPolicy,
		WorkflowIDReusePolicy:                    DeadlineReusePolicy,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            summary + fmt.Sprintf("epochs %d to %d", d.Open, d.Close),
		StaticDetails: fmt.Sprintf("WindowPoSt of **%s**, deadline %d of the proving period that began at epoch %d.\n\nChallenge %d, Open %d, Close %d.",
			post.MinerName(d.Miner), d.Index, d.PeriodStart, d.Challenge, d.Open, d.Close),
		// It is seen, with its epochs, before it has read anything from the chain: that may be what it cannot do.
		Memo: map[string]any{MemoBoard: post.Result{Deadline: d, State: post.StateWaiting}},
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(AttributeMiner).ValueSet(post.MinerName(d.Miner)),
			temporal.NewSearchAttributeKeyKeyword(AttributeDeadline).ValueSet(strconv.FormatUint(d.Index, 10)),
			temporal.NewSearchAttributeKeyKeyword(AttributeState).ValueSet(string(post.StateWaiting)),
		),
	}
}
