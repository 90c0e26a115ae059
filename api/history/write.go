package history

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto"
	"wimcast/session"
)

// books are what the writer remembers of the sessions that it wrote as running.
type books map[crypto.SessionID]*book

type book struct {
	id      int64
	clients map[uint32]clientRow // as they were last written
}

// clientRow is a client as its row has it.
type clientRow struct {
	number                                                                           uint32
	machine, name, uuid, serial, macs, address, certificate, credential, role, state string
	reason                                                                           string
	joined                                                                           int64
	ended, proven                                                                    sql.NullInt64
	progress                                                                         float64
	lostNetwork, lostBuffer, lostDisk, rejected, rejoins, nacks                      int64
	multicast, unicast, held, seed                                                   int64
}

// news reports whether a row says something that mustn't wait for the next refresh.
func (r clientRow) news(old clientRow) bool {
	return r.machine != old.machine || r.name != old.name || r.address != old.address || r.credential != old.credential || r.state != old.state ||
		r.reason != old.reason || r.ended != old.ended || r.proven != old.proven
}

func millis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

func rowOf(c *session.ClientInfo) clientRow {
	r := clientRow{
		number: c.Number, name: clean(c.Name), serial: clean(strings.TrimSpace(c.Machine.Serial)), macs: strings.ToLower(clean(c.Machine.MACs)),
		address: c.Peer.Addr.String(), certificate: clean(c.Peer.Name), credential: clean(c.Peer.Serial), role: clean(c.Peer.Role), state: string(c.State), reason: clean(c.Reason),
		joined: c.Joined.UnixMilli(), ended: millis(c.Ended), progress: c.Progress,
		lostNetwork: int64(c.Lost - min(c.Lost, c.KernelDrops)), lostBuffer: int64(c.KernelDrops), lostDisk: int64(c.DiskDrops),
		rejected: int64(c.Rejected), rejoins: int64(c.Rejoins), nacks: int64(c.NACKs), multicast: c.Multicast, unicast: c.Unicast, held: c.Held, seed: c.Seed,
	}
	if u := c.Machine.UUID; u != [16]byte{} && u != [16]byte(slices.Repeat([]byte{0xff}, 16)) {
		r.uuid = uuidText(u)
	}
	if c.State == session.ClientProven {
		r.proven = r.ended
	}
	switch {
	case r.uuid != "":
		r.machine = "uuid:" + r.uuid
	case r.serial != "":
		r.machine = "serial:" + r.serial
	case r.macs != "":
		r.machine = "mac:" + r.macs
	default:
		r.machine = "name:" + strings.ToLower(r.name)
	}
	return r
}

