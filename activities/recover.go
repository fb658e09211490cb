package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/dline"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// RecoveryNode is what looking after faulty sectors takes from a node.
type RecoveryNode interface {
	ChainHead(context.Context) (*chain.TipSet, error)
	StateMinerFaults(context.Context, address.Address, chain.TipSetKey) (bitfield.BitField, error)
	StateMinerProvingDeadline(context.Context, address.Address, chain.TipSetKey) (*dline.Info, error)
	StateMinerPartitions(context.Context, address.Address, uint64, chain.TipSetKey) ([]chain.Partition, error)
	StateMinerInfo(context.Context, address.Address, chain.TipSetKey) (chain.MinerInfo, error)
	StateMinerFunds(context.Context, address.Address, chain.TipSetKey) (chain.MinerFunds, error)
	EpochDuration(context.Context) (time.Duration, error)
}

// Describer tells of workflows.
type Describer interface {
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
}

// Recoveries reads faulty sectors from a node and builds the messages that declare them recovered.
type Recoveries struct {
	Node     RecoveryNode
	Chain    *Chain // reads sectors, and chooses who sends
	Temporal Describer
}

// ReadFaults says which of a miner's sectors are faulty and could be declared recovered. A miner without faulty sectors costs three calls.
// What is done for a miner, and whether anything is, stands in its own workflow.
func (r *Recoveries) ReadFaults(ctx context.Context, id abi.ActorID) (post.Faults, error) {
	state, idle, err := r.minerState(ctx, id)
	if err != nil || idle != "" {
		return post.Faults{Idle: idle, Gone: state.Removed != "", Settings: state.Settings, EpochDuration: state.Settings.EpochDuration}, err
	}
	fail := func(err error) (post.Faults, error) {
		return post.Faults{}, fmt.Errorf("reading the faulty sectors of %s: %w", post.MinerName(id), err)
	}
	miner, err := chain.MinerAddress(id)
	if err != nil {
		return fail(err)
	}
	head, err := r.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	faults := post.Faults{Head: head.Height, Settings: state.Settings, EpochDuration: state.Settings.EpochDuration}
	if faults.EpochDuration == 0 {
		if faults.EpochDuration, err = r.Node.EpochDuration(ctx); err != nil {
			return fail(err)
		}
	}
	all, err := r.Node.StateMinerFaults(ctx, miner, head.Key())
	if errors.Is(err, chain.ErrNoActor) {
		return post.Faults{}, temporal.NewNonRetryableApplicationError("the chain has no miner actor "+post.MinerName(id), workflows.ErrorNoSuchMiner, err)
	}
	if err != nil {
		return fail(err)
	}
	if empty, err := all.IsEmpty(); err != nil || empty {
		return faults, err
	}
	if err := r.readDeadlines(ctx, id, miner, head, &faults); err != nil {
		return fail(err)
	}
	return faults, nil
}

// minerState is what a miner's workflow says of it, and why nothing is to be done for it.
func (r *Recoveries) minerState(ctx context.Context, id abi.ActorID) (state workflows.MinerState, idle string, err error) {
	described, err := r.Temporal.DescribeWorkflowExecution(ctx, workflows.MinerWorkflowID(id), "")
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &gone):
		return state, "no workflow watches the miner", nil
	case err != nil:
		return state, "", fmt.Errorf("asking Temporal about workflow %s: %w", workflows.MinerWorkflowID(id), err)
	}
	info := described.GetWorkflowExecutionInfo()
	payload := info.GetMemo().GetFields()[workflows.MemoMiner]
	if payload != nil {
		if err := converter.GetDefaultDataConverter().FromPayload(payload, &state); err != nil {
			return state, "", fmt.Errorf("reading the memo of workflow %s: %w", workflows.MinerWorkflowID(id), err)
		}
	}
	status := info.GetStatus()
	switch {
	case state.Removed != "":
		return state, fmt.Sprintf("the miner is removed (%s)", state.Removed), nil
	case state.Paused != "": // its sectors would not be proven in the next deadline
		return state, fmt.Sprintf("the miner is paused (%s)", state.Paused), nil
	case status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING && status != enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, payload == nil:
		return state, "no workflow watches the miner", nil
	}
	return state, "", nil
}

