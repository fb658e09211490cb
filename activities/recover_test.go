package activities_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-bitfield"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/builtin/v16/miner"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// recovering is a node with a miner actor's faults and funds: sector 2 is faulty in deadline 0, 3 recovers there. At epoch 112, in the period
// from 100, the cutoff of deadline 2 (Open 120) is 113, that of 3 is 123, and those of 0 and 1 in the next period are 133 and 143.
type recovering struct {
	*node
	funds  chain.MinerFunds
	unread error
}

func (n *recovering) StateMinerFaults(context.Context, address.Address, chain.TipSetKey) (bitfield.BitField, error) {
	var all []bitfield.BitField
	for _, partitions := range n.partitions {
		for _, p := range partitions {
			all = append(all, p.FaultySectors)
		}
	}
	faulty, err := bitfield.MultiMerge(all...)
	if n.unread != nil {
		err = n.unread
	}
	return faulty, err
}

func (n *recovering) StateMinerFunds(context.Context, address.Address, chain.TipSetKey) (chain.MinerFunds, error) {
	return n.funds, n.failing("StateMinerFunds")
}

// described is a Temporal with one workflow.
type described struct {
	status enums.WorkflowExecutionStatus
	state  *workflows.MinerState
	err    error
}

func (d described) DescribeWorkflowExecution(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	info := &workflowpb.WorkflowExecutionInfo{Status: d.status}
	if d.state != nil {
		info.Memo = memo(workflows.MemoMiner, *d.state)
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: info}, d.err
}

func newRecoveries(t *testing.T) (*activities.Recoveries, *recovering) {
	n := &recovering{node: newNode(t), funds: chain.MinerFunds{Balance: big.NewInt(10), Bound: big.NewInt(4), FeeDebt: big.NewInt(6)}}
	n.info.ConsensusFaultElapsed = -1
	state := &workflows.MinerState{WatchInput: workflows.WatchInput{Miner: 1000, Settings: post.Settings{Confidence: 9}}}
	return &activities.Recoveries{Node: n, Chain: &activities.Chain{Node: n.node}, Temporal: described{status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING, state: state}}, n
}

func TestReadFaults(t *testing.T) {
	window := func(index uint64, open abi.ChainEpoch) post.RecoveryWindow {
		start := open - abi.ChainEpoch(10*index)
		return post.RecoveryWindow{Deadline: post.Deadline{Miner: 1000, Index: index, PeriodStart: start, Challenge: open - 5, Open: open, Close: open + 10}, Cutoff: open - 7}
	}
	r, n := newRecoveries(t)
	last := healthy(8, 9)
	last.FaultySectors = set(9)
	n.partitions[3] = []chain.Partition{last}
	second := healthy(5, 6)
	second.FaultySectors = set(6)
	n.partitions[2][0] = second
	faults, err := r.ReadFaults(t.Context(), 1000)
	require.NoError(t, err)
	require.Equal(t, post.Faults{
		Head: 112, EpochDuration: 30 * time.Second, Period: 40, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Settings: post.Settings{Confidence: 9},
		Faulty: 4, Recovering: 1, Passed: []uint64{1, 2},
		Deadlines: []post.FaultyDeadline{
			{RecoveryWindow: window(3, 130), Partitions: []post.FaultyPartition{{Index: 0, Sectors: post.Numbers{9}}}},
			{RecoveryWindow: window(0, 140), Recovering: 1, Partitions: []post.FaultyPartition{{Index: 0, Sectors: post.Numbers{2}}}},
		},
	}, faults)
	for _, method := range []string{"ChainHead", "EpochDuration", "StateMinerInfo", "StateMinerFunds", "StateMinerProvingDeadline", "StateMinerPartitions 2"} {
		r, n := newRecoveries(t)
		n.fails(method, errAway)
		_, err := r.ReadFaults(t.Context(), 1000)
		require.ErrorIs(t, err, chain.ErrUnreachable, method)
		retried(t, err)
	}
}

func TestAMinerWithoutFaultsCostsLittle(t *testing.T) {
	r, n := newRecoveries(t)
	n.partitions[0] = []chain.Partition{healthy(1, 2)}
	before := n.calls()
	faults, err := r.ReadFaults(t.Context(), 1000)
	require.NoError(t, err)
	require.Equal(t, post.Faults{Head: 112, EpochDuration: 30 * time.Second, Settings: post.Settings{Confidence: 9}}, faults)
	require.Equal(t, 2, n.calls()-before, "the head, an epoch's length, and the faults, which this fake does not count")
}

func TestObstaclesToRecovery(t *testing.T) {
	for situation, c := range map[string]struct {
		change func(*recovering)
		want   post.RecoveryObstacle
	}{
		"a debt that the actor pays itself": {func(*recovering) {}, post.RecoveryObstacle{}},
		"a debt beyond that":                {func(n *recovering) { n.funds.FeeDebt = big.NewInt(8) }, post.RecoveryObstacle{Owed: "2"}},
		"a consensus fault":                 {func(n *recovering) { n.info.ConsensusFaultElapsed = 112 }, post.RecoveryObstacle{Until: 112}},
		"a consensus fault that is over":    {func(n *recovering) { n.info.ConsensusFaultElapsed = 111 }, post.RecoveryObstacle{}},
	} {
		t.Run(situation, func(t *testing.T) {
			r, n := newRecoveries(t)
			c.change(n)
			faults, err := r.ReadFaults(t.Context(), 1000)
			require.NoError(t, err)
			require.Equal(t, c.want, faults.Blocked)
			require.Equal(t, 2, faults.Faulty, "they are counted all the same")
		})
	}
}

