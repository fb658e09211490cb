package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	enums "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// computing is what `proving compute` is asked.
type computing struct {
	whatToProve
	partitions []uint
	pool       string
	dryRun     bool
	asJSON     bool
	patience   time.Duration
	limit      time.Duration
}

// newProvingCompute proves a deadline now, without submitting.
func newProvingCompute(a *app) *cobra.Command {
	var ask computing
	cmd := &cobra.Command{
		Use:   "compute",
		Short: "Prove a deadline now, without submitting anything, to test a set-up",
		Long: "Prove a deadline now, without submitting anything, to test a set-up.\n\n" +
			"The deadline's partitions are taken as the chain has them at the head, with the randomness of the deadline's last challenge, and proven by\n" +
			"the real fleet in the way of a real deadline: the same lookups, routing, cards and checks. Each has one try, and comes after whatever a\n" +
			"real deadline needs; but a card that has begun with it finishes it first. Nothing is sent. Ctrl-C ends it and frees the cards.\n\n" +
			"It fails if a partition could not be proven. --dry-run does everything but the proof: it says what would be proven, which sectors are\n" +
			"missing where, and who would take it. It needs a running daemon.",
		Example: "  posthaste proving compute --miner f01000 --deadline 7 --dry-run\n" +
			"  posthaste proving compute --miner f01000 --deadline 7 --partition 0,1",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.compute(cmd, ask) },
	}
	ask.flags(cmd, a, "the deadline's `index`, from 0")
	_ = cmd.MarkFlagRequired("deadline")
	cmd.Flags().UintSliceVar(&ask.partitions, "partition", nil, "its partitions, such as `0,1`; all without it")
	cmd.Flags().StringVar(&ask.pool, "pool", "", "the GPU `tag` of cards to prove on; without it, what the miner's deadlines go to")
	cmd.Flags().BoolVar(&ask.dryRun, "dry-run", false, "do everything but the proof")
	cmd.Flags().BoolVar(&ask.asJSON, "json", false, "print one JSON object, and no progress")
	cmd.Flags().DurationVar(&ask.patience, "wait", time.Minute, "how long a partition waits while nobody can take it")
	cmd.Flags().DurationVar(&ask.limit, "limit", 2*time.Hour, "how long a proof may take, with its waiting for a card")
	completeFlag(cmd, "pool", a.completePools())
	return cmd
}

// completePools completes the GPU tags of the workers.
func (a *app) completePools() cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, c *connection, _ []string) ([]string, error) {
		views, err := workers.ReadWorkers(ctx, c, c.Namespace)
		if err != nil {
			return nil, err
		}
		var pools []string
		for _, v := range views {
			for _, g := range v.Groups {
				pools = append(pools, g.Pool)
			}
		}
		slices.Sort(pools)
		return slices.Compact(pools), nil
	})
}

// trialReport is a trial with what the fleet makes of it, and the JSON of `proving compute`.
type trialReport struct {
	WorkflowID string `json:"workflow_id"`
	post.Trial
	Places          int                 `json:"places"`                     // proofs at once on live cards that may take the deadline's partitions
	ForecastSeconds float64             `json:"forecast_seconds,omitempty"` // for all of the deadline's partitions on those
	Workers         map[string][]string `json:"workers,omitempty"`          // by queue: who polls it
}

