package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// ports are the TCP ports of one temporal-dev. Only frontend and UI are for others; no number is fixed for the rest,
// so any number of them run side by side.
type ports struct {
	frontend, history, matching, worker int
	ui                                  int // 0 when headless
}

// internalIP is where the services that only this process uses listen.
const internalIP = "127.0.0.1"

// choosePorts picks and checks every port before anything is started: the Web UI ends the whole process when it
// cannot listen, and the server logs a stack trace. All are held open until all are known, so none is picked twice.
func choosePorts(o options) (ports, error) {
	var p ports
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	wanted := []struct {
		flag, ipFlag, ip string
		port             int
		into             *int
	}{
		{"--port", "--ip", o.ip, o.port, &p.frontend},
		{"--ui-port", "--ui-ip", o.uiIP, o.uiPort, &p.ui},
		{"", "", internalIP, 0, &p.history},
		{"", "", internalIP, 0, &p.matching},
		{"", "", internalIP, 0, &p.worker},
	}
	for _, w := range wanted {
		if w.into == &p.ui && o.headless {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(w.ip, strconv.Itoa(w.port)))
		if err != nil {
			return p, listenError(err, w.flag, w.ipFlag, w.ip, w.port)
		}
		held = append(held, l)
		*w.into = l.Addr().(*net.TCPAddr).Port
		if w.port == 0 {
			keepFromOthers(l)
		}
	}
	return p, nil
}

func listenError(err error, portFlag, ipFlag, ip string, port int) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d on %s is taken by another process: stop that one, or choose another with %s (0 takes any free one)",
			port, ip, portFlag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s is not an address of this machine: give one that is, or 127.0.0.1", ipFlag, ip)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d on %s is not allowed to this user: choose one above 1023 with %s", port, ip, portFlag)
	default:
		return fmt.Errorf("listen on %s port %d: %w", ip, port, err)
	}
}

// keepFromOthers leaves a closed connection in TIME_WAIT on a port that the kernel picked. For the next minute the
// kernel then gives it to nobody else who asks for any port, while we can still listen on it by its number.
func keepFromOthers(l net.Listener) {
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return // only makes a collision, which is reported, a little likelier
	}
	defer c.Close()
	if server, err := l.Accept(); err == nil {
		_ = server.Close() // this side first: it is the one that stays in TIME_WAIT
	}
}

// dialIP is the address at which something that listens on ip is reached from this machine.
func dialIP(ip string) string {
	switch parsed := net.ParseIP(ip); {
	case !parsed.IsUnspecified():
		return ip
	case parsed.To4() != nil:
		return "127.0.0.1"
	default:
		return "::1"
	}
}

func hostPort(ip string, port int) string {
	return net.JoinHostPort(ip, strconv.Itoa(port))
}
