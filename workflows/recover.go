package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"posthaste/post"
)

// RecoveryWorkflow, of which there is one per miner actor, looks every 20 epochs, and when an operator asks for it, whether faulty sectors
// can be proven again, and has those that can declared recovered before the fault cutoff of their deadline. Whoever watches the miner's
// deadlines makes sure that it exists; it ends when the miner is removed.
func RecoveryWorkflow(ctx workflow.Context, book post.RecoveryBook) error {
	book.Declared = slices.DeleteFunc(book.Declared, post.Declaration.UnderWay) // none: a run sees those through
	r := &recovery{
		RecoveryBook: book, state: post.RecoveryState{Miner: book.Miner}, settled: map[string]*post.MessageSettled{},
		places: workflow.NewSemaphore(ctx, deadlinesAtOnce),
	}
	if err := workflow.SetUpdateHandler(ctx, UpdateRecover, r.recover); err != nil {
		return fmt.Errorf("setting the handler of %s: %w", UpdateRecover, err)
	}
	workflow.Go(ctx, r.hearSender)
	for {
		asked := r.asked
		gone, err := r.round(ctx, asked > r.answered)
		if err != nil {
			return err
		}
		r.answered = asked
		r.show(ctx)
		if gone {
			return r.rest(ctx)
		}
		if _, err := awaitFor(ctx, r.every(), "until faulty sectors are looked at again", func() bool { return r.asked > r.answered || r.full(ctx) }); err != nil {
			return err
		}
		if r.full(ctx) {
			if err := r.rest(ctx); err != nil {
				return err
			}
			return workflow.NewContinueAsNewError(ctx, RecoveryWorkflow, r.RecoveryBook)
		}
	}
}

// RecoveryOptions is how a RecoveryWorkflow is started: one that runs stays.
func RecoveryOptions(miner abi.ActorID) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID: RecoveryWorkflowID(miner), TaskQueue: QueueChain,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            "faulty sectors of " + post.MinerName(miner),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(AttributeMiner).ValueSet(post.MinerName(miner))),
	}
}

// deadlinesAtOnce are looked at side by side, so that a store that hangs does not hold up those of the others.
const deadlinesAtOnce = 4

// recovery is the state of one run of a RecoveryWorkflow.
type recovery struct {
	post.RecoveryBook
	state    post.RecoveryState
	settings post.Settings
	epochs   time.Duration // how long one is; 0: not known yet
	head     abi.ChainEpoch
	headAt   time.Time
	settled  map[string]*post.MessageSettled // the sender's answers, by request
	places   workflow.Semaphore

	asked, answered int  // by operators
	resting         bool // no round begins any more in this run
	sending         int  // messages that are being looked after
	problems        []string
	shown           string // how it was shown last
}

// longest is how many events a run has at most, of the 51,200 at which the server ends it.
const longest = 30_000

// full says that this run should end: soon when no message is under way, which it would have to wait for, up to a deadline's cutoff.
func (r *recovery) full(ctx workflow.Context) bool {
	return full(ctx) && (r.sending == 0 || workflow.GetInfo(ctx).GetCurrentHistoryLength() > longest)
}

// recover answers an operator when a round is over that began after he asked, or at once when there will be none.
func (r *recovery) recover(ctx workflow.Context) (post.RecoveryState, error) {
	r.asked++
	mine := r.asked
	err := workflow.Await(ctx, func() bool { return r.answered >= mine || r.resting })
	return r.state.Short(), err
}

// hearSender keeps the sender's answers.
func (r *recovery) hearSender(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, SignalMessageSettled)
	for {
		var settled post.MessageSettled
		if !channel.Receive(ctx, &settled) {
			return
		}
		r.settled[settled.Key()] = &settled
	}
}

// every is the pause between two rounds.
func (r *recovery) every() time.Duration {
	if r.epochs == 0 {
		return time.Minute
	}
	return post.Until(0, post.RecoverEvery, r.epochs)
}

// epoch is where the chain should be by now.
func (r *recovery) epoch(ctx workflow.Context) abi.ChainEpoch {
	if r.epochs == 0 {
		return r.head
	}
	return r.head + abi.ChainEpoch(workflow.Now(ctx).Sub(r.headAt)/r.epochs)
}

func (r *recovery) saw(ctx workflow.Context, head abi.ChainEpoch) {
	if laterHead(r.head, head) != r.head {
		r.head, r.headAt = head, workflow.Now(ctx)
	}
}

// rest waits until no message is under way and everybody who asked has been answered.
func (r *recovery) rest(ctx workflow.Context) error {
	r.resting = true
	return workflow.Await(ctx, func() bool { return r.sending == 0 && workflow.AllHandlersFinished(ctx) })
}

