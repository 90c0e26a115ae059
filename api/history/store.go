package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/session"
)

const (
	// queueLength bounds what waits to be written; when it is full the newest goes, counted.
	queueLength = 8192
	writeEvery  = time.Second
	// refreshEvery is how often the counters of clients that are receiving are written, in
	// writes: with 200 clients every second would cost a few percent of a processor.
	refreshEvery = 10
	tidyEvery    = time.Hour
	countEvery   = time.Minute
)

// Config says how much is kept.
type Config struct {
	Keep    time.Duration // sessions that ended longer ago are deleted; 0 keeps them
	MaxRows int64         // records of sessions, clients and actions together; 0 is any number
	Log     *zap.Logger   // may be nil
}

// Stats are numbers of a Store.
type Stats struct {
	Rows    map[string]int64 // records, by kind: session, client, action; a minute old at most
	Dropped uint64           // since Open: didn't fit the queue, or couldn't be written for too long
	Failed  uint64           // since Open: writes that failed; they are tried again
	Oldest  time.Time        // start of the oldest session, zero without one
}

// Store is the record.
type Store struct {
	path string
	cfg  Config // Keep and MaxRows: writing guards them
	log  *zap.Logger

	queue   chan event
	dropped atomic.Uint64
	failed  atomic.Uint64
	stats   atomic.Pointer[Stats]
	damaged atomic.Bool          // somebody read what can't be
	running atomic.Bool          // Run was called
	sync    chan chan<- struct{} // Sync asks Run
	ended   context.Context      // done once Run has returned, or never ran and Close has
	end     context.CancelFunc

	mu sync.RWMutex // held for reading while db is in use
	db *sql.DB      // nil once closed

	// The writer's: whoever holds writing.
	writing  sync.Mutex
	pending  []event // taken from the queue, not yet written
	books    books
	baseline int64 // the last session of earlier lives of the daemon
	writes   int
	trouble  bool // the latest write failed
	tidied   time.Time
	counted  time.Time
}

// event is what the queue holds: one of its fields.
type event struct {
	session *session.SessionInfo
	client  *session.ClientInfo // with session, which then has no list of clients
	action  *api.HistoryAction
	applied *session.Applied
}

var _ session.Observer = (*Store)(nil)

// Open opens the record at a path, or begins one. What was running when it was last
// written is interrupted. The caller calls Run, then Close.
func Open(path string, cfg Config) (*Store, error) {
	s := &Store{path: path, cfg: cfg, log: cfg.Log, queue: make(chan event, queueLength), sync: make(chan chan<- struct{})}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.ended, s.end = context.WithCancel(context.Background())
	if err := s.begin(); err != nil {
		s.end()
		return nil, fmt.Errorf("open history %s: %w", path, err)
	}
	return s, nil
}

// LastNumber returns the largest number of a session that the record has: 7 for s7; 0 where it has none.
func (s *Store) LastNumber(ctx context.Context) (number int, err error) {
	err = s.use(func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT coalesce(max(cast(substr(name, 2) AS INTEGER)), 0) FROM sessions WHERE name GLOB 's[0-9]*'").Scan(&number)
	})
	if err != nil {
		return 0, fmt.Errorf("read history: %w", err)
	}
	return number, nil
}

// SetKeep changes how much is kept, from the next hourly tidying on.
func (s *Store) SetKeep(keep time.Duration, maxRows int64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.cfg.Keep, s.cfg.MaxRows = keep, maxRows
}

