package workflows

import (
	"fmt"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// deadline is the state of one run of a DeadlineWorkflow.
type deadline struct {
	post.Deadline
	settings   post.Settings
	proofType  abi.RegisteredPoStProof
	sender     string
	randomness []byte       // the challenge; empty until it is known
	all        []*partition // every partition of the deadline, in order
	partitions []*partition // those that this run has to see through
	unread     error        // why the challenge is not known and will not be
	reason     string       // what concerns the deadline as a whole

	settled map[string]*post.MessageSettled // the sender's answers, by request

	head   abi.ChainEpoch // the latest head that an activity told of
	headAt time.Time      // when it did, in workflow time
	runID  string         // of the run that last woke: another one means that an operator reset the workflow
	resets int            // how often that was seen
	dirty  bool           // there is something new to show
	over   bool

	closed  bool // the chain is at Close
	closers []workflow.CancelFunc
}

// partition is one partition on its way.
type partition struct {
	post.PartitionResult
	wanted  post.Sectors   // what the post should cover
	sectors post.Sectors   // of these, the ones that a store has
	missing []post.Skipped // the others
	job     post.Job       // the current one; its Key tells late proofs apart
	key     string         // its Key
	issued  int            // activities for its proof in this run
	until   time.Time      // when the time of the last of these is over
	avoid   []string       // cards that failed it

	refused  []string // cards, or workers, that refused it since something else happened to it
	refusals int      // how often that was
	claims   claims   // of cards that make the proof although their attempt is gone

	located post.Located // as the sectors were found
	lost    []string     // stores that keep the job waiting because nobody can read them, while its other sectors could be proven
	leaving bool         // it is watched how long they stay lost
	leave   bool         // long enough: go without their sectors

	reset  bool        // an operator wants it run again, now
	again  int         // how often one did
	built  int         // messages asked of the sender
	resets int         // the deadline's resets when its last attempt began
	found  *post.Proof // a proof that came by signal and verified

	shown string // how it was shown last, without Updated
}

func (p *partition) summary() string { return fmt.Sprintf("partition %d", p.Index) }

// have takes in what a lookup found.
func (p *partition) have(located post.Located) {
	p.located = located
	p.sectors, p.missing, p.Skipped = located.Sectors, located.Missing, located.Missing
}

// skippedNumbers are the sectors left out of the post so far.
func (p *partition) skippedNumbers() []abi.SectorNumber {
	numbers := make([]abi.SectorNumber, len(p.Skipped))
	for i, s := range p.Skipped {
		numbers[i] = s.Sector
	}
	return numbers
}

func newDeadline(ctx workflow.Context, in DeadlineInput) *deadline {
	d := &deadline{Deadline: in.Deadline, settings: in.Settings, settled: map[string]*post.MessageSettled{}}
	d.sawHead(ctx, in.Head)
	return d
}

// listen starts what runs beside the main line: answers to operators, late proofs, the sender's answers, and the display.
func (d *deadline) listen(ctx workflow.Context) error {
	d.wake(ctx)
	err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateReset, func(_ workflow.Context, in ResetJobs) error {
		d.resetJobs(func(p *partition) bool { return in.names(p) })
		return nil
	}, workflow.UpdateHandlerOptions{Validator: d.validateReset, Description: "run partitions again now, tries back at 0"})
	if err != nil {
		return fmt.Errorf("setting the handler of %s: %w", UpdateReset, err)
	}
	workflow.Go(ctx, d.hearProofs)
	workflow.Go(ctx, d.hearClaims)
	workflow.Go(ctx, d.hearRouted)
	workflow.Go(ctx, d.hearSender)
	workflow.Go(ctx, d.paint)
	workflow.Go(ctx, d.watchClose)
	return nil
}

// names says whether a reset is meant for a partition.
func (r ResetJobs) names(p *partition) bool {
	for _, index := range r.Partitions {
		if index == p.Index {
			return true
		}
	}
	return len(r.Partitions) == 0 && p.State == post.StateFailed
}

// validateReset refuses what would do nothing, so that nobody believes in a reset that a typo made void.
func (d *deadline) validateReset(in ResetJobs) error {
	for _, index := range in.Partitions {
		var known *partition
		for _, p := range d.partitions {
			if p.Index == index {
				known = p
			}
		}
		switch {
		case known == nil:
			return fmt.Errorf("deadline %s has no partition %d to prove", d.Deadline, index)
		case known.State != post.StateFailed && known.State != post.StateProving:
			return fmt.Errorf("partition %d of deadline %s is %s: there is nothing to run again", index, d.Deadline, known.State)
		}
	}
	return nil
}

