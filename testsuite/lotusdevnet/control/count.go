package control

import (
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// Count is what one client asked of a node. It is safe for concurrent use; the zero value has counted nothing.
type Count struct {
	sent, received atomic.Int64 // by the node
	mu             sync.Mutex
	calls          map[string]int64
}

// Usage is a Count as it stands. Bytes are of TCP, HTTP's headers and WebSocket's frames among them.
type Usage struct {
	Calls    int64            `json:"calls"`
	Sent     int64            `json:"bytes_sent"`     // by the node
	Received int64            `json:"bytes_received"` // by the node
	Methods  map[string]int64 `json:"methods"`        // calls of each
}

// Call counts a call of a method.
func (c *Count) Call(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string]int64{}
	}
	c.calls[method]++
}

// Usage returns what was counted.
func (c *Count) Usage() Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := Usage{Sent: c.sent.Load(), Received: c.received.Load(), Methods: map[string]int64{}}
	maps.Copy(u.Methods, c.calls)
	for _, n := range slices.Collect(maps.Values(u.Methods)) {
		u.Calls += n
	}
	return u
}

// Listener counts the bytes of all connections of l.
func (c *Count) Listener(l net.Listener) net.Listener { return counted{l, c} }

type counted struct {
	net.Listener
	count *Count
}

// Accept returns a connection whose bytes are counted.
func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConn{conn, c.count}, nil
}

type countedConn struct {
	net.Conn
	count *Count
}

// Read counts what the node receives.
func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.count.received.Add(int64(n))
	return n, err
}

// Write counts what the node sends.
func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.count.sent.Add(int64(n))
	return n, err
}
