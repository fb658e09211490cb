package activities_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// deadlineOf is a deadline of node's miner in the period from epoch 100.
func deadlineOf(index uint64) post.Deadline {
	open := abi.ChainEpoch(100 + 10*index)
	return post.Deadline{Miner: 1000, Index: index, PeriodStart: 100, Challenge: open - 5, Open: open, Close: open + 10}
}

var errAway = fmt.Errorf("ChainHead on http://127.0.0.1:1234: %w", chain.ErrUnreachable)

// retried checks that Temporal tries an activity again after an error.
func retried(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	var final *temporal.ApplicationError
	assert.False(t, errors.As(err, &final) && final.NonRetryable(), "%v is final", err)
}

func TestLoadDeadline(t *testing.T) {
	n := newNode(t)
	c := activities.Chain{Node: n}
	load := func(index uint64) post.Loaded {
		loaded, err := c.LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(index)})
		require.NoError(t, err)
		return loaded
	}
	assert.Equal(t, post.Loaded{
		Head: 112, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Sender: keyAddress("worker").String(),
		Partitions: []post.Partition{{Index: 0, Live: 4, Faulty: 2, Recovering: 1, ToProve: 3}},
	}, load(0))
	assert.Empty(t, load(1).Partitions)
	assert.Equal(t, []post.Partition{{Index: 0, Live: 2, ToProve: 2}, {Index: 1, Live: 1, ToProve: 1, Posted: true}}, load(2).Partitions)

	_, err := c.LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(17)})
	require.ErrorContains(t, err, "loading deadline f01000/17: the miner has 4 deadlines")
	for _, method := range []string{"ChainHead", "StateMinerInfo", "StateAccountKey", "StateMinerPartitions", "StateMinerDeadlines"} {
		n := newNode(t)
		n.fails(method, errAway)
		c := activities.Chain{Node: n}
		_, err := c.LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(0)})
		require.ErrorIs(t, err, chain.ErrUnreachable, method)
		require.ErrorContains(t, err, "loading deadline f01000/0", method)
		retried(t, err)
	}
}

// Somebody tries out a deadline of a young chain whose last window was before the chain began, or began before it.
func TestLoadADeadlineFromBeforeTheChainBegan(t *testing.T) {
	for _, d := range []post.Deadline{
		{Miner: 1000, Index: 2, PeriodStart: -100, Challenge: -85, Open: -80, Close: -70},
		{Miner: 1000, Index: 2, PeriodStart: -28, Challenge: -13, Open: -8, Close: 2},
	} {
		n := newNode(t)
		n.height = 3
		loaded, err := (&activities.Chain{Node: n}).LoadDeadline(t.Context(), workflows.LoadInput{Deadline: d})
		require.NoError(t, err)
		require.Len(t, loaded.Partitions, 2)
	}
}

// An operator resets a workflow to the beginning when its deadline, from epoch 120 to 130, is over or all but over.
func TestLoadAClosedDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		head, cleared abi.ChainEpoch
		null          []abi.ChainEpoch
		posted        bool
	}{
		"in its last epoch, whose state has lost the posts":        {head: 129, cleared: 129, posted: true},
		"long after, on a node that clears them in the last epoch": {head: 180, cleared: 129, posted: true},
		"long after, on a node that clears them at Close":          {head: 180, cleared: 130, posted: true},
		"after a last epoch without a tipset":                      {head: 180, cleared: 130, null: []abi.ChainEpoch{129}, posted: true},
		"after three last epochs without a tipset":                 {head: 180, cleared: 129, null: []abi.ChainEpoch{127, 128, 129}, posted: true},
		"never posted": {head: 180, cleared: 100},
		"after a window without any tipset, of which nobody knows more": {head: 130, cleared: 130, null: []abi.ChainEpoch{120, 121, 122, 123, 124, 125, 126, 127, 128, 129}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.height, n.cleared, n.null = c.head, c.cleared, map[abi.ChainEpoch]bool{}
			for _, epoch := range c.null {
				n.null[epoch] = true
			}
			loaded, err := (&activities.Chain{Node: n}).LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(2)})
			require.NoError(t, err)
			assert.Equal(t, c.head, loaded.Head)
			assert.Equal(t, []post.Partition{{Index: 0, Live: 2, ToProve: 2}, {Index: 1, Live: 1, ToProve: 1, Posted: c.posted}}, loaded.Partitions)
		})
	}
	n := newNode(t)
	n.height = 130
	n.fails("ChainGetTipSetAfterHeight", errAway)
	_, err := (&activities.Chain{Node: n}).LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(2)})
	retried(t, err)
}

