package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/persistence/sql/sqlplugin"
	schema "go.temporal.io/server/schema/sqlite"
)

// serverVersion is the version of the Temporal server that is linked in.
const serverVersion = headers.ServerVersion

// The stamp stands in the SQLite header (https://www.sqlite.org/fileformat.html, section 1.3): application_id says
// that temporal-dev made the file, user_version with which server. It can so be read without opening the database,
// which could already change it, and it travels with the file when that is copied. It is written before the file
// gets its name, so it is never only in a write-ahead log.
const (
	sqliteMagic       = "SQLite format 3\x00"
	applicationID     = 0x706f7374 // "post"
	headerLen         = 100
	userVersionAt     = 60
	applicationIDAt   = 68
	sqliteDriver      = "sqlite" // registered by the server's SQLite plugin
	unfinishedSuffix  = ".new"
	versionPartFactor = 1000
)

// inspect says whether the database file must be created. It only reads the file's first 100 bytes, and refuses what
// this server cannot use: Temporal never migrates a SQLite file.
func inspect(path string) (create bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, refuseLeftovers(path)
	}
	if err != nil {
		return false, fmt.Errorf("open the database: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("open the database: %w", err)
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s is not a file: give a file's name to --db-file", path)
	}
	if info.Size() == 0 {
		return true, refuseLeftovers(path)
	}
	header := make([]byte, headerLen)
	if _, err := io.ReadFull(f, header); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fmt.Errorf("read the database: %w", err)
	}
	return false, checkStamp(path, header)
}

func checkStamp(path string, header []byte) error {
	if !strings.HasPrefix(string(header), sqliteMagic) {
		return fmt.Errorf("%s is not a SQLite database, it was left as it is: give another --db-file, a new one is created", path)
	}
	if binary.BigEndian.Uint32(header[applicationIDAt:]) != applicationID {
		return fmt.Errorf("%s is a SQLite database that temporal-dev did not make, it was left as it is: "+
			"give another --db-file, a new one is created", path)
	}
	want, err := encodeVersion(serverVersion)
	if err != nil {
		return err
	}
	if got := binary.BigEndian.Uint32(header[userVersionAt:]); got != want {
		return fmt.Errorf("%s was written by Temporal server %s, this one is %s and cannot convert it, it was left as it is: "+
			"run the temporal-dev of %[2]s on it until its workflows are done, or give another --db-file", path, decodeVersion(got), serverVersion)
	}
	return nil
}

// refuseLeftovers stops a new database from being made beside the log of a lost one, which SQLite would replay into it.
func refuseLeftovers(path string) error {
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(path + suffix); err == nil && info.Size() > 0 {
			return fmt.Errorf("%s is missing but its log %s is there: put the database back, or move the log away to start anew",
				path, path+suffix)
		}
	}
	return nil
}

// encodeVersion turns 1.32.1 into 1032001.
func encodeVersion(v string) (uint32, error) {
	parts := strings.Split(v, ".")
	if len(parts) != 3 {
		return 0, fmt.Errorf("version %q is not of the form 1.2.3", v)
	}
	var out uint32
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil || n >= versionPartFactor {
			return 0, fmt.Errorf("version %q is not of the form 1.2.3", v)
		}
		out = out*versionPartFactor + uint32(n)
	}
	return out, nil
}

func decodeVersion(n uint32) string {
	return fmt.Sprintf("%d.%d.%d", n/versionPartFactor/versionPartFactor, n/versionPartFactor%versionPartFactor, n%versionPartFactor)
}

// createDatabase makes a stamped database with Temporal's schema. It works under another name and renames at the end:
// whatever interrupts it, path is either complete or not there.
func createDatabase(ctx context.Context, path string) error {
	unfinished := path + unfinishedSuffix
	for _, suffix := range []string{"", "-journal"} {
		if err := os.Remove(unfinished + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("create the database: %w", err)
		}
	}
	if err := fillDatabase(ctx, unfinished); err != nil {
		return fmt.Errorf("create the database %s: %w", unfinished, err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	defer dir.Close()
	return dir.Sync()
}

func fillDatabase(ctx context.Context, path string) error {
	version, err := encodeVersion(serverVersion)
	if err != nil {
		return err
	}
	db, err := sql.Open(sqliteDriver, "file:"+uriPath(path)+"?mode=rwc&_pragma=synchronous=full")
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := schema.SetupSchemaOnDB(schemaTarget{ctx: ctx, tx: tx}); err != nil {
		return err
	}
	stamp := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)
	if _, err := tx.ExecContext(ctx, stamp); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return db.Close()
}

// schemaTarget lets the server's schema helper write into a transaction of ours. The helper only calls Exec.
type schemaTarget struct {
	sqlplugin.AdminDB
	ctx context.Context
	tx  *sql.Tx
}

func (t schemaTarget) Exec(stmt string, args ...any) error {
	_, err := t.tx.ExecContext(t.ctx, stmt, args...)
	return err
}

// foldLog moves the write-ahead log into the database, so that a server which was stopped cleanly leaves one file.
func foldLog(ctx context.Context, path string) error {
	db, err := sql.Open(sqliteDriver, "file:"+uriPath(path)+"?mode=rw&_pragma=busy_timeout=2000")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// uriPath escapes a path for SQLite's file: URIs, where ?, # and % would cut or change it.
func uriPath(path string) string {
	return (&url.URL{Path: path}).EscapedPath()
}
