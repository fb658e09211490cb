package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// serverLock is the number of the advisory lock of the server on a database. Two servers that do not know of each other would
// take history shards from each other all the time: nothing is lost, but nothing gets done.
const serverLock = 0x706f73746864 // "posthd"

// How the lock is watched. PostgreSQL drops it when the connection is gone: at once when the process ends, and after about 30 s
// when the machine does.
const (
	lockLook    = 2 * time.Second
	lockPatient = 2 * time.Minute // for a PostgreSQL that restarts; the server itself waits alike
)

const lockSession = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4"

// pgLock is held for as long as the process serves from the database.
type pgLock struct {
	p    postgresOptions
	db   *sql.DB
	conn *sql.Conn
}

// acquirePgLock refuses a database that another temporal-dev serves from.
func acquirePgLock(ctx context.Context, p postgresOptions) (*pgLock, error) {
	l := &pgLock{p: p}
	return l, l.take(ctx)
}

var errServed = errors.New("another temporal-dev serves from it")

func (l *pgLock) take(ctx context.Context) error {
	db, err := l.p.connect(ctx, l.p.Database)
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err == nil && !l.p.socket() {
		_, err = conn.ExecContext(ctx, lockSession)
	}
	mine := false
	if err == nil {
		err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", int64(serverLock)).Scan(&mine)
	}
	switch {
	case err != nil:
		_ = db.Close()
		return l.p.explain(err, l.p.Database)
	case !mine:
		err := fmt.Errorf("%s, database %s: %w%s: stop that one, or give other databases", l.p.where(), l.p.Database, errServed, holder(ctx, db))
		_ = db.Close()
		return err
	}
	l.db, l.conn = db, conn
	return nil
}

// holder says from where the other one is connected.
func holder(ctx context.Context, db *sql.DB) string {
	var address string
	var since time.Time
	err := db.QueryRowContext(ctx, `SELECT coalesce(host(client_addr), 'this machine'), backend_start FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'advisory' AND granted AND classid::bigint << 32 | objid::bigint = $1`, int64(serverLock)).Scan(&address, &since)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", from %s since %s", address, since.Format(time.RFC3339))
}

// keep returns with an error when the lock is lost for good: another server has it, or PostgreSQL stays away. Nil: ctx has ended.
func (l *pgLock) keep(ctx context.Context) error {
	var away time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lockLook):
		}
		err := l.look(ctx)
		if err != nil && ctx.Err() == nil {
			if away.IsZero() {
				away = time.Now()
			}
			if errors.Is(err, errServed) || time.Since(away) > lockPatient {
				return err
			}
			continue
		}
		away = time.Time{}
	}
}

// look checks the connection that holds the lock, and takes the lock again over another if it is gone.
func (l *pgLock) look(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	if l.conn != nil {
		var one int
		if err := l.conn.QueryRowContext(limited, "SELECT 1").Scan(&one); err == nil {
			return nil
		}
		l.release()
	}
	return l.take(limited)
}

func (l *pgLock) release() {
	if l.conn == nil {
		return
	}
	_ = l.conn.Close()
	_ = l.db.Close() // the session ends, and the lock with it
	l.conn, l.db = nil, nil
}
