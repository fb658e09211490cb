package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// temporalReady is temporal-dev's ready line, which also stands in the lock file beside its database.
type temporalReady struct {
	Address       string `json:"address"`
	UI            string `json:"ui"`
	Namespace     string `json:"namespace"`
	ServerVersion string `json:"server_version"`
	PID           int    `json:"pid"`
}

// lacks is where it answers, if the line does not say it.
func (r *temporalReady) lacks() string {
	if r.Address == "" || r.Namespace == "" {
		return "address and namespace"
	}
	return ""
}

// runningTemporal finds the temporal-dev that has the database open, if one does: its lock file is locked and says where it
// answers. Nil: none runs.
func runningTemporal(ctx context.Context, dbFile string) (*temporalReady, error) {
	lock, err := os.Open(dbFile + ".lock")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a running temporal-dev: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return nil, nil // closing it lets go of it
	}
	data, err := os.ReadFile(lock.Name())
	if err != nil {
		return nil, fmt.Errorf("looking for a running temporal-dev: %w", err)
	}
	var found temporalReady
	if err := json.Unmarshal(data, &found); err != nil || found.Address == "" {
		holder := "a process"
		if found.PID != 0 { // temporal-dev says who it is before it says where it answers
			holder = fmt.Sprintf("temporal-dev pid %d", found.PID)
		}
		return nil, fmt.Errorf("%s is in use by %s, which does not say where it answers; wait until it is ready, or stop it", dbFile, holder)
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", found.Address)
	if err != nil {
		return nil, fmt.Errorf("temporal-dev pid %d has %s open and does not answer at %s; stop it first: %w", found.PID, dbFile, found.Address, err)
	}
	_ = conn.Close()
	return &found, nil
}

// ports are where temporal-dev is to listen; 0: any free one.
type ports struct{ frontend, ui int }

// temporalProgram is temporal-dev on a database file.
func temporalProgram(dbFile, ip, namespace string, p ports, ready *temporalReady) (program, error) {
	path, err := sibling("temporal-dev")
	if err != nil {
		return program{}, err
	}
	return program{
		name: "temporal-dev", path: path, args: temporalArgs(dbFile, ip, namespace, p),
		ready: ready, within: time.Minute, // it starts in about 1 s; a busy disk's first sync takes longer
		// Where it was, so that everybody finds it again.
		again: func() []string { return temporalArgs(dbFile, ip, namespace, portsOf(*ready, p)) },
	}, nil
}

// portsOf are those that a running one has, or else the wanted ones.
func portsOf(ready temporalReady, wanted ports) ports {
	port := func(address string, otherwise int) int {
		_, text, err := net.SplitHostPort(address)
		number, err2 := strconv.Atoi(text)
		if err != nil || err2 != nil {
			return otherwise
		}
		return number
	}
	return ports{port(ready.Address, wanted.frontend), port(strings.TrimPrefix(ready.UI, "http://"), wanted.ui)}
}

func temporalArgs(dbFile, ip, namespace string, p ports) []string {
	return []string{
		"--db-file", dbFile, "--ip", ip, "--namespace", namespace,
		"--port", strconv.Itoa(p.frontend), "--ui-port", strconv.Itoa(p.ui),
	}
}

// freePort is the wanted port if nobody listens there, else 0: any free one.
func freePort(ctx context.Context, wanted int) int {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(wanted)))
	if err != nil {
		return 0
	}
	_ = l.Close()
	return wanted
}