func TestSender(t *testing.T) {
	for name, c := range map[string]struct {
		configured string
		want       address.Address
		say        string
	}{
		"none: the worker":                        {"", keyAddress("worker"), ""},
		"a control address by its key":            {keyAddress("control1").String(), keyAddress("control1"), ""},
		"a control address by its ID":             {idAddress(102).String(), keyAddress("control0"), ""},
		"the worker, named":                       {keyAddress("worker").String(), keyAddress("worker"), ""},
		"a stranger, and the owner is a multisig": {keyAddress("stranger").String(), address.Undef, "is not a worker, control or owner address of the miner; choose one of those in posthaste.toml"},
		"the multisig itself":                     {idAddress(99).String(), address.Undef, "is not a worker"},
		"no address":                              {"mallory", address.Undef, `sender "mallory" is not an address`},
	} {
		t.Run(name, func(t *testing.T) {
			chain := activities.Chain{Node: newNode(t)}
			loaded, err := chain.LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(0), Sender: c.configured})
			if c.say != "" {
				require.ErrorContains(t, err, c.say)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want.String(), loaded.Sender)
		})
	}
	t.Run("chosen", func(t *testing.T) {
		fil := func(n int64) map[address.Address]int64 {
			return map[address.Address]int64{keyAddress("control0"): n, keyAddress("control1"): 4, keyAddress("worker"): 4}
		}
		for name, c := range map[string]struct {
			balances map[address.Address]int64
			without  []string // keys
			want     string
		}{
			"the first control address":                           {nil, nil, "control0"},
			"its key is elsewhere":                                {nil, []string{"control0"}, "control1"},
			"it cannot pay the highest fee":                       {map[address.Address]int64{keyAddress("control0"): 4}, nil, "control1"},
			"no control address can: the worker":                  {map[address.Address]int64{keyAddress("control0"): 4, keyAddress("control1"): 4}, nil, "worker"},
			"nobody can: the richest":                             {fil(3), nil, "control1"},
			"nobody can: the richest is the first":                {fil(4), nil, "control0"},
			"no key at all: the worker, which says so on signing": {nil, []string{"control0", "control1", "worker"}, "worker"},
		} {
			t.Run(name, func(t *testing.T) {
				n := newNode(t)
				n.balances, n.without = c.balances, map[address.Address]bool{}
				for _, key := range c.without {
					n.without[keyAddress(key)] = true
				}
				loaded, err := (&activities.Chain{Node: n}).LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(0), Fees: post.DefaultFees()})
				require.NoError(t, err)
				assert.Equal(t, keyAddress(c.want).String(), loaded.Sender)
			})
		}
		t.Run("whoever has sent a post of the deadline already", func(t *testing.T) {
			n := newNode(t)
			d := deadlineOf(1)
			n.height = d.Open + 2
			params, err := chain.PostParams(chain.Post{Deadline: d.Index, Partitions: []chain.PostPartition{{Index: 0}}, ProofType: n.info.WindowPoStProofType,
				Proof: []byte{1}, CommitEpoch: d.Challenge, CommitRandomness: n.commit})
			require.NoError(t, err)
			n.pending = []*chain.SignedMessage{{Message: chain.Message{From: keyAddress("stranger"), To: idAddress(1000), Method: 5, Params: params}},
				{Message: chain.Message{From: keyAddress("control1"), To: idAddress(1000), Method: 5, Params: params}}}
			load := func(d post.Deadline) string {
				loaded, err := (&activities.Chain{Node: n}).LoadDeadline(t.Context(), workflows.LoadInput{Deadline: d, Fees: post.DefaultFees()})
				require.NoError(t, err)
				return loaded.Sender
			}
			assert.Equal(t, keyAddress("control1").String(), load(d))
			d.Challenge += 40
			assert.Equal(t, keyAddress("control0").String(), load(d), "a post of another period")
		})
		t.Run("the node is away", func(t *testing.T) {
			for _, method := range []string{"WalletHas", "StateGetActor"} {
				n := newNode(t)
				n.fails(method, errAway)
				_, err := (&activities.Chain{Node: n}).LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(0), Fees: post.DefaultFees()})
				retried(t, err)
			}
		})
	})
	t.Run("a control address without a key before the right one", func(t *testing.T) {
		n := newNode(t)
		delete(n.keys, idAddress(102))
		c := activities.Chain{Node: n}
		loaded, err := c.LoadDeadline(t.Context(), workflows.LoadInput{Deadline: deadlineOf(0), Sender: keyAddress("control1").String()})
		require.NoError(t, err)
		assert.Equal(t, keyAddress("control1").String(), loaded.Sender)
	})
}

