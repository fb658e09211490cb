package chain_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
	"posthaste/testsuite/badnode"
	"posthaste/testsuite/devnet"
)

// fleet is several nodes of one chain, and what follows them.
type fleet struct {
	*chain.Nodes
	d    *devnet.Devnet
	bad  []*badnode.Node
	log  *lines
	ctx  context.Context
	seen func() []abi.ChainEpoch // the heads that were given
}

const fleetEpoch = 100 * time.Millisecond

// several starts n nodes of a chain, and follows them.
func several(t *testing.T, n int, infos func([]*badnode.Node) []string) *fleet {
	t.Helper()
	f := &fleet{d: serve(t, fleetEpoch), log: &lines{}, ctx: within(t, time.Minute)}
	var all []string
	for range n {
		b, err := badnode.Start(f.d.Ready.FullnodeAPIInfo)
		require.NoError(t, err)
		t.Cleanup(b.Down)
		f.bad, all = append(f.bad, b), append(all, b.APIInfo())
	}
	if infos != nil {
		all = infos(f.bad)
	}
	nodes, err := chain.DialAll(t.Context(), all, chain.Options{EpochDuration: fleetEpoch, CallTimeout: 5 * time.Second, Patience: 300 * time.Millisecond},
		slog.New(slog.NewTextHandler(f.log, nil)))
	require.NoError(t, err)
	f.Nodes = nodes
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- nodes.Run(ctx) }()
	given := make(chan []abi.ChainEpoch, 1)
	go func() {
		var epochs []abi.ChainEpoch
		for head := range nodes.Heads(ctx) {
			epochs = append(epochs, head.Height)
		}
		given <- epochs
	}()
	f.seen = func() []abi.ChainEpoch { cancel(); return <-given }
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		nodes.Close()
	})
	_, err = nodes.WaitEpoch(f.ctx, 1002)
	require.NoError(t, err)
	allGood(t, nodes)
	return f
}

// allGood waits until all nodes are known to be good. Before one has been looked at, nothing is held against it either.
func allGood(t *testing.T, nodes *chain.Nodes) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, o := range nodes.Outlook().Nodes {
			if o.Head == 0 || o.Latency == 0 || o.Verdict != "good" {
				return false
			}
		}
		return true
	}, 20*time.Second, 10*time.Millisecond)
}

// goesOn waits until the head has come some epochs further.
func (f *fleet) goesOn(t *testing.T) {
	t.Helper()
	now, _ := f.Epoch()
	_, err := f.WaitEpoch(f.ctx, now+8)
	require.NoError(t, err)
}

// left waits until a node is not used any more.
func (f *fleet) left(t *testing.T, i int) {
	t.Helper()
	require.Eventually(t, func() bool { return !f.Outlook().Nodes[i].Used }, 20*time.Second, 10*time.Millisecond)
}

func worker(t *testing.T, f *fleet) address.Address {
	t.Helper()
	info, err := f.StateMinerInfo(f.ctx, minerAddress(t, 1000), nil)
	require.NoError(t, err)
	key, err := f.StateAccountKey(f.ctx, info.Worker, nil)
	require.NoError(t, err)
	return key
}

// Whatever is wrong with the node that is used, the chain goes on by another, it is said once, and heads never go back.
func TestANodeIsLeft(t *testing.T) {
	for situation, spoil := range map[string]func(*badnode.Node) error{
		"it is killed":              func(b *badnode.Node) error { b.Down(); return nil },
		"it hangs":                  func(b *badnode.Node) error { b.Hang(true); return nil },
		"it stands still":           func(b *badnode.Node) error { return b.Freeze() },
		"its answers are cut short": func(b *badnode.Node) error { b.Cut(30); return nil },
		"its heads are lies": func(b *badnode.Node) error {
			b.Lie("ChainHead", func(json.RawMessage) json.RawMessage { return json.RawMessage(`{"Height":-1}`) })
			return nil
		},
	} {
		t.Run(situation, func(t *testing.T) {
			t.Parallel()
			f := several(t, 2, nil)
			first := f.Endpoint()
			require.NoError(t, spoil(f.bad[0]))
			f.goesOn(t)
			f.left(t, 0)
			f.goesOn(t)
			head, err := f.ChainHead(f.ctx)
			require.NoError(t, err)
			_, err = f.StateMinerPartitions(f.ctx, minerAddress(t, 1000), 1, head.Key())
			require.NoError(t, err)
			require.NotEqual(t, first, f.Endpoint())
			require.Equal(t, 1, f.log.count("leaving a node for another"))
			require.IsIncreasing(t, f.seen())
		})
	}
}

