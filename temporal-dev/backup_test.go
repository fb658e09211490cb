package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// commanded runs one of the commands beside serving.
func commanded(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(args...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

func TestBackupWhileItRuns(t *testing.T) {
	db := dbPath(t)
	p := start(t, db, "--headless")
	c := dial(t, p)
	startWaiting(t, c, "before", 1)
	copied := filepath.Join(t.TempDir(), "copy of #1.db")
	wantIn(t, commanded(t, "backup", "--db-file", db, copied), copied, serverVersion)
	startWaiting(t, c, "after", 2)
	work(t, c)
	finish(t, c, "before", 2)

	wantIn(t, refused(t, exitFailed, "backup", "--db-file", db, copied), copied, "there already")
	wantIn(t, refused(t, exitFailed, "restore", "--db-file", db, copied), "in use by temporal-dev pid", p.info.Address)
	p.kill() // its log stays beside the database

	out := commanded(t, "restore", "--db-file", db, copied)
	aside := strings.TrimSpace(strings.TrimPrefix(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:], "what was there before is "))
	if info, err := os.Stat(db + "-wal"); err == nil && info.Size() > 0 {
		t.Error("the old log was left beside the copy")
	}
	p = start(t, db, "--headless")
	c = dial(t, p)
	work(t, c)
	finish(t, c, "before", 2) // it waits again, as when it was copied
	if _, err := c.DescribeWorkflowExecution(testContext(t), "after", ""); err == nil {
		t.Error("what was started after the copy is there")
	}
	p.stop()

	commanded(t, "restore", "--db-file", db, aside) // on second thoughts
	p = start(t, db, "--headless")
	c = dial(t, p)
	work(t, c)
	finish(t, c, "after", 4) // what was put aside is whole, with its log
}

// A restore by root is not the server's user's end.
func TestRestoredForItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	db, copied := filepath.Join(dir, "temporal.db"), filepath.Join(dir, "copy.db")
	if err := createDatabase(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	commanded(t, "backup", "--db-file", db, copied)
	if err := os.Chown(db, 12345, 12346); err != nil {
		t.Fatal(err)
	}
	commanded(t, "restore", "--db-file", db, copied)
	info, err := os.Stat(db)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 12345 || owner.Gid != 12346 {
		t.Errorf("it is %d:%d's", owner.Uid, owner.Gid)
	}
}

func TestRefusedCopies(t *testing.T) {
	dir := t.TempDir()
	db, other := filepath.Join(dir, "temporal.db"), filepath.Join(dir, "other.db")
	wantIn(t, refused(t, exitFailed, "backup", "--db-file", db, other), "no database")
	wantIn(t, refused(t, exitFailed, "restore", "--db-file", db, other), "no backup")
	wantIn(t, refused(t, exitUsage, "backup", other), "--db-file is missing")
	wantIn(t, refused(t, exitUsage, "backup", "--db-file", db), "0 arguments in place of 1")

	if err := createDatabase(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	commanded(t, "backup", "--db-file", db, other)
	if info, err := os.Stat(other); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy is for everybody: %v (%v)", info, err)
	}
	f, err := os.OpenFile(other, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 8192), 8192); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	wantIn(t, refused(t, exitFailed, "restore", "--db-file", db, other), other)
	if after, err := os.ReadFile(db); err != nil || string(after) != string(before) {
		t.Errorf("a damaged backup changed the database (%v)", err)
	}
}
