package control

import (
	"net"
	"sync"
	"time"
)

// Gate is a TCP listener that can play a node that went away: it then closes every connection, old and new. The port stays
// taken, so that the node comes back where it was.
type Gate struct {
	net.Listener

	mu    sync.Mutex
	until time.Time // away until then
	shut  bool      // away until it is opened again
	conns map[net.Conn]struct{}
}

// NewGate returns an open gate before l.
func NewGate(l net.Listener) *Gate {
	return &Gate{Listener: l, conns: map[net.Conn]struct{}{}}
}

// Accept gives connections only while the node is there.
func (g *Gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if t := g.admit(conn); t != nil {
			return t, nil
		}
		_ = conn.Close()
	}
}

// Pause lets the node be away for so long, from now.
func (g *Gate) Pause(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Now().Add(d)
	g.drop()
}

// Shut lets the node be away until Open.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.drop()
}

// Open ends Shut and Pause.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.until = false, time.Time{}
}

func (g *Gate) admit(conn net.Conn) net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut || time.Now().Before(g.until) {
		return nil
	}
	g.conns[conn] = struct{}{}
	return &tracked{Conn: conn, gate: g}
}

func (g *Gate) drop() {
	for conn := range g.conns {
		_ = conn.Close()
	}
	clear(g.conns)
}

// tracked is a connection that its gate knows while it is open.
type tracked struct {
	net.Conn
	gate *Gate
}

// Close forgets the connection.
func (t *tracked) Close() error {
	t.gate.mu.Lock()
	delete(t.gate.conns, t.Conn)
	t.gate.mu.Unlock()
	return t.Conn.Close()
}
