package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// standing is a head that does not move.
type standing abi.ChainEpoch

func (s standing) Epoch() (abi.ChainEpoch, bool) { return abi.ChainEpoch(s), true }

func (s standing) WaitEpoch(ctx context.Context, epoch abi.ChainEpoch) (*chain.TipSet, error) {
	if abi.ChainEpoch(s) < epoch {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return tipset(abi.ChainEpoch(s)), nil
}

// issueInput asks for posts of partitions of deadline 1, each with another proof. The node's head is at 112.
func issueInput(t *testing.T, n *node, partitions ...uint64) workflows.IssueInput {
	t.Helper()
	in := workflows.IssueInput{From: keyAddress("worker").String(), EpochDuration: 30 * time.Second}
	for i, p := range partitions {
		params, err := chain.PostParams(chain.Post{Deadline: 1, Partitions: []chain.PostPartition{{Index: p}}, ProofType: n.info.WindowPoStProofType,
			Proof: []byte{byte(i)}, CommitEpoch: 105, CommitRandomness: n.commit})
		require.NoError(t, err)
		r := theRequest()
		r.Fees, r.Params, r.Expires = post.DefaultFees(), params, 120
		in.Wanted = append(in.Wanted, workflows.Wanted{Request: r})
	}
	return in
}

func TestIssueMessages(t *testing.T) {
	n := newNode(t)
	n.nonces[keyAddress("worker")] = 7
	n.balances = map[address.Address]int64{keyAddress("worker"): 100}
	in := issueInput(t, n, 0, 1)
	in.Held = []post.Held{{Nonce: 7}}
	out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, abi.ChainEpoch(112), out.Head)
	require.Len(t, out.Messages, 2)
	for i, m := range out.Messages {
		require.Empty(t, m.Refused)
		assert.Equal(t, uint64(8+i), m.Nonce)
		assert.Equal(t, post.Gas{Limit: 5_000_000, FeeCap: "1000000000000", Premium: "100"}, m.Gas)
		var signed chain.SignedMessage
		require.NoError(t, json.Unmarshal(m.Signed.Bytes, &signed))
		assert.Equal(t, m.Nonce, signed.Message.Nonce)
		assert.Equal(t, in.Wanted[i].Request.Params, signed.Message.Params)
	}
	require.Empty(t, n.pushed)

	n.balances[keyAddress("worker")] = 8 // 5 FIL for the first
	out, err = (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, post.Atto("400000000000"), out.Messages[0].Gas.FeeCap, "a fourth of what there is")
	assert.Equal(t, post.Atto("300000000000"), out.Messages[1].Gas.FeeCap, "the first one counts")
}

func TestIssuedWithAQuote(t *testing.T) {
	n := newNode(t)
	in := issueInput(t, n, 0)
	quoted, err := (&activities.Messages{Node: n}).QuoteMessage(t.Context(), in.Wanted[0].Request)
	require.NoError(t, err)
	require.Equal(t, workflows.Quoted{Head: 112, Quote: post.Quote{GasUsed: 4_000_000, Premium: "100", FeeCap: "200"}}, quoted)
	n.fails("GasEstimateGasLimit", errors.New("it must not be asked"))
	n.fails("GasEstimateMessageGas", errors.New("it must not be asked"))
	in.Wanted[0].Quote = &quoted.Quote
	out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	require.Empty(t, out.Messages[0].Refused)
	assert.Equal(t, int64(5_000_000), out.Messages[0].Gas.Limit)

	n.fails("ChainHead", errAway)
	_, err = (&activities.Messages{Node: n}).QuoteMessage(t.Context(), in.Wanted[0].Request)
	retried(t, err)
}

func TestIssuedAtItsEpoch(t *testing.T) {
	n := newNode(t)
	in := issueInput(t, n, 0)
	in.NotBefore, in.EpochDuration = 112, time.Millisecond
	out, err := (&activities.Messages{Node: n, Heads: standing(112)}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	require.Len(t, out.Messages, 1)

	in.NotBefore = 113
	before := n.calls()
	out, err = (&activities.Messages{Node: n, Heads: standing(112)}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, workflows.Issued{Head: 112, Early: true}, out)
	require.Equal(t, before, n.calls(), "nothing is asked of the node while it waits")
}

// What was built some epochs ago is looked at once more before it is signed.
func TestIssuedOnlyIfStillTrue(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*node)
		want     string
		outdated bool
	}{
		"nothing has changed":                         {func(*node) {}, "", false},
		"a reorg across the challenge":                {func(n *node) { n.commit = make([]byte, 32) }, "a reorg has given epoch 105 another ticket", true},
		"somebody has posted it":                      {func(n *node) { n.deadlines[1].PostSubmissions = set(0) }, "it has a post of partition 0", true},
		"another partition is posted":                 {func(n *node) { n.deadlines[1].PostSubmissions = set(1) }, "", false},
		"the head went on to the deadline's last":     {func(n *node) { n.height = 119 }, "too late for a message before epoch 120", false},
		"the node gives a miner without the deadline": {func(n *node) { n.deadlines = n.deadlines[:1] }, "the miner has 1 deadlines", false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			in := issueInput(t, n, 0)
			in.Wanted[0].Check = true
			c.change(n)
			out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
			require.NoError(t, err)
			require.Len(t, out.Messages, 1)
			assert.Equal(t, c.outdated, out.Messages[0].Outdated)
			if c.want == "" {
				require.Empty(t, out.Messages[0].Refused)
				require.NotEmpty(t, out.Messages[0].Signed.Message)
				return
			}
			assert.Contains(t, out.Messages[0].Refused, c.want)
			assert.Empty(t, out.Messages[0].Signed.Message)
		})
	}
}

