package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"wimcast/api"
)

// ErrNotFound says that the record has no such session or package.
var ErrNotFound = errors.New("not in the history")

// The columns that queries read, in the order of their scans.
const (
	sessionColumns = `s.id, s.name, s.package, s.digest, s.mode, s.address, s.size, s.state, s.reason, s.started, s.ended, s.seen,
  s.source_packets, s.parity_packets, s.manifest_packets, s.control_packets, s.bytes, s.errors, s.nacks_served, s.nacks_merged, s.nacks_limited, s.deployment`
	clientColumns = `c.id, c.session, c.number, c.name, c.uuid, c.serial, c.macs, c.address, c.certificate, c.certificate_serial, c.role, c.state, c.reason,
  c.joined, c.ended, c.proven, c.progress, c.lost_network, c.lost_buffer, c.lost_disk, c.rejected, c.rejoins, c.nacks, c.multicast_bytes, c.unicast_bytes, c.held_bytes, c.seed_bytes,
  c.applied, c.apply_index, c.apply_millis, c.apply_error`
	actionColumns = `a.id, a.at, a.who, a.action, a.session, a.name, a.client, a.detail, a.error, a.package, a.digest, a.request`
)

// filter collects conditions and their arguments.
type filter struct {
	conditions []string
	args       []any
}

func (f *filter) add(condition string, args ...any) {
	f.conditions, f.args = append(f.conditions, "("+condition+")"), append(f.args, args...)
}

func (f *filter) where() string {
	if len(f.conditions) == 0 {
		return "TRUE"
	}
	return strings.Join(f.conditions, " AND ")
}

// isGlob reports whether a pattern stands for many names.
func isGlob(pattern string) bool { return strings.ContainsAny(pattern, "*?[") }

// clientFits is the condition that a row of clients c fits one of some patterns; an empty
// pattern fits none. Ten thousand whole names cost about what one does.
func clientFits(patterns []string) (condition string, args []any) {
	whole, globs := []string{}, []string{}
	for _, p := range patterns {
		switch p = clean(p); {
		case isGlob(p):
			globs = append(globs, p)
		case p != "":
			whole = append(whole, p)
		}
	}
	var conditions []string
	if len(whole) > 0 {
		names, _ := json.Marshal(whole) // strings can be marshalled
		const lower = "IN (SELECT lower(value) FROM json_each(?))"
		conditions = append(conditions, "lower(c.name) "+lower, "c.uuid "+lower, "lower(c.serial) "+lower,
			`EXISTS (SELECT 1 FROM json_each('[' || replace(json_quote(c.macs), ',', '","') || ']') mac WHERE mac.value IN (SELECT lower(replace(value, '-', ':')) FROM json_each(?)))`)
		args = append(args, string(names), string(names), string(names), string(names))
	}
	if len(globs) > 0 {
		names, _ := json.Marshal(globs)
		conditions = append(conditions, "EXISTS (SELECT 1 FROM json_each(?) glob WHERE lower(c.name) GLOB lower(glob.value))")
		args = append(args, string(names))
	}
	if len(conditions) == 0 {
		return "FALSE", nil
	}
	return "(" + strings.Join(conditions, " OR ") + ")", args
}

// packageFits is the condition that a row of sessions s is of a package.
func packageFits(ref string) (condition string, args []any) {
	condition, args = "s.package = ? OR substr(s.package, 1, length(?) + 1) = ? || '@'", []any{ref, ref, ref}
	if len(ref) >= 12 {
		condition, args = condition+" OR substr(s.digest, 1, length(?)) = lower(?)", append(args, ref, ref)
	}
	return condition, args
}

func limitOf(q *api.HistoryQuery) int {
	if q.Limit <= 0 {
		return api.HistoryPage
	}
	return min(q.Limit, api.HistoryMost)
}