// faultsCarried bounds the sectors that one look tells of, so that it fits into a payload: the others come when these are done with.
const faultsCarried = 100_000

// readDeadlines reads which deadlines the faulty sectors are in.
func (r *Recoveries) readDeadlines(ctx context.Context, id abi.ActorID, miner address.Address, head *chain.TipSet, faults *post.Faults) error {
	info, err := r.Node.StateMinerInfo(ctx, miner, head.Key())
	if err != nil {
		return err
	}
	faults.ProofType = info.WindowPoStProofType
	if faults.Blocked, err = r.obstacle(ctx, miner, info, head); err != nil {
		return err
	}
	di, err := r.Node.StateMinerProvingDeadline(ctx, miner, head.Key())
	if err != nil {
		return err
	}
	faults.Period = di.WPoStProvingPeriod
	windows, passed := post.RecoveryWindows(id, di)
	faults.Passed = passed
	read := make([]post.FaultyDeadline, len(windows))
	faulty := make([]int, len(windows)+len(passed))
	recovering := make([]int, len(windows)+len(passed))
	err = SideBySide(len(windows)+len(passed), func(i int) (err error) {
		d := post.FaultyDeadline{}
		if i < len(windows) {
			d.RecoveryWindow = windows[i]
		} else {
			d.Deadline.Index = passed[i-len(windows)]
		}
		faulty[i], err = r.readDeadline(ctx, miner, head, &d)
		if recovering[i] = d.Recovering; i < len(windows) {
			read[i] = d
		}
		return err
	})
	if err != nil {
		return err
	}
	carried := 0
	for i := range faulty {
		faults.Faulty += faulty[i]
		faults.Recovering += recovering[i]
		if i >= len(windows) || len(read[i].Partitions) == 0 {
			continue
		}
		if carried += faulty[i] - recovering[i]; carried > faultsCarried && len(faults.Deadlines) > 0 {
			faults.Cut = true
			continue
		}
		faults.Deadlines = append(faults.Deadlines, read[i])
	}
	return nil
}

// readDeadline reads the faulty sectors of one deadline, and counts them.
func (r *Recoveries) readDeadline(ctx context.Context, miner address.Address, head *chain.TipSet, d *post.FaultyDeadline) (faulty int, err error) {
	partitions, err := r.Node.StateMinerPartitions(ctx, miner, d.Deadline.Index, head.Key())
	if err != nil {
		return 0, err
	}
	for i, p := range partitions {
		bad, recovering, err := faultyIn(p)
		if err != nil {
			return 0, fmt.Errorf("deadline %d, partition %d: %w", d.Deadline.Index, i, err)
		}
		faulty += len(bad) + recovering
		d.Recovering += recovering
		if len(bad) > 0 {
			d.Partitions = append(d.Partitions, post.FaultyPartition{Index: uint64(i), Sectors: bad})
		}
	}
	return faulty, nil
}

// faultyIn are a partition's faulty sectors that are not declared recovered, and how many are.
func faultyIn(p chain.Partition) (bad post.Numbers, recovering int, err error) {
	faulty, err := numbersIn(p.FaultySectors)
	if err != nil {
		return nil, 0, err
	}
	declared, err := numbersIn(p.RecoveringSectors)
	if err != nil {
		return nil, 0, err
	}
	return post.Numbers(faulty).Minus(declared), len(declared), nil
}

// obstacle is why the actor would take no recoveries.
func (r *Recoveries) obstacle(ctx context.Context, miner address.Address, info chain.MinerInfo, head *chain.TipSet) (none post.RecoveryObstacle, err error) {
	if head.Height <= info.ConsensusFaultElapsed {
		return post.RecoveryObstacle{Until: info.ConsensusFaultElapsed}, nil
	}
	funds, err := r.Node.StateMinerFunds(ctx, miner, head.Key())
	if err != nil {
		return none, err
	}
	if owed := funds.Owed(); owed.Sign() > 0 {
		return post.RecoveryObstacle{Owed: post.Atto(owed.String())}, nil
	}
	return none, nil
}

// ensureRecoveryEvery is how often is made sure that a miner's faulty sectors are looked after: an operator may have terminated that workflow.
const ensureRecoveryEvery = time.Minute

