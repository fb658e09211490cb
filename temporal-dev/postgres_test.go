package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// These need no PostgreSQL; schema and server on a real one are tested with all of posthaste (testsuite/integration).

func parsePostgres(t *testing.T, env map[string]string, args ...string) (postgresOptions, error) {
	t.Helper()
	var p postgresOptions
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	p.flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return p, p.complete(func(name string) string { return env[name] })
}

func TestPostgresOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from-file\nnot this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, where, user, password string
		env                         map[string]string
		args                        []string
	}{
		{"a name alone", "PostgreSQL at db:5432", "temporal", "", nil, []string{"--postgres", "db"}},
		{"a port", "PostgreSQL at 10.0.0.7:6432", "temporal", "", nil, []string{"--postgres", "10.0.0.7:6432"}},
		{"IPv6", "PostgreSQL at [::1]:5432", "temporal", "", nil, []string{"--postgres", "::1"}},
		{"IPv6 and a port", "PostgreSQL at [::1]:6432", "temporal", "", nil, []string{"--postgres", "[::1]:6432"}},
		{"a socket", "PostgreSQL at /var/run/postgresql, port 5432", "temporal", "", nil, []string{"--postgres", "/var/run/postgresql"}},
		{"PostgreSQL's own environment", "PostgreSQL at db:7432", "ops", "s3cret",
			map[string]string{"PGPORT": "7432", "PGUSER": "ops", "PGPASSWORD": "s3cret"}, []string{"--postgres", "db"}},
		{"flags before the environment", "PostgreSQL at db:5432", "other", "from-file",
			map[string]string{"PGPORT": "7432", "PGUSER": "ops", "PGPASSWORD": "s3cret"},
			[]string{"--postgres", "db:5432", "--postgres-user", "other", "--postgres-password-file", file}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := parsePostgres(t, test.env, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if p.where() != test.where || p.User != test.user || p.password != test.password {
				t.Errorf("%s as %s with %q", p.where(), p.User, p.password)
			}
		})
	}
}

func TestRefusedPostgresOptions(t *testing.T) {
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"a port that is none", "port is not a number", []string{"--postgres", "db:x"}},
		{"one database for both", "a database of its own", []string{"--postgres", "db", "--postgres-visibility-database", "temporal"}},
		{"a name that is more than a name", "no name of a database", []string{"--postgres", "db", "--postgres-database", `x"; DROP DATABASE y`}},
		{"an unknown TLS mode", "verify-full", []string{"--postgres", "db", "--postgres-tls", "prefer"}},
		{"a password file that is missing", "no such file", []string{"--postgres", "db", "--postgres-password-file", "/none"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parsePostgres(t, nil, test.args...)
			if err == nil {
				t.Fatal("it was taken")
			}
			wantIn(t, err.Error(), test.want)
		})
	}
	wantIn(t, refused(t, exitUsage, "--db-file", dbPath(t), "--postgres", "db"), "both given")
	wantIn(t, refused(t, exitUsage, "schema"), "--postgres is missing")
	wantIn(t, refused(t, exitUsage, "schema", "--postgres", "db", "--overwrite"), "-overwrite")
	line := refused(t, exitFailed, "schema", "--postgres", "127.0.0.1:1")
	wantIn(t, line, "127.0.0.1:1 does not answer")
}

func TestPostgresRefusals(t *testing.T) {
	p, err := parsePostgres(t, map[string]string{"PGPASSWORD": "s3cret"}, "--postgres", "db")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		err        error
	}{
		{"no such host", "correct --postgres", &net.DNSError{Err: "no such host", Name: "db"}},
		{"a wrong password", "PGPASSWORD", &pgconn.PgError{Code: codeWrongPassword, Message: "password authentication failed"}},
		{"not in pg_hba.conf", "pg_hba.conf", &pgconn.PgError{Code: codeNotAllowedIn, Message: "no pg_hba.conf entry"}},
		{"no database", "posthaste temporal schema", &pgconn.PgError{Code: codeNoDatabase, Message: "does not exist"}},
		{"no right", "let it own the database", &pgconn.PgError{Code: codeNoRight, Message: "permission denied"}},
		{"no answer", "is it running", context.DeadlineExceeded},
		{"something else", "odd", &pgconn.PgError{Code: "XX000", Message: "odd"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := p.explain(fmt.Errorf("wrapped: %w", test.err), "temporal").Error()
			wantIn(t, got, test.want, "db:5432")
			if strings.Contains(got, "s3cret") || strings.Contains(got, "\n") {
				t.Errorf("not one line without secrets: %q", got)
			}
		})
	}
}

// What the driver says of an address quotes it.
func TestNoPasswordInComplaintsAboutOptions(t *testing.T) {
	t.Setenv("PGPASSWORD", "s3cret")
	for name, args := range map[string][]string{
		"certificates that are not there": {"--postgres-ca", "/none.pem"},
		"a certificate without its key":   {"--postgres-cert", "/none.pem"},
		"a key without its certificate":   {"--postgres-tls", "require", "--postgres-key", "/none.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			line := refused(t, exitFailed, append([]string{"schema", "--postgres", "127.0.0.1:1", "--postgres-tls", "verify-full"}, args...)...)
			wantIn(t, line, "127.0.0.1:1", "options do not fit")
			if strings.Contains(line, "s3cret") {
				t.Errorf("the password is told: %s", line)
			}
		})
	}
}

func TestNewerSchema(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{{"1.19", "1.9", true}, {"1.9", "1.19", false}, {"1.19", "1.19", false}, {"2.0", "1.19", true}, {"1.19.1", "1.19", true}, {"0.0", "1.0", false}} {
		if got := newer(test.a, test.b); got != test.want {
			t.Errorf("%s newer than %s: %t", test.a, test.b, got)
		}
	}
}
