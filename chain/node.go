package chain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/filecoin-project/go-jsonrpc"
)

// DefaultCallTimeout bounds one call on a node. Estimating the gas of a post executes it, proof verification included,
// which takes seconds on a busy node.
const DefaultCallTimeout = 30 * time.Second

// Errors that a caller can tell apart with errors.Is. Everything else is what the node answered.
var (
	// ErrToken means that the node does not know the token, or that the token may not do this.
	ErrToken = errors.New("the node refused the token")
	// ErrUnreachable means that the node did not answer: it is down, away, or too slow. Trying later may help.
	ErrUnreachable = errors.New("the node cannot be reached")
	// ErrNoRPC means that something answers there that is not a node's JSON-RPC.
	ErrNoRPC = errors.New("no Filecoin JSON-RPC there")
	// ErrNoActor means that the chain has no such actor, as far as this node knows.
	ErrNoActor = errors.New("the chain has no such actor")
)

// Options adjust a Node; the zero value is right for real networks.
type Options struct {
	CallTimeout   time.Duration // limit of one call; DefaultCallTimeout if zero
	EpochDuration time.Duration // overrides the network's: a test chain mines faster than its timestamps say
}

// Node is one endpoint of a Filecoin node. It holds no connection of its own (one HTTP request a call), so that it works
// before the node is up and after it was away. Safe for concurrent use.
type Node struct {
	info    APIInfo
	options Options
	api     *api
	closeFn jsonrpc.ClientCloser
}

// Dial makes a client for the node that apiInfo names (see ParseAPIInfo). It does not speak to the node yet, so that a daemon
// can start before its node does; Check does.
func Dial(ctx context.Context, apiInfo string, options Options) (*Node, error) {
	info, err := ParseAPIInfo(apiInfo)
	if err != nil {
		return nil, err
	}
	if options.CallTimeout == 0 {
		options.CallTimeout = DefaultCallTimeout
	}
	n := &Node{info: info, options: options, api: new(api)}
	n.closeFn, err = jsonrpc.NewMergeClient(ctx, info.URL, rpcNamespace, []any{n.api}, info.header(),
		jsonrpc.WithHTTPClient(&http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}))
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", info, err)
	}
	return n, nil
}

// rpcNamespace stands before every method's name.
const rpcNamespace = "Filecoin"

func (a APIInfo) header() http.Header {
	h := http.Header{}
	if a.token != "" {
		h.Set("Authorization", "Bearer "+a.token)
	}
	return h
}

// Endpoint is the node's address, for people; it never holds the token.
func (n *Node) Endpoint() string { return n.info.URL }

// Close ends the client.
func (n *Node) Close() { n.closeFn() }

// CallError says which call failed on which node, and what can be done.
type CallError struct {
	Method   string
	Endpoint string
	kind     error // one of the sentinels, or nil if the node itself answered with an error
	Err      error
}

// Error is one line without the token.
func (e *CallError) Error() string {
	switch {
	case errors.Is(e.kind, ErrToken):
		return fmt.Sprintf("%s on %s: the node refused the token (FULLNODE_API_INFO): %v; make one with `lotus auth api-info --perm sign`", e.Method, e.Endpoint, e.Err)
	case errors.Is(e.kind, ErrNoRPC):
		return fmt.Sprintf("%s on %s: no Filecoin JSON-RPC there (%v); check the address in FULLNODE_API_INFO", e.Method, e.Endpoint, e.Err)
	case errors.Is(e.kind, ErrUnreachable):
		return fmt.Sprintf("%s on %s: the node cannot be reached: %v; check that it runs and listens there", e.Method, e.Endpoint, e.Err)
	}
	return fmt.Sprintf("%s on %s: %v", e.Method, e.Endpoint, e.Err)
}

// Unwrap gives the sentinel and the cause.
func (e *CallError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.Err}
	}
	return []error{e.kind, e.Err}
}

// call runs one call under the node's time limit and wraps its error.
func call[T any](ctx context.Context, n *Node, method string, do func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, n.options.CallTimeout)
	defer cancel()
	out, err := do(limited)
	if err == nil {
		return out, nil
	}
	var zero T
	if ctx.Err() != nil { // the caller gave up, not the node
		return zero, fmt.Errorf("%s on %s: %w", method, n.info, ctx.Err())
	}
	return zero, &CallError{Method: method, Endpoint: n.info.URL, kind: classify(err), Err: n.clean(err)}
}

// classify tells a node that answered with an error from one that did not answer. go-jsonrpc reports HTTP status codes
// as text alone, hence the search.
func classify(err error) error {
	text := err.Error()
	var connection *jsonrpc.RPCConnectionError
	switch {
	case strings.Contains(text, "http status 401") || strings.Contains(text, "http status 403") || strings.Contains(text, "missing permission to invoke"):
		return ErrToken
	case strings.Contains(text, "http status 502") || strings.Contains(text, "http status 503") || strings.Contains(text, "http status 504"):
		return ErrUnreachable
	case strings.Contains(text, "http status 4") || strings.Contains(text, "unmarshaling response: invalid character"):
		return ErrNoRPC
	case errors.As(err, &connection), errors.Is(err, context.DeadlineExceeded), strings.Contains(text, "EOF"):
		return ErrUnreachable
	}
	return nil
}

// clean makes sure that no error repeats the token, whatever the libraries below put into it.
func (n *Node) clean(err error) error {
	if n.info.token == "" || !strings.Contains(err.Error(), n.info.token) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), n.info.token, "(token)"))
}

// classifyDial is classify for opening a websocket, where a refused upgrade ("bad handshake") means that the node is
// there but offers no subscriptions.
func classifyDial(err error) error {
	if strings.Contains(err.Error(), "bad handshake") {
		return ErrNoRPC
	}
	return classify(err)
}