func TestLoadPartition(t *testing.T) {
	n := newNode(t)
	c := activities.Chain{Node: n}
	load := func(deadline, partition uint64) (post.Sectors, error) {
		return c.LoadPartition(t.Context(), workflows.PartitionInput{Deadline: deadlineOf(deadline), Partition: partition})
	}
	commR := func(last byte) [32]byte { return [32]byte(append(make([]byte, 31), last)) }
	sectors, err := load(0, 0)
	require.NoError(t, err)
	assert.Equal(t, post.Sectors{{Number: 1, CommR: commR(1)}, {Number: 3, CommR: commR(3)}, {Number: 4, CommR: commR(4), Upgraded: true}}, sectors,
		"in order, without the faulty one, with the recovering one")

	_, err = load(2, 2)
	require.ErrorContains(t, err, "loading the sectors of partition 2 of deadline f01000/2: the deadline has 2 partitions")
	sealed := n.sectors[7].SealedCID
	n.sectors[7].SealedCID = newCid("no commitment")
	_, err = load(2, 1)
	require.ErrorContains(t, err, "sealed CID of sector 7")
	n.sectors[7].SealedCID = sealed
	delete(n.sectors, 8)
	_, err = load(3, 0)
	require.ErrorContains(t, err, "the node gave 1 sectors instead of 2", "a proof without it would be false")
	for _, method := range []string{"ChainHead", "StateMinerPartitions", "StateMinerSectors"} {
		n.fails(method, errAway)
		_, err = load(0, 0)
		retried(t, err)
		require.ErrorContains(t, err, "partition 0 of deadline f01000/0", method)
		n.fails(method, nil)
	}
}

func TestChallengeRandomness(t *testing.T) {
	n := newNode(t)
	c := activities.Chain{Node: n}
	got, err := c.ChallengeRandomness(t.Context(), deadlineOf(2))
	require.NoError(t, err)
	assert.Equal(t, n.challenge, got)
	n.challenge = n.challenge[:31]
	_, err = c.ChallengeRandomness(t.Context(), deadlineOf(2))
	require.ErrorContains(t, err, "deadline f01000/2 at epoch 115: the node gave 31 bytes instead of 32")
	n.fails("ChallengeRandomness", errAway)
	_, err = c.ChallengeRandomness(t.Context(), deadlineOf(2))
	retried(t, err)
}

func TestBuildPost(t *testing.T) {
	build := func(n *node, partitions ...uint64) (workflows.BuiltPost, error) {
		c := activities.Chain{Node: n}
		in := workflows.BuildInput{
			Deadline: deadlineOf(2), Partitions: partitions, Randomness: append([]byte{1}, make([]byte, 31)...),
			Proof:   post.Proof{ProofType: n.info.WindowPoStProofType, Bytes: []byte("proof")},
			Skipped: []post.Skipped{{Sector: 6, Reason: "bad"}},
		}
		return c.BuildPost(t.Context(), in)
	}
	at := func(height abi.ChainEpoch) *node {
		n := newNode(t)
		n.height = height
		return n
	}

	t.Run("a post with a skipped sector", func(t *testing.T) {
		built, err := build(at(121), 0)
		require.NoError(t, err)
		assert.False(t, built.Posted)
		assert.EqualValues(t, 5, built.Method)
		assert.Equal(t, idAddress(1000).String(), built.To)
		params, err := chain.ParsePostParams(built.Params)
		require.NoError(t, err)
		assert.EqualValues(t, 2, params.Deadline)
		assert.EqualValues(t, 115, params.ChainCommitEpoch, "the challenge epoch")
		assert.EqualValues(t, at(0).commit, params.ChainCommitRand)
		require.Len(t, params.Proofs, 1)
		assert.Equal(t, []byte("proof"), params.Proofs[0].ProofBytes)
		require.Len(t, params.Partitions, 1)
		assert.EqualValues(t, 0, params.Partitions[0].Index)
		skipped, err := params.Partitions[0].Skipped.All(10)
		require.NoError(t, err)
		assert.Equal(t, []uint64{6}, skipped)
	})
	for name, c := range map[string]struct {
		height     abi.ChainEpoch
		partitions []uint64
		change     func(*node)
		posted     bool
		kind       string // of the final error
	}{
		"posted already":                            {121, []uint64{1}, nil, true, ""},
		"before Open, what is kept is of before":    {119, []uint64{1}, nil, false, ""},
		"the last head whose successor may take it": {128, []uint64{0}, nil, false, ""},
		"one epoch too late":                        {129, []uint64{0}, nil, false, workflows.ErrorRefused},
		"too late, but posted":                      {129, []uint64{1}, nil, true, ""},
		"after Close":                               {140, []uint64{0}, nil, false, workflows.ErrorRefused},
		"the challenge changed":                     {121, []uint64{0}, func(n *node) { n.challenge[31] = 9 }, false, workflows.ErrorRandomnessChanged},
		"changed, but posted":                       {121, []uint64{1}, func(n *node) { n.challenge[31] = 9 }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := at(c.height)
			if c.change != nil {
				c.change(n)
			}
			built, err := build(n, c.partitions...)
			if c.kind != "" {
				final := application(t, err)
				assert.Equal(t, c.kind, final.Type())
				assert.True(t, final.NonRetryable())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.posted, built.Posted)
			assert.Equal(t, c.posted, len(built.Params) == 0)
		})
	}
	t.Run("one of two is posted: no message, since its proof is of both", func(t *testing.T) {
		built, err := build(at(121), 0, 1)
		require.NoError(t, err)
		assert.Equal(t, workflows.BuiltPost{PostedOf: []uint64{1}, Head: 121}, built)
	})
	for _, method := range []string{"ChainHead", "StateMinerDeadlines", "ChallengeRandomness", "CommitRandomness"} {
		t.Run(method+" fails: tried again", func(t *testing.T) {
			n := at(121)
			n.fails(method, errAway)
			_, err := build(n, 0)
			retried(t, err)
			require.ErrorContains(t, err, "deadline f01000/2")
		})
	}
}

