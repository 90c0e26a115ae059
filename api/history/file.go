package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// settings are how every connection to the file behaves. synchronous=FULL: a commit
// outlives power loss. secure_delete: what Forget and retention delete is overwritten.
const settings = "?_busy_timeout=5000&_auto_vacuum=incremental&_journal_mode=WAL&_synchronous=FULL&_foreign_keys=1&_txlock=immediate" +
	"&_dqs=0&_defensive=1&_pragma=secure_delete(1)&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)&_pragma=journal_size_limit(4194304)"

// connections bounds how many queries run at a time; more wait.
const connections = 4

// Primary result codes of SQLite (its doc/rescode).
const (
	codeError   = 1
	codeCorrupt = 11
	codeFormat  = 24
	codeNotADB  = 26
)

// errDamaged says that a file isn't a sound record.
var errDamaged = errors.New("damaged")

// isDamage reports whether an error means that the file is damaged, and not that
// the disk is full or slow.
func isDamage(err error) bool {
	if errors.Is(err, errDamaged) {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case codeCorrupt, codeFormat, codeNotADB:
		return true
	}
	return false
}

// openFile opens a file, checks it, and brings it to the latest schema.
func openFile(path string) (*sql.DB, error) {
	// SQLite takes the journal's mode from the file's.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+settings)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := prepare(context.Background(), db); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

func prepare(ctx context.Context, db *sql.DB) error {
	var says string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&says); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if says != "ok" {
		return fmt.Errorf("check: %w: %s", errDamaged, says)
	}
	err := migrate(ctx, db, migrations)
	if err == nil {
		// The version alone doesn't say that the tables are ours.
		for _, query := range []string{
			"SELECT " + sessionColumns + " FROM sessions s LIMIT 0", "SELECT " + clientColumns + " FROM clients c LIMIT 0", "SELECT " + actionColumns + " FROM actions a LIMIT 0",
		} {
			if _, err = db.ExecContext(ctx, query); err != nil {
				break
			}
		}
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == codeError {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

// moveAside renames a damaged file, its journal included, and returns its new name.
func moveAside(path string, now time.Time) (string, error) {
	aside := path + ".damaged-" + now.UTC().Format("20060102T150405.000Z")
	// The journal first: it must never meet a file that it isn't of.
	for _, part := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(path+part, aside+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return aside, nil
}

// clean is text from elsewhere, as a TEXT column takes it.
func clean(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "?"), "?") }
