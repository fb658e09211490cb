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
	main       workflow.Context // of the main line, for what goes on beside it
	settings   post.Settings
	proofType  abi.RegisteredPoStProof
	sender     string
	randomness []byte   // the challenge; empty until it is known
	all        []*part  // every partition of the deadline, in order
	batches    []*batch // what this run has to see through
	running    int      // of these, how many are on their way
	unread     error    // why the challenge is not known and will not be
	reason     string   // what concerns the deadline as a whole

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

func newDeadline(ctx workflow.Context, in DeadlineInput) *deadline {
	d := &deadline{Deadline: in.Deadline, main: ctx, settings: in.Settings, settled: map[string]*post.MessageSettled{}}
	d.sawHead(ctx, in.Head)
	return d
}

// listen starts what runs beside the main line: answers to operators, late proofs, the sender's answers, and the display.
func (d *deadline) listen(ctx workflow.Context) error {
	d.wake(ctx)
	err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateReset, func(_ workflow.Context, in ResetJobs) error {
		d.resetJobs(in.names)
		return nil
	}, workflow.UpdateHandlerOptions{Validator: d.validateReset, Description: "run partitions again now, tries back at 0"})
	if err != nil {
		return fmt.Errorf("setting the handler of %s: %w", UpdateReset, err)
	}
	workflow.Go(ctx, d.hearProofs)
	workflow.Go(ctx, d.hearClaims)
	workflow.Go(ctx, d.hearRouted)
	workflow.Go(ctx, d.hearSender)
	workflow.Go(ctx, d.hearWaits)
	workflow.Go(ctx, d.paint)
	workflow.Go(ctx, d.watchClose)
	return nil
}

// names says whether a reset is meant for a batch: for one of its partitions.
func (r ResetJobs) names(b *batch) bool {
	for _, index := range r.Partitions {
		if b.has(index) {
			return true
		}
	}
	return len(r.Partitions) == 0 && b.State == post.StateFailed
}

// validateReset refuses what would do nothing, so that nobody believes in a reset that a typo made void.
func (d *deadline) validateReset(in ResetJobs) error {
	for _, index := range in.Partitions {
		var known *batch
		for _, b := range d.batches {
			if b.has(index) {
				known = b
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
func (d *deadline) resetJobs(which func(*batch) bool) {
	for _, b := range d.batches {
		if (b.State == post.StateFailed || b.State == post.StateProving) && which(b) {
			b.reset = true
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
		d.resetJobs(func(b *batch) bool { return b.State == post.StateFailed })
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
	if laterHead(d.head, head) != d.head || d.headAt.IsZero() {
		d.head, d.headAt = head, workflow.Now(ctx)
	}
}

// finality is how far a reorg may go back at most, in epochs: the specification's Chain Finality.
const finality abi.ChainEpoch = 900

// laterHead is the later of two epochs of the head. One that is further below than a reorg goes back is the chain's all the same: what was said
// before cannot have been. 0 is not known.
func laterHead(known, head abi.ChainEpoch) abi.ChainEpoch {
	if head > known || head > 0 && head < known-finality {
		return head
	}
	return known
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
