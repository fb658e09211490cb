package chain_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

// beside makes clients of a fleet's nodes that nobody follows, with limits of their own.
func (f *fleet) beside(t *testing.T, options chain.Options, infos ...string) *chain.Nodes {
	t.Helper()
	if len(infos) == 0 {
		for _, b := range f.bad {
			infos = append(infos, b.APIInfo())
		}
	}
	nodes, err := chain.DialAll(t.Context(), infos, options, quiet())
	require.NoError(t, err)
	t.Cleanup(nodes.Close)
	return nodes
}

func post5(t *testing.T, from address.Address) *chain.Message {
	t.Helper()
	return &chain.Message{To: minerAddress(t, 1000), From: from, Value: big.Zero(), Method: 5, GasLimit: 1_000_000,
		GasFeeCap: big.NewInt(1_000_000), GasPremium: big.NewInt(1000)}
}

// A node that takes calls and never answers is not waited for when another has said whether it has a key. Waiting for it would take an hour here.
func TestAKeyIsFoundBesideASilentNode(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	from := worker(t, f)
	nodes := f.beside(t, chain.Options{CallTimeout: time.Hour, Patience: 50 * time.Millisecond})
	f.bad[1].Hang(true)
	has, err := nodes.WalletHas(f.ctx, from)
	require.NoError(t, err)
	require.True(t, has)
	f.bad[0].Lie("WalletHas", func(json.RawMessage) json.RawMessage { return json.RawMessage("false") })
	has, err = nodes.WalletHas(f.ctx, from)
	require.NoError(t, err, "the one that answers has not")
	require.False(t, has)
}

// One that has the key is enough, however patient others are to be waited for.
func TestAKeyThatIsThereIsNotAskedForFurther(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	from := worker(t, f)
	nodes := f.beside(t, chain.Options{CallTimeout: time.Hour, Patience: time.Hour})
	f.bad[1].Hang(true)
	has, err := nodes.WalletHas(f.ctx, from)
	require.NoError(t, err)
	require.True(t, has)
}

// What a node says that is asked as well, because the used one takes its time, is no refusal as long as that one may still do better.
func TestARefusalOfAnotherNodeWaits(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	from := worker(t, f)
	nodes := f.beside(t, chain.Options{Patience: 3 * time.Second})
	f.bad[0].SlowAt("WalletBalance", 4*time.Second)
	f.bad[1].Refuse("WalletBalance", "message execution failed: exit 16")
	_, err := nodes.WalletBalance(f.ctx, from)
	require.NoError(t, err)
	require.Equal(t, 1, f.bad[1].Calls("WalletBalance"), "it was asked")

	f.bad[0].Hang(true)
	_, err = nodes.WalletBalance(f.ctx, from)
	require.ErrorContains(t, err, "exit 16", "of one that stays silent there is nothing to wait for")
}

// A node that is behind answers of another moment: about the head it is not asked as long as a better one is at it.
func TestANodeThatIsBehindIsNotAskedBeside(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	from := worker(t, f)
	require.NoError(t, f.bad[1].Freeze())
	require.Eventually(t, func() bool { return f.Outlook().Nodes[1].Verdict == "behind" }, 20*time.Second, 10*time.Millisecond)
	f.bad[0].SlowAt("WalletBalance", time.Second) // its patience is 300 ms
	_, err := f.WalletBalance(f.ctx, from)
	require.NoError(t, err)
	require.Zero(t, f.bad[1].Calls("WalletBalance"))
	f.bad[0].Refuse("WalletBalance", "rate limit exceeded")
	f.bad[0].SlowAt("WalletBalance", 0)
	_, err = f.WalletBalance(f.ctx, from)
	require.NoError(t, err, "when the better one has failed, it is")
	require.Equal(t, 1, f.bad[1].Calls("WalletBalance"))
}

// A node that has its head at hand but hardly answers anything else is left as one that is slow with its head.
func TestANodeThatIsSlowWithOtherCallsIsLeft(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	f.d.SetMining(false)
	nodes := f.beside(t, chain.Options{Patience: 5 * time.Second, EpochDuration: time.Hour})
	f.bad[0].SlowAt("StateMinerInfo", time.Hour)
	ctx := within(t, 50*time.Second)
	go func() { _ = nodes.Run(ctx) }()
	allGood(t, nodes)
	_, err := nodes.StateMinerInfo(ctx, minerAddress(t, 1000), nil)
	require.NoError(t, err)
	o := nodes.Outlook().Nodes
	require.Equal(t, "slow", o[0].Verdict)
	require.Contains(t, o[0].Why, "StateMinerInfo")
	require.True(t, o[1].Used)
}

