package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// SurveyWithin is how long a SurveyWorkflow may take altogether: somebody waits in front of a screen, and what he does not wait for any more
// should not be run.
const SurveyWithin = time.Minute

// policySurvey is for a person who waits: a node that does not answer is told after three attempts. Each may take as long as a miner with
// thousands of partitions needs, whose deadlines are read a few at once.
var policySurvey = policy{queue: QueueChain, attempt: 40 * time.Second, heartbeat: lostDaemon, retry: temporal.RetryPolicy{
	InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: time.Second, MaximumAttempts: 3,
	NonRetryableErrorTypes: []string{ErrorNoSuchMiner},
}}

// SurveyWorkflow asks a daemon how a miner's deadlines stand on the chain, for a command that has no node of its own.
func SurveyWorkflow(ctx workflow.Context, in SurveyInput) (survey post.Survey, err error) {
	err = workflow.ExecuteActivity(policySurvey.apply(ctx, 0, post.MinerName(in.Miner)), ActivitySurveyMiner, in).Get(ctx, &survey)
	return survey, err
}