func (a *app) compute(cmd *cobra.Command, ask computing) error {
	miner, err := ask.id()
	if err != nil {
		return err
	}
	if ask.patience <= 0 || ask.limit <= 0 {
		return fmt.Errorf("--wait and --limit must be above 0")
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	in := workflows.ComputeInput{Miner: miner, Index: ask.deadline, Pool: ask.pool, DryRun: ask.dryRun, Patience: ask.patience, Limit: ask.limit}
	for _, p := range ask.partitions {
		in.Partitions = append(in.Partitions, uint64(p))
	}
	if !cmd.Flags().Changed("pool") {
		if in.Pool, err = c.poolOf(cmd.Context(), in); err != nil {
			return err
		}
	}
	d := post.Deadline{Miner: miner, Index: ask.deadline}
	errand := workers.Errand{
		ID:      fmt.Sprintf("compute-%s-%d-%s", post.MinerName(miner), ask.deadline, randomName()),
		Summary: fmt.Sprintf("a trial of deadline %s: nothing is sent", d),
		Type:    workflows.NameComputeWorkflow, Input: in, Limit: ask.limit + 15*time.Minute, Memo: workflows.MemoBoard,
	}
	if !ask.asJSON {
		shown := newProgress(a.stderr)
		errand.Show = func(info *workflowpb.WorkflowExecutionInfo, pending []*workflowpb.PendingActivityInfo) {
			shown.show(trialProgress(info, pending))
		}
	}
	report := trialReport{WorkflowID: errand.ID}
	if err := errand.Run(cmd.Context(), c, &report.Trial); err != nil {
		return fmt.Errorf("trying out deadline %s: %w", d, c.explainAway(err))
	}
	if err := report.ask(cmd.Context(), c); err != nil {
		return err
	}
	if ask.asJSON {
		if err := printJSON(a.stdout, report); err != nil {
			return err
		}
	} else {
		report.print(a.stdout)
	}
	return report.verdict()
}

// poolOf is the GPU tag that a miner's deadlines are proven by, as its workflow knows it; none if nobody watches it.
func (c *connection) poolOf(ctx context.Context, in workflows.ComputeInput) (string, error) {
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	watched, err := workers.ReadWatched(limited, c)
	if err != nil {
		return "", c.explain(err)
	}
	for _, m := range watched {
		if m.Miner == in.Miner {
			return m.Settings.Pool, nil
		}
	}
	return "", nil
}

// ask asks who may take the trial's jobs.
func (r *trialReport) ask(ctx context.Context, c *connection) error {
	views, err := c.workers(ctx)
	if err != nil {
		return err
	}
	r.Workers = map[string][]string{}
	needs := post.Needs{Miner: r.Deadline.Miner, Size: r.Size, Pool: r.Pool}
	for _, p := range r.Partitions {
		for _, store := range p.Stores {
			if !slices.Contains(needs.Stores, store) {
				needs.Stores = append(needs.Stores, store)
			}
		}
	}
	for _, v := range views {
		for _, g := range v.Groups {
			if g.Kind != post.KindWindow || !v.Alive || g.Slots == 0 || v.Paused != "" {
				continue
			}
			r.Workers[g.Queue] = append(r.Workers[g.Queue], v.Name)
			if g.Refuses(needs) == "" {
				r.Places += g.Slots
			}
		}
	}
	r.ForecastSeconds = r.Forecast(r.Places).Seconds()
	return nil
}

// verdict is the error of a trial in which something could not be proven.
func (r *trialReport) verdict() error {
	failed := 0
	for _, p := range r.Partitions {
		if p.Failed(r.DryRun) {
			failed++
		}
	}
	switch {
	case failed == 0:
		return nil
	case r.DryRun:
		return fmt.Errorf("%d of %s would not be proven now", failed, post.Count(len(r.Partitions), "partition"))
	default:
		return fmt.Errorf("%d of %s could not be proven", failed, post.Count(len(r.Partitions), "partition"))
	}
}

// trialProgress is what goes on in each partition.
func trialProgress(info *workflowpb.WorkflowExecutionInfo, pending []*workflowpb.PendingActivityInfo) []progressLine {
	var board post.Result
	if !workers.MemoOf(info, workflows.MemoBoard, &board) {
		return triedAgain(pending)
	}
	var lines []progressLine
	for _, p := range board.Partitions {
		line := progressLine{where: fmt.Sprintf("partition %d", p.Index), what: string(p.State)}
		switch {
		case p.State == post.StateWaiting:
			line.what = "looking its sectors up"
		case p.State == post.StateProving && p.Waits != "":
			line.what = "nobody can take it: " + p.Waits
		case p.State == post.StateProving:
			line.what, line.seconds = cardProgress(p, pending)
		}
		lines = append(lines, line)
	}
	return append(lines, triedAgain(pending)...)
}

// cardProgress is what a card does for a partition, by its activity's heartbeat.
func cardProgress(p post.PartitionResult, pending []*workflowpb.PendingActivityInfo) (what, seconds string) {
	for _, a := range pending {
		if !strings.HasPrefix(a.GetActivityId(), "prove-"+strconv.FormatUint(p.Index, 10)+"-") {
			continue
		}
		var beat post.Progress
		if a.GetState() == enums.PENDING_ACTIVITY_STATE_SCHEDULED || !workers.BeatOf(a, &beat) {
			what = "waiting for a card of " + p.Queue
			if last := a.GetLastFailure().GetMessage(); last != "" {
				what += "; last: " + last
			}
			return what, ""
		}
		what = strings.TrimSpace(beat.Card + " " + string(beat.Phase))
		seconds = fmt.Sprintf("%.0fs", beat.Seconds)
		if beat.Phase == post.PhaseVanilla {
			seconds = fmt.Sprintf("%d of %d sectors, %s", beat.Done, beat.Of, seconds)
		}
		return what, seconds
	}
	return "proven, being checked", ""
}
