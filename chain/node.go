package chain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-jsonrpc"
	lru "github.com/hashicorp/golang-lru/v2"
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
	// ErrAnswer means that a node answered what makes no sense: nothing, something of another type, more than there can be. It is an
	// ErrNoRPC too: what answers so is no node, or no sound one.
	ErrAnswer = fmt.Errorf("the node's answer makes no sense: %w", ErrNoRPC)
	// ErrNoActor means that the chain has no such actor, as far as this node knows.
	ErrNoActor = errors.New("the chain has no such actor")
)

// Options adjust a Node; the zero value is right for real networks.
type Options struct {
	CallTimeout   time.Duration // limit of one call; DefaultCallTimeout if zero
	EpochDuration time.Duration // overrides the network's: a test chain mines faster than its timestamps say
	Patience      time.Duration // of several nodes, how long one may take before the next is asked as well; 5 s if zero
}

func (o Options) withDefaults() Options {
	o.CallTimeout, o.Patience = cmp.Or(o.CallTimeout, DefaultCallTimeout), cmp.Or(o.Patience, patience)
	return o
}

// Node is one endpoint of a Filecoin node. It holds no connection of its own (one HTTP request a call), so that it works
// before the node is up and after it was away. Safe for concurrent use.
type Node struct {
	info    APIInfo
	options Options
	api     *api
	closeFn jsonrpc.ClientCloser
	tipsets *lru.Cache[string, *TipSet] // by key: what a key names never changes

	believes credibility
}

// keptTipsets are enough for all that is followed to Close and some epochs more. One is some kilobytes.
const keptTipsets = 256

// Dial makes a client for the node that apiInfo names (see ParseAPIInfo). It does not speak to the node yet, so that a daemon
// can start before its node does; Check does.
func Dial(ctx context.Context, apiInfo string, options Options) (*Node, error) {
	info, err := ParseAPIInfo(apiInfo)
	if err != nil {
		return nil, err
	}
	n := &Node{info: info, options: options.withDefaults(), api: new(api)}
	if n.tipsets, err = lru.New[string, *TipSet](keptTipsets); err != nil {
		return nil, err
	}
	n.closeFn, err = jsonrpc.NewMergeClient(ctx, info.URL, rpcNamespace, []any{n.api}, info.header(),
		jsonrpc.WithHTTPClient(&http.Client{Transport: transport{http.DefaultTransport.(*http.Transport).Clone()}, CheckRedirect: noRedirect}))
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", info, err)
	}
	return n, nil
}

// noRedirect refuses to go elsewhere with the token.
func noRedirect(r *http.Request, _ []*http.Request) error {
	return fmt.Errorf("it redirects to %s; if that is the node, name that address", r.URL.Redacted())
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
	case errors.Is(e.kind, ErrAnswer):
		return fmt.Sprintf("%s on %s: the node's answer makes no sense: %v; check that it is a Filecoin node and sound", e.Method, e.Endpoint, e.Err)
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

// call runs one call under the node's time limit, bounds and decodes its answer, and wraps its error.
func call[T any](ctx context.Context, n *Node, method string, limit int64, do func(context.Context) (json.RawMessage, error), decode func(json.RawMessage) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(withLimit(ctx, limit), n.options.CallTimeout)
	defer cancel()
	var zero T
	raw, err := do(limited)
	if err == nil {
		out, err := decode(raw)
		if err == nil {
			return out, nil
		}
		return zero, n.failed(method, ErrAnswer, err)
	}
	if ctx.Err() != nil { // the caller gave up, not the node
		return zero, fmt.Errorf("%s on %s: %w", method, n.info, ctx.Err())
	}
	if (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && strings.Contains(err.Error(), "unmarshaling response") {
		err = fmt.Errorf("its answer was cut short: %w", err)
	}
	return zero, n.failed(method, classify(err), err)
}

// failed is the error of a call.
func (n *Node) failed(method string, kind, err error) error {
	return &CallError{Method: method, Endpoint: n.info.URL, kind: kind, Err: n.clean(err)}
}

// noPermission is what go-jsonrpc's permission checks, which all nodes use, answer to a token that lacks one.
const noPermission = "missing permission to invoke"

// classify tells a node that answered with an error from one that did not answer. go-jsonrpc reports HTTP status codes
// as text alone, hence the search.
func classify(err error) error {
	text := err.Error()
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
	}
	var answered *jsonrpc.JSONRPCError
	var connection *jsonrpc.RPCConnectionError
	switch {
	case says(noPermission):
		return ErrToken
	case errors.As(err, &answered) && says("context deadline exceeded", "context canceled", "rate limit"):
		return ErrUnreachable // the node, or a gateway before it, gave up
	case errors.As(err, &answered):
		return nil
	case errors.As(err, new(tooLarge)):
		return ErrAnswer
	case says("http status 401", "http status 403"):
		return ErrToken
	case says("http status 429", "http status 502", "http status 503", "http status 504"):
		return ErrUnreachable
	case says("http status 4", "unmarshaling response: invalid character"):
		return ErrNoRPC
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), says("connection reset"):
		return ErrUnreachable
	case says("unmarshaling response", "unmarshaling result", "response ID", "response id"):
		return ErrAnswer
	case errors.As(err, &connection), says("EOF"):
		return ErrUnreachable
	}
	return nil
}

// longestError is how much of what a node says stands in an error.
const longestError = 2000

// clean makes sure that no error repeats the token, whatever the libraries below put into it, and that it is one line of a length that
// people read.
func (n *Node) clean(err error) error {
	text := err.Error()
	plain := strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if n.info.token != "" {
		plain = strings.ReplaceAll(plain, n.info.token, "(token)")
	}
	if len(plain) > longestError {
		plain = strings.ToValidUTF8(plain[:longestError], "") + "…"
	}
	if plain == text {
		return err
	}
	return errors.New(plain)
}
