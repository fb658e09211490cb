package control

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCount(t *testing.T) {
	var c Count
	require.Equal(t, Usage{Methods: map[string]int64{}}, c.Usage())
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := c.Listener(plain)
	defer func() { _ = l.Close() }()
	answered := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, 5))
		}
		if err == nil {
			_, err = conn.Write([]byte("answer!"))
		}
		answered <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("asked"))
	require.NoError(t, err)
	require.NoError(t, <-answered)

	c.Call("ChainHead")
	c.Call("ChainHead")
	c.Call("MpoolPush")
	require.Equal(t, Usage{Calls: 3, Sent: 7, Received: 5, Methods: map[string]int64{"ChainHead": 2, "MpoolPush": 1}}, c.Usage())
}