// round looks at the chain and at what is faulty there, all of it or only what has no pause. It says whether the miner is gone.
func (r *recovery) round(ctx workflow.Context, all bool) (gone bool, err error) {
	r.problems = nil
	var faults post.Faults
	err = run(policyChainRead.apply(ctx, max(r.every(), time.Minute), "faulty sectors"), ActivityReadFaults, &faults, r.Miner)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		r.trouble("the chain could not be read: %s", inWords(err))
		return false, nil
	}
	r.state = post.RecoveryState{Miner: r.Miner, Head: r.head, At: workflow.Now(ctx), Idle: faults.Idle}
	if faults.Idle != "" {
		return faults.Gone, nil
	}
	r.settings, r.epochs = faults.Settings, faults.EpochDuration
	r.saw(ctx, faults.Head)
	r.Learn(faults)
	r.state.Head, r.state.Faulty, r.state.Recovering, r.state.Blocked = faults.Head, faults.Faulty, faults.Recovering, faults.Blocked
	if r.state.Off = r.settings.Recovery.Off; r.state.Off || faults.Blocked.Any() {
		return false, nil
	}
	group := workflow.NewWaitGroup(ctx)
	for _, d := range r.Choose(faults, all) {
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			if err := r.places.Acquire(ctx, 1); err != nil {
				return
			}
			defer r.places.Release(1)
			r.deadline(ctx, d, faults.ProofType)
		})
	}
	group.Wait(ctx)
	return false, ctx.Err()
}

// inWords is an activity's error without what the SDK adds.
func inWords(err error) string {
	var said *temporal.ApplicationError
	if errors.As(err, &said) {
		return said.Message()
	}
	return plain(err).Error()
}

// trouble is shown with the round.
func (r *recovery) trouble(format string, args ...any) {
	if len(r.problems) < 5 {
		r.problems = append(r.problems, fmt.Sprintf(format, args...))
	}
}

// deadline looks at faulty sectors of one deadline, and has those that are good declared recovered.
func (r *recovery) deadline(ctx workflow.Context, d post.FaultyDeadline, proofType abi.RegisteredPoStProof) {
	var good []post.FaultyPartition
	for _, p := range d.Partitions {
		passed, err := r.partition(ctx, d, p, proofType)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.trouble("deadline %d partition %d could not be looked at: %s", d.Deadline.Index, p.Index, inWords(err))
		case len(passed) > 0:
			good = append(good, post.FaultyPartition{Index: p.Index, Sectors: passed})
		}
	}
	for _, declaration := range r.Batch(d, good, r.settings.Recovery) {
		r.sending++
		r.Note(declaration)
		workflow.Go(ctx, func(ctx workflow.Context) {
			r.declare(ctx, declaration)
			r.sending--
			r.show(ctx)
		})
	}
}

// partition looks which sectors of a partition are there and can be read as a proof would read them.
func (r *recovery) partition(ctx workflow.Context, d post.FaultyDeadline, p post.FaultyPartition, proofType abi.RegisteredPoStProof) (good post.Numbers, err error) {
	summary := fmt.Sprintf("%s partition %d", d.Deadline, p.Index)
	// What passed is declared when all partitions have been looked at, and building and sending that takes its time, too.
	left := post.Until(r.epoch(ctx), d.Cutoff-post.RecoverMargin-timeToDeclare, r.epochs)
	if left <= 0 && leavesOut(ctx) {
		return nil, errors.New("no time was left before the cutoff; it is looked at again when its deadline has been proven")
	}
	left = max(left, time.Second)
	patience := min(left, r.every()) // what cannot be read now is tried in the next round; the others must not wait for it
	in := PartitionInput{Deadline: d.Deadline, Partition: p.Index}
	if err := run(policyChainRead.apply(ctx, patience, summary), ActivityReadSectors, &in.Sectors, ReadSectorsInput{Miner: r.Miner, Sectors: p.Sectors}); err != nil {
		return nil, err
	}
	var located post.Located
	if err := run(policyLookup.apply(ctx, patience, summary), ActivityLookupSectors, &located, in); err != nil {
		return nil, err
	}
	bad := located.Missing
	if len(located.Sectors) > 0 {
		look := CheckSectorsInput{Miner: r.Miner, Deadline: d.Deadline.Index, Partition: p.Index, ProofType: proofType, Sectors: located.Sectors, Strict: true}
		var checked CheckedSectors
		if err := run(r.checkOptions(ctx, left, summary), ActivityCheckSectors, &checked, look); err != nil {
			return nil, err
		}
		for _, s := range checked.Bad {
			bad = append(bad, s.Skipped)
		}
	}
	return r.Checked(d.Deadline.Index, p.Index, p.Sectors, bad, r.epoch(ctx)), nil
}

// timeToDeclare epochs before the last at which a declaration is sent, checks end.
const timeToDeclare abi.ChainEpoch = 3