// resetJobs sets partitions going again that have failed or are being proven.
func (d *deadline) resetJobs(which func(*partition) bool) {
	for _, p := range d.partitions {
		if (p.State == post.StateFailed || p.State == post.StateProving) && which(p) {
			p.reset = true
		}
	}
}

// wake is called whenever a coroutine goes on. A Temporal reset re-executes the last workflow task in a run with another ID
// and otherwise does nothing to a workflow that waits; so the change of the ID is what tells it to try again. The mutable
// side effect leaves an event only when the ID changes.
func (d *deadline) wake(ctx workflow.Context) {
	var runID string
	value := workflow.MutableSideEffect(ctx, "run", func(workflow.Context) any {
		return workflow.GetInfo(ctx).WorkflowExecution.RunID
	}, func(a, b any) bool { return a == b })
	if value.Get(&runID) != nil || runID == d.runID {
		return
	}
	if d.runID != "" {
		d.resets++
		d.resetJobs(func(p *partition) bool { return p.State == post.StateFailed })
	}
	d.runID = runID
}

// run executes an activity and decodes its result.
func (d *deadline) run(ctx workflow.Context, name string, result any, input any) error {
	err := workflow.ExecuteActivity(ctx, name, input).Get(ctx, result)
	d.wake(ctx)
	return err
}

// await waits for a condition on the workflow's state.
func (d *deadline) await(ctx workflow.Context, condition func() bool) error {
	err := workflow.Await(ctx, condition)
	d.wake(ctx)
	return err
}

// watchClose ends what must not go on after Close, by the chain's head, since a reset starts all timeouts of activities anew.
func (d *deadline) watchClose(ctx workflow.Context) {
	if d.awaitEpoch(ctx, d.Close) != nil {
		return
	}
	d.closed = true
	for _, end := range d.closers {
		end()
	}
}

// untilClose gives a context, for the same coroutine, that ends at Close.
func (d *deadline) untilClose(ctx workflow.Context) workflow.Context {
	open, end := workflow.WithCancel(ctx)
	d.closers = append(d.closers, end)
	if d.closed {
		end()
	}
	return open
}

// sawHead remembers the latest head, which epoch then goes on from.
func (d *deadline) sawHead(ctx workflow.Context, head abi.ChainEpoch) {
	if head > d.head || d.headAt.IsZero() {
		d.head, d.headAt = head, workflow.Now(ctx)
	}
}

// epoch is where the chain should be by now.
func (d *deadline) epoch(ctx workflow.Context) abi.ChainEpoch {
	return d.head + abi.ChainEpoch(workflow.Now(ctx).Sub(d.headAt)/d.settings.EpochDuration)
}

// result is the deadline as it stands.
func (d *deadline) result(ctx workflow.Context) post.Result {
	r := post.Result{Deadline: d.Deadline, Reason: d.reason, Partitions: make([]post.PartitionResult, len(d.all)), Pool: d.settings.Pool}
	if size, err := d.proofType.SectorSize(); err == nil { // else not known yet
		r.Size = size
	}
	for i, p := range d.all {
		r.Partitions[i] = p.stamped(workflow.Now(ctx))
	}
	r.State = post.DeadlineState(r.Partitions)
	return r
}

// stamped is the partition for the memo, with the time of its last change.
func (p *partition) stamped(now time.Time) post.PartitionResult {
	short := p.Short()
	short.Updated = time.Time{}
	if shown := fmt.Sprintf("%+v", short); shown != p.shown { // which sees every field, there will be more
		p.shown, p.Updated = shown, now
	}
	short.Updated = p.Updated
	return short
}

// changed says that there is something new to show.
func (d *deadline) changed() { d.dirty = true }

// paint shows changes, several of one workflow task at once: each costs two events.
func (d *deadline) paint(ctx workflow.Context) {
	for workflow.Await(ctx, func() bool { return d.dirty || d.over }) == nil && !d.over {
		d.show(ctx, d.result(ctx))
	}
}

// show puts the state where people and lists look: the memo and the search attributes (readable while no daemon runs) and
// the Web UI's current details.
func (d *deadline) show(ctx workflow.Context, r post.Result) {
	d.dirty = false
	logger := workflow.GetLogger(ctx)
	if err := workflow.UpsertTypedSearchAttributes(ctx, temporal.NewSearchAttributeKeyKeyword(AttributeState).ValueSet(string(r.State))); err != nil {
		logger.Error("setting the state attribute", "deadline", d.String(), "error", err)
	}
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoBoard: r}); err != nil {
		logger.Error("setting the memo", "deadline", d.String(), "error", err)
	}
	workflow.SetCurrentDetails(ctx, r.Markdown(d.epoch(ctx)))
}
