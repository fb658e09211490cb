package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// backupCommand copies the database file, also while a server works on it.
func backupCommand(ctx context.Context, args []string, out, help io.Writer) error {
	dbFile, to, err := fileCommand("backup", "temporal-dev backup --db-file FILE TO: copies the database, also while it is in use", args, help)
	if err != nil {
		return err
	}
	size, err := backup(ctx, dbFile, to)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d bytes, Temporal server %s\n", to, size, serverVersion)
	return err
}

// restoreCommand puts a copy in the place of the database file.
func restoreCommand(ctx context.Context, args []string, out, help io.Writer) error {
	dbFile, from, err := fileCommand("restore", "temporal-dev restore --db-file FILE FROM: puts a backup in the place of the database, which must not be in use", args, help)
	if err != nil {
		return err
	}
	aside, err := restore(ctx, dbFile, from, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is %s now\n", dbFile, from)
	if aside != "" {
		fmt.Fprintf(out, "what was there before is %s\n", aside)
	}
	return nil
}

// fileCommand reads the command line of a command that has a database file and another one.
func fileCommand(name, about string, args []string, help io.Writer) (dbFile, other string, err error) {
	fs := flag.NewFlagSet("temporal-dev "+name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&dbFile, "db-file", "", "SQLite `file` of temporal-dev (required)")
	if err := parseCommand(fs, args, 1, about, help); err != nil {
		return "", "", err
	}
	if dbFile == "" {
		return "", "", usageError{fmt.Errorf("--db-file is missing; see temporal-dev %s --help", name)}
	}
	for _, path := range []struct {
		in string
		to *string
	}{{dbFile, &dbFile}, {fs.Arg(0), &other}} {
		if *path.to, err = filepath.Abs(path.in); err != nil {
			return "", "", err
		}
	}
	return dbFile, other, nil
}

// backup writes what the database holds at one moment into a new file, complete or not at all, and returns its size. It reads
// as any other reader does: a server on the database goes on meanwhile.
func backup(ctx context.Context, dbFile, to string) (int64, error) {
	if create, err := inspect(dbFile); err != nil {
		return 0, err
	} else if create {
		return 0, fmt.Errorf("there is no database %s to copy", dbFile)
	}
	if _, err := os.Lstat(to); err == nil {
		return 0, fmt.Errorf("%s is there already: give another name, or remove it", to)
	}
	unfinished := to + unfinishedSuffix
	defer os.Remove(unfinished) // not there any more when all went well
	if err := copyDatabase(ctx, dbFile, unfinished); err != nil {
		return 0, err
	}
	if err := checkCopy(ctx, unfinished); err != nil {
		return 0, err
	}
	return settle(unfinished, to)
}

// copyDatabase writes what a database holds, its log included, into a new file for nobody else's eyes: it holds all that workflows know.
func copyDatabase(ctx context.Context, from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write the copy: %w", err)
	}
	empty, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the copy: %w", err)
	}
	if err := empty.Close(); err != nil {
		return fmt.Errorf("write the copy: %w", err)
	}
	db, err := sql.Open(sqliteDriver, "file:"+uriPath(from)+"?mode=rw&_pragma=busy_timeout=10000")
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return nil
}

// checkCopy reads a copy through: a backup that cannot be used is none.
func checkCopy(ctx context.Context, path string) error {
	if _, err := inspect(path); err != nil {
		return err
	}
	db, err := sql.Open(sqliteDriver, "file:"+uriPath(path)+"?mode=ro")
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%s is damaged: %s", path, strings.Join(strings.Fields(verdict), " "))
	}
	return nil
}

// settle puts a complete file on the disk and gives it its name.
func settle(unfinished, path string) (int64, error) {
	f, err := os.Open(unfinished)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	defer dir.Close()
	return info.Size(), dir.Sync()
}

// restore puts a copy in the place of the database, and what was there, its log included, beside it: aside is its name then.
// SQLite would play the old log into the copy.
func restore(ctx context.Context, dbFile, from string, now time.Time) (aside string, err error) {
	create, err := inspect(from)
	if err != nil {
		return "", err
	}
	if create {
		return "", fmt.Errorf("there is no backup %s", from)
	}
	if err := checkCopy(ctx, from); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dbFile), 0o755); err != nil {
		return "", fmt.Errorf("create the database's folder: %w", err)
	}
	lock, err := acquireLock(dbFile, instance{ServerVersion: serverVersion, PID: os.Getpid()})
	if err != nil {
		return "", err
	}
	defer lock.release()
	unfinished := dbFile + unfinishedSuffix
	defer os.Remove(unfinished) // not there any more when all went well
	if err := copyDatabase(ctx, from, unfinished); err != nil {
		return "", err
	}
	if err := giveToOwner(unfinished, dbFile); err != nil {
		return "", err
	}
	if aside, err = putAside(dbFile, dbFile+".before-"+now.UTC().Format("20060102T150405Z")); err != nil {
		return "", err
	}
	_, err = settle(unfinished, dbFile)
	return aside, err
}

// putAside gives a database another name, if there is one, and takes its log away from the old name. The database itself keeps the old
// name, too, where the file system can do that: a restore that is cut off here must not look like a database that is still to be made.
func putAside(dbFile, name string) (aside string, err error) {
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Rename(dbFile+suffix, name+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("put %s aside: %w", dbFile+suffix, err)
		}
	}
	err = os.Link(dbFile, name)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrExist) {
		err = os.Rename(dbFile, name)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("put %s aside: %w", dbFile, err)
	}
	return name, nil
}

// giveToOwner gives a file that root has made to whom the database, or else its folder, belongs: the server that opens it is not root.
func giveToOwner(file, dbFile string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dbFile)
	if errors.Is(err, os.ErrNotExist) {
		info, err = os.Stat(filepath.Dir(dbFile))
	}
	if err != nil {
		return fmt.Errorf("whose the database is: %w", err)
	}
	if owner, known := info.Sys().(*syscall.Stat_t); known {
		if err := os.Chown(file, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("give the database to its owner: %w", err)
		}
	}
	return nil
}