// A nonce that no pool can have come to is a node's nonsense, and not above all others' word.
func TestANonceOutOfReach(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	from := worker(t, f)
	for said, ok := range map[string]bool{"1005": true, "1006": false, "9223372036854775808": false} {
		f.bad[1].Lie("MpoolGetNonce", func(json.RawMessage) json.RawMessage { return json.RawMessage(said) })
		_, err := f.Each()[1].MpoolGetNonce(f.ctx, from, 5)
		if ok {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, chain.ErrAnswer)
		require.ErrorContains(t, err, "next nonce "+said)
		nonce, err := f.MpoolGetNonce(f.ctx, from, 5)
		require.NoError(t, err)
		require.Zero(t, nonce, "the other's word")
	}
}

// A node of another network is told of once, never used and never asked, wherever its head is.
func TestANodeOfAnotherNetwork(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	f.bad[1].Down()
	require.Eventually(t, func() bool { return f.Outlook().Nodes[1].Verdict == "down" }, 20*time.Second, 10*time.Millisecond)
	f.bad[1].Lie("StateGetNetworkParams", func(json.RawMessage) json.RawMessage {
		return json.RawMessage(`{"NetworkName":"mainnet","BlockDelaySecs":30,"GenesisTimestamp":1598306400}`)
	})
	require.NoError(t, f.bad[1].Up())
	require.Eventually(t, func() bool { return strings.Contains(f.Outlook().Nodes[1].Why, "another network") }, 20*time.Second, 10*time.Millisecond)
	require.Contains(t, f.Outlook().Nodes[1].Why, `"mainnet" since 2020-08-24 22:00:00`)
	require.Equal(t, "down", f.Outlook().Nodes[1].Verdict)
	from := worker(t, f)
	signed, err := f.WalletSignMessage(f.ctx, from, post5(t, from))
	require.NoError(t, err)
	_, err = f.MpoolPush(f.ctx, signed)
	require.NoError(t, err)
	_, err = f.MpoolGetNonce(f.ctx, from, 0)
	require.NoError(t, err)
	f.bad[0].Down()
	_, err = f.StateMinerInfo(f.ctx, minerAddress(t, 1000), nil)
	require.ErrorIs(t, err, chain.ErrUnreachable, "there is no other of this network")
	for _, method := range []string{"MpoolPush", "MpoolGetNonce", "WalletHas", "WalletSignMessage", "StateMinerInfo"} {
		require.Zero(t, f.bad[1].Calls(method), method)
	}
	require.Equal(t, 1, f.log.count("a node is not used"))
}

// A token that lacks a permission is no fault of the node: it stays good for what it may be asked, and messages go to the others' pools.
func TestATokenThatMayOnlyRead(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	from := worker(t, f)
	read, _, _ := strings.Cut(f.d.APIInfo("read"), ":")
	infos := []string{f.bad[0].APIInfoWith(read), f.bad[1].APIInfo()}
	nodes := f.beside(t, chain.Options{EpochDuration: fleetEpoch}, infos...)
	ctx := within(t, 50*time.Second)
	go func() { _ = nodes.Run(ctx) }()
	allGood(t, nodes)
	var signed *chain.SignedMessage
	var err error
	for range 5 { // its permissions have not been asked for: each is refused, and the next one does it
		signed, err = nodes.WalletSignMessage(ctx, from, post5(t, from))
		require.NoError(t, err)
		require.Equal(t, "good", nodes.Outlook().Nodes[0].Verdict)
	}
	require.Equal(t, 5, f.bad[0].Calls("WalletSignMessage"))
	_, err = nodes.Permissions(ctx, nodes.Each()[0])
	require.NoError(t, err)
	_, err = nodes.MpoolPush(ctx, signed)
	require.NoError(t, err)
	require.Zero(t, f.bad[0].Calls("MpoolPush"))
	require.Equal(t, 1, f.bad[1].Calls("MpoolPush"))
	require.True(t, nodes.Outlook().Nodes[0].Used)
}

// A message that a node has never seen is not on its chain. Whether the other node is down makes no difference to that.
func TestAMessageThatNoNodeHasSeen(t *testing.T) {
	t.Parallel()
	f := several(t, 2, nil)
	head, err := f.ChainHead(f.ctx)
	require.NoError(t, err)
	search := func() error {
		_, err := f.StateSearchMsg(f.ctx, head.Key(), mustCID(t), 100, false)
		return err
	}
	f.bad[0].Down()
	for says, unknown := range map[string]bool{
		"failed to load message: ipld: could not find bafy2":           true,  // Lotus
		"failed to get bls message bafy2: blockstore: block not found": true,  // Venus
		"loading tipset {bafy2}: block not found":                      false, // it cannot say
	} {
		f.bad[1].Refuse("StateSearchMsg", says)
		require.Equal(t, unknown, chain.UnknownMessage(search()), says)
	}
	f.bad[1].Down()
	require.False(t, chain.UnknownMessage(search()), "nobody has answered")
	require.False(t, chain.UnknownMessage(nil))
}
