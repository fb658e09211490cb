package devnet

import (
	"net"
	"sync"
	"time"
)

// listener is a TCP listener that can play a node that went away: it then closes every connection, old and new. The port
// stays taken, so that the node comes back where it was.
type listener struct {
	net.Listener

	mu    sync.Mutex
	until time.Time // away until then
	conns map[net.Conn]struct{}
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, conns: map[net.Conn]struct{}{}}
}

// Accept gives connections only while the node is there.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		away := time.Now().Before(l.until)
		if !away {
			l.conns[conn] = struct{}{}
		}
		l.mu.Unlock()
		if !away {
			return &tracked{Conn: conn, l: l}, nil
		}
		_ = conn.Close()
	}
}

// pause lets the node be away for so long, from now.
func (l *listener) pause(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Now().Add(d)
	for conn := range l.conns {
		_ = conn.Close()
	}
	clear(l.conns)
}

// tracked is a connection that its listener knows while it is open.
type tracked struct {
	net.Conn
	l *listener
}

// Close forgets the connection.
func (t *tracked) Close() error {
	t.l.mu.Lock()
	delete(t.l.conns, t.Conn)
	t.l.mu.Unlock()
	return t.Conn.Close()
}
