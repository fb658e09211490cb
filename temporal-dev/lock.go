package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// instance is what a running temporal-dev tells the world: one JSON line on stdout and in the lock file.
// Until it is healthy, the lock file holds it without Address and UI.
type instance struct {
	Address       string `json:"address"`
	UI            string `json:"ui"`
	Namespace     string `json:"namespace"`
	ServerVersion string `json:"server_version"`
	PID           int    `json:"pid"`
}

func (i instance) line() []byte {
	b, err := json.Marshal(i)
	if err != nil { // strings and an int always marshal
		panic(err)
	}
	return append(b, '\n')
}

// dbLock is held for as long as the process uses the database file. SQLite itself would let two servers work on one
// file, each believing that it owns all history shards.
type dbLock struct{ f *os.File }

// acquireLock takes <dbFile>.lock. The kernel drops a flock with its process, so a file left by a dead one is simply
// taken over; what such a file says must not be believed without trying the lock.
func acquireLock(dbFile string, self instance) (*dbLock, error) {
	path := dbFile + ".lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock file of the database (is its folder writable?): %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, lockedError(dbFile, path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	l := &dbLock{f: f}
	if err := l.write(self); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// write replaces the line in the lock file. It overwrites before it cuts, so that a reader never finds it empty.
func (l *dbLock) write(self instance) error {
	line := self.line()
	if _, err := l.f.WriteAt(line, 0); err != nil {
		return fmt.Errorf("write %s: %w", l.f.Name(), err)
	}
	if err := l.f.Truncate(int64(len(line))); err != nil {
		return fmt.Errorf("write %s: %w", l.f.Name(), err)
	}
	return nil
}

// release empties the lock file and lets go of it. The file stays: removing it would race with a process that has
// opened it and waits.
func (l *dbLock) release() {
	_ = l.f.Truncate(0)
	_ = l.f.Close()
}

func lockedError(dbFile, lockPath string) error {
	var holder instance
	b, err := os.ReadFile(lockPath)
	if err != nil || json.Unmarshal(b, &holder) != nil || holder.PID == 0 {
		return fmt.Errorf("%s is in use by another process: stop that one, or give another --db-file", dbFile)
	}
	if holder.Address == "" {
		return fmt.Errorf("%s is in use by temporal-dev pid %d, which is still starting: wait for it, or give another --db-file",
			dbFile, holder.PID)
	}
	return fmt.Errorf("%s is in use by temporal-dev pid %d at %s: connect to that one, stop it, or give another --db-file",
		dbFile, holder.PID, holder.Address)
}