// The head that is waited for is one node's, and what is asked is another's.
func TestIssuedByANodeThatIsBehind(t *testing.T) {
	n := newNode(t)
	in := issueInput(t, n, 0)
	in.NotBefore, in.EpochDuration = 113, time.Millisecond
	_, err := (&activities.Messages{Node: n, Heads: standing(113)}).IssueMessages(t.Context(), in)
	retried(t, err)
	require.ErrorContains(t, err, "the node's head is at epoch 112, before 113")
}

// What is in the pool already is followed, even if it could not be sent any more.
func TestAdoptedHoweverLate(t *testing.T) {
	n := newNode(t)
	n.height, n.nextNonce = 119, 1
	in := issueInput(t, n, 0)
	n.pending = []*chain.SignedMessage{{Message: chain.Message{From: keyAddress("worker"), To: idAddress(1000), Method: 5, Params: in.Wanted[0].Request.Params,
		Value: abi.NewTokenAmount(0), GasLimit: 1, GasPremium: abi.NewTokenAmount(1), GasFeeCap: abi.NewTokenAmount(1)}}}
	out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	assert.True(t, out.Messages[0].Adopted)
	n.pending, n.nextNonce = nil, 0
	out, err = (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	assert.Contains(t, out.Messages[0].Refused, "too late for a message before epoch 120")
}

// Two runs of a deadline have grouped its partitions in two ways: estimates that were made before know nothing of the other.
func TestTwoPostsOfAPartitionAtOnce(t *testing.T) {
	n := newNode(t)
	in := issueInput(t, n, 0, 0)
	out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	assert.Empty(t, out.Messages[0].Refused)
	assert.True(t, out.Messages[1].Outdated)
	assert.Contains(t, out.Messages[1].Refused, "another post of the same partition is sent with nonce 0")
}

// One that the node refuses keeps no nonce from the next.
func TestOneOfSeveralIsRefused(t *testing.T) {
	n := newNode(t)
	in := issueInput(t, n, 0, 1)
	in.Wanted[0].Request.Params = make([]byte, 64<<10)
	out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	assert.True(t, out.Messages[0].TooLarge)
	assert.Contains(t, out.Messages[0].Refused, "message too large for a block")
	assert.Equal(t, uint64(0), out.Messages[1].Nonce)
	assert.Empty(t, out.Messages[1].Refused)
}

// A node that does not answer about one message holds up that one alone.
func TestNodeThatDoesNotAnswerAboutOne(t *testing.T) {
	n := newNode(t)
	in := issueInput(t, n, 0, 1)
	n.fails("GasEstimateGasLimit", errAway)
	in.Wanted[1].Quote = &post.Quote{GasUsed: 4_000_000, Premium: "100", FeeCap: "200"}
	out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
	require.NoError(t, err)
	assert.True(t, out.Messages[0].Later)
	assert.Equal(t, uint64(0), out.Messages[1].Nonce)
	assert.NotEmpty(t, out.Messages[1].Signed.Message)
}

func TestNodeThatIsAwayWhileMessagesAreIssued(t *testing.T) {
	for _, method := range []string{"ChainHead", "StateGetActor", "MpoolGetNonce", "GasEstimateGasLimit", "GasEstimateMessageGas", "CommitRandomness",
		"StateMinerDeadlines", "WalletSignMessage"} {
		n := newNode(t)
		in := issueInput(t, n, 0)
		in.Wanted[0].Check = true
		n.fails(method, errAway)
		out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), in)
		if method == "ChainHead" || method == "StateGetActor" { // nothing is known of anything
			retried(t, err)
			continue
		}
		require.NoError(t, err, method)
		assert.True(t, out.Messages[0].Later, method)
		assert.Contains(t, out.Messages[0].Why, errAway.Error(), method)
		assert.Equal(t, abi.ChainEpoch(112), out.Head)
	}
}

// What is too late is not asked about any more, though the node would not answer.
func TestTooLateBeforeItIsEstimated(t *testing.T) {
	n := newNode(t)
	n.height = 119
	n.fails("GasEstimateGasLimit", errAway)
	out, err := (&activities.Messages{Node: n}).IssueMessages(t.Context(), issueInput(t, n, 0))
	require.NoError(t, err)
	assert.Equal(t, "preparing it: the head is at epoch 119, too late for a message before epoch 120", out.Messages[0].Refused)
}
