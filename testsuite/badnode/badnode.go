// Package badnode is a node that misbehaves on demand: a proxy before a sound one that can be down, hang, be slow, stand still, cut its answers
// short and lie. Several before one node are several nodes of one chain.
package badnode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Node is the proxy.
type Node struct {
	target *url.URL
	token  string
	addr   string
	proxy  *httputil.ReverseProxy

	mu     sync.Mutex
	server *http.Server // nil: it is down
	conns  map[net.Conn]struct{}
	hang   bool
	slow   time.Duration
	late   map[string]time.Duration // by method
	no     map[string]string        // what a method is refused with
	cut    int                      // answers end after so many bytes; 0: they do not
	frozen *tipset
	lies   map[string]func(result json.RawMessage) json.RawMessage
	calls  map[string]int
	mute   func(method string, params []json.RawMessage) bool
}

type tipset struct {
	Cids   json.RawMessage
	Height int64
	raw    json.RawMessage
}

// call is one JSON-RPC request.
type call struct {
	Jsonrpc string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id"`
	Method  string            `json:"method"`
	Params  []json.RawMessage `json:"params"`
}

// Start serves a proxy before the node that apiInfo names, TOKEN:/ip4/HOST/tcp/PORT/http, on a port of its own.
func Start(apiInfo string) (*Node, error) {
	token, multiaddress, _ := strings.Cut(apiInfo, ":")
	parts := strings.Split(multiaddress, "/")
	if len(parts) < 5 {
		return nil, errors.New("the node's address is not TOKEN:/ip4/HOST/tcp/PORT/http")
	}
	n := &Node{
		target: &url.URL{Scheme: "http", Host: net.JoinHostPort(parts[2], parts[4])}, token: token, addr: "127.0.0.1:0",
		conns: map[net.Conn]struct{}{}, lies: map[string]func(json.RawMessage) json.RawMessage{}, calls: map[string]int{},
		late: map[string]time.Duration{}, no: map[string]string{},
	}
	n.proxy = httputil.NewSingleHostReverseProxy(n.target)
	n.proxy.ErrorLog = log.New(io.Discard, "", 0) // callers that give up are usual here
	return n, n.Up()
}

// APIInfo is the proxy's FULLNODE_API_INFO, with the token of the node behind it.
func (n *Node) APIInfo() string { return n.APIInfoWith(n.token) }

// APIInfoWith is the same with another token.
func (n *Node) APIInfoWith(token string) string {
	_, port, _ := net.SplitHostPort(n.addr)
	return token + ":/ip4/127.0.0.1/tcp/" + port + "/http"
}

// Up serves again, where it did before.
func (n *Node) Up() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return nil
	}
	l, err := net.Listen("tcp", n.addr)
	if err != nil {
		return fmt.Errorf("a proxy before a node: %w", err)
	}
	n.addr = l.Addr().String()
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: 10 * time.Second, ConnState: func(conn net.Conn, state http.ConnState) {
		n.mu.Lock()
		defer n.mu.Unlock()
		switch state {
		case http.StateNew:
			n.conns[conn] = struct{}{}
		case http.StateClosed:
			delete(n.conns, conn)
		}
	}}
	server := n.server
	go func() { _ = server.Serve(l) }()
	return nil
}

// Down refuses connections and breaks those that are open, as a process that was killed.
func (n *Node) Down() {
	n.mu.Lock()
	server := n.server
	n.server = nil
	conns := n.conns
	n.conns = map[net.Conn]struct{}{}
	n.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
	for conn := range conns { // websockets, which the server does not know any more
		_ = conn.Close()
	}
}

// Hang takes calls and does not answer them.
func (n *Node) Hang(on bool) { n.set(func() { n.hang = on }) }

// Slow takes so long for every answer.
func (n *Node) Slow(d time.Duration) { n.set(func() { n.slow = d }) }

// SlowAt takes so long for the answers of one method, and for no others.
func (n *Node) SlowAt(method string, d time.Duration) { n.set(func() { n.late[method] = d }) }

// Refuse answers a method with an error; empty: no more.
func (n *Node) Refuse(method, why string) { n.set(func() { n.no[method] = why }) }

// Cut ends every answer after so many bytes; 0: not.
func (n *Node) Cut(bytes int) { n.set(func() { n.cut = bytes }) }

