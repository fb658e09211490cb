package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"go.temporal.io/server/common/auth"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"
)

// postgresOptions say where Temporal's two databases are. The password is never a flag: everybody on a machine can read
// the command lines of others.
type postgresOptions struct {
	Host         string // name, address or folder of a socket, and its port; empty: not PostgreSQL
	User         string
	Database     string // what workflows are
	Visibility   string // what lists of them are read from
	PasswordFile string
	TLS          string // disable, require, verify-full
	CA           string // files
	Cert         string
	Key          string

	port     int
	password string
}

const (
	defaultPostgresPort = 5432
	// postgresConns is for each of the four services, once for either database; PostgreSQL gives 100 connections by default.
	postgresConns = 8
	// connectLimit: a server that does not answer is told apart from a slow one.
	connectLimit = 10 * time.Second
)

func (p *postgresOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&p.Host, "postgres", "", "`host[:port]` of a PostgreSQL server, or the folder of its socket, in place of a file")
	fs.StringVar(&p.User, "postgres-user", "", "`name` to log in with (default: PGUSER, else temporal); the password is PGPASSWORD's or ~/.pgpass's")
	fs.StringVar(&p.PasswordFile, "postgres-password-file", "", "`file` with the password in its first line")
	fs.StringVar(&p.Database, "postgres-database", "temporal", "`name` of the database of workflows")
	fs.StringVar(&p.Visibility, "postgres-visibility-database", "temporal_visibility", "`name` of the database of lists")
	fs.StringVar(&p.TLS, "postgres-tls", "disable", "`mode`: disable, require (encrypted, anybody) or verify-full")
	fs.StringVar(&p.CA, "postgres-ca", "", "`file` of certificates that the server's is checked with")
	fs.StringVar(&p.Cert, "postgres-cert", "", "`file` of a client certificate")
	fs.StringVar(&p.Key, "postgres-key", "", "`file` of its key")
}

// complete checks the options and reads the password.
func (p *postgresOptions) complete(getenv func(string) string) error {
	host, port := p.Host, ""
	if i := strings.LastIndex(host, ":"); i >= 0 && (strings.Count(host, ":") == 1 || host[0] == '[' && host[i-1] == ']') {
		host, port = host[:i], host[i+1:]
	}
	p.Host = strings.Trim(host, "[]")
	n, err := strconv.Atoi(cmp.Or(port, getenv("PGPORT"), strconv.Itoa(defaultPostgresPort)))
	if err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("--postgres %s: the port is not a number from 1 to 65535", p.Host)
	}
	p.port = n
	p.User = cmp.Or(p.User, getenv("PGUSER"), "temporal")
	for flag, name := range map[string]string{"--postgres-database": p.Database, "--postgres-visibility-database": p.Visibility} {
		if name == "" || strings.ContainsAny(name, `"/?#%& `) {
			return fmt.Errorf("%s %q is no name of a database for Temporal: letters, digits, _ and -", flag, name)
		}
	}
	if p.Database == p.Visibility {
		return fmt.Errorf("--postgres-database and --postgres-visibility-database are both %s: give each a database of its own", p.Database)
	}
	switch p.TLS {
	case "disable", "require", "verify-full":
	default:
		return fmt.Errorf("--postgres-tls %q is not one of disable, require, verify-full", p.TLS)
	}
	p.password = getenv("PGPASSWORD")
	if p.PasswordFile != "" {
		text, err := os.ReadFile(p.PasswordFile)
		if err != nil {
			return fmt.Errorf("--postgres-password-file: %w", err)
		}
		p.password, _, _ = strings.Cut(string(text), "\n")
		p.password = strings.TrimSuffix(p.password, "\r")
	}
	if strings.Contains(p.password, " ") {
		return errors.New("the password has a space, which Temporal's server cannot send: give that user another password")
	}
	return nil
}

// where is the server, for people.
func (p *postgresOptions) where() string {
	if p.socket() {
		return fmt.Sprintf("PostgreSQL at %s, port %d", p.Host, p.port)
	}
	return "PostgreSQL at " + net.JoinHostPort(p.Host, strconv.Itoa(p.port))
}