// Sessions lists sessions, the latest first.
func (s *Store) Sessions(ctx context.Context, q api.HistoryQuery) ([]api.HistorySession, error) {
	s.Sync(ctx)
	var f filter
	if len(q.Clients) > 0 {
		fits, args := clientFits(q.Clients)
		f.add("EXISTS (SELECT 1 FROM clients c WHERE c.session = s.id AND "+fits+")", args...)
	}
	if q.Bundle != "" {
		f.add("EXISTS (SELECT 1 FROM clients c WHERE c.session = s.id AND c.certificate = ?)", q.Bundle)
	}
	if q.Package != "" {
		fits, args := packageFits(q.Package)
		f.add(fits, args...)
	}
	if q.State != "" {
		f.add("s.state = ?", q.State)
	}
	if !q.Since.IsZero() {
		f.add("coalesce(s.ended, s.seen) >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		f.add("s.started < ?", q.Until.UnixMilli())
	}
	if q.Before > 0 {
		f.add("s.id < ?", q.Before)
	}
	return s.sessions(ctx, f, limitOf(&q))
}

func (s *Store) sessions(ctx context.Context, f filter, limit int) ([]api.HistorySession, error) {
	list := []api.HistorySession{}
	query := `WITH s AS MATERIALIZED (SELECT * FROM sessions s WHERE ` + f.where() + ` ORDER BY s.id DESC LIMIT ?)
		SELECT ` + sessionColumns + `, count(c.id), count(*) FILTER (WHERE c.state = 'proven'), count(*) FILTER (WHERE c.state IN ('failed', 'lost', 'evicted', 'dropped')),
		count(*) FILTER (WHERE c.state = 'interrupted') FROM s LEFT JOIN clients c ON c.session = s.id GROUP BY s.id ORDER BY s.id DESC`
	err := s.query(ctx, query, append(f.args, limit), func(rows *sql.Rows) error {
		var r api.HistorySession
		var started, seen int64
		var ended sql.NullInt64
		err := rows.Scan(&r.ID, &r.Session, &r.Package, &r.Digest, &r.Mode, &r.Group, &r.Size, &r.State, &r.Reason, &started, &ended, &seen,
			&r.Sent.SourcePackets, &r.Sent.ParityPackets, &r.Sent.ManifestPackets, &r.Sent.ControlPackets, &r.Sent.Bytes, &r.Sent.Errors,
			&r.NACKs.Served, &r.NACKs.Merged, &r.NACKs.Limited, &r.Deployment, &r.Clients, &r.Proven, &r.Failed, &r.Interrupted)
		r.Started, r.Seen, r.Ended = at(started), at(seen), atMaybe(ended)
		r.Seconds = r.Seen.Sub(r.Started).Seconds()
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return list, nil
}

// Session returns one session with its clients and actions: by its id, or by the name
// of the latest that is called so.
func (s *Store) Session(ctx context.Context, which string) (api.HistorySession, error) {
	s.Sync(ctx)
	var f filter
	if id, err := strconv.ParseInt(which, 10, 64); err == nil {
		f.add("s.id = ?", id)
	} else {
		f.add("s.name = ?", which)
	}
	list, err := s.sessions(ctx, f, 1)
	if err != nil {
		return api.HistorySession{}, err
	}
	if len(list) == 0 {
		return api.HistorySession{}, fmt.Errorf("session %s: %w; list what is there: wimcast history", which, ErrNotFound)
	}
	found := list[0]
	f = filter{}
	f.add("c.session = ?", found.ID)
	if found.Members, err = s.clients(ctx, f, "c.number", -1); err != nil {
		return found, err
	}
	f = filter{}
	f.add("a.session = ?", found.ID)
	found.Actions, err = s.actions(ctx, f, "a.id", -1)
	return found, err
}

// Clients lists clients of sessions, the latest first.
func (s *Store) Clients(ctx context.Context, q api.HistoryQuery) ([]api.HistoryClient, error) {
	s.Sync(ctx)
	f := clientFilter(&q)
	if q.Package != "" {
		fits, args := packageFits(q.Package)
		f.add(fits, args...)
	}
	if q.State != "" {
		f.add("c.state = ?", q.State)
	}
	if q.Before > 0 {
		f.add("c.id < ?", q.Before)
	}
	return s.clients(ctx, f, "c.id DESC", limitOf(&q))
}

// clientFilter narrows rows of clients c and sessions s to machines and times.
func clientFilter(q *api.HistoryQuery) (f filter) {
	if len(q.Clients) > 0 {
		fits, args := clientFits(q.Clients)
		f.add(fits, args...)
	}
	if q.Bundle != "" {
		f.add("c.certificate = ?", q.Bundle)
	}
	if !q.Since.IsZero() {
		f.add("coalesce(c.ended, s.seen) >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		f.add("c.joined < ?", q.Until.UnixMilli())
	}
	return f
}

func (s *Store) clients(ctx context.Context, f filter, order string, limit int) ([]api.HistoryClient, error) {
	list := []api.HistoryClient{}
	query := "SELECT " + clientColumns + ", s.name, s.package, s.digest, s.seen FROM clients c JOIN sessions s ON s.id = c.session WHERE " + f.where() +
		" ORDER BY " + order + " LIMIT ?"
	err := s.query(ctx, query, append(f.args, limit), func(rows *sql.Rows) error {
		var r api.HistoryClient
		var joined, seen int64
		var ended, proven, applied sql.NullInt64
		var millis int64
		err := rows.Scan(&r.ID, &r.SessionID, &r.Number, &r.Name, &r.UUID, &r.Serial, &r.MACs, &r.Address, &r.Certificate, &r.CertificateSerial, &r.Role, &r.State, &r.Reason,
			&joined, &ended, &proven, &r.Progress, &r.LostNetwork, &r.LostBuffer, &r.LostDisk, &r.Rejected, &r.Rejoins, &r.NACKs, &r.MulticastBytes, &r.UnicastBytes, &r.HeldBytes, &r.SeedBytes,
			&applied, &r.AppliedIndex, &millis, &r.ApplyError, &r.Session, &r.Package, &r.Digest, &seen)
		r.Joined, r.Ended, r.Proven, r.Applied = at(joined), atMaybe(ended), atMaybe(proven), atMaybe(applied)
		r.ApplySeconds = float64(millis) / 1000
		last := at(seen)
		if ended.Valid {
			last = r.Ended
		}
		r.Seconds = max(0, last.Sub(r.Joined).Seconds())
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return list, nil
}

// Actions lists what operators did, the latest first; with Package only what became of that package, by its reference then or
// by its digest.
func (s *Store) Actions(ctx context.Context, q api.HistoryQuery) ([]api.HistoryAction, error) {
	s.Sync(ctx)
	var f filter
	if q.Package != "" {
		f.add("a.package = ? OR substr(a.package, 1, length(?) + 1) = ? || '@' OR length(?) >= 12 AND substr(a.digest, 1, length(?)) = lower(?) OR a.digest <> '' AND a.digest = ?",
			q.Package, q.Package, q.Package, q.Package, q.Package, q.Package, q.Digest)
	}
	if q.Changes {
		f.add("a.package <> ''")
	}
	if !q.Since.IsZero() {
		f.add("a.at >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		f.add("a.at < ?", q.Until.UnixMilli())
	}
	if q.Before > 0 {
		f.add("a.id < ?", q.Before)
	}
	return s.actions(ctx, f, "a.id DESC", limitOf(&q))
}

func (s *Store) actions(ctx context.Context, f filter, order string, limit int) ([]api.HistoryAction, error) {
	list := []api.HistoryAction{}
	err := s.query(ctx, "SELECT "+actionColumns+" FROM actions a WHERE "+f.where()+" ORDER BY "+order+" LIMIT ?", append(f.args, limit), func(rows *sql.Rows) error {
		var r api.HistoryAction
		var when int64
		var session sql.NullInt64
		err := rows.Scan(&r.ID, &when, &r.Who, &r.Action, &session, &r.Session, &r.Client, &r.Detail, &r.Error, &r.Package, &r.Digest, &r.Request)
		r.At, r.SessionID = at(when), session.Int64
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return list, nil
}

// Resolve finds the content that was last cast under a package's name, for packages
// that the library doesn't have any more.
func (s *Store) Resolve(ctx context.Context, ref string) (digest, name string, err error) {
	s.Sync(ctx)
	fits, args := packageFits(ref)
	err = s.use(func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT s.digest, s.package FROM sessions s WHERE "+fits+" ORDER BY s.id DESC LIMIT 1", args...).Scan(&digest, &name)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", fmt.Errorf("package %s: %w: it was never cast; list what was: wimcast history", ref, ErrNotFound)
	}
	if err != nil {
		return "", "", fmt.Errorf("read history: %w", err)
	}
	return digest, name, nil
}

// query runs a query and hands each row to scan.
func (s *Store) query(ctx context.Context, text string, args []any, scan func(*sql.Rows) error) error {
	return s.use(func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, text, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func atMaybe(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return at(ms.Int64)
}
