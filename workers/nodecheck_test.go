package workers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

// tokenNode is a node whose tokens may do this.
func tokenNode(t *testing.T, permissions string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%s}`, permissions)
	}))
	t.Cleanup(s.Close)
	return "eyJtoken:" + s.URL
}

// openNode is a node that is asked without a token, and answers like this when something is asked for which Lotus wants write.
func openNode(t *testing.T, answer string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		assert.Contains(t, string(body), "WalletHas")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,%s}`, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestTokensAreCheckedAtStart(t *testing.T) {
	const write, sign = `["read","write"]`, `["read","write","sign"]`
	const refuses = `"error":{"code":1,"message":"missing permission to invoke 'WalletHas' (need 'write')"}`
	for situation, c := range map[string]struct {
		nodes []string
		said  int // nodes of which a line is logged that they may not sign
		write int // and that they may not write either
		ends  bool
	}{
		"one that may sign":                                     {[]string{sign}, 0, 0, false},
		"one that may not":                                      {[]string{write}, 1, 0, true},
		"one of two may":                                        {[]string{write, sign}, 1, 0, false},
		"one of two may only read":                              {[]string{`["read"]`, sign}, 1, 1, false},
		"none of two may":                                       {[]string{write, write}, 2, 0, true},
		"a token that may do nothing":                           {[]string{`[]`}, 1, 1, true},
		"no token, and so it may only read":                     {[]string{refuses}, 1, 1, true},
		"no token for one of two":                               {[]string{refuses, sign}, 1, 1, false},
		"no token, at a node that lets one do what one will":    {[]string{`"result":false`}, 0, 0, false},
		"no token, at a node of which that cannot be found out": {[]string{`"error":{"code":-32601,"message":"method 'Filecoin.WalletHas' not found"}`}, 0, 0, false},
	} {
		t.Run(situation, func(t *testing.T) {
			var infos []string
			for _, permissions := range c.nodes {
				if strings.HasPrefix(permissions, `"`) {
					infos = append(infos, openNode(t, permissions))
				} else {
					infos = append(infos, tokenNode(t, permissions))
				}
			}
			var out bytes.Buffer
			log := slog.New(slog.NewTextHandler(&out, nil))
			nodes, err := chain.DialAll(t.Context(), infos, chain.Options{}, log)
			require.NoError(t, err)
			t.Cleanup(nodes.Close)
			err = checkTokens(t.Context(), nodes, log)
			require.Equal(t, c.said, strings.Count(out.String(), "may not sign"), out.String())
			require.Equal(t, c.write, strings.Count(out.String(), "is given no messages"), out.String())
			require.NotContains(t, out.String(), "eyJtoken")
			if !c.ends {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "lotus auth api-info --perm sign")
		})
	}
}

// wallet is a node with these keys; f3 addresses stand for the accounts f0101 (worker), f0102 (control) and f0100 (owner, a multisig).
type wallet map[string]bool

func (w wallet) StateMinerInfo(_ context.Context, miner address.Address, _ chain.TipSetKey) (chain.MinerInfo, error) {
	if miner.String() != "f01000" {
		return chain.MinerInfo{}, chain.ErrNoActor
	}
	id := func(n uint64) address.Address { a, _ := address.NewIDAddress(n); return a }
	return chain.MinerInfo{Owner: id(100), Worker: id(101), ControlAddresses: []address.Address{id(102)}}, nil
}

func (w wallet) StateAccountKey(_ context.Context, account address.Address, _ chain.TipSetKey) (address.Address, error) {
	if account.String() == "f0100" {
		return address.Undef, fmt.Errorf("not an account")
	}
	if w["away"] {
		return address.Undef, chain.ErrUnreachable
	}
	return account, nil
}

func (w wallet) WalletHas(_ context.Context, account address.Address) (bool, error) {
	return w[account.String()], nil
}

func TestSendersKeysAreLookedFor(t *testing.T) {
	for situation, c := range map[string]struct {
		node   wallet
		miner  abi.ActorID
		sender string
		says   []string // nothing: all is well
		err    bool
	}{
		"the worker's key":               {node: wallet{"f0101": true}, miner: 1000},
		"a control address's key":        {node: wallet{"f0102": true}, miner: 1000},
		"no key":                         {node: wallet{}, miner: 1000, says: []string{"f0102, f0101", "no node's wallet"}},
		"the owner's, which has no key":  {node: wallet{"f0100": true}, miner: 1000, says: []string{"no node's wallet"}},
		"another than the configured":    {node: wallet{"f0101": true}, miner: 1000, sender: "f0102", says: []string{"(f0102)"}},
		"the configured one":             {node: wallet{"f0102": true}, miner: 1000, sender: "f0102"},
		"a miner that the chain has not": {node: wallet{}, miner: 1001},
		"no node answers":                {node: wallet{"away": true}, miner: 1000, err: true},
	} {
		t.Run(situation, func(t *testing.T) {
			got, err := senderless(t.Context(), c.node, c.miner, c.sender)
			require.Equal(t, c.err, err != nil)
			require.Equal(t, len(c.says) > 0, got != "", got)
			for _, text := range c.says {
				require.Contains(t, got, text)
			}
		})
	}
}