func TestASlowNodeIsLeft(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	f.d.SetMining(false) // else it would be behind
	f.bad[0].Slow(2500 * time.Millisecond)
	began := f.bad[1].Calls("StateMinerInfo")
	_, err := f.StateMinerInfo(f.ctx, minerAddress(t, 1000), nil)
	require.NoError(t, err)
	require.Equal(t, began+1, f.bad[1].Calls("StateMinerInfo"), "the other was asked, without waiting for the slow one")
	f.left(t, 0)
	require.Equal(t, "slow", f.Outlook().Nodes[0].Verdict)
}

func TestANodeOnAForkIsLeft(t *testing.T) {
	t.Parallel()
	f := several(t, 3, nil)
	other := mustCID(t).String()
	f.bad[0].Lie("ChainGetTipSetAfterHeight", func(result json.RawMessage) json.RawMessage {
		var t struct {
			Cids   []map[string]string
			Blocks []json.RawMessage
			Height int64
		}
		if json.Unmarshal(result, &t) != nil || len(t.Cids) == 0 {
			return result
		}
		t.Cids[0]["/"] = other
		out, _ := json.Marshal(t)
		return out
	})
	require.Eventually(t, func() bool {
		o := f.Outlook().Nodes[0]
		return o.Verdict == "forked" && !o.Used
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, f.log.count("is=forked"))
}

// A preferred node that has come back is used again after a while, and its return is no step back.
func TestThePreferredNodeIsUsedAgain(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	f.bad[0].Down()
	f.left(t, 0)
	require.NoError(t, f.bad[0].Up())
	require.Eventually(t, func() bool { return f.Outlook().Nodes[0].Used }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, f.log.count("using the preferred node again"))
	f.goesOn(t)
	require.IsIncreasing(t, f.seen())
}

// With all nodes down, calls say so of each, in one line; when one is back, all goes on.
func TestAllNodesDown(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	for _, b := range f.bad {
		b.Down()
	}
	_, err := f.StateMinerInfo(f.ctx, minerAddress(t, 1000), nil)
	require.ErrorIs(t, err, chain.ErrUnreachable)
	require.ErrorContains(t, err, "none of 2 nodes could answer")
	require.NotContains(t, err.Error(), "\n")
	for _, n := range f.Each() {
		require.ErrorContains(t, err, n.Endpoint())
	}
	_, err = f.MpoolGetNonce(f.ctx, minerAddress(t, 101), 0)
	require.ErrorIs(t, err, chain.ErrUnreachable)
	_, err = f.WalletHas(f.ctx, minerAddress(t, 101))
	require.ErrorIs(t, err, chain.ErrUnreachable)
	require.NoError(t, f.bad[1].Up())
	f.goesOn(t)
	_, err = f.StateMinerInfo(f.ctx, minerAddress(t, 1000), nil)
	require.NoError(t, err)
	require.True(t, f.Outlook().Nodes[1].Used)
}

// A tipset pins the view: who has it is asked, whichever node is used, and one that nobody has yet is waited for.
func TestATipsetIsAskedOfWhoHasIt(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	require.NoError(t, f.bad[0].Freeze())
	f.left(t, 0)
	f.goesOn(t)
	head, err := f.ChainHead(f.ctx) // of the second
	require.NoError(t, err)
	before := f.bad[0].Calls("StateMinerDeadlines")
	for range 5 {
		_, err = f.StateMinerDeadlines(f.ctx, minerAddress(t, 1000), head.Key())
		require.NoError(t, err)
	}
	require.Equal(t, before, f.bad[0].Calls("StateMinerDeadlines"))
	f.bad[1].Down()
	_, err = f.StateMinerDeadlines(f.ctx, minerAddress(t, 1000), head.Key())
	require.ErrorContains(t, err, "loading tipset", "the first, which stands still, does not know it")
	require.ErrorIs(t, err, chain.ErrUnreachable, "so it is tried again")
	f.bad[0].Thaw()
	_, err = f.StateMinerDeadlines(f.ctx, minerAddress(t, 1000), head.Key())
	require.NoError(t, err)
}

// Messages go to every node; the nonce is the highest word; who may sign, signs.
func TestMessagesOnSeveralNodes(t *testing.T) {
	t.Parallel()
	f := several(t, 3, func(bad []*badnode.Node) []string {
		return []string{bad[0].APIInfo(), bad[1].APIInfo(), bad[2].APIInfo()}
	})
	from := worker(t, f)
	f.d.SetIncluding(false)
	message := &chain.Message{To: minerAddress(t, 1000), From: from, Value: big.Zero(), Method: 5, GasLimit: 1_000_000,
		GasFeeCap: big.NewInt(1_000_000), GasPremium: big.NewInt(1000)}

	no := func(json.RawMessage) json.RawMessage { return json.RawMessage("false") }
	f.bad[0].Lie("WalletHas", no)
	f.bad[1].Lie("WalletHas", no)
	has, err := f.WalletHas(f.ctx, from)
	require.NoError(t, err)
	require.True(t, has, "the third has it")
	f.bad[2].Down()
	has, err = f.WalletHas(f.ctx, from)
	require.NoError(t, err, "two have answered")
	require.False(t, has)
	require.NoError(t, f.bad[2].Up())

	f.bad[0].Lie("WalletSignMessage", func(json.RawMessage) json.RawMessage { return json.RawMessage("null") })
	signed, err := f.WalletSignMessage(f.ctx, from, message)
	require.NoError(t, err)
	require.Equal(t, uint64(0), signed.Message.Nonce)

	f.bad[1].Lie("MpoolGetNonce", func(json.RawMessage) json.RawMessage { return json.RawMessage("7") })
	nonce, err := f.MpoolGetNonce(f.ctx, from, 0)
	require.NoError(t, err)
	require.EqualValues(t, 7, nonce)
	f.goesOn(t) // a node that begins to lie breaks its subscriptions off, and one whose head is not followed yet again is not asked
	allGood(t, f.Nodes)

	f.bad[1].Down()
	want, err := signed.Cid()
	require.NoError(t, err)
	for range 2 { // the same bytes again are harmless
		name, err := f.MpoolPush(f.ctx, signed)
		require.NoError(t, err)
		require.Equal(t, want, name)
	}
	require.Equal(t, 2, f.bad[0].Calls("MpoolPush"))
	require.Equal(t, 2, f.bad[2].Calls("MpoolPush"))
	pending, err := f.MpoolPending(f.ctx, nil)
	require.NoError(t, err)
	require.Len(t, pending, 1, "once, however many pools have it")
	nonce, err = f.MpoolGetNonce(f.ctx, from, 0)
	require.NoError(t, err)
	require.EqualValues(t, 1, nonce)
}

// What all who answer refuse is refused; where one broke off in the middle it may have been taken, and that is no refusal.
func TestAPushThatIsRefused(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	from := worker(t, f)
	signed, err := f.WalletSignMessage(f.ctx, from, &chain.Message{To: minerAddress(t, 1000), From: from, Value: big.Zero(), Method: 5, GasLimit: 1_000_000,
		GasFeeCap: big.NewInt(1_000_000), GasPremium: big.NewInt(1000)})
	require.NoError(t, err)
	signed.Message.Nonce++ // the signature is not its own any more
	_, err = f.MpoolPush(f.ctx, signed)
	require.ErrorContains(t, err, "signature")
	require.NotErrorIs(t, err, chain.ErrUnreachable)
	f.bad[1].Down()
	require.Eventually(t, func() bool { return f.Outlook().Nodes[1].Verdict == "down" }, 20*time.Second, 10*time.Millisecond)
	_, err = f.MpoolPush(f.ctx, signed)
	require.ErrorContains(t, err, "signature")
	require.NotErrorIs(t, err, chain.ErrUnreachable, "what was never sent cannot have been taken")
	require.NoError(t, f.bad[1].Up())
	require.Eventually(t, func() bool { return f.Outlook().Nodes[1].Verdict == "good" }, 20*time.Second, 10*time.Millisecond)
	f.bad[1].Cut(5)
	_, err = f.MpoolPush(f.ctx, signed)
	require.ErrorIs(t, err, chain.ErrUnreachable, "it may have been taken")
}

// Of which node the token may not sign is known, and it is not asked to.
func TestTokensOfSeveralNodes(t *testing.T) {
	t.Parallel()
	var read string
	f := several(t, 2, nil)
	read, _, _ = strings.Cut(f.d.APIInfo("read"), ":")
	nodes, err := chain.DialAll(t.Context(), []string{f.bad[0].APIInfoWith(read), f.bad[1].APIInfo()}, chain.Options{}, quiet())
	require.NoError(t, err)
	t.Cleanup(nodes.Close)
	for i, want := range [][]string{{"read"}, {"read", "write", "sign", "admin"}} {
		got, err := nodes.Permissions(f.ctx, nodes.Each()[i])
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	from := worker(t, f)
	has, err := nodes.WalletHas(f.ctx, from)
	require.NoError(t, err)
	require.True(t, has)
	require.Zero(t, f.bad[0].Calls("WalletHas"))
	_, err = nodes.WalletSignMessage(f.ctx, from, &chain.Message{To: minerAddress(t, 1000), From: from, Value: big.Zero(), GasFeeCap: big.Zero(), GasPremium: big.Zero()})
	require.NoError(t, err)
	require.Zero(t, f.bad[0].Calls("WalletSignMessage"))
}

func TestDialAllRefuses(t *testing.T) {
	_, err := chain.DialAll(t.Context(), nil, chain.Options{}, quiet())
	require.ErrorContains(t, err, "there are 0 nodes")
	_, err = chain.DialAll(t.Context(), []string{"http://a:1", "nonsense"}, chain.Options{}, quiet())
	require.ErrorContains(t, err, "node 2 of 2")
	_, err = chain.DialAll(t.Context(), []string{"http://a:1", "tok:http://a:1"}, chain.Options{}, quiet())
	require.ErrorContains(t, err, "twice")
}

// What a key names never changes: a node is asked for it once, and a lie about it is not kept.
func TestATipsetIsReadOnce(t *testing.T) {
	d := serve(t, time.Hour)
	bad, err := badnode.Start(d.Ready.FullnodeAPIInfo)
	require.NoError(t, err)
	t.Cleanup(bad.Down)
	n := dial(t, bad.APIInfo(), chain.Options{})
	genesis, err := n.ChainHead(t.Context())
	require.NoError(t, err)
	next := d.Mine()

	bad.Lie("ChainGetTipSet", func(json.RawMessage) json.RawMessage {
		raw, _ := json.Marshal(genesis)
		return raw
	})
	_, err = n.ChainGetTipSet(t.Context(), next.Key())
	require.ErrorIs(t, err, chain.ErrAnswer)
	bad.Lie("ChainGetTipSet", nil)
	asked := bad.Calls("ChainGetTipSet")
	for range 3 {
		got, err := n.ChainGetTipSet(t.Context(), next.Key())
		require.NoError(t, err)
		require.Equal(t, next.Height, got.Height)
	}
	require.Equal(t, asked+1, bad.Calls("ChainGetTipSet"))
	for range 2 { // the head is another one every time
		_, err := n.ChainGetTipSet(t.Context(), nil)
		require.NoError(t, err)
	}
	require.Equal(t, asked+3, bad.Calls("ChainGetTipSet"))
}
