package trial

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var program = flag.String("chain", "", "the `program` to try, bin/posthaste-lotusdevnet")

// patience is how long anything may take on a busy machine.
const patience = 2 * time.Minute

// network is a running program.
type network struct {
	t       *testing.T
	control string
	nodes   []endpoint
	owner   string
	worker  string
	store   string
}

type endpoint struct{ url, token string }

// start runs the program until the end of the test.
func start(t *testing.T, args ...string) *network {
	if *program == "" {
		t.Skip("needs the program: make lotusdevnet, then go test ./trial -chain ../../../bin/posthaste-lotusdevnet")
	}
	path, err := filepath.Abs(*program)
	require.NoError(t, err)
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	cmd := exec.Command(path, append([]string{"--dir", filepath.Join(dir, "chain")}, args...)...)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of the program's log:\n%s", text[max(0, len(text)-4000):])
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err, "its ready line")
	var ready struct {
		Control string `json:"control"`
		Nodes   []struct {
			Info string `json:"fullnode_api_info"`
		} `json:"nodes"`
		Addresses struct {
			Owner, Worker string
			Control       []string
		} `json:"addresses"`
		Stores []struct{ Path string } `json:"stores"`
	}
	require.NoError(t, json.Unmarshal(line, &ready))
	n := &network{t: t, control: ready.Control, owner: ready.Addresses.Owner, worker: ready.Addresses.Worker, store: ready.Stores[0].Path}
	for _, node := range ready.Nodes {
		token, address, _ := strings.Cut(node.Info, ":")
		part := strings.Split(address, "/") // "", ip4, HOST, tcp, PORT, http
		n.nodes = append(n.nodes, endpoint{"http://" + part[2] + ":" + part[4] + "/rpc/v1", token})
	}
	return n
}

// do sends a command to the control port and decodes the answer.
func (n *network) do(path string, ask map[string]any, answer any) {
	n.t.Helper()
	body, err := json.Marshal(ask)
	require.NoError(n.t, err)
	r, err := http.Post(n.control+path, "application/json", bytes.NewReader(body))
	require.NoError(n.t, err)
	defer func() { _ = r.Body.Close() }()
	data, err := io.ReadAll(r.Body)
	require.NoError(n.t, err)
	require.Equal(n.t, http.StatusOK, r.StatusCode, "%s", data)
	if answer != nil {
		require.NoError(n.t, json.Unmarshal(data, answer), "%s", data)
	}
}

// try calls a method of a node's JSON-RPC.
func (n *network) try(node int, answer any, method string, params ...any) error {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "Filecoin." + method, "params": params})
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, n.nodes[node].url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+n.nodes[node].token)
	request.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	var reply struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.NewDecoder(r.Body).Decode(&reply); err != nil {
		return err
	}
	if reply.Error != nil {
		return fmt.Errorf("%s: %s", method, reply.Error.Message)
	}
	return json.Unmarshal(reply.Result, answer)
}

func (n *network) call(node int, answer any, method string, params ...any) {
	n.t.Helper()
	require.NoError(n.t, n.try(node, answer, method, params...))
}

type cid struct {
	Root string `json:"/"`
}

type tipset struct {
	Cids   []cid
	Height int64
	Blocks []struct {
		Parents       []cid
		ParentBaseFee string
	}
}

func (n *network) head(node int) tipset {
	n.t.Helper()
	var ts tipset
	n.call(node, &ts, "ChainHead")
	return ts
}

// at returns the tipset at an epoch, or the last before it.
func (n *network) at(node int, epoch int64) tipset {
	n.t.Helper()
	var ts tipset
	n.call(node, &ts, "ChainGetTipSetByHeight", epoch, []cid{})
	return ts
}

// randomness draws an epoch's, from tickets or from the beacon, with the tag of WindowPoSt challenges.
func (n *network) randomness(node int, of string, epoch int64) string {
	n.t.Helper()
	var drawn string
	n.call(node, &drawn, "StateGetRandomnessFrom"+of, 10, epoch, nil, n.head(node).Cids)
	return drawn
}

// push sends one attoFIL from the node's wallet to itself, by a message with the next nonce of the pool.
func (n *network) push(node int) cid {
	n.t.Helper()
	var from string
	n.call(node, &from, "WalletDefaultAddress")
	var nonce uint64
	n.call(node, &nonce, "MpoolGetNonce", from)
	message := map[string]any{
		"Version": 0, "To": from, "From": from, "Nonce": nonce, "Value": "1",
		"GasLimit": 10_000_000, "GasFeeCap": "1000000000", "GasPremium": "100000", "Method": 0, "Params": nil,
	}
	var signed any
	n.call(node, &signed, "WalletSignMessage", from, message)
	var sent cid
	n.call(node, &sent, "MpoolPush", signed)
	return sent
}

// landed returns the epoch at which a message was executed, 0 if it was not.
func (n *network) landed(node int, message cid) int64 {
	n.t.Helper()
	var found *struct{ Height int64 }
	err := n.try(node, &found, "StateSearchMsg", []cid{}, message, -1, true)
	if err != nil && strings.Contains(err.Error(), "failed to load message") {
		return 0 // the node never heard of it
	}
	require.NoError(n.t, err)
	if found == nil {
		return 0
	}
	return found.Height
}

// pending tells whether a message is in the node's pool.
func (n *network) pending(node int, message cid) bool {
	n.t.Helper()
	var messages []struct{ CID cid }
	n.call(node, &messages, "MpoolPending", []cid{})
	for _, m := range messages {
		if m.CID == message {
			return true
		}
	}
	return false
}

// until waits for something that the chain will do.
func (n *network) until(what string, done func() bool) {
	n.t.Helper()
	require.Eventually(n.t, done, patience, 50*time.Millisecond, what)
}
