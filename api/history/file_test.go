package history

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wimcast/api"
	"wimcast/session"
)

// written is a file with a hundred sessions, closed.
func written(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.db")
	s, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		told(s, over(cast(n, "w11@1", n), n+1, ended(joined(1, "pc01", n), session.ClientProven, n+1)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestMigrate goes from each version to the latest, whole steps or none.
func TestMigrate(t *testing.T) {
	db := raw(t, filepath.Join(t.TempDir(), "x.db"))
	steps := []string{"CREATE TABLE a (x); INSERT INTO a VALUES (1)", "ALTER TABLE a ADD COLUMN y DEFAULT 7", "CREATE TABLE b (x); CREATE TABLE a (x)"}
	version := func() (v int) {
		t.Helper()
		if err := db.QueryRow("PRAGMA user_version").Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for n, want := range []int{1, 2} {
		if err := migrate(t.Context(), db, steps[:n+1]); err != nil || version() != want {
			t.Fatalf("to %d: version %d, %v", want, version(), err)
		}
	}
	var x, y int
	if err := db.QueryRow("SELECT x, y FROM a").Scan(&x, &y); err != nil || x != 1 || y != 7 {
		t.Errorf("after the second: %d, %d, %v", x, y, err)
	}
	if err := migrate(t.Context(), db, steps); err == nil || !strings.Contains(err.Error(), "schema 3") || version() != 2 {
		t.Errorf("a step that fails: version %d, %v", version(), err)
	}
	if _, err := db.Exec("SELECT * FROM b"); err == nil {
		t.Error("half of a step that failed is there")
	}
	err := migrate(t.Context(), db, steps[:1])
	if newer, ok := errors.AsType[*newerError](err); !ok || newer.has != 2 || newer.known != 1 {
		t.Errorf("a file from the future: %v", err)
	}
}

// TestNewerFile is refused and left alone.
func TestNewerFile(t *testing.T) {
	path := written(t)
	db := raw(t, path)
	if _, err := db.Exec("PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	if _, err := Open(path, Config{}); err == nil || !strings.Contains(err.Error(), "run the newer one") {
		t.Errorf("%v", err)
	}
	if files, _ := filepath.Glob(path + ".damaged*"); len(files) > 0 {
		t.Errorf("moved aside: %v", files)
	}
}

// TestDamaged moves what can't be read aside as it is, says so, and goes on.
func TestDamaged(t *testing.T) {
	const page = 4096
	for name, damage := range map[string]func(t *testing.T, path string, b []byte) []byte{
		"not a database": func(_ *testing.T, _ string, _ []byte) []byte { return bytes.Repeat([]byte("wim"), 5000) },
		"header torn":    func(_ *testing.T, _ string, b []byte) []byte { copy(b, "SQLite fo\x00mat 3"); return b },
		"cut short":      func(_ *testing.T, _ string, b []byte) []byte { return b[:len(b)/2/page*page] },
		"pages of nothing": func(_ *testing.T, _ string, b []byte) []byte {
			clear(b[2*page : len(b)-2*page])
			return b
		},
		"schema torn": func(_ *testing.T, _ string, b []byte) []byte { clear(b[100:page]); return b },
		"tables of somebody else": func(t *testing.T, path string, _ []byte) []byte {
			other := filepath.Join(t.TempDir(), "other.db")
			db := raw(t, other)
			if _, err := db.Exec("CREATE TABLE sessions (x)"); err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
			b, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		"a table is gone": func(t *testing.T, path string, _ []byte) []byte {
			db := raw(t, path)
			if _, err := db.Exec("DROP TABLE actions"); err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := written(t)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := damage(t, path, whole)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			core, logged := observer.New(zap.ErrorLevel)
			s := open(t, path, Config{Log: zap.New(core)})
			if logged.FilterMessageSnippet("damaged").Len() != 1 {
				t.Errorf("logged %v", logged.All())
			}
			aside, _ := filepath.Glob(path + ".damaged-*Z")
			if len(aside) != 1 {
				t.Fatalf("moved aside: %v", aside)
			}
			// Opening counts in the header (its offsets 18, 19, 24 to 27, 92 to 95), and changes no more.
			b, err := os.ReadFile(aside[0])
			if err != nil {
				t.Fatal(err)
			}
			for _, header := range [][]byte{b[:100], bad[:100]} {
				clear(header[18:20])
				clear(header[24:28])
				clear(header[92:96])
			}
			if !bytes.Equal(b, bad) {
				t.Errorf("the moved file isn't what was there (%d of %d bytes)", len(b), len(bad))
			}
			told(s, over(cast(1, "w11@1", 0), 1))
			if list, err := s.Sessions(t.Context(), api.HistoryQuery{}); err != nil || len(list) != 1 {
				t.Errorf("after it: %v, %v", list, err)
			}
		})
	}
}

// TestDamagedInUse goes on with a new file, and records there what runs.
func TestDamagedInUse(t *testing.T) {
	path := written(t)
	core, logged := observer.New(zap.ErrorLevel)
	s := open(t, path, Config{Log: zap.New(core)})
	info := cast(1, "w10@1", 0)
	info.Clients = []session.ClientInfo{joined(1, "pc01", 0)}
	s.write(live(info))
	s.db.SetMaxIdleConns(0) // forget what is cached
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 64<<10), 4096); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := s.clients(context.Background(), filter{}, "c.id", -1); err == nil {
		t.Fatal("the test can't tell: the damaged file was read")
	}
	s.write(live(info))
	list, err := s.Sessions(t.Context(), api.HistoryQuery{})
	if err != nil || len(list) != 1 || list[0].Package != "w10@1" || list[0].Clients != 1 {
		t.Errorf("afterwards: %+v, %v", list, err)
	}
	if aside, _ := filepath.Glob(path + ".damaged-*Z"); len(aside) != 1 || logged.FilterMessageSnippet("moved aside").Len() != 1 {
		t.Errorf("moved aside: %v; logged %v", aside, logged.All())
	}
}

// TestCantOpen says why; the caller goes on without.
func TestCantOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, Config{}); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := Open(filepath.Join(dir, "not", "there"), Config{}); err == nil || !strings.Contains(err.Error(), "open history") {
		t.Errorf("%v", err)
	}
}

// TestFileIsPrivate: it names people's machines. Nor does its name confuse anybody.
func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=memory#c%20.db")
	s := open(t, path, Config{})
	told(s, over(cast(1, "w11@1", 0), 1))
	s.write(nil)
	for _, part := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + part)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%q: %v, %v", part, info, err)
		}
	}
}

// TestMigrateDeployments: a file of before deployments keeps its sessions, and takes those that have one.
func TestMigrateDeployments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	db := raw(t, path)
	if err := migrate(t.Context(), db, migrations[:1]); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO sessions VALUES (7, x'01', 's7', 'w10@1', 'd', 'encrypted', '', 1, 1, 2, 2, 'ended', 'done', 0, 0, 0, 0, 0, 0, 0, 0, 0)`); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	s, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	info := cast(1, "w11@1", 1)
	info.Deployment = "lab12"
	told(s, over(info, 2, ended(joined(1, "pc01", 1), session.ClientProven, 2)))
	list, err := s.Sessions(t.Context(), api.HistoryQuery{})
	if err != nil || len(list) != 2 || list[0].Deployment != "lab12" || list[1].Package != "w10@1" || list[1].Deployment != "" {
		t.Errorf("%+v, %v", list, err)
	}
}
