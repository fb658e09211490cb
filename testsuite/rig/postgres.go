package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Postgres is Debian's PostgreSQL on a folder and a port of its own.
type Postgres struct {
	*Process
	bin  string // folder of its programs
	port int
}

// What it is logged in to with.
const (
	postgresUser     = "operator"
	postgresPassword = "not-a-secret"
)

// ErrNoPostgres says that this machine has no PostgreSQL that could be started. Any other error is a failure.
var ErrNoPostgres = errors.New("there is no PostgreSQL here")

// NewPostgres starts a server that ends with the test.
func NewPostgres(t T) (*Postgres, error) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: nothing in /usr/lib/postgresql (Debian: apt-get install postgresql)", ErrNoPostgres)
	}
	slices.Sort(found)
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "posthaste-pg-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: filepath.Dir(found[len(found)-1]), port: ports[0]}
	t.Cleanup(func() {
		if p.Process != nil {
			p.Kill()
		}
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	as, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	if err := p.initialize(t.Context(), dir, as); err != nil {
		return nil, err
	}
	// What a killed process has written is the kernel's already: fsync is for power failures, and slow.
	args := []string{"-D", filepath.Join(dir, "data"), "-p", strconv.Itoa(p.port), "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"}
	p.Process = &Process{Name: "postgres", Log: filepath.Join(dir, "log"), as: as, command: func() (string, []string, []string, error) {
		return filepath.Join(p.bin, "postgres"), args, nil, nil
	}}
	return p, p.Start(t.Context())
}

// unprivileged gives a folder to somebody who is not root, whom PostgreSQL refuses; nil: we are not.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w that would run: it refuses root: %w", ErrNoPostgres, err)
	}
	for parent := filepath.Dir(dir); parent != "/"; parent = filepath.Dir(parent) {
		if info, err := os.Stat(parent); err != nil || info.Mode()&0o001 == 0 {
			return nil, fmt.Errorf("%w that would run: it refuses root, and nobody else may enter %s", ErrNoPostgres, parent)
		}
	}
	uid, err1 := strconv.Atoi(who.Uid)
	gid, err2 := strconv.Atoi(who.Gid)
	if err := errors.Join(err1, err2, os.Chown(dir, uid, gid)); err != nil {
		return nil, fmt.Errorf("a folder for PostgreSQL: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// initialize makes an empty server that wants a password.
func (p *Postgres) initialize(ctx context.Context, dir string, as *syscall.Credential) error {
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(postgresPassword), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", postgresUser, "--pwfile", password,
		"-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// Start returns when it takes connections.
func (p *Postgres) Start(ctx context.Context) error {
	if err := p.Process.Start(ctx); err != nil {
		return err
	}
	for {
		err := exec.CommandContext(ctx, filepath.Join(p.bin, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port)).Run()
		if err == nil {
			return nil
		}
		if err := errors.Join(p.Died(), pause(ctx, 50*time.Millisecond)); err != nil {
			return fmt.Errorf("starting PostgreSQL: %w", err)
		}
	}
}

// Flags are those of temporal-dev and `posthaste temporal schema` for it.
func (p *Postgres) Flags() []string {
	return []string{"--postgres", "127.0.0.1:" + strconv.Itoa(p.port), "--postgres-user", postgresUser}
}

// Env is what they need in their environment.
func (p *Postgres) Env() []string { return []string{"PGPASSWORD=" + postgresPassword} }

// Query is the answer to a statement, a row a line.
func (p *Postgres) Query(ctx context.Context, database, statement string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "psql"), "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", postgresUser, "-d", database, "-AtXq", "-c", statement)
	cmd.Env = append(os.Environ(), p.Env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql %s: %w: %s", database, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