// leavesOut is whether a partition is left out for which there is no time any more, so that the others of its deadline do not wait for it. Runs
// from before that have a second's look at it.
func leavesOut(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, "leave out", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// checkOptions are those of a CheckSectors activity. After the cutoff nobody needs its answer.
func (r *recovery) checkOptions(ctx workflow.Context, left time.Duration, summary string) workflow.Context {
	return workflow.WithScheduleToCloseTimeout(checkOptions(ctx, "", summary), left)
}

// declare sees one message through: built with what is faulty now, sent, and followed until it is deep enough.
func (r *recovery) declare(ctx workflow.Context, d post.Declaration) {
	fail := func(format string, args ...any) {
		d.State, d.Reason = post.DeclarationFailed, fmt.Sprintf(format, args...)
		r.Note(d)
	}
	left := max(post.Until(r.epoch(ctx), d.Cutoff, r.epochs), time.Second)
	var built BuiltRecovery
	err := run(policyChainRead.apply(ctx, left, d.ID), ActivityBuildRecovery, &built, RecoveryInput{Window: d.RecoveryWindow, Partitions: d.Partitions, Sender: r.settings.Sender, Fees: r.settings.Fees})
	switch {
	case err != nil:
		fail("building the message: %s", inWords(err))
		return
	case built.Late, len(built.Partitions) == 0: // the next look has them, if they are still faulty
		if built.Late {
			r.trouble("deadline %d: what passed was found too late before the cutoff to be declared; it is after the deadline's next proof", d.Deadline.Index)
		}
		r.Declared = slices.DeleteFunc(slices.Clone(r.Declared), func(other post.Declaration) bool { return other.ID == d.ID })
		return
	}
	r.saw(ctx, built.Head)
	d.Partitions = built.Partitions
	r.Note(d)
	request := post.MessageRequest{
		ID: d.ID, ReplyTo: RecoveryWorkflowID(r.Miner), From: built.From, To: built.To, Method: built.Method, Params: built.Params,
		Expires: d.Cutoff, EpochDuration: r.epochs, Fees: r.settings.Fees,
	}
	for ; ; request.Lost++ {
		settled, err := r.request(ctx, request)
		switch {
		case err != nil:
			fail("%s", inWords(err))
			return
		case settled.Outcome == post.OutcomeFailed && settled.ExitCode != 0:
			fail("message %s: %s", settled.Message, post.ReadExit(settled.ExitCode))
			return
		case settled.Outcome != post.OutcomeLanded:
			fail("message %s: %s", settled.Outcome, settled.Reason)
			return
		}
		d.State, d.Message, d.Landed = post.DeclarationLanded, settled.Message, settled.Landed
		r.Note(d)
		r.show(ctx)
		receipt, err := r.confirm(ctx, settled)
		switch {
		case err != nil:
			fail("confirming message %s: %s", settled.Message, inWords(err))
			return
		case receipt.Found && receipt.ExitCode != 0:
			fail("message %s: %s", settled.Message, post.ReadExit(receipt.ExitCode))
			return
		case receipt.Found:
			d.State, d.Landed = post.DeclarationConfirmed, receipt.Epoch
			r.Note(d)
			return
		case r.epoch(ctx) >= d.Cutoff:
			fail("message %s was dropped by a reorg, and the cutoff has passed", settled.Message)
			return
		}
		d.State = post.DeclarationAsked
		r.Note(d)
	}
}

// request hands a message to its sender's workflow and waits for the answer, which comes at Expires at the latest while that runs.
func (r *recovery) request(ctx workflow.Context, request post.MessageRequest) (post.MessageSettled, error) {
	key := request.Key()
	for {
		if err := run(policySignal.apply(ctx, 0, request.ID), ActivityRequestMessage, nil, request); err != nil {
			return post.MessageSettled{}, err
		}
		last := r.epoch(ctx) >= request.Expires+askAgainAfter
		if _, err := awaitFor(ctx, post.Until(0, askAgainAfter, r.epochs)+time.Second, "for the sender's answer", func() bool { return r.settled[key] != nil }); err != nil {
			return post.MessageSettled{}, err
		}
		switch answer := r.settled[key]; {
		case answer != nil:
			delete(r.settled, key)
			return *answer, nil
		case last:
			return post.MessageSettled{}, errors.New("the sender " + request.From + " did not answer until after the cutoff; is its workflow running?")
		}
	}
}

// confirm asks what the chain says of a message when it is as deep as the operator wants it.
func (r *recovery) confirm(ctx workflow.Context, settled post.MessageSettled) (receipt Receipt, err error) {
	for target := settled.Landed + r.settings.Confidence; r.head < target; {
		if away := post.Until(r.epoch(ctx), target-1, r.epochs); away > 0 {
			if err := sleep(ctx, away, fmt.Sprintf("until epoch %d", target-1)); err != nil {
				return receipt, err
			}
		}
		var head abi.ChainEpoch
		in := AwaitInput{Target: target, EpochDuration: r.epochs}
		if err := run(policyAwaitEpoch.apply(ctx, 0, fmt.Sprintf("epoch %d", target)), ActivityAwaitEpoch, &head, in); err != nil {
			return receipt, err
		}
		r.saw(ctx, head)
	}
	err = run(policyChainRead.apply(ctx, 0, settled.ID), ActivityConfirmMessage, &receipt, ConfirmInput{Message: settled.Message})
	return receipt, err
}
