package main

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/server/common/log"
	v12 "go.temporal.io/server/schema/postgresql/v12"
	"go.temporal.io/server/tools/common/schema"
	toolsql "go.temporal.io/server/tools/sql"
)

// wanted is what one of Temporal's databases must be for the server that is linked in.
type wanted struct {
	database string
	schema   string // its name among the server's embedded ones
	version  string
}

func (p *postgresOptions) wanted() []wanted {
	return []wanted{
		{p.Database, "postgresql/v12/temporal", v12.Version},
		{p.Visibility, "postgresql/v12/visibility", v12.VisibilityVersion},
	}
}

// databaseState is what one of the databases is.
type databaseState struct {
	Database string `json:"database"`
	Before   string `json:"before"` // schema version; empty: it has none
	After    string `json:"after"`  // with --check: what it would be
	Missing  bool   `json:"missing"`
}

// notUpToDate is what --check ends with when something is to be done.
var notUpToDate = errors.New("not up to date: run it without --check")

// schemaCommand brings the two databases up. Done again, it changes nothing.
func schemaCommand(ctx context.Context, args []string, out, help io.Writer) error {
	var p postgresOptions
	var check, asJSON bool
	fs := flag.NewFlagSet("temporal-dev schema", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	p.flags(fs)
	fs.BoolVar(&check, "check", false, "change nothing; exit code 1 if something is to be done")
	fs.BoolVar(&asJSON, "json", false, "one JSON object a database, in place of text")
	if err := parseCommand(fs, args, 0, "temporal-dev schema: makes and updates Temporal's databases on a PostgreSQL server", help); err != nil {
		return err
	}
	if p.Host == "" {
		return usageError{errors.New("--postgres is missing: name the PostgreSQL server, for example --postgres 127.0.0.1:5432")}
	}
	if err := p.complete(os.Getenv); err != nil {
		return usageError{err}
	}
	todo := false
	for _, w := range p.wanted() {
		state, err := p.bringUp(ctx, w, check)
		if err != nil {
			return err
		}
		todo = todo || state.Before != state.After
		if asJSON {
			err = json.NewEncoder(out).Encode(state)
		} else {
			_, err = fmt.Fprintln(out, state.line(check))
		}
		if err != nil {
			return fmt.Errorf("print what was done: %w", err)
		}
	}
	if check && todo {
		return notUpToDate
	}
	return nil
}

// parseCommand reads the flags of a command that takes so many arguments.
func parseCommand(fs *flag.FlagSet, args []string, n int, about string, help io.Writer) error {
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(help, about)
		fs.SetOutput(help)
		fs.PrintDefaults()
		return err
	case err != nil:
		return usageError{fmt.Errorf("%w; see %s --help", err, fs.Name())}
	case fs.NArg() != n:
		return usageError{fmt.Errorf("%d arguments in place of %d; see %s --help", fs.NArg(), n, fs.Name())}
	}
	return nil
}

func (s databaseState) line(check bool) string {
	before := "schema " + s.Before
	switch {
	case s.Missing:
		before = "not there"
	case s.Before == "":
		before = "no schema"
	}
	switch {
	case s.Before == s.After:
		return fmt.Sprintf("%s: schema %s, up to date", s.Database, s.After)
	case check:
		return fmt.Sprintf("%s: %s, would become schema %s", s.Database, before, s.After)
	default:
		return fmt.Sprintf("%s: %s, now schema %s", s.Database, before, s.After)
	}
}

// bringUp makes a database if it is missing and gives it the schema of this server. With check it only says what it would do.
// The server's own setup task would set the version of a live database back: it is only used where there is none.
func (p *postgresOptions) bringUp(ctx context.Context, w wanted, check bool) (databaseState, error) {
	state := databaseState{Database: w.database, After: w.version}
	db, err := p.connect(ctx, w.database)
	if state.Missing = missing(ctx, p, w.database, err); state.Missing {
		if check {
			return state, nil
		}
		if err := p.create(ctx, w.database); err != nil {
			return state, err
		}
		db, err = p.connect(ctx, w.database)
	}
	if err != nil {
		return state, err
	}
	defer db.Close()
	if state.Before, err = readVersion(ctx, db, w.database); err != nil {
		return state, p.explain(err, w.database)
	}
	if err := comparable(state, w, p); err != nil {
		return state, err
	}
	switch {
	case state.Before == w.version:
		return state, nil
	case check && state.Before == "":
		return state, refuseForeign(ctx, db, w.database, p)
	case check:
		return state, nil
	}
	unlock, err := lockSchema(ctx, db)
	if err != nil {
		return state, p.explain(err, w.database)
	}
	defer unlock()
	// Whoever had the lock before may have done it: tables that are made twice would be an error, and versions be set back.
	found, err := readVersion(ctx, db, w.database)
	if err != nil {
		return state, p.explain(err, w.database)
	}
	if found == "" {
		// Only now: before the lock, the tables may be those that another is making.
		if err := refuseForeign(ctx, db, w.database, p); err != nil {
			return state, err
		}
	}
	if found != w.version {
		if err := p.apply(w, found == ""); err != nil {
			return state, p.explain(err, w.database)
		}
	}
	if state.After, err = readVersion(ctx, db, w.database); err != nil {
		return state, p.explain(err, w.database)
	}
	return state, nil
}