// A message of several partitions says of each what it skips: the chain refuses a skipped sector that is of another partition.
func TestBuildPostOfSeveralPartitions(t *testing.T) {
	n := newNode(t)
	n.height, n.deadlines[2].PostSubmissions = 121, set()
	n.partitions[2] = []chain.Partition{healthy(1, 5), healthy(2, 4), healthy(3, 6)}
	digest := func(numbers ...abi.SectorNumber) string { return post.SetDigest(numbers) }
	in := workflows.BuildInput{
		Deadline: deadlineOf(2), Partitions: []uint64{0, 1, 2}, Randomness: n.challenge, Proof: post.Proof{Bytes: []byte("proof")},
		SkippedOf: [][]abi.SectorNumber{{5}, nil, {3}}, Sets: []string{digest(1, 5), digest(2, 4), digest(3, 6)},
	}
	c := activities.Chain{Node: n}
	built, err := c.BuildPost(t.Context(), in)
	require.NoError(t, err)
	params, err := chain.ParsePostParams(built.Params)
	require.NoError(t, err)
	skipped := map[uint64][]uint64{}
	for _, p := range params.Partitions {
		skipped[p.Index], err = p.Skipped.All(10)
		require.NoError(t, err)
	}
	assert.Equal(t, map[uint64][]uint64{0: {5}, 1: {}, 2: {3}}, skipped)
}

// What was read of a node that was behind is not what the chain wants proven. It takes such a post, and somebody disputes it.
func TestBuildPostOfOtherSectorsThanTheChainWants(t *testing.T) {
	for name, change := range map[string]func(*node){
		"a sector was terminated":     func(n *node) { n.partitions[2][0].LiveSectors = set(5) },
		"a sector became faulty":      func(n *node) { n.partitions[2][0].FaultySectors = set(6) },
		"a sector came":               func(n *node) { n.partitions[2][0] = healthy(5, 6, 9) },
		"the partition was compacted": func(n *node) { n.partitions[2] = nil },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.height = 121
			in := workflows.BuildInput{Deadline: deadlineOf(2), Partitions: []uint64{0}, Randomness: n.challenge,
				Proof: post.Proof{Bytes: []byte("proof")}, Sets: []string{post.SetDigest([]abi.SectorNumber{5, 6})}}
			c := activities.Chain{Node: n}
			_, err := c.BuildPost(t.Context(), in)
			require.NoError(t, err, "before")
			change(n)
			_, err = c.BuildPost(t.Context(), in)
			final := application(t, err)
			assert.Equal(t, workflows.ErrorSectorsChanged, final.Type())
			assert.True(t, final.NonRetryable())
			require.ErrorContains(t, err, "partition 0 of deadline f01000/2")
			in.Sets = nil
			_, err = c.BuildPost(t.Context(), in)
			require.NoError(t, err, "asked for by a workflow from before")
			n.fails("StateMinerPartitions", errAway)
			in.Sets = []string{"x"}
			_, err = c.BuildPost(t.Context(), in)
			retried(t, err)
		})
	}
}

