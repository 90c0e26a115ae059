package history

import (
	"context"
	"database/sql"
	"fmt"
)

// migrations bring a file from each schema version to the next; PRAGMA user_version says
// which it has. What was released is never changed: a change is another line.
var migrations = []string{
	// 1: the first.
	`CREATE TABLE sessions (
	  id               INTEGER PRIMARY KEY AUTOINCREMENT, -- what people call it: never given twice
	  session          BLOB NOT NULL UNIQUE,              -- the protocol's id, 16 random bytes
	  name             TEXT NOT NULL,                     -- "s7"; of older versions in one life of the daemon only
	  package          TEXT NOT NULL,
	  digest           TEXT NOT NULL,
	  mode             TEXT NOT NULL,
	  address          TEXT NOT NULL,                     -- of the group
	  size             INTEGER NOT NULL,                  -- bytes of the image
	  started          INTEGER NOT NULL,
	  seen             INTEGER NOT NULL,                  -- when it was last looked at
	  ended            INTEGER,                           -- NULL while it runs, and when nobody saw it end
	  state            TEXT NOT NULL CHECK (state IN ('running', 'ended', 'interrupted')),
	  reason           TEXT NOT NULL,
	  source_packets   INTEGER NOT NULL,
	  parity_packets   INTEGER NOT NULL,
	  manifest_packets INTEGER NOT NULL,
	  control_packets  INTEGER NOT NULL,
	  bytes            INTEGER NOT NULL,
	  errors           INTEGER NOT NULL,
	  nacks_served     INTEGER NOT NULL,
	  nacks_merged     INTEGER NOT NULL,
	  nacks_limited    INTEGER NOT NULL
	) STRICT;
	CREATE INDEX sessions_digest ON sessions (digest);
	CREATE TABLE clients (
	  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
	  session            INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	  number             INTEGER NOT NULL,
	  machine            TEXT NOT NULL, -- the same for the same hardware
	  name               TEXT NOT NULL,
	  uuid               TEXT NOT NULL,
	  serial             TEXT NOT NULL,
	  macs               TEXT NOT NULL, -- lower case, comma-separated
	  address            TEXT NOT NULL,
	  certificate        TEXT NOT NULL,
	  certificate_serial TEXT NOT NULL,
	  role               TEXT NOT NULL,
	  state              TEXT NOT NULL,
	  reason             TEXT NOT NULL,
	  joined             INTEGER NOT NULL,
	  ended              INTEGER,
	  proven             INTEGER,       -- stays, should the client come back
	  progress           REAL NOT NULL,
	  lost_network       INTEGER NOT NULL,
	  lost_buffer        INTEGER NOT NULL,
	  lost_disk          INTEGER NOT NULL,
	  rejected           INTEGER NOT NULL,
	  rejoins            INTEGER NOT NULL,
	  nacks              INTEGER NOT NULL,
	  multicast_bytes    INTEGER NOT NULL,
	  unicast_bytes      INTEGER NOT NULL,
	  held_bytes         INTEGER NOT NULL,
	  UNIQUE (session, number)
	) STRICT;
	CREATE INDEX clients_machine ON clients (machine);
	CREATE TABLE actions (
	  id      INTEGER PRIMARY KEY AUTOINCREMENT,
	  at      INTEGER NOT NULL,
	  who     TEXT NOT NULL,
	  action  TEXT NOT NULL,
	  session INTEGER REFERENCES sessions (id) ON DELETE CASCADE,
	  name    TEXT NOT NULL, -- of the session
	  client  TEXT NOT NULL,
	  detail  TEXT NOT NULL,
	  error   TEXT NOT NULL
	) STRICT;
	CREATE INDEX actions_session ON actions (session);`,
	// 2: bytes from a seed.
	`ALTER TABLE clients ADD COLUMN seed_bytes INTEGER NOT NULL DEFAULT 0;`,
	// 3: what its clients had the package by; '' without one, and before there were any.
	`ALTER TABLE sessions ADD COLUMN deployment TEXT NOT NULL DEFAULT ''`,
	// 4: what became of packages.
	`ALTER TABLE actions ADD COLUMN package TEXT NOT NULL DEFAULT ''; -- its reference then
	ALTER TABLE actions ADD COLUMN digest TEXT NOT NULL DEFAULT '';
	CREATE INDEX actions_package ON actions (package) WHERE package <> '';`,
	// 5: what came of applying an image.
	`ALTER TABLE clients ADD COLUMN applied INTEGER; -- when it was told; NULL: nothing was applied, or nobody said so
	ALTER TABLE clients ADD COLUMN apply_index INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE clients ADD COLUMN apply_millis INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE clients ADD COLUMN apply_error TEXT NOT NULL DEFAULT ''; -- '' where it went well`,
	// 6: which request an action was.
	`ALTER TABLE actions ADD COLUMN request TEXT NOT NULL DEFAULT ''; -- as the log names it; '' of what nobody asked for`,
}

// newerError says that a file was written by a newer version.
type newerError struct{ has, known int }

func (e *newerError) Error() string {
	return fmt.Sprintf("its schema is version %d, this wimcastd knows up to %d: run the newer one, or move the file away to begin another", e.has, e.known)
}

// migrate brings a file to the latest schema, each step whole or not at all.
func migrate(ctx context.Context, db *sql.DB, steps []string) error {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version > len(steps) {
		return &newerError{version, len(steps)}
	}
	for i := version; i < len(steps); i++ {
		if err := step(ctx, db, steps[i], i+1); err != nil {
			return fmt.Errorf("migrate to schema %d: %w", i+1, err)
		}
	}
	return nil
}

func step(ctx context.Context, db *sql.DB, statements string, version int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if _, err := tx.ExecContext(ctx, statements); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return err
	}
	return tx.Commit()
}