// checkSchema refuses a database that this server cannot work on. A newer one than it knows is no harm: Temporal's schemas stay
// usable for the server before.
func checkSchema(ctx context.Context, p *postgresOptions, w wanted) error {
	db, err := p.connect(ctx, w.database)
	if err != nil {
		return err
	}
	defer db.Close()
	version, err := readVersion(ctx, db, w.database)
	switch {
	case err != nil:
		return p.explain(err, w.database)
	case version == "" || newer(w.version, version):
		return fmt.Errorf("%s: database %s has %s, Temporal server %s needs %s: run `posthaste temporal schema` first",
			p.where(), w.database, cmp.Or(version, "no schema"), serverVersion, w.version)
	}
	return nil
}

// missing is whether a connection failed because the database is not there. The error is explained already, so it is asked again.
func missing(ctx context.Context, p *postgresOptions, database string, err error) bool {
	if err == nil {
		return false
	}
	db, err := p.connect(ctx, "postgres")
	if err != nil {
		return false
	}
	defer db.Close()
	var n int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM pg_database WHERE datname = $1", database).Scan(&n)
	return err == nil && n == 0
}

func (p *postgresOptions) create(ctx context.Context, database string) error {
	db, err := p.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `CREATE DATABASE "`+database+`"`) // its name was checked
	switch {
	case hasCode(err, codeDatabaseThere), hasCode(err, codeNotUnique): // somebody else was quicker, by a moment in the second case
		return nil
	case hasCode(err, codeNoRight):
		return fmt.Errorf(`%s: user %s may not create databases: let an administrator do it, `+
			`CREATE DATABASE "%s" OWNER "%s"; then run this again`, p.where(), p.User, database, p.User)
	default:
		return p.explain(err, database)
	}
}

// readVersion is a database's schema version; empty: it has none.
func readVersion(ctx context.Context, db *sql.DB, database string) (string, error) {
	var version string
	err := db.QueryRowContext(ctx, "SELECT curr_version FROM schema_version WHERE version_partition = 0 AND db_name = $1", database).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) || hasCode(err, codeNoTable) {
		return "", nil
	}
	return version, err
}

// comparable refuses a database that a newer server has been at.
func comparable(s databaseState, w wanted, p *postgresOptions) error {
	if s.Before == "" || !newer(s.Before, w.version) {
		return nil
	}
	return fmt.Errorf("%s: database %s has schema %s, newer than %s of Temporal server %s, it was left as it is: use the newer server's program",
		p.where(), w.database, s.Before, w.version, serverVersion)
}

// newer compares versions such as 1.18.
func newer(a, b string) bool {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(left), len(right)) {
		if x, y := part(left, i), part(right, i); x != y {
			return x > y
		}
	}
	return false
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i])
	return n
}

// refuseForeign keeps Temporal's tables out of a database that something else uses.
func refuseForeign(ctx context.Context, db *sql.DB, database string, p *postgresOptions) error {
	var table string
	err := db.QueryRowContext(ctx, `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'
		AND table_name NOT IN ('schema_version', 'schema_update_history') ORDER BY 1 LIMIT 1`).Scan(&table)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return p.explain(err, database)
	default:
		return fmt.Errorf("%s: database %s has tables that are not Temporal's (%s, say) and was left as it is: give other names with "+
			"--postgres-database and --postgres-visibility-database", p.where(), database, table)
	}
}

// schemaLock is the number of the advisory lock under which a database is changed: two at once would trip over each other.
const schemaLock = 0x706f7374736d // "postsm"

// schemaLook is how often somebody who waits for schemaLock looks.
const schemaLook = 200 * time.Millisecond

// lockSchema waits for whoever else changes the database. It asks again and again: a statement that waits would itself be waited for by
// CREATE INDEX CONCURRENTLY, which the schemas have.
func lockSchema(ctx context.Context, db *sql.DB) (unlock func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	for mine := false; !mine; {
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", int64(schemaLock)).Scan(&mine); err != nil {
			_ = conn.Close()
			return nil, err
		}
		if !mine {
			select {
			case <-time.After(schemaLook):
			case <-ctx.Done():
				_ = conn.Close()
				return nil, ctx.Err()
			}
		}
	}
	return func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(schemaLock))
		_ = conn.Close()
	}, nil
}

// apply does what temporal-sql-tool would: version tables in an empty database, then every update that it lacks.
func (p *postgresOptions) apply(w wanted, empty bool) error {
	logger := log.NewNoopLogger() // its lines are about itself; errors come back
	conn, err := toolsql.NewConnection(p.sql(w.database), logger)
	if err != nil {
		return err
	}
	defer conn.Close()
	if empty {
		if err := schema.NewSetupSchemaTask(conn, &schema.SetupConfig{InitialVersion: "0.0"}, logger).Run(); err != nil {
			return fmt.Errorf("the version tables: %w", err)
		}
	}
	return schema.NewUpdateSchemaTask(conn, &schema.UpdateConfig{SchemaName: w.schema}, logger).Run()
}
