package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// BeatEvery makes a prover's heartbeats quick enough for a test.
func BeatEvery(p *Prover, interval time.Duration) { p.every = interval }

// Decisions without Temporal, for tables, and one look of a Balance.
var (
	MayRepeat  = mayRepeat
	AllAvoided = allAvoided
	Look       = (*Balance).look
)

// Shares says whether two attempts of a job, of these runs of its workflow, take part in one proof.
func Shares(ctx context.Context, job post.Job, run, other string) bool {
	proofs := NewProofs()
	of := func(run string) *attempt {
		return &attempt{job: job, workflow: workflow.Execution{ID: "w", RunID: run}, news: make(chan struct{}, 1)}
	}
	proofs.join(ctx, of(run))
	_, first := proofs.join(ctx, of(other))
	return !first
}

// WatchedBy is watchedBy.
var WatchedBy = watchedBy

// IssueAgainAt is issueAgainAt.
var IssueAgainAt = issueAgainAt
