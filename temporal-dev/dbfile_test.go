package main

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func TestRefusedFiles(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made.db")
	if err := createDatabase(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	older := bytes.Clone(good)
	binary.BigEndian.PutUint32(older[userVersionAt:], 1031005)
	foreign := bytes.Clone(good)
	binary.BigEndian.PutUint32(foreign[applicationIDAt:], 0)

	for _, test := range []struct {
		name    string
		content []byte
		want    []string
	}{
		{"written by another server version", older, []string{"1.31.5", serverVersion, "--db-file"}},
		{"a SQLite database of something else", foreign, []string{"did not make", "--db-file"}},
		{"not a database at all", bytes.Repeat([]byte("some text\n"), 20), []string{"not a SQLite database", "--db-file"}},
		{"too short to tell", []byte("SQLite"), []string{"not a SQLite database"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			db := filepath.Join(dir, "temporal.db")
			if err := os.WriteFile(db, test.content, 0o644); err != nil {
				t.Fatal(err)
			}
			line := refused(t, exitFailed, "--db-file", db, "--port", "0", "--ui-port", "0")
			wantIn(t, line, append(test.want, db)...)
			after, err := os.ReadFile(db)
			if err != nil || !bytes.Equal(after, test.content) {
				t.Errorf("the file was changed (%v)", err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("something was left beside the file: %v (%v)", entries, err)
			}
		})
	}
}

func TestRefusedPlaces(t *testing.T) {
	dir := t.TempDir()
	wantIn(t, refused(t, exitFailed, "--db-file", dir), dir, "not a file")

	lost := filepath.Join(dir, "lost.db")
	if err := os.WriteFile(lost+"-wal", []byte("log"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantIn(t, refused(t, exitFailed, "--db-file", lost), lost, lost+"-wal")

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantIn(t, refused(t, exitFailed, "--db-file", filepath.Join(file, "temporal.db")), file)
}

func TestCreateDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "temporal.db")
	for _, suffix := range []string{"", "-journal"} { // what an interrupted attempt leaves
		if err := os.WriteFile(path+unfinishedSuffix+suffix, []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if create, err := inspect(path); err != nil || !create {
		t.Fatalf("a missing file: create %t, %v", create, err)
	}
	if err := createDatabase(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if create, err := inspect(path); err != nil || create {
		t.Fatalf("the file just made: create %t, %v", create, err)
	}
	db, err := sql.Open(sqliteDriver, "file:"+uriPath(path)+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tables int
	query := "SELECT count(*) FROM sqlite_schema WHERE name IN ('executions', 'namespaces', 'executions_visibility')"
	if err := db.QueryRow(query).Scan(&tables); err != nil || tables != 3 {
		t.Errorf("%d of three of Temporal's tables are there (%v)", tables, err)
	}
}

func TestEmptyFileIsNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "temporal.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if create, err := inspect(path); err != nil || !create {
		t.Errorf("create %t, %v", create, err)
	}
}

func TestVersionCode(t *testing.T) {
	for text, code := range map[string]uint32{"1.32.1": 1032001, "1.0.0": 1000000, "2.999.7": 2999007} {
		if got, err := encodeVersion(text); err != nil || got != code {
			t.Errorf("%s became %d (%v), want %d", text, got, err, code)
		}
		if got := decodeVersion(code); got != text {
			t.Errorf("%d became %s, want %s", code, got, text)
		}
	}
	for _, bad := range []string{"", "1.32", "1.32.1-rc.1", "1.1000.0", "a.b.c", "1.-1.0"} {
		if _, err := encodeVersion(bad); err == nil {
			t.Errorf("%q was taken for a version", bad)
		}
	}
}