// uuidText writes a UUID as RFC 9562, section 4, has it.
func uuidText(u [16]byte) string {
	h := hex.EncodeToString(u[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// write writes what is queued, and the sessions as they are now. What fails is tried
// again at the next write.
func (s *Store) write(sessions func() (running, ended []session.SessionInfo)) {
	s.writing.Lock()
	defer s.writing.Unlock()
	// What is queued is older than what sessions says, so it comes first.
	s.drain()
	var running, ended []session.SessionInfo
	if sessions != nil {
		running, ended = sessions()
	}
	if !s.trouble {
		// Ends that the queue had no room for. (One that is still on its way is written twice.)
		ended = slices.DeleteFunc(slices.Clone(ended), func(info session.SessionInfo) bool { return s.books[info.Session] == nil })
	}
	if s.damaged.Load() {
		s.renew()
	}
	if len(s.pending)+len(running)+len(ended) == 0 {
		return
	}
	err := s.use(func(db *sql.DB) error { return s.commit(db, running, ended) })
	if err == nil {
		s.pending = s.pending[:0]
		if s.trouble {
			s.log.Info("history: writing goes on")
		}
		s.trouble = false
		return
	}
	s.failed.Add(1)
	if !s.trouble {
		s.log.Error("history: writing failed; it is tried again every second", zap.Int("records", len(s.pending)), zap.Error(err))
	}
	s.trouble = true
	clear(s.books) // some of it may not be there
	if over := len(s.pending) - queueLength; over > 0 {
		s.dropped.Add(uint64(over))
		s.pending = slices.Delete(s.pending, 0, over)
	}
}

func (s *Store) drain() {
	for {
		select {
		case e := <-s.queue:
			s.pending = append(s.pending, e)
		default:
			return
		}
	}
}

// renew takes a new file for one that proved damaged while it was in use. The caller
// holds writing.
func (s *Store) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damaged.Store(false)
	if s.db == nil {
		return
	}
	_ = s.db.Close()
	s.db = nil
	if err := s.begin(); err != nil {
		s.log.Error("history: no new record can be begun; nothing is recorded until the daemon starts again", zap.Error(err))
	}
}

// commit writes everything in one transaction.
func (s *Store) commit(db *sql.DB, running, ended []session.SessionInfo) error {
	ctx := context.Background()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	w := &writer{tx: tx, now: time.Now(), books: s.books, refresh: s.writes%refreshEvery == 0, statements: map[string]*sql.Stmt{}}
	if len(running) > 0 { // an action before a session doesn't put off the first look at its clients
		s.writes++
	}
	for _, e := range s.pending {
		switch {
		case e.client != nil:
			w.client(e.session, e.client)
		case e.session != nil:
			w.session(e.session)
		case e.applied != nil:
			w.applied(e.applied)
		}
	}
	for i := range running {
		w.session(&running[i])
	}
	for i := range ended {
		w.session(&ended[i])
	}
	for _, e := range s.pending { // when the sessions that they name are there
		if e.action != nil {
			w.action(e.action, s.baseline)
		}
	}
	if w.err != nil {
		return w.err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, id := range w.closed {
		delete(s.books, id)
	}
	return nil
}

// writer writes one transaction; its first error sticks.
type writer struct {
	tx      *sql.Tx
	now     time.Time
	books   books
	refresh bool
	closed  []crypto.SessionID
	err     error

	statements map[string]*sql.Stmt
}

// What is there is updated, else inserted: an INSERT with ON CONFLICT would use up an id each time.
const (
	updateSession = `UPDATE sessions SET seen = ?9, ended = coalesce(?10, ended), state = iif(state = 'ended', state, ?11), reason = ?12, source_packets = ?13,
  parity_packets = ?14, manifest_packets = ?15, control_packets = ?16, bytes = ?17, errors = ?18, nacks_served = ?19, nacks_merged = ?20, nacks_limited = ?21, deployment = ?22
WHERE session = ?1 RETURNING id`
	insertSession = `INSERT INTO sessions (session, name, package, digest, mode, address, size, started, seen, ended, state, reason,
  source_packets, parity_packets, manifest_packets, control_packets, bytes, errors, nacks_served, nacks_merged, nacks_limited, deployment)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`
	updateClient = `UPDATE clients SET machine = ?3, name = ?4, uuid = ?5, serial = ?6, macs = ?7, address = ?8, certificate = ?9, certificate_serial = ?10, role = ?11,
  state = ?12, reason = ?13, joined = ?14, ended = ?15, proven = coalesce(?16, proven), progress = ?17, lost_network = ?18, lost_buffer = ?19, lost_disk = ?20,
  rejected = ?21, rejoins = ?22, nacks = ?23, multicast_bytes = ?24, unicast_bytes = ?25, held_bytes = ?26, seed_bytes = ?27
WHERE session = ?1 AND number = ?2 RETURNING id`
	updateApplied = `UPDATE clients SET applied = ?3, apply_index = ?4, apply_millis = ?5, apply_error = ?6
WHERE session = (SELECT id FROM sessions WHERE session = ?1) AND number = ?2`
	insertAction = `INSERT INTO actions (at, who, action, session, name, client, detail, error, package, digest, request)
VALUES (?, ?, ?, (SELECT max(id) FROM sessions WHERE name = ? AND id > ?), ?, ?, ?, ?, ?, ?, ?)`
	insertClient = `INSERT INTO clients (session, number, machine, name, uuid, serial, macs, address, certificate, certificate_serial, role, state, reason,
  joined, ended, proven, progress, lost_network, lost_buffer, lost_disk, rejected, rejoins, nacks, multicast_bytes, unicast_bytes, held_bytes, seed_bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`
)

// upsert runs an update, or where it finds nothing an insert with the same arguments,
// and returns the row's id.
func (w *writer) upsert(update, insert string, args ...any) (id int64) {
	for _, text := range []string{update, insert} {
		statement := w.prepare(text)
		if w.err != nil {
			return 0
		}
		err := statement.QueryRow(args...).Scan(&id)
		if !errors.Is(err, sql.ErrNoRows) {
			w.err = err
			return id
		}
	}
	return id
}

// prepare returns a statement of the transaction; nil when it has failed.
func (w *writer) prepare(text string) *sql.Stmt {
	if w.err != nil {
		return nil
	}
	statement := w.statements[text]
	if statement == nil {
		if statement, w.err = w.tx.Prepare(text); w.err == nil {
			w.statements[text] = statement
		}
	}
	return statement
}

// session writes a session and the clients that it lists.
func (w *writer) session(info *session.SessionInfo) {
	b := w.row(info)
	for i := range info.Clients {
		w.put(b, rowOf(&info.Clients[i]), !info.Ended.IsZero())
	}
	if !info.Ended.IsZero() {
		w.closed = append(w.closed, info.Session)
	}
}

// client writes a client that ended.
func (w *writer) client(info *session.SessionInfo, c *session.ClientInfo) {
	b := w.books[info.Session]
	if b == nil {
		b = w.row(info)
	}
	w.put(b, rowOf(c), true)
}

// applied notes what came of a client's applying. It was written when it proved the image; where it wasn't, there is nothing to note it at.
func (w *writer) applied(a *session.Applied) {
	statement := w.prepare(updateApplied)
	if w.err != nil {
		return
	}
	failure := ""
	if a.Failed {
		failure = cmp.Or(clean(a.Reason), "no reason given")
	}
	_, w.err = statement.Exec(a.Session[:], a.Client, a.At.UnixMilli(), a.Index, a.Took.Milliseconds(), failure)
}

// row writes a session's row.
func (w *writer) row(info *session.SessionInfo) *book {
	state, seen := api.HistoryRunning, w.now
	if !info.Ended.IsZero() {
		state, seen = api.HistoryEnded, info.Ended
	}
	sent := &info.Sent
	id := w.upsert(updateSession, insertSession, info.Session[:], info.ID, clean(info.Package), info.Digest.String(), info.Mode.String(), info.Group.String(),
		info.ImageSize, info.Started.UnixMilli(), seen.UnixMilli(), millis(info.Ended), state, clean(info.Reason),
		int64(sent.SourcePackets), int64(sent.ParityPackets), int64(sent.ManifestPackets), int64(sent.ControlPackets),
		int64(sent.SourceBytes+sent.ParityBytes+sent.ManifestBytes+sent.ControlBytes), int64(sent.Errors),
		int64(info.NACKs.Served), int64(info.NACKs.Merged), int64(info.NACKs.Limited), clean(info.Deployment))
	b := w.books[info.Session]
	if b == nil {
		b = &book{clients: map[uint32]clientRow{}}
		w.books[info.Session] = b
	}
	b.id = id
	return b
}

// put writes a client's row where it says something new; last is its last chance.
func (w *writer) put(b *book, r clientRow, last bool) {
	if w.err != nil {
		return
	}
	old, known := b.clients[r.number]
	if known && (old == r || !last && !w.refresh && !r.news(old)) {
		return
	}
	w.upsert(updateClient, insertClient, b.id, r.number, r.machine, r.name, r.uuid, r.serial, r.macs, r.address, r.certificate, r.credential, r.role, r.state, r.reason,
		r.joined, r.ended, r.proven, r.progress, r.lostNetwork, r.lostBuffer, r.lostDisk, r.rejected, r.rejoins, r.nacks, r.multicast, r.unicast, r.held, r.seed)
	b.clients[r.number] = r
}

// action writes an action; its session is the latest of this daemon's that is called so.
func (w *writer) action(a *api.HistoryAction, baseline int64) {
	statement := w.prepare(insertAction)
	if w.err != nil {
		return
	}
	_, w.err = statement.Exec(
		a.At.UnixMilli(), clean(a.Who), clean(a.Action), a.Session, baseline, clean(a.Session), clean(a.Client), clean(a.Detail), clean(a.Error), clean(a.Package), clean(a.Digest), clean(a.Request))
}