func (p *postgresOptions) socket() bool { return strings.HasPrefix(p.Host, "/") }

// sql is how Temporal's own code connects to one of the databases.
func (p *postgresOptions) sql(database string) *config.SQL {
	c := &config.SQL{
		PluginName:        postgresql.PluginNamePGX,
		User:              url.QueryEscape(p.User), // it is put into an address as it is
		Password:          p.password,
		DatabaseName:      database,
		ConnectAddr:       net.JoinHostPort(p.Host, strconv.Itoa(p.port)),
		ConnectProtocol:   "tcp",
		ConnectAttributes: map[string]string{"application_name": "temporal-dev", "connect_timeout": strconv.Itoa(int(connectLimit.Seconds()))},
		MaxConns:          postgresConns,
		MaxIdleConns:      postgresConns / 2,
		MaxConnLifetime:   time.Hour,
	}
	if p.socket() {
		c.ConnectAddr = ""
		c.ConnectAttributes["host"], c.ConnectAttributes["port"] = p.Host, strconv.Itoa(p.port)
	}
	if p.TLS != "disable" {
		c.TLS = &auth.TLS{Enabled: true, CaFile: p.CA, CertFile: p.Cert, KeyFile: p.Key, EnableHostVerification: p.TLS == "verify-full"}
	}
	return c
}

// connect opens one of the databases for a few statements of our own.
func (p *postgresOptions) connect(ctx context.Context, database string) (*sql.DB, error) {
	values := url.Values{
		"host": {p.Host}, "port": {strconv.Itoa(p.port)}, "user": {p.User}, "application_name": {"temporal-dev"},
		"sslmode": {p.TLS}, "connect_timeout": {strconv.Itoa(int(connectLimit.Seconds()))},
	}
	for name, value := range map[string]string{"sslrootcert": p.CA, "sslcert": p.Cert, "sslkey": p.Key} {
		if value != "" {
			values.Set(name, value)
		}
	}
	parsed, err := pgx.ParseConfig("postgres:///" + url.PathEscape(database) + "?" + values.Encode())
	if err != nil {
		return nil, p.explain(err, database)
	}
	if p.password != "" { // not in the address, which errors quote
		parsed.Password = p.password
	}
	db := stdlib.OpenDB(*parsed)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, p.explain(err, database)
	}
	return db, nil
}

// PostgreSQL's error codes (its manual, appendix A).
const (
	codeNoDatabase    = "3D000"
	codeWrongPassword = "28P01"
	codeNotAllowedIn  = "28000"
	codeNoRight       = "42501"
	codeDatabaseThere = "42P04"
	codeNotUnique     = "23505"
	codeNoTable       = "42P01"
)

// hasCode is whether PostgreSQL refused with this code.
func hasCode(err error, code string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == code
}

// explain says in one line what a failure means and what to do about it.
func (p *postgresOptions) explain(err error, database string) error {
	var noHost *net.DNSError
	var network *net.OpError
	var wrong *pgconn.ParseConfigError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Unwrap() != nil:
		return fmt.Errorf("%s: the options do not fit: %s", p.where(), message(wrong.Unwrap()))
	case errors.As(err, &noHost):
		return fmt.Errorf("%s: there is no such host: correct --postgres", p.where())
	case hasCode(err, codeWrongPassword), hasCode(err, codeNotAllowedIn):
		return fmt.Errorf("%s does not let user %s in (%s): set PGPASSWORD or --postgres-password-file, or allow it in pg_hba.conf", p.where(), p.User, message(err))
	case hasCode(err, codeNoDatabase):
		return fmt.Errorf("%s has no database %s: make it with `posthaste temporal schema`", p.where(), database)
	case hasCode(err, codeNoRight):
		return fmt.Errorf("%s: user %s may not do that in database %s (%s): let it own the database, "+
			"or let somebody who may create databases run this", p.where(), p.User, database, message(err))
	case errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s does not answer: is it running, and does it listen there (listen_addresses)? (%s)", p.where(), message(err))
	default:
		return fmt.Errorf("%s, database %s: %s", p.where(), database, message(err))
	}
}

// message is an error in one line, PostgreSQL's without the address and the user, which are told already.
func message(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Message
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Error()
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