// ensureRecovery makes sure that somebody looks after the miner's faulty sectors.
func (l *watching) ensureRecovery(ctx context.Context) error {
	if time.Since(l.ensured) < ensureRecoveryEvery {
		return nil
	}
	id := workflows.RecoveryWorkflowID(l.in.Miner)
	_, err := l.Temporal.ExecuteWorkflow(ctx, workflows.RecoveryOptions(l.in.Miner), workflows.NameRecoveryWorkflow, post.RecoveryBook{Miner: l.in.Miner})
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	if err != nil && !errors.As(err, &already) {
		return fmt.Errorf("starting workflow %s: %w", id, err)
	}
	l.ensured = time.Now()
	return nil
}

// recoveryOf is what a RecoveryWorkflow shows of its miner; false: it is another's, or has shown nothing yet.
func recoveryOf(info *workflowpb.WorkflowExecutionInfo) (s post.RecoveryState, ok bool) {
	payload := info.GetMemo().GetFields()[workflows.MemoRecovery]
	if payload == nil {
		return s, false
	}
	return s, converter.GetDefaultDataConverter().FromPayload(payload, &s) == nil
}

// ReadSectors reads sectors by number: those of them that the miner has.
func (r *Recoveries) ReadSectors(ctx context.Context, in workflows.ReadSectorsInput) (post.Sectors, error) {
	fail := func(err error) (post.Sectors, error) {
		return nil, fmt.Errorf("reading %s of %s: %w", post.Count(len(in.Sectors), "sector"), post.MinerName(in.Miner), err)
	}
	miner, err := chain.MinerAddress(in.Miner)
	if err != nil {
		return fail(err)
	}
	head, err := r.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	set := bitfield.New()
	for _, n := range in.Sectors {
		set.Set(uint64(n))
	}
	sectors, err := r.Chain.sectors(ctx, miner, set, head.Key())
	if err != nil {
		return fail(err)
	}
	return sectors, nil
}

// BuildRecovery makes the message that declares sectors recovered: those that are faulty and not declared at the head of now.
func (r *Recoveries) BuildRecovery(ctx context.Context, in workflows.RecoveryInput) (workflows.BuiltRecovery, error) {
	d := in.Window.Deadline
	fail := func(err error) (workflows.BuiltRecovery, error) {
		return workflows.BuiltRecovery{}, fmt.Errorf("building the recovery of sectors of deadline %s: %w", d, err)
	}
	miner, err := chain.MinerAddress(d.Miner)
	if err != nil {
		return fail(err)
	}
	head, err := r.Node.ChainHead(ctx)
	if err != nil {
		return fail(err)
	}
	built := workflows.BuiltRecovery{Head: head.Height, Late: head.Height+post.RecoverMargin >= in.Window.Cutoff}
	if built.Late {
		return built, nil
	}
	partitions, err := r.Node.StateMinerPartitions(ctx, miner, d.Index, head.Key())
	if err != nil {
		return fail(err)
	}
	var declared []chain.RecoveredPartition
	for _, p := range in.Partitions {
		if p.Index >= uint64(len(partitions)) {
			continue // the deadline's partitions were compacted: the next look has others
		}
		bad, _, err := faultyIn(partitions[p.Index])
		if err != nil {
			return fail(err)
		}
		if still := p.Sectors.And(bad); len(still) > 0 {
			built.Partitions = append(built.Partitions, post.FaultyPartition{Index: p.Index, Sectors: still})
			declared = append(declared, chain.RecoveredPartition{Deadline: d.Index, Partition: p.Index, Sectors: still})
		}
	}
	if len(declared) == 0 {
		return built, nil
	}
	info, err := r.Node.StateMinerInfo(ctx, miner, head.Key())
	if err != nil {
		return fail(err)
	}
	from, err := r.Chain.sender(ctx, in.Sender, in.Fees, info, head.Key())
	if err != nil {
		return fail(err)
	}
	if built.Params, err = chain.RecoveryParams(declared); err != nil {
		return fail(err)
	}
	built.From, built.To, built.Method = from.String(), miner.String(), uint64(chain.MethodDeclareFaultsRecovered)
	return built, nil
}