func TestConfirmMessage(t *testing.T) {
	n := newNode(t)
	c := activities.Chain{Node: n}
	message := newCid("message")
	confirm := func() (workflows.Receipt, error) {
		return c.ConfirmMessage(t.Context(), workflows.ConfirmInput{Message: message.String()})
	}
	receipt, err := confirm()
	require.NoError(t, err)
	assert.Equal(t, workflows.Receipt{Message: message.String()}, receipt, "not there, or not any more")

	n.landed[message] = &chain.MsgLookup{Message: message, Receipt: chain.MessageReceipt{ExitCode: 16}, TipSet: tipset(108).Cids, Height: 108}
	receipt, err = confirm()
	require.NoError(t, err)
	assert.Equal(t, workflows.Receipt{Found: true, Message: message.String(), Epoch: 107, ExitCode: 16}, receipt,
		"the epoch of the tipset that includes it, not of the one that executed it")

	for _, method := range []string{"ChainHead", "StateSearchMsg", "ChainGetTipSet"} {
		n.fails(method, errAway)
		_, err = confirm()
		retried(t, err)
		require.ErrorContains(t, err, message.String(), method)
		n.fails(method, nil)
	}
	_, err = c.ConfirmMessage(t.Context(), workflows.ConfirmInput{Message: "bafy"})
	require.ErrorContains(t, err, `confirming message "bafy"`)
}

func TestCheckDeadline(t *testing.T) {
	n := newNode(t)
	c := activities.Chain{Node: n}
	checked, err := c.CheckDeadline(t.Context(), deadlineOf(0))
	require.NoError(t, err)
	assert.Equal(t, map[uint64][]abi.SectorNumber{0: {2, 3}}, checked.Faulty)
	checked, err = c.CheckDeadline(t.Context(), deadlineOf(2))
	require.NoError(t, err)
	assert.Empty(t, checked.Faulty)
	assert.Equal(t, []uint64{1}, checked.Posted)
	n.height, n.cleared = 150, 129
	checked, err = c.CheckDeadline(t.Context(), deadlineOf(2))
	require.NoError(t, err)
	assert.Equal(t, []uint64{1}, checked.Posted, "before the chain cleared its posts")
	n.fails("ChainGetTipSetAfterHeight", errors.New("the state of epoch 129 was pruned"))
	checked, err = c.CheckDeadline(t.Context(), deadlineOf(2))
	require.NoError(t, err)
	assert.Empty(t, checked.Posted, "nobody knows any more")
	for _, method := range []string{"StateMinerPartitions", "ChainGetTipSetAfterHeight"} {
		n.fails(method, errAway)
		_, err = c.CheckDeadline(t.Context(), deadlineOf(2))
		retried(t, err)
	}
}

// heads is a follower whose head stands still.
type heads struct{ head *chain.TipSet }

func (h heads) WaitEpoch(ctx context.Context, epoch abi.ChainEpoch) (*chain.TipSet, error) {
	if h.head != nil && h.head.Height >= epoch {
		return h.head, nil
	}
	return nil, context.DeadlineExceeded // a test does not wait
}

func (h heads) Epoch() (abi.ChainEpoch, bool) {
	if h.head == nil {
		return 0, false
	}
	return h.head.Height, true
}

func TestAwaitEpoch(t *testing.T) {
	n := newNode(t)
	await := func(ctx context.Context, head *chain.TipSet) (abi.ChainEpoch, error) {
		c := activities.Chain{Node: n, Heads: heads{head}}
		return c.AwaitEpoch(ctx, workflows.AwaitInput{Target: 120, EpochDuration: time.Millisecond})
	}
	for name, c := range map[string]struct{ head, want abi.ChainEpoch }{
		"reached":                         {120, 120},
		"past it, over null rounds":       {123, 123},
		"not reached: where the chain is": {119, 119},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := await(t.Context(), tipset(c.head))
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	_, err := await(t.Context(), nil)
	require.ErrorContains(t, err, "waiting for epoch 120: no head of the chain has been seen yet")
	retried(t, err)
	n.fails("ChainHead", errAway)
	_, err = await(t.Context(), nil)
	require.ErrorIs(t, err, chain.ErrUnreachable, "it says why")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = await(cancelled, tipset(100))
	require.ErrorIs(t, err, context.Canceled)
}