// begin opens the file, a new one where it is damaged. Nobody else uses the store.
func (s *Store) begin() error {
	db, err := openFile(s.path)
	if err != nil && isDamage(err) {
		aside, moving := moveAside(s.path, time.Now())
		if moving != nil {
			return fmt.Errorf("%w; moving it aside: %w", err, moving)
		}
		s.log.Error("the history was damaged; it was moved aside and a new one begun. what was recorded before is in the moved file as far as it can be read", zap.String("file", aside), zap.Error(err))
		db, err = openFile(s.path)
	}
	if err != nil {
		return err
	}
	s.db, s.books = db, books{}
	interrupted, err := interrupt(db)
	if err == nil {
		err = db.QueryRow("SELECT coalesce(max(id), 0) FROM sessions").Scan(&s.baseline)
	}
	if err == nil {
		err = s.count(context.Background())
	}
	if err != nil {
		_ = db.Close()
		s.db = nil
		return err
	}
	if interrupted > 0 {
		s.log.Warn("sessions were running when the daemon last ended without a word; the history shows them as interrupted", zap.Int64("sessions", interrupted))
	}
	return nil
}

// interrupt marks what an earlier daemon left running.
func interrupt(db *sql.DB) (sessions int64, err error) {
	tx, err := db.Begin()
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err = tx.Exec(`UPDATE clients SET state = 'interrupted' WHERE ended IS NULL AND session IN (SELECT id FROM sessions WHERE state = 'running')`); err != nil {
		return 0, err
	}
	result, err := tx.Exec(`UPDATE sessions SET state = 'interrupted', reason = 'nobody saw its end: the daemon was killed, or lost power' WHERE state = 'running'`)
	if err != nil {
		return 0, err
	}
	sessions, _ = result.RowsAffected()
	return sessions, tx.Commit()
}

// ClientEnded implements session.Observer.
func (s *Store) ClientEnded(info session.SessionInfo, client session.ClientInfo) {
	info.Clients = nil
	s.put(event{session: &info, client: &client})
}

// ClientApplied implements session.Observer.
func (s *Store) ClientApplied(a session.Applied) { s.put(event{applied: &a}) }

// SessionEnded implements session.Observer.
func (s *Store) SessionEnded(info session.SessionInfo) { s.put(event{session: &info}) }

// Action records what an operator did, or tried to: At is now where it is zero,
// Session is the session's name. It doesn't block.
func (s *Store) Action(a api.HistoryAction) {
	if a.At.IsZero() {
		a.At = time.Now()
	}
	s.put(event{action: &a})
}

func (s *Store) put(e event) {
	select {
	case s.queue <- e:
	default:
		s.dropped.Add(1)
	}
}

// Run writes what comes in, once a second, until ctx ends; then once more. sessions
// returns the running sessions and those that ended lately.
func (s *Store) Run(ctx context.Context, sessions func() (running, ended []session.SessionInfo)) {
	s.running.Store(true)
	defer s.end()
	ticker := time.NewTicker(writeEvery)
	defer ticker.Stop()
	for {
		var asked chan<- struct{}
		select {
		case <-ctx.Done():
			s.write(sessions)
			return
		case <-ticker.C:
		case asked = <-s.sync:
		}
		s.write(sessions)
		s.upkeep(ctx)
		if asked != nil {
			close(asked)
		}
	}
}

// Sync returns once what came in before is written and the running sessions were looked
// at, or when ctx ends or Run does.
func (s *Store) Sync(ctx context.Context) {
	if !s.running.Load() {
		s.write(nil)
		return
	}
	done := make(chan struct{})
	select {
	case s.sync <- done:
	case <-ctx.Done():
		return
	case <-s.ended.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Close writes what is left and closes the file; the caller has ended Run. It may be
// called more than once.
func (s *Store) Close() error {
	s.end()
	s.write(nil)
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("close history: %w", err)
	}
	return nil
}

// errClosed says that the store was closed.
var errClosed = errors.New("history: closed")

// use runs f with the file, which stays open meanwhile.
func (s *Store) use(f func(*sql.DB) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return errClosed
	}
	err := f(s.db)
	if err != nil && isDamage(err) {
		s.damaged.Store(true)
	}
	return err
}

// Stats returns numbers for metrics. It doesn't touch the disk.
func (s *Store) Stats() Stats {
	stats := *s.stats.Load()
	stats.Dropped, stats.Failed = s.dropped.Load(), s.failed.Load()
	return stats
}
