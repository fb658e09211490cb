package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports that freePorts chooses among. Connections that somebody makes, and servers that ask for any port, get one from 32768 on: such a port could
// be gone before the server that it is for listens there, or while that server is down.
const (
	lowestPort  = 10000
	highestPort = 32767
)

// givenPorts are those that rigs of this process have.
var givenPorts = struct {
	sync.Mutex
	all map[int]bool
}{all: map[int]bool{}}

// freePorts finds ports that nobody uses now. They are kept for the rig's life, so that a server can come back where it was.
func freePorts(n int) ([]int, error) {
	givenPorts.Lock()
	defer givenPorts.Unlock()
	var ports []int
	var last error
	for range 100 * n {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if givenPorts.all[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		_ = l.Close()
		givenPorts.all[port] = true
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("looking for a free port: %w", last)
}