func TestFaultsOfAMinerThatIsNotWatched(t *testing.T) {
	const up = enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	for situation, c := range map[string]struct {
		is   described
		idle string
		gone bool
	}{
		"paused":                   {described{status: up, state: &workflows.MinerState{Paused: "moving racks"}}, "the miner is paused (moving racks)", false},
		"removed":                  {described{status: up, state: &workflows.MinerState{Removed: "sold"}}, "the miner is removed (sold)", true},
		"terminated":               {described{status: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, state: &workflows.MinerState{}}, "no workflow watches the miner", false},
		"it has shown nothing yet": {described{status: up}, "no workflow watches the miner", false},
		"Temporal knows of none":   {described{err: serviceerror.NewNotFound("gone")}, "no workflow watches the miner", false},
	} {
		t.Run(situation, func(t *testing.T) {
			r, n := newRecoveries(t)
			r.Temporal = c.is
			faults, err := r.ReadFaults(t.Context(), 1000)
			require.NoError(t, err)
			require.Equal(t, c.idle, faults.Idle)
			require.Equal(t, c.gone, faults.Gone)
			require.Zero(t, n.calls(), "the node is not asked")
		})
	}
	r, _ := newRecoveries(t)
	r.Temporal = described{err: serviceerror.NewUnavailable("busy")}
	_, err := r.ReadFaults(t.Context(), 1000)
	retried(t, err)
}

func TestFaultsOfAMinerThatDoesNotExist(t *testing.T) {
	r, n := newRecoveries(t)
	n.unread = fmt.Errorf("StateMinerFaults: %w", chain.ErrNoActor)
	_, err := r.ReadFaults(t.Context(), 1000)
	require.ErrorContains(t, err, "the chain has no miner actor f01000")
}

func TestReadSectorsByNumber(t *testing.T) {
	r, _ := newRecoveries(t)
	sectors, err := r.ReadSectors(t.Context(), workflows.ReadSectorsInput{Miner: 1000, Sectors: post.Numbers{2, 4}})
	require.NoError(t, err)
	require.Equal(t, []abi.SectorNumber{2, 4}, sectors.Numbers())
	require.True(t, sectors[1].Upgraded)
	require.EqualValues(t, 4, sectors[1].CommR[31])
	_, err = r.ReadSectors(t.Context(), workflows.ReadSectorsInput{Miner: 1000, Sectors: post.Numbers{2, 77}})
	require.ErrorContains(t, err, "reading 2 sectors of f01000: the node gave 1 sectors instead of 2")
}

func TestBuildRecovery(t *testing.T) {
	in := workflows.RecoveryInput{
		Window:     post.RecoveryWindow{Deadline: post.Deadline{Miner: 1000, Index: 0, PeriodStart: 140}, Cutoff: 133},
		Partitions: []post.FaultyPartition{{Index: 0, Sectors: post.Numbers{1, 2, 3}}, {Index: 5, Sectors: post.Numbers{9}}},
	}
	r, _ := newRecoveries(t)
	built, err := r.BuildRecovery(t.Context(), in)
	require.NoError(t, err)
	require.EqualValues(t, 11, built.Method)
	require.Equal(t, "f01000", built.To)
	require.Equal(t, keyAddress("worker").String(), built.From)
	require.Equal(t, []post.FaultyPartition{{Index: 0, Sectors: post.Numbers{2}}}, built.Partitions, "1 is healthy, 3 is declared already, and there is no partition 5")
	var params miner.DeclareFaultsRecoveredParams
	require.NoError(t, params.UnmarshalCBOR(bytes.NewReader(built.Params)))
	require.Len(t, params.Recoveries, 1)
	require.Zero(t, params.Recoveries[0].Deadline)

	t.Run("nothing is left to be declared", func(t *testing.T) {
		in := in
		in.Partitions = []post.FaultyPartition{{Index: 0, Sectors: post.Numbers{3}}}
		built, err := r.BuildRecovery(t.Context(), in)
		require.NoError(t, err)
		require.Equal(t, workflows.BuiltRecovery{Head: 112}, built)
	})
	t.Run("the cutoff is too near for a message to land", func(t *testing.T) {
		in := in
		in.Window.Cutoff = 112 + post.RecoverMargin
		built, err := r.BuildRecovery(t.Context(), in)
		require.NoError(t, err)
		require.Equal(t, workflows.BuiltRecovery{Head: 112, Late: true}, built)
	})
	for _, method := range []string{"ChainHead", "StateMinerPartitions", "StateMinerInfo", "StateAccountKey"} {
		r, n := newRecoveries(t)
		n.fails(method, errAway)
		_, err := r.BuildRecovery(t.Context(), in)
		require.ErrorIs(t, err, chain.ErrUnreachable, method)
		require.ErrorContains(t, err, "building the recovery of sectors of deadline f01000/0", method)
		retried(t, err)
	}
}

// Whoever watches a miner's deadlines sees to it that somebody looks after its faulty sectors.
func TestAWatchedMinerHasItsFaultsLookedAfter(t *testing.T) {
	s := newStarter()
	r := watch(t, newNode(t), s)
	r.through(101, 120)
	require.NoError(t, r.finish())
	require.Equal(t, []post.RecoveryBook{{Miner: 1000}}, s.recoveries, "once a minute, not at every head")
}
