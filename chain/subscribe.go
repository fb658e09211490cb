package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// stepLimit bounds one step of the head, in bytes: after a pause a node may tell of hundreds of tipsets at once.
	stepLimit = 32 << 20
	// pingEvery and silence are go-jsonrpc's own figures, which nodes serve subscriptions with.
	pingEvery = 5 * time.Second
	silence   = 30 * time.Second
)

// frame is what goes over a subscription's websocket, either way.
type frame struct {
	Jsonrpc string          `json:"jsonrpc"`
	ID      *int64          `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// notify opens a websocket to the node and subscribes to its head. The channel closes when the connection is lost, the node says what
// makes no sense, or the context ends; it is never mended here, so that the follower notices and looks at the head again.
//
// This is not go-jsonrpc's client, which panics at a notification with too few parameters, reads frames of any size, logs at ERROR by
// itself, and leaves a goroutine and the connection behind when a context ends.
func (n *Node) notify(ctx context.Context) (<-chan []*HeadChange, error) {
	fail := func(kind, err error) (<-chan []*HeadChange, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, n.failed("ChainNotify", kind, err)
	}
	limited, cancel := context.WithTimeout(ctx, n.options.CallTimeout)
	defer cancel()
	dialer := websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: n.options.CallTimeout}
	conn, _, err := dialer.DialContext(limited, n.info.websocketURL(), n.info.header())
	switch {
	case errors.Is(err, websocket.ErrBadHandshake): // the node is there, or its proxy, and offers no subscriptions
		return fail(ErrNoRPC, err)
	case err != nil:
		return fail(ErrUnreachable, err)
	}
	s := &subscription{conn: conn, changes: make(chan []*HeadChange)}
	if err := s.open(n.options.CallTimeout); err != nil {
		_ = conn.Close()
		if errors.As(err, new(refused)) {
			return fail(ErrNoRPC, err)
		}
		return fail(ErrUnreachable, err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.read(ctx) }()
	go s.hold(ctx, done)
	return s.changes, nil
}

// refused is what a node says that gives no subscription.
type refused string

func (r refused) Error() string { return string(r) }

// subscription is one websocket.
type subscription struct {
	conn    *websocket.Conn
	channel json.RawMessage // the node's name for the subscription
	changes chan []*HeadChange
}

// open asks for the head and waits for the answer.
func (s *subscription) open(within time.Duration) error {
	s.conn.SetReadLimit(stepLimit)
	until := time.Now().Add(within)
	_ = s.conn.SetWriteDeadline(until)
	_ = s.conn.SetReadDeadline(until)
	id := int64(1)
	if err := s.conn.WriteJSON(frame{Jsonrpc: "2.0", ID: &id, Method: rpcNamespace + ".ChainNotify", Params: json.RawMessage("[]")}); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	_, raw, err := s.conn.ReadMessage()
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	var answer frame
	switch err := json.Unmarshal(raw, &answer); {
	case err != nil:
		return refused("subscribing: " + err.Error())
	case answer.Error != nil:
		return refused("subscribing: " + answer.Error.Message)
	case answer.ID == nil || *answer.ID != id || len(answer.Result) == 0:
		return refused("subscribing: the node's answer is to another question")
	}
	s.channel = answer.Result
	return nil
}

// hold keeps the connection open until reading ends, and has reading end with the context.
func (s *subscription) hold(ctx context.Context, done <-chan struct{}) {
	defer func() { _ = s.conn.Close() }()
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			// What cannot be sent shows when nothing is read for a while.
			_ = s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(pingEvery))
		case <-ctx.Done():
			_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
			_ = s.conn.Close()
			<-done
			return
		case <-done:
			return
		}
	}
}

// read gives steps of the head until the connection is lost, nothing is heard for long, or the node says what makes no sense.
func (s *subscription) read(ctx context.Context) {
	defer close(s.changes)
	alive := func() { _ = s.conn.SetReadDeadline(time.Now().Add(silence)) }
	s.conn.SetPongHandler(func(string) error { alive(); return nil })
	s.conn.SetPingHandler(func(data string) error {
		alive()
		_ = s.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(pingEvery))
		return nil
	})
	for alive(); ; alive() {
		_, raw, err := s.conn.ReadMessage()
		if err != nil {
			return
		}
		step, over, err := s.step(raw)
		if err != nil || over {
			return
		}
		if len(step) == 0 {
			continue
		}
		select {
		case s.changes <- step:
		case <-ctx.Done():
			return
		}
	}
}

// step reads one frame: a step of the head, or that there will be no more.
func (s *subscription) step(raw []byte) (step []*HeadChange, over bool, err error) {
	var f frame
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, false, fmt.Errorf("a frame of the subscription: %w", err)
	}
	switch f.Method {
	case "xrpc.ch.close":
		return nil, true, nil
	case "xrpc.ch.val":
		var params []json.RawMessage
		if err := json.Unmarshal(f.Params, &params); err != nil || len(params) != 2 {
			return nil, false, fmt.Errorf("a frame of the subscription has %d parameters: %w", len(params), err)
		}
		step, err = decodeHeadChanges(params[1])
		return step, false, err
	}
	return nil, false, nil
}
