package history

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
)

// upkeep counts the records now and then, and deletes those that are old.
func (s *Store) upkeep(ctx context.Context) {
	now := time.Now()
	if now.Sub(s.tidied) >= tidyEvery {
		s.tidied = now
		switch n, err := s.prune(ctx, now); {
		case err != nil && ctx.Err() == nil:
			s.log.Error("history: deleting old records failed; it is tried again in an hour", zap.Error(err))
		case n > 0:
			s.log.Info("history: old sessions deleted", zap.Int64("sessions", n))
			s.counted = time.Time{}
		}
	}
	if now.Sub(s.counted) >= countEvery {
		s.counted = now
		_ = s.use(func(*sql.DB) error { return s.count(ctx) }) // the numbers stay a while longer
	}
}

// count brings the numbers of Stats up to date. The caller keeps db open.
func (s *Store) count(ctx context.Context) error {
	var sessions, clients, actions int64
	var first sql.NullInt64
	err := s.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM clients), (SELECT count(*) FROM actions),
		(SELECT started FROM sessions ORDER BY id LIMIT 1)`).Scan(&sessions, &clients, &actions, &first)
	if err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	stats := &Stats{Rows: map[string]int64{"session": sessions, "client": clients, "action": actions}}
	if first.Valid {
		stats.Oldest = time.UnixMilli(first.Int64)
	}
	s.stats.Store(stats)
	return nil
}

// prune deletes what is older than is kept, then the oldest of what is too much. A
// session goes with all its clients and actions; a running one stays.
func (s *Store) prune(ctx context.Context, now time.Time) (sessions int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	err = s.use(func(db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		remove := func(where string, args ...any) error {
			result, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE state <> 'running' AND "+where, args...)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			sessions += n
			return err
		}
		if s.cfg.Keep > 0 {
			before := now.Add(-s.cfg.Keep).UnixMilli()
			if err := remove("coalesce(ended, seen) < ?", before); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "DELETE FROM actions WHERE session IS NULL AND at < ?", before); err != nil {
				return err
			}
		}
		if s.cfg.MaxRows > 0 {
			// The sum runs from the latest session back; what begins beyond the number goes.
			if err := remove(`id IN (SELECT id FROM (SELECT s.id, sum(1 + (SELECT count(*) FROM clients c WHERE c.session = s.id) + (SELECT count(*) FROM actions a WHERE a.session = s.id))
				OVER (ORDER BY s.id DESC) AS rows FROM sessions s) WHERE rows > ?)`, s.cfg.MaxRows); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "DELETE FROM actions WHERE session IS NULL AND id <= (SELECT max(id) FROM actions) - ?", s.cfg.MaxRows); err != nil {
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		if sessions == 0 {
			return nil
		}
		return shrink(ctx, db)
	})
	if err != nil {
		return sessions, fmt.Errorf("prune history: %w", err)
	}
	return sessions, nil
}

// shrink gives free pages back to the disk, and empties the journal, which still has
// what was deleted.
func shrink(ctx context.Context, db *sql.DB) error {
	for _, pragma := range []string{"PRAGMA incremental_vacuum", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		rows, err := db.QueryContext(ctx, pragma)
		if err != nil {
			return err
		}
		for rows.Next() { // each step frees a page
		}
		err = rows.Err()
		_ = rows.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// forgottenName stands where a name stood.
const forgottenName = "(forgotten)"

// Forget takes out of the record what tells a machine: names, UUID, serial number, MAC and
// network addresses, certificate, of every client that the pattern fits, as in a query,
// and actions' words about it. What the machines received stays, so that sums stay true. Records of running sessions stay
// as they are, counted. With dryRun nothing changes.
func (s *Store) Forget(ctx context.Context, pattern string, dryRun bool) (f api.Forgotten, err error) {
	s.Sync(ctx)
	s.writing.Lock()
	defer s.writing.Unlock()
	fits, args := clientFits([]string{pattern})
	f.Names = []string{}
	err = s.use(func(db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		names, ids := map[string]bool{}, []int64{}
		rows, err := tx.QueryContext(ctx, `SELECT c.id, c.name, s.state FROM clients c JOIN sessions s ON s.id = c.session WHERE `+fits, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id int64
			var name, state string
			if err := rows.Scan(&id, &name, &state); err != nil {
				return err
			}
			switch {
			case name == forgottenName:
			case state == api.HistoryRunning:
				f.Running++
			default:
				ids, names[name] = append(ids, id), true
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		f.Records = len(ids)
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `UPDATE clients SET machine = 'forgotten:' || id, name = ?, uuid = '', serial = '', macs = '', address = '',
				certificate = '', certificate_serial = '', reason = '' WHERE id = ?`, forgottenName, id); err != nil {
				return err
			}
		}
		for name := range names {
			f.Names = append(f.Names, name)
		}
		if !slices.Contains(f.Names, pattern) {
			f.Names = append(f.Names, pattern) // it may stand in actions only
		}
		for _, name := range f.Names {
			result, err := tx.ExecContext(ctx, `UPDATE actions SET client = ?, detail = '', error = '' WHERE lower(client) = lower(?)
				AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = actions.session AND s.state = 'running')`, forgottenName, name)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			f.Records += int(n)
		}
		f.Names = slices.DeleteFunc(f.Names, func(name string) bool { return !names[name] })
		slices.Sort(f.Names)
		if dryRun {
			return nil
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		return shrink(ctx, db)
	})
	if err != nil {
		return f, fmt.Errorf("forget %s: %w", pattern, err)
	}
	return f, nil
}
