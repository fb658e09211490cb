package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestBadFlags(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"no file", nil, []string{"--db-file", "missing"}},
		{"unknown flag", []string{"--db", "x"}, []string{"-db", "--help"}},
		{"stray argument", []string{"--db-file", "x", "y"}, []string{`"y"`}},
		{"host name for an address", []string{"--db-file", "x", "--ip", "localhost"}, []string{"--ip", "localhost", "127.0.0.1"}},
		{"bad address of the Web UI", []string{"--db-file", "x", "--ui-ip", "1.2.3"}, []string{"--ui-ip", "1.2.3"}},
		{"port out of range", []string{"--db-file", "x", "--port", "70000"}, []string{"--port", "70000", "65535"}},
		{"port that is no number", []string{"--db-file", "x", "--ui-port", "web"}, []string{"ui-port", "web"}},
		{"one port for both", []string{"--db-file", "x", "--port", "9000", "--ui-port", "9000"}, []string{"--port", "--ui-port", "9000"}},
		{"no namespace", []string{"--db-file", "x", "--namespace", ""}, []string{"--namespace"}},
		{"retention too short", []string{"--db-file", "x", "--retention", "1m"}, []string{"--retention", "1m0s", "1h0m0s"}},
		{"unknown log level", []string{"--db-file", "x", "--log-level", "loud"}, []string{"--log-level", "loud", "warn"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseFlags(test.args, io.Discard)
			if err == nil {
				t.Fatal("accepted")
			}
			wantIn(t, err.Error(), test.want...)
		})
	}
	wantIn(t, refused(t, exitUsage, "--port", "1"), "--db-file")
}

func TestFlagDefaults(t *testing.T) {
	o, err := parseFlags([]string{"--db-file", "x", "--ip", "0.0.0.0"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		dbFile: "x", ip: "0.0.0.0", port: 7233, uiIP: "0.0.0.0", uiPort: 8233,
		namespace: "default", retention: 7 * 24 * time.Hour, logLevel: "warn",
		postgres: postgresOptions{Database: "temporal", Visibility: "temporal_visibility", TLS: "disable"},
	}
	if o != want {
		t.Errorf("got %+v, want %+v", o, want)
	}
	var help bytes.Buffer
	if _, err := parseFlags([]string{"--help"}, &help); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help gave %v", err)
	}
	wantIn(t, help.String(), "-db-file", "-headless", "-retention")
}

func TestLock(t *testing.T) {
	db := filepath.Join(t.TempDir(), "temporal.db")
	long := instance{Address: "127.0.0.1:65535", UI: "http://127.0.0.1:8233", Namespace: "default", PID: 4194303}
	if err := os.WriteFile(db+".lock", long.line(), 0o644); err != nil { // of a dead process
		t.Fatal(err)
	}
	held, err := acquireLock(db, instance{PID: 7})
	if err != nil {
		t.Fatalf("a dead process's lock was not taken over: %v", err)
	}
	_, err = acquireLock(db, instance{PID: 8})
	if err == nil {
		t.Fatal("locked twice")
	}
	wantIn(t, err.Error(), "pid 7", "starting")

	mine := instance{Address: "127.0.0.1:7233", PID: 7}
	if err := held.write(mine); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(db + ".lock"); err != nil || !bytes.Equal(b, mine.line()) {
		t.Errorf("the lock file says %q (%v)", b, err)
	}
	held.release()
	again, err := acquireLock(db, instance{PID: 8})
	if err != nil {
		t.Fatalf("a released lock is not free: %v", err)
	}
	again.release()
}

func TestDialIP(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1": "127.0.0.1", "10.1.2.3": "10.1.2.3", "0.0.0.0": "127.0.0.1", "::": "::1", "::1": "::1",
	} {
		if got := dialIP(listen); got != want {
			t.Errorf("listening on %s is reached at %s, want %s", listen, got, want)
		}
	}
}