// Lie changes what a method, such as ChainHead, gives; nil: no more.
func (n *Node) Lie(method string, change func(result json.RawMessage) json.RawMessage) {
	n.set(func() { n.lies[method] = change })
}

// Mute breaks the connection off for those calls that it says, instead of an answer; nil: for none any more.
func (n *Node) Mute(which func(method string, params []json.RawMessage) bool) {
	n.set(func() { n.mute = which })
}

// Calls is how often a method was called.
func (n *Node) Calls(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[method]
}

// Freeze stands still at the head of now: a node that has lost its peers. It knows nothing that comes after.
func (n *Node) Freeze() error {
	head, err := n.upstream("ChainHead")
	if err != nil {
		return err
	}
	n.set(func() { n.frozen = head })
	return nil
}

// Thaw goes on with the chain.
func (n *Node) Thaw() { n.set(func() { n.frozen = nil }) }

// set changes how it behaves, and ends what was subscribed to before.
func (n *Node) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	for conn := range n.conns {
		_ = conn.Close()
	}
	clear(n.conns)
}

// upstream asks the node behind for a tipset.
func (n *Node) upstream(method string, params ...json.RawMessage) (*tipset, error) {
	if params == nil {
		params = []json.RawMessage{}
	}
	body, err := json.Marshal(call{"2.0", json.RawMessage("1"), "Filecoin." + method, params})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodPost, n.target.String()+"/rpc/v1", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+n.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct{ Result json.RawMessage }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	t := tipset{raw: answer.Result}
	return &t, json.Unmarshal(answer.Result, &t)
}

// ServeHTTP passes a call on, or does to it what was asked for.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	hang, slow, cut, frozen := n.hang, n.slow, n.cut, n.frozen
	n.mu.Unlock()
	if r.Header.Get("Upgrade") != "" {
		if hang || frozen != nil || len(n.lies) > 0 {
			http.Error(w, "no subscriptions", http.StatusNotImplemented)
			return
		}
		n.proxy.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var c call
	if err := json.Unmarshal(body, &c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	method := strings.TrimPrefix(c.Method, "Filecoin.")
	n.mu.Lock()
	n.calls[method]++
	lie, mute, refuse := n.lies[method], n.mute, n.no[method]
	slow = max(slow, n.late[method])
	n.mu.Unlock()
	switch {
	case mute != nil && mute(method, c.Params):
		panic(http.ErrAbortHandler)
	case hang:
		<-r.Context().Done()
		return
	case slow > 0:
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
			return
		}
	}
	if refuse != "" {
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":1,"message":%q}}`, c.ID, refuse)
		return
	}
	if frozen != nil {
		if refusal := n.freeze(&c, frozen); refusal != "" {
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":1,"message":%q}}`, c.ID, refusal)
			return
		}
		if method == "ChainHead" {
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, c.ID, frozen.raw)
			return
		}
		body, _ = json.Marshal(c)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if cut == 0 && lie == nil {
		n.proxy.ServeHTTP(w, r)
		return
	}
	n.tampered(w, r, c, cut, lie)
}

// freeze puts the head of then in the place of that of now, and refuses what is about tipsets after it.
func (n *Node) freeze(c *call, frozen *tipset) (refusal string) {
	for i, param := range c.Params {
		var key []map[string]string
		if json.Unmarshal(param, &key) != nil || len(param) == 0 || param[0] != '[' {
			continue
		}
		if len(key) == 0 {
			c.Params[i] = frozen.Cids
			continue
		}
		if t, err := n.upstream("ChainGetTipSet", param); err == nil && t.Height > frozen.Height {
			return "loading tipset " + string(param) + ": block not found"
		}
	}
	return ""
}

// tampered changes the node's answer, or cuts it short.
func (n *Node) tampered(w http.ResponseWriter, r *http.Request, c call, cut int, lie func(json.RawMessage) json.RawMessage) {
	request := r.Clone(r.Context())
	request.RequestURI, request.URL.Scheme, request.URL.Host = "", n.target.Scheme, n.target.Host
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return
	}
	if lie != nil {
		var answer struct{ Result json.RawMessage }
		if json.Unmarshal(body, &answer) == nil && len(answer.Result) > 0 {
			body = fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":%s}`, c.ID, lie(answer.Result))
		}
	}
	if cut > 0 {
		body = body[:min(cut, len(body))]
	}
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(body)
}
